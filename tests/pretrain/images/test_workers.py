"""Workers neither hang nor outlive their parent; what they do with signals: tests/pretrain/engine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

AFTER_THREADS = """
import sys, torch, cv2, numpy as np
torch.set_num_threads(4)
(torch.randn(800, 800) @ torch.randn(800, 800)).relu().sum()      # the parent has an OpenMP pool
cv2.setNumThreads(4)
cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 3)   # and one of OpenCV
from pretrain.images.listing import list_images
from pretrain.images.loading import make_loader
from pretrain.images.recipe import ViewSettings
for engine in ("fast", "reference"):
    loader = make_loader(list_images(sys.argv[1]), ViewSettings(224, engine=engine), batch_size=4, seed=0, workers=2,
                         total_iterations=6)
    print(engine, sum(len(batch.views[0]) for batch in loader), flush=True)
"""


def test_workers_do_not_hang_after_the_parent_has_used_threads(folder):
    command = [sys.executable, "-W", "ignore", "-c", AFTER_THREADS, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.stdout.split() == ["fast", "24", "reference", "24"], done.stderr[-2000:]


WAITING = """
import multiprocessing, sys, time
from pretrain.images.listing import list_images
from pretrain.images.loading import make_loader
from pretrain.images.recipe import ViewSettings
paths = list_images(sys.argv[1])
batches = iter(make_loader(paths, ViewSettings(16), batch_size=4, seed=0, workers=2, total_iterations=10**6))
next(batches)
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
time.sleep(600)
"""


STUCK = """
import multiprocessing, sys, threading, time
import pretrain.images.loading
from pretrain.images.listing import list_images
from pretrain.images.recipe import ViewSettings
pretrain.images.listing.read_image = lambda path: time.sleep(600)  # a disk that does not answer
loader = pretrain.images.loading.make_loader(
    list_images(sys.argv[1]), ViewSettings(16), batch_size=4, seed=0, workers=2, total_iterations=10
)
batches = iter(loader)
threading.Thread(target=next, args=(batches,), daemon=True).start()
while len(multiprocessing.active_children()) < 2:
    time.sleep(0.01)
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
time.sleep(600)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(params=[WAITING, STUCK], ids=["waiting", "stuck in a read"])
def training(request, folder):
    """A process with two workers, and the workers' numbers."""
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", request.param, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert len(workers) == 2
        yield parent, workers
    finally:
        parent.kill()
        parent.wait()
        for pid in filter(alive, workers):
            os.kill(pid, signal.SIGKILL)


LATE = """
import multiprocessing, os, time
from pretrain.engine.workers import start_worker

def late():
    time.sleep(1)
    start_worker()
    time.sleep(600)

worker = multiprocessing.Process(target=late)
worker.start()
print(worker.pid, flush=True)
os._exit(0)
"""


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_die_with_a_parent_that_is_killed(training):
    parent, workers = training
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    # At once: torch's own check takes up to 5 s, and never ends a worker that waits for a disk.
    assert until(lambda: not any(map(alive, workers)), seconds=3)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_whose_parent_ended_before_it_came_to_look_ends_too():
    parent = subprocess.Popen([sys.executable, "-c", LATE], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.wait()
    try:
        assert until(lambda: not alive(worker))
    finally:
        if alive(worker):
            os.kill(worker, signal.SIGKILL)
