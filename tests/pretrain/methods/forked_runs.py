"""Whole runs of every method as forks of one process, which imports torch once: ``python forked_runs.py FOLDER``.

For each method a run that is left alone (``<method>/whole``) and one that is killed with SIGKILL after its second
iteration and then started again with the same command (``<method>/killed``). Prints one JSON line a method: how its
processes ended and which parts of the two last checkpoints differ. The records stay; the checkpoints, 6 GB, do not.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from benchmark.core.errors import run_command
from pretrain.engine.checkpoint import LAST, load_checkpoint
from pretrain.run import main
from tests.pretrain.methods.small import METHODS, SIDE, register_example, small_options
from tests.pretrain.runs import equal

QUICK = ["--arch=resnet18", f"--image-size={SIDE}", "--batch-size=8", "--epochs=1", "--workers=0", "--log-every=1"]
QUICK += ["--device=cpu", "--precision=fp32", "--views=fast", "--warmup-epochs=0"]
OFTEN = "--checkpoint-minutes=1e-9"  # after every iteration, where the run is killed


def arguments(method: str, data: Path, output: Path) -> list[str]:
    """Return the command line of a small run."""
    own = [f"--{name.replace('_', '-')}={value}" for name, value in small_options(method).items()]
    where = [f"--data={data}", f"--output={output}", f"--records={output}-records"]
    return [f"--method={method}", *where, *QUICK, *own]


def start(argv: list[str]) -> int:
    """Run the command in a fork; return its process id."""
    child = os.fork()
    if child == 0:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  closed with the process
        sys.stdout = sys.stderr
        os._exit(run_command(main, argv))
    return child


def exit_code(child: int) -> int:
    """Wait for a fork; return its exit code, minus the signal where one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_after(iteration: int, argv: list[str], metrics: Path) -> int:
    """Start a run and kill it once it has logged an iteration; return how it ended."""
    child = start(argv)
    while not (metrics.is_file() and f'"iteration": {iteration},' in metrics.read_text()):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return exit_code(child)


def compared(folder: Path) -> dict[str, object]:
    """Return what the last checkpoints of the two runs say, and take both runs away."""
    whole, killed = (load_checkpoint(folder / run / LAST) for run in ("whole", "killed"))
    parts = ("model", "optimizer", "scaler", "rng", "iteration", "epoch", "hooks")
    found = {
        "differing": [key for key in parts if not equal(whole[key], killed[key])],
        "iteration": whole["iteration"],
        "finite": all(torch.isfinite(value).all().item() for value in whole["model"].values()),
    }
    for run in ("whole", "killed"):
        shutil.rmtree(folder / run)
    return found


def all_methods(folder: Path) -> None:
    """Run every method twice and print how the processes ended."""
    register_example()
    torch.set_num_threads(1)  # so that a fork finds no threads of its parent missing
    for method in METHODS:
        whole, killed = (arguments(method, folder / "data", folder / method / name) for name in ("whole", "killed"))
        (folder / method).mkdir()
        metrics = folder / method / "killed" / "metrics.json"
        codes = [exit_code(start(whole)), kill_after(2, [*killed, OFTEN], metrics)]
        codes.append(exit_code(start(killed)))
        found = compared(folder / method) if codes == [0, -signal.SIGKILL, 0] else {}
        print(json.dumps({"method": method, "codes": codes, **found}), flush=True)


if __name__ == "__main__":
    all_methods(Path(sys.argv[1]))
