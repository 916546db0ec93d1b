"""What the objective prefers: the table of docs/loss.md in closed form, and where gradient descent ends."""

import csv

import pytest
import torch

from benchmark.core.errors import UserError, run_command
from pretrain.losses import LossOptions, kernel_ssl_loss
from pretrain.studies.config import RankConfig
from pretrain.studies.descent import agreeing_loss, descend, start_features
from pretrain.studies.flat import flat_loss
from pretrain.studies.rank import main
from pretrain.studies.rank_work import preferences

# docs/loss.md, "What the objective prefers": mu = lam = 1, d = 2048, relative to full rank.
RANKS = (1, 2, 3, 5, 16, 256)
TABLE = {
    (0.0, 4): ((0.416, 0.198, 0.139, 0.088, 0.030, 0.002), 2048),
    (0.5, 4): ((0.333, 0.096, 0.065, 0.042, 0.015, 0.001), 2048),
    (1.0, 4): ((0.250, -0.005, -0.009, -0.005, -0.001, 0.000), 3),
    (1.0, None): ((-0.079, -0.027, -0.014, -0.006, -0.001, 0.000), 1),
}


@pytest.mark.parametrize(("case", "expected"), TABLE.items(), ids=str)
def test_the_table_of_the_method(case, expected):
    gamma, order = case
    losses, least = expected
    full = flat_loss(2048, 2048, 1.0, 1.0, gamma, order)
    for rank, value in zip(RANKS, losses, strict=True):
        assert flat_loss(rank, 2048, 1.0, 1.0, gamma, order) - full == pytest.approx(value, abs=5.01e-4)
    assert min(range(1, 2049), key=lambda r: flat_loss(r, 2048, 1.0, 1.0, gamma, order)) == least


@pytest.mark.parametrize(("order", "below", "above", "rank"), [(4, 0.93, 0.94, 3), (None, 0.79, 0.80, 1)])
def test_up_to_which_gamma_full_rank_is_preferred(order, below, above, rank):
    """docs/loss.md gives these bounds for choosing gamma."""

    def least(gamma):
        return min(range(1, 2049), key=lambda r: flat_loss(r, 2048, 1.0, 1.0, gamma, order))

    assert least(below) == 2048
    assert least(above) == rank


@pytest.mark.parametrize("order", [1, 4, 7, None])
@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_closed_form_is_the_loss_of_features_with_a_flat_spectrum(rank, order):
    axes = torch.eye(6, dtype=torch.float64)[:rank]
    rows = torch.cat([axes, -axes])
    kind = {"logarithm": "exact"} if order is None else {"taylor_order": order}
    options = LossOptions(mu=0.7, lam=0.4, gamma=0.3, **kind)
    expected = flat_loss(rank, 6, 0.7, 0.4, 0.3, order)
    assert kernel_ssl_loss(rows, rows, rows, rows, **vars(options)).item() == pytest.approx(expected, abs=1e-11)
    assert agreeing_loss(rows, options).item() == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("options", [{}, {"mu": 0.6, "lam": 0.5, "gamma": 0.2, "logarithm": "exact"}], ids=str)
def test_the_loss_of_agreeing_branches_for_any_spectrum_and_its_gradient(options):
    rows = start_features("narrow", 12, 5, 0).requires_grad_()
    options = LossOptions(**options)
    expected = kernel_ssl_loss(rows, rows, rows, rows, **vars(options))
    assert agreeing_loss(rows, options).item() == pytest.approx(expected.item(), abs=1e-11)
    assert torch.autograd.gradcheck(lambda x: agreeing_loss(x, options), rows)


def last_rank(start, way, gamma, logarithm="exact"):
    ticks = []
    features = start_features(start, 24, 6, 0)
    options = LossOptions(gamma=gamma, logarithm=logarithm)
    path = descend(features, options, way, 400, 1.0, lambda: ticks.append(1))
    assert len(ticks) == 400
    assert [step for step, *_ in path] == list(range(0, 401, 10))
    assert path[0][2] == pytest.approx(2.5, abs=1.0) if start == "narrow" else path[0][2] > 5
    if way == "both":
        assert path[-1][1] < path[0][1]  # descent on this very function
    return path[-1][2]


def test_descent_as_in_training_reaches_full_rank_whatever_gamma():
    """With constant targets the alignment gradient at agreement is -I (exact): it prefers no rank."""
    for gamma in (0.0, 1.0):
        for start in ("spread", "narrow"):
            assert last_rank(start, "online", gamma) > 5.5
    assert last_rank("narrow", "online", 1.0, "taylor") > 5.5


def test_descent_on_the_closed_form_ends_where_its_minimum_is():
    assert last_rank("spread", "both", 0.0) > 5.9
    assert last_rank("narrow", "both", 0.0) > 5.5
    assert last_rank("narrow", "both", 1.0) < 1.4
    assert 1.6 < last_rank("narrow", "both", 1.0, "taylor") < 4


def test_the_command_writes_tables_and_a_figure(tmp_path, capsys):
    arguments = ["--steps=20", "--samples=10", "--free-width=4", "--gammas=0,1", "--width=64", f"--output={tmp_path}"]
    assert run_command(main, arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed_form.csv", "descent.csv", "rank.md", "rank.png"]
    assert (tmp_path / "rank.png").read_bytes().startswith(b"\x89PNG")
    curves = list(csv.DictReader((tmp_path / "closed_form.csv").read_text().splitlines()))
    assert {(row["gamma"], row["logarithm"]) for row in curves} == {
        (gamma, logarithm) for gamma in ("0.0", "1.0") for logarithm in ("K = 4", "exact")
    }
    one = next(r for r in curves if (r["gamma"], r["logarithm"], r["rank"]) == ("1.0", "exact", "1"))
    assert float(one["loss"]) == flat_loss(1, 64, 1, 1, 1, None) - flat_loss(64, 64, 1, 1, 1, None)
    steps = list(csv.DictReader((tmp_path / "descent.csv").read_text().splitlines()))
    assert len(steps) == 4 * 2 * 2 * 3  # cases, ways, starts, points
    summary = (tmp_path / "rank.md").read_text()
    assert "| 1 | exact | both | narrow |" in summary
    assert summary in capsys.readouterr().out


def test_settings_reach_the_closed_form():
    rows = {
        key: preferences(RankConfig(gammas=(0.3,), logarithm="taylor", width=32, **changes))[0]["r = 2"]
        for key, changes in {"": {}, "mu": {"mu": 0.5}, "lam": {"lam": 0.5}, "K": {"taylor_order": 2}}.items()
    }
    assert len({round(value, 6) for value in rows.values()}) == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--gammas=-1"], "--gammas lists -1; it must be a list such as A,B, each a number of 0 or more"),
        (["--logarithm=exakt"], "--logarithm has no value 'exakt'; did you mean 'exact'?"),
        (["--mu=0"], "--logarithm exact with --mu 0"),
        (["--steps=-1"], "--steps is -1; it must be a whole number of 0 or more"),
        (["--free-width=1"], "--free-width is 1; it must be a whole number of 2 or more"),
        (["--lr=0"], "--lr is 0; it must be a number above 0"),
    ],
)
def test_mistakes(arguments, sentence):
    with pytest.raises(UserError) as caught:
        main(arguments)
    assert sentence in str(caught.value)


def test_a_file_in_the_way_of_the_output(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="is a file, not a folder; choose another --output"):
        main([f"--output={tmp_path / 'taken'}"])
