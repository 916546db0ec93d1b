"""Cross-entropy with labels, the supervised baseline."""

import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.precision import in_full_precision


@in_full_precision
def supervised_loss(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy, a 0-dimensional tensor >= 0.

    Source: pytorch/examples@77f55b91 imagenet/main.py:200 (``nn.CrossEntropyLoss``, no label smoothing).

    Args:
        logits: outputs of the classifier, (m, classes), any floating dtype; get the gradient.
        labels: class of each image, (m,), int64, 0 to classes - 1.
        label_smoothing: 0 to 1.

    Raises:
        ValueError: shapes that do not fit together, or a label smoothing out of range.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"logits must be (m, classes) and labels (m,); they are {tuple(logits.shape)} and {tuple(labels.shape)}."
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must lie between 0 and 1.")
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
