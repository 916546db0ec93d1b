"""When the Taylor loss is a good estimator: the study's figures against independent ones, and the command."""

import csv

import pytest
import torch

from benchmark.core.errors import UserError, run_command
from benchmark.core.options import to_dict
from pretrain.engine.checkpoint import save_checkpoint
from pretrain.studies.config import EstimatorConfig
from pretrain.studies.estimator import main
from pretrain.studies.estimator_work import compare
from pretrain.studies.sources import TwoBranches, from_checkpoint, synthetic
from tests.pretrain.losses.kernel_ssl.reference import log_integral, log_series
from tests.pretrain.runs import config, method, pictures


def covariance(x):
    rows = x / x.norm(dim=1, keepdim=True)
    rows = rows - rows.mean(0)
    return rows.T @ rows / len(rows)


def divergence(p, q, mu, log):
    """tr(P' (log P' - log Q')) - tr(P' - Q')."""
    identity = torch.eye(len(p), dtype=p.dtype)
    p, q = p + mu * identity, q + mu * identity
    return torch.trace(p @ (log(p) - log(q))) - torch.trace(p - q)


@pytest.mark.parametrize("mu", [0.5, 1.0])
def test_divergence_and_its_error_are_those_of_the_definition(mu):
    branches = synthetic(40, 6, 0)["clustered"]
    rows = compare(EstimatorConfig(mus=(mu,), orders=5), {"clustered": branches})
    online = [x.clone().requires_grad_() for x in branches[:2]]

    def both_pairs(log):
        pairs = ((branches.target_2, online[0]), (branches.target_1, online[1]))
        value = sum(divergence(covariance(p), covariance(z), mu, log) for p, z in pairs) / 2
        return value.item(), torch.cat(torch.autograd.grad(value, online))

    exact, by_exact = both_pairs(log_integral)
    assert exact > 0
    assert [row["K"] for row in rows] == [1, 2, 3, 4, 5]
    for row in rows:
        value, gradient = both_pairs(lambda q, k=row["K"]: log_series(q, k))
        assert row["KL"] == pytest.approx(exact, rel=1e-8)
        assert row["KL error"] == pytest.approx(abs(value - exact) / exact, rel=1e-6, abs=1e-9)
        assert row["KL gradient error"] == pytest.approx(
            float((gradient - by_exact).norm() / by_exact.norm()), rel=1e-6, abs=1e-9
        )


def test_the_statements_of_the_method():
    """When the series is valid, as docs/loss.md says."""
    rows = compare(EstimatorConfig(mus=(0.5, 1.0, 1.5), orders=4), synthetic(128, 32, 0))
    found = {(row["features"], row["mu"], row["K"]): row for row in rows}
    assert found["spread", 1.0, 4]["loss error"] < 1e-5
    assert 0.1 < found["collapsed", 1.0, 4]["loss error"] < 0.2
    assert found["collapsed", 1.0, 4]["loss gradient error"] > 0.9
    for kind in ("spread", "clustered", "collapsed"):
        assert found[kind, 0.5, 4]["loss error"] == pytest.approx(0.015, abs=0.004)
    assert found["collapsed", 1.0, 4]["radius"] > 0.9
    assert found["collapsed", 1.5, 4]["radius"] > 1.4
    assert found["collapsed", 1.5, 4]["loss gradient error"] > found["collapsed", 1.5, 2]["loss gradient error"]
    assert found["spread", 1.0, 4]["KL error"] < found["spread", 1.0, 2]["KL error"] < 1e-2


def test_gamma_and_kernel_change_the_comparison():
    sources = {"spread": synthetic(20, 8, 0)["spread"]}
    found = [
        compare(EstimatorConfig(mus=(1.0,), orders=2, **changes), sources)[1]
        for changes in ({}, {"gamma": 0.1}, {"kernel": "rbf"})
    ]
    assert len({round(row["loss"], 6) for row in found}) == 3
    assert found[0]["KL"] == found[1]["KL"] != found[2]["KL"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder with pictures and an untrained checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoint")
    pictures(folder / "data", 8)
    sizes = {"projector_width": 16, "projector_hidden": 8, "predictor_hidden": 8}
    content = {"model": method(**sizes).state_dict(), "config": to_dict(config(**sizes))}
    save_checkpoint(folder / "checkpoint.pth", content)
    return folder


def test_features_of_a_checkpoint(checkpoint):
    path, data = str(checkpoint / "checkpoint.pth"), str(checkpoint / "data")
    found = from_checkpoint(path, data, 6, 0)
    assert isinstance(found, TwoBranches)
    for features in found:
        assert features.shape == (6, 16)
        assert features.dtype == torch.float64
        assert features.std() > 0
    # Views and branches differ; the same seed gives the same.
    assert all(not torch.equal(found[i], found[j]) for i in range(4) for j in range(i))
    assert all(torch.equal(a, b) for a, b in zip(found, from_checkpoint(path, data, 6, 0), strict=True))
    assert not torch.equal(found.online_1, from_checkpoint(path, data, 6, 1).online_1)
    with pytest.raises(UserError, match="has 8 images; give --images 8 or fewer"):
        from_checkpoint(path, data, 9, 0)
    with pytest.raises(UserError, match="there is no checkpoint"):
        from_checkpoint(str(checkpoint / "absent.pth"), data, 6, 0)


def test_the_command_writes_table_and_figure(checkpoint, tmp_path, capsys):
    arguments = [f"--output={tmp_path}", "--mus=1", "--orders=4", "--samples=20", "--width=5", "--images=8"]
    arguments += [f"--weights={checkpoint / 'checkpoint.pth'}", f"--data={checkpoint / 'data'}"]
    assert run_command(main, arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["estimator.csv", "estimator.md", "estimator.png"]
    assert (tmp_path / "estimator.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((tmp_path / "estimator.csv").read_text().splitlines()))
    assert [row["features"] for row in rows[::4]] == ["spread", "clustered", "collapsed", "checkpoint"]
    assert [row["K"] for row in rows[:4]] == ["1", "2", "3", "4"]
    assert (tmp_path / "estimator.md").read_text() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--mus=0"], "--mus lists 0; it must be a list such as A,B, each a number above 0"),
        (["--orders=0"], "--orders is 0; it must be a whole number above 0"),
        (["--gamma=-1"], "--gamma is -1; it must be a number of 0 or more"),
        (["--data=photos"], "--data has no effect without --weights"),
        (["--kernel=cubic"], "--kernel has no value 'cubic'"),
    ],
)
def test_mistakes(arguments, sentence):
    with pytest.raises(UserError) as caught:
        main(arguments)
    assert sentence in str(caught.value)
