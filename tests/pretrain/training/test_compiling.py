"""--compile: the same step within rounding, the same names, a checkpoint that goes on; no compiler is one sentence."""

import re

import pytest
import torch

from benchmark.core.errors import UserError, run_command
from pretrain.engine.checkpoint import load_checkpoint
from pretrain.images.listing import list_images
from pretrain.run import main
from pretrain.training import compiling
from pretrain.training.trainer import PretrainTrainer
from tests.pretrain.runs import config, flags, pictures

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Trace as always, but run torch's own kernels: writing new ones takes a minute and is torch's business."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    torch.compiler.reset()


def trained(paths, **changes):
    """Return a trainer after two steps."""
    trainer = PretrainTrainer(config(warmup_epochs=0.0, **changes), paths, CPU)
    trainer.train(0, 2)
    return trainer


@pytest.fixture
def translated(monkeypatch):
    """Return the list to which every module goes that torch is asked to compile, as it does."""
    modules, ordinary = [], torch.nn.Module.compile

    def noted(module, **options):
        modules.append(module)
        ordinary(module, **options)

    monkeypatch.setattr(torch.nn.Module, "compile", noted)
    return modules


def test_two_steps_equal_those_without_it_and_names_stay(tmp_path, translated):
    paths = list_images(pictures(tmp_path / "data"))
    plain = trained(paths)
    assert translated == []
    compiled = trained(paths, compile=True)
    assert compiled.last.loss == pytest.approx(plain.last.loss, abs=1e-4)
    before, after = plain.state()["model"], compiled.state()["model"]
    assert list(before) == list(after)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    # What is compiled is the encoder of both branches, and a checkpoint goes either way.
    assert list(map(id, translated)) == [id(compiled.method.encoder), id(compiled.method.momentum_encoder)]
    assert plain.load_state(compiled.state()) == compiled.iteration


def test_it_is_another_run_and_without_it_the_run_of_before():
    plain, compiled = config().identity(0), config(compile=True).identity(0)
    assert "compile" not in plain["config"]
    assert compiled["config"].pop("compile") is True
    assert compiled == plain


def test_a_run_says_how_long_its_first_step_took_and_goes_on(tmp_path, capfd):
    pictures(tmp_path / "data")
    given = [*flags(tmp_path, epochs=1), "--compile"]
    assert run_command(main, given) == 0
    said = "".join(capfd.readouterr())
    assert re.search(r"the first step took \d+\.\d s, in which torch.compile", said)
    assert not any("_orig_mod" in name for name in load_checkpoint(tmp_path / "run" / "checkpoint.pth")["model"])
    assert run_command(main, given) == 0
    assert "complete already" in "".join(capfd.readouterr())
    assert run_command(main, flags(tmp_path, epochs=1)) == 2  # another run than the folder's


def test_no_compiler_is_one_sentence(monkeypatch):
    def fails(_, backend):
        def compiled(_):
            raise RuntimeError("no C++\ncompiler")

        return compiled

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(UserError, match=r"--compile: torch cannot compile on this machine \(no C\+\+ compiler\)"):
        compiling.check_compiler(CPU)


@pytest.mark.parametrize(("text", "said"), [("x" * 500, "x" * 200), ("", "RuntimeError")])
def test_a_compiler_s_long_report_is_cut_and_a_silent_one_named(text, said, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError(text)

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(UserError) as error:
        compiling.check_compiler(CPU)
    assert f"({said})" in str(error.value)
