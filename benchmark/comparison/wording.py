"""Numbers with their uncertainty as text. A spread says "sd" and an interval says "interval": never a bare ±."""

from benchmark.comparison.repeats import Difference

MOST_DECIMALS = 4


def interval_text(found: Difference) -> str:
    """Return ``+0.4 [−0.8, +1.6]``: the difference and its 95 % interval, or ``+0.4`` without an interval.

    Decimals are added until no rounded bound says something else than the bound itself, so that an interval which holds
    0 is never printed as one that does not, nor the other way round.
    """
    if found.interval is None:
        return signed(found.mean, 1)
    low, high = found.interval
    decimals = next((d for d in range(1, MOST_DECIMALS) if _faithful(low, d) and _faithful(high, d)), MOST_DECIMALS)
    return f"{signed(found.mean, decimals)} [{signed(low, decimals)}, {signed(high, decimals)}]"


def _faithful(bound: float, decimals: int) -> bool:
    """Say whether a rounded bound lies on its own side of 0."""
    return bound == 0 or round(bound, decimals) != 0


def signed(value: float, decimals: int) -> str:
    """Return a number with its sign; what rounds to nothing has a plus, and minus is a minus."""
    return f"{round(value, decimals) + 0.0:+.{decimals}f}".replace("-", "−")


def difference_text(found: Difference | None) -> str:
    """Return ``+0.4 [−0.8, +1.6], within noise (3 pairs)``: difference, 95 % interval, verdict and what it rests on."""
    if found is None:
        return ""
    if found.half_width is None:
        return f"{interval_text(found)}, {found.verdict}"
    number = f"{found.n} pairs" if found.paired else f"{found.n} a side, not paired"
    same = f", equivalent within ±{found.margin:g}" if found.equivalent else ""
    return f"{interval_text(found)}, {found.verdict}{same} ({number})"


def basis_text(found: Difference) -> str:
    """Return in words what an interval covers and how it was made, for the note below a table or a tooltip."""
    if found.half_width is None:
        return "One run a side: no interval."
    parts = [f"95 % interval over {found.covers}"]
    if found.pooled_half_width is not None and found.own_half_width is not None:
        parts.append(f"sd pooled over the rows of the table (own interval ±{found.own_half_width:.2g})")
    if found.p_holm is not None:
        parts.append(f"p {found.p:.2g}, {found.p_holm:.2g} when corrected for {found.comparisons} comparisons (Holm)")
    if found.superiority is not None:
        p, low, high = found.superiority
        parts.append(f"P(one further run is better) {p:.2f} [{low:.2f}, {high:.2f}]")
    if found.runs_for_margin is not None:
        parts.append(f"{found.runs_for_margin} runs a side would see ±{found.margin:g}")
    return "; ".join(parts) + "."
