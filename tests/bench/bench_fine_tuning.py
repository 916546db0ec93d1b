"""Seconds an iteration of C4 and FPN at 128 px: float32 as the protocols have it, bf16 autocast, channels last.

Interleaved steps on the embedded photographs, processor time on one thread, medians of ratios. Losses of the first step
say what a variant changes: channels last only the order of sums, bf16 the precision.
"""

import statistics
import time

import torch
from detectron2.utils.events import EventStorage

from transfer.checkpoints.weights import resolve_weights
from transfer.datasets.dataset import open_data
from transfer.detection.model import build_detector, load_weights
from transfer.detection.trainer import DetectionTrainer
from transfer.protocols.resolve import resolve_protocol

ROUNDS, STEPS = 5, 2  # each timing is the mean of so many steps: their number of proposals differs
SMALL = ("INPUT.MIN_SIZE_TRAIN", "(128,)", "INPUT.MIN_SIZE_TEST", "128", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "64")
PROTOCOLS = {"FPN (embedded)": ("embedded", ()), "C4 (coco-c4-1x, small)": ("coco-c4-1x", SMALL)}
VARIANTS = (("fp32", False), ("fp32", True), ("bf16", False), ("bf16", True))


def trainer(protocol: str, overrides: tuple[str, ...], precision: str, channels_last: bool) -> DetectionTrainer:
    """Return a trainer from the untrained encoder, ready for its first step, two images a step."""
    start = resolve_weights("random")
    resolved = resolve_protocol(
        protocol, family=start.family, convention=start.convention, precision=precision, workers=0, ims_per_batch=2,
        data=open_data("coco", None), overrides=overrides,
    )  # fmt: skip
    torch.manual_seed(0)  # of the heads
    model = build_detector(resolved.cfg)
    load_weights(model, start.checkpoint)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    made = DetectionTrainer(resolved.cfg, model, seed=0)
    made.before_train()
    return made


def steps(made: DetectionTrainer) -> float:
    """Take a few steps; return the processor seconds of one."""
    begin = time.process_time()
    with EventStorage() as made.storage:
        for _ in range(STEPS):
            made.run_step()
            made.iter += 1
    return (time.process_time() - begin) / STEPS


def main() -> None:
    """Print seconds an iteration and ratios."""
    torch.set_num_threads(1)
    for name, (protocol, overrides) in PROTOCOLS.items():
        made = {variant: trainer(protocol, overrides, *variant) for variant in VARIANTS}
        taken: dict[tuple[str, bool], list[float]] = {variant: [] for variant in VARIANTS}
        first = {}
        for number in range(ROUNDS + 1):
            for variant, one in made.items():
                spent = steps(one)
                if number:  # the first warms up
                    taken[variant].append(spent)
                else:
                    first[variant] = one.loss
        for variant, values in taken.items():
            ratio = statistics.median(a / b for a, b in zip(taken[VARIANTS[0]], values, strict=True))
            layout = "channels last" if variant[1] else "as written"
            print(
                f"{name:23} {variant[0]}, {layout:13} {statistics.median(values):6.2f} s an iteration, "
                f"{ratio:5.2f} times as fast; loss after {STEPS} steps {first[variant]:.4f}"
            )


if __name__ == "__main__":
    main()
