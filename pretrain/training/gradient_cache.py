"""The loss of a large batch in the memory of a small one (gradient caching, arXiv 2101.06983).

Forward without graph per micro-batch, the loss and its gradient at the rows of the full batch, then a second forward
with graph per micro-batch that receives those gradients. In eval mode it equals the direct gradient. In training,
batch norm normalises over a micro-batch instead of the batch: that is the one difference, and it is real.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pretrain.methods.base import Encoded, Views

Encode = Callable[[Views], Encoded]


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


@contextmanager
def one_update(module: nn.Module, parts: int) -> Iterator[None]:
    """Let `parts` forward passes of a part of the batch move the running statistics as far as one pass of the whole.

    Each moves them by 1 - (1 - momentum)^(1 / parts), so that what is left of the old ones is what one pass leaves.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 1.0 - (1.0 - norm.momentum) ** (1.0 / parts)
    try:
        yield
    finally:
        for norm, momentum, batches in kept:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches + (norm.num_batches_tracked - batches) // parts)


def micro_batches(views: Views, size: int) -> list[tuple[Tensor, ...]]:
    """Return the views in parts of `size` images."""
    return list(zip(*(view.split(size) for view in views), strict=True))


def encode_without_graph(encode: Encode, views: Views, size: int) -> Encoded:
    """Return ``encode(views)``, computed per micro-batch without graph."""
    with torch.no_grad():
        parts = [encode(part) for part in micro_batches(views, size)]
    rows = tuple(torch.cat(pieces) for pieces in zip(*(part.rows for part in parts), strict=True))
    projections = [part.projection for part in parts if part.projection is not None]
    return Encoded(rows, torch.cat([part.features for part in parts]), torch.cat(projections) if projections else None)


def backward_through_cache(
    wrapped: nn.Module, encode: Encode, views: Views, gradients: Sequence[Tensor | None], size: int
) -> None:
    """Accumulate parameter gradients given the loss's gradient at the rows of ``encode(views)``.

    Args:
        wrapped: the method, or its DistributedDataParallel wrapper, whose last backward synchronises.
        encode: calls it.  views: of this process.  size: images at a time.
        gradients: of the loss by each of the rows, (B, ...); None for rows that the loss does not depend on.
    """
    used = [(place, whole.split(size)) for place, whole in enumerate(gradients) if whole is not None]
    # A parameter that the loss uses itself has its gradient already; DistributedDataParallel must meet it once more.
    reached = [p for p in wrapped.parameters() if p.requires_grad and p.grad is not None]
    parts = micro_batches(views, size)
    for number, part in enumerate(parts):
        waits = isinstance(wrapped, DistributedDataParallel) and number < len(parts) - 1
        with wrapped.no_sync() if waits else nullcontext():
            rows = encode(part).rows
            outputs = [rows[place] for place, _ in used]
            factors = [pieces[number].to(rows[place].dtype) for place, pieces in used]
            outputs += [(p * 0).sum() for p in reached]
            factors += [torch.ones((), dtype=p.dtype, device=p.device) for p in reached]
            torch.autograd.backward(outputs, factors)
