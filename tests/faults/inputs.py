"""Bad inputs: folders that cannot be written, images that are none, checkpoints that are not what they say."""

import os
from pathlib import Path

from pretrain.engine.checkpoint import LAST
from tests.faults.runs import Subject
from tests.faults.table import Row
from tests.pretrain.runs import pictures


def inputs(subject: Subject, folder: Path) -> list[Row]:
    """Give the command what nobody should; it must answer in one sentence with exit code 2 and write nothing."""
    (folder / "file").write_text("in the way")
    (folder / "empty").mkdir()
    (folder / "foreign").mkdir()
    (folder / "foreign" / "thesis.tex").write_text("do not touch")
    few = pictures(folder / "few", 3)
    pipes = folder / "pipes"
    pipes.mkdir()
    os.mkfifo(pipes / "a.jpg")
    places = [folder / "file", folder / "file" / "below", "/proc/there", folder / ("x" * 300), "/dev/null"]
    changes = [{flag: place} for flag in ("output", "records") for place in places]
    changes += [{"data": place} for place in (folder / "absent", folder / "empty", folder / "file", few, pipes, "")]
    changes += [{"output": folder / "foreign"}, {"epochs": 0}, {"epochs": 1.5}, {"batch_size": 10**12}, {"lr": 1e39}]
    changes += [{"seed": 2**64}, {"seed": -1}, {"workers": 10**12}, {"micro_batch": 3}, {"image_size": 0}]
    changes += [{"precision": "fp61"}, {"method": "kernelssl"}, {"device": "tpu"}, {"keep_epochs": "[3]"}]
    before, right = sorted(folder.rglob("*")), 0
    for change in changes:
        log = folder.parent / "inputs.log"
        process = subject.zygote.start(subject.flags(folder / "run", **change), log)
        said = process.output if process.wait(60) == 2 else ""
        told = [line for line in said.splitlines() if line.startswith("error: ")]
        good = len(told) == 1 and "Traceback" not in said and sorted(folder.rglob("*")) == before
        right += good
        if not good:
            print(f"wrong: {change}: exit code {process.returncode}\n{process.output[-1500:]}", flush=True)
    rows = [
        Row(
            "options and folders that nobody should give",
            len(changes),
            right,
            "exit code 2, one sentence, nothing written",
        )
    ]
    print(rows[-1], flush=True)
    assert not list(folder.rglob(LAST))
    return rows
