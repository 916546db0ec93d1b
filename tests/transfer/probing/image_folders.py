"""Folders of classes for the tests of classification."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (30, 190, 60), "red": (210, 50, 40)}


def coloured(root: Path) -> Path:
    """Write three classes told apart by colour alone, as JPEG and PNG, under `root`/data; return that folder."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for name, colour in COLOURS.items():
            target = root / "data" / split / name
            target.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(np.array(colour) + rng.normal(0, 25, (40, 50, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(target / f"{i}.{'png' if i % 2 else 'jpg'}")
    return root / "data"
