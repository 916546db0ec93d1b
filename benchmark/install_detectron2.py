"""Put Detectron2 into this environment without a compiler: ``python benchmark/install_detectron2.py``.

Called by ``make setup``. Detectron2 has no distribution of its own name on PyPI; ``detectron2.txt`` names the one
used here, with its hash, and says how it compares with upstream. An installed Detectron2 is left alone.
"""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "detectron2"


def main() -> int:
    """Install Detectron2 unless it is there; return the exit code of pip (0 when nothing was to do)."""
    if importlib.util.find_spec(PACKAGE) is not None:
        return 0
    site_packages = Path(sysconfig.get_paths()["purelib"])
    staging = site_packages / ".detectron2-unfinished"
    shutil.rmtree(staging, ignore_errors=True)  # what a killed installation left
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    # The wheel is tagged for Python 3.10 alone, though its Python code runs on later ones.
    command += ["--python-version", "3.10", "--require-hashes", "--target", str(staging)]
    code = subprocess.call([*command, "-r", str(ROOT / "detectron2.txt")])
    if code:
        shutil.rmtree(staging, ignore_errors=True)
        print("error: Detectron2 could not be installed; README, Install, says how to use upstream.", file=sys.stderr)
        return code
    # The compiled part was built against another torch, never loads here, and is not needed.
    for compiled in (staging / PACKAGE).glob("_C*.so"):
        compiled.unlink()
    # Nor are its scripts, which would lie in site-packages as a package of the name "tools".
    shutil.rmtree(staging / "tools", ignore_errors=True)
    move_into(staging, site_packages)
    return 0


def move_into(staging: Path, site_packages: Path) -> None:
    """Move what pip unpacked to its place, the package itself last: where it is found, it is whole."""
    for item in sorted(staging.iterdir(), key=lambda path: path.name == PACKAGE):
        target = site_packages / item.name
        if target.is_dir():
            shutil.rmtree(target)
        item.rename(target)
    staging.rmdir()


if __name__ == "__main__":
    raise SystemExit(main())
