"""Rows on the unit sphere, then centred, and the gradient back through both, in few passes over memory.

Beside the matrix products these passes are what the loss of a small batch costs.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_LEAST = 1e-12  # rows shorter than this are divided by it, as torch's normalize does


class CentredRows(NamedTuple):
    """``rows`` (m, d) normalised and centred; the ``mean`` (d,) taken off; the ``norm`` (m, 1) of each row before."""

    rows: Tensor
    mean: Tensor
    norm: Tensor


def centred_unit_rows(features: Tensor) -> CentredRows:
    """Return L2-normalised rows of (m, d) features less their mean."""
    norm = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp_min_(_LEAST)
    rows = features / norm
    mean = rows.mean(0)
    rows -= mean
    return CentredRows(rows, mean, norm)


def gradient_by_features(gradient: Tensor, centred: CentredRows) -> Tensor:
    """Turn the gradient by centred unit rows into that by the features, in place; both (m, d)."""
    rows, mean, norm = centred
    gradient -= gradient.mean(0)
    # The unit row is rows + mean; its own direction is taken out of the gradient.
    along = (torch.linalg.vecdot(gradient, rows) + gradient @ mean).unsqueeze(1)
    gradient.addcmul_(along, rows, value=-1.0).addcmul_(along, mean, value=-1.0)
    return gradient.div_(norm)
