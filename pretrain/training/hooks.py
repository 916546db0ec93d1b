"""What happens beside the steps: progress, metrics, checkpoints, and watching for the ways in which runs fail."""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import HookBase

from benchmark.core.errors import RunFailed
from benchmark.core.options import to_dict
from benchmark.core.progress import progress
from pretrain.diagnostics.spectrum import effective_rank
from pretrain.engine.checkpoint import BACKBONE, LAST, export_backbone, numbered, save_checkpoint
from pretrain.engine.metrics_log import MetricsLog
from pretrain.engine.processes import is_main, union

MAX_UNREADABLE = 0.01  # share of the folder's images
RANK_SAMPLES = 1024  # rows of the batch that effective ranks are computed from, at most
RANK_DEFINITION = f"covariance eigenvalues, centred, at most {RANK_SAMPLES} rows"


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
    """Logs the steps that have details (every `log_every` iterations) to ``metrics.json`` and TensorBoard."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def latest(self) -> dict[str, float]:
        """The values that were logged last, by this part of the run or by an earlier one."""
        return self._log.latest

    def before_train(self) -> None:
        self._log = MetricsLog(self.folder, self.trainer.start_iter)
        self._begun, self._images = time.perf_counter(), 0

    def after_step(self) -> None:
        trainer, last = self.trainer, self.trainer.last
        self._images += trainer.config.batch_size
        if not last.parts:
            return
        seconds, iteration = time.perf_counter() - self._begun, trainer.iter + 1
        values = {"epoch": iteration / trainer.iterations_per_epoch, "loss": last.loss, "lr": last.lr}
        values |= {"ema": last.momentum, "gradient_norm": last.gradient_norm}
        self._log.write(iteration, values | {"images_per_second": self._images / seconds, **last.parts})
        self._begun, self._images = time.perf_counter(), 0

    def after_train(self) -> None:
        self._log.close()


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


class FolderUnwritable(RunFailed):
    """The output folder cannot be written: the main process alone knows."""


class Checkpoints(HookBase):
    """Writes the last checkpoint after every epoch, and within one whenever ``checkpoint_minutes`` have passed.

    After an epoch it also exports the bare backbone, and keeps numbered checkpoints as asked.

    Args:
        folder: of the run.
        seconds_before: spent by earlier parts of the run, so that the record's duration is that of all parts.
        more: gives what a checkpoint holds beside the trainer's state.
    """

    def __init__(self, folder: Path, seconds_before: float = 0.0, more: Callable[[], dict[str, Any]] = dict):
        self.folder, self.seconds_before, self.more = folder, seconds_before, more
        self._begun = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, all parts together, in seconds."""
        return self.seconds_before + time.monotonic() - self._begun

    def after_step(self) -> None:
        trainer = self.trainer
        ends_epoch = (trainer.iter + 1) % trainer.iterations_per_epoch == 0
        if not ends_epoch and time.monotonic() - self._saved < 60 * trainer.config.checkpoint_minutes:
            return
        content = {**trainer.state(), "config": to_dict(trainer.config), "seconds": self.seconds, **self.more()}
        if not all(torch.isfinite(tensor).all() for tensor in content["model"].values()):
            return  # the next step will find the loss diverged; what was good before stays
        try:
            if ends_epoch:
                self._keep(content)
            save_checkpoint(self.folder / LAST, content)
        except OSError as error:
            raise FolderUnwritable(f"{self.folder} cannot be written ({error.strerror}); free some space") from None
        self._saved = time.monotonic()

    def _keep(self, content: dict[str, Any]) -> None:
        """Write what belongs to a completed epoch: the numbered checkpoint, if asked for, and the bare backbone."""
        trainer, config, epoch = self.trainer, self.trainer.config, self.trainer.epoch
        if epoch in config.keep_epochs or (config.keep_every and epoch % config.keep_every == 0):
            save_checkpoint(self.folder / numbered(epoch), content)
        metadata = {"method": config.method, "arch": config.arch, "epoch": epoch, "total_epochs": config.epochs}
        metadata |= {"branch": "online", "seed": config.seed}
        export_backbone(self.folder / BACKBONE, trainer.branches.encoder.state_dict(), metadata)


class UnreadableImages(HookBase):
    """Names each image that could not be read, by whichever process, and fails the run beyond 1 % of the folder.

    Several processes tell each other on the iterations that are logged.

    Args:
        say: prints a sentence.
        known: paths met by earlier parts of the run.
    """

    def __init__(self, say: Callable[[str], None], known: tuple[str, ...] = ()):
        self.say = say
        self.paths = set(known)
        self._new: set[str] = set()

    def after_step(self) -> None:
        trainer = self.trainer
        self._new |= set(trainer.last.unreadable) - self.paths
        if not trainer.wants_details(trainer.iter):
            return
        new, self._new = union(self._new) - self.paths, set()
        for path in sorted(new):
            self.say(f"cannot be read, replaced by another image: {path}")
        self.paths |= new
        images = len(trainer.paths)
        if len(self.paths) > MAX_UNREADABLE * images:
            some = ", ".join(sorted(self.paths)[:3])
            raise RunFailed(
                f"{len(self.paths)} of {images} images cannot be read, more than 1 % ({some}); mend or remove them"
            )


class FailureSignatures(HookBase):
    """Watches for what precedes a lost run: exploding or vanishing gradient, collapse, a loss that does not move.

    Each signature is said once and kept in ``found`` ({name: sentence}) for the record. ``state`` goes into the
    checkpoint, so that a resumed run watches on as if it had not been interrupted.

    Args:
        say: prints a sentence.
        window: iterations whose mean losses are compared, and which give the usual gradient norm.
        warmup: iterations of the warm-up; a loss that has not moved before its end is no sign of anything.
    """

    EXPLODING = 100.0  # times the median gradient norm of the window
    VANISHING = 1e-4  # of the median gradient norm of the window, or 1e-8 altogether
    COLLAPSED = 1.5  # effective rank; 1 is a single direction
    MOVED = 4.0  # standard errors between the mean losses of two windows

    def __init__(self, say: Callable[[str], None], window: int = 50, warmup: int = 0):
        self.say, self.window, self.warmup = say, window, warmup
        self.norms: deque[float] = deque(maxlen=window)
        self.losses: list[float] = []  # of the window that is being filled
        self.first: list[float] = []  # of the first window
        self.moved = False
        self.found: dict[str, str] = {}

    def state(self) -> dict[str, Any]:
        """Return everything remembered, as plain values."""
        kept = {"norms": list(self.norms), "losses": list(self.losses), "first": list(self.first)}
        return {**kept, "moved": self.moved, "found": dict(self.found)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.norms.extend(state["norms"])
        self.losses, self.first, self.moved = list(state["losses"]), list(state["first"]), state["moved"]
        self.found = dict(state["found"])

    def after_step(self) -> None:
        last, iteration = self.trainer.last, self.trainer.iter + 1
        if last.warning:
            self._found("series", last.warning, iteration)
        if math.isfinite(last.gradient_norm):  # else fp16's scaler has passed over the step
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
        """Compare each window's mean loss with the first one's: batches differ, so single values always move."""
        if self.moved:
            return
        self.losses.append(loss)
        if len(self.losses) < self.window:
            return
        losses, self.losses = self.losses, []
        if not self.first:
            self.first = losses
            return
        begin, now = statistics.fmean(self.first), statistics.fmean(losses)
        noise = math.sqrt((statistics.pvariance(self.first) + statistics.pvariance(losses)) / self.window)
        self.moved = abs(now - begin) > self.MOVED * noise
        if not self.moved and iteration >= self.warmup + self.window:
            text = f"its mean over {self.window} iterations is {now:.6g}, at the beginning {begin:.6g}, no more apart "
            self._found("loss does not move", text + "than by chance; raise --lr or look at the data", iteration)

    def _found(self, name: str, text: str, iteration: int) -> None:
        if name not in self.found:
            self.found[name] = f"iteration {iteration}: {text}"
            self.say(f"warning: {name} at iteration {iteration}: {text}.")
