"""Shards of any maker give the images of the folder that went into them: same names, order, identity, contents."""

import os
import pickle
import tarfile

import numpy as np
import pytest

from benchmark.core.errors import UserError
from pretrain.images.collection import SourceLost
from pretrain.images.labels import find_labels
from pretrain.images.listing import list_images
from pretrain.shards.find import find_images
from tests.pretrain.images.pictures import jpeg
from tests.pretrain.shards.conftest import write_tar

webdataset = pytest.importorskip("webdataset", reason="webdataset, whose files are read here, is not installed")


def same(shards, folder):
    """Say whether two lists agree in all that a run depends on."""
    count = len(folder)
    return (
        shards.identity() == folder.identity()
        and [shards.name(i) for i in range(count)] == [folder.name(i) for i in range(count)]
        and [shards.read(i) for i in range(count)] == [folder.read(i) for i in range(count)]
    )


def by_webdataset(folder, target, maxcount=5, seed=0, **more):
    """Write a folder's images, shuffled, with webdataset's own writer; return the folder of shards."""
    target.mkdir(parents=True, exist_ok=True)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    np.random.default_rng(seed).shuffle(paths)
    with webdataset.ShardWriter(f"{target}/train-%06d.tar", maxcount=maxcount, verbose=0) as writer:
        for path in paths:
            key, ending = str(path.relative_to(folder)).split(".", 1)
            writer.write({"__key__": key, ending: path.read_bytes(), **{k: make(path) for k, make in more.items()}})
    return target


def number(path):
    return "abc".index(path.parent.name)


@pytest.mark.parametrize(
    "word", ["{}", "{}/train-{{000000..000004}}.tar", "file://{}", "file://{}/train-{{000000..000004}}.tar"]
)
def test_shards_by_webdataset_are_the_folder(folder, tmp_path, word):
    (folder / "a/000.jpg").rename(folder / "a/000.jpeg")
    (folder / "b/001.jpg").rename(folder / "b/001.x.jpg")
    target = by_webdataset(folder, tmp_path / "s", cls=number, json=lambda path: {"file": path.name}, txt=lambda _: "a")
    images = find_images(word.format(target))
    assert same(images, list_images(folder))
    assert same(pickle.loads(pickle.dumps(images)), list_images(folder))  # what a spawned worker is sent
    assert len(pickle.dumps(images)) < 2000
    found, wanted = find_labels(images), find_labels(list_images(folder))
    assert found.classes == ("0", "1", "2")
    assert found.numbers.dtype == np.int32
    assert np.array_equal(found.numbers, wanted.numbers)
    assert same(find_images(word.format(target), 7), list_images(folder, 7))
    assert np.array_equal(
        find_labels(find_images(word.format(target), 7)).numbers, find_labels(list_images(folder, 7)).numbers
    )
    with pytest.raises(UserError, match="22 images, fewer than"):
        find_images(word.format(target), 23)


def test_without_cls_the_keys_folders_are_the_classes(folder, tmp_path):
    images = find_images(by_webdataset(folder, tmp_path / "s"))
    assert find_labels(images).classes == ("a", "b", "c")
    assert np.array_equal(find_labels(images).numbers, find_labels(list_images(folder)).numbers)


def test_a_missing_class_is_one_sentence(folder, tmp_path):
    flat = find_images(by_webdataset(folder / "a", tmp_path / "flat"))
    with pytest.raises(UserError, match=r"000.jpg lies directly in .*\(in shards: in their keys, or add .cls files\)"):
        find_labels(flat)
    members = [(f"{i}.{kind}", jpeg(i) if kind == "jpg" else b"7") for i in range(4) for kind in ("jpg", "cls")]
    write_tar(tmp_path / "one" / "x.tar", members)
    with pytest.raises(UserError, match="only the class '7'"):
        find_labels(find_images(tmp_path / "one"))
    write_tar(tmp_path / "some" / "x.tar", members[:-1])
    with pytest.raises(UserError, match=r"1 of 4 images in .* have no class, such as 3.jpg, which lacks 3.cls"):
        find_labels(find_images(tmp_path / "some"))
    for content in (b"", b"\xff", b"x" * 300, b"a\nb"):
        write_tar(tmp_path / "odd" / "x.tar", [*members[:-1], ("3.cls", content)])
        with pytest.raises(UserError, match=r"3.cls in .* is no class"):
            find_images(tmp_path / "odd")


def test_classes_are_sorted_as_numbers_or_as_names(tmp_path):
    for kind, classes in (("number", ["10", "9", "2"]), ("name", ["dog", "Cat", "10"])):
        members = [
            (f"{i}.{k}", jpeg(i) if k == "jpg" else c.encode()) for i, c in enumerate(classes) for k in ("jpg", "cls")
        ]
        write_tar(tmp_path / kind / "x.tar", members)
    numbers, names = (find_labels(find_images(tmp_path / kind)) for kind in ("number", "name"))
    assert (numbers.classes, numbers.numbers.tolist()) == (("2", "9", "10"), [2, 1, 0])
    assert (names.classes, names.numbers.tolist()) == (("10", "Cat", "dog"), [2, 1, 0])


def test_tar_of_a_folder_by_hand_is_the_folder(folder, tmp_path):
    (folder / ".hidden.jpg").write_bytes(b"x")
    (folder / "a" / "notes.txt").write_text("x")
    (tmp_path / "s").mkdir()
    with tarfile.open(tmp_path / "s" / "all.tar", "w") as tar:
        tar.add(folder, ".")
    assert same(find_images(tmp_path / "s"), list_images(folder))
    assert same(find_images(tmp_path / "s" / "all.tar"), list_images(folder))


def test_masks_beside_images_are_passed_over_and_two_images_of_a_sample_refused(tmp_path):
    members = [(f"{i}.{kind}", jpeg(i)) for i in range(3) for kind in ("jpg", "seg.png", "depth.tif")]
    write_tar(tmp_path / "s" / "x.tar", members)
    images = find_images(tmp_path / "s")
    assert [images.name(i) for i in range(len(images))] == ["0.jpg", "1.jpg", "2.jpg"]
    write_tar(tmp_path / "s" / "x.tar", [*members, ("2.png", jpeg(5))])
    with pytest.raises(UserError, match=r"the sample 2 in .* has 2 images \(2.jpg, 2.png\)"):
        find_images(tmp_path / "s")


def test_names_with_points_are_images_of_their_own(tmp_path):
    write_tar(tmp_path / "s" / "x.tar", [(f"a/1.{i}.jpg", jpeg(i)) for i in range(3)])
    images = find_images(tmp_path / "s")
    assert [images.name(i) for i in range(3)] == ["a/1.0.jpg", "a/1.1.jpg", "a/1.2.jpg"]


def test_a_name_that_comes_twice_is_named_with_its_shards(tmp_path):
    write_tar(tmp_path / "s" / "x.tar", [("a/1.jpg", jpeg(0)), ("a/1.jpg", jpeg(1))])
    with pytest.raises(UserError, match=r"x.tar holds a/1.jpg twice"):
        find_images(tmp_path / "s")
    for i in range(2):
        write_tar(tmp_path / "t" / f"{i}.tar", [(f"b/{i}.jpg", jpeg(0)), ("a/1.jpg", jpeg(1))])
    with pytest.raises(UserError, match=r"0.tar and .*1.tar both hold a/1.jpg"):
        find_images(tmp_path / "t")
    with pytest.raises(UserError, match="names a shard twice"):
        find_images(f"{tmp_path}/t/{{0,0}}.tar")


def test_what_is_missing_empty_or_damaged_is_one_sentence(folder, tmp_path):
    target = by_webdataset(folder, tmp_path / "s")
    for word, said in [
        (f"{target}/train-{{000000..000009}}.tar", r"train-000005.tar is missing"), (f"{target}/no.tar", "is missing"),
        (f"memory://{target}/absent", "there is no folder memory"), ("nosuch://b/x.tar", "nosuch"),
        ("s3://b/{0..1}", "holds no|another package|cannot be"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=said):
            find_images(word)
    write_tar(tmp_path / "none" / "x.tar", [("a.txt", b"x")])
    with pytest.raises(UserError, match="holds no images"):
        find_images(tmp_path / "none")
    shard = target / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"train-000001.tar is cut off or damaged"):
        find_images(target)
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(UserError, match="is no regular file"):
        find_images(target)


def test_a_folder_of_images_is_no_folder_of_shards(folder):
    write_tar(folder / "x.tar", [("1.jpg", jpeg(0))])
    assert len(find_images(folder)) == 22  # class folders beside it
    flat = folder / "a"
    write_tar(flat / "x.tar", [("1.jpg", jpeg(0))])
    assert same(find_images(flat), list_images(flat))


def test_the_index_is_kept_and_made_anew_when_a_shard_changes(folder, tmp_path, cache):
    target = by_webdataset(folder, tmp_path / "s")
    before = find_images(target).identity()
    (index,) = cache.glob("*.index")
    made = index.stat().st_ino
    assert find_images(target).identity() == before
    assert index.stat().st_ino == made
    shard = target / "train-000002.tar"
    with tarfile.open(shard, "a") as tar:
        tar.add(folder / "a/000.jpg", "d/new.jpg")
    images = find_images(target)
    assert len(images) == 23
    assert images.name(22) == "d/new.jpg"
    content = bytearray(index.read_bytes())
    for place in (5, 40, len(content) - 200):  # magic, header, arrays
        index.write_bytes(bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]))
        assert len(find_images(target)) == 23
    index.write_bytes(bytes(content[:300]))
    assert len(find_images(target)) == 23


def test_a_shard_that_vanishes_is_no_fault_of_its_images(folder, tmp_path):
    images = find_images(by_webdataset(folder, tmp_path / "s"))
    place = next(i for i in range(22) if "train-000001.tar" in images[i])
    (tmp_path / "s" / "train-000001.tar").unlink()
    with pytest.raises(SourceLost, match=r"train-000001.tar can no longer be read .*the same command continues"):
        images.read(place)
