"""Batches: workers, processes and resuming change nothing; images that cannot be read are replaced and named."""

import os

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image

import pretrain.images.loading
from pretrain.images.labels import labels_from_folders
from pretrain.images.listing import list_images
from pretrain.images.loading import FolderUnreadable, make_loader, normalised
from pretrain.images.order import GlobalBatches
from pretrain.images.reading import read_image
from pretrain.images.recipe import PUBLISHED, ViewSettings
from tests.pretrain.images.pictures import jpeg

SETTINGS = ViewSettings(16)


def batches(root, batch_size=4, total=12, seed=5, workers=0, **more):
    """Return the batches of a folder; the label of an image is its number in the list."""
    paths = list_images(root)
    loader = make_loader(
        paths, SETTINGS, batch_size=batch_size, seed=seed, workers=workers, total_iterations=total,
        labels=np.arange(len(paths)), **more,
    )  # fmt: skip
    return list(loader)


def equal(a, b):
    return all(map(torch.equal, a.views, b.views)) and torch.equal(a.labels, b.labels)


def test_a_batch_shows_the_images_of_its_iteration(folder):
    keys = GlobalBatches(22, 4, seed=5, rank=0, world=1, start=0, stop=12)
    for batch, wanted in zip(batches(folder), keys, strict=True):
        assert batch.labels.tolist() == [index for _, index in wanted]
        assert [view.shape for view in batch.views] == [(4, 16, 16, 3)] * 2
        assert all(view.dtype == torch.uint8 for view in batch.views)


def test_the_processes_batches_joined_are_the_batch_of_one_process(folder):
    whole = batches(folder, batch_size=6, total=5)
    parts = [batches(folder, batch_size=2, total=5, rank=rank, world_size=3) for rank in range(3)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(batch.labels, torch.cat([share.labels for share in shares]))
        for k in (0, 1):
            assert torch.equal(batch.views[k], torch.cat([share.views[k] for share in shares]))


@pytest.mark.parametrize("name", ["supervised", "moco_v1"])
def test_a_method_gets_as_many_views_as_it_has_recipes_and_labels_when_it_asks(folder, name):
    paths = list_images(folder)
    settings = ViewSettings(16, recipes=PUBLISHED[name])
    found = labels_from_folders(paths)
    for labels in (None, found.numbers):
        options = {"batch_size": 4, "seed": 0, "workers": 0, "total_iterations": 3, "labels": labels}
        for batch in make_loader(paths, settings, **options):
            assert len(batch.views) == len(PUBLISHED[name])
            assert (batch.labels is None) == (labels is None)
            if labels is not None:
                assert batch.labels.dtype == torch.int64
                assert set(batch.labels.tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(folder, workers):
    alone, helped = batches(folder), batches(folder, workers=workers)
    assert len(alone) == len(helped) == 12
    assert all(equal(a, b) for a, b in zip(alone, helped, strict=True))


@pytest.mark.parametrize("start", [1, 5, 7, 12])
def test_resume_goes_on_with_the_same_batches_and_reads_no_skipped_image(folder, start, monkeypatch):
    whole = batches(folder)
    made = []
    real = pretrain.images.loading.make_views
    monkeypatch.setattr(pretrain.images.loading, "make_views", lambda *a, **k: made.append(1) or real(*a, **k))
    rest = batches(folder, start_iteration=start)
    assert len(rest) == 12 - start
    assert all(equal(a, b) for a, b in zip(whole[start:], rest, strict=True))
    assert len(made) == 4 * (12 - start)


def test_an_image_is_seen_differently_in_every_epoch_and_by_every_seed(folder):
    def views(seed):
        found = batches(folder, batch_size=22, total=2, seed=seed)
        return [batch.views[0][batch.labels.argsort()] for batch in found]

    first, second = views(0)
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, views(1)[0], strict=True))
    batch = batches(folder, batch_size=22, total=1)[0]
    assert not any(torch.equal(a, b) for a, b in zip(batch.views[0], batch.views[1], strict=True))


def test_normalised_is_torchvisions_normalisation(folder):
    batch = batches(folder, total=1)[0]
    found = normalised(batch.views[0], torch.device("cpu"))
    reference = T.Compose([T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    expected = torch.stack([reference(Image.fromarray(view.numpy())) for view in batch.views[0]])
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    assert found.shape == (4, 3, 16, 16)
    assert torch.equal(normalised(batch.views[0], torch.device("cpu")), found)  # and the batch is left as it was
    levels = batch.views[0].float()
    normalised(levels, torch.device("cpu"))
    assert torch.equal(levels, batch.views[0].float())
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_runs_own_random_state_is_left_alone(folder, workers):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    batches(folder, total=2, workers=workers)
    assert torch.equal(before, torch.get_rng_state())


# --- Images that cannot be read -----------------------------------------------------------------------------------


def damage(folder):
    """Make three images unreadable, each in its own way; return their paths."""
    bad = {"a/000.jpg": jpeg(0)[:300], "b/001.jpg": b"", "c/002.jpg": b"this is a text, whatever its name says\n"}
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    return {str(folder / name) for name in bad}


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_named_and_replaced_by_another_draw(folder, workers):
    bad = damage(folder)
    paths = list_images(folder)
    found = batches(folder, total=15, workers=workers)
    named = {str(path).split(": ")[0] for batch in found for path in batch.unreadable}
    assert named == bad
    shown = {paths[int(index)] for batch in found for index in batch.labels}
    assert not shown & bad
    assert all(len(batch.views[0]) == len(batch.views[0]) == 4 for batch in found)
    again = batches(folder, total=15)
    assert all(equal(a, b) for a, b in zip(found, again, strict=True))


def test_other_images_keep_their_place_and_views_beside_an_unreadable_one(folder):
    before = batches(folder, total=5)
    bad = damage(folder)
    paths = list_images(folder)
    for a, b in zip(before, batches(folder, total=5), strict=True):
        for i, index in enumerate(a.labels.tolist()):
            if paths[index] not in bad:
                assert b.labels[i] == index
                assert torch.equal(a.views[0][i], b.views[0][i])


def test_a_replacement_is_no_copy_of_that_images_own_views(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"")
    (tmp_path / "good.jpg").write_bytes(jpeg(0))
    (batch,) = batches(tmp_path, batch_size=2, total=1)
    assert batch.labels.tolist() == [1, 1]
    assert not torch.equal(batch.views[0][0], batch.views[0][1])


def test_a_file_that_vanishes_is_an_unreadable_image(folder):
    paths = list_images(folder)
    (folder / "b" / "004.jpg").unlink()
    loader = make_loader(paths, SETTINGS, batch_size=22, seed=0, workers=0, total_iterations=1)
    (batch,) = loader
    assert [str(path).split(": ")[0] for path in batch.unreadable] == [str(folder / "b" / "004.jpg")]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_without_one_readable_image_ends_with_one_sentence(tmp_path, workers):
    for i in range(30):
        (tmp_path / f"{i}.jpg").write_bytes(b"")
    with pytest.raises(FolderUnreadable, match="10 images in a row cannot be read, such as") as caught:
        batches(tmp_path, total=2, workers=workers)
    assert "\n" not in str(caught.value)


def test_names_that_are_no_utf8_are_read_and_can_be_printed(tmp_path):
    for i, name in enumerate((b"\xff\xfe.jpg", b"\xc3\xa9.jpg", b"b\xff.jpg")):
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
            file.write(jpeg(i) if i < 2 else b"")
    found = [path for batch in batches(tmp_path, batch_size=3, total=4) for path in batch.unreadable]
    assert set(found) == {f"{tmp_path}/b\\xff.jpg"}
    "".join(found).encode("utf-8")


def test_a_pipe_or_a_huge_file_does_not_stop_the_run(folder, monkeypatch):
    paths = list_images(folder)
    for name in ("a/000.jpg", "b/001.jpg"):
        (folder / name).unlink()
    os.mkfifo(folder / "a/000.jpg")
    with open(folder / "b/001.jpg", "wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    loader = make_loader(paths, SETTINGS, batch_size=22, seed=0, workers=0, total_iterations=1)
    (batch,) = loader
    assert set(batch.unreadable) == {str(folder / name) for name in ("a/000.jpg", "b/001.jpg")}
    with pytest.raises(OSError, match="no regular file"):
        read_image(str(folder / "a"))


def test_an_image_that_claims_a_huge_size_is_replaced(folder):
    content = jpeg(0)
    start = content.index(b"\xff\xc0") + 5
    (folder / "a/000.jpg").write_bytes(content[:start] + (40_000).to_bytes(2, "big") * 2 + content[start + 4 :])
    (batch,) = batches(folder, batch_size=22, total=1)
    assert batch.unreadable == (str(folder / "a/000.jpg"),)
