"""What a pre-training run will cost, before it is started: iterations, parameters, FLOPs, memory, hours.

Everything here is computed from the very network that would train. FLOPs are counted by fvcore, saved activations by
autograd's own hooks on a forward pass, speed by a few real steps and a few real images; docstrings say what each
estimate leaves out.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from benchmark.core.errors import UserError
from benchmark.core.options import to_yaml
from pretrain.engine.processes import world_size
from pretrain.images.collection import Images
from pretrain.images.labels import find_labels
from pretrain.images.loading import make_loader
from pretrain.images.order import epoch_length
from pretrain.images.recipe import ViewSettings
from pretrain.methods.base import Method, Progress
from pretrain.methods.registry import make_method, method_class
from pretrain.training.config import PretrainConfig
from pretrain.training.optimisers import make_optimiser
from pretrain.training.step import Step

COMPARED_EPOCHS = (100, 400, 800)
NETWORK_SECONDS, VIEWS_SECONDS = 15.0, 3.0
WORKSPACE = 1.4  # peak growth of a step per image over what autograd keeps; measured on CPUs: 1.3 to 1.45


@dataclass(frozen=True)
class Flops:
    """Of one image, all views: floating-point operations, a multiply-add counted as two.

    forward_online, forward_momentum: of ``encode`` and of ``target``, counted by fvcore (convolutions, matrix products,
        norms, pooling).
    backward: estimated as twice the online forward, one product for the inputs and one for the weights.
    repeated: the second forward of gradient caching, 0 without --micro-batch.
    """

    forward_online: int
    forward_momentum: int
    backward: int
    repeated: int

    @property
    def total(self) -> int:
        """All operations of one training step, per image; loss, optimiser and EMA left out (below 1 %)."""
        return self.forward_online + self.forward_momentum + self.backward + self.repeated


@dataclass(frozen=True)
class Memory:
    """Peak bytes of one process in a training step.

    state: parameters and buffers, gradients and one optimiser buffer of what is trained.
    activations: what autograd keeps of the online forward (of one micro-batch with --micro-batch), times 1.4 for the
        gradients and workspace that come and go during the backward pass.
    inputs: the normalised views of the process's batch.
    loss: about eight copies of the gathered rows and of the loss's largest matrix, float32.
    """

    state: int
    activations: int
    inputs: int
    loss: int

    @property
    def total(self) -> int:
        """Their sum; the libraries themselves (0.5 GiB or so) come on top."""
        return self.state + self.activations + self.inputs + self.loss


class _Encode(nn.Module):
    """``encode`` with plain tensors in and out, as fvcore traces it."""

    def __init__(self, method: Method):
        super().__init__()
        self.method = method

    def forward(self, *views: Tensor) -> tuple[Tensor, ...]:
        return self.method.encode(views).rows


class _Target(_Encode):
    """``target``, likewise."""

    def forward(self, *views: Tensor) -> tuple[Tensor, ...]:
        return self.method.target(views)


def parameter_counts(method: Method) -> dict[str, int]:
    """Return the number of parameters of each part."""
    return {name: sum(p.numel() for p in part.parameters()) for name, part in method.named_children()}


def count_flops(method: Method, config: PretrainConfig) -> Flops:
    """Count the operations of one image in one training step; see ``Flops``."""
    views = tuple(torch.zeros(1, 3, config.image_size, config.image_size) for _ in range(method.views))
    was_training = method.training
    method.eval()  # one image has no batch statistics
    online = 2 * _multiply_adds(_Encode(method).eval(), views)
    momentum = 2 * _multiply_adds(_Target(method).eval(), views) if method.target(views) else 0
    method.train(was_training)
    return Flops(online, momentum, 2 * online, online if config.micro_batch else 0)


def _multiply_adds(module: nn.Module, example: tuple[Tensor, ...]) -> int:
    analysis = FlopCountAnalysis(module, example).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(analysis.total())


def estimate_memory(method: Method, config: PretrainConfig) -> Memory:
    """Estimate the peak memory of one process on its share of the batch; see ``Memory``."""
    batch = max(1, config.batch_size // world_size())
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    kept = sum(t.numel() for t in [*method.parameters(), *method.buffers()])
    in_graph = min(config.micro_batch or batch, batch)
    m = config.batch_size
    return Memory(
        state=4 * (kept + 2 * trained),
        activations=round(WORKSPACE * saved_bytes(method, config, in_graph)),
        inputs=method.views * batch * 3 * config.image_size**2 * 4,
        loss=8 * 4 * (m * _row_numbers(method, config) + method.loss_numbers(m)),
    )


@torch.no_grad()
def _row_numbers(method: Method, config: PretrainConfig) -> int:
    """Return how many numbers of one image are gathered for the loss."""
    views = [torch.zeros(1, 3, config.image_size, config.image_size) for _ in range(method.views)]
    was_training = method.training
    method.eval()
    numbers = sum(rows.numel() for rows in (*method.encode(views).rows, *method.target(views)))
    method.train(was_training)
    return numbers


def saved_bytes(method: Method, config: PretrainConfig, images: int) -> int:
    """Return the bytes that autograd keeps for the views of a batch of `images`, parameters not counted.

    The storages saved by a forward pass on the CPU in the run's precision are added up for two and for four images;
    what grows is per image, the rest (weights cast to 16 bits) is paid once. fp16 is counted as bf16, equally wide.
    """
    two, four = (_saved_bytes(method, config, n) for n in (2, 4))
    per_image = (four - two) / 2
    return round(two + (images - 2) * per_image)


def _saved_bytes(method: Method, config: PretrainConfig, images: int) -> int:
    method.to(memory_format=torch.channels_last)  # as it is trained: in another order weights would be copied
    own = {tensor.untyped_storage().data_ptr() for tensor in [*method.parameters(), *method.buffers()]}
    # The tensors themselves are kept until the end: a freed one's address would be given to the next.
    storages: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    buffers = {name: buffer.clone() for name, buffer in method.named_buffers()}
    view = torch.zeros(images, 3, config.image_size, config.image_size).to(memory_format=torch.channels_last)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=config.precision != "fp32"),
    ):
        method.encode([view] * method.views)
    for name, buffer in method.named_buffers():  # the pass has moved the running statistics
        buffer.copy_(buffers[name])
    inputs = view.untyped_storage().data_ptr()
    return sum(t.untyped_storage().nbytes() for key, t in storages.items() if key not in own and key != inputs)


def measure_network(
    method: Method, config: PretrainConfig, device: torch.device, seconds: float = NETWORK_SECONDS
) -> tuple[float, int]:
    """Time real training steps of one process on random pixels: forward, loss, backward, optimiser, EMA.

    The batch is doubled from 4 until the process's share of the batch is reached, or the time or half the free memory
    would be used up. Communication between processes is not timed.

    Returns:
        Images per second of one process, and the batch at which that was measured.
    """
    share = min(config.micro_batch or config.batch_size, max(2, config.batch_size // world_size()))
    per_image = WORKSPACE * (saved_bytes(method, config, 4) - saved_bytes(method, config, 2)) / 2
    most = min(share, max(4, int(_free_memory(device) / 2 / per_image)))
    method = method.to(device, memory_format=torch.channels_last)
    optimiser = make_optimiser(config, method.parameter_groups())
    for group in optimiser.param_groups:
        group["lr"] = 0.0  # the steps must not change what they time
    step = Step(method, method, config.precision, device, torch.amp.GradScaler(device.type, enabled=False))
    begin, batch = time.perf_counter(), min(4, most)
    while True:
        took = min(step_seconds(step, optimiser, config, batch) for _ in range(2))
        if batch == most or time.perf_counter() - begin + 4 * took > seconds:
            return batch / took, batch
        batch = min(2 * batch, most)


def step_seconds(step: Step, optimiser: torch.optim.Optimizer, config: PretrainConfig, batch: int) -> float:
    """Return the seconds of one training step on `batch` random images of this process, its end waited for."""
    views = [torch.randn(batch, 3, config.image_size, config.image_size, device=step.device)]
    views *= step.method.views
    views = [view.contiguous(memory_format=torch.channels_last) for view in views]
    progress = Progress(0, 1, 1)
    _synchronise(step.device)
    begin = time.perf_counter()
    optimiser.zero_grad(set_to_none=True)
    step.method.before_step(progress)
    labels = torch.zeros(batch, dtype=torch.long, device=step.device) if step.method.needs_labels else None
    result = step(views, labels, False)
    step.method.after_backward(progress)
    optimiser.step()
    step.method.after_step(progress, result.rows, result.targets)
    _synchronise(step.device)
    return time.perf_counter() - begin


def measure_views(config: PretrainConfig, paths: Images, device: torch.device, seconds: float = VIEWS_SECONDS) -> float:
    """Read and augment real images of the data set in this process; return images (of two views) per second.

    With --views gpu the views are made on `device`, in batches of up to 32.
    """
    batch = min(32, len(paths)) if config.views == "gpu" else 1
    settings = ViewSettings(config.image_size, config.views, config.augmentation.recipes())
    loader = make_loader(
        paths, settings, batch_size=batch, seed=config.seed, workers=0, device=device,
        total_iterations=epoch_length(len(paths), batch),
    )  # fmt: skip
    begin, done = time.perf_counter(), 0
    for _ in loader:
        done += batch
        if time.perf_counter() - begin > seconds:
            break
    _synchronise(device)
    return done / (time.perf_counter() - begin)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def make_plan(config: PretrainConfig, paths: Images, device: torch.device, output: str | Path) -> str:
    """Return the plan of a run as text: the resolved config as YAML, then what it will cost. Writes nothing.

    Args:
        config: of the run; its images_per_second (of all processes together) makes measuring unnecessary.
        paths: the images.
        device: that would train; measuring takes up to about 20 s on it.
        output: the folder that the run would write.

    Raises:
        UserError: the data set is smaller than one batch.
    """
    length = epoch_length(len(paths), config.batch_size)
    if length < 1:
        raise UserError(f"--batch-size {config.batch_size} is more than the {len(paths)} images; lower it.")
    classes = len(find_labels(paths).classes) if method_class(config.method).needs_labels else 0
    method = make_method(config, classes)
    lines = [to_yaml(config).rstrip(), "", f"would write   {output}", *_schedule_lines(config, len(paths), length)]
    lines += _size_lines(method, config)
    return "\n".join(lines + _speed_lines(method, config, paths, device, length))


def _schedule_lines(config: PretrainConfig, n_images: int, length: int) -> list[str]:
    return [
        f"images        {n_images:,}; {n_images - length * config.batch_size:,} of them left over in each epoch",
        f"iterations    {config.epochs * length:,} = {config.epochs} epochs x {length:,}; warm-up {config.warmup:g} "
        f"epochs = {round(config.warmup * length):,}",
        f"batch         {config.batch_size} = {world_size()} processes x {config.batch_size // world_size()}",
        f"learning rate {config.scaling_words} at its peak",
    ]


def _size_lines(method: Method, config: PretrainConfig) -> list[str]:
    counts, flops, memory = parameter_counts(method), count_flops(method, config), estimate_memory(method, config)
    repeated = f", repeated forward {flops.repeated / 1e9:.2f}" if flops.repeated else ""
    return [
        "parameters    " + ", ".join(f"{name} {count:,}" for name, count in counts.items()),
        f"GFLOP / image {flops.total / 1e9:.2f} (multiply-add = 2; all views): online forward "
        f"{flops.forward_online / 1e9:.2f}, momentum forward {flops.forward_momentum / 1e9:.2f}, backward about "
        f"{flops.backward / 1e9:.2f}{repeated}",
        f"memory        about {memory.total / 2**30:.1f} GiB a process and the library's own: state "
        f"{memory.state / 2**30:.2f}, saved activations {memory.activations / 2**30:.2f}, inputs "
        f"{memory.inputs / 2**30:.2f}, loss {memory.loss / 2**30:.2f}",
    ]


def _speed_lines(method: Method, config: PretrainConfig, paths: Images, device: torch.device, length: int) -> list[str]:
    speed, lines = config.images_per_second, []
    if speed is None:
        network, batch = measure_network(method, config, device)
        views, processes, workers = measure_views(config, paths, device), world_size(), max(1, config.workers)
        lines = [
            f"measured      network {network:,.4g} images/s a process at batch {batch} on {device.type}; views "
            f"{views:,.4g} images/s a {'process, read included' if config.views == 'gpu' else 'core'}"
        ]
        beside = config.workers > 0 and config.views != "gpu"  # a device makes views and takes steps in turn
        cores = min(workers, _cores(processes)) if config.views != "gpu" else 1
        speed = processes * _together(network, views * cores, beside)
    hours = {n: n * length * config.batch_size / speed / 3600 for n in sorted({*COMPARED_EPOCHS, config.epochs})}
    return [
        *lines,
        f"speed         {speed:,.4g} images/s ({'from the two above' if lines else 'as given'})",
        "hours         " + ", ".join(f"{n} epochs {value:,.3g}" for n, value in hours.items()),
    ]


def _together(network: float, views: float, beside: bool) -> float:
    """Return images per second of both: the slower one when workers run beside, one after the other without them."""
    return min(network, views) if beside else 1 / (1 / network + 1 / views)


def _cores(processes: int) -> int:
    """Return the cores that each training process has for its workers."""
    return max(1, (os.cpu_count() or 1) // processes)
