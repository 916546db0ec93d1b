"""The shipped catalogue itself, its look-ups, and the command that lists it."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from benchmark.catalogue import cache as caching
from benchmark.catalogue.entries import LAYOUTS, ZOO, Entry, page_host, read_zoo
from benchmark.catalogue.lookup import by_hash, by_name, choose, series
from benchmark.comparison.published import read_figures
from benchmark.core.errors import UserError, run_command
from benchmark.zoo import main

ROOT = Path(__file__).resolve().parents[3]
RAW = ROOT.parent / "shared" / "zoo.csv"
BUNDLES = {  # rows of the raw list that are shared folders, and the entries they became
    "soco_c4_fpn_100_400ep": {
        "soco_c4_100ep",
        "soco_c4_400ep",
        "soco_fpn_100ep",
        "soco_fpn_400ep",
        "soco_fpn_star_400ep",
    },
    "infomin_200_800ep": {"infomin_200ep", "infomin_800ep", "infomin_800ep_run2", "moco_v2_pycontrast_200ep"},
}
ENTRIES = read_zoo()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_is_complete(entry):
    if entry.access == "none":
        assert entry.url is None
        assert entry.note
        return
    parts = urlsplit(entry.url)
    assert (parts.scheme, bool(parts.hostname), bool(parts.path.strip("/"))) == ("https", True, True)
    assert (page_host(entry.url) is None) or entry.access in ("hand", "other")
    assert re.match(r"[\w.-]+/[\w.-]+@[0-9a-f]{7,40} \S|[\w.-]+/[\w.-]+ \S|torchvision \d|detectron2@", entry.source)
    if entry.access == "direct":
        assert entry.file == parts.path.rsplit("/", 1)[-1]
        assert entry.layout in LAYOUTS
    if entry.access == "hand" and entry.layout is None:
        assert "layout" in entry.note
    if entry.epochs is not None:  # a name never says other epochs than the entry
        assert f"{entry.epochs}ep" in entry.name or not re.search(r"\d+ep", entry.name)


def test_names_addresses_and_hashes_are_unique():
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES) == 130
    direct = [entry.url for entry in ENTRIES if entry.access == "direct"]
    assert len(set(direct)) == len(direct) == 87
    hashes = [entry.sha256 or entry.md5 for entry in ENTRIES if entry.sha256 or entry.md5]
    assert len(set(hashes)) == len(hashes) == 19
    assert not any(a != b and a.startswith(b) for a in hashes for b in hashes)


def test_files_of_one_name_do_not_meet_in_the_cache():
    paths = [caching.path_of(entry) for entry in ENTRIES if entry.access in ("direct", "hand")]
    assert len(set(paths)) == len(paths)
    assert len([path for path in paths if path.name == "epoch%3D99-step%3D500400.ckpt"]) == 8


def test_published_hash_is_the_one_in_the_files_own_name():
    """torchvision and MMSelfSup write the first eight digits of the SHA-256 into the name."""
    told = [entry for entry in ENTRIES if entry.sha256]
    assert len(told) == 16
    assert all(re.search(rf"-{entry.sha256}\.pth$", entry.file) for entry in told)


def test_epochs_that_the_source_does_not_state_are_null():
    unknown = {entry.name for entry in ENTRIES if entry.epochs is None and entry.access != "none"}
    assert unknown >= {"vicreg_1000ep", "dino_r50", "vicregl_alpha0.9", "msf_200ep", "spark_r50_1600ep", "detcon_b_r50"}
    assert by_name("densecl_coco_800ep").trained_on == "COCO"
    assert by_name("twist_850ep").epochs == 850


@pytest.mark.skipif(not RAW.is_file(), reason="the raw list is not part of the project")
def test_every_raw_row_became_an_entry():
    with open(RAW, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 119
    names = {entry.name: entry for entry in ENTRIES}
    for row in rows:
        if row["name"] in BUNDLES:
            assert set(names) >= BUNDLES[row["name"]]
            continue
        entry = names[row["name"]]
        assert (entry.url or "") == row["url"]
        if row["epochs"].isdecimal():
            assert entry.epochs == int(row["epochs"])
        if row["md5_or_sha"]:
            assert row["md5_or_sha"] in (f"sha256:{entry.sha256}", f"md5:{entry.md5}")


def test_published_names_are_rows_of_the_published_figures():
    known = {(figure.method, figure.variant, figure.epochs) for figure in read_figures()}
    linked = [entry for entry in ENTRIES if entry.published]
    assert len(linked) > 50
    told = {entry.name: (entry.published.method, entry.published.variant, entry.published.epochs) for entry in linked}
    assert {name for name, row in told.items() if row not in known} == set()
    assert {entry.name for entry in linked if entry.epochs != entry.published.epochs} == set()


def entry(**changes):
    base = {"name": "a", "method": "moco_v2", "epochs": 200, "access": "direct", "url": "https://x.org/a.pth",
            "file": "a.pth", "layout": "moco", "licence": None, "source": "a/b@1234567 README"}  # fmt: skip
    return base | changes


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epochs": "200"}, "epochs"),
        ({"epochs": None}, "need a note"),
        ({"url": "http://x.org/a.pth"}, "url"),
        ({"url": None}, "has a url"),
        ({"url": "https://drive.google.com/file/d/1/view"}, "access is 'hand'"),
        ({"layout": "mine"}, "layout"),
        ({"file": "../a.pth"}, "file"),
        ({"file": None}, "file name"),
        ({"sha256": "abc"}, "sha256"),
        ({"colour": "blue"}, "colour"),
        ({"source": ""}, "source"),
    ],
)
def test_wrong_entries_are_named(tmp_path, changes, sentence):
    path = tmp_path / "zoo.yaml"
    path.write_text(yaml.safe_dump([entry(**changes)]))
    with pytest.raises(UserError, match=sentence):
        read_zoo(path)


def test_licence_must_be_stated_or_null(tmp_path):
    told = entry()
    del told["licence"]
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump([told]))
    with pytest.raises(UserError, match="licence"):
        read_zoo(tmp_path / "zoo.yaml")


def test_name_given_twice_is_refused(tmp_path):
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump([entry(), entry()]))
    with pytest.raises(UserError, match="names a more than once"):
        read_zoo(tmp_path / "zoo.yaml")


@pytest.mark.parametrize(
    ("asked", "near"), [("moco_v2_400ep", "moco_v2_200ep"), ("mocov2_800ep", "moco_v2_800ep"), ("swav", "swav_100ep"),
                        ("soco_c4_fpn_100_400ep", "soco_c4_400ep"), ("infomin", "infomin_800ep")]
)  # fmt: skip
def test_unknown_name_gets_near_ones(asked, near):
    with pytest.raises(UserError, match=rf"the zoo has no '{asked}'; near names are .*{near}"):
        by_name(asked)


def test_hash_finds_the_entry_by_its_first_digits_or_all():
    moco = by_name("moco_v2_800ep")
    assert by_hash("0" * 64, "a04e12f8" + "0" * 24) == moco
    assert by_hash("0" * 64) is None
    assert by_hash("11ad3fa6" + "0" * 56).name == "supervised_torchvision_v2"
    assert by_hash("011ad3fa6" + "0" * 55) is None


def test_series_are_one_recipe_at_several_lengths():
    found = {(s[0].method, s[0].project, s[0].variant): [e.epochs for e in s] for s in series(ENTRIES)}
    assert found["moco_v2", "facebookresearch/moco", None] == [200, 800]
    assert found["moco_v3", "facebookresearch/moco-v3", None] == [100, 300, 1000]
    assert found["swav", "facebookresearch/swav", None] == [100, 200, 400, 800]
    assert found["swav", "facebookresearch/swav", "batch 256"] == [200, 400]
    assert found["densecl", "WXinlong/DenseCL", None] == [800, 1600]  # of COCO; 200 of ImageNet is no shorter run of it
    assert not any(method == "vicreg" for method, _, _ in found)
    assert all(len(set(lengths)) == len(lengths) > 1 for lengths in found.values())


def test_filters_go_together():
    names = {
        e.name for e in choose(ENTRIES, method="swav", epochs=400, licence="cc-by-nc", source="facebookresearch/swav")
    }
    assert names == {"swav_400ep", "swav_400ep_b256", "swav_400ep_no_multicrop"}
    assert {e.licence for e in choose(ENTRIES, licence="none")} == {None}
    with pytest.raises(UserError, match="did you mean 'moco_v2'"):
        choose(ENTRIES, method="mocov2")


def test_listing_fits_eighty_columns(cache, capsys):
    for argv in ([], ["--pairs"], ["--method", "simclr"], ["--check"]):
        assert main(argv) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if str(cache) not in line]
        assert max(map(len, lines)) <= 80


def test_command_answers_by_json(cache, capsys):
    main(["--json", "--epochs", "800"])
    told = json.loads(capsys.readouterr().out)
    assert {entry["epochs"] for entry in told} == {800}
    assert {"name", "url", "licence", "project", "cached"} <= told[0].keys()
    main(["--pairs", "--json", "--method", "moco_v3"])
    told = json.loads(capsys.readouterr().out)
    assert [length["epochs"] for length in told[0]["lengths"]] == [100, 300, 1000]


def test_named_entry_is_shown_in_full(cache, capsys):
    main(["zoo:moco_v2_800ep"])
    text = capsys.readouterr().out
    assert all(part in text for part in ("CC-BY-NC-4.0 (README) or MIT (LICENSE)", "MD5 a04e12f8", str(cache)))


@pytest.mark.parametrize("argv", [["no_such"], ["--pairs", "--check"], ["--download"], ["--method", "x"]])
def test_mistakes_end_with_exit_code_2(cache, capsys, argv):
    assert run_command(main, argv) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_command_needs_no_torch(tmp_path):
    code = "import sys; import benchmark.zoo as z; z.main(['--pairs']); print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip() == "False"


def test_entries_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        ENTRIES[0].epochs = 1
    assert isinstance(ENTRIES[0], Entry)
    assert ZOO.name == "zoo.yaml"
