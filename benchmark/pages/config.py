"""The options of ``benchmark/report.py``."""

from dataclasses import dataclass

from benchmark.core.options import check_values, option
from benchmark.core.value_types import PathText


@dataclass(frozen=True)
class ReportConfig:
    """Options of the report: where the records are and where page and tables go."""

    records: PathText | None = option(None, "folder of records, *.json; default results/records", group="Files")
    output: PathText | None = option(None, "folder for report.html and tables/; default results", group="Files")
    published: PathText | None = option(None, "CSV of published figures; default the project's own", group="Files")
    runs: PathText | None = option(
        None, "folder of run folders, for curves, pictures and kinds of errors; default: runs/ beside the records",
        group="Files",
    )  # fmt: skip
    annotations: PathText | None = option(
        None, "COCO annotations, with which saved detections tell which errors cost AP", group="Files"
    )

    def __post_init__(self) -> None:
        check_values(self)
