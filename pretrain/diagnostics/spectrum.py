"""What features look like: effective rank, spectrum, entropy, alignment and uniformity. Always in float64.

An effective rank means nothing without its definition and sample count: the same features gave 140 by singular values
and 73 by covariance eigenvalues, and 54 / 122 / 138 / 140 for 64 / 256 / 1024 / 2048 samples.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

DEFINITIONS = ("covariance", "singular_values")


def spectrum(features: Tensor, definition: str = "covariance") -> Tensor:
    """Return the spectrum of (n, d) features, descending, float64, min(n, d) values.

    covariance: eigenvalues of the centred covariance (divided by n). singular_values: of the uncentred matrix (RankMe,
    arXiv 2210.02885). Raises ``ValueError`` for another definition, fewer than 2 rows or non-finite features.
    """
    if definition not in DEFINITIONS:
        raise ValueError(f"definition {definition!r} is none of {', '.join(DEFINITIONS)}")
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be (n, d) with n >= 2, got {tuple(features.shape)}")
    rows = features.detach().double()
    if not torch.isfinite(rows).all():
        raise ValueError("features hold NaN or infinity")
    if definition == "singular_values":
        return torch.linalg.svdvals(rows)
    centred = rows - rows.mean(0)
    # Eigenvalues of the smaller product: several times faster than singular values, and squares lose nothing here.
    product = centred @ centred.T if len(rows) < rows.shape[1] else centred.T @ centred
    return torch.linalg.eigvalsh(product).flip(0).clamp_min(0) / len(rows)


def entropy(values: Tensor) -> float:
    """Return the Shannon entropy, in nats, of non-negative values normalised to sum 1; 0 when all are zero."""
    total = values.sum()
    if not total > 0:
        return 0.0
    shares = values / total
    return float(torch.special.entr(shares).sum())


def effective_rank(features: Tensor, definition: str = "covariance") -> float:
    """Return exp of the entropy of the normalised spectrum (Roy & Vetterli 2007), in [1, min(n, d)].

    1 means one direction (or no variation at all); d means isotropic. For (n, d) features, see ``spectrum``.
    """
    return float(torch.tensor(entropy(spectrum(features, definition)), dtype=torch.float64).exp())


def matrix_entropy(features: Tensor) -> float:
    """Return -tr(S log S) in nats of the trace-one centred covariance S: the log of the covariance effective rank."""
    return entropy(spectrum(features, "covariance"))


def intra_class_effective_rank(features: Tensor, labels: Tensor) -> float:
    """Return the covariance effective rank inside each class, averaged over classes with two or more samples.

    Args:
        features: (n, d).  labels: (n,) integers.
    Raises ``ValueError`` when no class has two samples.
    """
    ranks = [effective_rank(features[labels == label]) for label in labels.unique() if (labels == label).sum() >= 2]
    if not ranks:
        raise ValueError("no class has two samples")
    return sum(ranks) / len(ranks)


def alignment(view_1: Tensor, view_2: Tensor) -> float:
    """Return the mean squared distance of L2-normalised (n, d) views of equal images, in [0, 4] (Wang & Isola 2020)."""
    a, b = F.normalize(view_1.detach().double(), dim=1), F.normalize(view_2.detach().double(), dim=1)
    return float((a - b).square().sum(1).mean())


def uniformity(features: Tensor) -> float:
    """Return log mean exp(-2 |x - y|^2) over pairs of L2-normalised rows, in [-8, 0]; 0 is collapse (Wang & Isola)."""
    rows = F.normalize(features.detach().double(), dim=1)
    return float(torch.pdist(rows).square().mul(-2).exp().mean().log())
