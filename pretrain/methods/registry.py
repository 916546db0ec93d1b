"""The methods by name. A method is registered by being a file of this folder: ``simclr.py`` holds ``--method simclr``.

Listing the names reads the folder; only the method that is asked for is imported, and torch with it.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

import pretrain.methods
from benchmark.core.errors import check_choice

if TYPE_CHECKING:
    from pretrain.methods.base import Method
    from pretrain.training.config import PretrainConfig

PARTS = ("base", "registry")  # modules of the folder that are no methods


def method_names() -> tuple[str, ...]:
    """Return the names of all methods in alphabetical order; imports none of them."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(pretrain.methods.__path__) if m.name not in PARTS))


def method_class(name: str) -> "type[Method]":
    """Return the class of a method, the one in its file. Raises ``UserError`` with the nearest name."""
    check_choice("--method", name, method_names())
    module = importlib.import_module(f"pretrain.methods.{name}")
    base = importlib.import_module("pretrain.methods.base").Method
    found = [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, base) and item.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__file__} must define one subclass of Method, and defines {len(found)}")
    return found[0]


def make_method(config: "PretrainConfig") -> "Method":
    """Return the method that the config names, freshly drawn on the CPU."""
    return method_class(config.method)(config)
