"""How far the Taylor logarithm may be trusted: the spectral radius of Q - I, for the log and for a warning."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.loss_options import LossOptions
from pretrain.losses.kernel_ssl.kernels import doubly_centred, kernel_matrix
from pretrain.losses.kernel_ssl.rows import centred_unit_rows
from pretrain.losses.kernel_ssl.terms import LossTerms

WARNING_FROM = 0.9


@torch.no_grad()
def spectral_radii(
    pairs: list[tuple[Tensor, Tensor]], options: LossOptions, bandwidth: Tensor | float | None
) -> tuple[Tensor | None, Tensor | None]:
    """Return the spectral radii of Q - I in the uniformity and the alignment term, the larger of the two pairs.

    Args:
        pairs: (target, online) features, (m, d), not yet normalised.
        bandwidth: of the kernel, None where it has none.

    Returns None for a term that has no logarithm.
    """
    uniformity = alignment = None
    if options.uniformity == "mce":
        uniformity = torch.stack([_radius(online, target, options, bandwidth) for target, online in pairs]).max()
    if options.alignment == "mce":
        alignment = torch.stack([_radius(online, online, options, bandwidth) for _, online in pairs]).max()
    return uniformity, alignment


def radius_warning(terms: LossTerms, options: LossOptions) -> str | None:
    """Return a sentence when a radius is near 1 or beyond under the Taylor logarithm, otherwise None.

    It says which term, what it means, and what to change.
    """
    if options.logarithm != "taylor":
        return None
    radii = {"uniformity": terms.radius_uniformity, "alignment": terms.radius_alignment}
    for term, value in radii.items():
        if value is not None and not float(value) < WARNING_FROM:
            return (
                f"the spectral radius of Q - I in the {term} term is {float(value):.2f}: "
                f"{_meaning(float(value), options)}"
            )
    return None


def _meaning(radius: float, options: LossOptions) -> str:
    series = f"the order-{options.taylor_order} logarithm " + (
        "diverges" if radius > 1 else "is far from the exact one"
    )
    if options.mu > 1 or 1 - options.mu >= WARNING_FROM:
        return f"{series} because of mu {options.mu:g}; use --mu 1 or --logarithm exact."
    return (
        f"{series} and its gradient misleads, because the features have collapsed to few directions; look at the "
        "effective rank, and use a smaller --gamma, a smaller --lr or --logarithm exact."
    )


def _radius(online: Tensor, other: Tensor, o: LossOptions, bandwidth: Tensor | float | None) -> Tensor:
    """Return the spectral radius of C(other, online) + (mu - 1) I, without forming C for the linear kernel."""
    m, shift = len(online), o.mu - 1.0
    if o.kernel == "linear":
        left, right = centred_unit_rows(other).rows, centred_unit_rows(online).rows
        return spectral_radius(lambda v: left.mT @ (right @ v) / m + shift * v, left[0])
    online, other = F.normalize(online, dim=1), F.normalize(other, dim=1)
    matrix = doubly_centred(kernel_matrix(online, other, o.kernel, bandwidth, o.degree)) / m
    return spectral_radius(lambda v: matrix @ v + shift * v, matrix[0])


def spectral_radius(apply: Callable[[Tensor], Tensor], like: Tensor, steps: int = 30) -> Tensor:
    """Estimate the spectral radius of a linear map by Arnoldi's method; a 0-dimensional tensor like `like`.

    Unlike power iteration it takes complex and opposite pairs of leading eigenvalues as they come.

    Args:
        apply: the map, from a vector to one of the same length.
        like: a vector whose length, dtype and device are used; its values are not.
        steps: applications of the map (fewer when it is exhausted earlier).
    """
    n = len(like)
    steps = min(steps, n)
    # A generator of its own: the log must not change the run's random numbers.
    start = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(like)
    basis = like.new_zeros(steps + 1, n)
    basis[0] = start / start.norm()
    hessenberg = like.new_zeros(steps + 1, steps)
    sizes, rests = [], []
    for j in range(steps):
        vector = apply(basis[j])
        sizes.append(vector.norm())
        for _ in range(2):  # orthogonalised twice, since once is not enough in float32
            parts = basis[: j + 1] @ vector
            vector = vector - parts @ basis[: j + 1]
            hessenberg[: j + 1, j] += parts
        rests.append(vector.norm())
        hessenberg[j + 1, j] = rests[-1]
        basis[j + 1] = vector / rests[-1]
    # Where the map is exhausted is looked up once, at the end: on a GPU every look would wait for all that came before.
    # What follows that place is meaningless and left out.
    goes_on = torch.stack(rests) > 10 * torch.finfo(like.dtype).eps * torch.stack(sizes)
    found = torch.cat([goes_on.to(hessenberg.dtype).unsqueeze(0), hessenberg[:steps]]).double().cpu()
    used = next((j + 1 for j, more in enumerate(found[0].tolist()) if not more), steps)
    square = found[1:][:used, :used]
    if not torch.isfinite(square).all():
        return like.new_tensor(torch.nan)
    return torch.linalg.eigvals(square).abs().max().to(like)
