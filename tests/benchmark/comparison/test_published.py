"""Every published figure: typed, sourced, in range, under a protocol of ours with what differs from it."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from benchmark.comparison.published import (
    ORIGINS,
    OTHER_DIFFERENCES,
    PUBLISHED,
    Figure,
    differences,
    protocol_settings,
    read_figures,
    read_published,
    shipped_hash,
)
from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from tests.benchmark.comparison.disagreements import disagreements, disagreements_markdown

RAW = [ROOT.parent / "shared" / name for name in ("published.csv", "published_more.csv")]
FIGURES = read_figures()
# From far below random initialisation to well above the best published figure of a ResNet-50.
RANGES = {
    "coco": {"box_AP": (25, 45), "box_AP50": (43, 65), "box_AP75": (27, 48), "mask_AP": (24, 40), "mask_AP50": (41, 62),
             "mask_AP75": (25, 43)},
    "voc": {"box_AP": (30, 62), "box_AP50": (55, 85), "box_AP75": (30, 70)},
}  # fmt: skip


def test_all_figures_are_there():
    assert len(FIGURES) == 974  # 679 and 297 of two lists that share two
    assert Counter(bool(figure.protocol) for figure in FIGURES) == {True: 595, False: 379}
    assert set(Counter(figure.origin for figure in FIGURES)) == set(ORIGINS)


@pytest.mark.skipif(not all(path.is_file() for path in RAW), reason="the raw lists are not part of the project")
def test_no_value_and_no_source_was_lost_or_changed():
    raw = []
    for path in RAW:
        with open(path, encoding="utf-8", newline="") as file:
            raw += [(float(x["value"]), x["metric"], x["task"], x["status"], x["source"]) for x in csv.DictReader(file)]
    have = Counter((f.value, f.metric, f.task, f.status, f.source) for f in FIGURES)
    assert have - Counter(raw) == Counter()
    # Two figures of PyContrast are in both lists, once with the commit of the page and once without.
    lost = Counter(raw) - have
    assert sorted((x[0], x[1], x[4][:24]) for x in lost) == [
        (35.6, "mask_AP", "HobbitLong/PyContrast py"),
        (40.7, "box_AP", "HobbitLong/PyContrast py"),
    ]


def test_every_value_is_in_the_range_of_its_metric():
    wrong = []
    for figure in FIGURES:
        low, high = RANGES.get(figure.protocol.partition("-")[0], {}).get(figure.metric, (0, 100))
        wrong += [] if low <= figure.value <= high else [figure]
    assert wrong == []


def test_metrics_of_one_row_fit_together():
    """AP lies below AP50 and, on COCO, AP75; masks below boxes except where nothing is learnt (random init)."""
    for row in read_published():
        for task in ("bbox", "segm"):
            ap, ap50, ap75 = (row.values.get((task, name)) for name in ("AP", "AP50", "AP75"))
            assert None in (ap, ap50) or ap < ap50, row
            assert None in (ap75, ap50) or ap75 < ap50, row
        box, mask = row.values.get(("bbox", "AP")), row.values.get(("segm", "AP"))
        assert None in (box, mask) or mask < box or row.method == "random init", row


def test_protocol_belongs_to_the_detector_and_schedule_of_the_source():
    expected = {"coco-c4": "R50-C4", "coco-fpn": "R50-FPN", "voc-c4": "VOC07+12 Faster R-CNN R50-C4"}
    for figure in FIGURES:
        if figure.protocol:
            family = figure.protocol.rsplit("-", 1)[0].removesuffix("-4conv")
            assert figure.task.endswith(expected[family]), figure
            assert ("voc" in family) or figure.schedule.startswith(figure.protocol[-2:]), figure
            assert figure.metric.startswith(("box", "mask")), figure


def test_what_differs_really_differs_from_the_protocol():
    for figure in FIGURES:
        settings = protocol_settings(figure.protocol) if figure.protocol else {}
        for key, value in differences(figure.differs).items():
            if key in settings and key not in OTHER_DIFFERENCES:
                assert value != str(settings[key]), figure


@pytest.mark.parametrize(
    ("source", "task", "differs"),
    [
        ("DetCo paper arXiv:2102.04803 Table 13", "R50-C4", {"INPUT.MAX_SIZE_TRAIN": "1200"}),
        ("DetCo paper arXiv:2102.04803 Table 4", "R50-FPN", {}),
        ("OpenSelfSup docs/MODEL_ZOO.md (branch openselfsup of", "R50-C4", {"INPUT.MAX_SIZE_TRAIN": "1200"}),
        ("wanggrun/triplet", "COCO2017 Mask R-CNN R50-C4", {"INPUT.MAX_SIZE_TRAIN": "1200"}),
        ("Annbless/RegionCL@61bbcab logs/RegionCLM/MaskRCNN-C4", "R50-C4", {"INPUT.MAX_SIZE_TRAIN": "1200"}),
        ("Annbless/RegionCL@61bbcab logs/RegionCLM/MaskRCNN-FPN", "R50-FPN", {}),
        ("MoCo v1 paper", "R50-C4", {}),
        ("zdaxie/PixPro@", "R50-C4", {}),
        ("SimSiam paper", "COCO2017 Mask R-CNN R50-C4", {"SOLVER.BASE_LR": "searched per method"}),
    ],
)
def test_known_differences_are_stated(source, task, differs):
    found = [f for f in FIGURES if f.source.startswith(source) and f.task.endswith(task) and f.protocol]
    assert found
    assert all(differences(figure.differs) == differs for figure in found)


def test_configurations_that_nobody_can_see_are_unknown():
    for project in ("limbo0000/InstanceLoc", "LayneH/LEWEL"):
        found = [f for f in FIGURES if f.source.startswith(project) and f.protocol.startswith("coco-c4")]
        assert found
        assert all("unknown" in differences(figure.differs) for figure in found)


def test_names_hold_no_remarks():
    assert {figure.method for figure in FIGURES if "(" in figure.method or "repro" in figure.method} == set()
    assert {figure.variant for figure in FIGURES if "repro" in figure.variant} == set()


def test_order_of_trust_is_kept_where_sources_disagree():
    found = disagreements(FIGURES)
    assert len(found) == 38
    for group in found:
        ranks = [ORIGINS.index(figure.origin) for figure in group]
        assert ranks == sorted(ranks)
    by_key = {(g[0].method, g[0].epochs, g[0].protocol, g[0].metric): g for g in found}
    moco = by_key["MoCo v2", 800, "voc-c4-24k", "box_AP"]
    assert [(figure.value, figure.origin) for figure in moco] == [(57.4, "own repository"), (57.6, "re-run")]
    mask = by_key["MoCo v1", 200, "coco-c4-2x", "mask_AP"]
    assert [(figure.value, figure.origin) for figure in mask] == [(35.4, "own paper"), (35.6, "re-run")]


def test_other_batches_and_other_settings_are_no_contradiction():
    def figure(value, **changes):
        told = {"method": "M", "variant": "", "epochs": "200", "epochs_note": "", "batch": "256", "task": "t",
                "schedule": "1x", "protocol": "", "differs": "", "metric": "box_AP", "value": str(value),
                "origin": "re-run", "status": "primary", "source": "s"}  # fmt: skip
        return Figure.model_validate(told | changes)

    assert len(disagreements([figure(40), figure(41)])) == 1
    assert len(disagreements([figure(40), figure(41, batch="")])) == 1
    for changes in ({"batch": "4096"}, {"differs": "code=MMDetection"}, {"epochs": "400"}, {"variant": "v"}):
        assert disagreements([figure(40), figure(41, **changes)]) == []
    first = disagreements([figure(40), figure(41, origin="own paper")])[0][0]
    assert first.value == 41


def test_page_lists_the_disagreements():
    page = (ROOT / "docs" / "published.md").read_text(encoding="utf-8")
    assert disagreements_markdown(FIGURES) in page


def lines():
    with open(PUBLISHED, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("source", "", "source"),
        ("source", " ", "source"),
        ("status", "guess", "status"),
        ("origin", "friend", "origin"),
        ("value", "forty", "not a number"),
        ("value", "nan", "value"),
        ("value", "101", "less than or equal to 100"),
        ("epochs", "many", "epochs"),
        ("epochs", "0", "epochs"),
        ("protocol", "coco-c4-9x", "no protocol 'coco-c4-9x'"),
        ("differs", "INPUT.MAX_SIZE=1200", "no setting of"),
        ("differs", "larger images", "not KEY=value"),
        ("metric", "AP", "metric"),
        ("method", "", "method"),
    ],
)
def test_wrong_line_is_refused_with_its_number(tmp_path, column, value, said):
    path = tmp_path / "published.csv"
    rows = lines()[:3]
    rows[1][column] = value
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(UserError, match=f"line 3: .*{said}"):
        read_figures(path)


def test_repeated_line_and_missing_column_are_refused(tmp_path):
    text = PUBLISHED.read_text(encoding="utf-8").splitlines()[:3]
    (tmp_path / "twice.csv").write_text("\n".join([*text, text[-1]]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 4: line 3 has this very figure"):
        read_figures(tmp_path / "twice.csv")
    (tmp_path / "old.csv").write_text("method,value\na,1\n")
    with pytest.raises(UserError, match=r"lacks the columns .*protocol"):
        read_figures(tmp_path / "old.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_figures(tmp_path / "absent.csv")


def test_rows_gather_the_figures_of_one_source():
    rows = read_published()
    found = [r for r in rows if r.protocol == "coco-c4-1x" and r.method == "MoCo v1" and "Table 5" in r.source]
    assert len(found) == 1
    assert found[0].values == {
        ("bbox", "AP"): 38.5, ("bbox", "AP50"): 58.3, ("bbox", "AP75"): 41.6,
        ("segm", "AP"): 33.6, ("segm", "AP50"): 54.8, ("segm", "AP75"): 35.6,
    }  # fmt: skip
    assert sum(len(row.values) for row in rows) == 595
    assert shipped_hash("coco-c4-1x")
    assert shipped_hash("no-such") is None
    assert Path(PUBLISHED).name == "published.csv"
