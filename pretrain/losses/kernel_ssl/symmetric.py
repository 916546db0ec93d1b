"""Products that are known to be symmetric, by little more than half of the multiplications.

BLAS has ``syrk`` for this; torch offers it nowhere.
"""

import torch
from torch import Tensor

PANEL = 128  # rows computed at a time: fewer would save more and multiply more slowly
SMALLEST = 512  # rows of the product; smaller ones lose as much as they save


def symmetric_product(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a @ b``, (m, m), where the caller knows that it is symmetric, as of b = a' or of powers of one matrix.

    On a CPU, for m of 512 or more: each panel of rows is computed up to the diagonal and mirrored, 9/16 of the
    multiplications for m = 1024. Elsewhere the whole product, since a GPU waits for calls rather than for arithmetic.
    """
    m = len(a)
    if a.device.type != "cpu" or m < SMALLEST:
        return a @ b
    product = a.new_empty(m, m)
    for begin in range(0, m, PANEL):
        end = min(begin + PANEL, m)
        torch.mm(a[begin:end], b[:, :end], out=product[begin:end, :end])
        product[:begin, begin:end] = product[begin:end, :begin].mT
    return product
