"""Seconds an iteration of the embedded detection protocol, in float32 and with bf16 autocast: interleaved steps."""

from detectron2.utils.events import EventStorage

from tests.bench.timing import interleaved
from transfer.checkpoints.weights import resolve_weights
from transfer.datasets.dataset import open_data
from transfer.detection.model import build_detector, load_weights
from transfer.detection.trainer import DetectionTrainer
from transfer.protocols.resolve import resolve_protocol

PAIRS, STEPS = 7, 2  # each timing is the mean of so many steps: their number of proposals differs


def trainer(precision: str) -> DetectionTrainer:
    """Return a trainer of the embedded protocol from the untrained encoder, ready for its first step."""
    start = resolve_weights("random")
    protocol = resolve_protocol(
        "embedded", family=start.family, convention=start.convention, precision=precision, workers=0,
        data=open_data("coco", None),
    )  # fmt: skip
    model = build_detector(protocol.cfg)
    load_weights(model, start.checkpoint)
    made = DetectionTrainer(protocol.cfg, model, seed=0)
    made.before_train()
    return made


def steps(made: DetectionTrainer) -> None:
    """Take a few steps."""
    with EventStorage() as made.storage:
        for _ in range(STEPS):
            made.run_step()
            made.iter += 1


def main() -> None:
    """Print seconds an iteration and the ratio."""
    plain, fast = trainer("fp32"), trainer("bf16")
    timing = interleaved(lambda: steps(plain), lambda: steps(fast), PAIRS)
    print(
        f"embedded protocol, batch {plain.cfg.SOLVER.IMS_PER_BATCH}: fp32 {timing.first_s / STEPS:.2f} s an iteration, "
        f"bf16 {timing.second_s / STEPS:.2f} s; {timing.ratio:.2f} times as fast (median of {PAIRS} pairs)"
    )


if __name__ == "__main__":
    main()
