"""A run on shards is the run on their folder: the same key, losses and weights, also when it changes over half-way."""

import json

import pytest

from benchmark.core.errors import RunFailed, UserError
from pretrain.engine.checkpoint import LAST, load_checkpoint
from pretrain.packing.settings import Packing
from pretrain.packing.work import pack
from pretrain.run import main
from tests.faults.zygote import Zygote
from tests.pretrain.images.pictures import jpeg
from tests.pretrain.runs import equal, flags
from tests.pretrain.shards.server import serving
from tests.pretrain.test_resume import at_iteration, kill_when, losses

pytest.importorskip("aiohttp", reason="aiohttp, by which fsspec reads http addresses, is not installed")


@pytest.fixture
def places(tmp_path):
    """A folder of 24 images in three classes, and the shards that it was packed into."""
    for i in range(24):
        path = tmp_path / "data" / "abc"[i % 3] / f"{i:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(i, (50, 40)))
    pack(str(tmp_path / "data"), str(tmp_path / "packed"), Packing(1, None, None), 0, False)
    return tmp_path


def checkpoint(run):
    content = load_checkpoint(run / LAST)
    return {key: value for key, value in content.items() if key not in ("seconds", "config")}  # time, and the path


def test_folder_shards_and_a_server_give_one_run_also_after_a_kill(places):
    """Long, because a real process is killed: its losses must go on from another source as if nothing had happened."""
    whole, moved = places / "whole", places / "moved"
    options = {"method": "kernel_ssl", "epochs": 2, "checkpoint_minutes": 1e-6}
    main(flags(places, places / "data", output=whole, records=places / "r1", **options))
    with serving(places / "packed") as server, Zygote("pretrain") as zygote:
        arguments = flags(places, server.address, output=moved, workers=2, **options)
        kill_when(at_iteration(2), moved, zygote.start(arguments, places / "log"))
    assert load_checkpoint(moved / LAST)["iteration"] < 6
    main(flags(places, places / "packed", output=moved, records=places / "r2", workers=2, **options))
    assert losses(moved) == losses(whole)
    assert equal(checkpoint(moved), checkpoint(whole))
    records = [json.loads(next((places / name).glob("*.json")).read_text()) for name in ("r1", "r2")]
    assert records[0]["id"] == records[1]["id"]
    assert records[0]["data"] == records[1]["data"] == "data"  # the folder's name, also where its shards are read


def test_supervised_training_takes_the_classes_of_the_shards(places):
    options = {"epochs": 1, "method": "supervised"}
    runs = []
    for name in ("data", "packed"):
        arguments = flags(places, places / name, output=places / f"run_{name}", **options)
        main([word for word in arguments if not word.startswith(("--projector", "--predictor"))])
        runs.append(places / f"run_{name}")
    assert losses(runs[0]) == losses(runs[1])
    assert equal(checkpoint(runs[0]), checkpoint(runs[1]))


def test_a_damaged_shard_is_found_before_training(places):
    (shard,) = (places / "packed").glob("*.tar")
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(UserError, match="its index says"):
        main(flags(places, places / "packed"))
    assert not (places / "run").exists()


def test_an_image_that_changed_in_its_shard_is_replaced_and_named(places, capsys):
    (shard,) = (places / "packed").glob("*.tar")
    content = bytearray(shard.read_bytes())
    content[512 + 400] ^= 1  # one bit of the first image's pixels, which still decode
    shard.write_bytes(bytes(content))
    with pytest.raises(RunFailed, match=r"cannot be read"):  # one of 24 is more than 1 %
        main(flags(places, places / "packed", epochs=1))
    assert f"{shard}: a/00.jpg" in capsys.readouterr().err
