"""The record's schema: what is written reads back, and a bad file is named."""

import json

import pytest

from benchmark.core.errors import UserError
from benchmark.records.record import RunRecord, read_records


def record(**changes) -> RunRecord:
    values = {
        "id": "run-1",
        "kind": "detection",
        "status": "completed",
        "method": "kernel_ssl",
        "seed": 0,
        "metrics": {"bbox": {"AP": 38.2, "APs": None}},
        "duration_seconds": 1.5,
        "protocol": "coco-c4-1x",
    }
    return RunRecord(**(values | changes))


def test_round_trip(tmp_path):
    written = record(details={"lr": 0.02})
    path = written.write(tmp_path)
    assert path == tmp_path / "run-1.json"
    assert RunRecord.read(path) == written
    assert read_records(tmp_path) == [written]
    assert written.versions["python"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "other"}, "kind"),
        ({"status": "done"}, "status"),
        ({"metrics": {"bbox": {"AP": float("nan")}}}, "missing value is null"),
        ({"metrics": {"bbox": {"AP": True}}}, "missing value is null"),
        ({"duration_seconds": -1.0}, "not a time"),
        ({"protocol": None}, "needs its protocol"),
        ({"id": "../x"}, "not a file name"),
    ],
)
def test_invalid_values_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        record(**changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(schema_version=99), "schema_version 99"),
        (lambda d: d.pop("method"), "lacks the fields method"),
        (lambda d: d.update(mehtod="x"), "unknown fields mehtod"),
        (lambda d: d.update(status="fine"), "status 'fine'"),
        (lambda d: d.update(metrics={"bbox": 3}), "metrics.bbox is not an object"),
        (lambda d: d.update(epochs="400"), "epochs is '400', not a whole number"),
        (lambda d: d.update(seed=True), "seed is True"),
        (lambda d: d.update(method=None), "method is None"),
        (lambda d: d.update(details={"lr": "0.02"}), "details.lr is '0.02'"),
        (lambda d: d.update(details=[]), "details is"),
    ],
)
def test_bad_files_are_named(tmp_path, change, said):
    path = record().write(tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said) as error:
        read_records(tmp_path)
    assert "run-1.json" in str(error.value)


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_unreadable_files(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=r"x\.json"):
        read_records(tmp_path)


def test_a_copy_of_a_record_is_no_repeat(tmp_path):
    path = record().write(tmp_path)
    (tmp_path / "run-1 (copy).json").write_text(path.read_text())
    with pytest.raises(UserError, match="'run-1' under another name"):
        read_records(tmp_path)


def test_hidden_files_and_unfinished_ones_are_no_records(tmp_path):
    record().write(tmp_path)
    (tmp_path / "._run-1.json").write_bytes(b"\x00\xff")  # macOS leaves such beside copied files
    (tmp_path / ".run-2.json.abc.part").write_text("{")
    assert [found.id for found in read_records(tmp_path)] == ["run-1"]
