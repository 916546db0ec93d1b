"""What --compile gives: images/s of the step with and without it, and the first step, compiling included."""

import time

from tests.gpu.bench_step import prepared
from tests.gpu.measuring import Report, peak_memory, reset_memory, throughput
from tests.gpu.setting import batch_size, synchronise

BATCHES = (128, 256)


def measure(batch: int, compile: bool) -> dict[str, float]:
    """Return seconds of the first step, then images/s of those after it, in bf16."""
    reset_memory()
    trainer = prepared(batch_size(batch), compile=compile or None)
    begin = time.perf_counter()
    trainer.run_step()
    synchronise()
    first = time.perf_counter() - begin
    took = throughput(trainer.run_step)
    rate = trainer.config.batch_size / took
    return {"images/s": rate, "ms": 1000 * took, "first step, s": first, "peak GiB": peak_memory()}


def main() -> None:
    """Measure everything; each finding is written at once."""
    report = Report()
    for batch in BATCHES:
        for compile in (False, True):
            name = f"bf16, batch {batch}, {'compiled' if compile else 'as written'}"
            report.attempt(name, lambda batch=batch, compile=compile: measure(batch, compile))


if __name__ == "__main__":
    main()
