"""What ``--dry-run`` prints: the summary first, then cost and warnings, and with ``--verbose`` every setting."""

from benchmark.core.options import to_yaml
from benchmark.records import scan_records
from transfer.detection.cost import estimate
from transfer.detection.run import DetectionRun
from transfer.protocols.description import describe_protocol, describe_test, warnings_about
from transfer.protocols.files import dump


def plan(run: DetectionRun) -> str:
    """Return the plan of a run as text, the most important first; nothing is written."""
    lines = [summary(run), *cost(run), f"would write {run.output}"]
    lines += [f"warning: {warning}" for warning in warnings(run)]
    if run.config.verbose:
        lines += ["", "# options", to_yaml(run.config).rstrip()]
        lines += ["", "# effective Detectron2 config", dump(run.subject.protocol.cfg).rstrip()]
    else:
        lines.append("(--verbose prints the options and the effective Detectron2 config as well)")
    return "\n".join(lines)


def summary(run: DetectionRun) -> str:
    """Return what a run will do, a line each: protocol, detector, schedule, weights, data."""
    subject, start, config = run.subject, run.subject.weights, run.config
    about = describe_test if config.eval_only else describe_protocol
    lines = [about(subject.protocol, subject.data)]
    if config.sweep_lr:
        lines.append(
            f"sweep       the whole schedule once for each of {len(config.sweep_lr)} learning rates, on a hold-out"
        )
    epochs = "epochs not recorded" if start.epoch is None else f"{start.epoch} epochs"
    epochs += f" of {start.total_epochs}" if start.total_epochs else ""
    branch = f"{start.branch} branch, " if start.branch else ""
    lines += [
        f"weights     {config.weights}: {subject.method}, {epochs}, {branch}sha256 {start.sha256[:12]}",
        "files       all there: " + ", ".join(str(path) for path in subject.data.files),
    ]
    return "\n".join(lines)


def cost(run: DetectionRun) -> list[str]:
    """Return the lines on hours and memory."""
    if run.config.eval_only:
        return []
    found = estimate(run.subject.protocol, scan_records(run.records)[0])
    return [f"{'cost' if number == 0 else '':<11} {line}" for number, line in enumerate(found)]


def warnings(run: DetectionRun) -> list[str]:
    """Return what a user should think about before training, a sentence each."""
    return [] if run.config.eval_only else warnings_about(run.subject.protocol, run.subject.data)
