"""Our checkpoint: written atomically with checksums, read safely, with the one before it to fall back to.

Keys: ``model`` (all branches), ``method``, ``epoch`` (completed), ``total_epochs``, ``iteration`` (completed),
``optimizer``, ``rng``, ``config``, ``format_version``, and of the run so far ``scaler``, ``seconds`` (wall time),
``identity`` (settings and images) and ``hooks`` (what hooks remember, by their names). Plain Python numbers only.
Checkpoints of fine-tuning are of the same kind: ``model``, ``optimizer``, ``scheduler``, ``iteration``, ``seconds``,
``identity``, ``hooks``, ``format_version``.

``checkpoint.pth`` is the last one and ``checkpoint.previous.pth`` the one before it, a second name of the same file
until the next is written, which costs no time.
"""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.core.errors import RunFailed, UserError
from pretrain.engine.archive import Damaged, load_archive, save_archive
from pretrain.engine.processes import from_main, say

FORMAT_VERSION = 1
LAST = "checkpoint.pth"
PREVIOUS = "checkpoint.previous.pth"
DAMAGED = "checkpoint.damaged.pth"  # a damaged last checkpoint is set aside under this name
# What taking over a checkpoint raises when fields are missing or hold something else than they should.
WRONG = (Damaged, KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError, AssertionError)


class NoGoodCheckpoint(RunFailed):
    """A run cannot go on, as all processes know: each checkpoint in its folder is damaged."""

    everywhere = True


def numbered(epoch: int) -> str:
    """Return the name of a kept checkpoint: ``checkpoint_0400.pth`` holds the weights after 400 completed epochs."""
    return f"checkpoint_{epoch:04d}.pth"


def save_checkpoint(path: str | Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically; `content` holds tensors, plain numbers, strings, lists and dicts only.

    One that is written over ``checkpoint.pth`` leaves the old one as ``checkpoint.previous.pth``. Raises
    ``CannotWrite``.
    """
    path = Path(path)
    previous = path.with_name(PREVIOUS) if path.name == LAST else None
    save_archive(path, {**content, "format_version": FORMAT_VERSION}, previous)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ours onto the CPU, after its checksums, without executing anything in it.

    Raises:
        UserError: there is none, it is no checkpoint of ours, or it has another format version.
        Damaged: a ``UserError``: it is not what was written.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; give the path of a {LAST}.")
    content = load_archive(path)
    if not isinstance(content, dict) or "format_version" not in content:
        raise UserError(f"{path} is not a checkpoint of pretrain/run.py; convert others with transfer/convert.py.")
    if content["format_version"] != FORMAT_VERSION:
        raise UserError(f"{path} has format {content['format_version']!r}, this version reads {FORMAT_VERSION}.")
    return content


def continue_from(folder: Path, take_over: Callable[[dict[str, Any]], int]) -> int:
    """Go on from the last checkpoint in `folder` that is whole; return its iteration, 0 when there is none at all.

    Every process of the run must call it. The main one reads, and every one calls ``take_over(content)``, which loads
    the content and returns the iteration; anything in ``WRONG`` that it raises says that the content is not what it
    should be. Then the previous checkpoint is tried, with a warning, and the damaged file is set aside.

    Raises:
        NoGoodCheckpoint: there are checkpoints, and each of them is damaged.
        UserError: as `take_over` raises it, for a checkpoint of another run say.
    """
    problems = []
    for name in (LAST, PREVIOUS):
        content, problem = from_main(lambda name=name: _read(folder / name))
        if content is not None:
            try:
                iteration = take_over(content)
            except torch.OutOfMemoryError:
                raise
            except WRONG as error:
                problem = f"{folder / name} is damaged ({_what(error)})."
            else:
                _warn(folder, problems, name, iteration)
                return iteration
        if problem is not None:
            problems.append(problem)
    if problems:
        raise NoGoodCheckpoint(
            f"{' '.join(problems)} Put a kept checkpoint of this run in the place of {LAST}, or remove the damaged "
            "files to begin anew"
        )
    return 0


def check_content(content: dict[str, Any], model: Mapping[str, Tensor], max_iter: int) -> None:
    """Check what every checkpoint of a run must hold; call it before anything is taken over.

    Args:
        content: of the checkpoint.  model: the state_dict that its ``model`` must fit.
        max_iter: iterations of the whole run; a checkpoint that claims more is damaged, not complete.

    Raises:
        Damaged: a number or a tensor is missing, of another kind, or out of its range.
    """
    iteration, seconds, weights = content["iteration"], content["seconds"], content["model"]
    if type(iteration) is not int or not 0 <= iteration <= max_iter:
        raise Damaged(f"its iteration is {iteration!r}, in a run of {max_iter}")
    if not isinstance(seconds, float) or not 0 <= seconds < math.inf:
        raise Damaged(f"its seconds are {seconds!r}")
    if not isinstance(weights, dict) or weights.keys() != model.keys():
        raise Damaged("its model has other tensors than this run's")
    for name, wanted in model.items():
        found = weights[name]
        if not isinstance(found, Tensor) or (found.dtype, found.shape) != (wanted.dtype, wanted.shape):
            raise Damaged(f"its tensor {name} has another type or shape than this run's")
        if not torch.isfinite(found).all():
            raise Damaged(f"its tensor {name} is not finite")


def check_optimiser(optimiser: torch.optim.Optimizer, wanted: list[dict[str, Any]]) -> None:
    """Check an optimiser that has loaded its state from a checkpoint, which torch does not.

    `wanted`: its ``param_groups`` before. Settings other than the learning rate must be the same, and what it remembers
    of a parameter must have the parameter's shape. Raises ``Damaged``.
    """
    for group, before in zip(optimiser.param_groups, wanted, strict=True):
        settings = [{k: v for k, v in g.items() if k not in ("params", "lr", "initial_lr")} for g in (group, before)]
        if settings[0] != settings[1]:
            raise Damaged("its optimiser has other settings than this run's")
        if not isinstance(group["lr"], float):
            raise Damaged("its optimiser has no learning rate")
        for parameter in group["params"]:
            for name, value in optimiser.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape:
                    raise Damaged(f"its optimiser's {name} has another shape than the parameter")


def _read(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Return the content of a checkpoint, or what is wrong with it, or neither when there is none."""
    if not path.is_file():
        return None, None
    try:
        return load_checkpoint(path), None
    except UserError as error:
        return None, str(error)


def _what(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return " ".join(str(error).split())[:160] or type(error).__name__


def _warn(folder: Path, problems: list[str], name: str, iteration: int) -> None:
    """Say that an older checkpoint is used and set the damaged one aside, so that it is never the previous one."""
    if not problems:
        return
    say(f"warning: {' '.join(problems)} Going on from {name}, iteration {iteration}.")
    from_main(lambda: os.replace(folder / LAST, folder / DAMAGED))
