"""What packing will write and how long it takes, before anything is written."""

import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

from benchmark.core.folder import check_writable
from pretrain.images.collection import Images
from pretrain.packing.prepare import prepare
from pretrain.packing.settings import Packing
from pretrain.shards.find import find_images
from pretrain.shards.tar_members import BLOCK

SAMPLE, SECONDS = 64, 5.0  # images that are prepared to measure, and the time for it


def print_plan(folder: str, shards: str, how: Packing, workers: int) -> None:
    """Print the images, bytes, shards and time of a packing.

    Raises:
        UserError: there are no images, or the folder of shards cannot be written.
    """
    images = find_images(folder)
    check_writable(shards, "folder of shards")
    total, unreadable = _bytes_of(images)
    seconds, ratio = _measured(images, how)
    written = total * ratio + 2 * BLOCK * len(images)
    count = max(1, -(-int(written) // how.shard_bytes))
    share = seconds * len(images) / max(1, min(workers, os.cpu_count() or 1))
    about = "about " if how.resize else ""
    there = Path(shards).absolute()
    while not there.exists():
        there = there.parent
    print(f"images   {len(images):,}, {total / 1e9:.3g} GB" + (f"; {unreadable:,} have no size" if unreadable else ""))
    print(f"shards   about {count:,} of {how.shard_mb} MB, {about}{written / 1e9:.3g} GB in {shards}")
    if how.resize:
        print(f"resized  to a shorter side of {how.resize} px, quality {how.quality}; smaller images stay as they are")
    print(f"time     about {timedelta(seconds=round(share))} with {workers} workers ({seconds * 1e3:.3g} ms an image)")
    print(f"disk     {shutil.disk_usage(there).free / 1e9:.3g} GB free")


def _bytes_of(images: Images) -> tuple[int, int]:
    """Return the bytes of all images, and how many have no size: links to nowhere, say."""
    total, without = 0, 0
    for number in range(len(images)):
        try:
            total += images.size(number)
        except OSError:
            without += 1
    return total, without


def _measured(images: Images, how: Packing) -> tuple[float, float]:
    """Return seconds an image, and the bytes that it has when packed over those that it has now."""
    begin, done, before, after = time.perf_counter(), 0, 0, 0
    count = min(SAMPLE, len(images))
    for place in range(count):
        number = place * len(images) // count
        made = prepare(images, number, how)
        done += 1
        if made.content is not None:
            before, after = before + images.size(number), after + len(made.content)
        if time.perf_counter() - begin > SECONDS:
            break
    return (time.perf_counter() - begin) / done, after / before if before else 1.0
