"""Files that ask for gigabytes, hours or a traceback end in one sentence, soon, with little memory."""

import contextlib
import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from tests.transfer.checkpoints.hostile_files import HARMLESS, HOSTILE
from tests.transfer.checkpoints.mutations import ORIGINALS, mutated
from transfer.checkpoints.conversion import convert_checkpoint

MOST_MEMORY = 512  # MiB beyond what the process holds with torch imported
LONGEST = 60  # seconds, where every file takes less than five on an idle machine: a hang, not a speed, is looked for


@pytest.fixture(scope="module")
def reader():
    """A process that reads one file after another, and says what each cost."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.transfer.checkpoints.reading_in_a_process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        json.loads(process.stdout.readline())  # it has imported everything

        def read(path):
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline() or '{"error": "the process has died"}')

        yield read
        process.stdin.close()


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore")
def test_a_hostile_file_ends_in_a_sentence(name, reader, tmp_path):
    path = tmp_path / "file.pth"
    HOSTILE[name](path)
    result = reader(path)
    assert result["error"] is None
    assert (result["said"] is None) == (name in HARMLESS)
    said = result["said"] or str(path)
    assert str(path) in said
    assert "\n" not in said
    assert len(said) < 2000
    assert result["memory"] < MOST_MEMORY
    assert result["seconds"] < LONGEST


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(ORIGINALS)), seed=st.integers(0, 2**32))
def test_a_mutated_file_converts_or_ends_in_a_sentence(name, seed, tmp_path):
    """The whole of it, 500 files in a process of their own, is ``make faults``."""
    path = tmp_path / "file.pth"
    path.write_bytes(mutated(name, seed))
    with contextlib.suppress(UserError):
        assert len(convert_checkpoint(path)["model"]) == 265
