"""The audit of one run of anyone: what it trained, by which of our protocols, with what result, and what is wrong.

A run is known by a log, by a config file, or by the folder that a training left (config, log, metrics).
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.audit import knowledge
from benchmark.audit.config_file import read_config
from benchmark.audit.effect import NORMS, SYNCHRONISED
from benchmark.audit.log_file import LogFile, read_log
from benchmark.audit.matching import Match, completed, match, unknown_keys
from benchmark.audit.settings import Settings, equal, shown
from benchmark.audit.text import lines_of, read_config_text
from benchmark.core.errors import UserError
from benchmark.core.folder import IDENTITY_FILE, METRICS_FILE

# The names under which trainings leave their files; ours keeps the effective Detectron2 config as detectron2.yaml.
CONFIGS = ("detectron2.yaml", "config.yaml")
LOGS = ("log.txt",)
COCO_SETS = {"coco_2017_train", "coco_2017_val"}
VOC_SETS = {"voc_2007_trainval", "voc_2012_trainval", "voc_2007_test"}
TASKS = ("bbox", "segm")
SHOWN_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@dataclass(frozen=True)
class Audit:
    """What is known of one audited run. `findings` are sentences about what is wrong or worth knowing."""

    path: Path
    kind: str
    settings: Settings | None
    match: Match | None
    log: LogFile
    findings: tuple[str, ...]
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def weights(self) -> str | None:
        """The weights that the run started from, as its config names them; None where it names none."""
        value = (self.settings or {}).get("MODEL.WEIGHTS")
        return str(value) if value else None

    @property
    def complete(self) -> bool | None:
        """Whether the training reached its end; None where nothing tells."""
        end = completed(self.settings).get("SOLVER.MAX_ITER") if self.settings else None
        if self.log.last_iteration is None or not isinstance(end, int):
            return None
        return self.log.last_iteration + 1 >= end


def audit(path: Path) -> Audit:
    """Audit a log, a config file or a run's folder. Raises ``UserError`` when it is none of them."""
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        found = read_config(path)
        return _judged(path, "config", found.settings, LogFile(), list(found.findings))
    log = read_log(path)
    return _judged(path, "log", log.settings, log, [])


def _folder(path: Path) -> Audit:
    """Audit a training's folder: its config, its log where there is one, else its metrics."""
    configs = [path / name for name in CONFIGS if (path / name).is_file()]
    logs = [path / name for name in LOGS if (path / name).is_file()] or sorted(path.glob("*.log"))[:1]
    if not configs and not logs:
        raise UserError(
            f"{path} holds neither a config ({', '.join(CONFIGS)}) nor a log ({LOGS[0]}) nor records; give the folder "
            "of a run or of records."
        )
    findings: list[str] = []
    log = read_log(logs[0]) if logs else _from_metrics(path / METRICS_FILE, findings)
    log.world_size = log.world_size or _processes(path / IDENTITY_FILE)
    settings = log.settings
    if configs:
        written = read_config(configs[0])
        findings += written.findings
        if settings is not None and (differing := _differing(settings, written.settings)):
            findings.append(
                f"{configs[0].name} and the log differ in {', '.join(differing[:4])}; the log's config is what ran"
            )
        settings = settings if settings is not None else written.settings
    return _judged(path, "run folder", settings, log, findings)


def _processes(path: Path) -> int | None:
    """Return the number of processes that a run of this project states, None where the folder has none of ours."""
    if not path.is_file():
        return None
    try:
        content = json.loads(read_config_text(path))
    except (ValueError, RecursionError):
        return None
    found = content.get("processes") if isinstance(content, dict) else None
    return found if isinstance(found, int) else None


def _differing(one: Settings, other: Settings) -> list[str]:
    whole = completed(one), completed(other)
    return [key for key in sorted(whole[0]) if not equal(whole[0][key], whole[1].get(key, whole[0][key]))]


def _from_metrics(path: Path, findings: list[str]) -> LogFile:
    """Return what a metrics.json of Detectron2 (one JSON object a line) says, nothing where there is none."""
    log = LogFile()
    if not path.is_file():
        return log
    for line in lines_of(path):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            findings.append(f"{path.name} has a line that is not JSON: {line[:60]!r}")
            continue
        if isinstance(values, dict):
            _take(values, log)
    return log


def _take(values: dict[str, Any], log: LogFile) -> None:
    iteration = values.get("iteration")
    if isinstance(iteration, int):
        log.last_iteration = max(iteration, log.last_iteration or 0)
    for task in TASKS:
        found = {name: _number(values.get(f"{task}/{name}")) for name in SHOWN_METRICS if f"{task}/{name}" in values}
        if found:
            log.metrics[task] = found
            log.evaluations += task == "bbox"
            if found.get("AP") is not None:
                log.best[task] = max(found["AP"] or 0.0, log.best.get(task, 0.0))
    if (seconds := _number(values.get("time"))) is not None:
        log.seconds_per_iteration = seconds


def _number(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def _judged(path: Path, kind: str, settings: Settings | None, log: LogFile, findings: list[str]) -> Audit:
    findings += log.findings
    found = None
    notes: list[str] = []
    if settings is not None:
        if log.seed is None and isinstance(given := settings.get("SEED"), int) and given >= 0:
            log.seed = given  # Detectron2 prints only a seed that it drew itself
        if log.world_size == 1:
            settings = settings | {key: "SyncBN" for key in NORMS if settings.get(key) == "BN"}
            notes.append("one process: its plain BN has the statistics of the whole batch, as SyncBN on several")
        whole = completed(settings)
        found = match(settings)
        findings += knowledge.traps(whole)
        findings += _extra_norm(whole)
        notes += _beside(whole, settings, log)
    made = Audit(path, kind, settings, found, log, (), ())
    findings += _course(made)
    return Audit(path, kind, settings, found, log, tuple(dict.fromkeys(findings)), tuple(notes))


def _extra_norm(settings: Settings) -> list[str]:
    if settings.get("MODEL.ROI_HEADS.NAME") != "Res5ROIHeads":
        return []
    return ["the C4 head is Res5ROIHeads without the extra norm after res5 that MoCo's protocol has (moco#121)"]


def _beside(whole: Settings, given: Settings, log: LogFile) -> list[str]:
    """Return what is no difference of protocol and is reported beside it."""
    notes = [f"input convention: {knowledge.convention(whole)}"]
    norms = sorted({str(whole.get(key)) for key in NORMS if whole.get(key) in SYNCHRONISED})
    if norms:
        ran = ", ".join(f"{count} x {name}" for name, count in sorted(log.norms.items()))
        notes.append(
            f"synchronised norm: {' and '.join(norms)} in the config{f', {ran} in the printed model' if ran else ''}; "
            "our protocols run Detectron2's naive SyncBN on several processes, and the implementation is no part of "
            "a protocol"
        )
    sets = {name for key in ("DATASETS.TRAIN", "DATASETS.TEST") for name in whole.get(key, ()) or ()}
    if sets and not (sets <= COCO_SETS or sets <= VOC_SETS):
        notes.append(f"data sets: {', '.join(map(str, sorted(sets)))}, other names than COCO's and VOC's own")
    elif sets:
        notes.append(f"data sets: {', '.join(sorted(sets))}")
    if unknown := unknown_keys(given):
        notes.append(f"settings that Detectron2 itself does not have: {', '.join(unknown[:8])}")
    return notes


def _course(made: Audit) -> list[str]:
    """Return findings about how the run went."""
    log, found = made.log, []
    if made.complete is False:
        found.append(f"the log ends at iteration {log.last_iteration}, before the end of the schedule")
    if log.last_iteration is not None and not log.metrics:
        found.append("the log holds no evaluation, so no average precision is known")
    for task, best in log.best.items():
        last = log.metrics[task].get("AP")
        if last is not None and log.evaluations > 1 and best > last + 0.005:
            found.append(
                f"an earlier evaluation of {task} gave {best:.2f} AP, the last {last:.2f}: quote the last, because "
                "choosing the best by the test set flatters"
            )
    return found


def as_json(found: Audit) -> dict[str, Any]:
    """Return an audit as plain JSON values."""
    log = found.log
    differences = found.match.differences if found.match else ()
    return {
        "path": str(found.path),
        "kind": found.kind,
        "protocol": found.match.protocol.name if found.match and found.match.near else None,
        "nearest": found.match.protocol.name if found.match else None,
        "exact": bool(found.match and found.match.exact),
        "rescaled_by": found.match.rescaled if found.match else None,
        "differences": [
            {
                "key": d.key,
                "run": shown(d.found),
                "protocol": shown(d.wanted),
                "known_effect": knowledge.effect_of(d.key),
            }
            for d in differences
        ],
        "weights": found.weights,
        "metrics": log.metrics,
        "seconds_per_iteration": log.seconds_per_iteration,
        "memory_mib": log.memory_mib,
        "hardware": log.gpu,
        "complete": found.complete,
        "findings": list(found.findings),
        "notes": list(found.notes),
    }
