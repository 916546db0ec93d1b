"""The plan: counts against published ones, memory against a measured step, hours against arithmetic."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import ResNet18_Weights, ResNet50_Weights

from benchmark.core.errors import UserError
from pretrain.cost.plan import (
    count_flops,
    estimate_memory,
    make_plan,
    measure_network,
    measure_views,
    parameter_counts,
    saved_bytes,
)
from pretrain.images.listing import list_images
from pretrain.methods.registry import make_method
from pretrain.training.config import make_config

CPU = torch.device("cpu")
SMALL = {
    "epochs": 20,
    "arch": "resnet18",
    "image_size": 32,
    "batch_size": 8,
    "projector_width": 64,
    "projector_hidden": 64,
    "predictor_hidden": 16,
    "device": "cpu",
    "workers": 0,
}


@pytest.fixture
def folder(tmp_path):
    for i in range(20):
        pixels = np.random.default_rng(i).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i:02d}.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("arch", "weights"), [("resnet18", ResNet18_Weights.IMAGENET1K_V1), ("resnet50", ResNet50_Weights.IMAGENET1K_V1)]
)
def test_parameters_and_flops_are_those_that_torchvision_publishes(arch, weights):
    config = make_config(epochs=1, arch=arch)
    method = make_method(config)
    width = method.projector[0].in_features
    classifier = width * 1000
    counts = parameter_counts(method)
    assert counts["encoder"] == counts["momentum_encoder"] == weights.meta["num_params"] - classifier - 1000

    d, h, p = config.options.projector_width, config.options.projector_hidden, config.options.predictor_hidden
    assert counts["projector"] == width * h + h * h + (h * d + d) + 4 * h
    projector, predictor = width * h + h * h + h * d, 2 * d * p
    encoder = weights.meta["_ops"] * 1e9 - classifier  # published: multiply-adds of one 224 px image
    flops = count_flops(method, config)
    assert flops.forward_online == pytest.approx(2 * 2 * (encoder + projector + predictor), rel=0.02)
    assert flops.forward_momentum == pytest.approx(2 * 2 * (encoder + projector), rel=0.02)
    assert flops.backward == 2 * flops.forward_online
    assert flops.repeated == 0


def test_gradient_caching_repeats_the_forward_pass_and_needs_the_memory_of_a_micro_batch():
    whole = make_config(**{**SMALL, "batch_size": 256, "precision": "fp32"})
    cached = dataclasses.replace(whole, micro_batch=4)
    method = make_method(whole)
    assert count_flops(method, cached).repeated == count_flops(method, whole).forward_online
    difference = count_flops(method, cached).total - count_flops(method, whole).total
    assert difference == count_flops(method, whole).forward_online
    few, many = estimate_memory(method, cached), estimate_memory(method, whole)
    assert few.activations == pytest.approx(many.activations * 4 / 256, rel=0.1)
    assert (few.state, few.inputs, few.loss) == (many.state, many.inputs, many.loss)


def test_saved_bytes_are_linear_in_the_batch_and_leave_the_network_as_it_was():
    config = make_config(**SMALL, precision="bf16")
    method = make_method(config)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    two, four, eight = (saved_bytes(method, config, n) for n in (2, 4, 8))
    assert eight - four == 2 * (four - two) > 0
    assert all(torch.equal(before[name], tensor) for name, tensor in method.state_dict().items())
    full = make_config(**SMALL, precision="fp32")
    per_image = (saved_bytes(method, full, 4) - saved_bytes(method, full, 2)) / 2
    assert 0.45 < (four - two) / 2 / per_image < 0.75  # bf16, with the pooling's indices and the norms' sums wider


MEASURE = """
import re, sys, torch
from pretrain.methods.registry import make_method
from pretrain.training.config import make_config
from pretrain.cost.plan import estimate_memory, measure_network

batch = int(sys.argv[1])
config = make_config(epochs=1, arch="resnet18", image_size=64, batch_size=batch, precision="fp32",
                     projector_width=256, projector_hidden=256, predictor_hidden=64)
torch.set_num_threads(1)
method = make_method(config).to(memory_format=torch.channels_last)
measure_network(method, config, torch.device("cpu"), seconds=600.0)
# Not getrusage: a child inherits the peak of the process that started it.
peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
print(peak, estimate_memory(method, config).total)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_estimated_memory_is_what_a_real_step_takes():
    """A process for each batch: what the allocator keeps of an earlier one would hide part of the difference."""
    found = []
    for batch in (8, 56):
        argv = [sys.executable, "-W", "ignore", "-c", MEASURE, str(batch)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append([float(word) for word in done.stdout.split()])
    measured, estimated = (many - few for few, many in zip(*found, strict=True))
    assert 0.7 < measured / estimated < 1.4


def test_hours_and_iterations_at_a_given_speed(folder):
    config = make_config(**SMALL, images_per_second=16.0)
    text = make_plan(config, list_images(folder), CPU, folder / "out")
    assert "iterations    40 = 20 epochs x 2; warm-up 2 epochs = 4" in text
    assert "images        20; 4 of them left over in each epoch" in text
    assert "learning rate 0.5 x 8/256 = 0.015625 at its peak" in text
    # 16 images an epoch at 16 images/s: one second an epoch
    assert "hours         20 epochs 0.00556, 100 epochs 0.0278, 400 epochs 0.111, 800 epochs 0.222" in text
    assert "arch: resnet18\n" in text
    assert not (folder / "out").exists()


def test_measured_speeds_are_those_of_the_two_parts(folder):
    config = make_config(**SMALL)
    method = make_method(config)
    before = {name: parameter.clone() for name, parameter in method.named_parameters()}
    speed, batch = measure_network(method, config, CPU, seconds=600.0)
    assert batch == 8
    assert speed > 1
    assert all(torch.equal(before[name], parameter) for name, parameter in method.named_parameters())
    views = measure_views(config, list_images(folder), torch.device("cpu"), seconds=0.2)
    assert views > 20
    text = make_plan(config, list_images(folder), CPU, folder / "out")
    line = next(line for line in text.splitlines() if line.startswith("measured"))
    network, views = (float(word.replace(",", "")) for word in line.split() if word[0].isdigit() and len(word) > 1)
    line = next(line for line in text.splitlines() if line.startswith("speed"))
    assert float(line.split()[1]) == pytest.approx(1 / (1 / network + 1 / views), rel=0.01)


def test_fewer_images_than_a_batch(folder):
    config = make_config(**{**SMALL, "batch_size": 21}, images_per_second=1.0)
    with pytest.raises(UserError, match="more than the 20 images"):
        make_plan(config, list_images(folder), CPU, folder / "out")
