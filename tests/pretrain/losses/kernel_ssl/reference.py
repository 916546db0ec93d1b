"""The objective and its variants restated plainly, to compare with: d x d matrices, J formed, powers, autograd.

Shares no code with pretrain/losses. Source: the released code of arXiv 2305.17326 for the default. The exact logarithm
is an integral, ``log Q = int_0^1 (Q - I) (I + s (Q - I))^-1 ds``, by Gauss-Legendre; other kernels are treated as
explicit features: the rows of a Cholesky factor of the Gram matrix of all points.
"""

import math

import numpy as np
import torch
from torch import Tensor

NODES = 60


def features(m: int, d: int, kind: str = "spread", seed: int = 0) -> list[Tensor]:
    """Return online 1 and 2, target 1 and 2, (m, d), float64; the online ones want a gradient.

    spread: independent views of a common signal.  agreeing: nearly equal views.  narrow: two directions dominate.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    signal = normal(m, d) + 0.3 * normal(1, d)
    noise = {"spread": 1.0, "agreeing": 0.05, "narrow": 0.3}[kind]
    if kind == "narrow":
        signal = signal * torch.where(torch.arange(d) < 2, 5.0, 0.1)
    matrices = [signal + noise * normal(m, d) * signal.std(0) for _ in range(4)]
    return [x.requires_grad_(i < 2) for i, x in enumerate(matrices)]


def log_series(q: Tensor, order: int) -> Tensor:
    """Return sum_k (-1)^(k+1) (Q - I)^k / k."""
    shifted = q - torch.eye(len(q), dtype=q.dtype)
    power, total = shifted, shifted
    for k in range(2, order + 1):
        power = power @ shifted
        total = total + (-1) ** (k + 1) * power / k
    return total


def log_integral(q: Tensor) -> Tensor:
    """Return the exact logarithm of a matrix without eigenvalues on the negative axis, differentiable everywhere."""
    identity = torch.eye(len(q), dtype=q.dtype)
    points, weights = np.polynomial.legendre.leggauss(NODES)
    total = torch.zeros_like(q)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        total = total + float(weight) * torch.linalg.solve(identity + float(point) * (q - identity), q - identity)
    return total


def plain_pair(p: Tensor, z: Tensor, o: dict) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss, uniformity and alignment of target `p` and online `z`, rows normalised but not centred."""
    m, d = z.shape
    j = torch.eye(m, dtype=z.dtype) - torch.ones(m, m, dtype=z.dtype) / m
    identity = torch.eye(d, dtype=z.dtype)
    mu, lam, gamma = o.get("mu", 1.0), o.get("lam", 1.0), o.get("gamma", 1.0)

    def c(a: Tensor, b: Tensor) -> Tensor:
        return a.T @ j @ b / m

    def log(q: Tensor) -> Tensor:
        return log_integral(q) if o.get("logarithm") == "exact" else log_series(q, o.get("taylor_order", 4))

    def cross_entropy(weight: Tensor, q: Tensor) -> Tensor:
        value = -torch.trace(weight @ log(q))
        return value + torch.trace(q) if o.get("trace_term") else value

    hsic = torch.trace(p @ p.T @ j @ z @ z.T @ j) / m**2
    extra = o.get("hsic_weight", 0.0)
    loss = uniformity = alignment = z.new_zeros(())
    if o.get("uniformity") != "none":
        uniformity = cross_entropy(lam * identity, c(p, z) + mu * identity)
        loss = loss + uniformity - extra * hsic
    kind = o.get("alignment", "mce")
    if kind == "mce":
        alignment = cross_entropy(c(p, p) + mu * identity, c(z, z) + mu * identity)
    elif kind == "hsic":
        alignment = -hsic
    elif kind == "trace":
        alignment = -torch.trace(c(p, z))
    if kind != "none":
        loss = loss + gamma * (alignment - extra * hsic)
    return loss, uniformity, alignment


def kernel_features(p: Tensor, z: Tensor, kernel: str, bandwidth: float, degree: int) -> tuple[Tensor, Tensor]:
    """Return explicit features of the rows of `p` and `z`: their inner products are the kernel's values."""
    x = torch.cat([p, z])
    squared = ((x[:, None] - x[None]) ** 2).sum(2)
    apart = squared > 0
    distance = torch.where(apart, torch.where(apart, squared, torch.ones_like(squared)).sqrt(), squared)
    gram = {
        "linear": lambda: x @ x.T,
        "rbf": lambda: (-squared / (2 * bandwidth**2)).exp(),
        "laplace": lambda: (-distance / bandwidth).exp(),
        "polynomial": lambda: (0.5 + 0.5 * (x @ x.T)) ** degree,
    }[kernel]()
    rows = torch.linalg.cholesky(gram)
    return rows[: len(p)], rows[len(p) :]


def median_distance(rows: Tensor) -> float:
    """Return the (lower) median of all distances between different rows."""
    x = rows.numpy()
    distances = sorted(float(np.linalg.norm(x[i] - x[j])) for i in range(len(x)) for j in range(i))
    return distances[(len(distances) - 1) // 2]


def absent_dimensions(o: dict) -> tuple[float, float]:
    """Return what one dimension without variation adds to uniformity and to alignment."""
    mu = o.get("mu", 1.0)
    order = o.get("taylor_order", 4)
    log = (
        math.log(mu)
        if o.get("logarithm") == "exact"
        else float(log_series(torch.tensor([[mu]], dtype=torch.float64), order))
    )
    trace = mu if o.get("trace_term") else 0.0
    uniformity = 0.0 if o.get("uniformity") == "none" else -o.get("lam", 1.0) * log + trace
    return uniformity, (-mu * log + trace if o.get("alignment", "mce") == "mce" else 0.0)


def plain_loss(
    online_1: Tensor, online_2: Tensor, target_1: Tensor, target_2: Tensor, **o
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss, uniformity and alignment of the four matrices, like the released code; options as the loss's own."""
    online_1, online_2, target_1, target_2 = (
        x / x.norm(dim=1, keepdim=True) for x in (online_1, online_2, target_1, target_2)
    )
    pairs = [(target_2, online_1), (target_1, online_2)]
    kernel, d = o.get("kernel", "linear"), online_1.shape[1]
    if kernel != "linear":
        bandwidth = o.get("bandwidth") or median_distance(torch.cat([target_1, target_2]))
        pairs = [kernel_features(p, z, kernel, bandwidth, o.get("degree", 2)) for p, z in pairs]
    loss, uniformity, alignment = (
        torch.stack(x).mean() for x in zip(*[plain_pair(p, z, o) for p, z in pairs], strict=True)
    )
    if kernel != "linear":  # there the loss counts d dimensions, whatever the feature space has
        by_uniformity, by_alignment = (x * (pairs[0][0].shape[1] - d) for x in absent_dimensions(o))
        uniformity, alignment = uniformity - by_uniformity, alignment - by_alignment
        loss = loss - by_uniformity - o.get("gamma", 1.0) * by_alignment
    return loss, uniformity, alignment


def gradients(loss: Tensor, matrices: list[Tensor]) -> list[Tensor]:
    """Return the gradients of the loss by the two online matrices."""
    return list(torch.autograd.grad(loss, matrices[:2]))
