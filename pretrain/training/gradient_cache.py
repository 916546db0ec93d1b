"""The loss of a large batch in the memory of a small one (gradient caching, arXiv 2101.06983).

Forward without graph per micro-batch, the loss and its gradient at the features of the full batch, then a second
forward with graph per micro-batch that receives those gradients. In eval mode it equals the direct gradient. In
training, batch norm normalises over a micro-batch instead of the batch: that is the one difference, and it is real.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Forward = Callable[[Tensor], Tensor]


@contextmanager
def frozen_running_statistics(module: nn.Module) -> Iterator[None]:
    """Let batch norms normalise by the batch as in training, but not move their running statistics."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, batches in kept:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)


def features_without_graph(forward: Forward, views: Tensor, micro_batch: int) -> Tensor:
    """Return ``forward(views)`` row by row, (B, d), computed per micro-batch without graph."""
    with torch.no_grad():
        return torch.cat([forward(part) for part in views.split(micro_batch)])


def backward_through_cache(
    online: nn.Module,
    forward: Forward,
    views: tuple[Tensor, Tensor],
    gradients: tuple[Tensor, Tensor],
    micro_batch: int,
) -> None:
    """Accumulate parameter gradients given the loss's gradient at the features of both views.

    Args:
        online: the module (or its DistributedDataParallel wrapper, whose last backward synchronises).
        forward: maps views to the features that `gradients` belong to.
        views: both views of this process, (B, 3, S, S).  gradients: (B, d) each.  micro_batch: rows at a time.
    """
    pieces = [
        (part, gradient)
        for view, whole in zip(views, gradients, strict=True)
        for part, gradient in zip(view.split(micro_batch), whole.split(micro_batch), strict=True)
    ]
    for number, (part, gradient) in enumerate(pieces, start=1):
        waits = isinstance(online, DistributedDataParallel) and number < len(pieces)
        with ExitStack() as stack:
            stack.enter_context(online.no_sync() if waits else nullcontext())
            features = forward(part)
            features.backward(gradient.to(features.dtype))
