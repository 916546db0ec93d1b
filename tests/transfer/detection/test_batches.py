"""Training batches: the order of Detectron2's sampler in kind, exact resuming, augmentation by position alone."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.core.errors import RunFailed
from benchmark.embedded.composer import write_coco_split
from transfer.checkpoints.convention import RGB
from transfer.datasets.dataset import open_data
from transfer.detection.batches import STATISTICS, TrainingBatches, training_dicts, training_loader
from transfer.protocols.resolve import resolve_protocol

N = 23
WIDE = np.array([i % 3 == 0 for i in range(N)])


def batches(start=0, stop=30, batch=2, grouped=True, seed=1, rank=0, world=1, **options):
    return list(
        TrainingBatches(
            WIDE, batch, grouped=grouped, seed=seed, rank=rank, world=world, start=start, stop=stop, **options
        )
    )


def test_a_resumed_order_is_the_rest_of_the_whole_one():
    whole = batches()
    assert len(whole) == 30
    for start in (1, 7, 29):
        assert batches(start=start) == whole[start:]
    assert batches(stop=12) == whole[:12]


def test_every_epoch_is_a_permutation_and_epochs_differ():
    stream = list(itertools.chain.from_iterable(batches(stop=N, batch=2, grouped=False)))
    assert [position for position, _ in stream] == list(range(2 * N))
    first, second = ([index for _, index in stream[i * N : (i + 1) * N]] for i in (0, 1))
    assert sorted(first) == sorted(second) == list(range(N))
    assert first != second
    assert first != sorted(first)


def test_images_of_a_batch_agree_in_orientation_only_when_grouped():
    assert all(len({WIDE[index] for _, index in batch}) == 1 for batch in batches())
    assert any(len({WIDE[index] for _, index in batch}) == 2 for batch in batches(grouped=False))


def test_grouping_loses_no_image():
    seen = {position for batch in batches(stop=40) for position, _ in batch}
    assert len(seen) == 80
    assert max(seen) <= 80 + 1  # at most one image waits in the other group


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_stream_of_one(world):
    alone = list(itertools.chain.from_iterable(batches(stop=8 * world, batch=1, grouped=False)))
    shared = [batches(stop=8, batch=1, grouped=False, rank=rank, world=world) for rank in range(world)]
    dealt = sorted(itertools.chain.from_iterable(itertools.chain.from_iterable(shared)))
    assert dealt == alone


def test_seed_and_purpose_change_the_order():
    assert batches(seed=2) != batches()
    assert batches(purpose=STATISTICS) != batches()


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    write_coco_split(root, "train2017", "train", 6, 64, 0)
    write_coco_split(root, "val2017", "val", 2, 64, 0)
    protocol = resolve_protocol("embedded", family="random", convention=RGB, data=open_data("coco", str(root)))
    return protocol.cfg


def loaded(cfg, workers=0, start=0, stop=4, seed=3):
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.NUM_WORKERS = workers
    cfg.INPUT.MIN_SIZE_TRAIN = (40, 48, 56, 64, 72)
    dicts = training_dicts(cfg)
    return list(training_loader(cfg, dicts, seed=seed, rank=0, world=1, start=start, stop=stop))


def same(a, b):
    pairs = [(x, y) for first, second in zip(a, b, strict=True) for x, y in zip(first, second, strict=True)]
    return all(
        x["file_name"] == y["file_name"]
        and x["image"].shape == y["image"].shape
        and torch.equal(x["image"], y["image"])
        and torch.equal(x["instances"].gt_boxes.tensor, y["instances"].gt_boxes.tensor)
        for x, y in pairs
    )


def test_pixels_depend_on_seed_and_position_alone(cfg):
    whole = loaded(cfg)
    shapes = {tuple(item["image"].shape) for batch in whole for item in batch}
    assert len(shapes) > 1  # the augmentation does vary
    np.random.seed(99)  # what others draw does not matter
    assert same(whole, loaded(cfg, workers=2))
    assert same(whole[2:], loaded(cfg, start=2, workers=1))
    assert not same(whole, loaded(cfg, seed=4))


def test_the_loader_leaves_the_global_generator_alone(cfg):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    loaded(cfg, workers=1, stop=2)
    assert torch.rand(1) == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_stops_the_run_with_its_name(cfg, tmp_path, workers):
    dicts = training_dicts(cfg)
    bad = tmp_path / "bad.png"
    bad.write_bytes(Path(dicts[0]["file_name"]).read_bytes()[:100])
    for record in dicts:
        record["file_name"] = str(bad)
    changed = cfg.clone()
    changed.defrost()
    changed.DATALOADER.NUM_WORKERS = workers
    with pytest.raises(RunFailed, match=r"bad\.png cannot be used for training"):
        next(training_loader(changed, dicts, seed=0, rank=0, world=1, start=0, stop=2))
