"""Barlow Twins: cross-correlation towards the identity (arXiv 2103.03230, equation 1)."""

import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.precision import in_full_precision
from pretrain.losses.rows import check_not_negative, check_rows, off_diagonal

_BN_EPS = 1e-5


@in_full_precision
def barlow_twins_loss(view_1: Tensor, view_2: Tensor, *, lambd: float = 0.0051, processes: int = 1) -> Tensor:
    """Return sum_i (c_ii - 1)^2 + lambd sum_{i != j} c_ij^2, a 0-dimensional tensor >= 0.

    c = z1' z2 / m is the cross-correlation of the standardised outputs, (d, d): each feature less its mean, over the
    root of its *biased* variance plus 1e-5, as batch norm without affine in training does. Both triangles count.
    Source: facebookresearch/barlowtwins@8e8d284c main.py:207-221. The paper has lambda 5e-3 and no eps; an earlier
    release scaled the loss by 0.024, this one does not. The released run computes it in float16 under autocast.
    (lightly's equals this up to its lambda; only the 10 lines here know of `processes`.)

    **The gradient of the released code on several GPUs is 1/processes of the true one**: its ``all_reduce`` of c
    passes no gradient on, and DistributedDataParallel then takes the mean over the processes. LARS hides this for
    weights (their decay then weighs more against the gradient), but biases and batch norm move that much less than
    their learning rate says. Here the gradient is the true one; `processes` divides it as that many GPUs would have.

    Args:
        view_1, view_2: projector outputs, (m, d), any floating dtype, over all processes; both get the gradient.
        lambd: weight of the off-diagonal entries, >= 0.
        processes: 1 for the true gradient; the number of GPUs of a released run, to follow that run. The value of
            the loss does not depend on it.

    Raises:
        ValueError: shapes that differ, fewer than 2 rows, or a hyper-parameter out of range.
    """
    check_rows(2, view_1=view_1, view_2=view_2)
    check_not_negative(lambd=lambd)
    if processes < 1:
        raise ValueError(f"processes is {processes}; it must be 1 or more.")
    correlation = _standardised(view_1).T @ _standardised(view_2) / len(view_1)
    on_diagonal = (correlation.diagonal() - 1).square().sum()
    loss = on_diagonal + lambd * off_diagonal(correlation).square().sum()
    return loss if processes == 1 else loss / processes + (loss - loss / processes).detach()


def _standardised(view: Tensor) -> Tensor:
    return F.batch_norm(view, None, None, training=True, eps=_BN_EPS)
