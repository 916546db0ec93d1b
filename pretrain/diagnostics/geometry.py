"""How features lie to each other: alignment and uniformity on the sphere, LiDAR, ranks inside classes. In float64."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.diagnostics.spectrum import effective_rank, eigenvalues, entropy

LIDAR_RIDGE = 1e-4  # delta of the paper, which names no value: it keeps the covariance inside an image invertible


def alignment(view_1: Tensor, view_2: Tensor) -> float:
    """Return the mean squared distance of L2-normalised (n, d) views of equal images, in [0, 4] (Wang & Isola 2020)."""
    a, b = F.normalize(view_1.detach().double(), dim=1), F.normalize(view_2.detach().double(), dim=1)
    return float((a - b).square().sum(1).mean())


def uniformity(features: Tensor, counts: Tensor | None = None) -> float:
    """Return log mean exp(-2 |x - y|^2) over pairs of different L2-normalised rows, in [-8, 0]; 0 is collapse.

    Wang & Isola 2020, t = 2. For (n, d) features; `counts` (n,) says how often each row was drawn, once by default.
    """
    rows = F.normalize(features.detach().double(), dim=1)
    potential = (4 * (rows @ rows.T).clamp(-1, 1) - 4).exp()  # |x - y|^2 = 2 - 2 x'y
    weights = torch.ones(len(rows), dtype=torch.float64) if counts is None else counts.double()
    pairs = torch.outer(weights, weights).fill_diagonal_(0)
    return float(((pairs * potential).sum() / pairs.sum()).log())


def lidar(features: Tensor, ridge: float = LIDAR_RIDGE) -> float:
    """Return LiDAR, the effective rank of linear discriminant analysis with every image a class (arXiv 2312.04000).

    exp of the entropy of the eigenvalues of W^-1/2 B W^-1/2: B is the covariance of the images' mean features, W the
    mean covariance inside an image plus `ridge` times the identity. In [1, min(n - 1, d)].

    Args:
        features: (n, q, d), of q >= 2 augmented views of n >= 2 images. The paper has n = 1,000 and q = 50 or 10.
    """
    if features.ndim != 3 or features.shape[0] < 2 or features.shape[1] < 2:
        raise ValueError(f"features must be (n, q, d) with n and q of 2 or more, got {tuple(features.shape)}")
    rows = features.detach().double()
    n, q, d = rows.shape
    means = rows.mean(1)
    inside = (rows - means[:, None]).reshape(n * q, d)
    within = inside.T @ inside / (n * q) + ridge * torch.eye(d, dtype=torch.float64)
    between = (means - means.mean(0)) / math.sqrt(n)
    # The eigenvalues of W^-1/2 B W^-1/2 are those of Y'Y, where L L' = W and Y = L^-1 between'.
    solved = torch.linalg.solve_triangular(torch.linalg.cholesky(within), between.T, upper=False)
    return math.exp(entropy(eigenvalues(solved)))


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
