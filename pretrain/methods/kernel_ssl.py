"""Kernel-SSL / Matrix-SSL (arXiv 2305.17326) as a pre-training method."""

from torch import Tensor

from pretrain.losses import kernel_ssl_terms, radius_warning
from pretrain.training.config import PretrainConfig


class KernelSSL:
    """Kernel uniformity and alignment between predictions and momentum projections of crossed views."""

    def __init__(self, config: PretrainConfig):
        self.options = config.loss_options()

    def terms(
        self, online_1: Tensor, online_2: Tensor, target_1: Tensor, target_2: Tensor, with_details: bool = False
    ) -> tuple[Tensor, dict[str, Tensor], str | None]:
        """Return the loss, its parts for the log, and a warning when the logarithm's series is not to be trusted.

        Arguments are (m, d); `with_details` adds the spectral radii of Q - I (Arnoldi's method).
        """
        found = kernel_ssl_terms(online_1, online_2, target_1, target_2, self.options, with_radius=with_details)
        parts = {"uniformity": found.uniformity, "alignment": found.alignment}
        for name in ("radius_uniformity", "radius_alignment"):
            if (radius := getattr(found, name)) is not None:
                parts[name] = radius
        return found.loss, parts, radius_warning(found, self.options)
