"""In these tests the example of docs/adding_a_method.md is one of the methods."""

import pytest

from tests.pretrain.methods.small import register_example_for


@pytest.fixture(autouse=True)
def example(monkeypatch):
    """The example's file among the methods, and its recipe among the recipes."""
    register_example_for(monkeypatch)
