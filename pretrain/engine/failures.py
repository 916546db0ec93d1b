"""Which errors are failures of a run, in one sentence each: no memory, no room, a killed helper, a lost peer."""

from benchmark.core.errors import RunFailed


class Diverged(RunFailed):
    """The loss, the gradient or the weights are no longer finite, on every process alike.

    Attributes:
        iteration: the step in which it was found, counted from 1 as in metrics.json.  lr: of that step.
    """

    everywhere = True

    def __init__(self, what: str, iteration: int, lr: float):
        super().__init__(f"the {what} is not finite at iteration {iteration} (lr {lr:.4g})")
        self.iteration, self.lr = iteration, lr


def explained(error: Exception) -> RunFailed | None:
    """Return the failure that an error amounts to, None when it is a defect of this project."""
    if isinstance(error, RunFailed):
        return error
    return None
