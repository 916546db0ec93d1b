"""``--compile``: torch.compile on the encoders, and whether it works on this machine."""

import torch

from benchmark.core.errors import UserError
from pretrain.methods.base import Method

ENCODERS = ("encoder", "momentum_encoder")
BACKEND = "inductor"  # torch's own default


def compile_encoders(method: Method) -> None:
    """Let torch.compile translate the method's encoders at their first batch; names in checkpoints stay."""
    for name in ENCODERS:
        if (encoder := getattr(method, name, None)) is not None:
            encoder.compile(backend=BACKEND)


def check_compiler(device: torch.device) -> None:
    """Raise ``UserError`` where torch.compile cannot translate one addition: no compiler, or none that works."""
    try:
        torch.compile(_one_more, backend=BACKEND)(torch.zeros(2, device=device))
    except Exception as error:  # torch has no common class for what its compilers raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"--compile: torch cannot compile on this machine ({reason}); leave the option out.") from None


def _one_more(x: torch.Tensor) -> torch.Tensor:
    return x + 1
