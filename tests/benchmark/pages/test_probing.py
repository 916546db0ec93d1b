"""Probes on the page: means over pre-training seeds, of one recipe and one network each."""

import json

import pytest
from scipy import stats

from benchmark import report
from tests.benchmark.pages.example_records import record, sha

VALUES = {0: 40.0, 1: 43.0, 2: 41.5}


def pretrained(seed: int, name: str = "byol", **config):
    """The record of a pre-training with this seed."""
    shared = {"method": "byol", "lr": 0.45, "epochs": 50, "seed": seed}
    return record(
        id=f"pretrain-{name}-{seed}", kind="pretrain", method="byol", seed=seed, epochs=50, total_epochs=50,
        weights_sha256=sha(f"{name} {seed}"), data="train", config=shared | config,
        metrics={"pretrain": {"loss": 1.0}}, duration_seconds=60.0,
    )  # fmt: skip


def probed(method: str, seed: int, top1: float, name: str = "byol", **changes):
    """The record of a probe of those weights."""
    trained = method != "random"
    values = {
        "id": f"classification-{name}-{seed}", "kind": "classification", "method": method, "data": "clothing",
        "seed": 0 if trained else seed, "epochs": 50 if trained else 0, "protocol_hash": sha("probe"),
        "weights_sha256": sha(f"{name} {seed}") if trained else None, "pretrain_seed": seed if trained else None,
        "metrics": {"linear_exact": {"top1": top1}, "features": {"effective_rank": top1 / 10}},
        "details": {"arch": "resnet18"}, "duration_seconds": 60.0,
    }  # fmt: skip
    return record(**(values | changes))


def means(tmp_path, records) -> dict[tuple[str, str], list[dict]]:
    """The cells of the means, by weights and data; empty where the page has no such table."""
    for one in records:
        one.write(tmp_path / "records")
    assert report.main(["--records", str(tmp_path / "records"), "--output", str(tmp_path)]) == 0
    sections = json.loads((tmp_path / "tables" / "report.json").read_text())["sections"]
    (probing,) = [section for section in sections if section["id"] == "probing"]
    tables = [table for table in probing["tables"] if table["id"] == "probes-means"]
    return {(r["cells"][0]["text"], r["cells"][1]["text"]): r["cells"] for t in tables for r in t["rows"]}


def three_seeds():
    return [one for seed, top1 in VALUES.items() for one in (pretrained(seed), probed("byol", seed, top1))]


def test_the_mean_has_students_interval_over_seeds(tmp_path):
    (cells,) = means(tmp_path, three_seeds()).values()
    low, high = stats.t.interval(0.95, 2, 41.5, stats.sem(list(VALUES.values())))
    assert [cell["text"] for cell in cells[2:5]] == ["50", "3", f"41.5 [{low:.1f}, {high:.1f}]"]
    assert cells[4]["sort"] == pytest.approx(41.5)
    assert sorted(cells[4]["records"]) == [f"classification-byol-{seed}" for seed in VALUES]
    assert cells[7]["sort"] == pytest.approx(4.15)


def test_the_untrained_encoder_is_drawn_by_its_seed(tmp_path):
    found = means(tmp_path, [probed("random", seed, 27.0 + seed, "random") for seed in range(2)])
    assert found["untrained encoder", "clothing"][3]["text"] == "2"


def test_one_checkpoint_probed_twice_is_no_mean_over_seeds(tmp_path):
    twice = [probed("byol", 0, 40.0 + number, id=f"classification-{number}") for number in range(2)]
    assert means(tmp_path, [pretrained(0), *twice]) == {}


def test_weights_without_a_record_of_their_pretraining_are_no_repeats(tmp_path):
    assert means(tmp_path, [probed("byol", seed, 40.0 + seed) for seed in range(2)]) == {}


def test_recipes_and_networks_are_kept_apart(tmp_path):
    other = [
        one
        for seed in range(2)
        for one in (pretrained(seed, "other", lr=0.9), probed("byol", seed, 50.0 + seed, "other"))
    ]
    wide = [
        one
        for seed in range(2)
        for one in (pretrained(seed, "wide"), probed("byol", seed, 60.0, "wide", details={"arch": "resnet50"}))
    ]
    found = means(tmp_path, three_seeds() + other + wide)
    seeds = {name: cells[3]["text"] for name, cells in found.items()}
    assert seeds == {
        ("BYOL (lr=0.45)", "clothing, resnet18"): "3",
        ("BYOL (lr=0.9)", "clothing, resnet18"): "2",
        ("BYOL", "clothing, resnet50"): "2",
    }


@pytest.mark.parametrize(("values", "seeds"), [([None, 0.5, 0.5], ["3"]), ([None, None, 0.5, 0.5, 0.4], ["2", "2"])])
def test_an_option_of_a_later_version_divides_no_repeats_until_it_is_used(tmp_path, values, seeds):
    records = []
    for seed, value in enumerate(values):
        config = {} if value is None else {"flip_p": value}
        records += [pretrained(seed, **config), probed("byol", seed, 40.0 + seed)]
    assert [cells[3]["text"] for cells in means(tmp_path, records).values()] == seeds
