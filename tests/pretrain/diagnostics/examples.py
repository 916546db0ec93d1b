"""Features for the tests of diagnostics."""

import torch


def features(n=60, d=12, seed=0, dtype=torch.float64):
    """Correlated features with a mean far from zero, so that centring matters."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return (torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix + 3).to(dtype)


def rotation(d, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]
