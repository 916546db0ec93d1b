"""The options of the studies. Imports no torch, for their command lines."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from benchmark.core.errors import UserError
from benchmark.core.folder import RESULTS
from benchmark.core.options import check_values, option
from benchmark.core.value_types import MOST, Count, CountOrZero, NonNegativeFloat, PathText, PositiveFloat, Seed
from benchmark.runner.step_time import CARDS, LINKS, Card, Links
from pretrain.loss_options import Kernel, LossOptions, Order

TwoOrMore = Annotated[int, Field(ge=2, le=MOST)]
Shares = tuple[Annotated[int, Field(ge=2, le=2**16)], ...]
FourOrMore = Annotated[int, Field(ge=4, le=MOST)]


@dataclass(frozen=True)
class RankConfig:
    """Options of ``rank.py``."""

    mu: NonNegativeFloat = option(1.0, "regulariser of the matrix logarithm", group="Loss")
    lam: NonNegativeFloat = option(1.0, "weight of the identity in uniformity", group="Loss")
    gammas: tuple[NonNegativeFloat, ...] = option((0.0, 0.5, 1.0), "weights of alignment, e.g. 0,0.1,1", group="Loss")
    taylor_order: Order = option(4, "order K of the Taylor logarithm", group="Loss")
    logarithm: Literal["taylor", "exact", "both"] = option("both", "matrix logarithm", group="Loss")
    width: TwoOrMore = option(2048, "dimension d of the closed form", group="Closed form")
    samples: TwoOrMore = option(64, "rows of a free feature matrix", group="Descent")
    free_width: TwoOrMore = option(16, "columns of a free feature matrix", group="Descent")
    steps: CountOrZero = option(1000, "steps of gradient descent; 0: closed form only", group="Descent")
    lr: PositiveFloat = option(1.0, "learning rate per row", group="Descent")
    seed: Seed = option(0, "of the features at the start", group="Descent")
    output: PathText = option(str(RESULTS / "studies" / "rank"), "folder of tables and figure", group="Output")

    def __post_init__(self) -> None:
        check_values(self)
        if not self.gammas:
            raise UserError("--gammas is empty; give one or more, such as 0,0.1,1.")
        self.cases()

    def cases(self) -> list[LossOptions]:
        """Return the losses to compare: every gamma with every logarithm. Raises ``UserError`` for senseless ones."""
        return [
            LossOptions(mu=self.mu, lam=self.lam, gamma=gamma, logarithm=logarithm, **self._order(logarithm))
            for logarithm in (("taylor", "exact") if self.logarithm == "both" else (self.logarithm,))
            for gamma in self.gammas
        ]

    def _order(self, logarithm: str) -> dict[str, int]:
        return {"taylor_order": self.taylor_order} if logarithm == "taylor" else {}


@dataclass(frozen=True)
class EstimatorConfig:
    """Options of ``estimator.py``."""

    mus: tuple[PositiveFloat, ...] = option((0.25, 0.5, 1.0, 1.5), "regularisers mu, e.g. 0.5,1", group="Loss")
    orders: Count = option(8, "compare orders K = 1 to this", group="Loss")
    gamma: NonNegativeFloat = option(1.0, "weight of alignment in the loss", group="Loss")
    kernel: Kernel = option("linear", "kernel of the covariance operators", group="Loss")
    samples: FourOrMore = option(512, "rows of the synthetic features", group="Features")
    width: TwoOrMore = option(128, "columns of the synthetic features", group="Features")
    weights: str | None = option(
        None, "checkpoint of pretrain/run.py whose features are compared as well", group="Features"
    )
    data: PathText | None = option(None, "image folder for --weights; default embedded photographs", group="Features")
    images: FourOrMore = option(256, "images for --weights; a multiple of 32, or fewer", group="Features")
    seed: Seed = option(0, "of the synthetic features and of the views", group="Features")
    output: PathText = option(str(RESULTS / "studies" / "estimator"), "folder of tables and figure", group="Output")

    def __post_init__(self) -> None:
        check_values(self)
        if not self.mus:
            raise UserError("--mus is empty; give one or more, such as 0.5,1.")
        if self.data is not None and self.weights is None:
            raise UserError("--data has no effect without --weights; give the checkpoint too.")


@dataclass(frozen=True)
class ScalingConfig:
    """Options of ``scaling.py``."""

    gpus: tuple[Count, ...] = option((1, 8, 64), "numbers of GPUs, e.g. 1,8,64", group="Prediction")
    images: Shares = option((64, 128, 256, 512), "images of a GPU in a step, e.g. 128,256", group="Prediction")
    precision: Literal["bf16", "fp32"] = option("bf16", "of the network, as measured on one card", group="Prediction")
    nvlink: PositiveFloat = option(
        LINKS.inside / 1e9, "bus bandwidth of all-reduce within a machine, GB/s (assumed)", group="Assumptions"
    )
    infiniband: PositiveFloat = option(
        LINKS.between / 1e9, "bus bandwidth of all-reduce between machines, GB/s (assumed)", group="Assumptions"
    )
    latency: PositiveFloat = option(
        LINKS.latency_inside_s * 1e6, "of a collective within a machine, microseconds; twice it between machines",
        group="Assumptions",
    )  # fmt: skip
    loss_rate: PositiveFloat = option(
        CARDS["bf16"].loss_rate / 1e12, "float32 matrix products of the loss, TFLOP/s (assumed)", group="Assumptions"
    )
    measure: bool = option(
        False, "measure one and two processes here, a minute on two free cores, and check the model", group="Check"
    )
    rounds: Count = option(5, "rounds of the measurement, alone and together in turn", group="Check")
    output: PathText = option(str(RESULTS / "studies" / "scaling"), "folder of tables and figure", group="Output")

    def __post_init__(self) -> None:
        check_values(self)
        if not self.gpus or not self.images:
            raise UserError("--gpus and --images need one or more numbers each, such as 1,8,64 and 128,256.")

    @property
    def card(self) -> Card:
        """The card with the assumed rate of the loss."""
        known = CARDS[self.precision]
        return Card(
            known.name, known.fixed_s, known.image_s, known.loss_floor_s, 1e12 * self.loss_rate, known.views_rate
        )

    @property
    def links(self) -> Links:
        """The assumed links."""
        latency = 1e-6 * self.latency
        return Links(1e9 * self.nvlink, 1e9 * self.infiniband, latency, 2 * latency)


@dataclass(frozen=True)
class AblationConfig:
    """Options of ``ablations.py``."""

    folder: PathText = option(
        str(RESULTS / "studies" / "ablations"), "folder of plan.yaml; everything is written there", group="Study"
    )
    records: PathText | None = option(None, "folder of records; default records/ in the folder", group="Study")

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class MiniatureConfig:
    """Options of ``miniature.py``."""

    folder: PathText = option(
        str(RESULTS / "studies" / "claim_in_miniature"),
        "folder of plan.yaml; everything is written there",
        group="Study",
    )
    records: PathText | None = option(None, "folder of records; default records/ in the folder", group="Study")

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class OverTrainingConfig:
    """Options of ``over_training.py``."""

    folder: PathText = option(
        str(RESULTS / "studies" / "claim_in_miniature"),
        "folder of plan.yaml; everything is written there",
        group="Study",
    )
    runs: PathText = option(
        str(RESULTS / "runs" / "claim_in_miniature"),
        "folder of the study's runs, with their checkpoints",
        group="Study",
    )
    records: PathText | None = option(None, "folder of records; default records/ in the folder", group="Study")

    def __post_init__(self) -> None:
        check_values(self)
