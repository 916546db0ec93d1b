"""From records to the page: protocols stay apart, published figures stay quoted, troubles are shown."""

import csv
import io
import subprocess
import sys

import pytest

from benchmark import report
from benchmark.errors import UserError, run_command
from benchmark.folder import ROOT
from benchmark.published import PUBLISHED, read_published
from benchmark.records import RunRecord
from benchmark.tables import detection_tables


def detection(identity, method, epochs, seed, box, mask, protocol="coco-c4-1x", data="coco", **changes):
    metrics = {"bbox": {"AP": box, "AP50": box + 20}, "segm": {"AP": mask}}
    values = {"id": identity, "kind": "detection", "status": "completed", "method": method, "seed": seed}
    values |= {"epochs": epochs, "total_epochs": epochs, "protocol": protocol, "protocol_hash": "h", "data": data}
    values |= {"metrics": metrics, "duration_seconds": 1.0, "details": {"lr": 0.02}}
    return RunRecord(**(values | changes))


@pytest.fixture
def records(tmp_path):
    folder = tmp_path / "records"
    rows = [
        detection("r0", "random", 0, 0, 26.0, 25.0),
        detection("r1", "random", 0, 1, 26.4, 25.4),
        detection("a0", "kernel_ssl", 400, 0, 38.0, 33.0),
        detection("a1", "kernel_ssl", 400, 1, 38.6, 33.4),
        detection("b0", "kernel_ssl", 800, 0, 38.2, 33.3),
        detection("b1", "kernel_ssl", 800, 1, 38.2, 33.2),
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
    assert "| Kernel-SSL | 400 | 0.02 | 2 | 38.3 ± 0.4 | 58.3 ± 0.4 |" in printed
    assert "Kernel-SSL, 800 − 400 epochs | -0.1 ± 3.8, within noise" in printed
    assert "Kernel-SSL, 400 epochs − untrained encoder | +12.1 ± 1.3, better" in printed
    assert "200 of 400" in printed
    assert "diverged at iteration 34, lr 0.0123 (seed 0)" in printed
    assert printed.index("## coco-c4-1x") != printed.index("## embedded")
    assert printed in text or text.count("## coco-c4-1x") == 1


def test_published_stands_beside_measured_and_never_in_a_mean(records, tmp_path, capsys):
    printed, _ = build(records, tmp_path, capsys)
    header = next(line for line in printed.splitlines() if line.startswith("| weights"))
    row = next(line for line in printed.splitlines() if line.startswith("| untrained encoder"))
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert cells["box AP ↑ measured"] == "26.2 ± 0.3"
    assert cells["box AP published"] == "26.4"
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


def test_files_are_written_and_the_page_holds_the_tables(records, tmp_path, capsys):
    build(records, tmp_path, capsys)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<td>38.3 ± 0.4</td>" in page
    figures = list((tmp_path / "out" / "figures").glob("*.png"))
    assert len(figures) == 2
    assert all(figure.read_bytes().startswith(b"\x89PNG") for figure in figures)


def test_published_values_are_the_files():
    rows = read_published()
    moco = [row for row in rows if row.protocol == "coco-c4-1x" and row.method == "MoCo v1" and "Table 5" in row.source]
    assert moco[0].values["bbox", "AP75"] == 41.6
    assert all("stock" not in row.source for row in rows if row.protocol == "coco-c4-1x" and row.method == "supervised")


@pytest.mark.parametrize(
    ("column", "value", "said"), [(8, "", "no source"), (7, "guess", "status 'guess'"), (6, "forty", "not a number")]
)
def test_a_figure_without_origin_is_refused(tmp_path, column, value, said):
    with open(PUBLISHED, newline="") as file:
        lines = list(csv.reader(file))[:3]
    lines[2][column] = value
    path = tmp_path / "published.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(lines)
    with pytest.raises(UserError, match=f"line 3.*{said}"):
        read_published(path)


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


def test_published_copy_is_unchanged():
    shared = ROOT.parent / "shared" / "published.csv"
    if not shared.is_file():
        pytest.skip(f"no {shared.name} beside the project")
    assert PUBLISHED.read_bytes() == shared.read_bytes()
