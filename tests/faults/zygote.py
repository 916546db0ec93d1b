"""Commands as processes of their own that start in a tenth of a second: forked from one that has imported torch.

Hundreds of starts would else spend most of their time in importing. A forked command is a real process, in a process
group of its own, with real exit code, signals and files; only its imports are those of the process that forked it.

Used as a program (``python -m tests.faults.zygote``) it reads one JSON object a line and answers with one.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmark.core.folder import ROOT

COMMANDS = {"pretrain": "pretrain.run", "coco": "transfer.coco"}
IMPORTS = {
    "pretrain": (
        "pretrain.engine.life",
        "pretrain.training.work",
        "pretrain.images.loading",
        "torch.utils.tensorboard",
    ),
    "coco": ("pretrain.engine.life", "transfer.detection.launch", "torch.utils.tensorboard"),
}


class Process:
    """A command that was started; ``output`` is what it has written to standard output and error so far."""

    def __init__(self, zygote: "Zygote", pid: int, log: Path):
        self._zygote, self.pid, self.log = zygote, pid, log
        self.returncode: int | None = None

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def poll(self) -> int | None:
        """Return the exit code (negative: the signal that ended it), None while it works."""
        if self.returncode is None:
            self.returncode = self._zygote.ask({"poll": self.pid})["code"]
        return self.returncode

    def wait(self, timeout: float = 120.0) -> int:
        """Wait for the end; return the exit code. A command that does not end in time is killed: ``TimeoutError``."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.kill_group()
                raise TimeoutError(f"process {self.pid} did not end in {timeout:g} s:\n{self.output[-2000:]}")
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def signal(self, number: int) -> None:
        """Send a signal to the process alone, not to its workers."""
        os.kill(self.pid, number)

    def signal_group(self, number: int) -> None:
        """Send a signal to the process and its workers, as a cluster or a terminal does."""
        os.killpg(self.pid, number)

    def kill_group(self) -> None:
        """Kill the process and its workers, and see it end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        while self.poll() is None:
            time.sleep(0.005)


class Zygote:
    """The process that forks commands. A context; ends with its block."""

    def __init__(self, command: str):
        self.command = command

    def __enter__(self) -> "Zygote":
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote", self.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def start(self, arguments: list[str], log: Path, **limits: int) -> Process:
        """Start the command; `limits` are names of resource.setrlimit, such as RLIMIT_FSIZE, in bytes."""
        answer = self.ask({"arguments": arguments, "log": str(log), "limits": limits})
        return Process(self, answer["pid"], log)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Send a question to the zygote and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


def serve(command: str) -> None:
    """Answer questions until standard input ends."""
    import importlib

    for name in (COMMANDS[command], *IMPORTS[command]):
        importlib.import_module(name)
    main = importlib.import_module(COMMANDS[command]).main
    print("ready", flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        if "poll" in question:
            pid, status = os.waitpid(question["poll"], os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if pid else None
            print(json.dumps({"code": code}), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            _become(main, question)
        print(json.dumps({"pid": pid}), flush=True)


def _become(main: Any, question: dict[str, Any]) -> None:
    """Be the command: its own process group, its own files, and Python's own end."""
    from benchmark.core.errors import run_command

    os.setsid()
    handle = os.open(question["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, handle), (2, handle)):
        os.dup2(source, target)
    for name, value in question["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    sys.argv = [sys.argv[0], *question["arguments"]]
    # What raises SystemExit here leaves the loop above and Python itself, with all that happens at its end.
    sys.stdin = open(os.devnull)  # noqa: SIM115
    raise SystemExit(run_command(main))


if __name__ == "__main__":
    serve(sys.argv[1])
