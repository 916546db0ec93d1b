"""What opens behind a figure, the addresses of sources, and how much of each the page holds."""

import shlex

import pytest

from benchmark.comparison.rows import detection_tables
from benchmark.pages.build import build_page
from benchmark.pages.details import command_of, details_of, details_of_all, duration
from benchmark.pages.grids import address_of, results_grid, slug
from benchmark.pages.view import Cell, Column, Grid, Row
from tests.benchmark.pages.example_records import detection


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (25560, "7.1 h")],
)
def test_wall_times_are_in_the_unit_that_people_use(seconds, text):
    assert duration(seconds) == text


def test_the_command_repeats_the_run():
    config = {
        "weights": "a b.pth", "ims_per_batch": 8, "resume": False, "dry_run": True, "lr": None, "records": "",
        "keep_epochs": [1, 2], "overrides": ["SOLVER.MAX_ITER", 10], "empty": [],
    }  # fmt: skip
    words = shlex.split(command_of(detection("byol", 400, 0, 37.0, config=config)))
    assert words == [
        *("python", "transfer/coco.py", "--weights", "a b.pth", "--ims-per-batch", "8", "--no-resume", "--dry-run"),
        *("--keep-epochs", "1,2", "SOLVER.MAX_ITER", "10"),
    ]
    assert command_of(detection("byol", 400, 0, 37.0, config={})) == ""
    assert command_of(detection("byol", 400, 0, 37.0, kind="imported", config=config)) == ""
    voc = command_of(detection("byol", 400, 0, 37.0, protocol="voc-c4-24k"))
    assert voc.startswith("python transfer/voc.py")


def test_a_long_configuration_is_cut_at_six_thousand_characters():
    found = details_of(detection("byol", 400, 0, 37.0, config={"note": "x" * 9000}))
    assert len(found["config"]) == 6000
    assert details_of(detection("byol", 400, 0, 37.0), with_config=False)["config"] == ""


def test_the_page_holds_two_thousand_records_and_four_hundred_configurations():
    records = [detection("byol", 400, seed, 37.0) for seed in range(2005)]
    cells = (Cell("37.0", records=tuple(record.id for record in records)),)
    grid = Grid("g", "title", (Column("AP"),), (Row(cells, "byol", None),))
    found = details_of_all([*records, detection("mec", 400, 0, 37.0)], [grid])
    assert len(found) == 2000
    assert sum(bool(one["config"]) for one in found.values()) == 400
    assert records[0].id in found


def test_a_figure_opens_thirty_records_and_counts_all():
    (table,) = detection_tables([detection("byol", 400, seed, 37.0 + seed / 100) for seed in range(35)], [])
    cell = results_grid(table, "t").rows[0].cells[4]
    assert (len(cell.records), cell.text) == (30, "37.2")
    assert cell.title.startswith("35 runs of 1 checkpoint(s), mean 37.170, 95 % interval 37.13 to 37.21")


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("see https://example.org/a/b.html).", "https://example.org/a/b.html"),
        ("MoCo v2 (arXiv 2003.04297, table 2)", "https://arxiv.org/abs/2003.04297"),
        ("arXiv:1911.05722v3", "https://arxiv.org/abs/1911.05722"),
        ("github facebookresearch/moco issue 11", "https://github.com/facebookresearch/moco"),
        ("a book", None),
    ],
)
def test_a_source_s_address_is_linked(source, address):
    assert address_of(source) == address


def test_ids_are_short_and_plain():
    assert slug("COCO, 1x: C4 & FPN!") == "coco-1x-c4-fpn"
    assert (slug("!"), len(slug("a" * 99))) == ("table", 60)


def _facts(records):
    return {fact.name: fact.value for fact in build_page([], records).facts}


def test_what_was_run_is_counted():
    cpu = {"hardware": {"device": "cpu", "cpu": "Xeon"}, "duration_seconds": 5400.0}
    later = {"created": "2026-01-04T00:00:00+00:00"}
    records = [
        detection("byol", 400, 0, 37.0, duration_seconds=3600.0),
        detection("byol", 400, 1, 37.0, status="diverged", duration_seconds=1800.0, **later),
        detection("mec", 400, 1, 37.0, kind="imported", duration_seconds=None, hardware={}),
        detection("mec", 400, 2, 37.0, **cpu),
    ]
    assert _facts(records) == {
        "completed runs": "2 detection, 1 imported",
        "not completed": "1",
        "seeds": "0, 1, 2",
        "hardware": "1 x Xeon; 8 x A100",
        "GPU hours": "12.0",  # 8 GPUs for an hour and a half
        "hours on CPUs": "1.5",
        "dates": "2026-01-02 to 2026-01-04",
        "commits": "c0ffee0000",
    }
    assert _facts(records[:1])["dates"] == "2026-01-02"
    assert _facts([]) == {}


def test_of_many_seeds_twelve_and_of_many_machines_and_commits_four_are_named():
    machines = [
        {"hardware": {"device": "cuda", "name": f"G{number:02}"}, "git_commit": f"{number:02}" + "a" * 38}
        for number in range(20)
    ]
    facts = _facts([detection("byol", 400, seed, 37.0, **machine) for seed, machine in enumerate(machines)])
    assert facts["seeds"] == ", ".join(map(str, range(12)))
    assert facts["hardware"] == "1 x G00; 1 x G01; 1 x G02; 1 x G03"
    assert facts["commits"].count(", ") == 3
