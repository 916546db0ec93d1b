"""Atomic writing under a real SIGKILL, and output folders that refuse another run."""

import os
import signal
import subprocess
import sys
import time

import pytest

from benchmark.core.errors import UserError
from benchmark.core.files import remove_parts, sha256_of, sha256_of_file, write_bytes, write_json, write_with
from benchmark.core.folder import check_folder, claim, run_key

WRITE_FOREVER = """
import sys
from benchmark.core.files import write_with
def save(file):
    for _ in range(400):
        file.write(bytes([number % 251]) * 65536)
number = 0
while True:
    number += 1
    write_with(sys.argv[1], save)
    print(number, flush=True)
"""


def test_sigkill_while_writing_leaves_a_whole_file(tmp_path):
    path = tmp_path / "file.bin"
    for pause in (0.0, 0.013, 0.029):
        process = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        content = path.read_bytes()
        assert len(content) == 400 * 65536
        assert len(set(content)) == 1
    remove_parts(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["file.bin"]


REFUSED = """
import resource, sys
from benchmark.core.errors import run_command
from benchmark.core.files import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
sys.exit(run_command(lambda argv: write_text(sys.argv[1], "x" * int(sys.argv[2]))))
"""


@pytest.mark.parametrize("size", [11, 1_000_000])  # met when the file is closed, and while it is written
def test_a_file_that_the_system_refuses_is_one_sentence_and_leaves_nothing(tmp_path, size):
    words = [sys.executable, "-c", REFUSED, str(tmp_path / "a"), str(size)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "a cannot be written (File too large); raise the limit on the size of files (ulimit -f)" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_writing_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a"
    write_bytes(path, b"old")

    def fail(file):
        file.write(b"new")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_with(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_hashes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of({"a": 1, "b": 2}) == sha256_of({"b": 2, "a": 1}) != sha256_of({"a": 2, "b": 1})


def test_folder_of_another_run_is_refused_and_the_difference_named(tmp_path):
    claim(tmp_path / "run", {"config": {"epochs": 400, "method": "kernel_ssl"}}).release()
    with pytest.raises(UserError, match=r"config\.epochs: 400 there, 800 here"):
        claim(tmp_path / "run", {"config": {"epochs": 800, "method": "kernel_ssl"}})


def test_same_run_is_resumed_and_no_resume_refuses(tmp_path):
    first = claim(tmp_path / "run", {"epochs": 400})
    assert not first.resumed
    first.release()
    again = claim(tmp_path / "run", {"epochs": 400})
    assert again.resumed
    again.release()
    with pytest.raises(UserError, match="already holds this run"):
        claim(tmp_path / "run", {"epochs": 400}, resume=False)


def test_two_processes_cannot_share_a_folder(tmp_path):
    held = claim(tmp_path / "run", {"epochs": 1})
    code = (
        "import sys; from benchmark.core.errors import run_command; from benchmark.core.folder import claim\n"
        "sys.exit(run_command(lambda _: claim(sys.argv[1], {'epochs': 1}, wait=0) and 0))"
    )
    other = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
    assert other.returncode == 2
    assert "another process is working in" in other.stderr
    held.release()


def test_foreign_folder_file_and_damaged_identity_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no run of ours"):
        claim(tmp_path, {"epochs": 1})
    with pytest.raises(UserError, match="is a file"):
        claim(tmp_path / "notes.txt", {"epochs": 1})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        check_folder(tmp_path / "run", {"epochs": 1})


def test_key_depends_on_every_setting():
    assert run_key({"a": 1}) == run_key({"a": 1}) != run_key({"a": 2})
