"""MoCo's InfoNCE against a queue of keys (arXiv 1911.05722, equation 1; v2: arXiv 2003.04297)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.precision import in_full_precision
from pretrain.losses.rows import check_positive, check_rows, without_gradient


def moco_v1_loss(query: Tensor, key: Tensor, queue: Tensor, *, temperature: float = 0.07) -> Tensor:
    """Return MoCo v1's loss: ``moco_v2_loss`` at v1's temperature (main_moco.py:168-170)."""
    return _info_nce(query, key, queue, temperature)


def moco_v2_loss(query: Tensor, key: Tensor, queue: Tensor, *, temperature: float = 0.2) -> Tensor:
    """Return the cross-entropy of each query's own key against the queue's keys, a 0-dimensional tensor >= 0.

    Not symmetrised: view 1 gives the queries, view 2 the keys. The other keys of the batch are no negatives; they
    enter the queue after the loss (``moco_enqueue``). The temperature is that of the README's command for v2.
    Source: facebookresearch/moco@7397dfe1 moco/builder.py:128-173 and main_moco.py:392; paper and code agree.
    (lightly's ``NTXentLoss`` with a memory bank detaches no keys, so it is not used.)

    Args:
        query: outputs of the online encoder, (m, d), any floating dtype, not normalised; gets the gradient.
        key: outputs of the momentum encoder for the other views, (m, d), not normalised; constant.
        queue: keys of earlier batches as columns of length 1, (d, K), as they are before this batch; constant.
        temperature: above 0.

    Raises:
        ValueError: shapes that do not fit together, or a temperature that is not above 0.
    """
    return _info_nce(query, key, queue, temperature)


@in_full_precision
def _info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    check_rows(query=query, key=key)
    _check_queue(queue, key)
    check_positive(temperature=temperature)
    key, queue = without_gradient(key, queue)
    query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
    own = (query * key).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


@torch.no_grad()
def moco_enqueue(queue: Tensor, key: Tensor, queue_ptr: int) -> tuple[Tensor, int]:
    """Return the queue with its oldest keys replaced by this batch's, and where the next batch goes.

    The keys are normalised and become the columns ``queue_ptr ... queue_ptr + m - 1``, counted modulo K.
    Source: facebookresearch/moco@7397dfe1 moco/builder.py:65-79, which asserts that the batch divides the queue.

    Args:
        queue: (d, K), columns of length 1; it is not changed.  key: (m, d), m <= K, over all processes.
        queue_ptr: column of the first new key, 0 to K - 1.

    Raises:
        ValueError: shapes that do not fit together, more keys than the queue holds, or a pointer outside it.
    """
    _check_queue(queue, key)
    size = queue.shape[1]
    if len(key) > size:
        raise ValueError(f"key has {len(key)} rows, more than the {size} columns of queue.")
    if not 0 <= queue_ptr < size:
        raise ValueError(f"queue_ptr is {queue_ptr}; it must lie between 0 and {size - 1}.")
    columns = (torch.arange(len(key), device=queue.device) + queue_ptr) % size
    keys = F.normalize(key.to(torch.promote_types(key.dtype, torch.float32)), dim=1)
    return queue.index_copy(1, columns, keys.T.to(queue.dtype)), (queue_ptr + len(key)) % size


def _check_queue(queue: Tensor, key: Tensor) -> None:
    if queue.ndim != 2 or key.ndim != 2 or queue.shape[0] != key.shape[1]:
        raise ValueError(f"queue must be (d, K) for key (m, d); they are {tuple(queue.shape)} and {tuple(key.shape)}.")
