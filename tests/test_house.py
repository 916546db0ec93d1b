"""The house is as its page says: every file that the page names is there, imports point one way, files stay small."""

import ast
import re
from collections import Counter

import pytest

from benchmark.core.folder import ROOT

PACKAGES = ("benchmark", "pretrain", "transfer")
BELOW = {"benchmark": (), "pretrain": ("benchmark",), "transfer": ("benchmark", "pretrain")}
HEAVY = {"torch", "torchvision", "detectron2", "fvcore"}
# Files with an import inside a function, one each: a command's way from its options to its work, behind which torch or
# pandas stand, so that --help and mistakes answer at once; and names of a package that are imported on first use.
LATE = {
    "benchmark/check.py", "benchmark/report.py", "benchmark/run.py", "benchmark/records/__init__.py",
    "pretrain/pack.py", "pretrain/run.py",
    "pretrain/studies/ablations.py", "pretrain/studies/estimator.py", "pretrain/studies/miniature.py",
    "pretrain/studies/over_training.py", "pretrain/studies/rank.py", "pretrain/studies/scaling.py",
    "transfer/classify.py", "transfer/convert.py", "transfer/detection/launch.py", "transfer/diagnose.py",
}  # fmt: skip


def sources(package):
    """Return the Python files of a package."""
    return sorted((ROOT / package).rglob("*.py"))


def modules_imported(path):
    """Return the modules that a file imports, those of ``if TYPE_CHECKING`` left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    hidden = {id(inner) for node in skipped for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [alias.name for alias in node.names] if node.module in PACKAGES else [""]
            yield from (f"{node.module}.{name}".rstrip(".") for name in names)


def imported(path):
    """Return the top-level names that a file imports, those of ``if TYPE_CHECKING`` left out."""
    yield from (name.split(".")[0] for name in modules_imported(path))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    allowed = {package, *BELOW[package]}
    for path in sources(package):
        wrong = {name for name in imported(path) if name in PACKAGES} - allowed
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def late_imports(path):
    """Return the statements that import something inside a function of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(n): n for f in functions for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)}
    return [ast.unparse(node) for node in inside.values()]


def test_imports_stand_at_the_top_of_a_file():
    late = {
        str(p.relative_to(ROOT)): found for package in PACKAGES for p in sources(package) if (found := late_imports(p))
    }
    assert late.keys() == LATE
    assert {name: found for name, found in late.items() if len(found) > 1} == {}


# These two know each other's types: a method takes the config, and the config asks which methods there are.
MUTUAL = {("pretrain.methods", "pretrain.training")}


def room(module):
    """Return the room of a module: its folder, or the module itself where it stands in the package's own folder."""
    parts = module.split(".")
    return ".".join(parts[:2])


def room_imports():
    """Return which rooms import which others."""
    found = {}
    for package in PACKAGES:
        for path in sources(package):
            own = room(path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."))
            for module in modules_imported(path):
                if module.split(".")[0] in PACKAGES and room(module) != own:
                    found.setdefault(own, set()).add(room(module))
    return found


def test_rooms_import_downwards_alone():
    """No room is imported by one that it imports, however far down."""
    above = room_imports()
    for start in above:
        seen, waiting = set(), set(above[start])
        while waiting:
            seen.add(at := waiting.pop())
            waiting |= {r for r in above.get(at, ()) if tuple(sorted((at, r))) not in MUTUAL} - seen
        assert start not in seen, f"{start} imports what imports it; it needs {sorted(above[start])}"


OF_LIBRARIES = {"_replace", "_exit", "_BatchNorm"}  # what Python and torch call so although it is for everybody


def private_names(path):
    """Return the private names of others that a file imports or asks an object for."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if re.match("_[a-z]", alias.name))
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) != "self":
            yield from {node.attr} - OF_LIBRARIES if re.match("_[a-zA-Z]", node.attr) else ()


def test_tests_speak_to_public_names():
    found = {str(p.relative_to(ROOT)): sorted(set(private_names(p))) for p in sources("tests")}
    assert {path: names for path, names in found.items() if names} == {}


def test_what_is_said_to_people_goes_through_one_logger():
    by_itself = {"benchmark/core/errors.py", "benchmark/core/log.py", "benchmark/install_detectron2.py"}
    files = [
        str(p.relative_to(ROOT)) for package in PACKAGES for p in sources(package) if "sys.stderr" in p.read_text()
    ]
    assert set(files) - by_itself == {"benchmark/core/progress.py"}  # the bar stands beside the log's lines


def test_nothing_is_there_for_tests_alone():
    """Functions and classes whose name stands once in all sources are used by nobody but tests; docs may show them."""
    texts = {path: path.read_text(encoding="utf-8") for package in PACKAGES for path in sources(package)}
    words = Counter(word for text in texts.values() for word in re.findall(r"\w+", text))
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    shown = {word for page in pages for word in re.findall(r"\w+", page.read_text(encoding="utf-8"))}
    methods = ROOT / "pretrain" / "methods"  # found by reading the folder
    for path, text in texts.items():
        defined = [n.name for n in ast.parse(text).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        unused = {name for name in defined if words[name] == 1 and not name.startswith("__")} - shown
        assert not unused or path.parent == methods, f"{path.relative_to(ROOT)} defines {unused}, which nothing uses"


def test_benchmark_imports_no_torch():
    for path in sources("benchmark"):
        assert not HEAVY & set(imported(path)), path


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_past_four_hundred_lines(package):
    long = {str(p.relative_to(ROOT)): n for p in sources(package) if (n := len(p.read_text().splitlines())) > 400}
    assert not long


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md", "README.md"])
def test_every_file_that_a_page_names_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"`((?:benchmark|pretrain|transfer|tests)/[\w./-]+\.(?:py|yaml|csv|md))`", text):
        assert (ROOT / name).is_file(), f"{page} names {name}"
    for link in re.findall(r"\]\((?!http|#)([^)#]+)", text):
        assert (ROOT / page).parent.joinpath(link).exists(), f"{page} links to {link}"


def test_no_shipped_file_speaks_of_pages_that_a_reader_cannot_open():
    pattern = re.compile(
        r"\.\./shared|\b(design|method|recipes|pitfalls|peers|style|foreign_layouts)\.md\b|\bpitfall \d"
    )
    for path in [*(p for package in PACKAGES for p in sources(package)), *(ROOT / "docs").rglob("*.md")]:
        found = pattern.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path.relative_to(ROOT)}: {found.group(0)}"
