"""A short training by Detectron2's own DefaultTrainer, whose log the tests audit: ``python default_trainer.py FOLDER``.

It trains C4's small cousin for four iterations on eight drawn images, with Detectron2's own tools alone.
"""

import json
import sys
from pathlib import Path

import numpy as np
from detectron2.config import get_cfg
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import DefaultTrainer, default_argument_parser, default_setup
from detectron2.evaluation import COCOEvaluator
from detectron2.model_zoo import get_config_file
from PIL import Image


def data(folder: Path) -> None:
    """Draw eight images with one rectangle each and register them as COCO's own names."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(8):
        pixels = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
        pixels[30:60, 30:60] = (255, 0, 0)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 96, "height": 96})
        box = {"id": number + 1, "image_id": number, "category_id": 1, "iscrowd": 0, "bbox": [30, 30, 30, 30]}
        annotations.append({**box, "area": 900, "segmentation": [[30, 30, 60, 30, 60, 60, 30, 60]]})
    content = {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "square"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    for name in ("squares_train", "squares_val"):
        register_coco_instances(name, {}, str(folder / "annotations.json"), str(folder))


class Trainer(DefaultTrainer):
    """As everyone's train_net.py has it."""

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        """Evaluate as COCO does."""
        return COCOEvaluator(dataset_name, output_dir=cfg.OUTPUT_DIR)


def main(folder: Path) -> None:
    """Train and evaluate; the log is ``FOLDER/out/log.txt``."""
    data(folder)
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"))
    cfg.merge_from_list([
        *("OUTPUT_DIR", str(folder / "out"), "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "SOLVER.MAX_ITER", 4),
        *("MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN", "SOLVER.BASE_LR", 0.001),
        *("DATASETS.TRAIN", ("squares_train",), "DATASETS.TEST", ("squares_val",), "DATALOADER.NUM_WORKERS", 0),
        *("INPUT.MIN_SIZE_TRAIN", (96,), "INPUT.MIN_SIZE_TEST", 96, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.STEPS", (3, 9)),
        *("MODEL.ROI_HEADS.NUM_CLASSES", 1, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16, "SEED", 7),
        *("MODEL.RPN.POST_NMS_TOPK_TEST", 20, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 20),
    ])  # fmt: skip
    cfg.freeze()
    Path(cfg.OUTPUT_DIR).mkdir()
    default_setup(cfg, default_argument_parser().parse_args([]))
    Trainer(cfg).train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
