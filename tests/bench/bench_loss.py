"""Loss, forward and backward in float32 on all cores: the released formula stated plainly, against ours.

Time: median of interleaved pairs. Peak memory: in a fresh process for each, the highest resident memory during one
forward and backward above what the process held with its inputs, after a small call of the same function; median of
interleaved pairs.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.core.folder import ROOT
from pretrain.losses import kernel_ssl_loss
from tests.bench.timing import interleaved

SIZES = ((256, 512), (2048, 512), (256, 2048), (1024, 2048))
PAIRS = 5
PROCESS_PAIRS = 3  # for memory, which hardly varies
ORDER = 4


def released_loss(online_1: Tensor, online_2: Tensor, target_1: Tensor, target_2: Tensor) -> Tensor:
    """Return the loss as the released code of arXiv 2305.17326 states it: d x d, J as a matrix, K - 1 products."""
    m, d = online_1.shape
    centring = torch.eye(m) - torch.ones(m, m) / m
    identity = torch.eye(d)

    def covariance(a: Tensor, b: Tensor) -> Tensor:
        return F.normalize(a, dim=1).T @ centring @ F.normalize(b, dim=1) / m

    def logarithm(q: Tensor) -> Tensor:
        power = total = q - identity
        for k in range(2, ORDER + 1):
            power = power @ (q - identity)
            total = total + (-1) ** (k + 1) * power / k
        return total

    def uniformity(target: Tensor, online: Tensor) -> Tensor:
        return -torch.trace(identity @ logarithm(covariance(target, online) + identity))

    def alignment(target: Tensor, online: Tensor) -> Tensor:
        return -torch.trace((covariance(target, target) + identity) @ logarithm(covariance(online, online) + identity))

    both = (uniformity(target_2, online_1) + uniformity(target_1, online_2)) / 2
    return both + (alignment(target_2, online_1) + alignment(target_1, online_2)) / 2


LOSSES: dict[str, Callable[..., Tensor]] = {"released": released_loss, "ours": kernel_ssl_loss}


def inputs(m: int, d: int) -> list[Tensor]:
    """Return online 1 and 2, which want a gradient, and target 1 and 2, (m, d)."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(m, d, generator=generator).requires_grad_(i < 2) for i in range(4)]


def forward_and_backward(name: str, matrices: list[Tensor]) -> list[Tensor]:
    """Return loss and gradients of the loss `name`."""
    loss = LOSSES[name](*matrices)
    return [loss.detach(), *torch.autograd.grad(loss, matrices[:2])]


def print_peak(name: str, m: int, d: int) -> None:
    """Print the peak memory of one forward and backward, in MiB; for a fresh process on Linux."""
    forward_and_backward(name, inputs(16, 8))
    matrices = inputs(m, d)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the high-water mark starts again
    before = _status("VmRSS")
    forward_and_backward(name, matrices)
    print((_status("VmHWM") - before) / 1024)


def _status(key: str) -> int:
    """Return a line of /proc/self/status, in KiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key))


def peak(name: str, m: int, d: int) -> float:
    """Return ``print_peak`` of a fresh process."""
    code = f"from tests.bench.bench_loss import print_peak; print_peak({name!r}, {m}, {d})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def peaks(m: int, d: int) -> tuple[float, float]:
    """Return the median peaks of the released formula and of ours, processes interleaved, in MiB."""
    found = [(peak("released", m, d), peak("ours", m, d)) for _ in range(PROCESS_PAIRS)]
    return statistics.median(x[0] for x in found), statistics.median(x[1] for x in found)


def check_agreement(matrices: list[Tensor]) -> None:
    """Raise ``AssertionError`` when the two do not compute the same."""
    for expected, found in zip(*(forward_and_backward(name, matrices) for name in LOSSES), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def main() -> None:
    """Print seconds, MiB and ratios (released / ours) for several sizes."""
    print(f"{torch.get_num_threads()} threads; released / ours")
    print(f"{'m x d':>10} {'s':>7} {'s':>7} {'time ratio':>10} {'MiB':>8} {'MiB':>8} {'memory ratio':>12}")
    for m, d in SIZES:
        matrices = inputs(m, d)
        check_agreement(matrices)
        timing = interleaved(
            lambda x=matrices: forward_and_backward("released", x),
            lambda x=matrices: forward_and_backward("ours", x),
            PAIRS,
        )
        plain, ours = peaks(m, d)
        print(
            f"{f'{m}x{d}':>10} {timing.first_s:7.3f} {timing.second_s:7.3f} {timing.ratio:9.1f}x "
            f"{plain:8.1f} {ours:8.1f} {plain / ours:11.1f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
