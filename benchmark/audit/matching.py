"""Which of our protocols a config is, and in which settings it differs from it."""

from dataclasses import dataclass

from benchmark.audit.effect import compared, meaning, without_effect
from benchmark.audit.settings import ABSENT, Settings, equal
from benchmark.audit.shipped import ShippedProtocol, detectron2_defaults, shipped_protocols

FAR = 12  # with more differing settings than this a config is none of ours
SCHEDULE = ("SOLVER.IMS_PER_BATCH", "SOLVER.MAX_ITER", "SOLVER.STEPS", "SOLVER.WARMUP_ITERS", "SOLVER.BASE_LR")


@dataclass(frozen=True)
class Difference:
    """One setting that differs: its key, the value of the audited run, and the value of the protocol."""

    key: str
    found: object
    wanted: object


@dataclass(frozen=True)
class Match:
    """The nearest protocol, the settings that differ, and the factor k where batch and schedule were rescaled by k.

    `exact` is True where nothing differs. `near` is False where so much differs that the run is none of ours.
    """

    protocol: ShippedProtocol
    differences: tuple[Difference, ...]
    rescaled: float | None

    @property
    def exact(self) -> bool:
        """Whether no setting differs."""
        return not self.differences and self.rescaled is None

    @property
    def near(self) -> bool:
        """Whether the run is a variant of this protocol rather than something else."""
        return len(self.differences) <= FAR


def completed(settings: Settings) -> Settings:
    """Return settings over Detectron2's defaults: what a config leaves unsaid is what Detectron2 takes."""
    return detectron2_defaults() | settings


def match(settings: Settings) -> Match:
    """Return the protocol with the fewest differing settings; of equals, the one whose schedule is nearer."""
    whole = completed(settings)
    found = [_compare(whole, protocol) for protocol in shipped_protocols().values()]
    return min(found, key=lambda m: (len(m.differences) + (m.rescaled is not None), _distance(whole, m.protocol)))


def _compare(settings: Settings, protocol: ShippedProtocol) -> Match:
    wanted = completed(protocol.settings)
    rescaled = _factor(settings, wanted)
    differences = []
    for key in sorted(set(settings) | set(wanted)):
        if not compared(key) or (rescaled and key in SCHEDULE):
            continue
        if without_effect(key, settings) and without_effect(key, wanted):
            continue
        one, other = meaning(key, settings), meaning(key, wanted)
        if other is ABSENT and key not in detectron2_defaults() and not key.startswith(_OURS):
            continue  # a key of another project's own: told apart in ``unknown_keys``
        if not equal(one, other):
            differences.append(Difference(key, one, other))
    return Match(protocol, tuple(differences), rescaled)


_OURS = ("MODEL.", "SOLVER.", "INPUT.", "TEST.", "DATALOADER.")


def unknown_keys(settings: Settings) -> list[str]:
    """Return the keys that Detectron2 does not know: another project's own, or words of another version."""
    known = detectron2_defaults()
    return sorted(key for key in settings if key not in known)


def _factor(settings: Settings, wanted: Settings) -> float | None:
    """Return k where the batch is the protocol's divided by k and everything else followed, None where it is not."""
    try:
        k = wanted["SOLVER.IMS_PER_BATCH"] / settings["SOLVER.IMS_PER_BATCH"]
        if k == 1:
            return None
        same = [
            abs(settings["SOLVER.BASE_LR"] * k / wanted["SOLVER.BASE_LR"] - 1) < 1e-3,
            abs(settings["SOLVER.MAX_ITER"] / (wanted["SOLVER.MAX_ITER"] * k) - 1) < 1e-3,
            len(settings["SOLVER.STEPS"]) == len(wanted["SOLVER.STEPS"]),
            all(
                abs(one / (other * k) - 1) < 1e-3
                for one, other in zip(settings["SOLVER.STEPS"], wanted["SOLVER.STEPS"], strict=True)
            ),
        ]
    except (TypeError, ZeroDivisionError, KeyError, ValueError):
        return None
    return k if all(same) else None


def _distance(settings: Settings, protocol: ShippedProtocol) -> float:
    """Return how far the length of training is from the protocol's, to choose between 1x and 2x variants."""
    try:
        return abs(settings["SOLVER.MAX_ITER"] - completed(protocol.settings)["SOLVER.MAX_ITER"])
    except TypeError:
        return float("inf")
