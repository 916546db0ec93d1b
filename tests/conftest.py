"""What every test may rely on."""

import shutil
import signal

import pytest

# Shells start background jobs with SIGINT ignored, and children inherit that: tests of Ctrl-C would then test nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def little_on_the_disk(request, tmp_path_factory):
    """Remove what the fixtures of a file have written, 1 GB where they train, once its tests have passed.

    Pytest removes a test's folder by itself, those of wider fixtures never: 20 GB together.
    """
    before, failed = set(tmp_path_factory.getbasetemp().iterdir()), request.session.testsfailed
    yield
    if request.session.testsfailed == failed:
        for folder in set(tmp_path_factory.getbasetemp().iterdir()) - before:
            if not folder.is_symlink():
                shutil.rmtree(folder, ignore_errors=True)
