"""In these tests the example of docs/adding_a_method.md is one of the methods."""

import pytest

import pretrain.methods
import pretrain.recipes
from tests.pretrain.methods.small import register_example


@pytest.fixture(autouse=True)
def example(monkeypatch):
    """The example's file among the methods, and its recipe among the recipes."""
    for package in (pretrain.methods, pretrain.recipes):
        monkeypatch.setattr(package, "__path__", list(package.__path__))  # put back afterwards
    register_example()
