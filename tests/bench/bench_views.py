"""Views: images a second on one core, fast engine against reference engine, pairs interleaved.

An image is decoded once and gives both views; the photographs are the embedded backgrounds (JPEG, 480 x 320 px or so).
"""

import cv2
import torch

from benchmark.core.folder import ROOT
from pretrain.images.recipe import ViewSettings
from pretrain.images.views import make_views
from tests.bench.timing import interleaved

BACKGROUNDS = ROOT / "benchmark" / "embedded" / "pack" / "backgrounds"
SIZES = (48, 96, 224)
PAIRS = 7


def main() -> None:
    """Print images a second of both engines and their ratio (median of the pairs) for several sizes of a view."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    contents = [path.read_bytes() for path in sorted(BACKGROUNDS.glob("*.jpg"))]

    def views(engine: str, size: int) -> None:
        settings = ViewSettings(size, engine=engine)
        for index, content in enumerate(contents):
            make_views(content, (0, 0, index), settings)

    print(f"{'px':>5} {'reference, images/s':>20} {'fast, images/s':>15} {'ratio':>6}")
    for size in SIZES:
        timing = interleaved(lambda s=size: views("reference", s), lambda s=size: views("fast", s), PAIRS)
        slow, fast = len(contents) / timing.first_s, len(contents) / timing.second_s
        print(f"{size:5} {slow:20,.0f} {fast:15,.0f} {timing.ratio:6.2f}")
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
