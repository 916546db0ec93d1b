"""One process a folder: who holds it is named, a kill frees it, its forks do not hold it; systems without locks."""

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
import time

import pytest

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from benchmark.core.lock import lock_folder

HOLD = """
import os, sys, time
from pathlib import Path
from benchmark.core.lock import lock_folder
held = lock_folder(Path(sys.argv[1]))
child = os.fork()  # as a worker of a DataLoader
if child:
    print(os.getpid(), child, flush=True)
time.sleep(60)
"""


def hold(folder):
    """Return a process that holds the folder, and the number of a process that it has forked."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    return process, int(process.stdout.readline().split()[1])


def test_the_holder_is_named_and_its_kill_frees_the_folder_while_its_fork_lives(tmp_path):
    process, child = hold(tmp_path)
    try:
        with pytest.raises(UserError) as told:
            lock_folder(tmp_path, wait=0.2)
        assert f"process {process.pid} on {platform.node()}" in str(told.value)
        process.kill()
        process.wait()
        os.kill(child, 0)  # it lives
        lock_folder(tmp_path, wait=0).release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_folder_is_waited_for(tmp_path, capsys):
    process, child = hold(tmp_path)
    began = time.monotonic()
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {process.pid} {child}"])
    lock_folder(tmp_path, wait=20).release()
    assert time.monotonic() - began < 15
    assert f"is in use by process {process.pid}" in capsys.readouterr().err
    process.wait()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_file_system_without_locks_gets_a_marker_file(tmp_path, monkeypatch, capsys, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    held = lock_folder(tmp_path, wait=0)
    assert "has no locks; a marker file is used instead" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"another process is working in .*or remove .*marker if that one has ended"):
        lock_folder(tmp_path, wait=0)
    held.release()
    lock_folder(tmp_path, wait=0).release()


def test_a_file_system_that_is_away_is_not_another_process(tmp_path, monkeypatch):
    def lose(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(fcntl, "flock", lose)
    with pytest.raises(UserError, match=r"the network file system has lost .* repeat the command"):
        lock_folder(tmp_path, wait=0)


def test_the_core_and_the_engine_import_where_unix_is_absent():
    """As on Windows: without fcntl, resource, termios and the signals of Unix."""
    names = [f"benchmark.core.{p.stem}" for p in (ROOT / "benchmark" / "core").glob("*.py")]
    names += [f"pretrain.engine.{p.stem}" for p in (ROOT / "pretrain" / "engine").glob("*.py")]
    code = (
        "import signal, sys, importlib, torch, detectron2.engine\n"
        "for name in ('fcntl', 'resource', 'termios', 'pty'): sys.modules[name] = None\n"
        "for name in ('SIGUSR1', 'SIGCHLD', 'SIGKILL', 'sigwaitinfo', 'pthread_sigmask'): delattr(signal, name)\n"
        f"for name in {sorted(set(names))!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
