"""Pre-training on the GPU: precisions, overflow, pinned memory, gradient caching, memory, resume, no memory left."""

import json
import os
import subprocess
import sys
import warnings

import pytest
import torch

from benchmark.core.folder import ROOT
from pretrain.cost.plan import estimate_memory
from pretrain.images.loading import make_loader
from pretrain.images.recipe import PUBLISHED, ViewSettings
from pretrain.methods.registry import make_method
from pretrain.training.trainer import PretrainTrainer
from tests.gpu.bench_step import prepared
from tests.gpu.setting import DEVICE, DRY, batch_size, config, paths, photographs, synchronise

BATCH = batch_size(64)
STEPS = 4


def trained(steps=STEPS, **changes):
    """Return a trainer after some steps, and the loss of each."""
    changes = {"batch_size": BATCH, "warmup_epochs": 0.0, "lr": 0.01, **changes}
    trainer = PretrainTrainer(config(**changes), paths(max(BATCH * (steps + 1), 16)), DEVICE)
    losses = []
    run_step = trainer.run_step

    def watched():
        run_step()
        losses.append(trainer.last.loss)

    trainer.run_step = watched
    trainer.train(0, steps)
    return trainer, losses


def test_reduced_precision_follows_float32(record_property):
    _, exact = trained(precision="fp32")
    for precision in ("bf16", "fp16") if not DRY else ("bf16",):
        _, losses = trained(precision=precision)
        apart = max(abs(a - b) / abs(b) for a, b in zip(losses, exact, strict=True))
        record_property(f"loss of {precision} against fp32, relative, over {STEPS} steps", apart)
        assert apart < 0.05
    assert len(set(exact)) == STEPS  # the steps do something


@pytest.mark.cuda_only
def test_fp16_passes_over_an_overflow_and_goes_on():
    trainer = PretrainTrainer(config(batch_size=BATCH, precision="fp16", warmup_epochs=0.0), paths(8 * BATCH), DEVICE)
    trainer.scaler = trainer.step.scaler = torch.amp.GradScaler(DEVICE.type, init_scale=2.0**60)
    before = [p.detach().clone() for p in trainer.method.parameters() if p.requires_grad]
    trainer.train(0, 1)
    after = [p.detach() for p in trainer.method.parameters() if p.requires_grad]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert trainer.scaler.get_scale() < 2.0**60
    trainer.scaler = trainer.step.scaler = torch.amp.GradScaler(DEVICE.type, init_scale=2.0**10)
    trainer.train(1, 4)
    assert not all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.cuda_only
def test_the_loader_gives_pinned_memory_with_workers():
    settings = ViewSettings(64, "fast", PUBLISHED["kernel_ssl"])
    loader = make_loader(paths(32), settings, batch_size=8, seed=0, workers=2, total_iterations=3, pin_memory=True)
    batches = list(loader)
    assert len(batches) == 3
    assert all(view.is_pinned() and view.dtype == torch.uint8 for batch in batches for view in batch.views)


def test_gradient_caching_equals_the_direct_gradient_in_eval_mode(record_property):
    def gradients(micro_batch):
        settings = config(batch_size=BATCH, precision="fp32", micro_batch=micro_batch)
        trainer = PretrainTrainer(settings, paths(2 * BATCH), DEVICE)
        trainer.method.eval()
        generator = torch.Generator().manual_seed(0)
        side = settings.image_size
        views = [torch.randn(BATCH, 3, side, side, generator=generator).to(DEVICE) for _ in range(2)]
        views = [view.contiguous(memory_format=torch.channels_last) for view in views]
        trainer.step(views, None, False)
        return {name: p.grad for name, p in trainer.method.named_parameters() if p.grad is not None}

    if not DRY:  # the comparison is of two orders of summation, not of TF32
        torch.backends.cudnn.allow_tf32 = False
    direct, cached = gradients(None), gradients(BATCH // 4)
    assert direct.keys() == cached.keys()
    total = torch.stack([g.norm() for g in direct.values()]).norm()
    apart = torch.stack([(cached[name] - g).norm() for name, g in direct.items()]).norm() / total
    record_property("gradient, relative", apart.item())
    assert apart < 2e-3


@pytest.mark.cuda_only
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_plan_foresees_the_memory(precision, record_property):
    settings = config(batch_size=BATCH, precision=precision)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    trainer = PretrainTrainer(settings, paths(4 * BATCH), DEVICE)
    trainer.train(0, 3)
    synchronise()
    measured = torch.cuda.max_memory_allocated() - before
    foreseen = estimate_memory(make_method(settings), settings).total  # before a run nothing is on the device
    record_property("measured, GiB", measured / 2**30)
    record_property("foreseen, GiB", foreseen / 2**30)
    assert 0.6 < foreseen / measured < 1.67


@pytest.mark.cuda_only
def test_a_step_waits_for_the_device_once(record_property):
    """Loss and gradient norm are read together; a logged step waits oftener, for what it shows."""
    trainer = prepared(BATCH)
    waits = {}
    for name, iteration in (("a step", 1), ("a logged step", 0)):
        trainer.iter = iteration
        trainer.run_step()
        synchronise()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                trainer.run_step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits[name] = sum("synchroniz" in str(one.message) for one in said)
        record_property(f"waits of {name}", waits[name])
    assert 1 <= waits["a step"] <= 2
    assert waits["a logged step"] < 40


def command(folder, *more):
    """Return what a user types, as a list; the sizes are small."""
    sizes = [f"--batch-size={BATCH}", "--epochs=2", f"--images={4 * BATCH}", "--image-size=64", "--workers=2"]
    where = [f"--data={photographs(2)}", f"--output={folder / 'run'}", f"--records={folder / 'records'}"]
    tiny = ["--arch=resnet18", "--projector-width=64", "--projector-hidden=64", "--predictor-hidden=32"]
    return [*sizes, *where, *tiny, f"--device={DEVICE.type}", "--log-every=1", *more]


def call(arguments, prefix=()):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    program = [sys.executable, *(prefix or [str(ROOT / "pretrain" / "run.py")]), *arguments]
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=150)


def losses_of(folder):
    lines = (folder / "run" / "metrics.json").read_text(encoding="utf-8").splitlines()
    return {row["iteration"]: row["loss"] for row in map(json.loads, lines) if "loss" in row}


# Stops as a kill would, between two steps; the same command must then continue.
KILLED = """
import os, sys
from pretrain.training.trainer import PretrainTrainer
run_step = PretrainTrainer.run_step
def stop(self):
    if self.iter == 5:
        os._exit(9)
    run_step(self)
PretrainTrainer.run_step = stop
from benchmark.core.errors import run_command
from pretrain.run import main
sys.exit(run_command(main, sys.argv[1:]))
"""


def test_a_killed_run_goes_on(tmp_path, record_property):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    more = ("--checkpoint-minutes=0.0001", "--precision=fp32")  # bf16 makes more of the order in which kernels add
    done = call(command(whole, *more))
    assert done.returncode == 0, done.stderr[-2000:]
    killed = call(command(cut, *more), ["-c", KILLED])
    assert killed.returncode == 9, killed.stderr[-2000:]
    done = call(command(cut, *more))
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = losses_of(whole), losses_of(cut)
    assert len(first) == 8
    assert first.keys() == second.keys()
    apart = max(abs(first[i] - second[i]) / abs(first[i]) for i in first)
    record_property("loss of the resumed run, relative", apart)
    assert apart < 0.02  # kernels of cuDNN that add in no fixed order; bit-identical on one CPU process
    records = list((cut / "records").glob("*.json"))
    assert json.loads(records[0].read_text(encoding="utf-8"))["status"] == "completed"


SCARCE = """
import sys, torch
torch.cuda.set_per_process_memory_fraction(0.02)
from benchmark.core.errors import run_command
from pretrain.run import main
sys.exit(run_command(main, sys.argv[1:]))
"""


@pytest.mark.cuda_only
def test_out_of_memory_is_one_sentence_and_a_record(tmp_path, record_property):
    arguments = [*command(tmp_path, "--arch=resnet50", "--image-size=224"), "--batch-size=256", "--images=256"]
    done = call(arguments, ["-c", SCARCE])
    record_property("said", done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "")
    assert done.returncode == 1, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert "memory" in done.stderr
    assert "--micro-batch" in done.stderr
    (record,) = (tmp_path / "records").glob("*.json")
    assert json.loads(record.read_text(encoding="utf-8"))["status"] == "failed"
