"""Two classifiers on frozen features: a linear probe trained by steps, and weighted k nearest neighbours."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.core.errors import RunFailed
from benchmark.core.progress import progress
from pretrain.training.optimisers import LARC, LARS, MOMENTUM
from transfer.probing.recipes import ProbeSettings
from transfer.probing.scores import accuracies, ranks


def linear_probe(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: int,
    settings: ProbeSettings,
    seed: int,
    device: torch.device,
) -> tuple[Tensor, dict[str, float]]:
    """Train a linear classifier on features and test it.

    Where the settings say so, the features pass a batch norm without affine parameters first: batch statistics while
    training, running ones in the test. Only the last state is tested, never the best.

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
    norm = nn.BatchNorm1d(features.shape[1], affine=False) if settings.norm else nn.Identity()
    linear = nn.Linear(features.shape[1], classes)
    nn.init.normal_(linear.weight, std=0.01, generator=generator)
    nn.init.zeros_(linear.bias)
    model = nn.Sequential(norm, linear).to(device)
    optimiser = _optimiser(settings, len(features), linear, lr)
    steps_an_epoch = len(features) // batch
    bar = progress(range(settings.epochs), "linear probe", "epoch")
    for epoch in bar:
        order = torch.randperm(len(features), generator=generator)
        for step, rows in enumerate(order[: steps_an_epoch * batch].split(batch)):
            share = settings.lr_share(epoch, step / steps_an_epoch)
            for group in optimiser.param_groups:
                group["lr"] = lr * share
            loss = F.cross_entropy(model(features[rows].to(device)), labels[rows].to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if not torch.isfinite(loss):
            raise RunFailed(f"the loss of the linear probe is not finite in epoch {epoch + 1} (peak lr {lr:.4g})")
        bar.set_postfix({"loss": f"{float(loss.detach()):.3f}"})
    model.eval()
    scores = lambda rows: model(rows.to(device)).cpu()  # noqa: E731
    found, _ = ranks(scores, *test)
    learnt, _ = ranks(scores, *train)
    return found, accuracies(found, classes) | {"train_top1": 100 * float((learnt == 0).double().mean())}


def _optimiser(settings: ProbeSettings, samples: int, linear: nn.Linear, lr: float) -> torch.optim.Optimizer:
    name, decay = settings.optimizer_for(samples), settings.weight_decay
    if name == "sgd":
        return torch.optim.SGD(linear.parameters(), lr, MOMENTUM, weight_decay=decay, nesterov=settings.nesterov)
    return {"lars": LARS, "larc": LARC}[name](linear.parameters(), lr, MOMENTUM, decay)


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
