"""SwAV's swapped prediction of cluster codes (arXiv 2006.09882, equations 1 to 5)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.precision import full_precision, in_full_precision
from pretrain.losses.rows import check_positive, check_rows, with_gradient_of, without_gradient


@in_full_precision
def swav_loss(
    view_1: Tensor,
    view_2: Tensor,
    prototypes: Tensor,
    queue_1: Tensor | None = None,
    queue_2: Tensor | None = None,
    *,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    sinkhorn_iterations: int = 3,
) -> Tensor:
    """Return the cross-entropy of each view's codes under the other view's prediction, a 0-dimensional tensor >= 0.

    The mean over both directions. The codes of a view (``swav_codes``) are constants.
    Source: facebookresearch/swav@06b1b7cb main_swav.py:259-346, src/resnet50.py:297-306; paper and code agree for
    two views. (lightly's prototypes have a bias, so its module is not used.)

    The released code normalises the prototypes in place, without a gradient, before the step. This function
    normalises what it is given too, and the gradient is that by the *normalised* prototypes: it is not projected
    on the sphere. A caller that keeps its prototypes normalised gets exactly the released step.

    Args:
        view_1, view_2: projector outputs, (m, d), any floating dtype, not normalised, over all processes, because the
            codes balance the whole batch; they get the gradient.
        prototypes: (K, d), a linear layer's weight without a bias; gets the gradient.
        queue_1, queue_2: unit rows of earlier batches of the same view, (L, d), which take part in the balancing of
            its codes; constants. None: no queue.
        temperature: of the prediction, above 0.  epsilon: of the codes, above 0; smaller is sharper.
        sinkhorn_iterations: of the balancing, 0 or more.

    Raises:
        ValueError: shapes that do not fit together, or a hyper-parameter out of range.
    """
    check_rows(view_1=view_1, view_2=view_2)
    check_positive(temperature=temperature)
    _check_width("prototypes", prototypes, view_1.shape[1])
    prototypes = with_gradient_of(F.normalize(prototypes, dim=1), prototypes)
    scores = [F.normalize(view, dim=1) @ prototypes.T for view in (view_1, view_2)]
    codes = [
        _codes(score.detach(), prototypes, queue, epsilon, sinkhorn_iterations)
        for score, queue in zip(scores, (queue_1, queue_2), strict=True)
    ]
    return (_cross_entropy(codes[0], scores[1] / temperature) + _cross_entropy(codes[1], scores[0] / temperature)) / 2


def _cross_entropy(codes: Tensor, logits: Tensor) -> Tensor:
    return -(codes * F.log_softmax(logits, dim=1)).sum(1).mean()


@torch.no_grad()
def swav_codes(
    view: Tensor,
    prototypes: Tensor,
    queue: Tensor | None = None,
    *,
    epsilon: float = 0.05,
    sinkhorn_iterations: int = 3,
) -> Tensor:
    """Return the codes of one view, (m, K): rows sum to 1, prototypes are used about equally over rows and queue.

    Arguments and errors are those of ``swav_loss``.
    """
    check_rows(view=view)
    _check_width("prototypes", prototypes, view.shape[1])
    with full_precision(view.device.type):
        dtype = torch.promote_types(view.dtype, torch.float32)
        prototypes = F.normalize(prototypes.to(dtype), dim=1)
        return _codes(
            F.normalize(view.to(dtype), dim=1) @ prototypes.T, prototypes, queue, epsilon, sinkhorn_iterations
        )


@torch.no_grad()
def _codes(scores: Tensor, prototypes: Tensor, queue: Tensor | None, epsilon: float, iterations: int) -> Tensor:
    """Return the batch's part of the balanced assignment of the queue's and the batch's rows."""
    check_positive(epsilon=epsilon)
    if iterations < 0:
        raise ValueError(f"sinkhorn_iterations is {iterations}; it must be 0 or more.")
    size = len(scores)
    if queue is not None:
        _check_width("queue", queue, prototypes.shape[1])
        scores = torch.cat([queue.to(scores.dtype) @ prototypes.T, scores])
    return sinkhorn(scores / epsilon, iterations)[-size:]


def _check_width(name: str, rows: Tensor, width: int) -> None:
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"{name} must be (rows, {width}), as wide as the views; it is {tuple(rows.shape)}.")


@torch.no_grad()
def sinkhorn(logits: Tensor, iterations: int) -> Tensor:
    """Return exp(logits) scaled to sum to 1 in each row and to about the same in each column, (B, K).

    Each iteration scales the prototypes (columns here) and then the samples (rows), as main_swav.py:353-376 does; the
    logarithms of it are computed, so that a small epsilon neither overflows nor divides by 0.
    """
    samples, prototypes = logits.shape
    log = logits - logits.flatten().logsumexp(0)
    for _ in range(iterations):
        log = log - log.logsumexp(0, keepdim=True) - math.log(prototypes)
        log = log - log.logsumexp(1, keepdim=True) - math.log(samples)
    return (log + math.log(samples)).exp()


@torch.no_grad()
def swav_enqueue(queue: Tensor, view: Tensor) -> Tensor:
    """Return the queue with this batch's unit rows put in front and as many of the oldest dropped at its end.

    Source: main_swav.py:303-304. The queue starts as zeros and is used once its last row is not zero (:298).

    Args:
        queue: (L, d); it is not changed.  view: projector outputs, (m, d), m <= L.

    Raises:
        ValueError: shapes that do not fit together, or more rows than the queue holds.
    """
    if queue.ndim != 2 or view.ndim != 2 or queue.shape[1] != view.shape[1] or len(view) > len(queue):
        raise ValueError(
            f"queue must be (L, d) and view (m, d) with m <= L; they are {tuple(queue.shape)} and {tuple(view.shape)}."
        )
    (rows,) = without_gradient(view)
    rows = F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=1)
    return torch.cat([rows.to(queue.dtype), queue[: len(queue) - len(rows)]])
