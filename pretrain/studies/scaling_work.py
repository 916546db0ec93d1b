"""Steps on several GPUs as the model predicts them, what limits them, and the model against two processes here."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmark.core.files import write_text
from benchmark.runner.step_time import IMAGENET, KERNEL_SSL, StepTime, step_time
from pretrain.studies.config import ScalingConfig
from pretrain.studies.output import COLOURS, check_output, markdown_table, write_csv, write_figure
from pretrain.studies.two_gloo import Measured, measure, small_card, small_links, small_work

SHARES = (8, 16, 32)  # images of a process in the measurement; the first and the last give the model its numbers
LIMIT = 0.1  # share of a step from which a part is said to stand in the way


def study(config: ScalingConfig) -> int:
    """Compute, write tables and figure, print the summary; return 0. Raises ``UserError``."""
    output = Path(config.output)
    check_output(output)
    rows = predictions(config)
    write_csv(output / "scaling.csv", rows)
    text = f"Predicted from one {config.card.name}; nothing here was measured on more than one card.\n\n"
    text += markdown_table(rows) + "\n" + "\n".join(limits(config)) + "\n"
    if config.measure:
        checked = comparison(measure(SHARES, config.rounds))
        write_csv(output / "check.csv", checked)
        text += "\nThe model on this machine, two CPU processes over gloo (ResNet-18, 32 px), ms a step, medians:\n\n"
        text += markdown_table(checked)
    write_text(output / "scaling.md", text)
    write_figure(output / "scaling.png", draw(config))
    print(text)
    print(f"done: {output}")
    return 0


def predicted(config: ScalingConfig, gpus: int, images: int) -> StepTime:
    """Return the step of `gpus` cards with `images` each."""
    return step_time(config.card, config.links, KERNEL_SSL, gpus, gpus * images)


def predictions(config: ScalingConfig) -> list[dict[str, Any]]:
    """Return a row for each number of GPUs and of images a GPU: milliseconds of the parts, speed and efficiency."""
    rows = []
    for gpus in config.gpus:
        for images in config.images:
            time = predicted(config, gpus, images)
            alone = predicted(config, 1, images).images_per_second
            speed = time.images_per_second
            rows.append(
                {
                    "GPUs": gpus, "batch": gpus * images, "step, ms": 1e3 * time.total,
                    "compute": 1e3 * time.compute, "loss": 1e3 * time.loss, "norms": 1e3 * time.norms,
                    "gradients": 1e3 * time.gradients, "gather": 1e3 * time.gather, "views": 1e3 * time.waiting,
                    "images/s": round(speed), "efficiency": speed / (gpus * alone),
                    "hours of 400 epochs": 400 * IMAGENET / speed / 3600,
                }
            )  # fmt: skip
    return rows


def limits(config: ScalingConfig) -> list[str]:
    """Say, for each number of images a GPU, from how many GPUs on each part is a tenth of the step, and what helps."""
    helps = {
        "loss": "takes more than a tenth: on the covariance side it grows with the batch on every process alike; share "
        "its products among the processes, or compare fewer rows",
        "gather": "takes more than a tenth: gather the rows in 16 bits, or while the momentum branch still computes",
        "norms": "take more than a tenth: each synchronised norm waits for all; more images a GPU, or norms over "
        "groups of processes",
        "gradients": "take more than a tenth: average them while the backward pass still computes, as "
        "DistributedDataParallel does",
    }
    said = []
    for images in config.images:
        for part, help in helps.items():
            gpus = next((n for n in (2**i for i in range(1, 13)) if _share(config, n, images, part) > LIMIT), None)
            if gpus is not None:
                said.append(
                    f"- {images} images a GPU, from {gpus:,} GPUs on (batch {gpus * images:,}): the {part} {help}."
                )
    return said


def _share(config: ScalingConfig, gpus: int, images: int, part: str) -> float:
    time = predicted(config, gpus, images)
    return getattr(time, part) / time.total


def comparison(rounds: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return predicted against measured steps, medians over the rounds: one process at a size between, two that talk.

    The model's numbers come from processes that do not talk (first and last size), from the loss by itself, and from
    two all-reduces; no step of processes that talk goes into it. The ratio is taken within each round.
    """
    found = [_compared(measured) for measured in rounds]
    return [
        {name: statistics.median(row[name] for row in rows) for name in rows[0]} for rows in zip(*found, strict=True)
    ]


def _compared(found: Measured) -> list[dict[str, Any]]:
    card, links, work = small_card(found), small_links(found), small_work()
    between = {share: took for share, took in found.alone.items() if min(found.alone) < share < max(found.alone)}
    rows = []
    for processes, measured in ((1, between), (2, found.together)):
        for share, took in measured.items():
            time = step_time(card, links, work, processes, processes * share)
            rows.append(
                {
                    "processes": processes, "images a process": share, "predicted": 1e3 * time.total,
                    "measured": 1e3 * took, "predicted / measured": time.total / took, "compute": 1e3 * time.compute,
                    "loss": 1e3 * time.loss, "norms": 1e3 * time.norms, "gradients": 1e3 * time.gradients,
                    "gather": 1e3 * time.gather,
                }
            )  # fmt: skip
    return rows


def draw(config: ScalingConfig) -> Figure:
    """Return the figure: images a second against GPUs, and the parts of a step at the most images a GPU."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = [2**i for i in range(11)]
    for images, colour in zip(config.images, COLOURS * len(config.images), strict=False):
        left.plot(counts, [predicted(config, n, images).images_per_second for n in counts], "o-", color=colour,
                  markersize=3, label=f"{images} images a GPU")  # fmt: skip
    left.set_xscale("log", base=2)
    left.set_yscale("log")
    left.set_xlabel("GPUs")
    left.set_ylabel("source images a second")
    left.legend(frameon=False, fontsize=8)
    most = max(config.images)
    times = [predicted(config, n, most) for n in counts]
    parts = ("compute", "loss", "norms", "gradients", "gather")
    values = [[1e3 * getattr(time, part) for time in times] for part in parts]
    right.stackplot(range(len(counts)), values, labels=parts, colors=COLOURS)
    right.set_xticks(range(len(counts)), counts)
    right.set_xlabel(f"GPUs, {most} images each")
    right.set_ylabel("milliseconds a step")
    right.legend(frameon=False, fontsize=8, loc="upper left")
    figure.suptitle(f"Predicted from one {config.card.name} and assumed links; not measured", fontsize=10)
    return figure
