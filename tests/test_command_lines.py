"""400 command lines that people mistype or that somebody made up: exit code 2 and one sentence, never a traceback.

Every command is called in this process with a few of its own options and a hostile value or two. Each line also holds
one certain mistake that is found before any work begins, so a line whose other options are harmless starts nothing.
"""

import dataclasses
import importlib
import random

import pytest

from benchmark.core.errors import run_command
from benchmark.core.options import flag_of
from benchmark.pages.config import ReportConfig
from benchmark.runner.config import SuiteConfig
from pretrain.packing.config import PackConfig
from pretrain.studies.config import EstimatorConfig, RankConfig, ScalingConfig
from pretrain.training.config import PretrainConfig
from transfer.convert import ConvertConfig
from transfer.detection.config import DetectionConfig
from transfer.probing.config import ClassifyConfig

LINES = 400
# Command -> its options, and the mistake that ends it at the latest.
COMMANDS = {
    "pretrain.run": (PretrainConfig, ["--data", "{absent}"]),
    "transfer.coco": (DetectionConfig, ["--data", "{absent}"]),
    "transfer.voc": (DetectionConfig, ["--data", "{absent}"]),
    "transfer.classify": (ClassifyConfig, ["--data", "{absent}"]),
    "transfer.convert": (ConvertConfig, ["{absent}"]),
    "benchmark.run": (SuiteConfig, ["--suite", "{absent}"]),
    "benchmark.report": (ReportConfig, ["--records", "{absent}"]),
    "pretrain.studies.rank": (RankConfig, ["--output", "{file}"]),
    "pretrain.studies.scaling": (ScalingConfig, ["--output", "{file}"]),
    "pretrain.studies.estimator": (EstimatorConfig, ["--output", "{file}"]),
    "pretrain.pack": (PackConfig, ["{absent}", "{file}"]),
}
HOSTILE = [
    *("", " ", "0", "-1", "3.7", "1e39", "-1e39", ".nan", ".inf", "1e400", "1000000000000", str(2**64), "9" * 5000),
    *("x" * 300, "y" * 100_000, "/".join("x" * 300), "\udcff", "é", "\x1b[2J", "a\nb", "[", "[" * 3000, "{a: [", "{1}"),
    *("*a", "&a [*a]", "? [1]\n: 2", "[[1, 2], [3]]", "{a: 1}", "2024-13-45", "!!python/object/apply:os.system [ls]"),
    *("!!int x", "!!timestamp x", "null", "~", "true", "no", "a,b", "1,2,,", ",", "-", "%s%n", "$(ls)", "../..", "/"),
    *(".", "..", "/dev/null", "1:30", "0x10", "1_000", "010", "\t", "''", "{}", "[]", "- a", "a: b", "<b>", "|", ">"),
]  # fmt: skip
FILES = [
    *("? [1, 2]\n: 3\n", "{epochs: {a: 1}}", "- epochs\n", "seed: [1]\nseed: 2\n", "lr: 2024-13-45\n", "\x00", "\t: a"),
    *("a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n", "seed: " + "[" * 5000, "seed: " + "9" * 5000, "!!binary x", "..."),
    *("seed: !!python/object/apply:os.system [ls]\n", "{" * 2000, "seed: 1e400", "seed: '\ud83d'", "output: \"\\0\""),
]  # fmt: skip


def lines(absent: str, file: str) -> list[tuple[str, list[str]]]:
    """Return the command lines: drawn with a seed, so that a line that fails can be found again."""
    draw = random.Random(0)
    made = []
    for number in range(LINES):
        command = list(COMMANDS)[number % len(COMMANDS)]
        config_class, ending = COMMANDS[command]
        options = [
            field
            for field in dataclasses.fields(config_class)
            if field.metadata and field.name not in ("config", "list")
        ]
        words: list[str] = []
        for option in draw.sample(options, draw.choice((1, 1, 2, 3))):
            if option.metadata.get("part"):
                continue
            if isinstance(option.default, bool):
                words += draw.choice(([flag_of(option)], [f"{flag_of(option)}={draw.choice(HOSTILE)}"]))
            elif draw.random() < 0.7:
                words.append(f"{flag_of(option)}={draw.choice(HOSTILE)}")
            else:
                words += [flag_of(option), draw.choice(HOSTILE)]
        if draw.random() < 0.2:
            words.append(draw.choice(HOSTILE))
        if draw.random() < 0.2:
            words.append(f"--config={draw.choice([file, absent, '/dev/zero', *HOSTILE])}")
        words += [word.format(absent=absent, file=file) for word in ending]
        made.append((command, words))
    return made


def complaint(command: str, words: list[str], capsys) -> str | None:
    """Run one line; return what is wrong with its ending, or None."""
    try:
        code = run_command(importlib.import_module(command).main, words)
    except SystemExit as stop:
        code = stop.code
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    said = capsys.readouterr().err
    if code != 2:
        return f"exit code {code}: {said[:200]}"
    *before, last = said.splitlines() or [""]
    if (
        len(before) > 1
        or not last.startswith("error: ")
        or any("Traceback" in line for line in before)
        or len(said) > 2000
    ):
        return f"not one sentence: {said[:300]!r} ({len(said)} characters)"
    return None


def test_command_lines_that_nobody_should_give(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "options.yaml"
    draw = random.Random(1)
    problems = []
    for number, (command, words) in enumerate(lines(str(tmp_path / "absent" / "x"), str(file))):
        file.write_text(draw.choice(FILES), errors="surrogatepass")
        if problem := complaint(command, words, capsys):
            shown = [word if len(word) < 60 else f"{word[:50]}... ({len(word)})" for word in words]
            problems.append(f"{number}: {command} {shown}\n    {problem}")
    assert not problems, f"{len(problems)} of {LINES}:\n" + "\n".join(problems)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["options.yaml"]  # and nothing was written


@pytest.mark.parametrize("command", COMMANDS)
def test_files_of_options_that_nobody_should_write(command, tmp_path, capsys):
    file = tmp_path / "options.yaml"
    problems = []
    for text in FILES:
        file.write_text(text, errors="surrogatepass")
        ending = [word.format(absent=tmp_path / "absent", file=file) for word in COMMANDS[command][1]]
        if problem := complaint(command, [f"--config={file}", *ending], capsys):
            problems.append(f"{text[:60]!r}\n    {problem}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("more", [[], ["--inspect"]])
def test_words_that_name_no_checkpoint(more, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problems = {word[:40]: complaint("transfer.convert", [word, *more], capsys) for word in HOSTILE}
    assert {word: problem for word, problem in problems.items() if problem} == {}
