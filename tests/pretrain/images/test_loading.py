"""Images: lists, order, shards, resume, replacement draws, workers that neither hang nor outlive their parent."""

import io
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image

import pretrain.images.loading
from benchmark.core.errors import UserError
from pretrain.images.loading import (
    FolderUnreadable,
    PathList,
    epoch_length,
    epoch_order,
    list_images,
    make_loader,
    normalised,
)
from pretrain.images.recipe import ViewSettings

SETTINGS = ViewSettings(16)


def jpeg(seed, size=(24, 20)):
    small = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    for i in range(22):
        path = root / "abc"[i % 3] / f"{i:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(i))
    return root


def batches(root, batch_size=4, total=12, seed=5, workers=0, **more):
    loader = make_loader(
        list_images(root), SETTINGS, batch_size=batch_size, seed=seed, workers=workers, total_iterations=total, **more
    )
    return list(loader)


def equal(a, b):
    return all(map(torch.equal, a.views, b.views)) and torch.equal(a.index, b.index)


# --- The list -----------------------------------------------------------------------------------------------------


def relative(root, paths):
    return [os.path.relpath(paths[i], root) for i in range(len(paths))]


def test_class_folders_and_flat_files_at_any_depth_in_the_order_of_their_names(tmp_path):
    names = ["b/2.jpg", "b/10.PNG", "a/deep/er/x.webp", "z.jpeg", "a.tiff", "a/1.bmp"]
    for name in ["notes.txt", ".hidden.jpg", ".cache/1.jpg", "b/.2.jpg", "b/3.jpg.part", *names]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "empty").mkdir()
    found = relative(tmp_path, list_images(tmp_path))
    assert sorted(found) == sorted(names)
    assert found == relative(tmp_path, list_images(str(tmp_path)))
    assert found == sorted(found)


def test_the_order_does_not_depend_on_the_order_of_creation(tmp_path):
    orders = []
    for k, names in enumerate((["q.jpg", "c/1.jpg", "c/2.jpg", "b.jpg"], ["c/2.jpg", "b.jpg", "q.jpg", "c/1.jpg"])):
        root = tmp_path / str(k)
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"")
        orders.append(relative(root, list_images(root)))
    assert orders[0] == orders[1]


def test_links_to_folders_and_names_that_are_no_utf8(tmp_path):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "1.jpg").write_bytes(jpeg(0))
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(outside)
    with open(os.fsencode(root) + b"/\xff\xfe.jpg", "wb") as file:
        file.write(jpeg(1))
    paths = list_images(root)
    assert len(paths) == 2
    assert sorted(Path(paths[i]).read_bytes() for i in range(2)) == sorted([jpeg(0), jpeg(1)])


def test_a_link_to_a_folder_above_is_not_followed_for_ever(folder):
    (folder / "a" / "loop").symlink_to(folder)
    assert len(list_images(folder)) == 22
    (folder / "a" / "loop").unlink()
    (folder / "a" / "to_b").symlink_to(folder / "b")
    (folder / "b" / "to_a").symlink_to(folder / "a")
    assert len(list_images(folder)) == 22 + 7 + 8  # a/to_b and b/to_a, and not a/to_b/to_a


def test_the_identity_is_that_of_the_images_wherever_they_lie(folder, tmp_path):
    def found(root, limit=None):
        return list_images(root, limit).identity()

    first = found(folder)
    assert first["count"] == 22
    moved = folder.rename(tmp_path / "moved")
    assert found(moved) == first
    assert found(moved, 21)["fingerprint"] != first["fingerprint"]
    (moved / "a" / "000.jpg").rename(moved / "a" / "x.jpg")
    assert found(moved) != first
    (moved / "a" / "x.jpg").rename(moved / "a" / "000.jpg")
    assert found(moved) == first
    (moved / "a" / "000.jpg").write_bytes(jpeg(0, (48, 40)))  # the same names, images of another size
    assert found(moved) != first
    (moved / "a" / "000.jpg").unlink()
    (moved / "a" / "000.jpg").symlink_to("nowhere")
    assert found(moved)["count"] == 22


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "absent", "there is no folder"),
        (lambda root: root / "a" / "000.jpg", "there is no folder|is a file"),
        (
            lambda root: (root / "void", (root / "void").mkdir(), (root / "void" / "a.txt").write_text("x"))[0],
            "no images",
        ),
    ],
)
def test_no_folder_and_no_images(folder, make, message):
    with pytest.raises(UserError, match=message):
        list_images(make(folder))


def test_a_limit_keeps_images_of_every_class(folder):
    names = relative(folder, list_images(folder, 6))
    assert len(set(names)) == 6
    assert {name[0] for name in names} == {"a", "b", "c"}
    with pytest.raises(UserError, match="22 images, fewer than"):
        list_images(folder, 23)


def test_many_paths_take_little_more_than_their_characters():
    names = [f"n{i % 1000:08d}/n{i % 1000:08d}_{i}.JPEG" for i in range(200_000)]
    paths = PathList("/data", names)
    size = len(pickle.dumps(paths))
    assert size < sum(map(len, names)) + 9 * len(names)  # what a spawned worker is sent: 8 bytes a path
    assert paths[0] == os.path.join("/data", names[0])
    assert paths[123_456] == os.path.join("/data", names[123_456])
    assert len(paths) == 200_000
    begin = time.perf_counter()
    for i in range(0, 200_000, 20):
        paths[i]
    assert time.perf_counter() - begin < 1.0  # 10,000 look-ups


# --- The order ----------------------------------------------------------------------------------------------------


def test_an_epochs_order_is_a_permutation_that_depends_on_seed_and_epoch():
    first = epoch_order(1000, seed=3, epoch=7)
    assert sorted(first) == list(range(1000))
    assert np.array_equal(first, epoch_order(1000, seed=3, epoch=7))
    for other in (epoch_order(1000, 4, 7), epoch_order(1000, 3, 8), epoch_order(1000, 7, 3), np.arange(1000)):
        assert (first == other).mean() < 0.02
    assert epoch_order(1000, 0, 0).itemsize == 4  # 56 MB for 14 million images


def test_every_place_in_the_order_is_equally_likely():
    places = np.array([np.flatnonzero(epoch_order(8, 0, epoch) == 0)[0] for epoch in range(1600)])
    assert np.bincount(places, minlength=8).min() > 140  # 200 expected, sd 13


def test_the_last_images_that_fill_no_batch_are_left_out_of_the_epoch(folder):
    assert epoch_length(22, 4) == 5
    assert epoch_length(24, 4) == 6
    found = [batch.index.tolist() for batch in batches(folder, total=10)]
    for epoch in (found[:5], found[5:]):
        seen = [index for batch in epoch for index in batch]
        assert len(seen) == len(set(seen)) == 20
    assert found[:5] != found[5:]


def test_the_processes_batches_joined_are_the_batch_of_one_process(folder):
    whole = batches(folder, batch_size=6, total=5)
    parts = [batches(folder, batch_size=2, total=5, rank=rank, world_size=3) for rank in range(3)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(batch.index, torch.cat([share.index for share in shares]))
        assert torch.equal(batch.views[0], torch.cat([share.views[0] for share in shares]))
        assert torch.equal(batch.views[1], torch.cat([share.views[1] for share in shares]))


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
        return [batch.views[0][batch.index.argsort()] for batch in found]

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
    shown = {paths[int(index)] for batch in found for index in batch.index}
    assert not shown & bad
    assert all(len(batch.index) == len(batch.views[0]) == 4 for batch in found)
    again = batches(folder, total=15)
    assert all(equal(a, b) for a, b in zip(found, again, strict=True))


def test_other_images_keep_their_place_and_views_beside_an_unreadable_one(folder):
    before = batches(folder, total=5)
    bad = damage(folder)
    paths = list_images(folder)
    for a, b in zip(before, batches(folder, total=5), strict=True):
        for i, index in enumerate(a.index.tolist()):
            if paths[index] not in bad:
                assert b.index[i] == index
                assert torch.equal(a.views[0][i], b.views[0][i])


def test_a_replacement_is_no_copy_of_that_images_own_views(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"")
    (tmp_path / "good.jpg").write_bytes(jpeg(0))
    (batch,) = batches(tmp_path, batch_size=2, total=1)
    assert batch.index.tolist() == [1, 1]
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


# --- Workers ------------------------------------------------------------------------------------------------------

AFTER_THREADS = """
import sys, torch, cv2, numpy as np
torch.set_num_threads(4)
(torch.randn(800, 800) @ torch.randn(800, 800)).relu().sum()      # the parent has an OpenMP pool
cv2.setNumThreads(4)
cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 3)   # and one of OpenCV
from pretrain.images.loading import list_images, make_loader
from pretrain.images.recipe import ViewSettings
for engine in ("fast", "reference"):
    loader = make_loader(list_images(sys.argv[1]), ViewSettings(224, engine=engine), batch_size=4, seed=0, workers=2,
                         total_iterations=6)
    print(engine, sum(len(batch.index) for batch in loader), flush=True)
"""


def test_workers_do_not_hang_after_the_parent_has_used_threads(folder):
    command = [sys.executable, "-W", "ignore", "-c", AFTER_THREADS, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.stdout.split() == ["fast", "24", "reference", "24"], done.stderr[-2000:]


WAITING = """
import multiprocessing, sys, time
from pretrain.images.loading import list_images, make_loader
from pretrain.images.recipe import ViewSettings
paths = list_images(sys.argv[1])
batches = iter(make_loader(paths, ViewSettings(16), batch_size=4, seed=0, workers=2, total_iterations=10**6))
next(batches)
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
time.sleep(600)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_die_with_a_parent_that_is_killed(folder):
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WAITING, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert len(workers) == 2, parent.stderr.read()[-2000:]
        assert all(map(alive, workers))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = [pid for pid in workers if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
