"""``python pretrain/studies/scaling.py``: how fast a step of Kernel-SSL is on more GPUs, predicted from one.

The model is ``benchmark/runner/step_time.py``: what one card was measured to do, and assumptions about what connects
the cards. With --measure the same model is checked on this machine against two processes that talk over gloo.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from benchmark.core.errors import UserError, run_command
from benchmark.core.folder import RESULTS
from benchmark.core.options import check_choices, option, parse
from benchmark.core.value_types import Count, PositiveFloat
from benchmark.runner.step_time import (
    CARDS,
    IMAGENET,
    KERNEL_SSL,
    LINKS,
    Card,
    Links,
    StepTime,
    step_time,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pretrain.studies.two_gloo import Measured

PROG = "python pretrain/studies/scaling.py"
DESCRIPTION = (
    "Predict the time of a Kernel-SSL step (ResNet-50, 224 px) on several GPUs from one measured card and assumed "
    "links; with --measure, check the model against two processes on this machine."
)
SHARES = (8, 16, 32)  # images of a process in the measurement; the first and the last give the model its numbers
LIMIT = 0.1  # share of a step from which a part is said to stand in the way

Shares = tuple[Annotated[int, Field(ge=2, le=2**16)], ...]


@dataclass(frozen=True)
class ScalingConfig:
    """The options of the study."""

    gpus: tuple[Count, ...] = option((1, 8, 64), "numbers of GPUs, e.g. 1,8,64", group="Prediction")
    images: Shares = option((64, 128, 256, 512), "images of a GPU in a step, e.g. 128,256", group="Prediction")
    precision: Literal["bf16", "fp32"] = option("bf16", "of the network, as measured on one card", group="Prediction")
    nvlink: PositiveFloat = option(
        LINKS.inside / 1e9, "bus bandwidth of all-reduce within a machine, GB/s (assumed)", group="Assumptions"
    )
    infiniband: PositiveFloat = option(
        LINKS.between / 1e9, "bus bandwidth of all-reduce between machines, GB/s (assumed)", group="Assumptions"
    )
    latency: PositiveFloat = option(
        LINKS.latency_inside_s * 1e6, "of a collective within a machine, microseconds; twice it between machines",
        group="Assumptions",
    )  # fmt: skip
    loss_rate: PositiveFloat = option(
        CARDS["bf16"].loss_rate / 1e12, "float32 matrix products of the loss, TFLOP/s (assumed)", group="Assumptions"
    )
    measure: bool = option(
        False, "measure one and two processes here, a minute on two free cores, and check the model", group="Check"
    )
    rounds: Count = option(5, "rounds of the measurement, alone and together in turn", group="Check")
    output: str = option(str(RESULTS / "studies" / "scaling"), "folder of tables and figure", group="Output")

    def __post_init__(self) -> None:
        check_choices(self)
        if not self.gpus or not self.images:
            raise UserError("--gpus and --images need one or more numbers each, such as 1,8,64 and 128,256.")

    @property
    def card(self) -> Card:
        """The card with the assumed rate of the loss."""
        known = CARDS[self.precision]
        return Card(
            known.name, known.fixed_s, known.image_s, known.loss_floor_s, 1e12 * self.loss_rate, known.views_rate
        )

    @property
    def links(self) -> Links:
        """The assumed links."""
        latency = 1e-6 * self.latency
        return Links(1e9 * self.nvlink, 1e9 * self.infiniband, latency, 2 * latency)


def main(argv: list[str] | None = None) -> int:
    """Run the study as the command line says. Raises ``UserError``."""
    config = parse(ScalingConfig, argv, PROG, DESCRIPTION)
    from benchmark.core.files import write_text
    from pretrain.studies.output import check_output, markdown_table, write_csv, write_figure

    output = Path(config.output)
    check_output(output)
    rows = predictions(config)
    write_csv(output / "scaling.csv", rows)
    text = f"Predicted from one {config.card.name}; nothing here was measured on more than one card.\n\n"
    text += markdown_table(rows) + "\n" + "\n".join(limits(config)) + "\n"
    if config.measure:
        from pretrain.studies.two_gloo import measure

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


def comparison(rounds: "Sequence[Measured]") -> list[dict[str, Any]]:
    """Return predicted against measured steps, medians over the rounds: one process at a size between, two that talk.

    The model's numbers come from processes that do not talk (first and last size), from the loss by itself, and from
    two all-reduces; no step of processes that talk goes into it. The ratio is taken within each round.
    """
    found = [_compared(measured) for measured in rounds]
    return [
        {name: statistics.median(row[name] for row in rows) for name in rows[0]} for rows in zip(*found, strict=True)
    ]


def _compared(found: "Measured") -> list[dict[str, Any]]:
    from pretrain.studies.two_gloo import small_card, small_links, small_work

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


def draw(config: ScalingConfig) -> "Figure":
    """Return the figure: images a second against GPUs, and the parts of a step at the most images a GPU."""
    from matplotlib.figure import Figure

    from pretrain.studies.output import COLOURS

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


if __name__ == "__main__":
    raise SystemExit(run_command(main))
