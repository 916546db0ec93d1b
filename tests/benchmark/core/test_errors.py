"""A command whose reader leaves early ends without a traceback."""

import os
import signal
import subprocess
import sys

import pytest

from benchmark.core.folder import ROOT

MANY = """
import sys
from benchmark.core.errors import run_command
def main(argv):
    print("\\n".join(map(str, range(int(sys.argv[1])))))
    return 0
sys.exit(run_command(main))
"""


@pytest.mark.parametrize("lines", [3, 100_000])  # met when the buffer is flushed at the end, and while printing
def test_head_is_no_traceback(lines):
    reading, writing = os.pipe()
    os.close(reading)  # head has read what it wanted and is gone
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(lines)], stdout=writing, stderr=subprocess.PIPE, cwd=ROOT, text=True
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_report_into_head(tmp_path):
    (tmp_path / "records").mkdir()
    words = f"--records {tmp_path / 'records'} --output {tmp_path / 'out'}"
    command = f"set -o pipefail; {sys.executable} benchmark/report.py {words} | head -n 0"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode in (0, 141)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("absent", "script", "words"),
    [
        ("torch", "pretrain/run.py", ["--dry-run"]),
        ("detectron2", "transfer/coco.py", ["--weights=random", "--dry-run"]),
        ("scipy", "benchmark/report.py", []),
    ],
)
def test_a_package_that_is_not_installed_is_named(absent, script, words, tmp_path):
    code = f"import sys, runpy; sys.modules[{absent!r}] = None; sys.argv[1:] = {words!r}\n"
    code += f"runpy.run_path({str(ROOT / script)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    said = f"error: {absent} is not installed here; run `make setup`, or see README, Install.\n"
    assert done.stderr.endswith(said)
    assert "Traceback" not in done.stderr


AT_THE_END = """
import atexit, sys, time
from benchmark.core.errors import run_command
def main(argv):
    atexit.register(lambda: (print("ending", flush=True), time.sleep(2)))
    return 0
raise SystemExit(run_command(main))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_request_to_stop_while_python_ends_leaves_the_exit_code_of_a_run_that_is_over(number):
    command = [sys.executable, "-c", AT_THE_END]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ending\n"
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
