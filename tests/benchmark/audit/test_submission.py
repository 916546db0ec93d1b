"""Audits of records: each thing that a reader must be able to trust, broken once; bundles that another can check."""

import json
import random
import zipfile

import pytest

from benchmark import check
from benchmark.audit.shipped import shipped_protocols
from benchmark.core.errors import UserError
from benchmark.core.files import sha256_of
from benchmark.detections.scoring import score
from benchmark.records import RunRecord

PROTOCOL = "coco-fpn-1x"
TRUTH = {
    "images": [{"id": i, "width": 100, "height": 100, "file_name": f"{i}.jpg"} for i in range(10)],
    "categories": [{"id": 1, "name": "square"}, {"id": 2, "name": "disc"}],
    "annotations": [
        {"id": i + 1, "image_id": i, "category_id": 1 + i % 2, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0}
        for i in range(10)
    ],
}


def detections(seed):
    draw = random.Random(seed)
    return [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "score": draw.random(),
            "bbox": [10 + draw.uniform(-6, 6), 10.0, 40.0, 40.0],
        }
        for a in TRUTH["annotations"]
    ]


def record(seed, **changes):
    config = {"weights": "/home/someone/secret/moco.pth", "seed": seed}
    values = {
        "id": f"{PROTOCOL}-key{seed}",
        "kind": "detection",
        "status": "completed",
        "method": "moco_v2",
        "method_source": "zoo",
        "seed": seed,
        "epochs": 200,
        "weights_sha256": "ab" * 32,
        "file_sha256": "cd" * 32,
        "protocol": PROTOCOL,
        "protocol_hash": shipped_protocols()[PROTOCOL].hash,
        "data": "coco",
        "metrics": {"bbox": {k: score(TRUTH, detections(seed), "bbox")[k] for k in ("AP", "AP50", "AP75")}},
        "duration_seconds": 20000.0,
        "versions": {"torch": "2.6", "detectron2": "0.6"},
        "git_commit": "f" * 40,
        "config": config,
        "config_hash": sha256_of(config),
        "details": {"lr": 0.02},
    }
    return RunRecord(**(values | changes))


@pytest.fixture
def folder(tmp_path):
    """Three honest runs with their detections, and the ground truth."""
    for seed in range(3):
        record(seed).write(tmp_path / "records")
        run = tmp_path / "runs" / f"{PROTOCOL}-key{seed}"
        run.mkdir(parents=True)
        (run / "run.json").write_text("{}")
        (run / "predictions.json").write_text(json.dumps(detections(seed)))
        (run / "log.txt").write_text("read /home/someone/secret/moco.pth\n")
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
    return tmp_path


def findings(folder, capsys, *more):
    code = check.main([str(folder / "records"), "--runs", str(folder / "runs"), *more])
    out = capsys.readouterr().out
    found = [line.split("FINDING  ")[1] for line in out.splitlines() if "FINDING" in line]
    assert code == (1 if found else 0)
    return found, out


def test_honest_runs_have_no_finding(folder, capsys):
    found, out = findings(folder, capsys, "--annotations", str(folder / "truth.json"), "--planned", "3")
    assert found == []
    assert "3 record(s), 3 scored again" in out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config_hash": "0" * 64}, "config_hash is not the hash"),
        ({"config": {}, "config_hash": None}, "carries no configuration"),
        ({"weights_sha256": None, "file_sha256": None}, "no hash of the weights"),
        ({"versions": {"torch": "2.6"}}, "which version of detectron2"),
        ({"git_commit": None}, "names no commit"),
        ({"protocol_hash": "1" * 64}, "as shipped has"),
        ({"duration_seconds": 5.0}, "which no machine of today does"),
        ({"created": "2199-01-01T00:00:00+00:00"}, "written in the future"),
        ({"metrics": {}}, "holds no figure"),
        ({"protocol": "my-own"}, "none of the shipped ones"),
        ({"status": "diverged", "metrics": {}}, "but not why"),
    ],
)
def test_a_record_that_cannot_be_trusted_is_named(folder, capsys, changes, said):
    record(1, **changes).write(folder / "records")
    found, _ = findings(folder, capsys)
    assert any(said in text and f"{PROTOCOL}-key1" in text for text in found), found


def test_a_figure_that_its_detections_do_not_give(folder, capsys):
    better = {"bbox": {**record(1).metrics["bbox"], "AP": record(1).metrics["bbox"]["AP"] + 0.5}}
    record(1, metrics=better).write(folder / "records")
    found, _ = findings(folder, capsys, "--annotations", str(folder / "truth.json"))
    assert len(found) == 1
    assert "bbox AP is stated as" in found[0]


def test_a_run_left_out_is_found_by_its_folder_and_by_its_seed(folder, capsys):
    (folder / "records" / f"{PROTOCOL}-key1.json").unlink()
    found, _ = findings(folder, capsys)
    assert any("its record is left out" in text for text in found)
    assert any("seed 1 is missing" in text for text in found)


@pytest.mark.parametrize(("value", "missing"), [(0.5, False), (0.0, True)], ids=["not used", "used"])
def test_seeds_of_two_versions_are_one_setting_until_a_new_option_is_used(folder, capsys, value, missing):
    """Seeds 1 and 3 are of a version without the option, 2 and 4 of one that has it; the fourth may use it."""
    for seed in (1, 2, 3, 4):
        config = {"lr": 0.1, "seed": seed, **({"flip_p": value if seed == 4 else 0.5} if seed % 2 == 0 else {})}
        own = {"id": f"pretrain-{seed}", "kind": "pretrain", "protocol": None, "protocol_hash": None}
        record(seed, config=config, config_hash=sha256_of(config), **own).write(folder / "records")
    found, _ = findings(folder, capsys)
    assert any("is missing between the others" in text for text in found) is missing, found


def test_fewer_repeats_than_planned(folder, capsys):
    found, _ = findings(folder, capsys, "--planned", "5")
    assert any("5 repeats were planned and 3 are here" in text for text in found)


def test_a_seed_that_was_run_twice(folder, capsys):
    record(1, id=f"{PROTOCOL}-key9", metrics={"bbox": {"AP": 1.0}}).write(folder / "records")
    found, _ = findings(folder, capsys)
    assert any("seed 1 was run 2 times" in text for text in found)


def test_a_copy_under_another_seed(folder, capsys):
    record(3, metrics=record(2).metrics).write(folder / "records")
    found, _ = findings(folder, capsys)
    assert any("agree in every figure" in text for text in found)


def test_a_failed_run_counts_as_a_run(folder, capsys):
    failed = record(1, status="diverged", metrics={}, details={"lr": 0.02, "reason": "the loss is not finite"})
    failed.write(folder / "records")
    assert findings(folder, capsys)[0] == []


def test_a_damaged_record_is_a_finding_and_not_a_traceback(folder, capsys):
    (folder / "records" / "broken.json").write_text('{"id": "broken"')
    found, _ = findings(folder, capsys)
    assert len(found) == 1
    assert "broken.json" in found[0]


@pytest.mark.parametrize(
    "content", ["[1]", "[{}]", '[{"image_id": 1, "category_id": 1, "score": NaN, "bbox": [0,0,1,1]}]']
)
def test_detections_that_cannot_be_scored(folder, capsys, content):
    (folder / "runs" / f"{PROTOCOL}-key0" / "predictions.json").write_text(content)
    found, _ = findings(folder, capsys, "--annotations", str(folder / "truth.json"))
    assert len(found) == 1


def bundle(folder, capsys):
    path = folder / "out.zip"
    assert check.main([str(folder / "records"), "--runs", str(folder / "runs"), "--bundle", str(path)]) == 0
    capsys.readouterr()
    return path


def test_a_bundle_can_be_checked_and_scored_by_another(folder, capsys, tmp_path):
    path = bundle(folder, capsys)
    assert check.main([str(path), "--annotations", str(folder / "truth.json")]) == 0
    assert "3 record(s), 3 scored again" in capsys.readouterr().out


def test_a_bundle_tells_no_paths(folder, capsys):
    with zipfile.ZipFile(bundle(folder, capsys)) as archive:
        for name in archive.namelist():
            text = archive.read(name).decode()
            assert "someone" not in text
            assert "secret" not in text
        assert "<path>/moco.pth" in archive.read(f"records/{PROTOCOL}-key0.json").decode()


def test_a_bundle_that_was_changed_is_found(folder, capsys):
    path = bundle(folder, capsys)
    changed = folder / "changed.zip"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content.replace(b'"epochs": 200', b'"epochs": 800'))
    assert check.main([str(changed)]) == 1
    assert "is not the file that the manifest lists" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../outside.json", "/tmp/outside.json", "records/../../outside.json"])
def test_a_bundle_cannot_write_outside(folder, tmp_path, name):
    path = folder / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MANIFEST.json", json.dumps({"version": 1, "files": {}}))
        archive.writestr(name, "x")
    with pytest.raises(UserError, match="leaves the bundle"):
        check.main([str(path)])


def test_a_damaged_bundle_is_one_sentence(folder, capsys):
    path = bundle(folder, capsys)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        check.main([str(path)])


def test_no_records_no_bundle(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "x.json").write_text("{")
    with pytest.raises(UserError, match="there is no"):
        check.main([str(tmp_path / "nowhere.json")])
