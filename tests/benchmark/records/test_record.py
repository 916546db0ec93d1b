"""The record's schema: what is written reads back, a bad file is named, a hostile one does no harm."""

import json
import os

import pytest

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from benchmark.records import RunRecord, read_frame, read_records, scan_records
from benchmark.records.content import MAX_BYTES
from benchmark.records.schema import json_schema


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
    known = {"method_source": "zoo", "epochs": 800, "epochs_source": "stated", "weights_sha256": "a" * 64}
    written = record(details={"lr": 0.02}, pretrain_seed=2**64 - 1, file_sha256="b" * 64, **known)
    path = written.write(tmp_path)
    assert path == tmp_path / "run-1.json"
    assert RunRecord.read(path) == written
    assert read_records(tmp_path) == [written]
    assert written.versions["python"]
    assert json.loads(path.read_text())["schema_version"] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "other"}, "kind"),
        ({"status": "done"}, "status"),
        ({"metrics": {"bbox": {"AP": float("nan")}}}, "missing value is null"),
        ({"metrics": {"bbox": {"AP": True}}}, "missing value is null"),
        ({"metrics": {"bbox": {"AP": 1e308}}}, "usual size"),
        ({"metrics": {"bbox": {"AP": 382.0}}}, "not a percentage"),
        ({"metrics": {"segm": {"AP": -1.0}}}, "not a percentage"),
        ({"duration_seconds": -1.0}, "duration_seconds"),
        ({"protocol": None}, "needs its protocol"),
        ({"id": "../x"}, "name of a file"),
        ({"id": ""}, "name of a file"),
        ({"branch": "teacher"}, "branch"),
        ({"method_source": "guess"}, "method_source"),
        ({"method": "m" * 301}, "method"),
        ({"seed": None}, "imported records only"),
        ({"seed": -1}, "seed"),
    ],
)
def test_invalid_values_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        record(**changes)


def test_somebody_elses_run_may_have_neither_seed_nor_duration(tmp_path):
    imported = record(kind="imported", seed=None, duration_seconds=None, protocol=None)
    assert RunRecord.read(imported.write(tmp_path)) == imported


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(schema_version=99), "newer version of this project.*update the project"),
        (lambda d: d.update(schema_version="2"), "schema_version '2'"),
        (lambda d: d.update(schema_version=True), "schema_version True"),
        (lambda d: d.pop("schema_version"), "schema_version None"),
        (lambda d: d.pop("method"), "lacks the fields method"),
        (lambda d: d.update(mehtod="x"), "unknown fields mehtod"),
        (lambda d: d.update(status="fine"), "status is 'fine', but it should be 'completed'"),
        (lambda d: d.update(metrics={"bbox": 3}), "metrics.bbox is 3"),
        (lambda d: d.update(epochs="400"), "epochs is '400', but it should be a valid integer"),
        (lambda d: d.update(seed=True), "seed is True"),
        (lambda d: d.update(method=None), "method is None"),
        (lambda d: d.update(details={"lr": "0.02"}), "details.lr is '0.02'"),
        (lambda d: d.update(details=[]), r"details is \[\]"),
        (lambda d: d.update({f"unknown{i}": "x" * 100_000 for i in range(50)}), "unknown fields"),
        (lambda d: d.update(method="x" * 100_000), "method is 'xxx"),
        (lambda d: d.update(method="\x1b[2J\n" + "x" * 1000), r"method is '\\x1b\[2J\\n"),
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
    assert len(str(error.value)) < 1000
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[1]",
        b"",
        b"\xff\xfe",
        b'{"id": "\\ud800"}',
        b"[" * 1_000_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"seed": ' + b"9" * 10_000 + b"}",
        b'{"metrics": NaN}',
        b'{"schema_version": 2, "metrics": {"bbox": {"AP": 1e400}}}',
        b'{"schema_version": 2, "details": {"x": -1e999}}',
        b'{"schema_version": 2}',
        b"null",
    ],
)
def test_unreadable_files(tmp_path, data):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(UserError, match=r"x\.json") as error:
        read_records(tmp_path)
    assert "\n" not in str(error.value)


def test_what_is_not_a_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "a.json")  # opening it would wait for a writer for ever
    (tmp_path / "b.json").mkdir()
    (tmp_path / "c.json").symlink_to("/dev/zero")
    (tmp_path / "d.json").symlink_to("nowhere")
    with open(tmp_path / "e.json", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    record().write(tmp_path)
    records, problems = scan_records(tmp_path)
    assert [found.id for found in records] == ["run-1"]
    assert [name for name in "abcde" if f"{name}.json" in problems[ord(name) - ord("a")]] == list("abcde")
    assert "too many for a record" in problems[4]


def test_records_of_version_1_stay_readable(tmp_path):
    """A record as the project's first version wrote it: what it called the weights' hash was the file's."""
    first = {
        "id": "coco-1", "kind": "detection", "status": "completed", "method": "kernel_ssl", "seed": 0,
        "metrics": {"bbox": {"AP": 38.2}}, "duration_seconds": 1.5, "epochs": 400, "total_epochs": 400,
        "branch": "online", "weights_sha256": "c" * 64, "protocol": "coco-c4-1x", "protocol_hash": "h",
        "data": "coco", "overrides": {}, "hardware": {}, "versions": {"python": "3.9.1"}, "git_commit": None,
        "config_hash": None, "config": {}, "details": {"lr": 0.02}, "created": "2024-01-01T00:00:00+00:00",
        "schema_version": 1,
    }  # fmt: skip
    (tmp_path / "coco-1.json").write_text(json.dumps(first))
    (found,) = read_records(tmp_path)
    assert (found.file_sha256, found.weights_sha256, found.versions) == ("c" * 64, None, {"python": "3.9.1"})
    assert (found.schema_version, found.method_source, found.pretrain_seed) == (2, None, None)


def test_what_another_machine_did_not_write_is_not_filled_in_from_this_one(tmp_path):
    path = record().write(tmp_path)
    content = json.loads(path.read_text())
    for name in ("versions", "git_commit", "created"):
        del content[name]
    path.write_text(json.dumps(content))
    found = RunRecord.read(path)
    assert (found.versions, found.git_commit, found.created) == ({}, None, None)


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


def test_the_published_schema_is_the_models():
    assert (ROOT / "docs" / "record.schema.json").read_text(encoding="utf-8") == json_schema()
    assert set(json.loads(json_schema())["properties"]) == set(RunRecord.model_fields)


def test_gpu_hours_count_the_processes():
    assert record(duration_seconds=1800.0, hardware={"processes": 8}).gpu_hours == 4.0
    assert record(duration_seconds=1800.0).gpu_hours == 0.5


def test_the_frame_has_one_figure_a_line_and_leaves_no_run_out(tmp_path):
    record(details={"lr": 0.02}, epochs=400).write(tmp_path)
    record(id="run-2", status="failed", metrics={}, seed=7).write(tmp_path)
    frame = read_frame(tmp_path)
    assert [tuple(line) for line in frame[["id", "task", "metric"]].fillna("").to_numpy()] == [
        ("run-1", "bbox", "AP"),
        ("run-1", "bbox", "APs"),
        ("run-2", "", ""),
    ]
    assert frame["value"].tolist()[0] == 38.2
    assert frame["value"].isna().tolist() == [False, True, True]
    assert (frame["epochs"].tolist()[0], frame["lr"].tolist()[0]) == (400, 0.02)
    assert read_frame(tmp_path / "none").empty
    assert list(read_frame(tmp_path / "none").columns) == list(frame.columns)
