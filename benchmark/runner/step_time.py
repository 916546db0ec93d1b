"""The seconds of a pre-training step on P processes: a model in closed form, for plans and for the study of scaling.

A step of a global batch of m images is, on every process, ``fixed + m / P * image`` of computing; then what the
processes tell each other; then the loss, which every process computes on all m rows. Nothing is taken to overlap, and
nobody waits for a slow neighbour. Imports no torch.
"""

from dataclasses import dataclass

BYTES = 4  # rows, gradients and the loss are float32


@dataclass(frozen=True)
class Card:
    """What one device does by itself.

    Attributes:
        name: as its driver says it.
        fixed_s: seconds of a step that do not depend on the batch (kernel launches, optimiser, momentum branch), the
            loss left out.
        image_s: seconds an image: forward and backward of all views.
        loss_floor_s: seconds of the loss however few rows there are.
        loss_rate: float32 operations a second of the loss's matrix products.
        views_rate: source images a second whose views the cores beside the card prepare.
    """

    name: str
    fixed_s: float
    image_s: float
    loss_floor_s: float
    loss_rate: float
    views_rate: float = float("inf")


@dataclass(frozen=True)
class Links:
    """What connects the processes.

    Attributes:
        inside, between: bytes a second of an all-reduce by its bus bandwidth, within a machine and between machines.
        latency_inside_s, latency_between_s: seconds of a collective of a few numbers.
        per_machine: processes that share one machine.
    """

    inside: float
    between: float
    latency_inside_s: float
    latency_between_s: float
    per_machine: int = 8

    def of(self, processes: int) -> tuple[float, float]:
        """Return bytes a second and latency among so many processes."""
        if processes <= self.per_machine:
            return self.inside, self.latency_inside_s
        return self.between, self.latency_between_s


@dataclass(frozen=True)
class Work:
    """What a method's step moves and computes.

    Attributes:
        width: d, of the rows that the loss compares.
        gathered: matrices (m, d) that are gathered; Kernel-SSL's two predictions and two targets.
        trained_bytes: of the gradients that are averaged.
        norm_collectives: small collectives of the synchronised batch norms in one step.
    """

    width: int
    gathered: int
    trained_bytes: int
    norm_collectives: int


@dataclass(frozen=True)
class StepTime:
    """Seconds of the parts of one step; `waiting` is what the views come late by."""

    images: int
    compute: float
    gather: float
    gradients: float
    norms: float
    loss: float
    waiting: float

    @property
    def total(self) -> float:
        """Seconds of the step."""
        return self.compute + self.gather + self.gradients + self.norms + self.loss + self.waiting

    @property
    def images_per_second(self) -> float:
        """Source images a second of all processes together."""
        return self.images / self.total

    @property
    def largest(self) -> str:
        """The part beside computing that takes most."""
        parts = {"gather": self.gather, "gradients": self.gradients, "norms": self.norms, "loss": self.loss}
        parts["views"] = self.waiting
        return max(parts, key=lambda name: parts[name])


def loss_operations(rows: int, width: int) -> float:
    """Return the float operations of Kernel-SSL's loss of order 4, both pairs, by the side that it takes.

    On the Gram side (m <= d) a pair has 4 products of m x m x d and 8 of m x m x m; on the covariance side 5 of
    m x d x d and 10 of d x d x d (``pretrain/losses/kernel_ssl``). A multiply-add counts two.
    """
    m, d = rows, width
    products = 4 * m * m * d + 8 * m**3 if m <= d else 5 * m * d * d + 10 * d**3
    return 2 * 2 * products


def gathered_bytes(work: Work, rows: int, processes: int) -> float:
    """Return the bytes that a process receives for the loss; the way back moves none.

    Every process computes the same loss on all rows, so the gradient of its own rows is there already.
    """
    return BYTES * work.gathered * rows * work.width * (processes - 1) / processes


def step_time(card: Card, links: Links, work: Work, processes: int, batch: int) -> StepTime:
    """Return the step of a global `batch` on so many `processes`.

    All-reduce moves 2 (P - 1) / P times its bytes at the bus bandwidth, and gathering (P - 1) / P of the whole; alone,
    a process tells nobody anything.
    """
    share = batch / processes
    compute = card.fixed_s + share * card.image_s
    loss = max(card.loss_floor_s, loss_operations(batch, work.width) / card.loss_rate)
    gather = gradients = norms = 0.0
    if processes > 1:
        rate, latency = links.of(processes)
        gather = work.gathered * latency + gathered_bytes(work, batch, processes) / rate
        gradients = latency + 2 * (processes - 1) / processes * work.trained_bytes / rate
        norms = work.norm_collectives * latency
    busy = compute + gather + gradients + norms + loss
    return StepTime(batch, compute, gather, gradients, norms, loss, max(0.0, share / card.views_rate - busy))


# One card as measured (results/gpu, docs/performance.md): batches 256 and 512 give the seconds an image; what a step
# has beside is taken from training end to end at 256, because the steps that were timed alone were all logged ones.
# The rate of the loss is an assumption: 256 and 1024 rows took the same 5 ms, so neither showed it.
H200_BF16 = Card("NVIDIA H200, bf16", 0.0360, 0.000552, 0.00506, 40e12, 4340.0)
H200_FP32 = Card("NVIDIA H200, float32 with TF32 convolutions", 0.0360, 0.000606, 0.00506, 40e12, 1411.0)
CARDS = {"bf16": H200_BF16, "fp32": H200_FP32}
# Assumptions, not measured: NVLink and one InfiniBand port a card, as all-reduces of 25 MB find them.
LINKS = Links(200e9, 100e9, 30e-6, 60e-6)
# ResNet-50 with the released heads: 38.2 million trained parameters; 57 norms of the online branch (two views, two
# ways) and 56 of the momentum branch (two views, one way).
KERNEL_SSL = Work(2048, 4, BYTES * 38_199_360, 57 * 2 * 2 + 56 * 2)
IMAGENET = 1_281_167
