"""Records of probes as suites leave them, for the tests of studies."""

import hashlib

from benchmark.records import RunRecord


def probe(setting, seed, top1, rank=10.0, knn=None, epoch=None):
    """Return the record of a probe of the pre-training `setting` with `seed`, or of the untrained encoder."""
    key = hashlib.sha256(f"{setting} {seed}".encode()).hexdigest()
    name = "checkpoint.pth" if epoch is None else f"checkpoint_{epoch:04d}.pth"
    trained = f"results/runs/study/pretrain-{setting}-seed{seed}-{key[:8]}/{name}"
    weights = "random" if setting == "random" else trained
    identity = hashlib.sha256(f"{weights} {seed}".encode()).hexdigest()
    accuracy = {"top1": top1, "top1_low": top1 - 3, "top1_high": top1 + 3}
    knn = top1 - 5 if knn is None else knn
    return RunRecord(
        id=f"classification-{identity[:10]}",
        kind="classification",
        status="completed",
        duration_seconds=1.0,
        method=setting,
        seed=seed if setting == "random" else 0,
        metrics={
            "linear_exact": accuracy,
            "linear": accuracy,
            "knn": {"top1": knn, "top1_low": knn - 3, "top1_high": knn + 3},
            "features": {"effective_rank": rank, "intra_class_effective_rank": rank / 2},
        },
        config={"weights": weights},
        config_hash=identity,
    )


def diverged(setting, seed):
    """Return the record of a pre-training that diverged."""
    key = hashlib.sha256(f"{setting} {seed} pre".encode()).hexdigest()
    return RunRecord(
        id=f"pretrain-{key[:10]}",
        kind="pretrain",
        status="diverged",
        duration_seconds=1.0,
        method=setting,
        seed=seed,
        metrics={"pretrain": {"loss": float("1e9")}},
        config={"output": f"results/runs/study/pretrain-{setting}-seed{seed}-{key[:8]}"},
        config_hash=key,
    )
