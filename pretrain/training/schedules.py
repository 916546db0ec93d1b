"""Learning rate and EMA momentum as functions of progress in [0, 1] (fvcore): 400 and 800 epochs share them."""

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)


def learning_rate(peak: float, warmup: float) -> ParamScheduler:
    """Return linear warm-up from 0 to `peak` over the share `warmup` of the run, then cosine to 0."""
    cosine = CosineParamScheduler(peak, 0.0)
    if warmup <= 0:
        return cosine
    return CompositeParamScheduler(
        [LinearParamScheduler(0.0, peak), cosine], [warmup, 1.0 - warmup], ["rescaled", "rescaled"]
    )


def ema_momentum(start: float) -> ParamScheduler:
    """Return a cosine from `start` to 1 (the momentum branch stands still at the end)."""
    return CosineParamScheduler(start, 1.0)
