"""Lists of images: order, links, what is no image, identity, memory; classes from folders."""

import os
import pickle
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from benchmark.core.errors import UserError
from pretrain.images.labels import labels_from_folders
from pretrain.images.listing import PathList, list_images
from tests.pretrain.images.pictures import jpeg


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


def test_names_are_sorted_as_whole_paths(tmp_path):
    """A folder's name ends with a slash there, which sorts between the point and the letters."""
    for name in ["a.jpg", "a/1.jpg", "a b/1.jpg", "a-b/1.jpg", "ab/1.jpg", "a/b.jpg", "a/b/c.jpg", "Z/1.jpg", "a0.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = relative(tmp_path, list_images(tmp_path))
    assert len(found) == 9
    assert found == sorted(found)


def test_what_is_no_regular_file_is_passed_over(folder):
    os.mkfifo(folder / "a" / "pipe.jpg")
    (folder / "a" / "device.jpg").symlink_to("/dev/zero")
    (folder / "a" / "to_pipe.jpg").symlink_to(folder / "a" / "pipe.jpg")
    (folder / "a" / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(folder / "a")  # a socket's path is short
        listener.bind("socket.jpg")
        os.chdir(here)
        assert len(list_images(folder)) == 22
    (folder / "a" / "itself.jpg").symlink_to("itself.jpg")  # as a link to nowhere: counted when it cannot be read
    assert len(list_images(folder)) == 23


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list any folder")
def test_a_folder_that_cannot_be_listed_is_named(folder):
    (folder / "b").chmod(0)
    try:
        with pytest.raises(UserError, match=r"b cannot be listed .*permissions"):
            list_images(folder)
    finally:
        (folder / "b").chmod(0o755)


def test_folders_as_deep_as_paths_can_be(tmp_path):
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1500):  # deeper than Python's stack
            os.mkdir("d")
            os.chdir("d")
        Path("1.jpg").write_bytes(b"")
    finally:
        os.chdir(here)
    assert relative(tmp_path, list_images(tmp_path)) == ["d/" * 1500 + "1.jpg"]
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # pytest's own clean-up recurses


def test_an_empty_name_is_not_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match="--data is empty"):
        list_images("")
    assert len(list_images(".")) == 22


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_every_name_comes_back(count):
    names = [f"n{i % 7}/\udcff{i}.JPEG" if i % 3 else f"ü{i}.jpg" for i in range(count)]
    paths = PathList("/data", names)
    assert len(paths) == count
    assert [paths.name(i) for i in range(count)] == names
    order = np.random.default_rng(0).permutation(count)
    assert [paths[int(i)] for i in order] == [os.path.join("/data", names[i]) for i in order]
    for index in (count, -1):
        with pytest.raises(IndexError):
            paths[index]
    again = pickle.loads(pickle.dumps(paths))
    assert [again.name(i) for i in range(count)] == names
    if count:
        assert again.identity() == paths.identity()


def test_a_million_paths_take_few_bytes_each():
    names = [f"n{i // 1300:08d}/n{i // 1300:08d}_{(i * 37) % 48_000}.JPEG" for i in range(200_000)]
    size = len(pickle.dumps(PathList("/data", names)))  # what a spawned worker is sent
    assert size < 8 * len(names)  # of 30 characters each


# --- Classes ------------------------------------------------------------------------------------------------------


def test_classes_are_those_of_image_folder(tmp_path):
    for name in ["b/1.jpg", "a/x/2.jpg", "a/1.jpg", "a b/1.jpg", "a-b/1.jpg", "a.b/1.jpg", "Z/3.jpg", "Z/2.jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    theirs = ImageFolder(str(tmp_path))
    paths = list_images(tmp_path)
    ours = labels_from_folders(paths)
    assert list(ours.classes) == theirs.classes
    assert ours.numbers.dtype == np.int32  # 56 MB for 14 million
    assert {paths[i]: int(number) for i, number in enumerate(ours.numbers)} == dict(theirs.samples)


def test_classes_of_a_limited_list(folder):
    paths = list_images(folder, 7)
    labels = labels_from_folders(paths)
    assert labels.classes == ("a", "b", "c")
    assert ["abc"[number] for number in labels.numbers] == [paths.name(i)[0] for i in range(7)]


def test_images_without_a_class_and_one_class_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="only the class 'images'"):
        labels_from_folders(list_images(tmp_path))
    (folder / "loose.jpg").write_bytes(jpeg(0))
    with pytest.raises(UserError, match=r"loose.jpg lies directly in .*one folder a class"):
        labels_from_folders(list_images(folder))
