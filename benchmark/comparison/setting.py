"""What makes runs repeats of each other, and when two of them are one recipe at two lengths."""

import json
from dataclasses import dataclass

from benchmark.comparison.methods import WITHOUT_EPOCHS, entry_of
from benchmark.records import RunRecord

# Settings of a pre-training record that do not make another recipe: repeats, length, place and speed.
NOT_RECIPE = (
    "seed", "epochs", "data", "output", "records", "resume", "dry_run", "images_per_second", "workers", "log_every",
    "device", "keep_every", "keep_epochs", "checkpoint_minutes", "diagnose_every", "compile",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What makes runs repeats of each other: initial weights and learning rate.

    ``recipe`` is known, as JSON, where a pre-training record tells its settings or the catalogue names project, variant
    and data; otherwise it is the hash of the weights (other weights are no repeats), None for families that have none.
    ``lr`` is None where it was ``swept``: then the rule that chose it is the setting, and repeats may have got other
    ones. ``origin`` is ``measured`` or ``imported``; ``method_source`` and ``epochs_source`` are those of the record;
    ``zoo`` names the catalogue's entry.
    """

    method: str
    epochs: int | None
    total_epochs: int | None
    branch: str | None
    lr: float | None = None
    swept: bool = False
    recipe: str | None = None
    origin: str = "measured"
    method_source: str | None = None
    epochs_source: str | None = None
    zoo: str | None = None

    @property
    def recipe_known(self) -> bool:
        """Whether more is known of the pre-training than the hash of its weights."""
        return self.recipe is not None and self.recipe.startswith("{")

    @property
    def method_known(self) -> bool:
        """Whether anybody says what the method is; otherwise its name is only that of a file."""
        return self.recipe_known or self.method_source is not None

    def whole_run_of(self, epochs: int) -> bool:
        """Whether the weights are those at the end of a pre-training of that length."""
        return self.epochs == epochs and self.total_epochs in (None, epochs)

    @property
    def epochs_label(self) -> str:
        """Epochs of pre-training that the weights had: ``200``, ``200 of 400``, ``200 (stated by user)``, ``?``."""
        if self.epochs is None:
            return "-" if self.method in WITHOUT_EPOCHS else "?"
        label = str(self.epochs)
        if self.total_epochs is not None and self.epochs != self.total_epochs:
            label = f"{self.epochs} of {self.total_epochs}"
        return f"{label} (stated by user)" if self.epochs_source == "stated" else label

    @property
    def epochs_text(self) -> str:
        """The same with its unit: ``1 epoch``, ``200 of 400 epochs``."""
        return f"{self.epochs_label} epoch{'' if self.epochs_label == '1' else 's'}"


def setting_of(record: RunRecord, source: RunRecord | None, later: frozenset[str]) -> Setting:
    """Return the setting of a record.

    Args:
        record: a detection or a probe.
        source: the record of the pre-training, where there is one.
        later: options of the pre-training that do not count (see ``benchmark.records.later``).
    """
    entry, recipe = entry_of(record), None
    if source is not None:
        settings = {key: value for key, value in source.config.items() if key not in NOT_RECIPE and key not in later}
        recipe = json.dumps({"data": source.data, **settings}, sort_keys=True)
    elif entry is not None:
        recipe = json.dumps({"project": entry.project, "variant": entry.variant, "trained on": entry.trained_on})
    elif record.method not in WITHOUT_EPOCHS:
        recipe = record.weights_sha256 or record.file_sha256
    swept = record.details.get("lr_chosen_by") == "sweep"
    return Setting(
        record.method,
        record.epochs,
        record.total_epochs,
        record.branch,
        lr=None if swept else record.details.get("lr"),
        swept=swept,
        recipe=recipe,
        origin="imported" if record.kind == "imported" else "measured",
        method_source=record.method_source,
        epochs_source=record.epochs_source,
        zoo=entry.name if entry else None,
    )


def same_but_length(a: Setting, b: Setting) -> bool:
    """Say whether two settings are one recipe, known to be the same, at two lengths."""
    known = a.recipe_known and a.recipe == b.recipe
    same = (a.method, a.branch, a.lr, a.swept) == (b.method, b.branch, b.lr, b.swept)
    return known and same and a.epochs != b.epochs
