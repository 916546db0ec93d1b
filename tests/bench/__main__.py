"""``python -m tests.bench [NAME ...]``: run every benchmark (``bench_NAME.py`` beside this file), or those named."""

import importlib
import sys
from pathlib import Path


def main(names: list[str]) -> int:
    """Run the benchmarks and return the exit code: 0, or 2 for an unknown name."""
    known = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    if unknown := sorted(set(names) - set(known)):
        print(f"error: no benchmark {unknown[0]!r}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    for name in names or known:
        print(f"\n== {name}", flush=True)
        importlib.import_module(f"tests.bench.bench_{name}").main()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
