"""MEC: maximum entropy coding by a truncated series (arXiv 2210.11464, equations 4 to 6)."""

import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.kernel_ssl.series import powers
from pretrain.losses.precision import in_full_precision
from pretrain.losses.rows import check_positive, check_rows, without_gradient


@in_full_precision
def mec_loss(
    online_1: Tensor,
    online_2: Tensor,
    target_1: Tensor,
    target_2: Tensor,
    *,
    eps: float = 64.0,
    order: int = 4,
    warmup: float = 1.0,
) -> Tensor:
    """Return minus the coding length of crossed views, a 0-dimensional tensor.

        C(t, o) = n(t) n(o)' / lamda_inv,  (m, m),  lamda_inv = warmup m eps / d
        loss = -lamda_inv / (2 m) [tr L(C(t1, o2)) + tr L(C(t2, o1))],  L(C) = sum_{k=1..order} (-1)^(k+1) C^k / k

    Source: xinliu20/MEC@35045dc0 main_pretrain.py:334-342, 365-391 and mec_lamda (:278-283). The paper's factor
    mu = (m + d) / 2 is left out of the code's loss and only scales its log (``mec_coding_length``). The trace is
    computed on the smaller of the m x m and d x d sides, with half of the powers. (lightly has no MEC.)

    Args:
        online_1, online_2: outputs of the predictor, (m, d), any floating dtype, over all processes; they get the
            gradient.
        target_1, target_2: outputs of the momentum projector, (m, d); constants.
        eps: distortion times d, above 0 (eps_d of the paper's appendix); 64.
        order: of the series, 1 or more.
        warmup: factor on lamda_inv, above 0: linearly from 8 to 1 over the first 10 epochs, then 1.

    Raises:
        ValueError: shapes that differ, or a hyper-parameter out of range.
    """
    check_rows(online_1=online_1, online_2=online_2, target_1=target_1, target_2=target_2)
    check_positive(eps=eps, warmup=warmup)
    if order < 1:
        raise ValueError(f"order is {order}; the series begins at order 1.")
    scale = mec_lamda_inv(*online_1.shape, eps=eps, warmup=warmup)
    target_1, target_2 = without_gradient(target_1, target_2)
    traces = _log_trace(target_1, online_2, scale, order) + _log_trace(target_2, online_1, scale, order)
    return -scale / (2 * len(online_1)) * traces


def mec_lamda_inv(m: int, d: int, *, eps: float = 64.0, warmup: float = 1.0) -> float:
    """Return lamda_inv for a global batch of m images and features of width d (main_pretrain.py:278-283)."""
    return warmup * m * eps / d


def mec_coding_length(loss: float, m: int, d: int, *, eps: float = 64.0, warmup: float = 1.0) -> float:
    """Return the coding length a sample, (m + d) / 2 times the mean trace over m, from the loss of the same batch."""
    return -loss / mec_lamda_inv(m, d, eps=eps, warmup=warmup) * (m + d) / 2


def _log_trace(target: Tensor, online: Tensor, scale: float, order: int) -> Tensor:
    """Return tr L(n(target) n(online)' / scale); tr((t o')^k) = tr((o' t)^k), so the smaller side will do."""
    target, online = F.normalize(target, dim=1), F.normalize(online, dim=1)
    rows, width = target.shape
    matrix = (target @ online.T if rows <= width else online.T @ target) / scale
    found = powers(matrix, (order + 1) // 2)
    total = matrix.trace()
    for k in range(2, order + 1):
        # tr(C^k) = sum of C^a * (C^b)' with a + b = k: no product beyond half of the order.
        half = (k + 1) // 2
        trace = (found[half - 1] * found[k - half - 1].T).sum()
        total = total + (trace if k % 2 else -trace) / k
    return total
