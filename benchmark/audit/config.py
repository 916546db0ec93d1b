"""The options of ``benchmark/check.py``."""

from dataclasses import dataclass

from benchmark.core.options import check_values, option
from benchmark.core.value_types import Count, CountOrZero, PathText


@dataclass(frozen=True)
class CheckConfig:
    """Options of an audit."""

    paths: tuple[str, ...] = option(
        (), "logs, configs, run folders, records or folders of records", group="Files", positional=True
    )
    annotations: PathText | None = option(
        None, "COCO annotations with which saved detections are scored again", group="Records"
    )
    runs: PathText | None = option(
        None,
        "folder of run folders: are there runs without a record, and what do their detections score",
        group="Records",
    )
    planned: Count | None = option(None, "repeats that were planned for every setting", group="Records")
    record: bool = option(False, "write an imported record of each audited run that gave an AP", group="Import")
    records: PathText | None = option(None, "folder of the imported records; default results/records", group="Import")
    method: str | None = option(None, "pre-training method of the audited weights, as you state it", group="Import")
    epochs_stated: CountOrZero | None = option(
        None, "epochs of pre-training of the audited weights, as you state them", group="Import"
    )
    bundle: PathText | None = option(
        None, "write records, configs, logs and detections into this ZIP file, without private paths", group="Bundle"
    )
    json: bool = option(False, "print JSON for machines", group="Output")

    def __post_init__(self) -> None:
        check_values(self)
