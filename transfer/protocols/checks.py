"""Checks of a resolved config: a schedule that ends as it says, and settings that something else decides."""

import math

from detectron2.config import CfgNode

from benchmark.core.errors import UserError, check_choice


def check_schedule(cfg: CfgNode) -> None:
    """Raise ``UserError`` for a learning rate, warm-up or decay that would not happen as written."""
    solver, end = cfg.SOLVER, cfg.SOLVER.MAX_ITER
    if not (math.isfinite(solver.BASE_LR) and solver.BASE_LR > 0):
        raise UserError(f"the learning rate is {solver.BASE_LR}; it must be above 0.")
    if end < 1:
        raise UserError(f"SOLVER.MAX_ITER is {end}; it must be above 0.")
    if not 0 <= solver.WARMUP_ITERS < end:
        raise UserError(
            f"SOLVER.WARMUP_ITERS {solver.WARMUP_ITERS} is not below SOLVER.MAX_ITER {end}: the warm-up would "
            "never end; give SOLVER.WARMUP_ITERS as well."
        )
    check_choice("SOLVER.LR_SCHEDULER_NAME", solver.LR_SCHEDULER_NAME, ("WarmupMultiStepLR", "WarmupCosineLR"))
    if solver.LR_SCHEDULER_NAME != "WarmupMultiStepLR":
        return
    steps = solver.STEPS
    if not all(type(step) is int and step > 0 for step in steps) or list(steps) != sorted(set(steps)):
        raise UserError(f"SOLVER.STEPS is {steps}; it takes whole numbers above 0 that rise, such as (60000, 80000).")
    if steps and steps[-1] >= end:
        raise UserError(
            f"the last of SOLVER.STEPS {steps} is not below SOLVER.MAX_ITER {end}: the learning rate would not fall as "
            "the protocol says; give SOLVER.STEPS as well, '()' for none."
        )


def check_run(cfg: CfgNode, task: str, world_size: int) -> None:
    """Raise ``UserError`` where batch, masks or weights do not suit the processes, the task or the command."""
    if cfg.SOLVER.IMS_PER_BATCH % world_size:
        raise UserError(
            f"a batch of {cfg.SOLVER.IMS_PER_BATCH} images cannot be divided over {world_size} processes; "
            f"give --ims-per-batch a multiple of {world_size}."
        )
    if cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        check_choice("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE, ("value", "norm"))
    if task == "voc" and cfg.MODEL.MASK_ON:
        raise UserError("VOC has no masks to learn from; take MODEL.MASK_ON False.")
    if cfg.MODEL.WEIGHTS:
        raise UserError(f"the protocol names MODEL.WEIGHTS {cfg.MODEL.WEIGHTS}; take it out and give --weights.")
    if cfg.SOLVER.REFERENCE_WORLD_SIZE:
        raise UserError("the protocol sets SOLVER.REFERENCE_WORLD_SIZE, which rescales silently; take it out.")
