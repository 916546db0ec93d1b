"""Put Detectron2 into this environment without a compiler: ``python benchmark/install_detectron2.py``.

Called by ``make setup``. Detectron2 has no distribution of its own name on PyPI; ``detectron2.txt`` names the one
used here, with its hash, and says how it compares with upstream. An installed Detectron2 is left alone.
"""

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Install Detectron2 unless it is there; return the exit code of pip (0 when nothing was to do)."""
    if importlib.util.find_spec("detectron2") is not None:
        return 0
    site_packages = Path(sysconfig.get_paths()["purelib"])
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--upgrade"]
    # The wheel is tagged for Python 3.10 alone, though its Python code runs on later ones.
    command += ["--python-version", "3.10", "--require-hashes", "--target", str(site_packages)]
    code = subprocess.call([*command, "-r", str(ROOT / "detectron2.txt")])
    # The compiled part was built against another torch, never loads here, and is not needed.
    for compiled in (site_packages / "detectron2").glob("_C*.so"):
        compiled.unlink()
    if code:
        print("error: Detectron2 could not be installed; README, Install, says how to use upstream.", file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
