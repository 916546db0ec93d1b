"""How long the features of a probe will take: measured on a few of its images."""

import time

from pretrain.engine.processes import say
from transfer.probing.encoder import make_encoder
from transfer.probing.features import extract
from transfer.probing.run import ProbeRun
from transfer.probing.splits import LabelledImages

SAMPLE = 32  # images


def feature_seconds(run: ProbeRun) -> float:
    """Return the seconds that the features of all images would take, from reading and encoding a few of them twice.

    The first pass warms up and is not counted. Reading is done without worker processes here, so that with them it goes
    faster.
    """
    config, train = run.config, run.subject.train
    count = min(SAMPLE, len(train.paths))
    some = LabelledImages("a sample", train.paths.evenly(count), train.labels[:count])
    encoder = make_encoder(run.subject.weights)
    say(f"timing {count} images")
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        extract(
            encoder, some, size=config.size, batch=config.forward_batch, workers=0, device=run.device,
            precision=config.precision,
        )  # fmt: skip
        seconds = time.perf_counter() - began
    return seconds / count * (len(train.paths) + len(run.subject.test.paths))
