"""Values do not change once they are made: every dataclass is frozen but those that gather something as they go."""

import ast

from benchmark.core.folder import ROOT

GATHERING = {
    "benchmark/audit/log_file.py": 1,
    "benchmark/comparison/rows.py": 2,
    "benchmark/runner/local.py": 2,
    "pretrain/packing/writing.py": 1,
    "pretrain/shards/samples.py": 1,
    "pretrain/training/step.py": 1,
    "transfer/checkpoints/finding.py": 1,
}


def _frozen(decorator: ast.expr) -> bool | None:
    """Say whether a decorator makes a dataclass whose instances cannot be changed; None for other decorators."""
    name = decorator.func if isinstance(decorator, ast.Call) else decorator
    if not (isinstance(name, ast.Name) and name.id == "dataclass"):
        return None
    given = {word.arg: word.value for word in decorator.keywords} if isinstance(decorator, ast.Call) else {}
    return "frozen" in given and ast.literal_eval(given["frozen"])


def test_dataclasses_are_frozen_but_for_those_that_gather():
    found: dict[str, int] = {}
    for package in ("benchmark", "pretrain", "transfer"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
            open_to_change = sum(_frozen(decorator) is False for c in classes for decorator in c.decorator_list)
            if open_to_change:
                found[path.relative_to(ROOT).as_posix()] = open_to_change
    assert found == GATHERING
