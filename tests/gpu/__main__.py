"""``python -m tests.gpu [--output DIR] [--seconds 470] [PART ...]``: every GPU test and measurement, within a time.

Each part is a process of its own with a time limit of its own and writes its findings as it goes; one that fails or is
stopped stops no other. The tests run beside one another, the measurements alone. Writes ``<part>.json``,
``summary.json`` and ``table.md`` into the output folder (default results/gpu) after every part.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.core.folder import ROOT
from tests.gpu.setting import DRY
from tests.gpu.table import write_table

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Part:
    """`arguments` of Python; `limit` in seconds; tests share the GPU with other tests, measurements have it alone."""

    name: str
    arguments: tuple[str, ...]
    limit: int
    alone: bool


def _tests(name: str, limit: int) -> Part:
    options = ("-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / f"test_{name}.py"))
    return Part(f"test_{name}", options, limit, alone=False)


def _bench(name: str, limit: int) -> Part:
    return Part(f"bench_{name}", ("-m", f"tests.gpu.bench_{name}"), limit, alone=True)


PARTS = [
    _tests("losses", 90), _tests("processes", 120), _tests("pretraining", 170), _tests("detection", 170),
    _tests("repeats", 170), _tests("views", 90),
    _bench("step", 120), _bench("input", 75), _bench("detector", 90), _bench("peers", 75),
    _bench("compile", 110),
]  # fmt: skip


class Running:
    """A part that has been started."""

    def __init__(self, part: Part, folder: Path, deadline: float):
        self.part, self.folder = part, folder
        self.report = folder / f"{part.name}.json"
        self.report.unlink(missing_ok=True)
        self.begin = time.monotonic()
        self.end = min(self.begin + part.limit * (4 if DRY else 1), deadline)
        path = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
        environment = {**os.environ, "PYTHONPATH": path, "GPU_TESTS_REPORT": str(self.report), "PYTHONUNBUFFERED": "1"}
        self.log = (folder / f"{part.name}.log").open("w", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, *part.arguments], cwd=ROOT, env=environment, stdout=self.log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def finish(self) -> dict[str, Any]:
        """Wait until the part ends or its time is over; return its findings and how it ended."""
        try:
            code = self.process.wait(max(1.0, self.end - time.monotonic()))
            ended = "ended" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)  # the part and all that it started, which is nobody else's
            self.process.wait()
            ended = "stopped at its time limit"
        self.log.close()
        found = json.loads(self.report.read_text(encoding="utf-8")) if self.report.is_file() else {}
        if ended != "ended":
            lines = (self.folder / f"{self.part.name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
            found["log"] = lines[-25:]
        return {"how": ended, "seconds": round(time.monotonic() - self.begin, 1), "found": found}


def machine() -> dict[str, Any]:
    """Return the names and versions that figures are meaningless without."""
    import torch
    import torchvision

    found = {
        "python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__,
        "cores": len(os.sched_getaffinity(0)), "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        found |= {"card": card.name, "GiB": round(card.total_memory / 2**30, 1), "cuda": torch.version.cuda}
        found["cudnn"] = torch.backends.cudnn.version()
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the parts; return 0 when every test passed and every measurement was made."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(part.name for part in PARTS))
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "gpu")
    parser.add_argument("--seconds", type=float, default=470.0, help="for everything")
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - {part.name for part in PARTS}:
        parser.error(f"unknown part {', '.join(sorted(unknown))}")
    chosen = [part for part in PARTS if not options.parts or part.name in options.parts]
    deadline = time.monotonic() + options.seconds
    options.output.mkdir(parents=True, exist_ok=True)
    compose()
    summary: dict[str, Any] = {"machine": machine(), "parts": {}}
    print(
        f"{len(chosen)} parts on {summary['machine'].get('card', 'a CPU, where no figure means anything')}", flush=True
    )
    together = [Running(part, options.output, deadline) for part in chosen if not part.alone]
    for running in together:
        _take(running, summary, options.output)
    for part in chosen:
        if part.alone and time.monotonic() < deadline - 5:
            _take(Running(part, options.output, deadline), summary, options.output)
    print((options.output / "table.md").read_text(encoding="utf-8"))
    return int(any(not _is_good(result) for result in summary["parts"].values()) or len(summary["parts"]) < len(chosen))


def compose() -> None:
    """Compose all photographs once, before parts would do it beside one another."""
    from benchmark.embedded.composer import ensure_coco
    from tests.gpu.setting import PHOTOGRAPHS, photographs

    ensure_coco()
    photographs(-(-256 * 40 // PHOTOGRAPHS))


def _take(running: Running, summary: dict[str, Any], folder: Path) -> None:
    result = running.finish()
    summary["parts"][running.part.name] = result
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    write_table(summary, folder / "table.md")
    print(f"{running.part.name}: {result['how']} after {result['seconds']} s", flush=True)


def _is_good(result: dict[str, Any]) -> bool:
    findings = result["found"].values()
    return result["how"] == "ended" and not any(isinstance(value, dict) and "failed" in value for value in findings)


if __name__ == "__main__":
    raise SystemExit(main())
