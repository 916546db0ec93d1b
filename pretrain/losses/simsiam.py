"""SimSiam's negative cosine similarity with stopped gradient (arXiv 2011.10566, equation 2)."""

from torch import Tensor

from pretrain.losses.precision import in_full_precision
from pretrain.losses.rows import check_rows, mean_cosine, without_gradient


@in_full_precision
def simsiam_loss(p_1: Tensor, p_2: Tensor, z_1: Tensor, z_2: Tensor) -> Tensor:
    """Return -(cos(p1, z2) + cos(p2, z1)) / 2, the mean over rows, from -1 to 1.

    Source: facebookresearch/simsiam@a7bc1772 main_simsiam.py:191, 295; paper and code agree. Lengths are held at 1e-8
    or more, as ``torch.nn.CosineSimilarity`` does. (lightly's ``NegativeCosineSimilarity`` is one half of it.)

    Args:
        p_1, p_2: outputs of the predictor for views 1 and 2, (m, d), any floating dtype; they get the gradient.
        z_1, z_2: outputs of the projector, (m, d); constants (the stop-gradient without which SimSiam collapses).

    Raises:
        ValueError: shapes that differ.
    """
    check_rows(p_1=p_1, p_2=p_2, z_1=z_1, z_2=z_2)
    z_1, z_2 = without_gradient(z_1, z_2)
    return -(mean_cosine(p_1, z_2) + mean_cosine(p_2, z_1)) / 2
