"""What pre-training does beside its steps: files of an epoch, and watching for the ways in which runs fail."""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase

from benchmark.core.errors import RunFailed
from pretrain.engine.checkpoint import numbered, save_checkpoint
from pretrain.engine.export import BACKBONE, export_backbone
from pretrain.engine.processes import union
from pretrain.training.trainer import PretrainTrainer

MAX_UNREADABLE = 0.01  # share of the folder's images


class EpochFiles:
    """What is written when an epoch is completed: the numbered checkpoint, if asked for, and the bare backbone.

    Given to ``Checkpoints`` as what comes before the last checkpoint, so that a kill between them repeats the epoch's
    last steps and writes both again.
    """

    def __init__(self, folder: Path, trainer: PretrainTrainer):
        self.folder, self.trainer = folder, trainer

    def __call__(self, content: dict[str, Any]) -> None:
        trainer, config, epoch = self.trainer, self.trainer.config, self.trainer.epoch
        if trainer.iteration % trainer.iterations_per_epoch:
            return
        if epoch in config.keep_epochs or (config.keep_every and epoch % config.keep_every == 0):
            save_checkpoint(self.folder / numbered(epoch), content)
        metadata = {"method": config.method, "arch": config.arch, "epoch": epoch, "total_epochs": config.epochs}
        metadata |= {"branch": "online", "seed": config.seed}
        export_backbone(self.folder / BACKBONE, trainer.method.encoder.state_dict(), metadata)


class FirstStep(HookBase):
    """Says how long the first step of this part of a run took, compiling included; the speed is that of the others.

    Args:
        say: prints a sentence.
    """

    def __init__(self, say: Callable[[str], None]):
        self.say = say
        self._begun = 0.0

    def before_step(self) -> None:
        self._begun = time.perf_counter()

    def after_step(self) -> None:
        if self.trainer.iter == self.trainer.start_iter:
            took = time.perf_counter() - self._begun
            self.say(f"the first step took {took:.1f} s, in which torch.compile translated the encoder")


class TooManyUnreadable(RunFailed):
    """More than 1 % of the images cannot be read, as all processes have found together."""

    everywhere = True


class UnreadableImages(HookBase):
    """Names each image that could not be read, by whichever process, and fails the run beyond 1 % of the folder.

    Several processes tell each other on the iterations that are logged.

    Args:
        say: prints a sentence.
    """

    def __init__(self, say: Callable[[str], None]):
        self.say = say
        self.paths: set[str] = set()
        self._new: set[str] = set()

    def state_dict(self) -> dict[str, Any]:
        """Return the paths met so far."""
        return {"paths": sorted(self.paths)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        self.paths = {str(path) for path in state["paths"]}

    def after_step(self) -> None:
        trainer = self.trainer
        self._new |= set(trainer.last.unreadable) - self.paths
        if not trainer.logs_this_step:
            return
        new, self._new = union(self._new) - self.paths, set()
        for path in sorted(new):
            self.say(f"cannot be read, replaced by another image: {path}")
        self.paths |= new
        images = len(trainer.paths)
        if len(self.paths) > MAX_UNREADABLE * images:
            some = ", ".join(sorted(self.paths)[:3])
            raise TooManyUnreadable(
                f"{len(self.paths)} of {images} images cannot be read, more than 1 % ({some}); mend or remove them"
            )


class FailureSignatures(HookBase):
    """Watches for what precedes a lost run: exploding or vanishing gradient, collapse, a loss that does not move.

    Each signature is said once and kept in ``found`` ({name: sentence}) for the record; a checkpoint keeps what it
    remembers, so that a resumed run watches on as if it had not been interrupted.

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

    def state_dict(self) -> dict[str, Any]:
        """Return everything remembered, as plain values."""
        kept = {"norms": list(self.norms), "losses": list(self.losses), "first": list(self.first)}
        return {**kept, "moved": self.moved, "found": dict(self.found)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        self.norms = deque((float(norm) for norm in state["norms"]), maxlen=self.window)
        self.losses, self.first = ([float(loss) for loss in state[name]] for name in ("losses", "first"))
        self.moved, self.found = bool(state["moved"]), dict(state["found"])

    def after_step(self) -> None:
        last, iteration = self.trainer.last, self.trainer.iteration
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
            text = f"its norm is {norm:.3g}; look at the effective rank, at --lr and at the weights of the loss"
            self._found("vanishing gradient", text, iteration)
        self.norms.append(norm)

    def _collapse(self, parts: dict[str, float], iteration: int) -> None:
        for where in ("projector", "backbone"):
            rank = parts.get(f"effective_rank_{where}")
            if rank is not None and rank < self.COLLAPSED:
                text = (
                    f"effective rank {rank:.2f} of the {where}: its outputs lie on one line; a falling loss does not "
                )
                text += "show it; lower --lr, or the weight of alignment"
                self._found(f"collapse of the {where}", text, iteration)

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
