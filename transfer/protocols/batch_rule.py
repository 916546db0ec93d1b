"""Fewer GPUs: divide batch and learning rate by k, multiply every count of iterations by k (K. He, moco#11)."""

from collections.abc import Mapping
from fractions import Fraction
from operator import attrgetter

from detectron2.config import CfgNode

from benchmark.core.errors import UserError


def rescale_batch(cfg: CfgNode, ims_per_batch: int | None) -> tuple[str, ...]:
    """Set another batch size, and lr, steps, iterations, warm-up and PreciseBN with it; return the arithmetic.

    Args:
        cfg: not frozen; changed in place.
        ims_per_batch: images in a batch over all processes; None keeps the protocol's.

    Returns:
        A line for people for each number that changed; nothing when the batch stays.

    Raises:
        UserError: a count of iterations would not be whole; the batches that would do are listed.
    """
    solver, reference = cfg.SOLVER, cfg.SOLVER.IMS_PER_BATCH
    if ims_per_batch is None or ims_per_batch == reference:
        return ()
    if ims_per_batch < 1:
        raise UserError(f"--ims-per-batch is {ims_per_batch}; it must be above 0.")
    k = Fraction(reference, ims_per_batch)
    counts = {"SOLVER.STEPS": "steps", "SOLVER.MAX_ITER": "iterations", "SOLVER.WARMUP_ITERS": "warm-up"}
    if cfg.TEST.PRECISE_BN.ENABLED:
        counts["TEST.PRECISE_BN.NUM_ITER"] = "PreciseBN"
    _check_divides(cfg, counts, ims_per_batch)
    factor = str(k) if k.denominator == 1 else f"({k})"
    lr = float(Fraction(str(solver.BASE_LR)) / k)  # decimal arithmetic: 0.02 / 4 is 0.005
    lines = [f"batch {reference} / {factor} = {ims_per_batch}", f"lr {solver.BASE_LR:g} / {factor} = {lr:g}"]
    solver.IMS_PER_BATCH, solver.BASE_LR = ims_per_batch, lr
    for key, word in counts.items():
        before = attrgetter(key)(cfg)
        after = tuple(int(n * k) for n in before) if isinstance(before, tuple) else int(before * k)
        cfg.merge_from_list([key, after])
        if before != ():
            lines.append(f"{word} {numbers(before)} x {factor} = {numbers(after)}")
    return tuple(lines)


def _check_divides(cfg: CfgNode, counts: Mapping[str, str], ims_per_batch: int) -> None:
    reference = cfg.SOLVER.IMS_PER_BATCH
    numbers = {key: value if isinstance(value := attrgetter(key)(cfg), tuple) else (value,) for key in counts}

    def fails(batch: int) -> list[str]:
        return [f"{counts[key]} {n}" for key, values in numbers.items() for n in values if n * reference % batch]

    if broken := fails(ims_per_batch):
        choices = ", ".join(str(batch) for batch in range(1, 2 * reference + 1) if not fails(batch))
        raise UserError(
            f"--ims-per-batch {ims_per_batch} would give no whole number of iterations for {broken[0]} "
            f"(x {Fraction(reference, ims_per_batch)}); take one of {choices}."
        )


def numbers(value: int | tuple[int, ...]) -> str:
    """Write one number or several for people: ``60000, 80000``."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
