"""Full precision for the loss, whatever the network runs in."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Switch off autocast, and the TF32 or bfloat16 products that ``set_float32_matmul_precision`` allows.

    Powers of a matrix and sums of small eigenvalues do not survive 10 bits of mantissa.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
