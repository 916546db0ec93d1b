"""The study of scaling: its table follows the model, its check uses nothing that it predicts, and the command."""

import csv

import pytest

from benchmark.core.errors import UserError, run_command
from benchmark.runner.step_time import CARDS, KERNEL_SSL, LINKS, step_time
from pretrain.studies import scaling_work
from pretrain.studies.config import ScalingConfig
from pretrain.studies.scaling import main
from pretrain.studies.scaling_work import comparison, limits, predictions
from pretrain.studies.two_gloo import Measured, small_card, small_links, small_work


def test_rows_are_the_models():
    rows = predictions(ScalingConfig(gpus=(1, 8), images=(128,)))
    time = step_time(CARDS["bf16"], LINKS, KERNEL_SSL, 8, 1024)
    assert [row["GPUs"] for row in rows] == [1, 8]
    assert rows[0]["efficiency"] == pytest.approx(1.0)
    assert rows[1]["step, ms"] == pytest.approx(1e3 * time.total)
    assert rows[1]["efficiency"] == pytest.approx(time.images_per_second / (8 * rows[0]["images/s"]), rel=1e-3)


def test_slower_links_and_a_slower_loss_are_seen():
    common = {"gpus": (64,), "images": (256,)}
    base, slow = predictions(ScalingConfig(**common))[0], predictions(ScalingConfig(**common, infiniband=10.0))[0]
    assert slow["gradients"] > 9 * base["gradients"]
    assert predictions(ScalingConfig(**common, loss_rate=4.0))[0]["loss"] == pytest.approx(10 * base["loss"])


def test_where_it_stops_is_where_a_part_passes_a_tenth():
    config = ScalingConfig(images=(256,), gpus=(1,))
    (said,) = (line for line in limits(config) if "the loss takes" in line)
    gpus = int(said.split("from ")[1].split(" ")[0].replace(",", ""))
    shares = [step_time(CARDS["bf16"], LINKS, KERNEL_SSL, n, 256 * n) for n in (gpus // 2, gpus)]
    assert shares[0].loss / shares[0].total <= 0.1 < shares[1].loss / shares[1].total


def test_a_measurement_that_follows_the_model_is_met_exactly():
    """Made from the model itself with numbers of its own, found again from what the check may look at."""
    work = small_work()
    loss = {8: 0.001, 16: 0.001, 32: 0.002, 64: 0.008}
    alone = {share: 0.05 + 0.004 * share + loss[share] for share in (8, 16, 32)}
    blank = Measured(alone, loss, {}, 2e-4, 1e9)
    expected = {
        share: step_time(small_card(blank), small_links(blank), work, 2, 2 * share).total for share in (8, 16, 32)
    }
    rows = comparison([Measured(alone, loss, expected, 2e-4, 1e9)])
    assert [(row["processes"], row["images a process"]) for row in rows] == [(1, 16), (2, 8), (2, 16), (2, 32)]
    assert all(row["predicted / measured"] == pytest.approx(1.0, abs=0.01) for row in rows)
    assert rows[-1]["norms"] == pytest.approx(1e3 * work.norm_collectives * 2e-4)


def test_the_command_measures_two_processes_and_writes_all(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scaling_work, "SHARES", (2, 3, 4))
    assert run_command(main, [f"--output={tmp_path}", "--measure", "--rounds=1", "--gpus=8", "--images=128"]) == 0
    names = ["check.csv", "scaling.csv", "scaling.md", "scaling.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    rows = list(csv.DictReader((tmp_path / "check.csv").read_text().splitlines()))
    assert [row["processes"] for row in rows] == ["1", "2", "2", "2"]
    assert all(float(row["measured"]) > 0 for row in rows)
    assert float(rows[-1]["norms"]) > 0
    assert "Predicted from one NVIDIA H200" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpus="], "--gpus"),
        (["--images=1"], "images"),
        (["--nvlink=0"], "nvlink"),
        (["--precision=fp16"], "precision"),
    ],
)
def test_mistakes_are_one_sentence(words, said, capsys):
    assert run_command(main, words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_no_numbers_is_a_mistake():
    with pytest.raises(UserError, match="--gpus and --images"):
        ScalingConfig(gpus=())
