"""Running a detector over the test split, and the figures that it gets."""

import contextlib
from collections.abc import Iterator

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmark.core.progress import progress
from transfer.datasets.data import DetectionData
from transfer.evaluation.by_image import Metrics
from transfer.evaluation.coco_ap import CocoEvaluator
from transfer.evaluation.voc_ap import VocEvaluator


def shapes_of(cfg: CfgNode) -> tuple[str, ...]:
    """Return what a detector is evaluated for: boxes, and masks if it has a mask head."""
    return ("bbox", "segm") if cfg.MODEL.MASK_ON else ("bbox",)


def run_evaluation(
    model: nn.Module, cfg: CfgNode, data: DetectionData, evaluator: str = "hotcoco"
) -> tuple[dict[str, Metrics], list[dict]]:
    """Run a detector over the test split in eval mode and float32, and return (metrics, predictions).

    Each process takes its share of the images; all must call this. Train and eval modes are restored.

    Args:
        model: a detector; if DistributedDataParallel wraps it, the detector inside runs (shares may differ by an
            image, and DDP's own forward waits for all).
        cfg: its effective config.
        data: its ``test`` names are run over.
        evaluator: for COCO, ``hotcoco`` or ``pycocotools``.

    Returns:
        ``{task: {metric: percent or None}}`` and COCO results in the main process; ``({}, [])`` in others.

    Raises:
        UserError: no such evaluator.
        RunFailed: not all images were processed.
    """
    detector = model.module if isinstance(model, DistributedDataParallel) else model
    judge = _evaluator(cfg, data, evaluator)
    loader = build_detection_test_loader(cfg, list(data.test))
    bar = progress(loader, "evaluating", "image", disable=not comm.is_main_process())
    with _inference(detector, cfg.MODEL.DEVICE):
        for inputs in bar:
            judge.process(inputs, detector(inputs))
    return judge.evaluate(), judge.predictions


def _evaluator(cfg: CfgNode, data: DetectionData, evaluator: str) -> CocoEvaluator | VocEvaluator:
    if data.task == "coco":
        return CocoEvaluator(data.ground_truth(), data.category_ids, shapes_of(cfg), evaluator)
    (name,) = data.test
    return VocEvaluator(name, data.category_ids)


@contextlib.contextmanager
def _inference(model: nn.Module, device: str) -> Iterator[None]:
    """Eval mode without gradients and without autocast inside; each module's own mode is restored after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        for module, training in modes:
            module.training = training
