"""What watches the steps of fine-tuning beside the engine's hooks."""

from detectron2.engine import HookBase

from pretrain.engine.failures import Diverged


class FiniteWeights(HookBase):
    """Raises ``Diverged`` before a checkpoint would hold weights or statistics that are not finite.

    To be registered on every process, after the engine's ``Agreement``: weights are equal on all, so all stop together.
    """

    def after_step(self) -> None:
        trainer = self.trainer
        if trainer.saving and not trainer.is_finite():
            raise Diverged("network's weights", trainer.iteration, trainer.lr)
