"""Two classifiers on frozen features: a linear probe trained by steps, and weighted k nearest neighbours."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.core.errors import RunFailed
from benchmark.core.progress import progress
from pretrain.training.optimisers import LARS, MOMENTUM
from transfer.probing.scores import accuracies, ranks

BASE_BATCH = 256  # the learning rate is given for this batch
LARS_ITERATIONS = 10_000


@dataclass(frozen=True)
class ProbeSettings:
    """Of the linear probe; the defaults are those of Kernel-SSL's released code for ImageNet.

    Attributes:
        epochs: passes over the training features.
        batch: rows of a step, capped by the data; the rows of an epoch that fill no batch wait for the next one.
        lr: peak for a batch of 256, scaled by the batch in use / 256; cosine to 0 per iteration, no warm-up.
        optimizer: ``lars``, ``sgd`` or ``auto``; momentum 0.9, no weight decay. LARS, which that code uses, moves the
            weights by a thousandth of lr times their length in a step, so that a short probe ends where it began
            (25 % against 35 % by SGD on 3,068 photographs, 100 epochs). ``auto`` takes it from 10,000 steps on.
    """

    epochs: int = 100
    batch: int = 4096
    lr: float = 0.03
    optimizer: str = "auto"

    def batch_for(self, samples: int) -> int:
        """Return the batch in use for that many training rows."""
        return min(self.batch, samples)

    def iterations_for(self, samples: int) -> int:
        """Return the steps of the whole probe."""
        return self.epochs * (samples // self.batch_for(samples))

    def optimizer_for(self, samples: int) -> str:
        """Return the optimiser in use."""
        if self.optimizer != "auto":
            return self.optimizer
        return "lars" if self.iterations_for(samples) >= LARS_ITERATIONS else "sgd"

    def lr_for(self, samples: int) -> float:
        """Return the peak learning rate in use."""
        return self.lr * self.batch_for(samples) / BASE_BATCH


def linear_probe(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: int,
    settings: ProbeSettings,
    seed: int,
    device: torch.device,
) -> tuple[Tensor, dict[str, float]]:
    """Train a linear classifier on features and test it.

    The features pass a batch norm without affine parameters; batch statistics while training, running ones in the
    test. Only the last state is tested, never the best.

    Args:
        train, test: features (n, d) float32 and labels (n,) int64 in [0, classes).
        classes: number of classes.
        seed: of the first weights and of the order.
        device: to train on; the features stay where they are.

    Returns:
        The rank of each test row's true class, and the ``accuracies`` with ``train_top1``: top-1 on the training
        features, in percent.

    Raises:
        RunFailed: the loss is no longer finite.
    """
    features, labels = train
    batch, lr = settings.batch_for(len(features)), settings.lr_for(len(features))
    generator = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm1d(features.shape[1], affine=False)
    linear = nn.Linear(features.shape[1], classes)
    nn.init.normal_(linear.weight, std=0.01, generator=generator)
    nn.init.zeros_(linear.bias)
    model = nn.Sequential(norm, linear).to(device)
    optimiser = _optimiser(settings.optimizer_for(len(features)), linear, lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.iterations_for(len(features)))
    bar = progress(range(settings.epochs), "linear probe", "epoch")
    for epoch in bar:
        order = torch.randperm(len(features), generator=generator)
        for rows in order[: len(order) // batch * batch].split(batch):
            loss = F.cross_entropy(model(features[rows].to(device)), labels[rows].to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
        if not torch.isfinite(loss):
            raise RunFailed(f"the loss of the linear probe is not finite in epoch {epoch + 1} (peak lr {lr:.4g})")
        bar.set_postfix(loss=f"{float(loss.detach()):.3f}", refresh=False)
    model.eval()
    scores = lambda rows: model(rows.to(device)).cpu()  # noqa: E731
    found, _ = ranks(scores, *test)
    learnt, _ = ranks(scores, *train)
    return found, accuracies(found, classes) | {"train_top1": 100 * float((learnt == 0).double().mean())}


def _optimiser(name: str, linear: nn.Linear, lr: float) -> torch.optim.Optimizer:
    if name == "lars":
        return LARS(linear.parameters(), lr, MOMENTUM)
    return torch.optim.SGD(linear.parameters(), lr, MOMENTUM)


@torch.no_grad()
def nearest_neighbours(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: int,
    neighbours: int,
    temperature: float,
    device: torch.device,
) -> tuple[Tensor, dict[str, float]]:
    """Test k-NN by cosine similarity, each neighbour voting with exp(similarity / temperature).

    The weighting of Wu et al. (arXiv 1805.01978, section 3.4), who use k = 200 and temperature 0.07 on ImageNet.

    Args:
        train, test, classes: see ``linear_probe``.
        neighbours: k, capped by the number of training rows.
        temperature: above 0.

    Returns:
        The rank of each test row's true class, and the ``accuracies``.
    """
    bank, votes = F.normalize(train[0], dim=1).to(device), F.one_hot(train[1], classes).float().to(device)
    k = min(neighbours, len(bank))

    def scores(rows: Tensor) -> Tensor:
        similarity, nearest = (F.normalize(rows, dim=1).to(device) @ bank.T).topk(k, dim=1)
        weights = ((similarity - 1) / temperature).exp()  # minus 1: the largest exponent is 0
        return (votes[nearest] * weights[:, :, None]).sum(1).cpu()

    found, _ = ranks(scores, *test)
    return found, accuracies(found, classes)
