"""An audit as text for people."""

from benchmark.audit import knowledge
from benchmark.audit.matching import Match
from benchmark.audit.settings import shown
from benchmark.audit.verdict import SHOWN_METRICS, TASKS, Audit


def as_text(found: Audit) -> str:
    """Return an audit as a few lines: protocol, differing settings, weights, result, speed, findings."""
    lines = [f"{found.path} ({found.kind})"]
    lines += _protocol(found.match)
    lines.append(f"  weights      {found.weights or 'none named'}")
    lines += _metrics(found)
    lines += _speed(found)
    lines += [f"  beside       {note}" for note in found.notes]
    lines += [f"  FINDING      {finding}" for finding in found.findings] or ["  findings     none"]
    return "\n".join(lines)


def _protocol(found: Match | None) -> list[str]:
    if found is None:
        return ["  protocol     unknown: no config was found"]
    name, count = found.protocol.name, len(found.differences)
    if not found.near:
        head = f"  protocol     none of ours; the nearest is {name}, with {count} differing settings"
        return [head, *_differences(found)]
    head = f"  protocol     {name}"
    if found.exact:
        return [f"{head}, no setting differs"]
    lines = [f"{head}, {count} differing setting{'s' * (count != 1)}"]
    if found.rescaled is not None:
        lines.append(
            f"               batch divided by {found.rescaled:g}; learning rate, steps and length follow the batch rule"
        )
    return lines + _differences(found)


def _differences(found: Match) -> list[str]:
    """Return a line a differing setting, value against value, and what the difference is known to do."""
    lines = []
    for difference in found.differences:
        lines.append(f"    {difference.key}: {shown(difference.found)} here, {shown(difference.wanted)} there")
        if known := knowledge.effect_of(difference.key):
            lines.append(f"      known: {known}")
    return lines


def _metrics(found: Audit) -> list[str]:
    lines = []
    for task in TASKS:
        values = found.log.metrics.get(task)
        if values:
            name = {"bbox": "box", "segm": "mask"}[task]
            parts = [f"{key} {values[key]:.2f}" for key in SHOWN_METRICS if values.get(key) is not None]
            lines.append(f"  {name:<12} {'  '.join(parts) or 'no value'}")
    return lines


def _speed(found: Audit) -> list[str]:
    log, parts = found.log, []
    if log.seconds_per_iteration is not None:
        parts.append(f"{log.seconds_per_iteration:.4f} s an iteration")
    if log.total_seconds is not None:
        parts.append(f"{log.total_seconds / 3600:.1f} h")
    if log.memory_mib is not None:
        parts.append(f"{log.memory_mib / 1024:.1f} GiB a GPU at most")
    if log.gpu:
        parts.append(log.gpu)
    return [f"  cost         {', '.join(parts)}"] if parts else []
