"""The plan of the miniature study (``results/studies/claim_in_miniature/plan.yaml``) and its two suites."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.core.errors import UserError
from benchmark.core.options import load_yaml

Options = dict[str, Any]
TENTH = "tenth"  # of the run, for lengths that recipes give in epochs
SEARCH, RUNS = "search.yaml", "runs.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OverTraining(_Strict):
    """Whose checkpoints are kept over training, and after which epochs."""

    methods: list[str]
    epochs: list[int]


class Search(_Strict):
    """The search for learning rates: ``factors`` of the recipe's value, tried for ``epochs`` with one ``seed``."""

    factors: list[float]
    epochs: int
    seed: int
    choice: str


class Outcomes(_Strict):
    """Metrics of the probe, as ``transfer/classify.py`` names them."""

    primary: str
    secondary: list[str]
    beside: list[str]


class Comparisons(_Strict):
    """Settings ``of`` at E epochs are compared with those ``against`` them at 2E, within ``margin`` points."""

    of: list[str]
    against: list[str]
    margin: float
    rule: str


class Plan(_Strict):
    """All that was fixed before the runs; the file's comments say what each value means."""

    question: str
    data: str
    network: str
    folder: str
    seeds: list[int]
    epochs: tuple[int, int]
    diagnose_every: int
    over_training: OverTraining
    shared: Options
    methods: dict[str, Options]
    controls: dict[str, Any]
    learning_rates: Search
    outcomes: Outcomes
    comparisons: Comparisons
    deviations: list[str]


class Candidate(NamedTuple):
    """One pre-training of the search: ``name`` in the suite, the ``setting`` it belongs to, and its learning rate."""

    name: str
    setting: str
    factor: float
    lr: float


def read_plan(path: Path) -> Plan:
    """Return the plan. Raises ``UserError`` when the file is not one."""
    try:
        return Plan.model_validate(load_yaml(path))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise UserError(f"{path}: {where}: {problem['msg'].lower()}.") from None


def candidates(plan: Plan) -> list[Candidate]:
    """Return the pre-trainings of the search, method by method."""
    return [
        Candidate(f"{name}-x{factor:g}", name, factor, _times(options["lr"], factor))
        for name, options in plan.methods.items()
        for factor in plan.learning_rates.factors
    ]


def _times(value: float, factor: float) -> float:
    return float(f"{value * factor:.3g}")


def search_suite(plan: Plan) -> dict[str, Any]:
    """Return the suite that tries the learning rates: short pre-trainings, each probed on a hold-out of train/."""
    wanted = plan.learning_rates
    pretrain = {
        c.name: pretraining(plan, c.setting, plan.methods[c.setting], wanted.epochs, c.factor)
        | {"seeds": [wanted.seed]}
        for c in candidates(plan)
    }
    probe = {"script": "classify", "weights": list(pretrain), "seeds": [0]}
    probe["options"] = probe_options(plan, f"{plan.folder}/train")
    return {"description": "learning rates of the miniature study", "pretrain": pretrain, "transfer": [probe]}


def runs_suite(plan: Plan, factors: Mapping[str, float]) -> dict[str, Any]:
    """Return the suite of the study itself, given the factor of the learning rate that each setting takes.

    Within a seed come first the settings that the comparisons need: Kernel-SSL at E, the others at 2E.
    """
    short, long = plan.epochs
    first = [*((name, short) for name in plan.comparisons.of), *((name, long) for name in plan.comparisons.against)]
    rest = [(name, epochs) for name in plan.methods for epochs in plan.epochs if (name, epochs) not in first]
    pretrain = {}
    for name, epochs in [*first, *rest]:
        options = pretraining(plan, name, plan.methods[name], epochs, factors[name])
        pretrain[setting_name(name, epochs)] = options | _observed(plan, name, epochs) | {"seeds": plan.seeds}
    for epochs in plan.epochs:
        ceiling = pretraining(plan, "supervised", plan.controls["supervised"], epochs, 1.0)
        pretrain[setting_name("supervised", epochs)] = ceiling | {"seeds": plan.seeds}
    options = probe_options(plan, plan.folder)
    arch = {"arch": plan.shared["arch"]}
    transfer = [
        {"script": "classify", "weights": ["random"], "seeds": plan.seeds, "options": options | arch},
        {"script": "classify", "weights": list(pretrain), "seeds": [0], "options": options},
    ]
    return {"description": "the claim in miniature", "pretrain": pretrain, "transfer": transfer}


def setting_name(name: str, epochs: int) -> str:
    """Return the name of a setting in the suite, such as ``byol-50``."""
    return f"{name}-{epochs}"


def pretraining(plan: Plan, name: str, options: Options, epochs: int, factor: float) -> Options:
    """Return the options of one pre-training."""
    given: Options = {"method": name, **options, "epochs": epochs}
    for rate in ("lr", "lr_biases"):
        if rate in given:
            given[rate] = _times(given[rate], factor)
    filled = {key: epochs / 10 if value == TENTH else value for key, value in given.items()}
    return {**filled, **plan.shared, "data": f"{plan.folder}/train"}


def _observed(plan: Plan, name: str, epochs: int) -> Options:
    """Return the options that record a run over training; they change nothing in it."""
    kept = name in plan.over_training.methods and epochs == plan.epochs[1]
    return {"diagnose_every": plan.diagnose_every} | ({"keep_epochs": plan.over_training.epochs} if kept else {})


def probe_options(plan: Plan, folder: str) -> Options:
    return {"data": folder, "image_size": plan.shared["image_size"], "workers": 0}


def suite_text(suite: dict[str, Any], command: str) -> str:
    """Return a suite as the text of its file, which names the study's `command` that made it."""
    head = f"# Made from plan.yaml by `python pretrain/studies/{command}.py`; change the plan, not this file.\n"
    return head + yaml.dump(suite, Dumper=_WithoutAliases, sort_keys=False, width=1000, default_flow_style=None)


class _WithoutAliases(yaml.SafeDumper):
    """Writes equal lists out each time: suites allow no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
