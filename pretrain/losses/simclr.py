"""SimCLR's NT-Xent (arXiv 2002.05709, equation 1)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.precision import in_full_precision
from pretrain.losses.rows import check_positive, check_rows, unit_rows


@in_full_precision
def simclr_loss(view_1: Tensor, view_2: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Return the normalised, temperature-scaled cross-entropy of both views, a 0-dimensional tensor >= 0.

    Every row has to find its other view among the 2m - 1 other rows of both views; its own is left out.
    Source: google-research/simclr@383d4143 tf2/objective.py:35-87.

    Code and paper differ: the code *adds* the means over the m anchors of each view, so the value and the gradient
    are twice the paper's average over the 2m anchors. This is the code's. (lightly's ``NTXentLoss`` is the paper's.)

    Args:
        view_1, view_2: projector outputs of the two views, (m, d), any floating dtype, not normalised; over all
            processes, because the other images of the batch are the negatives. Both get the gradient.
        temperature: above 0; the paper's best is 0.1 for long training.

    Raises:
        ValueError: shapes that differ, or a temperature that is not above 0.
    """
    check_rows(view_1=view_1, view_2=view_2)
    check_positive(temperature=temperature)
    a, b = unit_rows(view_1), unit_rows(view_2)
    itself = torch.eye(len(a), dtype=torch.bool, device=a.device)
    crossed = a @ b.T / temperature
    # The released code takes 1e9 from a row's similarity with itself, which leaves e^-1e9 = 0, as minus infinity does.
    same_a = (a @ a.T / temperature).masked_fill(itself, -math.inf)
    same_b = (b @ b.T / temperature).masked_fill(itself, -math.inf)
    positives = torch.arange(len(a), device=a.device)
    loss_a = F.cross_entropy(torch.cat([crossed, same_a], dim=1), positives)
    loss_b = F.cross_entropy(torch.cat([crossed.T, same_b], dim=1), positives)
    return loss_a + loss_b
