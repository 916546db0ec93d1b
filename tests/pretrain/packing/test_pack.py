"""Packing: what webdataset reads from it, kills, unreadable images, resizing, verification, the plan."""

import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from pretrain.images.decoding import decode
from pretrain.images.labels import find_labels
from pretrain.images.listing import list_images
from pretrain.pack import main
from pretrain.shards.find import PIECES, find_images
from pretrain.shards.index_file import INDEX, open_index
from tests.pretrain.images.pictures import encoded, jpeg, photographs, smooth
from tests.pretrain.runs import environment
from tests.pretrain.shards.test_find import same

SCRIPT = str(ROOT / "pretrain" / "pack.py")


def contents(target):
    """Return what a packing has left, by name; who holds the lock is no part of it."""
    return {path.name: path.read_bytes() for path in target.iterdir() if path.name != ".lock.owner"}


def big(folder, count=60, size=40_000):
    """Fill a folder with images of about 40 kB in two classes, so that shards of 1 MB are several."""
    for i in range(count):
        path = folder / "ab"[i % 2] / f"{i:03d}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (100, size // 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_packed_shards_are_the_folder(tmp_path, workers, capsys):
    folder = big(tmp_path / "photos of 2026", 60)
    target = tmp_path / "shards"
    assert main([str(folder), str(target), "--shard-mb=1", f"--workers={workers}"]) == 0
    names = sorted(path.name for path in target.glob("*.tar"))
    assert names == [f"photos_of_2026-{i:06d}.tar" for i in range(3)]
    assert all((target / name).stat().st_size >= 10**6 for name in names[:-1])
    assert "60 images in 3 shards" in capsys.readouterr().out
    images = find_images(target)
    assert same(images, list_images(folder))
    assert images.title == "photos of 2026"
    assert find_labels(images).classes == ("a", "b")
    assert np.array_equal(find_labels(images).numbers, find_labels(list_images(folder)).numbers)
    some = find_images(f"{target}/photos_of_2026-{{000000..000001}}.tar")
    assert 0 < len(some) < 60
    assert [some.read(i) for i in range(3)] == [images.read(i) for i in range(3)]


def test_without_their_index_they_are_the_same_images(folder, tmp_path):
    main([str(folder), str(tmp_path / "s"), "--workers=0"])
    (tmp_path / "s" / INDEX).unlink()
    images = find_images(tmp_path / "s")
    assert same(images, list_images(folder))
    assert np.array_equal(find_labels(images).numbers, find_labels(list_images(folder)).numbers)


def test_webdataset_reads_images_and_classes(folder, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="webdataset, which reads these files, is not installed")
    (folder / "a/000.jpg").rename(folder / "a" / ("n" * 120 + ".JPEG"))
    main([str(folder), str(tmp_path / "s"), "--workers=0"])
    shards = [str(path) for path in sorted((tmp_path / "s").glob("*.tar"))]
    read = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
    paths = list_images(folder)
    labels = find_labels(paths).numbers
    assert len(read) == 22
    for i, sample in enumerate(read):
        assert sample["__key__"] == os.path.splitext(paths.name(i))[0]
        assert (sample.get("jpg") or sample["jpeg"]) == paths.read(i)
        assert int(sample["cls"]) == labels[i]


def killed(arguments, reached):
    """Start packing in a process group of its own and kill it (-9) at a moment; fail when it ends before."""
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *arguments], env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not reached() and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before"
        time.sleep(0.0005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_twice_the_same_command_gives_what_an_uninterrupted_one_gives(tmp_path):
    folder = big(tmp_path / "images", 400)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    arguments = ["--shard-mb=1", "--workers=1"]
    killed([str(folder), str(broken), *arguments], lambda: any(broken.glob(".images-000001.tar.*.part")))
    with pytest.raises(UserError, match="not packed completely"):
        find_images(broken)
    killed([str(folder), str(broken), *arguments], lambda: (broken / PIECES / "000004.json").is_file())
    before = {path.name: path.stat().st_ino for path in broken.glob("*.tar")}
    assert 4 <= len(before) < 16
    main([str(folder), str(broken), *arguments])
    done = [f"images-{i:06d}.tar" for i in range(5)]
    assert all((broken / name).stat().st_ino == before[name] for name in done)  # not written again
    main([str(folder), str(whole), *arguments])
    assert contents(broken) == contents(whole)
    main([str(folder), str(broken), *arguments])  # complete: nothing to do
    assert contents(broken) == contents(whole)


def test_other_settings_or_images_are_not_mixed_in(folder, tmp_path):
    main([str(folder), str(tmp_path / "s"), "--workers=0"])
    with pytest.raises(UserError, match="resize: None there, 16 here"):
        main([str(folder), str(tmp_path / "s"), "--workers=0", "--resize=16"])
    (folder / "a/000.jpg").unlink()
    with pytest.raises(UserError, match=r"belongs to another run .*count"):
        main([str(folder), str(tmp_path / "s"), "--workers=0"])
    with pytest.raises(UserError, match="not empty and holds no run of ours"):
        main([str(folder), str(folder), "--workers=0"])


def test_unreadable_images_are_listed_and_refused_or_left_out(folder, tmp_path, capsys):
    bad = {"a/000.jpg": jpeg(0)[:300], "b/001.jpg": b"", "c/020.jpg": b"text"}
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    target = tmp_path / "left"
    with pytest.raises(UserError, match=r"3 of 22 images cannot be read \(.*a/000.jpg, .*--skip-unreadable"):
        main([str(folder), str(target), "--workers=0"])
    assert all(name in (target / "unreadable.txt").read_text() for name in bad)
    with pytest.raises(UserError, match="not packed completely"):
        find_images(target)
    main([str(folder), str(tmp_path / "left"), "--workers=0", "--skip-unreadable"])
    images = find_images(tmp_path / "left")
    assert len(images) == 19
    assert not {images.name(i) for i in range(19)} & set(bad)
    assert set(open_index(tmp_path / "left" / INDEX).notes["skipped"]) == set(bad)
    assert "3 left out" in capsys.readouterr().out

    (tmp_path / "none").mkdir()
    for i in range(2):
        (tmp_path / "none" / f"{i}.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match="not one of the 2 images"):
        main([str(tmp_path / "none"), str(tmp_path / "s"), "--workers=0", "--skip-unreadable"])


def test_an_image_mended_after_a_refusal_is_packed_by_the_same_command(folder, tmp_path):
    content = jpeg(3)
    (folder / "a/003.jpg").write_bytes(content[:-20] + bytes(20))  # the size that it will have again
    damaged = (folder / "a/003.jpg").read_bytes()
    with pytest.raises(ValueError, match="no whole image"):
        decode(damaged)
    with pytest.raises(UserError, match="1 of 22 images"):
        main([str(folder), str(tmp_path / "s"), "--workers=0"])
    (folder / "a/003.jpg").write_bytes(content)
    main([str(folder), str(tmp_path / "s"), "--workers=0"])
    assert same(find_images(tmp_path / "s"), list_images(folder))
    assert not (tmp_path / "s" / "unreadable.txt").exists()


def test_resizing_makes_the_short_side_and_keeps_smaller_images_byte_for_byte(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(photographs(1)[0])
    for kind, ending in (("PNG", "png"), ("WEBP", "webp"), ("BMP", "bmp"), ("TIFF", "tif"), ("GIF", "gif")):
        (folder / f"large.{ending}").write_bytes(encoded(smooth(90, 60), kind))
        (folder / f"small.{ending}").write_bytes(encoded(smooth(30, 40), kind))
    main([str(folder), str(tmp_path / "s"), "--resize=32", "--workers=0"])
    images, paths = find_images(tmp_path / "s"), list_images(folder)
    assert len(images) == len(paths) == 11
    for i in range(11):
        before, after = decode(paths.read(i)), decode(images.read(i))
        if paths.name(i).startswith("small") or paths.name(i) == "large.gif":
            assert images.read(i) == paths.read(i)
            continue
        assert min(after.shape[:2]) == 32
        assert after.shape[1] / after.shape[0] == pytest.approx(before.shape[1] / before.shape[0], rel=0.03)
        wanted = Image.fromarray(before).resize(after.shape[1::-1], Image.Resampling.LANCZOS)
        lossy = paths.name(i).endswith(("jpg", "webp"))
        assert np.abs(np.asarray(wanted).astype(int) - after).mean() <= (4 if lossy else 0)
        with Image.open(io.BytesIO(images.read(i))) as one, Image.open(io.BytesIO(paths.read(i))) as other:
            assert one.format == other.format
    assert open_index(tmp_path / "s" / INDEX).notes["resized"] == 5
    assert images.identity() != paths.identity()  # other contents, another run


def test_a_better_quality_is_closer_and_larger(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "photo.jpg").write_bytes(photographs(1)[0])
    sizes = []
    for quality in (30, 95):
        main(
            [
                str(tmp_path / "images"),
                str(tmp_path / str(quality)),
                "--resize=64",
                "--workers=0",
                f"--quality={quality}",
            ]
        )
        sizes.append(find_images(tmp_path / str(quality)).size(0))
    assert sizes[0] < sizes[1]


def test_verify_finds_every_changed_byte_and_names_shard_and_image(folder, tmp_path, capsys):
    target = tmp_path / "s"
    main([str(folder), str(target), "--workers=0"])
    assert main([str(target), "--verify"]) == 0
    assert main([f"file://{target}", "--verify"]) == 0
    assert "verified: 22 images in 1 shards" in capsys.readouterr().out
    (shard,) = target.glob("*.tar")
    content = shard.read_bytes()
    for place, said in ((600, r"differs in a/000.jpg"), (10, "differs beside its images")):
        shard.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(UserError, match=rf"1 of 1 shards .*images-000000.tar {said}; copy"):
            main([str(target), "--verify"])
    shard.write_bytes(content[:-1])
    with pytest.raises(UserError, match="bytes instead of"):
        main([str(target), "--verify"])
    shard.unlink()
    with pytest.raises(UserError, match="is missing"):
        main([str(target), "--verify"])
    with pytest.raises(UserError, match=r"holds no index.shards"):
        main([str(folder), "--verify"])


def test_the_plan_writes_nothing_and_foresees_the_shards(tmp_path, capsys):
    folder = big(tmp_path / "images", 60)
    assert main([str(folder), str(tmp_path / "s"), "--shard-mb=1", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "images   60" in said
    assert "about 3 of 1 MB" in said
    assert "time     about" in said
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "0 folders are given"), (["a"], "1 folders"), (["a", "b", "c"], "3 folders"), (["x", "s"], "no folder"),
        (["a", "b", "--verify", "--dry-run"], "two commands"), (["a", " "], "empty"), (["--verify"], "0 folders"),
        (["a", "b", "--resize=0"], "--resize is 0"), (["a", "b", "--shard-mb=0"], "--shard-mb is 0"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        main(words)
    assert not list(tmp_path.iterdir())
