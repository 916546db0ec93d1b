"""How images are taken, in numbers: ImageNet's of torchvision and of MSRA, and TensorFlow's levels from 0 to 1."""

import pytest
import torch
from detectron2.config import get_cfg

from transfer.checkpoints.convention import CONVENTIONS, MSRA_BGR, RGB, UNIT
from transfer.checkpoints.strictness import unfolded


def test_the_means_are_those_of_torchvision_and_detectron2():
    assert pytest.approx([255 * mean for mean in (0.485, 0.456, 0.406)]) == RGB.mean
    assert pytest.approx([255 * std for std in (0.229, 0.224, 0.225)]) == RGB.std
    cfg = get_cfg()  # Detectron2's defaults are MSRA's
    assert (list(MSRA_BGR.mean), list(MSRA_BGR.std)) == (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    assert (MSRA_BGR.format, MSRA_BGR.stride_in_1x1) == (cfg.INPUT.FORMAT, cfg.MODEL.RESNETS.STRIDE_IN_1X1)
    assert (RGB.format, RGB.stride_in_1x1) == ("RGB", False)


def test_simclrs_images_are_levels_from_0_to_1():
    assert [(level - mean) / std for level, mean, std in zip((0, 51, 255), UNIT.mean, UNIT.std, strict=True)] == [
        0, 0.2, 1,
    ]  # fmt: skip
    assert (UNIT.format, UNIT.stride_in_1x1) == ("RGB", False)


@pytest.mark.parametrize("name", ["rgb", "msra", "unit"])
def test_a_convention_is_written_into_a_config(name):
    cfg, convention = get_cfg(), CONVENTIONS[name]
    convention.apply(cfg)
    assert (convention.format, list(convention.mean)) == (cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN)
    assert (list(convention.std), convention.stride_in_1x1) == (cfg.MODEL.PIXEL_STD, cfg.MODEL.RESNETS.STRIDE_IN_1X1)


def test_norms_folded_into_scale_and_shift_divide_by_one():
    scale, shift = torch.tensor([2.0, -3.0]), torch.tensor([0.5, 0.25])
    norm = torch.nn.BatchNorm2d(2).eval()
    filled = unfolded({"bn1.weight": scale, "bn1.bias": shift, "conv1.weight": torch.ones(2, 1, 1, 1)})
    norm.load_state_dict({name.removeprefix("bn1."): t for name, t in filled.items() if "bn1" in name}, strict=False)
    images = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm(images), images * scale.view(1, 2, 1, 1) + shift.view(1, 2, 1, 1))
    assert set(filled) == {"bn1.weight", "bn1.bias", "conv1.weight", "bn1.running_mean", "bn1.running_var"}


def test_no_norm_of_a_resnet_is_wider_than_2048():
    assert "a.running_mean" in unfolded({"a.weight": torch.ones(2048)})
    assert "a.running_mean" not in unfolded({"a.weight": torch.ones(2049)})
