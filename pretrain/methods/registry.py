"""The methods by name. A method is registered by being a file of this folder: ``simclr.py`` holds ``--method simclr``.

Listing the names reads the folder; only the method that is asked for is imported, and torch with it.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

import pretrain.methods
from benchmark.core.errors import UserError, nearest

if TYPE_CHECKING:
    from pretrain.methods.base import Method
    from pretrain.training.config import PretrainConfig

PARTS = ("base", "parts", "registry")  # modules of the folder that are no methods


def method_names() -> tuple[str, ...]:
    """Return the names of all methods in alphabetical order; imports none of them."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(pretrain.methods.__path__) if m.name not in PARTS))


def method_class(name: str) -> "type[Method]":
    """Return the class of a method, the one in its file. Raises ``UserError`` with the nearest name."""
    names = method_names()
    if name not in names:
        raise UserError(f"--method has no value {name!r}{nearest(name, names)} It is one of: {', '.join(names)}.")
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


def make_method(config: "PretrainConfig", classes: int = 0) -> "Method":
    """Return the method that the config names, freshly drawn on the CPU; `classes` of the images' labels, if any."""
    return method_class(config.method)(config, classes)


def options_of_others(name: str) -> dict[str, str]:
    """Return the options that other methods have and this one has not, each with whose it is."""
    own = method_class(name).Options.__dataclass_fields__
    owners: dict[str, list[str]] = {}
    for other in method_names():
        for option in method_class(other).Options.__dataclass_fields__:
            if option not in own:
                owners.setdefault(option, []).append(other)
    return {option: f"belongs to --method {', '.join(of)}, not to {name}" for option, of in owners.items()}
