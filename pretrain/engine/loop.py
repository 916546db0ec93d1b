"""The training loop of both halves: Detectron2's ``TrainerBase`` with an end in order.

What differs from ``TrainerBase.train``: a request to stop (signals.py) ends the loop after a step; a hook that fails
while the loop is being ended does not hide why it ended; every process knows, without asking the others, whether a
step is logged.
"""

from typing import Any

from detectron2.engine import TrainerBase
from detectron2.utils.events import EventStorage

from benchmark.core.errors import Stopped
from benchmark.core.log import LOG
from pretrain.engine import signals


class TrainingLoop(TrainerBase):
    """Takes steps from one iteration to another. A subclass says what a step is (``run_step``) and what it gave.

    Args:
        max_iter: iterations of the whole run.  log_every: iterations from one logged step to the next.
        images_per_iteration: images in a batch over all processes.

    Attributes:
        stopping: the signal that asked some process of the run to stop, 0 for none; equal on all processes after the
            hook ``Agreement`` has acted.
        saving: whether a checkpoint is to be written after this step; equal on all processes likewise.
    """

    def __init__(self, max_iter: int, log_every: int, images_per_iteration: int):
        super().__init__()
        self.max_iter, self.log_every, self.images_per_iteration = max_iter, log_every, images_per_iteration
        self.stopping, self.saving = 0, False

    @property
    def iteration(self) -> int:
        """The step at hand, counted from 1; after it the number of completed steps."""
        return self.iter + 1

    @property
    def logs_this_step(self) -> bool:
        """Whether the step at hand is logged: the first, every `log_every`-th, and the last of the run."""
        return self.iteration % self.log_every == 0 or self.iteration in (1, self.max_iter)

    def scalars(self) -> dict[str, float]:
        """Return what metrics.json keeps of the step that was taken last, loss and lr first."""
        raise NotImplementedError

    def shown(self) -> dict[str, str]:
        """Return what the progress bar shows of the step that was taken last, the most important first."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds after a completed step: ``iteration``, and ``hooks`` with their states.

        Plain numbers and tensors. A subclass adds weights, optimiser and the rest.
        """
        hooks = {type(hook).__name__: state for hook in self._hooks if (state := hook.state_dict())}
        return {"iteration": self.iteration, "hooks": hooks}

    def load_state(self, content: dict[str, Any]) -> int:
        """Take over what ``state`` returned, hooks included; return the iteration to go on with.

        The hooks must have been registered. A subclass takes its own part first.
        """
        hooks = content.get("hooks", {})
        for hook in self._hooks:
            if type(hook).__name__ in hooks:
                hook.load_state_dict(hooks[type(hook).__name__])
        return int(content["iteration"])

    def train(self, start_iter: int, max_iter: int) -> None:
        """Take the steps from `start_iter` to `max_iter`, both counted from 0.

        Raises:
            Stopped: a signal asked for it; the hook ``Checkpoints`` has saved the last step.
        """
        self.iter = self.start_iter = start_iter
        with EventStorage(start_iter) as self.storage, signals.noted():
            try:
                self.before_train()
                for self.iter in range(start_iter, max_iter):
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    if self.stopping:
                        raise Stopped(self.stopping, f" after iteration {self.iteration}")
            except BaseException:
                signals.forget_workers()
                self._end_hooks()
                raise
            self.iter += 1
            self.after_train()

    def _end_hooks(self) -> None:
        """Let every hook end, whatever the others do: the error that ended the loop is the one that is reported."""
        for hook in self._hooks:
            try:
                hook.after_train()
            except Exception as error:
                LOG.debug("%s could not end in order: %s", type(hook).__name__, error)
