"""BYOL's regression of the target's projection (arXiv 2006.07733, equation 2)."""

from torch import Tensor

from pretrain.losses.precision import in_full_precision
from pretrain.losses.rows import check_rows, unit_rows, without_gradient


@in_full_precision
def byol_loss(
    prediction_1: Tensor, prediction_2: Tensor, target_projection_1: Tensor, target_projection_2: Tensor
) -> Tensor:
    """Return the mean squared distance of unit predictions and unit targets of crossed views, from 0 to 8.

    Per image |n(p1) - n(t2)|^2 + |n(p2) - n(t1)|^2: the *sum* of both directions, as in the paper.
    Source: google-deepmind/deepmind-research@f5de0ede byol/byol_experiment.py:243-250, utils/helpers.py:109;
    paper and code agree. (lightly's is minus the mean cosine: a quarter of the gradient, so it is not used.)

    Args:
        prediction_1, prediction_2: outputs of the predictor, (m, d), any floating dtype; they get the gradient.
        target_projection_1, target_projection_2: outputs of the momentum projector, (m, d); constants.

    Raises:
        ValueError: shapes that differ.
    """
    check_rows(
        prediction_1=prediction_1, prediction_2=prediction_2,
        target_projection_1=target_projection_1, target_projection_2=target_projection_2,
    )  # fmt: skip
    targets = without_gradient(target_projection_1, target_projection_2)
    return _distance(prediction_1, targets[1]) + _distance(prediction_2, targets[0])


def _distance(prediction: Tensor, target: Tensor) -> Tensor:
    return (unit_rows(prediction) - unit_rows(target)).square().sum(1).mean()
