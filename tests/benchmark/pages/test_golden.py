"""Every format against a file that was looked at; ``python -m tests.benchmark.pages.test_golden`` writes them anew."""

import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest

from benchmark import report
from benchmark.comparison.published import PUBLISHED
from tests.benchmark.pages.example_records import write_all

GOLDEN = Path(__file__).parent / "golden"
FORMATS = ("report.md", "report.tex", "report.json", "report.csv", "runs.csv", "comparisons.csv")


def few_published(path: Path) -> Path:
    """Write the published figures of two sources alone: the golden files are about ours."""
    with open(PUBLISHED, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    chosen = [line for line in lines if "SimSiam paper" in line["source"] and "byol" in line["method"].lower()][:40]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]))
    writer.writeheader()
    writer.writerows(chosen)
    path.write_text(out.getvalue(), encoding="utf-8")
    return path


def make(folder: Path) -> Path:
    """Make the report of the example's records; return its folder."""
    published = few_published(folder / "published.csv")
    words = ["--records", str(write_all(folder / "records")), "--output", str(folder), "--published", str(published)]
    assert report.main(words) == 0
    return folder


def steady(text: str) -> str:
    """Return a text with all decimals beyond the sixth cut away: libraries differ there from machine to machine."""
    return re.sub(r"(\d\.\d{6})\d+", r"\1", text)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of the report."""
    return make(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_is_the_golden_one(made, name):
    assert steady((made / "tables" / name).read_text(encoding="utf-8")) == (GOLDEN / name).read_text(encoding="utf-8")


def test_the_page_says_what_the_golden_page_says(made):
    """Tables and texts of the page; drawings differ with matplotlib's version and are looked at instead."""
    assert words_of(made / "report.html") == (GOLDEN / "report.txt").read_text(encoding="utf-8")


def words_of(path: Path) -> str:
    """Return the visible words of a page, one line an element, without drawings and programs."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"<(svg|style|script)\b.*?</\1>", "", text, flags=re.S)
    lines = (re.sub(r"\s+", " ", line).strip() for line in re.sub(r"<[^>]+>", "\n", text).splitlines())
    return steady("\n".join(line for line in lines if line) + "\n")


def test_the_json_is_json_and_the_csv_agrees_with_it(made):
    content = json.loads((made / "tables" / "report.json").read_text(encoding="utf-8"))
    rows = content["sections"][0]["tables"][0]["rows"]
    ours = next(row for row in rows if row["method"] == "Kernel-SSL" and row["epochs"] == "800")
    with open(made / "tables" / "report.csv", encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if (line["method"], line["epochs"]) == ("kernel_ssl", "800")]
    mean = next(float(line["mean"]) for line in lines if (line["task"], line["metric"]) == ("bbox", "AP"))
    assert ours["cells"][4]["sort"] == pytest.approx(mean)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made_here = make(Path(folder))
        GOLDEN.mkdir(exist_ok=True)
        for name in FORMATS:
            content = steady((made_here / "tables" / name).read_text(encoding="utf-8"))
            (GOLDEN / name).write_text(content, encoding="utf-8")
        (GOLDEN / "report.txt").write_text(words_of(made_here / "report.html"), encoding="utf-8")
    sys.exit(0)
