"""Pre-training methods, one file each, in one registry.

A method turns the outputs of the branches into a loss. It is a class made from the config, with

    terms(online_1, online_2, target_1, target_2, with_details) -> (loss, {name: 0-dimensional tensor}, warning or None)

on the gathered (m, d) predictions and momentum projections; gradient flows to the online arguments.
"""

from pretrain.methods.kernel_ssl import KernelSSL
from pretrain.training.config import METHODS, PretrainConfig

_REGISTRY = {"kernel_ssl": KernelSSL}
assert set(_REGISTRY) == set(METHODS), "pretrain.training.config.METHODS lists what --help offers"


def make_method(config: PretrainConfig) -> KernelSSL:
    """Return the method that the config names."""
    return _REGISTRY[config.method](config)
