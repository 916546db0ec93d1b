"""Every script as users call it: from any folder, by path and as a module; --help at once; mistakes exit with 2."""

import os
import re
import subprocess
import sys

import pytest

from benchmark.core.folder import ROOT
from benchmark.core.options import load_yaml

# A command without options of its own, which calls the others and has tests of its own.
WITHOUT_OPTIONS = {"transfer/ssldet.py"}
SCRIPTS = sorted(
    name
    for package in ("pretrain", "transfer", "benchmark")
    for path in (ROOT / package).rglob("*.py")
    if "run_command(main)" in path.read_text(encoding="utf-8")
    and (name := str(path.relative_to(ROOT))) not in WITHOUT_OPTIONS
)
NAMED_IN_DESIGN = {
    "pretrain/run.py",
    "transfer/convert.py",
    "transfer/coco.py",
    "transfer/voc.py",
    "transfer/classify.py",
    "benchmark/run.py",
    "benchmark/report.py",
}


def call(arguments, folder):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=folder, timeout=60)


def test_the_names_that_others_call_exist():
    assert set(SCRIPTS) >= NAMED_IN_DESIGN


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_from_another_folder_imports_no_torch(script, tmp_path):
    done = call(["-X", "importtime", str(ROOT / script), "--help"], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "usage:" in done.stdout
    assert "default" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert not imported & {"torch", "torchvision", "detectron2", "cv2", "scipy", "pandas", "matplotlib"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_as_a_module_and_a_wrong_flag(script, tmp_path):
    module = script.removesuffix(".py").replace("/", ".")
    done = call(["-m", module, "--no-such-flag", "1"], tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"error: there is no option --no-such-flag.*\n", done.stderr), done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_missing_config_file(script, tmp_path):
    done = call([str(ROOT / script), "--config", "absent.yaml"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no file absent.yaml")
    assert len(done.stderr.splitlines()) == 1


def test_no_module_is_named_like_a_standard_one():
    files = [path.stem for package in ("pretrain", "transfer", "benchmark") for path in (ROOT / package).rglob("*.py")]
    assert not set(files) & (sys.stdlib_module_names - {"__init__"})


def test_no_yaml_of_ours_has_a_duplicate_key():
    files = [path for package in ("pretrain", "transfer", "benchmark") for path in (ROOT / package).rglob("*.yaml")]
    assert files
    assert all(load_yaml(path) for path in files)


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("[A-Z]*.md")))
def test_what_a_page_links_to_exists(page):
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_names_every_script_of_the_design():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [script for script in sorted(NAMED_IN_DESIGN) if f"`python {script}" not in text] == []


def test_commands_of_the_readme_are_understood():
    """What the README shows is parsed by the very scripts (a flag that was renamed would fail here)."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    scripts = "|".join(map(re.escape, sorted(NAMED_IN_DESIGN)))
    shown = re.findall(rf"^ +(?:torchrun|python) .*?((?:{scripts}) .*)$", text, flags=re.MULTILINE)
    assert len(shown) >= 3
    for line in shown:
        script, *words = line.split()
        known = call([str(ROOT / script), "--help"], ROOT).stdout
        unknown = [word for word in words if word.startswith("--") and not re.search(rf"{word}\b", known)]
        assert unknown == [], line


def test_make_clean_keeps_results():
    done = subprocess.run(["make", "--dry-run", "clean"], cwd=ROOT, capture_output=True, text=True, check=True)
    removed = [line for line in done.stdout.splitlines() if "rm -rf" in line]
    assert removed
    assert not any("results" in line or "docs" in line for line in removed)


def test_ci_script_can_be_executed():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
