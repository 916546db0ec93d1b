"""Records for the tests of the report: two methods at two lengths, controls, a diverged run, probes; all seeded."""

import hashlib
import random
from pathlib import Path

from benchmark.comparison.published import shipped_hash
from benchmark.records import RunRecord

CREATED = "2026-01-02T03:04:05+00:00"
VERSIONS = {"torch": "2.6.0", "detectron2": "0.6"}


def sha(text: str) -> str:
    """Return a hash that stands for the weights or settings called `text`."""
    return hashlib.sha256(text.encode()).hexdigest()


def record(**values) -> RunRecord:
    """Return a record with everything filled that does not matter here."""
    shared = {"versions": VERSIONS, "git_commit": "c0ffee" + "0" * 34, "created": CREATED, "status": "completed"}
    shared |= {"hardware": {"device": "cuda", "name": "A100", "processes": 8}}
    return RunRecord(**(shared | values))


def detection(method: str, epochs: int | None, seed: int, ap: float, **changes) -> RunRecord:
    """Return a run of coco-c4-1x with box and mask AP around `ap`."""
    values = {
        "id": f"coco-c4-1x-{method}-{epochs}-{seed}",
        "kind": "detection",
        "method": method,
        "method_source": "file",
        "seed": seed,
        "epochs": epochs,
        "total_epochs": epochs,
        "branch": "online" if epochs else None,
        "weights_sha256": sha(f"{method} {epochs}"),
        "protocol": "coco-c4-1x",
        "protocol_hash": shipped_hash("coco-c4-1x"),
        "data": "coco",
        "metrics": {
            "bbox": {"AP": ap, "AP50": ap + 20, "AP75": ap + 3},
            "segm": {"AP": ap - 5, "AP50": ap + 15, "AP75": ap - 2},
        },
        "duration_seconds": 7.1 * 3600,
        "config": {"weights": f"{method}.pth", "protocol": "coco-c4-1x", "seed": seed},
        "config_hash": sha(f"config {seed}"),
        "details": {"lr": 0.02},
    }
    return record(**(values | changes))


def pretraining(method: str, epochs: int, rank: float) -> RunRecord:
    """Return the pre-training run behind `detection`'s weights."""
    config = {"method": method, "gamma": 1.0, "epochs": epochs, "seed": 0}
    return record(
        id=f"pretrain-{method}-{epochs}",
        kind="pretrain",
        method=method,
        seed=0,
        epochs=epochs,
        total_epochs=epochs,
        weights_sha256=sha(f"{method} {epochs}"),
        data="imagenet",
        metrics={"pretrain": {"loss": -1.66, "effective_rank_backbone": rank, "effective_rank_projector": 30.0}},
        duration_seconds=3600.0 * 20 * epochs / 400,
        config=config,
        config_hash=sha("pretrain config"),
        details={"effective_rank_definition": "covariance, 1,024 rows"},
    )


def example_records() -> list[RunRecord]:
    """Return all records of the example."""
    draw = random.Random(1)
    made = []
    for method, base in (("kernel_ssl", 37.5), ("byol", 36.9)):
        for epochs in (400, 800):
            made.append(pretraining(method, epochs, base + epochs / 100))
            for seed in range(3):
                made.append(detection(method, epochs, seed, base + (epochs == 800) * 0.5 + draw.gauss(0, 0.15)))
    reason = {"iteration": 34, "reason": "the loss is not finite at iteration 34", "lr": 0.02}
    made[-1] = detection("byol", 800, 2, 0.0, status="diverged", metrics={}, details=reason)
    for method, base, epochs in (("random", 26.4, 0), ("supervised-torchvision", 38.2, None)):
        made += [detection(method, epochs, seed, base + draw.gauss(0, 0.15)) for seed in range(3)]
    made += [
        record(
            id=f"classification-probe-{seed}",
            kind="classification",
            method="kernel_ssl",
            seed=seed,
            epochs=400,
            data="clothing",
            weights_sha256=sha("kernel_ssl 400"),
            pretrain_seed=0,
            metrics={
                "linear_exact": {"top1": 47.5 + seed, "top1_low": 44.1 + seed, "top1_high": 50.9 + seed},
                "linear": {"top1": 46.3 + seed},
                "knn": {"top1": 41.9},
                "features": {"effective_rank": 18.25},
            },
            duration_seconds=300.0,
        )
        for seed in range(2)
    ]
    return made


def write_all(folder: Path) -> Path:
    """Write the example's records into a folder and return it."""
    for one in example_records():
        one.write(folder)
    return folder
