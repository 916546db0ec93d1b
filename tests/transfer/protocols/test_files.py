"""Protocol files: what they may hold, inheritance, and the way back from a dump."""

import pytest
import yaml
from detectron2.config import get_cfg

from benchmark.core.errors import UserError
from tests.transfer.protocols.resolving import (
    data,
    refused,
    resolve,
    write,
)
from transfer.protocols.files import dump, leaves, load_protocol_file
from transfer.protocols.names import FOLDER, PROTOCOLS


def test_protocols_are_the_files_that_are_no_base():
    files = {path.stem for path in FOLDER.glob("*.yaml")}
    assert {name for name in files if not name.startswith("base-")} == set(PROTOCOLS)
    assert {name for name in files if name.startswith("base-")} == {"base-c4", "base-fpn"}
    refused("--protocol", "base-c4", name="base-c4")
    refused("coco-c4-1x", name="coco-c4-1")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_file_says_its_version_and_leaves_weights_data_and_convention_out(path):
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert own["VERSION"] == 2
    found = set(leaves(own))
    assert not found & {"MODEL.WEIGHTS", "INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "SEED", "OUTPUT_DIR"}
    assert not found & {"MODEL.RESNETS.STRIDE_IN_1X1", "MODEL.DEVICE", "DATASETS.TRAIN", "DATASETS.TEST"}
    assert found - {"_BASE_"} <= set(leaves(get_cfg()))
    assert "See Instructions" not in path.read_text(encoding="utf-8")


# As in VISSL's files: the second MODEL wins in PyYAML and yacs, and the norm of the first vanishes.
TWO_MODELS = "MODEL:\n  RESNETS: {NORM: SyncBN}\nSOLVER: {MAX_ITER: 100}\nMODEL:\n  MASK_ON: True\n"
NESTED_TWICE = "MODEL:\n  RESNETS:\n    NORM: SyncBN\n    DEPTH: 50\n    NORM: BN\n"


@pytest.mark.parametrize(("text", "key", "line"), [(TWO_MODELS, "MODEL", 4), (NESTED_TWICE, "NORM", 5)])
def test_duplicate_keys_are_refused_also_in_a_base(tmp_path, text, key, line):
    bad = write(tmp_path, "bad.yaml", text)
    heir = write(tmp_path, "heir.yaml", "_BASE_: bad.yaml\nVERSION: 2\n")
    heir_of_heir = write(tmp_path, "third.yaml", "_BASE_: heir.yaml\nVERSION: 2\n")
    for path in (bad, heir, heir_of_heir):
        with pytest.raises(UserError, match=f"bad.yaml.*duplicate key '{key}'.*line {line}"):
            load_protocol_file(path)
        refused("duplicate key", "bad.yaml", name=str(path))


def test_a_base_is_inherited_and_its_lists_are_replaced(tmp_path):
    write(
        tmp_path, "low.yaml", "SOLVER:\n  STEPS: (10, 20)\n  MAX_ITER: 30\n  WARMUP_ITERS: 5\nMODEL: {MASK_ON: True}\n"
    )
    (tmp_path / "sub").mkdir()
    path = write(tmp_path / "sub", "high.yaml", "_BASE_: ../low.yaml\nSOLVER:\n  STEPS: (25,)\n")
    loaded = load_protocol_file(path)
    assert leaves(loaded) == {
        "SOLVER.STEPS": "(25,)",
        "SOLVER.MAX_ITER": 30,
        "SOLVER.WARMUP_ITERS": 5,
        "MODEL.MASK_ON": True,
    }
    protocol = resolve(str(path))
    assert (protocol.name, protocol.task, protocol.cfg.SOLVER.STEPS) == ("high", "coco", (25,))
    plain = write(tmp_path, "plain.yaml", "SOLVER: {STEPS: [], MAX_ITER: 9, WARMUP_ITERS: 0}\n")
    assert resolve(str(plain)).task == "voc"
    assert resolve(str(plain), data=data()).task == "coco"


def test_a_long_path_is_named_to_its_end(tmp_path):
    """What tells it from others is its end; on clusters 100 characters before it are usual."""
    refused("an-absent-protocol.yaml;", name=str(tmp_path / ("project/" * 15) / "an-absent-protocol.yaml"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("_BASE_: mine.yaml\n", ["inherits from itself"]),
        ("_BASE_: [a.yaml]\n", ["_BASE_", "one file"]),
        ("_BASE_: gone.yaml\n", ["gone.yaml"]),
        ("- 1\n", ["no protocol"]),
        ("SOLVER: {STEPS: (10, 20)}\n", ["SOLVER.20)"]),
        ("SOLVER: {MAX_ITERS: 5}\n", ["SOLVER.MAX_ITERS", "'SOLVER.MAX_ITER'"]),
        ("SOLVER: {MAX_ITER: many}\n", ["SOLVER.MAX_ITER", "mine.yaml"]),
        ("SOLVER: 5\n", ["SOLVER", "mine.yaml"]),
        ("SOLVER:\n  MAX_ITER:\n", ["SOLVER.MAX_ITER", "empty"]),
        ("SOLVER: {MAX_ITER: 2020-01-01}\n", ["SOLVER.MAX_ITER", "mine.yaml"]),
        ("VERSION: 1\n", ["version 1"]),
        ("MODEL: {WEIGHTS: See Instructions}\nSOLVER: {STEPS: []}\n", ["MODEL.WEIGHTS", "--weights"]),
        ("SOLVER: {STEPS: [], REFERENCE_WORLD_SIZE: 8}\n", ["REFERENCE_WORLD_SIZE"]),
        ("SOLVER: {STEPS: [50000]}\n", ["SOLVER.STEPS", "SOLVER.MAX_ITER 40000"]),
    ],
)
def test_what_else_a_file_may_not_hold(tmp_path, text, parts):
    refused(*parts, name=str(write(tmp_path, text=text)))


ONCE = [
    {},
    {"ims_per_batch": 4},
    {"ims_per_batch": 4, "world_size": 2, "lr": 0.03},
    {"world_size": 8, "seed": 5, "output": "somewhere", "device": "cuda", "precision": "bf16"},
    {"overrides": ["SOLVER.MAX_ITER", "85000", "INPUT.MIN_SIZE_TRAIN", "(320,)"], "ims_per_batch": 16},
    {"data": data(class_names=("a", "b"), mask_format="bitmask")},
]


@pytest.mark.parametrize("options", ONCE)
@pytest.mark.parametrize("name", ["coco-c4-1x", "coco-fpn-4conv-1x"])
def test_resolving_a_dumped_config_changes_nothing(tmp_path, name, options):
    first = resolve(name, **options)
    path = write(tmp_path, "config.yaml", dump(first.cfg))
    # The same call, whose rescaling must not act a second time, and a call that says nothing but where it runs.
    bare = {key: options[key] for key in ("world_size", "seed", "output", "device") if key in options}
    for again in (resolve(str(path), **options), resolve(str(path), **bare)):
        assert again.cfg == first.cfg
        assert again.hash == first.hash
        assert again.arithmetic == ()
        assert dump(again.cfg) == dump(first.cfg)


def test_detectron2_reads_the_dump_as_the_same_config(tmp_path):
    protocol = resolve("coco-fpn-4conv-1x", ims_per_batch=2, data=data())
    path = write(tmp_path, "config.yaml", dump(protocol.cfg))
    theirs = get_cfg()
    theirs.merge_from_file(str(path))
    assert theirs == protocol.cfg
    assert "STEPS: (480000, 640000)" in dump(protocol.cfg)
    assert "OUTPUT_DIR: Läufe\n" in dump(resolve(output="Läufe").cfg)
    assert "&id" not in dump(protocol.cfg)  # YAML's references between equal values are for machines


def test_long_values_of_a_dump_are_folded_at_120_characters():
    """A line ends with the first word that reaches beyond them, here of one letter; the value stays one."""
    words = " ".join("a" * 100)
    text = dump(resolve(output=words).cfg)
    assert max(map(len, text.splitlines())) == 121
    assert yaml.safe_load(text)["OUTPUT_DIR"] == words
