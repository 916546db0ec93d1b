"""The findings of the GPU tests and measurements as Markdown."""

from pathlib import Path
from typing import Any


def write_table(summary: dict[str, Any], path: Path) -> None:
    """Write the tables of all parts so far."""
    machine = summary["machine"]
    card = machine.get("card", "a CPU: a dry run, no figure means anything")
    lines = [f"Measured on {card}, {machine['cores']} CPU cores, " + ", ".join(
        f"{name} {machine[name]}" for name in ("python", "torch", "torchvision", "cuda", "cudnn") if name in machine
    ) + f", {machine['date']}.", ""]  # fmt: skip
    for name, result in summary["parts"].items():
        rows = _tests(result["found"]["tests"]) if "tests" in result["found"] else _measurements(result["found"])
        lines += [f"### {name}: {result['how']}, {result['seconds']} s", "", *rows, ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _tests(tests: list[dict[str, Any]]) -> list[str]:
    rows = ["| test | outcome | s | measured |", "| --- | --- | --- | --- |"]
    for test in tests:
        measured = ", ".join(f"{name} {_plain(value)}" for name, value in test["measured"].items())
        rows.append(f"| {test['test']} | {test['outcome']} | {test['seconds']} | {measured} |")
    return rows


def _measurements(found: dict[str, Any]) -> list[str]:
    rows = ["| measured | result |", "| --- | --- |"]
    for name, value in found.items():
        if name == "log":
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {_plain(item)}" for key, item in value.items() if not isinstance(item, dict))
        rows.append(f"| {name} | {_plain(value)} |")
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value).replace("|", "/").replace("\n", " ")
