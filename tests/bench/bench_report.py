"""Seconds to read 10,000 records (170 metrics each, as of COCO with its classes) and to write the whole report."""

import contextlib
import io
import random
import tempfile
import time
from pathlib import Path

from benchmark import report
from benchmark.records import RunRecord

RECORDS = 10_000
METHODS = ("random", "kernel_ssl", "byol", "moco v2", "simsiam")


def main() -> None:
    """Print the seconds of one report over many records, and of one over none."""
    with tempfile.TemporaryDirectory() as folder:
        print(f"no records: {_seconds(Path(folder) / 'none'):.1f} s")
        _write_records(Path(folder) / "many")
        print(f"{RECORDS:,} records: {_seconds(Path(folder) / 'many'):.1f} s")


def _write_records(folder: Path) -> None:
    draw = random.Random(0)
    folder.mkdir()
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", *[f"AP-{number}" for number in range(80)]]
    for number in range(RECORDS):
        method = draw.choice(METHODS)
        epochs = 0 if method == "random" else draw.choice((100, 200, 400, 800))
        metrics = {task: {name: draw.gauss(38, 0.3) for name in names} for task in ("bbox", "segm")}
        record = RunRecord(
            id=f"run-{number}",
            kind="detection",
            status="completed",
            method=method,
            epochs=epochs,
            total_epochs=epochs,
            seed=number // len(METHODS),
            metrics=metrics,
            duration_seconds=1.0,
            protocol="coco-c4-1x",
            protocol_hash=str(number % 5),
            data="coco",
            details={"lr": 0.02},
        )
        # Not by its own write: 10,000 times fsync takes minutes.
        (folder / f"{record.id}.json").write_text(record.model_dump_json(), encoding="utf-8")


def _seconds(records: Path) -> float:
    records.mkdir(exist_ok=True)
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        report.main(["--records", str(records), "--output", str(records.parent / "report")])
    return time.perf_counter() - began
