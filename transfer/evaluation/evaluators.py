"""Who computes COCO's AP. Imports nothing heavy, for the command lines."""

from typing import Literal, get_args

Evaluator = Literal["hotcoco", "pycocotools"]
EVALUATORS: tuple[str, ...] = get_args(Evaluator)
