"""Mutation testing: change one operator or constant at a time and see whether the mirrored tests notice.

    python -m tests.mutants [--area losses,training] [--sample 72] [--part 1/6] [--seed 0] [--jobs 2]   (make mutants)

Each mutant is made in a copy of the project, never in the working tree. A mutant is killed when a test fails (or
hangs); it survives when all pass. Survivors that compute the same as the original are listed in EQUIVALENT with the
reason. The exit code is 1 where fewer than 9 of 10 of the others are killed.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.mutants_equivalent import EQUIVALENT

ROOT = Path(__file__).resolve().parent.parent
ENOUGH = 0.9
SURVIVED, KILLED, HUNG = "SURVIVED", "killed", "hung"
PATIENCE = 30 * 60  # seconds; a mutant whose tests take longer hangs, and counts as killed

# Area: what is mutated, and the tests that mirror it. Test files named after the mutated module run first.
AREAS = {
    "losses": (["pretrain/losses", "pretrain/loss_options.py"], ["tests/pretrain/losses"]),
    "training": (
        ["pretrain/training", "pretrain/methods"],
        ["tests/pretrain/training", "tests/pretrain/methods", "tests/pretrain/engine/test_processes.py"],
    ),
    "views": (["pretrain/images"], ["tests/pretrain/images"]),
    "layouts": (
        ["transfer/checkpoints"],
        ["tests/transfer/checkpoints", "tests/transfer/test_convert.py", "tests/transfer/test_convert_command.py"],
    ),
    "protocols": (["transfer/protocols"], ["tests/transfer/protocols"]),
    "comparison": (
        ["benchmark/comparison", "benchmark/pages"],
        ["tests/benchmark/comparison", "tests/benchmark/pages", "tests/benchmark/test_report.py"],
    ),
}
# Test files that take a minute or more: they run last, so that only what all others let pass costs so much.
DEAR = ("test_whole_runs.py", "test_two_processes.py", "test_sources.py", "test_hostile.py",
        "test_browser.py")  # fmt: skip
EVERYWHERE = "tests/test_frozen.py"  # a rule for all packages, looked at in a moment
# Modules whose tests stand elsewhere than their area's: what a run does is tested by runs.
MIRRORS = {"pretrain/training/work.py": ["tests/pretrain/test_run.py", "tests/pretrain/test_failing_runs.py"]}
# What nearly every test imports and no mutant changes: imported once, before the processes of the mutants are forked.
COMMON = ("hypothesis", "numpy", "scipy.stats", "pandas", "matplotlib.figure", "torch", "torchvision", "cv2",
          "detectron2.config", "detectron2.modeling")  # fmt: skip
SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: `number` of the place in the file's order of places, its line and a description."""

    area: str
    path: str
    number: int
    line: int
    source: str
    change: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {self.change}  |  {self.source}"


class _Places(ast.NodeVisitor):
    """Yields every place that can be changed; the same order for equal sources."""

    def __init__(self) -> None:
        self.found: list[tuple[ast.AST, int, str]] = []

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert):
            return  # words for people
        if isinstance(node, ast.Constant):
            if isinstance(node.value, bool):
                self._add(node, f"{node.value} -> {not node.value}")
            elif isinstance(node.value, int | float):
                self._add(node, f"{node.value} -> {_other(node.value)}")
        elif isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign):
            if type(node.op) in SWAPS:
                self._add(node, f"{type(node.op).__name__} -> {SWAPS[type(node.op)].__name__}")
        elif isinstance(node, ast.Compare):
            if type(node.ops[0]) in SWAPS:
                self._add(node, f"{type(node.ops[0]).__name__} -> {SWAPS[type(node.ops[0])].__name__}")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
            self._add(node, f"{type(node.op).__name__} dropped")
        for name, child in ast.iter_fields(node):
            if name in ("annotation", "returns", "slice") and isinstance(
                node, ast.arg | ast.AnnAssign | ast.FunctionDef
            ):
                continue
            for item in child if isinstance(child, list) else [child]:
                if isinstance(item, ast.AST):
                    self.visit(item)

    def _add(self, node: ast.AST, change: str) -> None:
        self.found.append((node, node.lineno, change))


def _other(value: float) -> float:
    if isinstance(value, int):
        return value + 1
    return 1.5 * value if value else 0.5


def places(tree: ast.Module) -> list[tuple[ast.AST, int, str]]:
    """Return (node, line, change) of everything in a module that can be changed."""
    visitor = _Places()
    visitor.visit(tree)
    return visitor.found


def mutated(source: str, number: int) -> str:
    """Return the source with the change at place `number`."""
    tree = copy.deepcopy(ast.parse(source))
    node, _, _ = places(tree)[number]
    if isinstance(node, ast.Constant):
        node.value = (not node.value) if isinstance(node.value, bool) else _other(node.value)
    elif isinstance(node, ast.Compare):
        node.ops[0] = SWAPS[type(node.ops[0])]()
    elif isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not()
        if isinstance(node.op, ast.Not):
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
    else:
        node.op = SWAPS[type(node.op)]()
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def all_mutants(area: str) -> Iterator[Mutant]:
    """Yield every mutant of an area in the order of files and places."""
    for name in AREAS[area][0]:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.is_file() else []:
            source = file.read_text(encoding="utf-8")
            lines, times = source.splitlines(), Counter()
            for number, (_, line, change) in enumerate(places(ast.parse(source))):
                times[line, change] += 1
                nth = f" (no. {times[line, change]})" if times[line, change] > 1 else ""
                words = lines[line - 1].strip()
                yield Mutant(area, file.relative_to(ROOT).as_posix(), number, line, words, change + nth)


def tests_of(mutant: Mutant, cheap: bool) -> list[str]:
    """Return the area's tests: those of the mutated module first, the dear ones of the others last, or not at all."""
    found = []
    for name in [EVERYWHERE, *MIRRORS.get(mutant.path, []), *AREAS[mutant.area][1]]:
        path = ROOT / name
        found += sorted(path.rglob("test_*.py")) if path.is_dir() else [path] if path.is_file() else []
    stem = Path(mutant.path).stem

    def cost(file: Path) -> tuple[bool, bool, bool]:
        mirrors = file.stem == f"test_{stem}" or str(file.relative_to(ROOT)) in (
            EVERYWHERE,
            *MIRRORS.get(mutant.path, []),
        )
        return not mirrors, file.name in DEAR and not mirrors, stem not in file.read_text(encoding="utf-8")

    found = [file for file in sorted(found, key=cost) if not (cheap and cost(file)[1])]
    return [file.relative_to(ROOT).as_posix() for file in found]


def run_tests(folder: Path, tests: list[str]) -> str:
    """Return what became of a mutant whose tests run in a copy of the project: SURVIVED, killed, or hung."""
    child = os.fork()
    if child == 0:
        _become_pytest(folder, tests)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            _end_group(child)
            return SURVIVED if os.waitstatus_to_exitcode(status) == 0 else KILLED
        time.sleep(0.05)
    _end_group(child)
    os.waitpid(child, 0)
    return HUNG


def _become_pytest(folder: Path, tests: list[str]) -> None:
    """Run the tests in this forked process, in the copy and with the copy's modules, and end it."""
    code = 1
    try:
        os.setsid()
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        os.chdir(folder)
        os.environ |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        sys.dont_write_bytecode = True
        sys.path[:] = [str(folder), *(p for p in sys.path if Path(p or ROOT).resolve() != ROOT)]
        for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
            del sys.modules[name]
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
    finally:
        os._exit(code)


def _end_group(child: int) -> None:
    """End what a mutant's tests have left running."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


def make_copy(folder: Path) -> Path:
    """Copy what git would have of the working tree; results and environments stay behind."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    return folder


def outcome(mutant: Mutant, folder: Path, cheap: bool) -> str:
    """Return what becomes of a mutant; the copy is as before afterwards."""
    file = folder / mutant.path
    source = file.read_text(encoding="utf-8")
    file.write_text(mutated(source, mutant.number), encoding="utf-8")
    try:
        return run_tests(folder, tests_of(mutant, cheap))
    finally:
        file.write_text(source, encoding="utf-8")


def known_equivalent(mutant: Mutant) -> str | None:
    """Return the reason why a mutant computes the same as the original, if it is listed."""
    return EQUIVALENT.get((mutant.path, mutant.source, mutant.change))


def main(argv: list[str] | None = None) -> int:
    """Run a seeded sample of mutants; return 1 where too few are killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--area", default=",".join(AREAS), help="areas, separated by commas")
    parser.add_argument("--only", default="", help="only files whose path holds this")
    parser.add_argument("--sample", type=int, default=72, help="mutants in all; 0: every one")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--part", default="1/1", help="which of how many parts of the sample, such as 2/3")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument("--cheap", action="store_true", help="without the tests that take minutes: more may survive")
    options = parser.parse_args(argv)
    areas = options.area.split(",")
    if unknown := set(areas) - set(AREAS):
        parser.error(f"unknown area {', '.join(sorted(unknown))}; there are {', '.join(AREAS)}")
    everything = {(m.path, m.source, m.change) for area in AREAS for m in all_mutants(area)}
    if stale := EQUIVALENT.keys() - everything:
        parser.error(f"tests/mutants_equivalent.py lists what is not there any more: {sorted(stale)}")
    candidates = [m for area in areas for m in all_mutants(area) if options.only in m.path]
    chosen = _sample(candidates, areas, options.sample, options.seed)
    part, parts = map(int, options.part.split("/"))
    chosen = chosen[part - 1 :: parts]
    equivalent = [m for m in chosen if known_equivalent(m)]
    chosen = [m for m in chosen if not known_equivalent(m)]
    print(f"{len(candidates)} places to change; {len(chosen)} mutants, {len(equivalent)} more known to be equivalent")
    return _run(chosen, options.jobs, options.cheap)


def _sample(candidates: list[Mutant], areas: list[str], size: int, seed: int) -> list[Mutant]:
    """Return a seeded sample, as many of each area, so that a large area does not crowd out a small one."""
    if not 0 < size < len(candidates):
        return candidates
    draw, each, chosen = random.Random(seed), -(-size // len(areas)), []
    for area in areas:
        share = [mutant for mutant in candidates if mutant.area == area]
        chosen += draw.sample(share, min(each, len(share)))
    return chosen[:size]


def _run(chosen: list[Mutant], jobs: int, cheap: bool) -> int:
    for name in COMMON:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    begin, done, survivors = time.monotonic(), 0, []
    with tempfile.TemporaryDirectory(prefix="mutants-") as top, ThreadPoolExecutor(jobs) as pool:
        folders: SimpleQueue[Path] = SimpleQueue()
        for job in range(jobs):
            folders.put(make_copy(Path(top) / str(job)))

        def judge(mutant: Mutant) -> tuple[Mutant, str]:
            folder = folders.get()
            try:
                return mutant, outcome(mutant, folder, cheap)
            finally:
                folders.put(folder)

        for mutant, end in pool.map(judge, chosen):
            done += 1
            left = (time.monotonic() - begin) / done * (len(chosen) - done) / 60
            print(
                f"{done}/{len(chosen)}  {end:8}  {mutant}  ({left:.0f} min left)",
                flush=True,
            )
            if end == SURVIVED:
                survivors.append(mutant)
    killed = len(chosen) - len(survivors)
    print(f"\nkilled {killed} of {len(chosen)} mutants ({killed / max(len(chosen), 1):.0%})")
    for mutant in survivors:
        print(f"survived: {mutant}")
    return int(killed < ENOUGH * len(chosen))


if __name__ == "__main__":
    raise SystemExit(main())
