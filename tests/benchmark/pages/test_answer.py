"""The page's first sentence: which table and row it speaks of, and what it says of the difference."""

from types import SimpleNamespace

import pytest

from benchmark.comparison.repeats import Difference
from benchmark.pages.answer import answer, main_row, main_table


def row(method="kernel_ssl", epochs=400, runs=3, values=True):
    """Return what the answer reads of a row."""
    setting = SimpleNamespace(method=method, epochs=epochs, epochs_text=f"{epochs} epochs")
    return SimpleNamespace(setting=setting, runs=runs, values=values, label=method)


def table(*rows, data="coco", overrides="", difference=None, lengths=()):
    """Return what the answer reads of a table whose rows all have a control."""
    return SimpleNamespace(
        measured=rows, data=data, overrides=overrides, protocol=f"{data}-protocol",
        control_of=lambda row: "control", against_control=lambda row, task: difference,
        comparisons=lambda task: lengths,
    )  # fmt: skip


def said(difference):
    return answer([table(row(), difference=difference)])[0]


def test_coco_comes_before_voc_before_others_before_the_embedded_set():
    tables = [table(row(), data=data) for data in ("embedded", "elsewhere", "voc", "coco")]
    for place in range(3, -1, -1):
        assert main_table(tables[: place + 1]) is tables[place]
    assert main_table([table(row(values=False)), table()]) is None


def test_an_unchanged_protocol_comes_before_a_changed_one_and_then_more_runs_before_fewer():
    changed, few, many = table(row(runs=9), overrides="x"), table(row(runs=2), row(runs=2)), table(row(runs=5))
    assert main_table([changed, few]) is few
    assert main_table([few, many, changed]) is many


def test_ours_is_spoken_of_at_its_longest_training_or_else_any_other():
    rows = [row("mec", 800), row("kernel_ssl", 100), row("kernel_ssl", 400, 1), row("kernel_ssl", 400, 3)]
    assert main_row(table(*rows)) is rows[3]
    assert main_row(table(rows[0], row("byol", 300))) is rows[0]
    assert main_row(table(row(epochs=None), rows[1])) is rows[1]
    short = row("byol", 1, runs=1)
    assert main_row(table(row("byol", None, runs=9), short)) is short  # unknown lengths come last
    assert main_row(table(row(values=False))) is None


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Difference(2.04, None, 1, False), "is 2.0 box AP above the untrained encoder, from one run a side"),
        (Difference(-1.0, None, 1, False), "is 1.0 box AP below the untrained encoder, from one run"),
        (Difference(0.0, None, 1, False), "is 0.0 box AP above the untrained encoder, from one run"),
        (Difference(2.0, 1.0, 3, True, "seeds"), "is 2.0 box AP above the untrained encoder (95 % interval +1.0 to "
                                                 "+3.0 over seeds, 3 pairs)."),
        (Difference(-2.0, 1.0, 3, False, "seeds"), "is 2.0 box AP below the untrained encoder (95 % interval −3.0 to "
                                                   "−1.0 over seeds, 3 a side)."),
        (Difference(1.0, 1.5, 3, True, "seeds"), "cannot be told apart from the untrained encoder: +1.0 box AP (95 % "
                                                 "interval −0.5 to +2.5 over seeds, 3 pairs)."),
        (Difference(0.1, 0.1, 4, True, "seeds", p_equivalence=0.01, margin=0.3), "is equivalent to the untrained "
            "encoder within 0.3 AP: +0.1 box AP (95 % interval"),
        (Difference(2.0, 1.0, 3, True, "seeds", p_holm=0.2, comparisons=6), "3 pairs; but not when corrected for 6 "
                                                                            "comparisons)."),
    ],
)  # fmt: skip
def test_the_sentence_says_what_the_difference_says(found, words):
    assert said(found).startswith("On coco-protocol, kernel_ssl after 400 epochs of pre-training ")
    assert words in said(found)


@pytest.mark.parametrize(
    ("low", "text"), [(0.04, "+0.04 to +2.04"), (0.06, "+0.1 to +2.1"), (-0.04, "−0.04 to +1.96"), (-0.06, "−0.1 to")]
)
def test_a_bound_that_would_round_to_zero_has_two_decimals(low, text):
    assert f"interval {text}" in said(Difference(low + 1, 1.0, 3, True, "seeds"))


def test_what_is_not_there_is_said():
    assert answer([])[0].startswith("No detector has been measured here yet")
    nothing = table(row())
    nothing.control_of = lambda row: None
    assert "none of the untrained encoder" in answer([nothing])[0]
    assert "gave an average precision" in said(None)


def test_lengths_are_added_ours_first_and_three_at_most():
    def length(method):
        reference = SimpleNamespace(setting=SimpleNamespace(epochs_text="400 epochs"))
        return SimpleNamespace(
            kind="length", row=row(method, 800), reference=reference, difference=Difference(1.0, 0.5, 3, True, "seeds")
        )

    found = [length(method) for method in ("a", "b", "kernel_ssl", "c")]
    found.append(SimpleNamespace(kind="control"))
    more = answer([table(row(), difference=Difference(1.0, None, 1, False), lengths=found)])[1]
    assert [sentence.split()[0] for sentence in more] == ["kernel_ssl", "a", "b"]
    assert "above the same method after 400 epochs" in more[0]
    embedded = answer([table(row(), data="embedded", difference=Difference(1.0, None, 1, False))])[1]
    assert "nothing about COCO" in embedded[0]
