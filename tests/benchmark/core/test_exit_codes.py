"""Every way of ending a command, with its exit code and its one line, in processes of their own."""

import os
import subprocess
import sys

import pytest

from benchmark.core.folder import ROOT

COMMAND = """
import signal, sys
from benchmark.core.errors import EndsQuietly, RunFailed, Stopped, UserError, run_command
def main(argv):
    {body}
    return 0
sys.exit(run_command(main))
"""


def command(body):
    return [sys.executable, "-c", COMMAND.format(body=body)], {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("pass", 0, ""),
        ("raise UserError('there is no folder x; give --data another.')", 2, "error: there is no folder x; give"),
        ("raise RunFailed('the disk is full')", 1, "failed: the disk is full"),
        ("raise Stopped(signal.SIGTERM, ' after iteration 7')", 75, "stopped by SIGTERM after iteration 7; the same"),
        ("raise Stopped(signal.SIGINT)", 130, "stopped by Ctrl-C; the same command continues"),
        ("raise KeyboardInterrupt", 130, "interrupted; the same command continues from the last checkpoint"),
        ("raise EndsQuietly(2)", 2, ""),
    ],
)
def test_an_ending_has_its_code_and_one_line(body, code, said):
    words, environment = command(body)
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == bool(said)


def test_a_defect_keeps_its_traceback():
    words, environment = command("raise ZeroDivisionError")
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_name_that_is_not_utf8_can_be_printed():
    words, environment = command("print('B' + chr(0xdcfc) + 'cher')")
    done = subprocess.run(words, env={**environment, "PYTHONIOENCODING": "utf-8"}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "B\\udcfccher\n")
