"""Methods: the time of a training step of each, relative to Kernel-SSL's on the same encoder, interleaved.

ResNet-18 at 64 px with a batch of 16 and each method's released heads; queues of 4,096, since a batch of 16 would spend
its time on 65,536 keys. Processor time on one thread, so that other work on the machine counts little; medians.
"""

import statistics
import time

import torch

from pretrain.methods.base import Progress
from pretrain.methods.registry import make_method, method_class, method_names
from pretrain.training.config import make_config
from pretrain.training.optimisers import make_optimiser
from pretrain.training.recipe import released
from pretrain.training.step import Step

BATCH, SIDE, ROUNDS, CLASSES = 16, 64, 5, 1000
CPU = torch.device("cpu")


def prepared(name: str) -> tuple[Step, torch.optim.Optimizer]:
    """Return what a step of a method needs."""
    values = released(name) | {"arch": "resnet18", "image_size": SIDE, "batch_size": BATCH, "precision": "fp32"}
    if values.get("queue_size"):
        values["queue_size"] = 4096
    method = make_method(make_config(**values), CLASSES if method_class(name).needs_labels else 0)
    method = method.to(memory_format=torch.channels_last).train()
    step = Step(method, method, "fp32", CPU, torch.amp.GradScaler("cpu", enabled=False))
    return step, make_optimiser(method.config, method.parameter_groups())


def seconds(step: Step, optimiser: torch.optim.Optimizer) -> float:
    """Take one step on random pixels; return its processor time."""
    views = [torch.randn(BATCH, 3, SIDE, SIDE).to(memory_format=torch.channels_last) for _ in range(step.method.views)]
    labels = torch.randint(CLASSES, (BATCH,)) if step.method.needs_labels else None
    progress = Progress(10, 1000, 10)
    begin = time.process_time()
    optimiser.zero_grad(set_to_none=True)
    step.method.before_step(progress)
    result = step(views, labels, False)
    step.method.after_backward(progress)
    optimiser.step()
    step.method.after_step(progress, result.rows, result.targets)
    return time.process_time() - begin


def main() -> None:
    """Print a line for each method."""
    torch.set_num_threads(1)
    made = {name: prepared(name) for name in method_names()}
    taken: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(ROUNDS + 1):
        for name, (step, optimiser) in made.items():
            spent = seconds(step, optimiser)
            if turn:  # the first warms up
                taken[name].append(spent)
    base = statistics.median(taken["kernel_ssl"])
    for name, values in taken.items():
        median = statistics.median(values)
        print(f"{name:14} {1000 * median:7.0f} ms  {median / base:5.2f} of Kernel-SSL's", flush=True)
