"""What every test may rely on."""

import shutil
import signal
from pathlib import Path

import pytest

# Shells start background jobs with SIGINT ignored, and children inherit that: tests of Ctrl-C would then test nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Files that take half a minute or more, the longest first; the last file to be begun should be a short one.
LONG = (
    "pretrain/engine/test_ending.py",
    "transfer/test_coco.py",
    "transfer/test_coco_endings.py",
    "transfer/test_resume.py",
    "pretrain/methods/test_whole_runs.py",
    "pretrain/test_run.py",
    "transfer/test_coco_choices.py",
    "pretrain/methods/test_two_processes.py",
    "transfer/detection/test_two_processes.py",
    "pretrain/test_resume.py",
    "pretrain/engine/test_processes.py",
    "pretrain/studies/test_scaling.py",
    "pretrain/methods/test_collapse.py",
)


def pytest_collection_modifyitems(items):
    """Put the files of LONG first (with --no-loadscope-reorder several workers take them in this order)."""
    rank = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(LONG)))


@pytest.fixture(scope="module", autouse=True)
def little_on_the_disk(request, tmp_path_factory):
    """Remove what the fixtures of a file have written, 1 GB where they train, once its tests have passed.

    Pytest removes a test's folder by itself, those of wider fixtures never: 20 GB together.
    """
    before, failed = set(tmp_path_factory.getbasetemp().iterdir()), request.session.testsfailed
    yield
    if request.session.testsfailed == failed:
        for folder in set(tmp_path_factory.getbasetemp().iterdir()) - before:
            if not folder.is_symlink():
                shutil.rmtree(folder, ignore_errors=True)
