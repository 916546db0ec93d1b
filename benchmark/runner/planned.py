"""A suite's runs as commands: what a person would type, each with its folder, what it needs and what it waits for."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.catalogue.lookup import by_name
from benchmark.core.errors import UserError, nearest
from benchmark.core.files import sha256_of
from benchmark.core.folder import ROOT
from benchmark.core.strict_yaml import shorten
from benchmark.runner.suite import PLACEHOLDER, Kind, Resources, Suite, Transfer

SCRIPTS: dict[str, str] = {
    "pretrain": "pretrain/run.py",
    "coco": "transfer/coco.py",
    "voc": "transfer/voc.py",
    "classify": "transfer/classify.py",
}
NO_CHECKPOINT = ("random", "detectron2-random")
# Words of --weights that name what is published; whoever resolves them says what is wrong with the rest of the word.
PUBLISHED = ("hf:", "https://", "http://", "torchvision:")
ZOO = "zoo:"
CHECKPOINT = "checkpoint.pth"
# What does not make another run: where it runs, where its data lie and how much it prints.
NOT_IDENTITY = ("data", "workers", "device", "log_every", "records", "output", "checkpoint_minutes", "keep_every")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a suite.

    Attributes:
        name: of its folder: kind, protocol, weights, seed and eight digits of its hash.
        kind: of script.
        arguments: of Python: the script and its words.
        output: its folder.
        resources: processes and hours.
        needs: name of the run whose checkpoint it starts from, None where it needs none.
        group: what it is a repeat of: the name without the seeds.
        options: as the suite gives them, for costs and power.
    """

    name: str
    kind: Kind
    arguments: tuple[str, ...]
    output: Path
    resources: Resources
    needs: str | None
    group: str
    options: dict[str, Any]

    @property
    def command(self) -> str:
        """The command line for people."""
        if self.resources.processes == 1:
            return shlex.join(["python", *self.arguments])
        return shlex.join(["torchrun", "--standalone", f"--nproc-per-node={self.resources.processes}", *self.arguments])


def planned_runs(suite: Suite, path: Path, output: Path, records: Path) -> list[PlannedRun]:
    """Return the runs of a suite in the order in which they are started.

    Seed by seed of pre-training, then seed by seed of fine-tuning: an interrupted suite then holds whole comparisons,
    not many repeats of one row. A probe comes directly after the pre-training that it looks at, since it takes minutes:
    what has been measured is not lost with the checkpoint. Equal content gives equal names, so a suite that is started
    again goes through the same folders.

    Raises:
        UserError: weights that are neither a run nor a file nor a published name, or a run that is named twice.
    """
    checkpoints: dict[str, list[PlannedRun]] = {}
    for name, options in suite.pretrain.items():
        seeds, rest = _seeds_of(name, options or {}, path)
        checkpoints[name] = [_pretraining(name, rest, seed, suite, output, records) for seed in seeds]
    of: dict[str | None, list[PlannedRun]] = {}  # by the pre-training that they need
    for entry in suite.transfer:
        for seed in entry.seeds:
            for weights in entry.weights:
                _check_weights(weights, checkpoints, path)
                for source in checkpoints.get(weights, [None]):
                    run = _fine_tuning(entry, weights, seed, source, suite, output, records)
                    of.setdefault(run.needs, []).append(run)
    runs = _in_order(list(checkpoints.values()), of)
    if len({run.name for run in runs}) < len(runs):
        raise UserError(f"{path} names one run twice; every script, protocol, weights and seed may come once.")
    return runs


def _in_order(pretrainings: list[list[PlannedRun]], of: dict[str | None, list[PlannedRun]]) -> list[PlannedRun]:
    """Return all runs in order, given the pre-trainings by name and seed, and the runs by the one that they need."""
    runs: list[PlannedRun] = []
    for place in range(max([1, *map(len, pretrainings)])):
        now = [group[place] for group in pretrainings if place < len(group)]
        fine_tunings: list[PlannedRun] = []
        for needed in [None, *now] if place == 0 else now:
            following = of.get(needed.name if needed else None, [])
            runs += [*([needed] if needed else []), *(run for run in following if run.kind == "classify")]
            fine_tunings += [run for run in following if run.kind != "classify"]
        # Stable: within a seed the checkpoints stay in the order of the file.
        runs += sorted(fine_tunings, key=lambda run: run.options["seed"])
    return runs


def _seeds_of(name: str, options: dict[str, Any], path: Path) -> tuple[list[int | None], dict[str, Any]]:
    """Return the seeds of a pre-training ([None]: the option's default) and its other options."""
    rest = {key: value for key, value in options.items() if key != "seeds"}
    seeds = options.get("seeds")
    if seeds is None:
        return [None], rest
    if "seed" in rest or not isinstance(seeds, list) or not all(isinstance(s, int) and 0 <= s < 2**32 for s in seeds):
        raise UserError(
            f"{path}: the seeds of {name!r} should be a list of whole numbers, and 'seed' is left out then."
        )
    return list(seeds), rest


def _pretraining(
    name: str, options: dict[str, Any], seed: int | None, suite: Suite, output: Path, records: Path
) -> PlannedRun:
    given = options if seed is None else {**options, "seed": seed}
    key = _key(["pretrain", given])
    label = f"pretrain-{name}" + ("" if seed is None else f"-seed{seed}") + f"-{key}"
    folder = output / label
    words = [str(ROOT / SCRIPTS["pretrain"]), *flags(given), "--output", str(folder), "--records", str(records)]
    return PlannedRun(label, "pretrain", tuple(words), folder, suite.of("pretrain"), None, f"pretrain-{name}", given)


def _fine_tuning(
    entry: Transfer, weights: str, seed: int, source: PlannedRun | None, suite: Suite, output: Path, records: Path
) -> PlannedRun:
    protocol = entry.options.get("protocol")
    middle = [str(protocol)] if str(protocol).startswith(entry.script) else [entry.script, *_words(protocol)]
    group = "-".join([*middle, weights if source else _label(weights)])
    of_seed = f"-pre{source.options['seed']}" if source and "seed" in source.options else ""
    key = _key([entry.script, entry.options, entry.overrides, source.name if source else weights, seed])
    label = f"{group}{of_seed}-seed{seed}-{key}"
    folder = output / label
    checkpoint = str(source.output / CHECKPOINT) if source else weights
    words = [str(ROOT / SCRIPTS[entry.script]), "--weights", checkpoint, "--seed", str(seed), *flags(entry.options)]
    words += ["--output", str(folder), "--records", str(records), *map(_override, entry.overrides)]
    needs = source.name if source else None
    options = {**entry.options, "overrides": list(entry.overrides), "seed": seed}
    return PlannedRun(label, entry.script, tuple(words), folder, suite.of(entry.script), needs, group, options)


def _words(value: Any) -> list[str]:
    return [] if value is None else [str(value)]


def _key(identity: list[Any]) -> str:
    """Return eight digits that stand for all that makes a run this run."""
    kept = [
        {key: value for key, value in part.items() if key not in NOT_IDENTITY} if isinstance(part, dict) else part
        for part in identity
    ]
    return sha256_of(kept)[:8]


def _label(weights: str) -> str:
    """Return the name of weights for a folder's name."""
    word = weights.removeprefix(ZOO)
    stem = Path(word.rpartition(":")[2]).name.split("?")[0]
    return (
        re.sub(r"[^A-Za-z0-9_.+-]+", "_", re.sub(r"(\.(pth|pt|tar|ckpt|pkl|safetensors))+$", "", stem))[:60]
        or "weights"
    )


def _check_weights(weights: str, runs: dict[str, list[PlannedRun]], path: Path) -> None:
    """Refuse weights that cannot be there, before anything starts."""
    if weights in runs or weights in NO_CHECKPOINT or weights.startswith(PUBLISHED) or PLACEHOLDER.match(weights):
        return
    if weights.startswith(ZOO):
        by_name(weights.removeprefix(ZOO))
        return
    try:
        there = Path(weights.removeprefix("msra:")).is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        near = nearest(weights[:100], [*runs, *NO_CHECKPOINT])
        raise UserError(f"{path} fine-tunes {shorten(repr(weights), 300)}, which is neither a run nor a file{near}")


def flags(options: dict[str, Any]) -> list[str]:
    """Return options as command-line words: ``{"image_size": 48, "resume": False}`` -> --image-size 48 --no-resume.

    A relative --config that the project ships is written with its whole path.
    """
    words = []
    for key, value in options.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        if key == "config" and not Path(text).is_absolute() and (ROOT / text).is_file():
            text = str(ROOT / text)
        words.append(f"--{flag}={text}" if text.startswith("-") else f"--{flag}")
        words += [] if text.startswith("-") else [text]
    return words


def _override(word: Any) -> str:
    """Return one word of KEY VALUE as Detectron2 reads it: lists as tuples."""
    return f"({', '.join(map(str, word))},)" if isinstance(word, list) else str(word)
