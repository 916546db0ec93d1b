"""Which published figure stands beside which measured row, and which rows are two lengths of one recipe."""

import pytest

from benchmark.catalogue.entries import read_zoo
from benchmark.catalogue.lookup import by_name
from benchmark.comparison.methods import METHOD_NAMES
from benchmark.comparison.published import read_published
from benchmark.comparison.rows import detection_tables
from tests.benchmark.test_report import detection, pretrained, tuned
from transfer.checkpoints.signatures import SIGNATURES

PUBLISHED = read_published()


def beside(*records, task="bbox"):
    table = detection_tables(records, PUBLISHED)[0]
    return [
        [(p.values[task, "AP"], p.origin) for p in table.published_rows_beside(row, task)] for row in table.measured
    ]


def of_zoo(identity, name, box, seed=0, protocol="coco-c4-1x", **changes):
    entry = by_name(name)
    known = {"method_source": "zoo", "epochs_source": "zoo" if entry.epochs else None, "total_epochs": None}
    details = {"lr": 0.02, "zoo": name, **changes.pop("details", {})}
    return detection(identity, entry.method, entry.epochs, seed, box, box - 4, protocol=protocol,
                     details=details, file_sha256=f"{identity}{name}", **(known | changes))  # fmt: skip


SWEPT = {"details": {"lr": 0.03, "lr_chosen_by": "sweep"}}


@pytest.mark.parametrize(
    ("method", "epochs", "protocol", "changes", "expected"),
    [
        ("detectron2-random", 0, "coco-c4-1x", {}, [(26.4, "own paper")]),
        ("random", 0, "coco-c4-1x", {}, []),  # the untrained encoder is in no paper
        ("moco_v1", 200, "coco-c4-1x", {}, [(38.5, "own paper"), (38.5, "re-run"), (38.5, "re-run")]),
        ("moco", 200, "coco-c4-1x", {}, []),  # v1 or v2: not known
        ("moco_v2", 800, "coco-c4-1x", {}, [(39.5, "re-run")]),
        ("moco_v2", 400, "coco-c4-1x", {}, []),  # nobody published 400 epochs
        ("moco_v2", 200, "coco-c4-2x", {}, []),  # DetCo's and OpenSelfSup's images are smaller than ours
        ("byol", 200, "coco-c4-1x", {}, []),  # SimSiam's authors searched the learning rate
        ("byol", 200, "coco-c4-1x", SWEPT, [(37.9, "re-run")]),
        ("moco_v1", 200, "coco-c4-1x", SWEPT, []),  # the other way round it is another protocol too
        ("barlow_twins", 1000, "coco-c4-1x", {}, []),
        ("barlow_twins", 1000, "coco-c4-1x", {"details": {"lr": 0.03}}, [(39.2, "own paper")]),
        ("moco_v1", 200, "coco-c4-1x", {"details": {"lr": 0.01}}, []),
        ("moco_v1", 200, "coco-c4-1x", {"protocol_hash": "another"}, []),  # a rescaled batch, say
        ("moco_v1", 200, "coco-c4-1x", {"overrides": {"SOLVER.GAMMA": "0.2"}}, []),
        ("moco_v1", 200, "coco-c4-1x", {"total_epochs": 400}, []),  # half of a longer schedule
        ("moco_v1", 200, "coco-c4-1x", {"method_source": None}, []),  # only the name of a file
        ("supervised-torchvision", None, "coco-c4-1x", {}, []),  # the papers do not say which supervised weights
        ("supervised-torchvision", None, "voc-c4-24k", {"data": "voc"}, [(54.19, "re-run")]),
    ],
)
def test_only_the_same_method_length_and_protocol(method, epochs, protocol, changes, expected):
    assert beside(detection("x", method, epochs, 0, 20.0, 16.0, protocol=protocol, **changes)) == [expected]


def test_files_of_the_catalogue_have_their_own_rows():
    """By the entry's own link, not by the method's name: a re-implementation is another checkpoint."""
    assert beside(of_zoo("a", "moco_v2_800ep", 39.0)) == [[(39.5, "re-run")]]
    assert beside(of_zoo("a", "moco_v2_mmselfsup_200ep", 39.0, protocol="coco-fpn-1x")) == [[]]
    assert beside(of_zoo("a", "intl_multicrop_200ep", 41.0, protocol="coco-c4-2x"), task="segm") != [[]]


def pairs(*records):
    (table,) = detection_tables(records, [])
    return [(a.setting.zoo or a.label, b.setting.zoo or b.label) for a, b in table.length_pairs()]


def test_lengths_of_one_project_are_paired():
    rows = [of_zoo("a", "moco_v2_200ep", 38.0), of_zoo("b", "moco_v2_800ep", 39.0)]
    assert pairs(*rows) == [("moco_v2_200ep", "moco_v2_800ep")]


def test_lengths_of_different_projects_are_not_paired():
    """MoCo v2 at 200 epochs of one project and at 800 of another differ in more than the length."""
    assert pairs(of_zoo("a", "moco_v2_mmselfsup_200ep", 38.0), of_zoo("b", "moco_v2_800ep", 39.0)) == []
    assert pairs(of_zoo("a", "swav_400ep_b256", 38.0), of_zoo("b", "swav_800ep", 39.0)) == []


@pytest.mark.parametrize("source", ["file", "stated", None])
def test_foreign_weights_of_unknown_recipe_are_never_paired(source):
    known = {"method_source": source, "epochs_source": source}
    rows = [
        detection(f"{epochs}-{seed}", "moco_v2", epochs, seed, 38.0 + epochs / 400 + seed / 10, 34.0,
                  file_sha256=f"f{epochs}", **known)
        for epochs in (200, 800) for seed in range(3)
    ]  # fmt: skip
    assert pairs(*rows) == []
    # Nor with one whose recipe is known.
    sources = [pretrained("p", "a", 400), pretrained("q", "b", 800)]
    assert pairs(*sources, tuned("x", "a", 400, 0, 38.0), tuned("z", "other", 800, 0, 39.0)) == []
    assert len(pairs(*sources, tuned("x", "a", 400, 0, 38.0), tuned("y", "b", 800, 0, 38.5))) == 1


def test_table_says_what_is_stated_by_the_user_only():
    stated = {"method_source": "stated", "epochs_source": "stated"}
    rows = [
        detection("a", "byol", 300, 0, 38.0, 34.0, file_sha256="a", **stated),
        detection("b", "byol", 300, 0, 38.5, 34.5, file_sha256="b"),
    ]
    (table,) = detection_tables(rows, [])
    labels = {row.label.split(" (")[0] + str("stated by user" in row.label): row for row in table.measured}
    assert labels["BYOLTrue"].setting.epochs_label == "300 (stated by user)"
    assert labels["BYOLFalse"].setting.epochs_label == "300"


def test_entries_of_one_length_are_two_rows_with_their_names():
    (table,) = detection_tables([of_zoo("a", "simsiam_100ep_b512", 38.0), of_zoo("b", "simsiam_100ep_b256", 38.5)], [])
    assert [row.label for row in table.measured] == [
        "SimSiam (zoo:simsiam_100ep_b256)",
        "SimSiam (zoo:simsiam_100ep_b512)",
    ]


def test_catalogue_is_found_by_the_hash_of_the_file():
    record = detection("a", "supervised-torchvision", None, 0, 38.0, 34.0, file_sha256="11ad3fa6" + "0" * 56)
    (table,) = detection_tables([record], [])
    assert table.measured[0].setting.zoo == "supervised_torchvision_v2"


def test_methods_of_the_catalogue_and_of_files_have_names_for_people():
    methods = {entry.method for entry in read_zoo()} | {signature.method for signature in SIGNATURES}
    assert methods - set(METHOD_NAMES) == set()
