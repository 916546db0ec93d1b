"""Checkpoints as real projects write them, from their documented keys, and what conversion must make of each.

``conversion_page.py`` writes the table of docs/conversion.md from these rows; the tests hold every row against what
conversion does. Beside each project: the file of its own that says what it saves.
"""

import argparse
import collections
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tests.transfer.checkpoints.layout_files import (
    ADAM,
    State,
    detectron2,
    lightning,
    numbered,
    split_c4,
    under,
    vissl,
    with_projector,
    without_head,
)

Known = tuple[str, str | None, int | None, int | None]  # layout, method, completed epochs, planned epochs


@dataclass(frozen=True)
class Project:
    """A project's checkpoint.

    Attributes:
        name: for people, and where the project says what it saves.
        build: content from (online, momentum).
        online: what is found, or the words of the refusal.
        momentum: the same of the other branch; None where the project has none.
        pickled: whether the project writes a plain pickle instead of a torch file.
    """

    name: str
    build: Callable[[State, State], object]
    online: Known | str
    momentum: Known | str | None = None
    pickled: bool = False

    def write(self, path: Path, online: State, momentum: State) -> None:
        """Write the checkpoint as the project does."""
        content = self.build(online, momentum)
        if self.pickled:
            path.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, path)


def linear(*names: str, rows: int = 8) -> State:
    """Return small tensors under these names: the heads, queues and counters of pre-training."""
    return {name: torch.ones(rows, rows) if name.endswith("weight") else torch.ones(rows) for name in names}


def moco(online: State, momentum: State, head: tuple[str, ...], *more: str) -> dict:
    """As ``main_moco.py`` saves: DDP's prefix, two encoders with a head for fc, the queue."""
    heads = linear(*[f"fc.{name}" for name in head])
    q, k = (
        under(f"module.encoder_{side}.", without_head(state) | heads)
        for side, state in (("q", online), ("k", momentum))
    )
    buffers = linear("module.queue", "module.queue_ptr", *(f"module.{name}" for name in more))
    return {"epoch": 200, "arch": "resnet50", "state_dict": q | k | buffers, "optimizer": ADAM}


V1, V2 = ("weight", "bias"), ("0.weight", "0.bias", "2.weight", "2.bias")


def to_detectron2_by_its_script(state: State) -> dict[str, np.ndarray]:
    """Name as the two scripts do: everything without ``layer`` becomes the stem's, the classifier and counters too.

    MoCo's detection/convert-pretrain-to-detectron2.py, Detectron2's tools/convert-torchvision-to-d2.py.
    """
    named = {}
    for key, tensor in state.items():
        name = key if "layer" in key else "stem." + key
        for stage in (1, 2, 3, 4):
            name = name.replace(f"layer{stage}", f"res{stage + 1}")
        for layer in (1, 2, 3):
            name = name.replace(f"bn{layer}", f"conv{layer}.norm")
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        named[name] = tensor.numpy().copy()
    return named


def huggingface(state: State) -> State:
    """Name by hand as transformers' ResNetForImageClassification does."""
    named = {}
    for name, tensor in without_head(state).items():
        parts = name.split(".")
        kind = "normalization" if "bn" in name or "downsample.1" in name else "convolution"
        if parts[0] in ("conv1", "bn1"):
            place = ["embedder", "embedder"]
        else:
            place = ["encoder", "stages", str(int(parts[0][-1]) - 1), "layers", parts[1]]
            place += ["shortcut"] if parts[2] == "downsample" else ["layer", str(int(parts[2][-1]) - 1)]
        named[".".join(["resnet", *place, kind, parts[-1]])] = tensor
    return named | linear("classifier.1.weight", "classifier.1.bias")


def obow_blocks(state: State) -> State:
    """Name as OBoW's feature extractor does: block 0 is (conv1, bn1, relu, pool), blocks 1 to 4 are the stages."""
    places = {"conv1": "0.0", "bn1": "0.1", "layer1": "1", "layer2": "2", "layer3": "3", "layer4": "4"}
    return {
        f"_feature_blocks.{places[name.split('.')[0]]}.{name.split('.', 1)[1]}": tensor
        for name, tensor in without_head(state).items()
    }


def simclrv2(state: State) -> State:
    """Name as SimCLRv2-Pytorch's ResNet does, by building its modules' order of convolutions and norms by hand."""
    named = {}
    for name, tensor in without_head(state).items():
        parts = name.split(".")
        if len(parts) == 2:
            named[f"net.0.{'0' if parts[0] == 'conv1' else '1.0'}.{parts[1]}"] = tensor
            continue
        place = f"net.{parts[0][-1]}.blocks.{parts[1]}."
        if parts[2] == "downsample":
            place += {"0": "projection.shortcut.", "1": "projection.bn.0."}[parts[3]]
        else:
            own = {"conv1": "0", "bn1": "1.0", "conv2": "2", "bn2": "3.0", "conv3": "4", "bn3": "5.0"}[parts[2]]
            place += f"net.{own}."
        named[place + parts[-1]] = tensor
    return named | linear("fc.weight", "fc.bias")


def frozen(state: State) -> State:
    """Leave the norms' counters out, as FrozenBatchNorm2d does."""
    return {name: tensor for name, tensor in without_head(state).items() if "num_batches" not in name}


def sides(first: str, second: str, a: State, b: State) -> State:
    """Return both branches under their prefixes, without classifier."""
    return under(first, without_head(a)) | under(second, without_head(b))


OPTIONS = argparse.Namespace(epochs=400, arch="resnet50", lr=0.1)
PLAIN: Known = ("torchvision", None, None, None)

PROJECTS = (
    # --- SwAV and its relatives: facebookresearch/swav main_swav.py, src/resnet50.py
    Project("SwAV", lambda a, b: {
        "epoch": 800, "arch": "resnet50", "optimizer": ADAM, "amp": {"loss_scaler0": {"unskipped": 1}},
        "state_dict": under("module.", without_head(a) | linear(
            "projection_head.0.weight", "projection_head.0.bias", "projection_head.3.weight", "prototypes.weight"))},
        ("swav", "swav", 800, None)),
    Project("SwAV, released (torch.hub)", lambda a, b: under("module.", without_head(a) | linear(
        "projection_head.0.weight", "prototypes.weight")), ("swav", "swav", None, None)),
    Project("DeepCluster-v2, SeLa-v2", lambda a, b: {
        "epoch": 800, "state_dict": under("module.", without_head(a) | linear(
            "projection_head.0.weight", *(f"prototypes.prototypes{i}.weight" for i in range(3))))},
        ("swav", None, 800, None)),
    Project("lightning-bolts SwAV (Lightning's `epoch` is 799)", lambda a, b: lightning(
        under("model.", without_head(a) | linear("projection_head.0.weight", "prototypes.weight")), 800,
        max_epochs=800),
        ("swav", "swav", 800, 800)),
    # --- DINO: main_dino.py
    Project("DINO, full checkpoint", lambda a, b: {
        "student": under("module.backbone.", without_head(a)) | linear("module.head.mlp.0.weight"),
        "teacher": sides("backbone.", "backbone.", b, b) | linear("head.mlp.0.weight"),
        "optimizer": ADAM, "epoch": 800, "args": argparse.Namespace(epochs=800, arch="resnet50"),
        "dino_loss": {"center": torch.zeros(1, 8)}}, ("dino", "dino", 800, 800), ("dino", "dino", 800, 800)),
    Project("DINO backbone, Barlow Twins / VICReg resnet50.pth", lambda a, b: without_head(a), PLAIN),
    # --- Redundancy reduction: barlowtwins main.py, vicreg main_vicreg.py, VICRegL main_vicregl.py
    Project("Barlow Twins checkpoint.pth", lambda a, b: {
        "epoch": 1000, "model": under("module.", under("backbone.", without_head(a)) | linear(
            "projector.0.weight", "projector.1.weight", "bn.running_mean")), "optimizer": ADAM},
        ("barlow-twins", "barlow_twins", 1000, None)),
    Project("VICReg model.pth", lambda a, b: {
        "epoch": 1000, "model": under("module.", under("backbone.", without_head(a)) | linear("projector.0.weight")),
        "optimizer": ADAM}, ("barlow-twins", None, 1000, None)),
    Project("VICRegL", lambda a, b: {
        "epoch": 300, "model": under("module.", under("backbone.", without_head(a)) | linear(
            "projector.0.weight", "maps_projector.0.weight")), "optimizer": ADAM},
        ("barlow-twins", "vicregl", 300, None)),
    # --- SimSiam and those who took its network: simsiam/builder.py; MEC, Matrix-SSL add a teacher
    Project("SimSiam", lambda a, b: {
        "epoch": 100, "arch": "resnet50", "optimizer": ADAM, "state_dict": under("module.", under(
            "encoder.", with_projector(a)) | linear("predictor.0.weight", "predictor.3.weight"))},
        ("simsiam", "simsiam", 100, None)),
    Project("MEC, Matrix-SSL", lambda a, b: {
        "epoch": 400, "arch": "resnet50", "optimizer": ADAM, "state_dict": under("module.", under(
            "encoder.", with_projector(a)) | under("teacher.", with_projector(b)) | linear("predictor.0.weight"))},
        ("simsiam", None, 400, None), ("simsiam", None, 400, None)),
    # --- MoCo and those who took its network
    Project("MoCo v1", lambda a, b: moco(a, b, V1), ("moco", "moco_v1", 200, None), ("moco", "moco_v1", 200, None)),
    Project("MoCo v2", lambda a, b: moco(a, b, V2), ("moco", "moco_v2", 200, None), ("moco", "moco_v2", 200, None)),
    Project("MoCo v3", lambda a, b: {
        "epoch": 1000, "arch": "resnet50", "optimizer": ADAM, "scaler": {"scale": 65536.0}, "state_dict": under(
            "module.", under("base_encoder.", with_projector(a)) | under("momentum_encoder.", with_projector(b))
            | linear("predictor.0.weight"))}, ("mocov3", "moco_v3", 1000, None), ("mocov3", "moco_v3", 1000, None)),
    Project("MoCo v3, linear probe (main_lincls.py)", lambda a, b: {
        "epoch": 90, "arch": "resnet50", "state_dict": under("module.", a), "best_acc1": torch.tensor(70.0),
        "optimizer": ADAM}, PLAIN),
    Project("MoCo v1 through its convert-pretrain-to-detectron2.py", lambda a, b: {
        "model": to_detectron2_by_its_script(without_head(a) | linear("fc.weight", "fc.bias")), "__author__": "MOCO",
        "matching_heuristics": True}, ("detectron2", None, None, None), pickled=True),
    Project("MoCo v2 through its convert-pretrain-to-detectron2.py", lambda a, b: {
        "model": to_detectron2_by_its_script(without_head(a) | linear("fc.0.weight", "fc.2.weight")),
        "__author__": "MOCO", "matching_heuristics": True}, ("detectron2", None, None, None), pickled=True),
    Project("HCSC", lambda a, b: moco(a, b, V2, "queue_index"), ("moco", "hcsc", 200, None),
            ("moco", "hcsc", 200, None)),
    Project("MSF", lambda a, b: {
        "opt": argparse.Namespace(epochs=200), "epoch": 200, "optimizer": ADAM, "state_dict": sides(
            "encoder_q.module.", "encoder_t.module.", a, b) | linear(
            "encoder_q.module.fc.0.weight", "predict_q.module.0.weight", "queue", "queue_ptr", "labels")},
        ("moco", "msf", 200, 200), ("moco", "msf", 200, 200)),
    Project("SlotCon", lambda a, b: {
        "args": argparse.Namespace(epochs=800), "epoch": 800, "optimizer": ADAM, "scheduler": {"last_epoch": 7},
        "model": under("module.", sides("encoder_q.", "encoder_k.", a, b) | linear(
            "projector_q.0.weight", "projector_k.0.weight", "grouping_q.slot_embed.weight", "center",
            "grouping_k.slot_embed.weight", "predictor_slot.0.weight"))},
        ("moco", "slotcon", 800, 800), ("moco", "slotcon", 800, 800)),
    Project("ReSSL", lambda a, b: {
        "epoch": 200, "optimizer": ADAM, "model": under("module.", sides("encoder_q.net.", "encoder_k.net.", a, b)
        | linear("encoder_q.head.0.weight", "encoder_k.head.0.weight", "queue", "queue_ptr"))},
        ("ressl", "ressl", 200, None), ("ressl", "ressl", 200, None)),
    # --- PyContrast, InfoMin, PixPro, SoCo
    Project("PyContrast / InfoMin", lambda a, b: {
        "opt": argparse.Namespace(epochs=800, method="InfoMin"), "epoch": 800, "model": under("module.encoder.", a),
        "contrast": linear("memory"), "model_ema": under("module.encoder.", b)},
        ("pycontrast", "infomin", 800, 800), ("pycontrast", "infomin", 800, 800)),
    Project("PixPro", lambda a, b: {
        "opt": argparse.Namespace(epochs=400), "epoch": 400, "optimizer": ADAM, "model": under("module.", sides(
            "encoder.", "encoder_k.", a, b) | linear("projector.linear1.weight", "projector_k.linear1.weight",
                                                      "value_transform.weight"))},
        ("pixpro", "pixpro", 400, 400), ("pixpro", "pixpro", 400, 400)),
    Project("PixPro, published (publish_model.py)", lambda a, b: {"model": under("module.", sides(
        "encoder.", "encoder_k.", a, b) | linear("projector.linear1.weight", "projector_k.linear1.weight",
                                                  "value_transform.weight"))},
        ("pixpro", "pixpro", None, None), ("pixpro", "pixpro", None, None)),
    Project("SoCo", lambda a, b: {
        "opt": argparse.Namespace(epochs=400), "epoch": 400, "model": under("module.", sides(
            "encoder.", "encoder_k.", a, b) | linear("neck.lateral_convs.0.conv.weight", "head.projector.0.weight"))},
        ("pixpro", None, 400, 400), ("pixpro", None, 400, 400)),
    # --- Student and teacher by other names
    Project("BYOL-PyTorch (yaox12)", lambda a, b: {
        "config": {"optimizer": {"total_epochs": 300}}, "epoch": 300, "steps": 9, "optimizer": ADAM, "model": under(
            "module.", under("online_network.encoder.", numbered(a)) | under("target_network.encoder.", numbered(b))
            | linear("online_network.projetion.l1.weight", "target_network.projetion.l1.weight",
                     "predictor.l1.weight"))},
        ("byol-network", "byol", 300, 300), ("byol-network", "byol", 300, 300)),
    Project("lightning-bolts BYOL", lambda a, b: lightning(sides(
        "online_network.encoder.", "target_network.encoder.", a, b) | linear(
        "online_network.projector.model.0.weight", "predictor.model.0.weight"), 800, max_epochs=1000),
        ("byol-network", "byol", 800, 1000), ("byol-network", "byol", 800, 1000)),
    Project("LEWEL", lambda a, b: {
        "epoch": 200, "arch": "resnet50", "state_dict": under("module.", sides(
            "online_net.backbone.", "target_net.backbone.", a, b) | linear("predictor.linear1.weight"))},
        ("lewel", None, 200, None), ("lewel", None, 200, None)),
    Project("CARE", lambda a, b: {"start_epoch": 400, "optimizer": ADAM, "model": under("module.", sides(
        "student_encoder.", "teacher_encoder.", a, b) | linear("student_encoder.fc1.0.weight"))},
        ("care", None, 400, None), ("care", None, 400, None)),
    Project("TWIST (counts epochs from 0)", lambda a, b: {
        "model": under("backbone.", without_head(a)) | linear("projection_head.0.weight"),
        "backbone": without_head(a), "optimizer": ADAM, "epoch": 299, "args": argparse.Namespace(epochs=300),
        "teacher": under("backbone.", without_head(b)) | linear("projection_head.0.weight"),
        "teacher_backbone": without_head(b)}, ("twist", "twist", 300, 300), ("twist", "twist", 300, 300)),
    Project("UniGrad (counts epochs from 0)", lambda a, b: {
        "step": 9, "epoch": 99, "F": None, "scaler": {}, "optimizer": ADAM, "model": under(
            "module.", under("encoder.", numbered(a)) | under("momentum_encoder.", numbered(b))
            | linear("projector.0.weight", "momentum_projector.0.weight"))},
        ("unigrad", None, 100, None), ("unigrad", None, 100, None)),
    Project("OBoW", lambda a, b: {
        "epoch": 200, "meters": {"loss": 1.0}, "network": under("feature_extractor.", obow_blocks(a))
        | under("feature_extractor_teacher.", obow_blocks(b))
        | linear("bow_extractor.bow_extractor.0._embedding", "bow_predictor.scale")},
        ("obow", "obow", 200, None), ("obow", "obow", 200, None)),
    Project("OBoW, torchvision's format", lambda a, b: {"network": a}, PLAIN),
    Project("Self-Classifier", lambda a, b: {"epoch": 800, "state_dict": under("module.", under(
        "backbone.", without_head(a)) | linear("mlp_head.layer1.0.weight", "nn_queue"))},
        ("solo-learn", None, None, None)),
    Project("SparK, while it is pre-training (counts epochs from 0)", lambda a, b: {
        "args": "Args(...)", "input_size": 224, "arch": "resnet50", "epoch": 1599, "module": under(
            "sparse_encoder.sp_cnn.", without_head(a)) | linear("dense_decoder.proj.weight", "mask_tokens.0"),
        "optimizer": ADAM, "is_pretrain": True}, ("spark", "spark", 1600, None)),
    # --- SimCLR in several hands
    Project("SimCLR (sthalles)", lambda a, b: {
        "epoch": 200, "arch": "resnet50", "state_dict": under("backbone.", without_head(a)) | linear(
            "backbone.fc.0.weight", "backbone.fc.2.weight"), "optimizer": ADAM}, ("solo-learn", None, None, None)),
    Project("SimCLR (Spijkervet)", lambda a, b: under("encoder.", without_head(a)) | linear("projector.0.weight"),
            ("simsiam", None, None, None)),
    Project("SimCLRv2-Pytorch (r50_1x_sk0.pth)", lambda a, b: {
        "resnet": simclrv2(a), "head": linear("layers.0.weight", "layers.1.weight")},
        ("simclrv2", "simclrv2", None, None)),
    # --- Lightning
    Project("solo-learn", lambda a, b: lightning(under("backbone.", without_head(a)) | linear(
        "classifier.weight", "projector.0.weight"), method="nnclr", max_epochs=400),
        ("solo-learn", "nnclr", 400, 400)),
    Project("lightning-bolts SimCLR", lambda a, b: lightning(under("encoder.", without_head(a)) | linear(
        "projection.model.0.weight"), max_epochs=800), ("solo-learn", None, 400, 800)),
    Project("lightly, backbone cut into a Sequential", lambda a, b: lightning(
        under("backbone.", numbered(a)) | linear("projection_head.layers.0.weight")), ("lightly", None, 400, None)),
    Project("lightly-train, SimCLR", lambda a, b: lightning(under(
        "embedding_model.wrapped_model._features.", without_head(a)) | linear("projection_head.layers.0.weight")),
        ("lightly-train", None, 400, None)),
    Project("lightly-train, DINO", lambda a, b: lightning(sides(
        "student_embedding_model.wrapped_model._features.", "teacher_embedding_model.wrapped_model._features.", a, b)),
        ("lightly-train", None, 400, None), ("lightly-train", None, 400, None)),
    Project("lightly-train, DenseCL", lambda a, b: lightning(sides(
        "query_encoder.embedding_model.wrapped_model._features.",
        "key_encoder.embedding_model.wrapped_model._features.", a, b)),
        ("lightly-train", None, 400, None), ("lightly-train", None, 400, None)),
    # --- OpenMMLab
    Project("DenseCL", lambda a, b: {
        "meta": {"epoch": 200, "iter": 1}, "optimizer": ADAM, "state_dict": sides("backbone.", "encoder_k.0.", a, b)
        | under("encoder_q.0.", without_head(a)) | linear("queue", "queue2", "encoder_q.1.mlp.0.weight")},
        ("mmselfsup", "densecl", 200, None), ("mmselfsup", "densecl", 200, None)),
    Project("MMPretrain, BYOL", lambda a, b: {
        "meta": {"epoch": 200}, "state_dict": sides("backbone.", "target_net.module.0.", a, b) | linear(
            "neck.fc0.weight", "head.predictor.fc0.weight", "target_net.steps")},
        ("mmselfsup", "byol", 200, None), ("mmselfsup", "byol", 200, None)),
    Project("MMPretrain, MoCo v3", lambda a, b: {
        "meta": {"epoch": 100}, "state_dict": sides("backbone.", "momentum_encoder.module.0.", a, b) | linear(
            "neck.fc0.weight", "head.predictor.fc0.weight", "momentum_encoder.steps")},
        ("mmselfsup", "moco_v3", 100, None), ("mmselfsup", "moco_v3", 100, None)),
    Project("MMPretrain, supervised", lambda a, b: {"state_dict": under("backbone.", without_head(a)) | linear(
        "head.fc.weight", "head.fc.bias")}, ("mmselfsup", None, None, None)),
    Project("MMPretrain with averaged weights", lambda a, b: {
        "meta": {"epoch": 100}, "state_dict": under("backbone.", without_head(a)) | linear("head.fc.weight"),
        "ema_state_dict": under("module.backbone.", without_head(b)) | {"steps": torch.tensor(9)}},
        ("mmselfsup", None, 100, None), ("mmselfsup", None, 100, None)),
    # --- VISSL
    Project("VISSL (PIRL, NPID)", lambda a, b: vissl(a), ("vissl", None, 400, None)),
    Project("VISSL, torchvision's names", lambda a, b: {"model_state_dict": without_head(a)}, PLAIN),
    # --- torchvision, timm, Hugging Face, generic trainers
    Project("torchvision ResNet50_Weights", lambda a, b: collections.OrderedDict(a), PLAIN),
    Project("torchvision's reference training with averaged weights", lambda a, b: {
        "model": a, "optimizer": ADAM, "lr_scheduler": {}, "epoch": 599, "args": argparse.Namespace(epochs=600),
        "model_ema": under("module.", b) | {"n_averaged": torch.tensor(9)}}, PLAIN, PLAIN),
    Project("torchvision fasterrcnn_resnet50_fpn", lambda a, b: under("backbone.body.", frozen(a)) | linear(
        "backbone.fpn.inner_blocks.0.0.weight", "rpn.head.conv.0.0.weight", "roi_heads.box_head.fc6.weight"),
        ("torchvision-detection", None, None, None)),
    Project("torchvision fcn_resnet50", lambda a, b: under("backbone.", without_head(a)) | linear(
        "classifier.0.weight"), ("solo-learn", None, None, None)),
    Project("timm, training checkpoint", lambda a, b: {
        "epoch": 99, "arch": "resnet50", "state_dict": a, "state_dict_ema": b, "args": OPTIONS}, PLAIN, PLAIN),
    Project("timm resnetaa50 (the names and shapes of a ResNet-50, but blurs before it strides)", lambda a, b: {
        "epoch": 99, "arch": "resnetaa50", "state_dict": a, "args": OPTIONS}, "resnetaa50.*blurs"),
    Project("Hugging Face transformers (microsoft/resnet-50)", lambda a, b: huggingface(a),
            ("huggingface", None, None, None)),
    Project("FFCV-SSL, DeepSpeed, DDP, torch.compile", lambda a, b: under("module._orig_mod.", a), PLAIN),
    Project("AveragedModel (SWA)", lambda a, b: under("module.", a) | {"n_averaged": torch.tensor(3)}, PLAIN),
    Project("averaged weights alone (ema_state_dict)", lambda a, b: {"ema_state_dict": without_head(b)},
            "has no online branch; it has momentum", PLAIN),
    # --- Detectron2
    Project("Detectron2's convert-torchvision-to-d2.py", lambda a, b: {
        "model": to_detectron2_by_its_script(a), "__author__": "torchvision", "matching_heuristics": True},
        ("detectron2", None, None, None), pickled=True),
    Project("VISSL's convert_vissl_to_detectron2", lambda a, b: {
        "model": detectron2(a), "__author__": "VISSL", "matching_heuristics": True}, ("detectron2", None, None, None)),
    Project("Detectron2's model zoo, C4", lambda a, b: {
        "model": {name: tensor.numpy().copy() for name, tensor in split_c4(a).items()},
        "__author__": "Detectron2 Model Zoo"}, ("detectron2", None, None, None), pickled=True),
    Project("Unbiased Teacher", lambda a, b: {"model": under("modelStudent.backbone.bottom_up.", detectron2(a)) | under(
        "modelTeacher.backbone.bottom_up.", detectron2(b)) | linear("modelStudent.backbone.fpn_lateral2.weight"),
        "iteration": 9}, ("detectron2", None, None, None), ("detectron2", None, None, None)),
)  # fmt: skip
