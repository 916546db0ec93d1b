"""Whole runs of every method as forks of one process, which imports torch once: ``python forked_runs.py FOLDER``.

For each method a run that is left alone (``<method>/whole``) and one that is killed with SIGKILL after its second
iteration and then started again with the same command (``<method>/killed``). Prints one JSON line a method.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

from benchmark.core.errors import run_command
from pretrain.run import main
from tests.pretrain.methods.small import METHODS, SIDE, register_example, small_options

QUICK = ["--arch=resnet18", f"--image-size={SIDE}", "--batch-size=8", "--epochs=1", "--workers=0", "--log-every=1"]
QUICK += ["--device=cpu", "--precision=fp32", "--views=fast", "--checkpoint-minutes=1e-9", "--warmup-epochs=0"]


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


def all_methods(folder: Path) -> None:
    """Run every method twice and print how the processes ended."""
    register_example()
    torch.set_num_threads(1)  # so that a fork finds no threads of its parent missing
    for method in METHODS:
        whole, killed = (arguments(method, folder / "data", folder / method / name) for name in ("whole", "killed"))
        (folder / method).mkdir()
        codes = [exit_code(start(whole)), kill_after(2, killed, folder / method / "killed" / "metrics.json")]
        print(json.dumps({"method": method, "codes": [*codes, exit_code(start(killed))]}), flush=True)


if __name__ == "__main__":
    all_methods(Path(sys.argv[1]))
