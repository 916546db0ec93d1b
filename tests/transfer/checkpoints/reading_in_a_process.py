"""Read each file named on standard input's lines in one process, and report what each cost (JSON lines).

The memory is what the process has taken at most since it had imported everything, in MiB.

``python -m tests.transfer.checkpoints.reading_in_a_process`` is started by the tests, so that a crash, a hang or the
memory taken is seen as such.
"""

import json
import sys
import time
from pathlib import Path

from benchmark.core.errors import UserError
from transfer.checkpoints.conversion import convert_checkpoint


def memory() -> int:
    """Return the most memory that this process has held at once, in MiB; Linux alone tells it of the process alone."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    """Read file after file; a line of JSON for each, written before the next is begun."""
    before = memory()
    print(json.dumps({"memory": before}), flush=True)
    for line in sys.stdin:
        began, said, error = time.monotonic(), None, None
        try:
            convert_checkpoint(line.rstrip("\n"))
        except UserError as mistake:
            said = str(mistake)
        except BaseException as defect:
            error = repr(defect)[:500]
        result = {"said": said, "error": error, "seconds": time.monotonic() - began, "memory": memory() - before}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
