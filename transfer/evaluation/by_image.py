"""What COCO's and VOC's evaluators share: predictions kept by image and gathered over the processes, and percent."""

import math
from collections.abc import Sequence
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.utils import comm

from benchmark.core.errors import RunFailed

Metrics = dict[str, float | None]


def percent(value: float) -> float | None:
    """Return 100 x `value`; None for COCO's -1 and for NaN, which mean that there was nothing to measure."""
    return None if math.isnan(value) or value < 0 else 100.0 * float(value)


class ByImage(DatasetEvaluator):
    """Keeps what a detector says of each image once, and gathers that over the processes.

    ``predictions`` are COCO results of all images in order of their ids, after ``evaluate`` and in the main process.
    """

    def __init__(self, category_ids: Sequence[int]):
        self._category_ids = tuple(category_ids)
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._images: dict[Any, list[dict]] = {}
        self.predictions: list[dict] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep the ``instances`` that the detector returned for each input, as COCO results."""
        for image, output in zip(inputs, outputs, strict=True):
            results = instances_to_coco_json(output["instances"].to("cpu"), image["image_id"])
            for result in results:
                result["category_id"] = self._category_ids[result["category_id"]]
            self._images[image["image_id"]] = results

    def _gather(self, expected: set) -> bool:
        """Collect ``predictions`` in the main process; say whether this is the main process.

        An image that a sampler gave to two processes to even out their loads counts once. Raises ``RunFailed`` there
        unless exactly the images `expected` were processed: AP over fewer would pass for AP over all.
        """
        parts = comm.gather(self._images, dst=0)
        if not comm.is_main_process():
            return False
        images: dict[Any, list[dict]] = {}
        for part in parts:
            images |= part
        if set(images) != expected:
            odd = sorted(set(images) ^ expected, key=str)
            raise RunFailed(
                f"the detector was run on {len(images)} images but the evaluation is over {len(expected)} "
                f"(first difference: image {odd[0]}); its AP would not be comparable"
            )
        self.predictions = [result for image_id in sorted(images) for result in images[image_id]]
        return True
