"""Losses: pure functions on tensors."""

from pretrain.loss_options import LossOptions
from pretrain.losses.kernel_ssl.objective import kernel_ssl_loss, kernel_ssl_terms
from pretrain.losses.kernel_ssl.radius import radius_warning
from pretrain.losses.kernel_ssl.terms import LossTerms

__all__ = ["LossOptions", "LossTerms", "kernel_ssl_loss", "kernel_ssl_terms", "radius_warning"]
