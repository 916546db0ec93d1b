"""Names and reasons from others reach no reader unescaped: page, Markdown, LaTeX, CSV, JSON, terminal."""

import contextlib
import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from benchmark import report
from tests.benchmark.pages.example_records import detection

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "end of script": "</script><script>alert(1)</script>",
    "markdown link": "[click](javascript:alert(1)) ![x](http://evil.example/x.png)",
    "table": "a | b | c\n| --- |\n# heading",
    "formula": '=HYPERLINK("http://evil.example")',
    "formula plus": "+1+cmd|' /C calc'!A0",
    "formula at": "@SUM(1+1)",
    "terminal": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "direction": "abc\u202egpj.exe",
    "latex": r"\input{/etc/passwd} $x$ % & # _ { } ~ ^",
    "long": "x" * 100_000,
    "jinja": "{{ 7 * 7 }}{% for x in y %}",
    "null": "a\x00b",
}


class Tags(HTMLParser):
    """Collects the tags of a page with their attributes."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture(scope="module", params=list(HOSTILE))
def made(request, tmp_path_factory):
    """The report of two runs whose method, reason and source hold a hostile text."""
    text = HOSTILE[request.param]
    folder = tmp_path_factory.mktemp("hostile")
    try:
        detection(text, 400, 0, 30.0, id="a-0", config={"weights": text}).write(folder / "records")
    except ValueError:  # the record itself refuses the name; then only the reason of a failure can hold it
        detection("kernel_ssl", 400, 0, 30.0, id="a-0").write(folder / "records")
    details = {"reason": text, "iteration": 3}
    failed = detection("kernel_ssl", 400, 1, 0.0, id="a-1", status="failed", metrics={}, details=details)
    failed.write(folder / "records")
    detection("random", 0, 0, 20.0, id="a-2").write(folder / "records")
    return folder, text


@pytest.fixture(scope="module")
def written(made):
    """The folder of the report, and what the command printed."""
    folder, _ = made
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert report.main(["--records", str(folder / "records"), "--output", str(folder)]) == 0
    return folder, printed.getvalue()


def test_the_page_has_no_tag_but_its_own(written):
    parser = Tags()
    parser.feed((written[0] / "report.html").read_text(encoding="utf-8"))
    assert sum(tag == "script" for tag, _ in parser.found) == 2  # the records and the page's own program
    assert not [tag for tag, _ in parser.found if tag in ("iframe", "object", "embed", "link", "base")]
    for tag, attributes in parser.found:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert not str(attributes.get("href", "")).lower().startswith("javascript:")
        assert tag != "img" or str(attributes["src"]).startswith("data:")


def test_the_records_of_the_page_are_json(written):
    text = (written[0] / "report.html").read_text(encoding="utf-8")
    content = re.search(r'<script type="application/json" id="records">(.*?)</script>', text, re.S).group(1)
    assert set(json.loads(content)) == {"a-0", "a-1", "a-2"}  # each is behind a figure or a failure


def test_markdown_has_no_markup_of_others(written):
    text = (written[0] / "tables" / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)<", text)
    assert not re.search(r"(?<!\\)\]\((?!#)", text)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1
    assert tables


def test_latex_runs_no_command_of_others(written):
    text = (written[0] / "tables" / "report.tex").read_text(encoding="utf-8")
    assert "\\input" not in text
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))  # comments name the sources
    assert not re.search(r"(?<!\\)[$%#]", body.replace("$-$", "").replace(r"$\pm$", ""))


def test_no_cell_of_the_csv_is_a_formula(written):
    for name in ("report.csv", "runs.csv", "comparisons.csv"):
        with open(written[0] / "tables" / name, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for key, cell in row.items():
                    if key not in ("value", "mean", "sd", "difference", "low", "high"):
                        assert not cell.startswith(("=", "+", "@", "\t"))
                        assert not re.match(r"-[^\d]+", cell)


def test_no_control_character_reaches_a_file_or_the_terminal(written):
    folder, printed = written
    files = [path.read_text(encoding="utf-8") for path in (folder / "report.html", *(folder / "tables").iterdir())]
    for text in (*files, printed):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", text)


def test_nothing_long_makes_the_page_large(written):
    assert (written[0] / "report.html").stat().st_size < 5 << 20
