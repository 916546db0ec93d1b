"""What happens beside the steps: progress, metrics, checkpoints, and watching for the ways in which runs fail."""

import json
import math
import statistics
import time
from collections import deque
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase

from benchmark.errors import RunFailed
from benchmark.files import write_text
from benchmark.options import to_dict
from benchmark.progress import progress
from pretrain.checkpoint import BACKBONE, LAST, export_backbone, numbered, save_checkpoint
from pretrain.diagnostics import effective_rank
from pretrain.distributed import is_main

MAX_UNREADABLE = 0.01  # share of the folder's images
RANK_SAMPLES = 1024  # rows of the batch that effective ranks are computed from, at most


class Diagnostics(HookBase):
    """Computes effective ranks (covariance definition, at most 1,024 rows) on the iterations that are logged."""

    def after_step(self) -> None:
        last = self.trainer.last
        if last.features is None:
            return
        if is_main():
            last.parts["effective_rank_backbone"] = effective_rank(last.features[:RANK_SAMPLES])
            last.parts["effective_rank_projector"] = effective_rank(last.projection[:RANK_SAMPLES])
        last.features = last.projection = None


class Metrics(HookBase):
    """Writes ``metrics.json`` (one JSON object a line) and TensorBoard events every `log_every` iterations.

    Lines after the iteration that a resumed run begins with belong to steps that were lost; they are removed.
    """

    def __init__(self, folder: Path):
        self.path, self.folder = folder / "metrics.json", folder
        self.latest: dict[str, float] = {}

    def before_train(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        kept = [line for line in lines if _iteration_of(line) <= self.trainer.start_iter]
        write_text(self.path, "".join(line + "\n" for line in kept))
        self.latest = json.loads(kept[-1]) if kept else {}
        self._events = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.trainer.start_iter + 1)
        self._begun, self._images = time.perf_counter(), 0

    def after_step(self) -> None:
        trainer, last = self.trainer, self.trainer.last
        self._images += trainer.config.batch_size
        if not last.parts:
            return
        seconds = time.perf_counter() - self._begun
        values = {"loss": last.loss, "lr": last.lr, "ema": last.momentum, "gradient_norm": last.gradient_norm}
        values |= {"images_per_second": self._images / seconds, **last.parts}
        self._begun, self._images = time.perf_counter(), 0
        iteration = trainer.iter + 1
        self.latest = {"iteration": iteration, "epoch": iteration / trainer.iterations_per_epoch, **values}
        finite = {key: value for key, value in self.latest.items() if math.isfinite(value)}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(finite) + "\n")
        for key, value in values.items():
            self._events.add_scalar(key, value, iteration)

    def after_train(self) -> None:
        self._events.close()


def _iteration_of(line: str) -> float:
    """Return the iteration of a line of metrics.json; a line cut short by a kill counts as infinitely late."""
    try:
        return json.loads(line)["iteration"]
    except (ValueError, KeyError, TypeError):
        return math.inf


class Progress(HookBase):
    """The progress bar: loss, lr, images/s, effective rank of the backbone, time left."""

    def __init__(self, metrics: Metrics):
        self.metrics = metrics

    def before_train(self) -> None:
        trainer = self.trainer
        what = f"{trainer.config.method}, {trainer.config.epochs} epochs"
        self._bar = progress(None, what, "it", total=trainer.max_iter, initial=trainer.start_iter, delay=0, leave=True)

    def after_step(self) -> None:
        last, latest = self.trainer.last, self.metrics.latest
        shown = {"loss": f"{last.loss:.3f}", "lr": f"{last.lr:.3g}"}
        if "images_per_second" in latest:
            shown |= {"images/s": f"{latest['images_per_second']:.0f}"}
            shown |= {"rank": f"{latest.get('effective_rank_backbone', math.nan):.1f}"}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def after_train(self) -> None:
        self._bar.close()


class Checkpoints(HookBase):
    """Writes the last checkpoint and the bare backbone after every epoch, and keeps numbered ones as asked.

    `seconds_before`: time spent by earlier parts of the run, so that the record's duration is that of all parts.
    """

    def __init__(self, folder: Path, seconds_before: float):
        self.folder, self.seconds_before = folder, seconds_before
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, all parts together, in seconds."""
        return self.seconds_before + time.monotonic() - self._begun

    def after_step(self) -> None:
        trainer = self.trainer
        if (trainer.iter + 1) % trainer.iterations_per_epoch:
            return
        config, epoch = trainer.config, trainer.epoch
        content = {**trainer.state(), "config": to_dict(config), "seconds": self.seconds}
        if epoch in config.keep_epochs or (config.keep_every and epoch % config.keep_every == 0):
            save_checkpoint(self.folder / numbered(epoch), content)
        metadata = {"method": config.method, "arch": config.arch, "epoch": epoch, "total_epochs": config.epochs}
        metadata |= {"branch": "online", "seed": config.seed}
        export_backbone(self.folder / BACKBONE, trainer.branches.encoder.state_dict(), metadata)
        save_checkpoint(self.folder / LAST, content)


class UnreadableImages(HookBase):
    """Names each image that could not be read and fails the run beyond 1 % of the folder."""

    def __init__(self, say: Any):
        self.say = say
        self.paths: set[str] = set()

    def after_step(self) -> None:
        for path in self.trainer.last.unreadable:
            if path not in self.paths:
                self.paths.add(path)
                self.say(f"cannot be read, replaced by another image: {path}")
        images = len(self.trainer.paths)
        if len(self.paths) > MAX_UNREADABLE * images:
            some = ", ".join(sorted(self.paths)[:3])
            raise RunFailed(
                f"{len(self.paths)} of {images} images cannot be read, more than 1 % ({some}); mend or remove them."
            )


class FailureSignatures(HookBase):
    """Watches for what precedes a lost run: exploding or vanishing gradient, collapse, a loss that does not move.

    Each signature is said once and kept in ``found`` ({name: sentence}) for the record.

    Args:
        say: prints a sentence.
        window: logged iterations over which the loss must move, and which give the usual gradient norm.
    """

    EXPLODING = 100.0  # times the median gradient norm of the window
    VANISHING = 1e-4  # of the median gradient norm of the window, or 1e-8 altogether
    COLLAPSED = 1.5  # effective rank; 1 is a single direction
    STILL = 1e-5  # relative range of the loss over the window

    def __init__(self, say: Any, window: int = 50):
        self.say = say
        self.norms: deque[float] = deque(maxlen=window)
        self.losses: deque[float] = deque(maxlen=window)
        self.found: dict[str, str] = {}

    def after_step(self) -> None:
        last, iteration = self.trainer.last, self.trainer.iter + 1
        if last.warning:
            self._found("series", last.warning, iteration)
        self._gradient(last.gradient_norm, iteration)
        self._collapse(last.parts, iteration)
        self._still(last.loss, iteration)

    def _gradient(self, norm: float, iteration: int) -> None:
        usual = statistics.median(self.norms) if len(self.norms) == self.norms.maxlen else None
        if usual and norm > self.EXPLODING * usual:
            self._found("exploding gradient", f"its norm is {norm:.3g}, usually {usual:.3g}; lower --lr", iteration)
        if norm < 1e-8 or (usual and norm < self.VANISHING * usual):
            text = f"its norm is {norm:.3g}; look at the effective rank, and whether --lr and --gamma suit"
            self._found("vanishing gradient", text, iteration)
        self.norms.append(norm)

    def _collapse(self, parts: dict[str, float], iteration: int) -> None:
        for where in ("projector", "backbone"):
            rank = parts.get(f"effective_rank_{where}")
            if rank is not None and rank < self.COLLAPSED:
                text = (
                    f"effective rank {rank:.2f} of the {where}: its outputs lie on one line; a falling loss does not "
                )
                self._found(f"collapse of the {where}", text + "show it; lower --lr or --gamma", iteration)

    def _still(self, loss: float, iteration: int) -> None:
        self.losses.append(loss)
        if len(self.losses) == self.losses.maxlen:
            low, high = min(self.losses), max(self.losses)
            if high - low <= self.STILL * max(abs(high), abs(low)):
                text = f"it stayed at {loss:.6g} for {len(self.losses)} iterations; raise --lr or look at the data"
                self._found("loss does not move", text, iteration)

    def _found(self, name: str, text: str, iteration: int) -> None:
        if name not in self.found:
            self.found[name] = f"iteration {iteration}: {text}"
            self.say(f"warning: {name} at iteration {iteration}: {text}.")
