"""GPU hours that runs will take: from records of such runs, else from what others measured, else not known.

Fine-tuning: RegionCL's logs on 8 A100 (fp32, 16 images a step). Pre-training: what one NVIDIA H200 was measured to do,
carried over to the run's processes by a model (``step_time.py``); other methods in proportion to their forward passes
(a backward pass counts two). So the hours of the two are those of two cards.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.records import RunRecord
from benchmark.runner.planned import PlannedRun
from benchmark.runner.state import OVER, State
from benchmark.runner.step_time import CARDS, IMAGENET, KERNEL_SSL, LINKS, step_time

A100_HOURS = {"coco-c4-1x": 57.0, "coco-c4-2x": 115.0, "coco-fpn-1x": 42.0, "coco-fpn-2x": 84.0}
# 24,000 of 90,000 iterations; VOC's images are no larger.
A100_HOURS["voc-c4-24k"] = A100_HOURS["coco-c4-1x"] * 24 / 90
IMAGENET_SIZE = {"arch": "resnet50", "image_size": 224}  # for which the figures of pre-training hold
RELEASED_BATCH = 1024  # of Kernel-SSL's recipe
# Forward passes of a 224 px view an image and step: each view with gradient 3, without 1.
PASSES = {
    "supervised": 3, "moco_v1": 4, "moco_v2": 4, "simclr": 6, "swav": 6, "simsiam": 6, "barlow_twins": 6, "vicreg": 6,
    "byol": 8, "mec": 8, "kernel_ssl": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """GPU hours of one run (None: not known) and where the figure comes from."""

    gpu_hours: float | None
    source: str


def _likeness(kind: str, protocol: object, overrides: object) -> tuple:
    return (kind, str(protocol), str(sorted(overrides.items()) if isinstance(overrides, Mapping) else ""))


def _of_run(run: PlannedRun) -> tuple:
    words = [str(word) for word in run.options.get("overrides", [])]
    return _likeness(run.kind, run.options.get("protocol"), dict(zip(words[::2], words[1::2], strict=False)))


def _of_record(record: RunRecord) -> tuple | None:
    if record.kind != "detection":
        return None
    kind = "voc" if str(record.protocol).startswith(("voc", "embedded-voc")) else "coco"
    return _likeness(kind, record.protocol, {str(key): str(value) for key, value in record.overrides.items()})


class Costs:
    """What runs cost, learnt from completed records."""

    def __init__(self, records: Iterable[RunRecord]):
        self._tuning: dict[tuple, list[float]] = defaultdict(list)
        self._epochs: dict[tuple, list[float]] = defaultdict(list)
        self._other: dict[str, list[float]] = defaultdict(list)
        for record in records:
            if record.status != "completed" or not record.duration_seconds:
                continue
            if (alike := _of_record(record)) is not None:
                self._tuning[alike].append(record.gpu_hours)
            elif record.kind == "pretrain" and record.epochs:
                self._epochs[self._recipe(record.config)].append(record.gpu_hours / record.epochs)
            elif record.kind == "classification":
                self._other["classify"].append(record.gpu_hours)

    @staticmethod
    def _recipe(config: Mapping[str, object]) -> tuple:
        embedded = config.get("data") is None
        size = [str(config.get(name) or usual) for name, usual in IMAGENET_SIZE.items()]
        images = str(config.get("images")) if embedded else ""
        return (str(config.get("method", "kernel_ssl")), embedded, images, *([] if embedded else size))

    def of(self, run: PlannedRun) -> Cost:
        """Return what a whole run costs."""
        if run.kind == "pretrain":
            return self._pretraining(run)
        measured = self._other["classify"] if run.kind == "classify" else self._tuning.get(_of_run(run), [])
        if measured:
            return Cost(sum(measured) / len(measured), f"measured, {len(measured)} runs")
        protocol = str(run.options.get("protocol", ""))
        if protocol in A100_HOURS and not run.options.get("overrides") and "fraction" not in run.options:
            return Cost(A100_HOURS[protocol], "A100 hours of RegionCL's logs")
        return Cost(None, "not known")

    def _pretraining(self, run: PlannedRun) -> Cost:
        epochs = run.options.get("epochs")
        measured = self._epochs.get(self._recipe(run.options), [])
        if not isinstance(epochs, (int, float)):
            return Cost(None, "not known")
        if measured:
            return Cost(epochs * sum(measured) / len(measured), f"measured, {len(measured)} runs")
        method = str(run.options.get("method", "kernel_ssl"))
        of_imagenet = all(run.options.get(name, usual) == usual for name, usual in IMAGENET_SIZE.items())
        if run.options.get("data") is None or method not in PASSES or "images" in run.options or not of_imagenet:
            return Cost(None, "not known")
        return _predicted(run, float(epochs) * PASSES[method] / PASSES["kernel_ssl"])


def _predicted(run: PlannedRun, epochs: float) -> Cost:
    """Return the GPU hours of epochs of Kernel-SSL on ImageNet by the model, at the run's batch and precision."""
    card = CARDS.get(str(run.options.get("precision", "fp32")), CARDS["bf16"])
    processes = run.resources.processes
    batch = int(run.options.get("batch_size", RELEASED_BATCH))
    speed = step_time(card, LINKS, KERNEL_SSL, processes, batch).images_per_second
    return Cost(processes * epochs * IMAGENET / speed / 3600, f"predicted from one {card.name}, ImageNet")


def left(runs: Sequence[PlannedRun], states: Mapping[str, State], costs: Costs) -> tuple[float, int]:
    """Return the GPU hours of the runs that are not over, and how many of them have an unknown cost."""
    open_runs = [costs.of(run).gpu_hours for run in runs if states[run.name].name not in OVER]
    return sum(hours for hours in open_runs if hours is not None), sum(hours is None for hours in open_runs)
