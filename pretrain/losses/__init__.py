"""Losses: pure functions on tensors."""

from pretrain.loss_options import LossOptions
from pretrain.losses.kernel_ssl import LossTerms, kernel_ssl_loss, kernel_ssl_terms, radius_warning

__all__ = ["LossOptions", "LossTerms", "kernel_ssl_loss", "kernel_ssl_terms", "radius_warning"]
