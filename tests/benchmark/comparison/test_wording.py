"""Nothing is rounded so that it reads otherwise, and no ± stands without saying what it is."""

import pytest

from benchmark.comparison.repeats import Difference
from benchmark.comparison.wording import basis_text, difference_text, interval_text


@pytest.mark.parametrize(
    ("mean", "half", "said"),
    [
        (0.62, 0.58, "+0.62 [+0.04, +1.20], better"),  # with one decimal: +0.6 [+0.0, +1.2]
        (0.58, 0.62, "+0.58 [−0.04, +1.20], within noise"),
        (0.6, 0.5996, "+0.6000 [+0.0004, +1.1996], better"),
        (0.4, 1.2, "+0.4 [−0.8, +1.6], within noise"),
        (-0.55, 0.54, "−0.55 [−1.09, −0.01], worse"),
        (0.0, 0.0, "+0.0 [+0.0, +0.0], within noise"),
        (-0.04, 0.5, "−0.0 [−0.5, +0.5], within noise"),
    ],
)  # fmt: skip
def test_the_text_says_what_the_numbers_say(mean, half, said):
    text = difference_text(Difference(mean, half, 3, True))
    assert text == f"{said} (3 pairs)".replace("−0.0 [", "+0.0 [")
    assert "±" not in text


def test_one_run_has_no_interval():
    assert difference_text(Difference(-0.06, None, 1, False)) == "−0.1, one run: no interval"
    assert interval_text(Difference(0.5, None, 1, False)) == "+0.5"
    assert basis_text(Difference(0.5, None, 1, False)) == "One run a side: no interval."
    assert difference_text(None) == ""


def test_the_basis_names_what_is_covered():
    found = Difference(
        0.4, 0.2, 3, True, "fine-tuning seeds, about these checkpoints", 0.5, 0.2, p=0.004, p_holm=0.02, comparisons=5,
        superiority=(0.9, 0.7, 0.99), runs_for_margin=4,
    )  # fmt: skip
    assert basis_text(found) == (
        "95 % interval over fine-tuning seeds, about these checkpoints; sd pooled over the rows of the table (own "
        "interval ±0.5); p 0.004, 0.02 when corrected for 5 comparisons (Holm); P(one further run is better) 0.90 "
        "[0.70, 0.99]; 4 runs a side would see ±0.3."
    )
