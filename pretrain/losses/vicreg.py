"""VICReg: variance, invariance, covariance (arXiv 2105.04906, equations 1 to 6)."""

import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.precision import in_full_precision
from pretrain.losses.rows import check_not_negative, check_rows, off_diagonal

_VARIANCE_EPS = 1e-4


@in_full_precision
def vicreg_loss(
    view_1: Tensor, view_2: Tensor, *, sim_coeff: float = 25.0, std_coeff: float = 25.0, cov_coeff: float = 1.0
) -> Tensor:
    """Return sim_coeff s(x, y) + std_coeff v(x, y) + cov_coeff c(x, y), a 0-dimensional tensor >= 0.

    * s: mean squared difference over all m d entries.
    * v: hinge at 1 of sqrt(unbiased variance + 1e-4), the mean over features and over *both views*.
    * c: sum of squared off-diagonal entries of the covariance (over m - 1) / d, the *sum* of both views.
    Source: facebookresearch/vicreg@4e12602f main_vicreg.py:194-220. The paper's Algorithm 1 adds v of both views
    without the half, so the code's 25 is the paper's 12.5. The released run computes it in float16 under autocast.
    (lightly's ``VICRegLoss`` follows the code; it is not needed for the ten lines here.)

    Args:
        view_1, view_2: expander outputs, (m, d), any floating dtype, over all processes; both get the gradient.
        sim_coeff, std_coeff, cov_coeff: weights, >= 0.

    Raises:
        ValueError: shapes that differ, fewer than 2 rows, or a weight below 0.
    """
    check_rows(2, view_1=view_1, view_2=view_2)
    check_not_negative(sim_coeff=sim_coeff, std_coeff=std_coeff, cov_coeff=cov_coeff)
    invariance = F.mse_loss(view_1, view_2)
    variance = (_hinge(view_1) + _hinge(view_2)) / 2
    covariance = _covariance(view_1) + _covariance(view_2)
    return sim_coeff * invariance + std_coeff * variance + cov_coeff * covariance


def _hinge(view: Tensor) -> Tensor:
    return F.relu(1 - (view.var(dim=0) + _VARIANCE_EPS).sqrt()).mean()


def _covariance(view: Tensor) -> Tensor:
    centred = view - view.mean(dim=0)
    covariance = centred.T @ centred / (len(view) - 1)
    return off_diagonal(covariance).square().sum() / view.shape[1]
