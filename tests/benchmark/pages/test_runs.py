"""Curves and pictures from run folders: what is read, how much of it, and what is passed over."""

import base64
import io
import itertools
import json

import pytest
from PIL import Image

from benchmark.core.folder import METRICS_FILE
from benchmark.pages.runs import RunFolder, curve, picture


def run(folder, lines):
    """Return a run whose metrics are these lines."""
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    (folder / METRICS_FILE).write_text(text)
    return RunFolder(None, folder)


def test_a_curve_is_over_epochs_or_else_iterations(tmp_path):
    lines = [{"iteration": 5, "epoch": 0.5, "loss": 2}, {"iteration": 10, "loss": 1.5}, {"loss": 1}, {"epoch": 2}]
    assert curve(run(tmp_path, lines), "loss") == ([0.5, 10.0], [2.0, 1.5])
    assert curve(RunFolder(None, tmp_path / "absent"), "loss") == ([], [])


def test_what_is_no_number_is_passed_over(tmp_path):
    lines = [{"epoch": n, "loss": value} for n, value in enumerate([1.0, True, None, "2", float("nan"), float("inf")])]
    lines += ["not json\n", "[1, 2]\n", "[" * 9999 + "\n", {"epoch": False, "loss": 1.0}, {"epoch": 9, "loss": 3.0}]
    assert curve(run(tmp_path, lines), "loss") == ([0.0, 9.0], [1.0, 3.0])


@pytest.mark.parametrize(("points", "kept"), [(300, 300), (599, 599), (600, 300), (900, 300), (1000, 334)])
def test_long_curves_are_thinned_evenly(points, kept, tmp_path):
    x, y = curve(run(tmp_path, [{"epoch": n, "loss": n} for n in range(points)]), "loss")
    assert len(x) == len(y) == kept
    assert x[0] == 0
    assert {b - a for a, b in itertools.pairwise(x)} == {max(1, points // 300)}


@pytest.mark.parametrize(("more", "points"), [(0, 1), (1, 0)])
def test_metrics_beyond_64_mib_are_not_read(more, points, tmp_path):
    found = run(tmp_path, [{"epoch": 1, "loss": 1}])
    with open(tmp_path / METRICS_FILE, "r+b") as file:
        file.truncate(64 * 2**20 + more)  # holds no bytes on the disk
    assert len(curve(found, "loss")[0]) == points


@pytest.mark.parametrize(
    ("size", "shown"),
    [((300, 200), (300, 200)), ((2000, 1000), (1000, 500)), ((500, 1500), (500, 1400)), ((10, 9000), (4, 1400))],
)
def test_pictures_are_made_small_enough_for_the_page(size, shown, tmp_path):
    Image.new("RGB", size, "teal").save(tmp_path / "predictions.png")
    address = picture(RunFolder(None, tmp_path))
    head, _, content = address.partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert (image.size, image.format) == (shown, "JPEG")
        assert image.getpixel((1, 1)) == pytest.approx((0, 128, 128), abs=3)


def test_a_damaged_picture_is_none(tmp_path):
    assert picture(RunFolder(None, tmp_path)) is None
    (tmp_path / "predictions.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert picture(RunFolder(None, tmp_path)) is None
