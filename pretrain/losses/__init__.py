"""Losses: pure functions on tensors, one file a method. They compute in float32 or wider, forward and backward."""

from pretrain.loss_options import LossOptions
from pretrain.losses.barlow_twins import barlow_twins_loss
from pretrain.losses.byol import byol_loss
from pretrain.losses.kernel_ssl.objective import kernel_ssl_loss, kernel_ssl_terms
from pretrain.losses.kernel_ssl.radius import radius_warning
from pretrain.losses.kernel_ssl.terms import LossTerms
from pretrain.losses.mec import mec_coding_length, mec_lamda_inv, mec_loss
from pretrain.losses.moco import moco_enqueue, moco_v1_loss, moco_v2_loss
from pretrain.losses.simclr import simclr_loss
from pretrain.losses.simsiam import simsiam_loss
from pretrain.losses.supervised import supervised_loss
from pretrain.losses.swav import swav_codes, swav_enqueue, swav_loss
from pretrain.losses.vicreg import vicreg_loss

__all__ = [
    "LossOptions", "LossTerms", "barlow_twins_loss", "byol_loss", "kernel_ssl_loss", "kernel_ssl_terms",
    "mec_coding_length", "mec_lamda_inv", "mec_loss", "moco_enqueue", "moco_v1_loss", "moco_v2_loss",
    "radius_warning", "simclr_loss", "simsiam_loss", "supervised_loss", "swav_codes", "swav_enqueue", "swav_loss",
    "vicreg_loss",
]  # fmt: skip
