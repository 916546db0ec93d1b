"""From records to the page: protocols stay apart, published figures stay quoted, troubles are shown."""

import csv
import io
import re
import subprocess
import sys

import pytest

from benchmark import report
from benchmark.comparison.published import read_published, shipped_hash
from benchmark.comparison.repeats import Difference
from benchmark.comparison.rows import detection_tables
from benchmark.comparison.setting import NOT_RECIPE
from benchmark.comparison.wording import difference_text
from benchmark.core.errors import run_command
from benchmark.records import RunRecord


def detection(identity, method, epochs, seed, box, mask, protocol="coco-c4-1x", data="coco", **changes):
    metrics = {"bbox": {"AP": box, "AP50": box + 20}, "segm": {"AP": mask}}
    values = {"id": identity, "kind": "detection", "status": "completed", "method": method, "seed": seed}
    values |= {"epochs": epochs, "total_epochs": epochs, "protocol": protocol, "data": data}
    values |= {"protocol_hash": shipped_hash(protocol), "method_source": "file", "epochs_source": "file"}
    values |= {"metrics": metrics, "duration_seconds": 1.0, "details": {"lr": 0.02}}
    return RunRecord(**(values | changes))


@pytest.fixture
def records(tmp_path):
    folder = tmp_path / "records"
    rows = [
        detection("r0", "random", 0, 0, 26.0, 25.0),
        detection("r1", "random", 0, 1, 26.4, 25.4),
        detection("n0", "detectron2-random", 0, 0, 26.3, 25.3),
        pretrained("w400", "a", 400),
        pretrained("w800", "b", 800),
        detection("a0", "kernel_ssl", 400, 0, 38.0, 33.0, weights_sha256="a"),
        detection("a1", "kernel_ssl", 400, 1, 38.6, 33.4, weights_sha256="a"),
        detection("b0", "kernel_ssl", 800, 0, 38.2, 33.3, weights_sha256="b"),
        detection("b1", "kernel_ssl", 800, 1, 38.2, 33.2, weights_sha256="b"),
        detection("p", "kernel_ssl", 200, 0, 30.0, 29.0, total_epochs=400),
        detection(
            "d", "byol", 400, 0, 0, 0, status="diverged", metrics={}, details={"iteration": 34, "lr_at_end": 0.0123}
        ),
        detection("e", "random", 0, 0, 4.0, 3.0, protocol="embedded", data="embedded"),
    ]
    for row in rows:
        row.write(folder)
    return folder


def build(records, tmp_path, capsys):
    assert report.main(["--records", str(records), "--output", str(tmp_path / "out")]) == 0
    return capsys.readouterr().out, (tmp_path / "out" / "tables" / "report.md").read_text()


def test_table(records, tmp_path, capsys):
    printed, text = build(records, tmp_path, capsys)
    assert "| Kernel-SSL | 400 | 2 | 0.02 | 38.3 (sd 0.42) | 58.3 (sd 0.42) |" in printed
    assert "Kernel-SSL, 800 − 400 epochs | −0.1 \\[−3.9, +3.7\\] | within noise (2 pairs)" in printed
    assert "Kernel-SSL, 400 epochs − untrained encoder | +12.1 \\[+10.8, +13.4\\] | better" in printed
    assert "200 of 400" in printed
    assert "diverged at iteration 34, lr 0.0123 (seed 0)" in printed
    assert printed.count("## coco-c4-1x, data: coco\n") == printed.count("## embedded, data: embedded\n") == 1
    assert printed.index("## coco-c4-1x") < printed.index("## embedded")  # COCO answers the question, first
    sections = printed[printed.index("## coco-c4-1x") : printed.index("\nwrote ")]
    assert sections.strip() in text


def test_published_stands_beside_measured_and_never_in_a_mean(records, tmp_path, capsys):
    printed, _ = build(records, tmp_path, capsys)
    header = next(line for line in printed.splitlines() if line.startswith("| weights"))
    row = next(line for line in printed.splitlines() if line.startswith("| untrained encoder"))
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert cells["box AP"] == "26.2 (sd 0.28)"
    assert cells["box AP published"] == ""  # the papers' "random init" is Detectron2's, not the untrained encoder
    row = next(line for line in printed.splitlines() if line.startswith("| Detectron2's random init"))
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert cells["box AP published"] == "26.4 (own paper)"
    lines = list(csv.DictReader(io.StringIO((tmp_path / "out" / "tables" / "report.csv").read_text())))
    assert {line["origin"] for line in lines} == {"measured", "published"}
    for line in lines:
        if line["origin"] == "published":
            assert line["source"]
            assert not line["mean"]
        else:
            assert not line["value"]


def test_embedded_stands_beside_no_published_figure(records, tmp_path):
    tables = detection_tables([RunRecord.read(path) for path in records.glob("*.json")], read_published())
    by_name = {table.protocol: table for table in tables}
    assert by_name["embedded"].published == []
    assert by_name["coco-c4-1x"].published
    assert all(row.protocol == "coco-c4-2x" for row in by_name["coco-c4-2x"].published)


def test_overrides_and_other_hashes_get_their_own_table():
    rows = [
        detection("x", "random", 0, 0, 20.0, 20.0),
        detection("y", "random", 0, 1, 22.0, 20.0, protocol_hash="other", overrides={"SOLVER.MAX_ITER": "100"}),
    ]
    measured = [table for table in detection_tables(rows, read_published()) if table.measured]
    assert len(measured) == 2
    assert measured[1].published == []
    assert "SOLVER.MAX_ITER=100" in measured[1].title


def test_the_navigation_tells_tables_of_one_protocol_apart(tmp_path):
    """Two lengths of one protocol beside another protocol, which needs no more than its name."""
    for steps in ("60", "120"):
        other = {"protocol_hash": f"of {steps}", "overrides": {"SOLVER.MAX_ITER": steps, "SEED": "1"}}
        detection(f"of{steps}", "random", 0, 0, 4.0, 3.0, **other).write(tmp_path / "records")
    detection("c", "random", 0, 0, 4.0, 3.0, protocol="coco-fpn-1x").write(tmp_path / "records")
    assert report.main(["--records", str(tmp_path / "records"), "--output", str(tmp_path)]) == 0
    links = re.findall(r'<li><a href="#t[^"]*">([^<]*)</a>', (tmp_path / "report.html").read_text())
    assert sorted(links) == ["coco-c4-1x, SOLVER.MAX_ITER=120", "coco-c4-1x, SOLVER.MAX_ITER=60", "coco-fpn-1x"]


def test_files_are_written_and_the_page_holds_the_tables(records, tmp_path, capsys):
    build(records, tmp_path, capsys)
    page = (tmp_path / "out" / "report.html").read_text()
    assert re.search(r'data-records="a0 a1"[^>]*>38.3</button><small>sd 0.42</small>', page)
    assert page.count("<svg ") >= 3  # the first figure, and one of each measured table
    made = {path.name for path in (tmp_path / "out" / "tables").iterdir()}
    assert made == {"report.md", "report.tex", "report.json", "report.csv", "runs.csv", "comparisons.csv"}


def test_report_imports_no_torch_and_says_when_there_is_nothing(tmp_path):
    code = (
        "import sys; from benchmark import report; report.main(sys.argv[1:]); "
        "assert not {'torch', 'detectron2'} & set(sys.modules)"
    )
    (tmp_path / "none").mkdir()
    arguments = ["--records", str(tmp_path / "none"), "--output", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "No records" in done.stdout


def test_missing_folder_and_bad_record(tmp_path, capsys):
    assert run_command(report.main, ["--records", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "x.json").write_text("{}")
    assert run_command(report.main, ["--records", str(tmp_path)]) == 2
    assert "x.json" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_told(records, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run_command(report.main, ["--records", str(records), "--output", str(tmp_path / "file")]) == 2
    assert "cannot be written to" in capsys.readouterr().err


def pretrained(identity, weights, epochs, seed=0, **config):
    values = {"id": identity, "kind": "pretrain", "status": "completed", "method": "kernel_ssl", "seed": seed}
    values |= {"epochs": epochs, "total_epochs": epochs, "weights_sha256": weights, "data": "imagenet"}
    config = {"epochs": epochs, "seed": seed, "gamma": 1.0, "output": identity, **config}
    return RunRecord(**values, metrics={"pretrain": {"loss": -1.0}}, duration_seconds=1.0, config=config)


def tuned(identity, weights, epochs, seed, box, **changes):
    return detection(identity, "kernel_ssl", epochs, seed, box, box - 4, weights_sha256=weights, **changes)


def measured_rows(records):
    return [row for table in detection_tables(records, []) for row in table.measured]


def test_other_weights_are_no_repeats_unless_their_recipe_is_known_to_be_the_same():
    runs = [tuned("a", "aaaa1111ff", 400, 0, 38.0), tuned("b", "bbbb2222ff", 400, 1, 30.0)]
    assert [row.label for row in measured_rows(runs)] == [
        "Kernel-SSL (weights aaaa1111)",
        "Kernel-SSL (weights bbbb2222)",
    ]
    same = [pretrained("p", "aaaa1111ff", 400, 0), pretrained("q", "bbbb2222ff", 400, 1)]
    (row,) = measured_rows([*same, *runs])
    assert (row.label, row.runs, row.numbers("bbox", "AP")) == ("Kernel-SSL", 2, [38.0, 30.0])
    other = [pretrained("p", "aaaa1111ff", 400, 0), pretrained("q", "bbbb2222ff", 400, 1, gamma=0.5)]
    rows = measured_rows([*other, *runs])
    assert [(row.label, row.runs) for row in rows] == [("Kernel-SSL (gamma=0.5)", 1), ("Kernel-SSL (gamma=1.0)", 1)]


def test_what_does_not_change_a_pretraining_makes_no_other_recipe():
    from pretrain.training.config import NOT_IDENTITY

    assert set(NOT_IDENTITY) <= set(NOT_RECIPE)


def test_lengths_are_compared_within_one_recipe():
    sources = [pretrained("p", "a", 400), pretrained("q", "b", 800), pretrained("r", "c", 800, gamma=0.5)]
    runs = [tuned("x", "a", 400, 0, 38.0), tuned("y", "b", 800, 0, 38.5), tuned("z", "c", 800, 0, 20.0)]
    (table,) = detection_tables([*sources, *runs], [])
    pairs = [(a.setting.epochs, b.setting.epochs, b.numbers("bbox", "AP")) for a, b in table.length_pairs()]
    assert pairs == [(400, 800, [38.5])]


def test_a_400_row_cannot_come_from_a_checkpoint_of_other_epochs(tmp_path, capsys):
    for row in (pretrained("p", "a", 200), tuned("x", "a", 400, 0, 38.0)):
        row.write(tmp_path)
    assert run_command(report.main, ["--records", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "record x says 400 epochs, but p trained these very weights for 200" in capsys.readouterr().err
    # Half of an 800-epoch schedule is no 400-epoch run either: it is shown as what it is and compared with none.
    rows = [detection("h", "kernel_ssl", 400, 0, 38.0, 34.0, total_epochs=800), tuned("w", None, 800, 0, 39.0)]
    (table,) = detection_tables(rows, [])
    assert [row.setting.epochs_label for row in table.measured] == ["400 of 800", "800"]
    assert table.length_pairs() == []


def test_runs_of_one_seed_from_several_pretrainings_are_averaged_before_pairing():
    rows = [detection(f"r{s}", "random", 0, s, 26.0 + s, 25.0) for s in (0, 1)]
    sources = [pretrained("p", "a", 400, 0), pretrained("q", "b", 400, 1)]
    rows += [tuned(f"{w}{s}", w, 400, s, box) for w, s, box in (("a", 0, 30), ("b", 0, 34), ("a", 1, 35), ("b", 1, 37))]
    (table,) = detection_tables([*sources, *rows], [])
    found = table.against_control(table.measured[1], "bbox")
    assert table.measured[1].runs == 4
    assert (found.n, found.paired, found.mean) == (2, True, pytest.approx(((32 - 26) + (36 - 27)) / 2))


def test_a_missing_value_is_blank_and_never_zero(tmp_path, capsys):
    row = detection("x", "detectron2-random", 0, 0, 20.0, 20.0)
    row.metrics["segm"]["AP"] = None
    row.metrics["bbox"]["AP75"] = 0.0  # nothing right at all: a result, not a gap
    row.write(tmp_path / "records")
    printed, _ = build(tmp_path / "records", tmp_path, capsys)
    line = next(line for line in printed.splitlines() if line.startswith("| Detectron2"))
    assert line.split(" | ")[2:7] == ["1", "0.02", "20.0", "40.0", "0.0"]
    assert line.split(" | ")[8:12] == ["", "", "", "29.3 (own paper)"]
    lines = csv.DictReader(io.StringIO((tmp_path / "out" / "tables" / "report.csv").read_text()))
    assert not [x for x in lines if x["origin"] == "measured" and (x["task"], x["metric"]) == ("segm", "AP")]


def test_a_difference_that_rounds_to_nothing_has_no_sign():
    assert difference_text(Difference(-0.04, 0.5, 3, True)) == "+0.0 [−0.5, +0.5], within noise (3 pairs)"
    assert difference_text(Difference(-0.06, None, 1, False)) == "−0.1, one run: no interval"


def test_swept_learning_rates_are_one_setting_beside_the_fixed_one():
    swept = [{"lr": lr, "lr_chosen_by": "sweep"} for lr in (0.01, 0.04)]
    rows = [detection(f"s{i}", "random", 0, i, 26.0, 25.0, details=details) for i, details in enumerate(swept)]
    rows += [
        detection("f0", "random", 0, 0, 25.0, 24.0, details={"lr": 0.02, "lr_chosen_by": "protocol"}),
        detection("f1", "random", 0, 1, 25.0, 24.0, details={"lr": 0.02, "lr_chosen_by": "user"}),
    ]
    found = measured_rows(rows)
    assert [(row.runs, sorted(row.lrs), row.setting.swept) for row in found] == [
        (2, [0.02], False),
        (2, [0.01, 0.04], True),
    ]


def test_the_control_has_the_same_learning_rate_where_there_is_one(tmp_path, capsys):
    rows = [
        detection("r1", "random", 0, 0, 10.0, 9.0, details={"lr": 0.01}),
        detection("r2", "random", 0, 0, 20.0, 19.0, details={"lr": 0.02}),
        detection("k2", "kernel_ssl", 400, 0, 25.0, 24.0, details={"lr": 0.02}),
        detection("k3", "kernel_ssl", 800, 0, 25.0, 24.0, details={"lr": 0.03}),
    ]
    for row in rows:
        row.write(tmp_path / "records")
    printed, _ = build(tmp_path / "records", tmp_path, capsys)
    assert "400 epochs − untrained encoder | +5.0 | one run" in printed
    assert "800 epochs − untrained encoder at lr 0.01 | +15.0 | one run" in printed


def test_tables_of_one_title_are_told_apart_with_a_figure_each(tmp_path, capsys):
    """A rescaled batch changes the settings, but is no override."""
    for number, settings in enumerate(("1234567890", "abcdefabcd")):
        detection(f"x{number}", "random", 0, number, 20.0, 20.0, protocol_hash=settings).write(tmp_path / "records")
    printed, _ = build(tmp_path / "records", tmp_path, capsys)
    assert "## coco-c4-1x, data: coco, settings 12345678" in printed
    assert "## coco-c4-1x, data: coco, settings abcdefab" in printed
    page = (tmp_path / "out" / "report.html").read_text()
    assert len(set(re.findall(r'<section id="(t\d[^"]*)"', page))) == 2


def test_other_data_of_the_same_name_gets_its_own_table_and_fractions_share_one():
    a, b = ({"lr": 0.02, "data_fingerprint": name} for name in "ab")
    rows = [detection(f"x{i}", "random", 0, i, 20.0, 20.0, details=details) for i, details in enumerate((a, b))]
    assert len(detection_tables(rows, [])) == 2
    rows = [
        detection(f"x{i}", "random", 0, i, 20.0, 20.0, details={**details, "fraction": 0.1})
        for i, details in enumerate((a, b))
    ]
    (table,) = detection_tables(rows, read_published()[:0])
    assert table.measured[0].runs == 2
    assert "10 % of the training images" in table.title
