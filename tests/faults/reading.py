"""500 mutated checkpoints and every hostile file, each read in a process that is watched: what happened, as a table.

``python -m tests.faults.reading [FILES]`` prints a row of Markdown for each kind of file and leaves with 1 if any of
them crashed, hung, took more than 512 MiB or ended otherwise than by converting or by one sentence.
"""

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

from benchmark.core.folder import ROOT
from tests.transfer.checkpoints.hostile_files import HOSTILE
from tests.transfer.checkpoints.mutations import ORIGINALS, mutated

FILES = 500
LONGEST = 120  # seconds for one file before it counts as hanging
MOST_MEMORY = 512  # MiB beyond what the process holds with torch imported


class Reader:
    """A process that reads one file after another; begun anew when a file has ended it."""

    def __init__(self) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "tests.transfer.checkpoints.reading_in_a_process"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.lines.get(timeout=300)  # it has imported everything

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def outcome(self, path: Path) -> tuple[str, int]:
        """Return what reading a file came to, and the most memory taken so far in MiB."""
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        try:
            line = self.lines.get(timeout=LONGEST)
        except queue.Empty:
            return "hung", 0
        if not line:
            return "crashed", 0
        result = json.loads(line)
        if result["error"] is not None:
            return f"traceback: {result['error'][:120]}", result["memory"]
        if result["memory"] > MOST_MEMORY:
            return "took the memory", result["memory"]
        return "converted" if result["said"] is None else "one sentence", result["memory"]


def main(count: int) -> int:
    """Read all files; print the table; return the exit code."""
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in ("hostile files", *ORIGINALS)}
    bad, memory = [], 0
    with tempfile.TemporaryDirectory() as folder:
        path, reader = Path(folder) / "file.pth", Reader()
        hostile = [("hostile files", name, write) for name, write in HOSTILE.items()]
        names = list(ORIGINALS)
        mutations = [(names[seed % len(names)], f"seed {seed}", _mutation(seed)) for seed in range(count)]
        for kind, what, write in hostile + mutations:
            path.unlink(missing_ok=True)
            write(path)
            outcome, used = reader.outcome(path)
            outcomes[kind][outcome] += 1
            memory = max(memory, used)
            if outcome not in ("converted", "one sentence"):
                bad.append(f"{kind}, {what}: {outcome}")
                reader.process.kill()
                reader = Reader()
        reader.process.kill()
    print("| files | read | converted | one sentence | else |\n| --- | --- | --- | --- | --- |")
    for kind, counts in outcomes.items():
        fine = counts["converted"], counts["one sentence"]
        print(f"| {kind} | {counts.total()} | {fine[0]} | {fine[1]} | {counts.total() - sum(fine)} |")
    print(f"\nmost memory taken beyond what the process holds with torch imported: {memory} MiB", *bad, sep="\n")
    return 1 if bad else 0


def _mutation(seed: int):
    names = list(ORIGINALS)
    return lambda path: path.write_bytes(mutated(names[seed % len(names)], seed))


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else FILES))
