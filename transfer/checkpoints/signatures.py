"""By what a checkpoint shows which method trained it. A method is claimed only where all of its signs are there.

An address tells nothing of the method: HCSC, MSF, SlotCon and many others keep their backbone where MoCo does. What
tells them apart is the rest of the network: heads, queues and predictors of one method's own class. ``roots`` lists
all first parts of the file's names, so that a fork that added a part is not taken for the original.
"""

import re
from dataclasses import dataclass

_QUEUE = "roots:encoder_k,encoder_q,queue,queue_ptr"


@dataclass(frozen=True)
class Signature:
    """The signs of one method.

    Attributes:
        method: its name in records and tables.
        layout: the layout in which it is found.
        needs: facts (``finding.facts_of``) that must all hold; ``own:NAME`` is a tensor beside the ResNet's own.
    """

    method: str
    layout: str
    needs: tuple[str, ...]


SIGNATURES = (
    # moco/builder.py:24-34 and --mlp: one linear layer (v1), or two of them (v2).
    Signature("moco_v1", "moco", (_QUEUE, "own:fc.weight", "own:fc.bias")),
    Signature("moco_v2", "moco", (_QUEUE, "own:fc.0.weight", "own:fc.2.weight")),
    # moco-v3 moco/builder.py: MoCo_ResNet; mmpretrain/models/selfsup/mocov3.py
    Signature("moco_v3", "mocov3", ("roots:base_encoder,momentum_encoder,predictor",)),
    Signature("moco_v3", "mmselfsup", ("roots:backbone,head,momentum_encoder,neck",)),
    Signature("hcsc", "moco", ("root:queue_index", "root:encoder_k")),  # hcsc/hcsc.py:65
    Signature("msf", "moco", ("root:encoder_t", "root:predict_q")),  # train_msf.py:105-134
    Signature("slotcon", "moco", ("root:grouping_q", "root:projector_q")),  # models/slotcon.py:95-124
    Signature("pixpro", "pixpro", ("root:projector", "root:projector_k", "root:value_transform")),  # models/PixPro.py
    Signature("densecl", "mmselfsup", ("root:queue2", "root:encoder_q", "root:encoder_k")),  # openselfsup densecl.py
    # simsiam/builder.py: encoder with three layers as fc, and a predictor; MEC and Matrix-SSL add a teacher.
    Signature("simsiam", "simsiam", ("roots:encoder,predictor", "own:fc.6.weight")),
    Signature("barlow_twins", "barlow-twins", ("roots:backbone,bn,projector",)),  # main.py: BarlowTwins
    Signature("vicregl", "barlow-twins", ("root:maps_projector",)),  # main_vicregl.py
    # src/resnet50.py: SwAV has one set of prototypes, DeepCluster-v2 and SeLa-v2 several (prototypes.prototypes0 ...).
    Signature("swav", "swav", ("own:prototypes.weight", "root:projection_head")),
    Signature("dino", "dino", ("key:student", "key:teacher", "key:dino_loss")),  # main_dino.py
    Signature("byol", "byol-network", ("roots:online_network,predictor,target_network",)),  # model/byol_model.py
    Signature("byol", "mmselfsup", ("roots:backbone,head,neck,target_net",)),  # mmpretrain/models/selfsup/byol.py
    Signature("ressl", "ressl", (_QUEUE,)),  # network/ressl.py
    Signature("obow", "obow", ("root:bow_extractor", "root:bow_predictor")),  # obow/builder_obow.py
    Signature("simclrv2", "simclrv2", ("key:resnet", "key:head")),  # convert.py
    Signature("spark", "spark", ("root:dense_decoder",)),  # pretrain/spark.py
    Signature("twist", "twist", ("root:projection_head",)),
    Signature("supervised-msra", "msra", ("own:fc1000_w",)),
)
# Methods as PyContrast's and solo-learn's options name them, where records use another name.
SPELLINGS = {"moco": "moco_v1", "mocov2": "moco_v2", "mocov2plus": "moco_v2_plus", "mocov3": "moco_v3"}


def method_by_signs(layout: str, facts: set[str]) -> str | None:
    """Return the method that a file's facts prove, None where none or several do."""
    found = [sign for sign in SIGNATURES if sign.layout == layout and facts.issuperset(sign.needs)]
    most = max((len(sign.needs) for sign in found), default=0)
    methods = {sign.method for sign in found if len(sign.needs) == most}
    return methods.pop() if len(methods) == 1 else None


def spelled(name: str) -> str:
    """Return the name by which records call a method that a file's options name (``MoCov2``: ``moco_v2``)."""
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    return SPELLINGS.get(plain, plain)
