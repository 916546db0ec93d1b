"""A Detectron2 log of anyone: the config it printed, its weights, its average precision, its speed and its memory.

A log is read once, line by line, and may hold several runs one after another (a resumed run appends to its log); the
last config and the last evaluation count, and earlier ones are mentioned.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmark.audit.config_file import parse
from benchmark.audit.settings import Settings, flat
from benchmark.audit.text import MAX_CONFIG_BYTES, lines_of
from benchmark.core.errors import UserError

CONFIG_BEGINS = re.compile(r"(Running with full config:|Running with full config$)")
STAMPED = re.compile(r"^(?:\S+ )?\[\d\d/\d\d \d\d:\d\d:\d\d")  # "[10/09 19:12:28 detectron2]:", perhaps after a level
ITERATION = re.compile(r"\biter: (\d+)\s")
NUMBER = r"([-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf))"
FIELD = {name: re.compile(rf"\b{name}: {NUMBER}") for name in ("total_loss", "time", "max_mem", "lr")}
SPEED = re.compile(r"Overall training speed: (\d+) iterations in .*\(([\d.]+) s / it\)")
TOTAL = re.compile(r"Total training time: (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)")
WORLD = re.compile(r"World size: (\d+)")
GPU = re.compile(r"^GPU ([\d,]+)\s+(.*?)(?: \(arch=.*)?$")
SEED = re.compile(r"Using a (?:generated )?random seed (\d+)")
VERSION = re.compile(r"^(detectron2|PyTorch|torchvision|Python|numpy|fvcore) {2,}(\d\S*)")
NORM = re.compile(r"\b(NaiveSyncBatchNorm|SyncBatchNorm|BatchNorm2d|FrozenBatchNorm2d|GroupNorm)\(")
TASK = re.compile(r"copypaste: Task: (\S+)")
COPIED = re.compile(r"copypaste: (.*)$")


@dataclass
class LogFile:
    """What a log says. Absent values are None; AP in percent, times in seconds, memory in MiB."""

    settings: Settings | None = None
    findings: list[str] = field(default_factory=list)
    metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)
    evaluations: int = 0
    best: dict[str, float] = field(default_factory=dict)
    last_iteration: int | None = None
    seconds_per_iteration: float | None = None
    total_seconds: float | None = None
    memory_mib: float | None = None
    world_size: int | None = None
    gpu: str | None = None
    seed: int | None = None
    norms: Counter[str] = field(default_factory=Counter)
    versions: dict[str, str] = field(default_factory=dict)


def read_log(path: Path) -> LogFile:
    """Read a log. Raises ``UserError`` when it holds neither a Detectron2 config nor an evaluation nor iterations."""
    reader = _Reader(path.name)
    for line in lines_of(path):
        reader.read(line)
    found = reader.end()
    if found.settings is None and not found.metrics and found.last_iteration is None:
        raise UserError(
            f"{path} does not look like a log of Detectron2: it holds no config, no iterations and no evaluation; give "
            "the log.txt of a training run."
        )
    return found


class _Reader:
    """Takes the lines of a log in order."""

    def __init__(self, name: str):
        self.name, self.log = name, LogFile()
        self._config: list[str] | None = None
        self._config_size = 0
        self._task: str | None = None
        self._names: list[str] | None = None
        self._times: list[float] = []
        self._not_finite: int | None = None

    def read(self, line: str) -> None:
        """Take one line."""
        if self._config is not None:
            if not STAMPED.match(line) and self._config_size < MAX_CONFIG_BYTES:
                self._config.append(line)
                self._config_size += len(line)
                return
            self._end_config()
        if CONFIG_BEGINS.search(line):
            self._config, self._config_size = [], 0
        elif "iter:" in line and (match := ITERATION.search(line)):
            self._iteration(int(match.group(1)), line)
        elif "copypaste:" in line:
            self._copied(line)
        else:
            self._other(line)

    def _end_config(self) -> None:
        lines, self._config = self._config or [], None
        try:
            content, findings = parse("\n".join(lines), f"the config in {self.name}")
            settings = flat(content)
        except (UserError, ValueError) as error:
            self.log.findings.append(f"the config that the log prints cannot be read: {error}")
            return
        if self.log.settings is not None and self.log.settings != settings:
            self.log.findings.append("the log holds several runs with different configs; the last one is audited")
        self.log.settings = settings
        self.log.findings += findings
        self.log.norms.clear()  # of the model that follows

    def _iteration(self, iteration: int, line: str) -> None:
        log = self.log
        log.last_iteration = max(iteration, log.last_iteration or 0)
        values = {name: float(m.group(1)) for name, pattern in FIELD.items() if (m := pattern.search(line))}
        if (loss := values.get("total_loss")) is not None and not math.isfinite(loss) and self._not_finite is None:
            self._not_finite = iteration
        if (seconds := values.get("time")) is not None and math.isfinite(seconds):
            self._times.append(seconds)
        if (memory := values.get("max_mem")) is not None and math.isfinite(memory):
            log.memory_mib = max(memory, log.memory_mib or 0.0)

    def _copied(self, line: str) -> None:
        """Take one of the three lines of an evaluation: task, names, numbers."""
        if match := TASK.search(line):
            self._task, self._names = match.group(1), None
            return
        content = COPIED.search(line)
        if self._task is None or content is None:
            return
        words = [word.strip() for word in content.group(1).split(",")]
        if self._names is None:
            self._names = words
            return
        if len(words) == len(self._names):
            self._evaluated(dict(zip(self._names, map(_percent, words), strict=True)))
        self._task = None

    def _evaluated(self, metrics: dict[str, float | None]) -> None:
        task = str(self._task)
        self.log.evaluations += task == "bbox"
        self.log.metrics[task] = metrics
        if (ap := metrics.get("AP")) is not None:
            self.log.best[task] = max(ap, self.log.best.get(task, ap))

    def _other(self, line: str) -> None:
        log = self.log
        if match := NORM.search(line):
            log.norms[match.group(1)] += 1
        elif match := SPEED.search(line):
            log.seconds_per_iteration = float(match.group(2))
        elif match := TOTAL.search(line):
            days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
            log.total_seconds = ((days * 24 + hours) * 60 + minutes) * 60.0 + seconds
        elif match := WORLD.search(line):
            log.world_size = int(match.group(1))
        elif match := GPU.match(line):
            count = len(match.group(1).split(","))
            log.gpu = f"{count} x {match.group(2).strip()[:80]}"
        elif match := SEED.search(line):
            log.seed = int(match.group(1))
        elif match := VERSION.match(line):
            log.versions.setdefault(match.group(1).lower(), match.group(2)[:40])

    def end(self) -> LogFile:
        """Return what was read; settles what the end of the file decides."""
        if self._config is not None:
            self._end_config()
        log = self.log
        if log.seconds_per_iteration is None and self._times:
            log.seconds_per_iteration = median(self._times)
        if self._not_finite is not None:
            log.findings.append(f"the loss is not finite at iteration {self._not_finite}: the run diverged")
        return log


def _percent(word: str) -> float | None:
    """Return a figure of an evaluation; what is missing there (nan, -1, a dash) is None."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= 100 else None
