"""One fine-tuning run, from the command line to the record: what coco.py and voc.py share.

prepare (everything is read and checked) -> [plan] -> claim the folder -> [sweep the lr] -> train -> PreciseBN -> save
the detector -> evaluate the saved file -> picture -> record -> results.json, which marks the run complete.
"""

import json
import logging
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import RunFailed, UserError
from benchmark.files import write_json, write_text
from benchmark.folder import RESULTS, OutputFolder, claim, run_key
from benchmark.options import parse, to_dict, to_yaml
from transfer.config import NOT_IDENTITY, DetectionConfig
from transfer.recording import DetectionDiverged, Outcome, record, summary

if TYPE_CHECKING:
    import torch
    from torch import nn

    from transfer.datasets import DetectionData
    from transfer.initialisation import Initialisation
    from transfer.protocol import Protocol

RESULT, DETECTOR, PREDICTIONS, PICTURE = "results.json", "model_final.pth", "predictions.json", "predictions.png"
DEFAULT_PROTOCOLS = {"coco": ("embedded", "coco-c4-1x"), "voc": ("embedded-voc", "voc-c4-24k")}  # without, with --data


@dataclass(frozen=True)
class Task:
    """What a run works on, resolved: config, initial weights, data, effective protocol, and who it is."""

    config: DetectionConfig
    initialisation: "Initialisation"
    data: "DetectionData"
    protocol: "Protocol"
    device: "torch.device"
    identity: dict[str, Any]

    @property
    def method(self) -> str:
        """Name of the pre-training method: by the file's own account, else the file's name."""
        return self.initialisation.method or Path(self.config.weights).stem

    @property
    def output(self) -> Path:
        """The folder of the run."""
        return Path(self.config.output or RESULTS / "runs" / f"{self.protocol.name}-{run_key(self.identity)}")


def main(kind: str, argv: list[str] | None, prog: str, description: str) -> int:
    """Fine-tune or evaluate on data of `kind`, ``coco`` or ``voc``. Raises ``UserError`` and ``RunFailed``."""
    config = parse(DetectionConfig, argv, prog, description)
    # Imported late so that --help and mistakes answer at once.
    _silence()
    try:
        import detectron2  # noqa: F401
    except ImportError as error:
        raise UserError(f"Detectron2 cannot be imported ({error}); run `make setup`, or see README, Install.") from None
    from pretrain import distributed

    device = distributed.choose_device(config.device)
    try:
        task = prepare(kind, config, device)
    except UserError:
        if int(os.environ.get("LOCAL_RANK", 0)):  # every process finds the same mistake; one a machine tells it
            raise SystemExit(2) from None
        raise
    if config.dry_run:
        if distributed.is_main():
            print(plan(task))
        return 0
    distributed.initialise(device)
    try:
        if config.eval_only:
            evaluate_only(task)
        else:
            fine_tune(task)
    finally:
        distributed.shutdown()
    return 0


def _silence() -> None:
    """Keep what libraries say about their own future, and users can do nothing about, off the screen."""
    warnings.filterwarnings("ignore", message=".*(torch.jit|pkg_resources|torch.meshgrid|not writable|worker processes in total).*")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)


def prepare(kind: str, config: DetectionConfig, device: "torch.device") -> Task:
    """Read and check the weights, the data and the protocol before anything is trained. Raises ``UserError``."""
    from transfer.datasets import open_data

    initialisation = find_weights(config)
    data = open_data(kind, config.data, fraction=config.fraction, seed=config.seed)
    protocol = resolve(kind, config, initialisation, data, device)
    return Task(config, initialisation, data, protocol, device, identity_of(config, initialisation, data, protocol))


def find_weights(config: DetectionConfig) -> "Initialisation":
    """Read what --weights names: initial weights, or with --eval-only a whole detector."""
    from transfer.initialisation import resolve_detector, resolve_weights

    if config.eval_only:
        return resolve_detector(config.weights, trust=config.trust)
    return resolve_weights(
        config.weights, branch=config.branch, layout=config.layout, trust=config.trust, seed=config.seed
    )


def resolve(
    kind: str,
    config: DetectionConfig,
    initialisation: "Initialisation",
    data: "DetectionData",
    device: "torch.device",
    lr: float | None = None,
) -> "Protocol":
    """Return the effective protocol of a run; `lr` replaces the config's (a candidate of a sweep)."""
    from pretrain.distributed import world_size
    from transfer.protocol import resolve_protocol

    return resolve_protocol(
        config.protocol or DEFAULT_PROTOCOLS[kind][config.data is not None],
        family=initialisation.family,
        convention=initialisation.convention,
        world_size=world_size(),
        device=device.type,
        ims_per_batch=config.ims_per_batch,
        lr=lr or config.lr,
        precision=config.precision,
        data=data,
        overrides=config.overrides,
        seed=config.seed,
        workers=config.workers,
    )


def identity_of(
    config: DetectionConfig, initialisation: "Initialisation", data: "DetectionData", protocol: "Protocol"
) -> dict[str, Any]:
    """Return what makes a run this run: settings, protocol, the bytes of weights and data, number of processes."""
    from pretrain.distributed import world_size

    settings = {key: value for key, value in to_dict(config).items() if key not in NOT_IDENTITY}
    return {
        "script": data.task,
        "settings": settings,
        "weights": initialisation.sha256,
        "family": initialisation.family,
        "data": data.fingerprint,
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
        "lr": protocol.cfg.SOLVER.BASE_LR,
        "processes": world_size(),
    }


def plan(task: Task) -> str:
    """Return the plan of a run as text: resolved options, effective Detectron2 config, protocol, files, weights."""
    from transfer.protocol import describe, dump

    start, config = task.initialisation, task.config
    lines = [to_yaml(config).rstrip(), "", "# effective Detectron2 config", dump(task.protocol.cfg).rstrip(), ""]
    lines += [describe(task.protocol, task.data)]
    if config.sweep_lr:
        lines.append(
            f"sweep       the whole schedule once for each of {len(config.sweep_lr)} learning rates, on a hold-out"
        )
    epochs = "epochs not recorded" if start.epoch is None else f"{start.epoch} epochs"
    epochs += f" of {start.total_epochs}" if start.total_epochs else ""
    branch = f"{start.branch} branch, " if start.branch else ""
    lines += [
        f"weights     {config.weights}: {task.method}, {epochs}, {branch}sha256 {start.sha256[:12]}",
        "files       all there: " + ", ".join(str(path) for path in task.data.files),
        f"would write {task.output}",
    ]
    return "\n".join(lines)


def claim_on_main(task: Task) -> OutputFolder | None:
    """Claim the run's folder on the main process and return it there; a refusal ends all processes."""
    from pretrain.distributed import from_main

    claimed: list[OutputFolder] = []
    from_main(lambda: claimed.append(claim(task.output, task.identity, resume=task.config.resume)))
    return claimed[0] if claimed else None


def fine_tune(task: Task) -> None:
    """Train, evaluate and record one run, continuing what its folder holds."""
    from pretrain.distributed import is_main
    from pretrain.run import say
    from transfer.sweep import sweep

    folder = claim_on_main(task)
    if (task.output / RESULT).is_file():
        say(f"this run is complete already: {task.output / RESULT}")
        return
    if task.config.data is None:
        say("no --data given: fine-tuning on the embedded photographs, which says nothing about COCO")
    grid: dict[str, Any] = {}
    if task.config.sweep_lr:
        chosen, grid = sweep(task)
        protocol = resolve(task.data.task, task.config, task.initialisation, task.data, task.device, chosen)
        task = replace(task, protocol=replace(protocol, lr_chosen_by="sweep"))
    try:
        found = run(task, task.output)
    except RunFailed as error:
        record(task, getattr(error, "status", "failed"), {}, error, grid)
        raise RunFailed(f"{error}; the last good checkpoint, if any, is in {task.output}.") from None
    path = record(task, "completed", found.metrics, found, grid)
    if is_main():
        write_json(task.output / RESULT, found.metrics)
        say(summary(task, found.metrics))
        say(f"record {path}\npicture {task.output / PICTURE}\ndetector {task.output / DETECTOR}")
    if folder is not None:
        folder.release()


def run(task: Task, folder: Path, picture: bool = True) -> Outcome:
    """Train in `folder` from its checkpoint or the start, then evaluate the saved detector.

    Raises ``DetectionDiverged``; ``RunFailed`` for images that cannot be read and for weights that did not arrive.
    """
    from pretrain.distributed import is_main
    from pretrain.trainer import Diverged
    from transfer.detector import norm_kinds
    from transfer.protocol import dump
    from transfer.trainer import DetectionTrainer

    cfg = task.protocol.cfg
    if is_main():
        write_text(folder / "config.yaml", to_yaml(task.config))
        write_text(folder / "detectron2.yaml", dump(cfg))
    model, proven = build(task)
    trainer = DetectionTrainer(cfg, model, task.config.seed)
    details = {"norms": norm_kinds(model), "backbone_tensors_proven": proven}
    start, seconds_before = restore(trainer, folder)
    announce(task, trainer, start)
    checkpoints = register_hooks(task, trainer, folder, seconds_before)
    try:
        if start < trainer.max_iter:
            trainer.train(start, trainer.max_iter)
    except Diverged as error:
        where = {"iteration": error.iteration, "lr_at_end": error.lr}
        raise DetectionDiverged(error, checkpoints.seconds, details | where) from None
    metrics = finish(task, trainer, folder, picture)
    return Outcome(metrics, checkpoints.seconds, details | {"iterations": trainer.max_iter})


def build(task: Task) -> "tuple[nn.Module, int]":
    """Return the detector with its initial weights, heads drawn from --seed, and the number of tensors proven."""
    import torch

    from transfer.detector import build_detector, load_weights

    torch.manual_seed(task.config.seed)
    model = build_detector(task.protocol.cfg)
    checkpoint = task.initialisation.checkpoint
    proven = 0 if checkpoint is None else load_weights(model, checkpoint)
    return model, proven


def restore(trainer: Any, folder: Path) -> tuple[int, float]:
    """Load the folder's checkpoint if there is one; return the iteration to go on with and the seconds spent."""
    from transfer.trainer import LAST

    return trainer.load(folder / LAST) if (folder / LAST).is_file() else (0, 0.0)


def register_hooks(task: Task, trainer: Any, folder: Path, seconds_before: float) -> Any:
    """Register log, progress bar and checkpoints on the main process; return the last, which counts the time."""
    from pretrain.distributed import is_main
    from transfer.hooks import Checkpoints, Metrics, Progress

    checkpoints = Checkpoints(folder, task.config.checkpoint_every, seconds_before)
    if is_main():
        what = f"{task.protocol.name} from {task.method}"
        trainer.register_hooks([Metrics(folder, task.config.log_every), Progress(what), checkpoints])
    return checkpoints


def announce(task: Task, trainer: Any, start: int) -> None:
    """Say what will run, on the main process."""
    from pretrain.run import say
    from transfer.protocol import describe

    say(describe(task.protocol, task.data))
    if start:
        say(f"continuing at iteration {start} of {trainer.max_iter}")


def finish(task: Task, trainer: Any, folder: Path, picture: bool) -> dict[str, dict[str, float | None]]:
    """Save the detector, evaluate the saved file, write predictions and picture; return the metrics (rank 0)."""
    from pretrain.distributed import is_main, wait_for_all
    from transfer.evaluation import run_evaluation
    from transfer.picture import draw_predictions

    cfg = trainer.cfg
    if not (folder / DETECTOR).is_file():
        if cfg.TEST.PRECISE_BN.ENABLED:
            trainer.compute_precise_statistics(cfg.TEST.PRECISE_BN.NUM_ITER)
        if is_main():
            save_detector(task, trainer.model, folder / DETECTOR)
    wait_for_all()
    load_detector(trainer.model, folder / DETECTOR)
    metrics, predictions = run_evaluation(trainer.model, cfg, task.data, task.config.evaluator)
    if is_main():
        write_json(folder / PREDICTIONS, predictions)
        if picture:
            draw_predictions(folder / PICTURE, cfg, task.data, predictions, seed=task.config.seed)
    return metrics


def save_detector(task: Task, model: "nn.Module", path: Path) -> None:
    """Write the whole detector in Detectron2's format, with where its initial weights came from."""
    import torch

    from benchmark.files import write_with
    from transfer.convert import AUTHOR

    start = task.initialisation
    source = {"family": start.family, "method": task.method, "epoch": start.epoch, "total_epochs": start.total_epochs}
    source |= {"branch": start.branch, "layout": start.layout, "sha256": start.sha256}
    content = {"model": model.state_dict(), "__author__": AUTHOR, "detector": source, "protocol": task.protocol.name}
    write_with(path, lambda file: torch.save(content, file))


def load_detector(model: "nn.Module", path: Path) -> None:
    """Load the file that ``save_detector`` wrote, on every process."""
    import torch

    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])


def evaluate_only(task: Task) -> None:
    """Evaluate the detector that --weights names; write its results, predictions and picture, but no record.

    A record would count as one more repeat of the run that trained the detector.
    """
    from pretrain.distributed import is_main
    from pretrain.run import say
    from transfer.detector import build_detector, load_whole_detector
    from transfer.evaluation import run_evaluation
    from transfer.picture import draw_predictions

    model = build_detector(task.protocol.cfg)
    load_whole_detector(model, task.initialisation.checkpoint, task.config.weights)
    folder = claim_on_main(task)
    metrics, predictions = run_evaluation(model, task.protocol.cfg, task.data, task.config.evaluator)
    if is_main():
        write_json(task.output / PREDICTIONS, predictions)
        draw_predictions(task.output / PICTURE, task.protocol.cfg, task.data, predictions, seed=task.config.seed)
        write_json(task.output / RESULT, metrics)
        say(summary(task, metrics))
        say(f"results {task.output / RESULT}\npicture {task.output / PICTURE}")
    if folder is not None:
        folder.release()


def read_results(folder: Path) -> dict[str, dict[str, float | None]] | None:
    """Return the metrics of a complete run in `folder`, or None."""
    path = folder / RESULT
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
