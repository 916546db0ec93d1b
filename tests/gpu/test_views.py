"""--views gpu on the GPU: views are those of the reference engine; what the GPU cannot decode comes another way."""

import numpy as np
import torch

from pretrain.images.decoding import decode
from pretrain.images.listing import list_images
from pretrain.images.loading import make_loader
from pretrain.images.parameters import draw
from pretrain.images.recipe import PUBLISHED, ViewSettings
from pretrain.images.reference import apply_reference
from tests.gpu.setting import DEVICE, DRY, paths
from tests.pretrain.images.pictures import encoded, smooth

SIZE = 32 if DRY else 224


def batch_of(images, count, method):
    settings = ViewSettings(SIZE, "gpu", PUBLISHED[method])
    loader = make_loader(
        images, settings, batch_size=count, seed=3, workers=2, total_iterations=1, device=DEVICE,
        labels=np.arange(len(images)),
    )  # fmt: skip
    (batch,) = loader
    return batch


def test_views_agree_with_the_reference_engine(record_property):
    count = 8 if DRY else 64
    images = paths(count)
    for method in ("kernel_ssl", "byol", "simclr"):
        batch, apart = batch_of(images, count, method), []
        for view, recipe in enumerate(PUBLISHED[method]):
            assert batch.views[view].device.type == DEVICE.type
            for made, index in zip(batch.views[view].cpu().numpy(), batch.labels.tolist(), strict=True):
                image = decode(images.read(index))
                drawn = draw((3, 0, index, view), *image.shape[:2], recipe)
                apart.append(np.abs(made.astype(int) - apply_reference(image, drawn, recipe, SIZE)).mean())
        record_property(f"grey levels from the reference engine on average, {method}", float(np.mean(apart)))
        assert np.mean(apart) < 0.6  # 0.4 of the engine, and nvJPEG's own rounding
        assert max(apart) < 2.5


def test_files_that_the_gpu_does_not_decode_are_read_by_the_cpu(tmp_path):
    picture = smooth(90, 120)
    for name, kind, options in (
        ("a.png", "PNG", {}), ("b.jpg", "JPEG", {}), ("c.jpg", "JPEG", {"progressive": True}), ("e.webp", "WEBP", {}),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(encoded(picture, kind, **options))
    (tmp_path / "d.jpg").write_bytes(encoded(picture.convert("CMYK"), "JPEG"))
    (tmp_path / "f.jpg").write_bytes(encoded(picture, "JPEG")[:-200])
    batch = batch_of(list_images(tmp_path), 6, "kernel_ssl")
    assert batch.unreadable == (str(tmp_path / "f.jpg"),)
    assert all(torch.isfinite(view.float()).all() and len(view) == 6 for view in batch.views)
