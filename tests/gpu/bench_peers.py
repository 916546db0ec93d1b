"""SimSiam as lightly's documentation writes its loop, beside ours: same network, heads, batch, images and workers."""

import os
import time
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from pretrain.training.trainer import PretrainTrainer
from tests.gpu.measuring import Report, peak_memory, reset_memory, throughput
from tests.gpu.setting import DEVICE, DRY, batch_size, config, paths, photographs, synchronise

WORKERS = 2 if DRY else max(2, len(os.sched_getaffinity(0)) - 1)
BATCH = 256
SIDE = 32 if DRY else 224


class SimSiam(nn.Module):
    """The module of lightly's example (docs, "SimSiam"), with the released sizes of the heads."""

    def __init__(self) -> None:
        super().__init__()
        from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead

        network = torchvision.models.resnet18() if DRY else torchvision.models.resnet50()
        width = network.fc.in_features
        self.backbone = nn.Sequential(*list(network.children())[:-1])
        self.projection_head = SimSiamProjectionHead(width, 2048, 2048)
        self.prediction_head = SimSiamPredictionHead(2048, 512, 2048)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return projection and prediction."""
        z = self.projection_head(self.backbone(x).flatten(start_dim=1))
        return z.detach(), self.prediction_head(z)


def lightlys_loop(batches: int) -> dict[str, Any]:
    """Run the documented loop: float32, torchvision's transforms on Pillow images, SGD; return images/s."""
    from lightly.loss import NegativeCosineSimilarity
    from lightly.transforms import SimSiamTransform

    batch, batches = batch_size(BATCH), 3 if DRY else batches
    reset_memory()
    model = SimSiam().to(DEVICE)
    copies = -(-batch * batches // len(paths(1)))
    dataset = torchvision.datasets.ImageFolder(photographs(copies), transform=SimSiamTransform(SIDE), allow_empty=True)
    loader = torch.utils.data.DataLoader(dataset, batch, shuffle=True, drop_last=True, num_workers=WORKERS)
    criterion, optimiser = NegativeCosineSimilarity(), torch.optim.SGD(model.parameters(), lr=0.06)
    ends = []
    for (x0, x1), _ in loader:
        (z0, p0), (z1, p1) = (model(x.to(DEVICE)) for x in (x0, x1))
        loss = 0.5 * (criterion(z0, p1) + criterion(z1, p0))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        synchronise()
        ends.append(time.perf_counter())
        if len(ends) == batches:
            break
    half = len(ends) // 2
    rate = batch * (len(ends) - half) / (ends[-1] - ends[half - 1])
    pixels = [torch.randn(batch, 3, SIDE, SIDE, device=DEVICE) for _ in range(2)]

    def step() -> None:
        (z0, p0), (z1, p1) = (model(x) for x in pixels)
        (0.5 * (criterion(z0, p1) + criterion(z1, p0))).backward()
        optimiser.step()
        optimiser.zero_grad()

    alone = batch / throughput(step, repeats=6)
    return {"images/s end to end": rate, "images/s of the step alone": alone, "peak GiB": peak_memory()}


def our_loop(batches: int, precision: str) -> dict[str, Any]:
    """Run ours end to end; return images/s."""
    from tests.gpu.bench_input import end_to_end
    from tests.gpu.bench_step import prepared

    reset_memory()
    found = end_to_end(batches, method="simsiam", precision=precision)
    trainer: PretrainTrainer = prepared(batch_size(BATCH), method="simsiam", precision=precision)
    alone = trainer.config.batch_size / throughput(trainer.run_step, repeats=6)
    return {
        "images/s end to end": found["images/s"], "images/s of the step alone": alone, "peak GiB": peak_memory(),
    }  # fmt: skip


def main() -> None:
    """Measure everything; each finding is written at once."""
    report = Report()
    report.add(
        "settings", {"batch": batch_size(BATCH), "workers": WORKERS, "side": SIDE, "network": str(config().arch)}
    )
    report.attempt("ours, bf16", lambda: our_loop(20, "bf16"))
    report.attempt("lightly's documented loop, float32", lambda: lightlys_loop(14))
    report.attempt("ours, fp32", lambda: our_loop(14, "fp32"))


if __name__ == "__main__":
    main()
