"""The loss of a method of one's own against its authors' values: ``tests/pretrain/losses/vectors/NAME.json``.

A row is {source, options, buffers, rows, targets, loss, gradients}: the options and buffers that the loss depends on,
what ``encode`` and ``target`` gave, and the value with its gradient at each of the rows, all in float64. The losses of
the registered methods are functions, which tests/pretrain/losses holds to the vectors of their official codes.
"""

import json
from pathlib import Path

import pytest
import torch

import tests.pretrain.losses.vectors
from pretrain.losses import __all__ as losses
from tests.pretrain.losses.vectors import tensor
from tests.pretrain.methods.small import EXAMPLES, METHODS, small_method

FOLDERS = (Path(tests.pretrain.losses.vectors.__file__).parent, EXAMPLES)
OWN = [name for name in METHODS if f"{name}_loss" not in losses]


def row_of(name):
    """Return the row of a method; fails where there is none."""
    paths = [folder / f"{name}.json" for folder in FOLDERS]
    path = next((path for path in paths if path.is_file()), None)
    assert path, f"{name} has no row of vectors; write {paths[0]}"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", OWN)
def test_value_and_gradient_are_those_of_its_row(name):
    row = row_of(name)
    method = small_method(name, **row["options"]).double()
    for key, values in row["buffers"].items():
        method.get_buffer(key).copy_(tensor(values))
    rows = [tensor(values).requires_grad_() for values in row["rows"]]
    loss = method.loss(rows, [tensor(values) for values in row["targets"]]).total
    assert loss.item() == pytest.approx(row["loss"], rel=0, abs=1e-10)
    for found, values in zip(torch.autograd.grad(loss, rows), row["gradients"], strict=True):
        torch.testing.assert_close(found, tensor(values), rtol=0, atol=1e-10)
