"""What a pre-training method is. The trainer, gradient caching, the plan and the diagnostics know nothing else of one.

One step, on a batch of views (a (B, 3, S, S) tensor each) of this process:

    before_step(progress)                      schedules of the method's own; an EMA that comes before the forward pass
    encoded = encode(views)                    what carries gradient
    targets = target(views)                    what carries none
    loss(rows, targets, labels).total          on the rows of all processes, gathered in order of rank
    ... backward ...
    after_backward(progress)                   the last look at the gradients
    ... optimiser step ...
    after_step(progress, rows, targets)        an EMA that comes after the step; queues

A method's encoder is its attribute ``encoder``, its momentum encoder ``momentum_encoder``: under these names they stand
in every checkpoint, whose "model" is the method's ``state_dict()``. All that a method has to remember from one step to
the next (queues, prototypes) is a parameter or a buffer of it, and so survives a kill.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from pretrain.networks.encoder import FEATURES, build_backbone
from pretrain.training.config import MethodOptions, PretrainConfig

if TYPE_CHECKING:
    from pretrain.images.collection import Images


Width = Annotated[int, Field(gt=0, le=2**17)]  # units of a layer
Views = Sequence[Tensor]  # of a batch of images: (B, 3, S, S) each
Rows = Sequence[Tensor]  # of a batch, one an image: (B, ...) each, of all processes where they are gathered
Temperature = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


@dataclass(frozen=True)
class Progress:
    """Where the training stands.

    iteration: completed steps.  total: steps of the whole run.  per_epoch: steps of an epoch.
    """

    iteration: int
    total: int
    per_epoch: int

    @property
    def fraction(self) -> float:
        """Share of the run that is completed, in [0, 1): what schedules are functions of."""
        return self.iteration / self.total

    @property
    def epoch(self) -> float:
        """Epochs that are completed, with fractions."""
        return self.iteration / self.per_epoch


class Encoded(NamedTuple):
    """What ``encode`` returns of the rows of one process.

    rows: tensors (B, ...) that carry gradient; the trainer gathers them and hands them to ``loss`` in this order.
    features: (B, 512 or 2048), the backbone's of the first view, for the diagnostics.
    projection: (B, d), the projector's of the first view, for the diagnostics; None where there is no projector.
    """

    rows: tuple[Tensor, ...]
    features: Tensor
    projection: Tensor | None


@dataclass(frozen=True)
class LossResult:
    """total: 0-dimensional, carries the gradient. terms: named values for the log. warning: a sentence, or None."""

    total: Tensor
    terms: Mapping[str, Tensor | float] = field(default_factory=dict)
    warning: str | None = None


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are trained alike.

    Attributes:
        parameters: of the method, each in one group.
        lr: peak learning rate of their own, before it is scaled with the batch; None: the run's.
        constant: whether their learning rate stays at its peak, without warm-up and schedule.
    """

    parameters: list[nn.Parameter]
    lr: float | None = None
    constant: bool = False


# What this project does with every method, and some of the released codes do not (``Method.not_as_released``).
DROPS_LAST = "the last incomplete batch of an epoch is dropped"
FLOAT32_LOSS = "fp16 holds for the network, not for the loss"


class Method(nn.Module):
    """Base of all methods; made from the resolved config, on the CPU, with every weight drawn from the config's seed.

    Class attributes:
        Options: its dataclass of options.
        views: how many views of an image it takes.
        synchronised_norms: whether batch norm takes its statistics over all processes.
        needs_labels: whether ``loss`` uses the labels.
        not_as_released: sentences about what this project does otherwise than the released run and no option can
            change; they stand in every record beside the options that differ, and in docs/methods.md.

    Args:
        config: the resolved config; ``config.options`` are the method's own.
        classes: number of classes where the images have labels, else 0.
    """

    Options: ClassVar[type[MethodOptions]]
    views: ClassVar[int] = 2
    synchronised_norms: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = False
    not_as_released: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: PretrainConfig, classes: int = 0):
        super().__init__()
        self.config, self.options, self.classes = config, config.options, classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.encoder = build_backbone(config.arch, config.zero_init)
            self.build(FEATURES[config.arch])

    def build(self, features: int) -> None:
        """Make everything beside ``encoder``: heads, momentum branch, queue. `features`: width of the backbone."""
        raise NotImplementedError

    def encode(self, views: Views) -> Encoded:
        """Return what carries gradient."""
        raise NotImplementedError

    def forward(self, views: Views) -> Encoded:
        """The same under the name that DistributedDataParallel wraps."""
        return self.encode(views)

    def target(self, views: Views) -> tuple[Tensor, ...]:
        """Return what carries no gradient, rows (B, ...) to be gathered; () where there is no momentum branch."""
        return ()

    def loss(self, rows: Rows, targets: Rows, labels: Tensor | None = None, details: bool = False) -> LossResult:
        """Return the loss on the rows of all processes, which every process computes alike.

        Args:
            rows: of ``encode``, float32, gathered.  targets: of ``target``, the same.
            labels: (m,) int64 class numbers where the method needs them.
            details: whether this step is logged, so that terms which cost time are wanted.
        """
        raise NotImplementedError

    def before_step(self, progress: Progress) -> None:
        """Act before the forward pass of every step."""

    def after_backward(self, progress: Progress) -> None:
        """Act on the gradients before the optimiser does."""

    def after_step(self, progress: Progress, rows: Rows, targets: Rows) -> None:
        """Act after the optimiser's step; `rows` and `targets` are the gathered ones, without gradient.

        It is also called after a step that fp16's scaler passed over.
        """

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters that carry gradient."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return all trainable parameters, grouped by how they are trained; by default one group."""
        return [ParameterGroup(self.trainable())]

    def loss_numbers(self, batch: int) -> int:
        """Return how many numbers the largest matrix of the loss has at a global batch, for the plan's memory."""
        return 0

    @classmethod
    def departures(cls, config: PretrainConfig, processes: int) -> tuple[str, ...]:
        """Return what a run on so many processes does otherwise than the released one, beside its options."""
        return cls.not_as_released

    @classmethod
    def check(cls, config: PretrainConfig, paths: "Images") -> None:
        """Raise ``UserError`` where the options do not suit the run or its images."""
