"""Progress on a terminal of any width, and as lines in a pipe."""

import os
import pty
import subprocess
import sys

import pytest

from benchmark.core import progress as module
from benchmark.core.folder import ROOT
from benchmark.core.progress import progress

IN_A_TERMINAL = """
import time
from benchmark.core.progress import progress
bar = progress(None, "kernel_ssl, 400 epochs", "it", total=2000, initial=500, delay=0, leave=True)
for i in range(4):
    bar.set_postfix({"loss": "-3.217", "lr": "0.0512", "rank": "123.4", "images/s": "1800"}, refresh=False)
    time.sleep(0.15)
    bar.update(100)
bar.close()
"""


@pytest.mark.parametrize("columns", [60, 100])
def test_loss_lr_and_time_left_survive_a_narrow_terminal(columns):
    main, side = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", IN_A_TERMINAL], stderr=side, env=environment)
    os.close(side)
    said = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:
            break
        if not piece:
            break
        said += piece
    child.wait()
    shown = [part for part in said.decode().replace("\n", "\r").split("\r") if "/2000" in part]
    assert len(shown) >= 3
    assert all(len(part) <= columns for part in shown)
    assert all(word in shown[-1] for word in ("900/2000", "left", "loss=-3.217", "lr=0.0512"))


@pytest.fixture
def piped(monkeypatch, capsys):
    """A clock to be moved, and the lines written so far to a standard error that is no terminal."""
    now, lines = [100.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def written():
        lines.extend(capsys.readouterr().err.splitlines())
        return lines

    return now, written


def test_in_a_pipe_a_line_comes_every_fifteen_seconds_and_more_rarely_in_a_long_run(piped):
    now, lines = piped
    bar = progress(None, "training", "it", total=100_000, delay=0)
    for _ in range(60):
        now[0] += 1.0
        bar.set_postfix({"loss": "1.5"})
        bar.update()
    assert lines() == [
        "training: iteration 1/100000, loss 1.5, 1 day, 3:46:39 left",
        "training: iteration 16/100000, loss 1.5, 1 day, 3:46:24 left",
        "training: iteration 31/100000, loss 1.5, 1 day, 3:46:09 left",
        "training: iteration 46/100000, loss 1.5, 1 day, 3:45:54 left",
    ]
    before = len(lines())
    for _ in range(36_000 - 60):
        now[0] += 1.0
        bar.update()
    assert len(lines()) - before < 250  # every 15 s it would be 2,400


def test_what_is_quick_stays_silent_and_the_last_line_comes_once(piped):
    now, lines = piped
    assert [*progress(range(5), "quick", "image")] == list(range(5))
    assert lines() == []
    with progress(None, "slow", "B", total=5_000_000, leave=True) as bar:
        bar.update(2_000_000)
        now[0] += 4.0
        bar.update(3_000_000)
    assert lines() == ["slow: 5.00MB/5.00MB, 0:00:00 left"]
