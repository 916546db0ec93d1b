"""--views gpu, on the CPU: files of any kind become the views that decoding and the batched engine give; damaged ones
are replaced as with the other engines."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.core.errors import UserError
from pretrain.images.batched import apply_batched
from pretrain.images.decoding import decode
from pretrain.images.encoded import encoded as encode
from pretrain.images.listing import list_images
from pretrain.images.loading import FolderUnreadable, make_loader
from pretrain.images.parameters import draw
from pretrain.images.recipe import ViewSettings
from pretrain.run import main
from tests.pretrain.images.pictures import encoded, jpeg, photographs, smooth
from tests.pretrain.images.test_loading import damage, equal
from tests.pretrain.runs import flags

SETTINGS = ViewSettings(16, "gpu")


def batches(root, batch_size=4, total=8, workers=0, engine="gpu", **more):
    paths = list_images(root)
    loader = make_loader(
        paths, ViewSettings(16, engine), batch_size=batch_size, seed=5, workers=workers, total_iterations=total,
        labels=np.arange(len(paths)), **more,
    )  # fmt: skip
    return list(loader)


def without_tables(content):
    """Return a JPEG that lacks its quantisation tables: whole at first sight, and no decoder reads it."""
    made, rest = content[:2], content[2:]
    while rest[1] != 0xDA:  # the picture itself begins
        length = 2 + int.from_bytes(rest[2:4], "big")
        made, rest = made + (b"" if rest[1] == 0xDB else rest[:length]), rest[length:]
    return made + rest


def planes(content):
    return torch.from_numpy(decode(content)).permute(2, 0, 1)


@pytest.fixture
def kinds(tmp_path):
    """A folder with every kind of file that takes another way to the device."""
    root = tmp_path / "kinds"
    root.mkdir()
    picture = Image.fromarray(decode(photographs(1)[0]))
    files = {
        "plain.jpg": photographs(1)[0], "grey.jpg": encoded(picture.convert("L"), "JPEG"),
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "progressive.jpg": encoded(picture, "JPEG", progressive=True),
        "no_subsampling.jpg": encoded(picture, "JPEG", subsampling=0), "end.jpg": photographs(1)[0] + bytes(100),
        "camera.jpg": photographs(1)[0] + bytes(10),
        "a.png": encoded(smooth(), "PNG"), "b.webp": encoded(smooth(), "WEBP"),
        "c.gif": encoded(smooth(), "GIF"), "tiny.jpg": jpeg(0, (1, 1)),
    }  # fmt: skip
    for name, content in files.items():
        (root / name).write_bytes(content)
    return root


@pytest.mark.parametrize(("behind", "trusted"), [(0, True), (62, True), (63, False)])
def test_a_jpeg_whose_end_is_among_its_last_64_bytes_goes_to_the_device_as_it_is(behind, trusted):
    content = photographs(1)[0] + bytes(behind)
    found = encode(content, 5, (0, 3), SETTINGS)
    assert found.jpeg == trusted
    height, width = decode(content).shape[:2]
    assert (found.height, found.width) == (height, width)
    assert found.length == len(found.content) == (len(content) if trusted else 3 * height * width)
    assert not encode(content, 5, (0, 3), SETTINGS, trusting=False).jpeg


@pytest.mark.parametrize("workers", [0, 2])
def test_every_kind_of_file_gives_the_views_of_its_pixels(kinds, workers):
    paths = list_images(kinds)
    (batch,) = batches(kinds, batch_size=len(paths), total=1, workers=workers)
    assert batch.unreadable == ()
    assert sorted(batch.labels.tolist()) == list(range(len(paths)))
    for place, index in enumerate(batch.labels.tolist()):
        image = planes(paths.read(index))
        for view, recipe in enumerate(SETTINGS.recipes):
            drawn = draw((5, 0, index, view), *image.shape[1:], recipe)
            wanted = apply_batched([image], [drawn], recipe, 16)[0]
            difference = (batch.views[view][place].int() - wanted.int()).abs().float()
            assert difference.mean() < 0.5, paths.name(index)  # two builds of libjpeg


def test_the_views_are_those_of_the_fast_engine_within_its_tolerance(folder):
    for ours, fast in zip(batches(folder), batches(folder, engine="fast"), strict=True):
        assert torch.equal(ours.labels, fast.labels)
        for a, b in zip(ours.views, fast.views, strict=True):
            assert (a.shape, a.dtype) == (b.shape, torch.uint8)
            assert (a.int() - b.int()).abs().float().mean() < 0.8  # each is within 0.4 of the reference


def test_workers_processes_and_resuming_change_nothing(folder):
    alone = batches(folder)
    assert all(equal(a, b) for a, b in zip(alone, batches(folder, workers=2), strict=True))
    assert all(equal(a, b) for a, b in zip(alone[3:], batches(folder, start_iteration=3), strict=True))
    shares = [batches(folder, batch_size=2, rank=rank, world_size=2) for rank in range(2)]
    for whole, *parts in zip(alone, *shares, strict=True):
        for k in (0, 1):
            assert torch.equal(whole.views[k], torch.cat([part.views[k] for part in parts]))


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_images_are_named_and_replaced_as_with_the_other_engines(folder, workers):
    bad = damage(folder)
    (folder / "b/004.jpg").write_bytes(without_tables(jpeg(4)))
    found, fast = (batches(folder, total=15, workers=workers, engine=engine) for engine in ("gpu", "fast"))
    assert all(torch.equal(a.labels, b.labels) for a, b in zip(found, fast, strict=True))
    named = [{path for batch in run for path in batch.unreadable} for run in (found, fast)]
    assert named[0] == named[1] == bad | {str(folder / "b/004.jpg")}


def test_a_folder_without_one_readable_image_ends_with_one_sentence(tmp_path):
    for i in range(20):
        (tmp_path / f"{i}.jpg").write_bytes(b"" if i % 2 else without_tables(jpeg(i)))
    with pytest.raises(FolderUnreadable, match="10 images in a row cannot be read, such as"):
        batches(tmp_path)


def test_training_runs_on_the_cpu_when_it_is_asked_to_and_not_by_itself(folder, tmp_path, monkeypatch):
    assert main(flags(tmp_path, folder, views="gpu", epochs=1)) == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--views gpu finds no GPU here"):
        main(flags(tmp_path, folder, views="gpu", epochs=1, device="auto"))
