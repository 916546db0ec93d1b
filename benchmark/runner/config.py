"""Options of the suite runner."""

from dataclasses import dataclass
from typing import Literal

from benchmark.core.errors import UserError
from benchmark.core.options import check_values, option
from benchmark.core.value_types import Count, PathText


@dataclass(frozen=True)
class SuiteConfig:
    """Options of the suite runner."""

    suite: str = option("demo", "name of a suite in benchmark/suites, or a YAML file", group="Suite")
    weights: tuple[str, ...] = option(
        (), "for suites that compare given weights: words of --weights, e.g. a.pth,zoo:moco_v2_800ep", group="Suite"
    )
    plan: bool = option(False, "print every run, its state, what is left and the power, and stop", group="Suite")
    json: bool = option(False, "print the plan as JSON", group="Suite")
    list: bool = option(False, "print the suites that this project has, and stop", group="Suite")
    report: bool = option(True, "make the report at the end, into the folder above the records", group="Suite")

    imagenet: PathText | None = option(None, "ImageNet's training images, for suites that pre-train", group="Data")
    coco: PathText | None = option(None, "root of COCO, for suites that fine-tune on it", group="Data")
    voc: PathText | None = option(None, "root of VOC (VOCdevkit), for suites that fine-tune on it", group="Data")
    images: PathText | None = option(None, "train/ and validation/ of class folders, for probes", group="Data")
    output: PathText | None = option(None, "folder for all runs; default results/runs/<suite>", group="Data")
    records: PathText | None = option(None, "folder of records; default results/records", group="Data")

    jobs: Count = option(1, "runs at a time on this machine, which share its GPUs", group="Machine")
    cluster: Literal["none", "slurm"] = option("none", "submit the runs to Slurm instead", group="Machine")
    partition: str | None = option(None, "Slurm's partition", group="Machine")
    account: str | None = option(None, "Slurm's account", group="Machine")
    qos: str | None = option(None, "Slurm's quality of service", group="Machine")
    hours: float | None = option(None, "time limit of every job in hours; default the suite's own", group="Machine")
    signal_seconds: Count = option(120, "seconds before its end at which a job is asked to save", group="Machine")
    cpus_per_gpu: Count = option(8, "cores for each GPU of a job", group="Machine")
    sbatch: tuple[str, ...] = option((), "more options of sbatch, e.g. constraint=a100,exclusive", group="Machine")
    poll_seconds: Count = option(30, "seconds between looks at the jobs", group="Machine")
    cancel: bool = option(False, "cancel all jobs of this suite and stop", group="Machine")

    def __post_init__(self) -> None:
        check_values(self)
        if self.hours is not None and not 0 < self.hours <= 8760:
            raise UserError(f"--hours is {self.hours:g}; it must be above 0 and at most a year's 8760.")
        if self.cancel and self.cluster != "slurm":
            raise UserError("--cancel is for --cluster slurm; a suite on this machine ends by Ctrl-C.")
        if self.cluster == "slurm" and self.jobs != 1:
            raise UserError("--jobs is for this machine; Slurm decides how many jobs run at a time.")
