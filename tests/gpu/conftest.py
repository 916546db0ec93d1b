"""The marker of the GPU tests, and their report: one JSON file, written after every test."""

import json
import os
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent
REASON = "needs a CUDA GPU; `make gpu` runs these tests where there is one"
DRY = os.environ.get("GPU_TESTS_DEVICE") == "cpu"
_results: list[dict] = []


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a CUDA GPU (make gpu)")
    config.addinivalue_line("markers", "cuda_only: has no meaning in a dry run on a CPU")


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE not in Path(item.path).parents:
            continue
        item.add_marker("gpu")
        if not torch.cuda.is_available() and (not DRY or item.get_closest_marker("cuda_only")):
            item.add_marker(pytest.mark.skip(reason=REASON))


def pytest_runtest_logreport(report):
    """Keep the outcome and what the test measured (``record_property``), where GPU_TESTS_REPORT asks for it."""
    target = os.environ.get("GPU_TESTS_REPORT")
    if target is None or (report.when != "call" and report.outcome == "passed"):
        return
    _results.append(
        {
            "test": report.nodeid.split("/")[-1],
            "outcome": report.outcome,
            "seconds": round(report.duration, 2),
            "measured": dict(report.user_properties),
            "why": "" if report.outcome == "passed" else str(report.longrepr)[-1500:],
        }
    )
    Path(target).write_text(json.dumps({"tests": _results}, indent=1), encoding="utf-8")
