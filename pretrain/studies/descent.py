"""Free feature matrices under the objective, by gradient descent: no network, no images, branches that agree.

Two ways, because they differ. ``online``: as in training, the targets are constants in every step and then follow
(momentum 0: they are the online features of the step before). ``both``: the gradient reaches the targets too, which is
descent on the closed form of ``flat.py`` for any spectrum; no training does that.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.diagnostics.spectrum import effective_rank
from pretrain.losses import LossOptions, kernel_ssl_loss
from pretrain.losses.kernel_ssl.series import log_coefficients

MOMENTUM = 0.9
WAYS = ("online", "both")
STARTS = ("spread", "narrow")


def start_features(kind: str, samples: int, width: int, seed: int) -> Tensor:
    """Return (samples, width) float64: ``spread`` Gaussian rows, or ``narrow`` ones, two directions tenfold."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(samples, width, generator=generator, dtype=torch.float64)
    if kind == "narrow":
        rows[:, :2] *= 10.0
    return rows


def agreeing_loss(features: Tensor, options: LossOptions) -> Tensor:
    """Return the loss where online and target are the same `features`, (m, d), differentiable through both.

    A sum over the eigenvalues g of C: -(lam + gamma (g + mu)) log(g + mu). Linear kernel, MCE terms only.
    """
    rows = F.normalize(features, dim=1)
    centred = rows - rows.mean(0)
    values = torch.linalg.eigvalsh(centred.T @ centred / len(rows)).clamp_min(0.0)
    if options.logarithm == "exact":
        logarithms = (values + options.mu).log()
    else:
        coefficients = log_coefficients(options.taylor_order, options.mu)
        logarithms = sum(a * values**j for j, a in enumerate(coefficients))
    return -((options.lam + options.gamma * (values + options.mu)) * logarithms).sum()


def descend(
    start: Tensor, options: LossOptions, way: str, steps: int, lr: float, tick: Callable[[], object], every: int = 10
) -> list[tuple[int, float, float]]:
    """Descend by SGD with momentum 0.9 and return (step, loss, effective rank) every `every` steps and at the end.

    Args:
        start: features, (m, d).  way: one of ``WAYS``.
        lr: for a gradient times m, since a row's share of the loss is 1 / m.
        tick: called after every step.
    """
    features = start.clone().requires_grad_()
    optimiser = torch.optim.SGD([features], lr=lr * len(start), momentum=MOMENTUM)
    path = []
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            # The covariance that the loss sees: of unit rows.
            rank = effective_rank(F.normalize(features.detach(), dim=1))
            path.append((step, agreeing_loss(features.detach(), options).item(), rank))
        if step == steps:
            break
        optimiser.zero_grad()
        if way == "both":
            loss = agreeing_loss(features, options)
        else:
            constant = features.detach()
            loss = kernel_ssl_loss(features, features, constant, constant, **vars(options))
        loss.backward()
        optimiser.step()
        tick()
    return path
