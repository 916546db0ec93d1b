"""The Kernel-SSL / Matrix-SSL objective (arXiv 2305.17326), as its released code computes it, and its variants.

    U(target, online) = -tr( lam log_K( C(target, online) + mu I ) )                        kernel uniformity
    A(target, online) = -tr( (C(target, target) + mu I) log_K( C(online, online) + mu I ) )  kernel alignment
    loss = 1/2 [U(t2, o1) + U(t1, o2)] + gamma 1/2 [A(t2, o1) + A(t1, o2)]

Rows are L2-normalised, then centred; C(a, b) = a' b / m. The paper's MCE(P, Q) = tr(-P log Q + Q) has a term tr(Q)
that the released code leaves out (``trace_term``). Computed on the m x m or d x d side, whichever is cheaper, in
float32 or wider with autocast off (the exact logarithm in float64). The gradient is closed-form and reaches the
online arguments alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.loss_options import WITH_BANDWIDTH, LossOptions
from pretrain.losses.kernel_ssl.kernels import median_bandwidth
from pretrain.losses.kernel_ssl.pairs import kernel_pair, linear_pair
from pretrain.losses.kernel_ssl.radius import spectral_radii
from pretrain.losses.kernel_ssl.terms import LossTerms
from pretrain.losses.precision import full_precision


def kernel_ssl_loss(online_1: Tensor, online_2: Tensor, target_1: Tensor, target_2: Tensor, **options: Any) -> Tensor:
    """Return the Kernel-SSL loss, a 0-dimensional tensor.

    Args:
        online_1, online_2: predictor outputs of views 1 and 2, (m, d), any floating dtype; they get the gradient.
        target_1, target_2: momentum-projector outputs of views 1 and 2, (m, d); constants.
        **options: the fields of ``LossOptions`` (mu, lam, gamma, taylor_order, logarithm, uniformity, alignment,
            trace_term, hsic_weight, kernel, bandwidth, degree).

    Raises:
        ValueError: options that make no sense (the sentence names them), shapes that differ, or fewer than 2 rows.
    """
    return kernel_ssl_terms(online_1, online_2, target_1, target_2, LossOptions(**options)).loss


def kernel_ssl_terms(
    online_1: Tensor,
    online_2: Tensor,
    target_1: Tensor,
    target_2: Tensor,
    options: LossOptions,
    *,
    with_radius: bool = False,
) -> LossTerms:
    """Return the loss with its terms (see ``kernel_ssl_loss``); `with_radius` adds the spectral radii for a log."""
    _check_shapes(online_1, online_2, target_1, target_2)
    with full_precision(online_1.device.type):
        targets = [_wide(target.detach(), options) for target in (target_1, target_2)]
        onlines = [_wide(online, options) for online in (online_1, online_2)]
        bandwidth = _bandwidth(targets, options)
        # The views are crossed: target 2 with online 1, target 1 with online 2.
        pairs = [(targets[1], onlines[0]), (targets[0], onlines[1])]
        results = [_pair(target, online, options, bandwidth) for target, online in pairs]
        loss, uniformity, alignment = (torch.stack(values).mean() for values in zip(*results, strict=True))
        radii: tuple[Tensor | None, Tensor | None] = (None, None)
        if with_radius:
            radii = spectral_radii(pairs, options, bandwidth)
    return LossTerms(loss, uniformity, alignment, *radii)


def _check_shapes(*features: Tensor) -> None:
    shapes = {tuple(x.shape) for x in features}
    if len(shapes) != 1 or features[0].ndim != 2:
        raise ValueError(f"the four feature matrices must share one shape (m, d), got {sorted(shapes)}")
    if len(features[0]) < 2:
        raise ValueError("the loss needs at least 2 rows: one row centred is zero")


def _wide(x: Tensor, options: LossOptions) -> Tensor:
    """Return features in float32 or wider; the exact logarithm needs float64 (``eigen.py``)."""
    return x.double() if x.dtype == torch.float64 or options.logarithm == "exact" else x.float()


def _bandwidth(targets: list[Tensor], options: LossOptions) -> Tensor | float | None:
    if options.kernel not in WITH_BANDWIDTH or options.bandwidth is not None:
        return options.bandwidth
    return median_bandwidth(F.normalize(torch.cat(targets), dim=1))


def _pair(
    target: Tensor, online: Tensor, options: LossOptions, bandwidth: Tensor | float | None
) -> tuple[Tensor, Tensor, Tensor]:
    if options.kernel == "linear":
        return linear_pair(target, online, options)
    return kernel_pair(target, online, options, bandwidth)
