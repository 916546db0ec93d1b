"""Records and published figures -> the rows of one table a protocol.

One protocol a table, and one effective config on one data set: runs whose settings differ get a table of their own.
Repeats are runs of one setting: the same weights, or weights of one pre-training recipe, at one learning rate.
``published`` and ``measured`` are separate columns, never averaged. Diverged runs are shown.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.catalogue.lookup import by_name
from benchmark.comparison.comparisons import Comparison, comparisons_of, pools_of
from benchmark.comparison.methods import CONTROL, RANDOM_INITS, WITHOUT_EPOCHS, is_published_method, name_of
from benchmark.comparison.published import (
    LEARNING_RATE,
    SEARCHED,
    PublishedRow,
    differences,
    protocol_settings,
    shipped_hash,
)
from benchmark.comparison.repeats import MARGIN, Difference, Level, Pool, Repeat, Summary, summarise, units_of
from benchmark.comparison.setting import Setting, same_but_length, setting_of
from benchmark.core.errors import UserError
from benchmark.records import RunRecord
from benchmark.records.later import later_options

AP_METRICS = tuple((task, metric) for task in ("bbox", "segm") for metric in ("AP", "AP50", "AP75"))
TASK_NAMES = {"bbox": "box", "segm": "mask"}


@dataclass
class MeasuredRow:
    """Runs of one setting: finished ones give ``values`` by metric, the others are listed in ``troubles``.

    ``lrs`` are the learning rates of the runs; ``variant`` says what tells this row from others of its method;
    ``pool`` is the sd that rows of its kind share in the table, by metric, where a test does not object.
    """

    setting: Setting
    values: dict[tuple[str, str], list[Repeat]] = field(default_factory=lambda: defaultdict(list))
    troubles: list[str] = field(default_factory=list)
    lrs: set[float] = field(default_factory=set)
    variant: str = ""
    pool: dict[tuple[str, str], Pool | None] = field(default_factory=dict, repr=False)

    @property
    def label(self) -> str:
        """The method as people write it, with the branch when it is not the usual one, and the variant."""
        name = name_of(self.setting.method)
        more = ["stated by user"] if self.setting.method_source == "stated" else []
        more += ["momentum"] if self.setting.branch == "momentum" else []
        more += [self.variant] if self.variant else []
        return f"{name} ({', '.join(more)})" if more else name

    @property
    def name(self) -> str:
        """The label with the length of the pre-training, where one is known: ``Kernel-SSL, 400 epochs``."""
        return f"{self.label}, {self.setting.epochs_text}" if self.setting.epochs else self.label

    @property
    def runs(self) -> int:
        """Number of completed runs."""
        return len({repeat.record for repeats in self.values.values() for repeat in repeats})

    def numbers(self, task: str, metric: str) -> list[float]:
        """Return the values of a metric over the repeats; empty where it is missing."""
        return [repeat.value for repeat in self.values.get((task, metric), [])]

    def summary(self, task: str, metric: str) -> Summary | None:
        """Return n, mean, sd and intervals of a metric over the repeats, None where it is missing."""
        return summarise(self.values.get((task, metric), []), self.pool.get((task, metric)))

    @property
    def origin(self) -> str:
        """``measured`` here, or ``imported``: somebody else's run, read from its log."""
        return self.setting.origin

    @property
    def lr_text(self) -> str:
        """The learning rates of the runs: ``0.02``, ``0.01, 0.04 (swept)``."""
        text = ", ".join(f"{lr:g}" for lr in sorted(self.lrs))
        return f"{text} (swept)".strip() if self.setting.swept else text

    def by_seed(self, task: str) -> dict[int, float]:
        """Return AP by seed of the fine-tuning; runs of one seed (from several pre-training runs) are averaged."""
        found: dict[int, list[float]] = defaultdict(list)
        for repeat in self.values.get((task, "AP"), []):
            if repeat.seed is not None:
                found[repeat.seed].append(repeat.value)
        return {seed: sum(values) / len(values) for seed, values in found.items()}


@dataclass
class Table:
    """All rows of one protocol with one effective config on one data set; ``measured`` may be empty.

    ``note`` tells tables apart that have the same words otherwise; ``overrides`` are those that all runs share;
    ``margin`` is the difference in AP below which two settings count as equivalent.
    """

    protocol: str
    data: str
    overrides: dict[str, Any]
    fraction: float | None
    measured: list[MeasuredRow]
    published: list[PublishedRow]
    protocol_hash: str | None = None
    note: str = ""
    margin: float = MARGIN
    _found: dict[tuple, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def title(self) -> str:
        """Protocol, data and what differs from the protocol."""
        parts = [self.protocol, f"data: {self.data}"]
        if self.fraction:
            parts.append(f"{100 * self.fraction:g} % of the training images")
        parts += [f"{key}={value}" for key, value in sorted(self.overrides.items())]
        parts += [self.note] if self.note else []
        return " ".join(", ".join(parts).split())

    def control_of(self, row: MeasuredRow) -> MeasuredRow | None:
        """Return the untrained encoder's row, the control of every comparison; None for itself.

        Detectron2's own random initialisation is another starting point and no control: the untrained encoder is what
        a pre-training starts from. With several, the one at the row's own learning rate, otherwise the first in order.
        Imported runs have no control here: they were made with other code.
        """
        controls = [r for r in self.measured if r.setting.method == CONTROL and r.origin == "measured"]
        if row.origin != "measured" or not controls or any(row is control for control in controls):
            return None
        same = [c for c in controls if (c.setting.lr, c.setting.swept) == (row.setting.lr, row.setting.swept)]
        return (same or controls)[0]

    def against_control(self, row: MeasuredRow, task: str) -> Difference | None:
        """Return the difference in AP between a row and its control, None for the control itself."""
        found = (c for c in self.comparisons(task) if c.kind == "control" and c.row is row)
        return next((c.difference for c in found), None)

    def pools(self, task: str, metric: str) -> dict[Level, Pool]:
        """Return the sd that measured rows share in a metric, by level of their units (see ``pools_of``)."""
        key = ("pools", task, metric)
        if key not in self._found:
            self._found[key] = pools_of((row for row in self.measured if row.origin == "measured"), task, metric)
        return self._found[key]

    def comparisons(self, task: str) -> list[Comparison]:
        """Return all comparisons of the table in one task's AP, corrected for their number (Holm)."""
        key = ("comparisons", task, self.margin)
        if key not in self._found:
            self._found[key] = comparisons_of(self, task, margin=self.margin)
        return self._found[key]

    def length_pairs(self) -> list[tuple[MeasuredRow, MeasuredRow]]:
        """Return the pairs (shorter, longer) of whole pre-training runs of one method, recipe, branch and lr.

        Only where both recipes are known, from a pre-training's record or from the catalogue: two files of one method
        from different projects are no two lengths of one run. A file that tells its epochs but not its planned ones is
        taken for a whole run; a known part of one is not.
        """
        pairs = []
        rows = [r for r in self.measured if r.setting.epochs and r.setting.total_epochs in (None, r.setting.epochs)]
        rows = [r for r in rows if r.origin == "measured"]
        rows.sort(key=lambda r: r.setting.epochs or 0)
        for i, shorter in enumerate(rows):
            for longer in rows[i + 1 :]:
                if same_but_length(shorter.setting, longer.setting):
                    pairs.append((shorter, longer))
                    break
        return pairs

    def published_rows_beside(self, row: MeasuredRow, task: str) -> list[PublishedRow]:
        """Return the published rows with an AP of the same method, epochs and protocol, the most trusted source first.

        The protocol is the same where the source differs from it in no setting that it shows; of the learning rate that
        is so where both have the protocol's own, both the same other one, or both one that was searched.
        """
        return [
            published
            for published in self.published
            if (task, "AP") in published.values
            and published.status != "claim"
            and _same_weights(published, row.setting)
            and _same_protocol(published, row)
        ]

    def published_beside(self, row: MeasuredRow, task: str) -> list[float]:
        """Return the AP of ``published_rows_beside``, in its order."""
        return [published.values[task, "AP"] for published in self.published_rows_beside(row, task)]


def _same_weights(published: PublishedRow, setting: Setting) -> bool:
    """Say whether a published row is of this very entry of the catalogue, or of this method and length."""
    if setting.zoo is not None:
        known = by_name(setting.zoo).published
        same = (published.method, published.variant, published.epochs)
        return known is not None and same == (known.method, known.variant, known.epochs)
    if not is_published_method(published, setting.method):
        return False
    if setting.method in WITHOUT_EPOCHS:
        return True
    return setting.method_known and published.epochs is not None and setting.whole_run_of(published.epochs)


def _same_protocol(published: PublishedRow, row: MeasuredRow) -> bool:
    differing = differences(published.differs)
    lr = differing.pop(LEARNING_RATE, str(protocol_settings(published.protocol)[LEARNING_RATE]))
    if lr == SEARCHED or row.setting.swept:
        return not differing and lr == SEARCHED and row.setting.swept
    return not differing and all(str(own) == lr for own in row.lrs)


def detection_tables(records: Iterable[RunRecord], published: Iterable[PublishedRow]) -> list[Table]:
    """Arrange detection records and published rows as tables, measured protocols first, each ordered for reading.

    Raises:
        UserError: a detection record tells other epochs than the pre-training record of the very same weights.
    """
    records, published = list(records), list(published)
    pretrained = by_weights(records)
    later = later_options(pretrained.values())
    groups: dict[tuple, list[RunRecord]] = defaultdict(list)
    for record in records:
        if record.kind == "detection":
            _check_epochs(record, source_of(record, pretrained))
            groups[_table_key(record)].append(record)
    _add_imported(records, groups)
    tables = [_table(group, published, pretrained, later) for group in groups.values()]
    _tell_apart(tables)
    have = {table.protocol for table in tables}
    for protocol in sorted({row.protocol for row in published} - have):
        rows = [row for row in published if row.protocol == protocol]
        tables.append(Table(protocol, "COCO 2017" if "coco" in protocol else "VOC", {}, None, [], rows))
    return tables


def weights_keys(record: RunRecord) -> list[str]:
    """Return the hashes by which the weights of a record are known: of their tensors, of their file."""
    return [key for key in (record.weights_sha256, record.file_sha256) if key]


def source_of(record: RunRecord, pretrained: dict[str, RunRecord]) -> RunRecord | None:
    """Return the record of the pre-training that made the weights of a record, where there is one."""
    return next((pretrained[key] for key in weights_keys(record) if key in pretrained), None)


def _check_epochs(record: RunRecord, source: RunRecord | None) -> None:
    """Refuse a row "400" whose checkpoint says otherwise."""
    if source is not None and record.epochs != source.epochs:
        raise UserError(
            f"record {record.id} says {record.epochs} epochs, but {source.id} trained these very weights for "
            f"{source.epochs}; remove the wrong record and run it again."
        )


def _table_key(record: RunRecord) -> tuple:
    fraction = record.details.get("fraction")
    # Repeats with --fraction draw their own images by seed: those are other fingerprints of one setting.
    data = record.details.get("data_fingerprint") if fraction is None else None
    return (record.protocol, record.protocol_hash, record.data, fraction, data)


def _add_imported(records: Sequence[RunRecord], groups: dict[tuple, list[RunRecord]]) -> None:
    """Put imported runs into the table of their protocol and settings, or into one of their own."""
    homes = {key[:3]: key for key in reversed(list(groups)) if key[3] is None}
    for record in records:
        if record.kind == "imported" and record.protocol:
            key = _table_key(record)
            groups[homes.get(key[:3], key)].append(record)


def _table(group: Sequence[RunRecord], published: Sequence[PublishedRow], pretrained: dict, later: dict) -> Table:
    """Make the table of runs that share protocol, settings and data."""
    first = group[0]
    fraction = first.details.get("fraction")
    shared = {k: v for k, v in first.overrides.items() if all(r.overrides.get(k) == v for r in group)}
    # Published figures stand only beside runs of the protocol as it is shipped, on the whole data set.
    comparable = any(not r.overrides for r in group) and not fraction and first.data in ("coco", "voc")
    comparable = comparable and first.protocol_hash == shipped_hash(str(first.protocol))
    quoted = [row for row in published if row.protocol == first.protocol] if comparable else []
    measured = measured_rows(group, pretrained, later)
    table = Table(str(first.protocol), str(first.data), shared, fraction, measured, quoted, first.protocol_hash)
    for task, metric in AP_METRICS:
        shared_sds = table.pools(task, metric)
        for row in measured:
            if row.origin == "measured" and (repeats := row.values.get((task, metric))):
                row.pool[task, metric] = shared_sds.get(units_of(repeats).level)
    return table


def measured_rows(
    group: Sequence[RunRecord], pretrained: dict[str, RunRecord], later: dict[str, frozenset[str]]
) -> list[MeasuredRow]:
    """Return the settings of runs that share protocol and data, ordered for reading, each with a name of its own.

    Args:
        pretrained: all pre-training records, see ``by_weights``.
        later: options of theirs that do not count, see ``benchmark.records.later``.
    """
    rows: dict[Setting, MeasuredRow] = {}
    for record in group:
        source = source_of(record, pretrained)
        setting = setting_of(record, source, later[source.method] if source else frozenset())
        _add(rows.setdefault(setting, MeasuredRow(setting)), record, source)
    measured = sorted(rows.values(), key=_reading_order)
    _name_variants(measured)
    return measured


def by_weights(records: Sequence[RunRecord]) -> dict[str, RunRecord]:
    """Return the pre-training records by every hash that their weights are known by."""
    return {key: record for record in records if record.kind == "pretrain" for key in weights_keys(record)}


def _add(row: MeasuredRow, record: RunRecord, source: RunRecord | None) -> None:
    if (lr := record.details.get("lr")) is not None:
        row.lrs.add(lr)
    if record.status != "completed":
        row.troubles.append(trouble(record))
        return
    drawn = record.method in RANDOM_INITS  # every seed draws its own weights
    checkpoint = f"{record.method} {record.seed}" if drawn else next(iter(weights_keys(record)), None)
    pretrain_seed = record.pretrain_seed if record.pretrain_seed is not None else getattr(source, "seed", None)
    pretrain_seed = record.seed if drawn else pretrain_seed
    for task, values in record.metrics.items():
        for metric, value in values.items():
            if value is not None and not metric.startswith("AP-"):  # of single categories: records have them
                row.values[task, metric].append(Repeat(record.seed, value, record.id, checkpoint, pretrain_seed, drawn))


def _name_variants(rows: Sequence[MeasuredRow]) -> None:
    """Give rows of one method and length that differ in their recipe a few words that tell them apart."""
    alike: dict[tuple, list[MeasuredRow]] = defaultdict(list)
    for row in rows:
        s = row.setting
        alike[s.method, s.branch, s.epochs, s.total_epochs].append(row)
    for group in alike.values():
        if len({(row.setting.recipe, row.setting.zoo) for row in group}) > 1:
            recipes = [_recipe_of(row) for row in group]
            known = [recipe for recipe in recipes if recipe]
            differing = [k for k in sorted(set().union(*known)) if len({str(r.get(k)) for r in known}) > 1]
            for row, recipe in zip(group, recipes, strict=True):
                named = ", ".join(f"{key}={recipe.get(key)}" for key in differing) if recipe else ""
                row.variant = named or ("" if recipe else f"weights {(row.setting.recipe or 'unknown')[:8]}")
                row.variant = f"zoo:{row.setting.zoo}" if row.setting.zoo else row.variant


def _recipe_of(row: MeasuredRow) -> dict[str, Any]:
    recipe = row.setting.recipe
    return json.loads(recipe) if recipe and recipe.startswith("{") else {}


def _tell_apart(tables: Sequence[Table]) -> None:
    """Note the hash of the settings on tables that would otherwise have one title, as of rescaled batches."""
    titles: dict[str, list[Table]] = defaultdict(list)
    for table in tables:
        titles[table.title].append(table)
    for same in titles.values():
        for number, table in enumerate(same, start=1):
            if len(same) > 1:
                hashes = {other.protocol_hash for other in same}
                alone = len(hashes) == len(same)
                table.note = f"settings {str(table.protocol_hash)[:8]}" if alone else f"data {number}"


def trouble(record: RunRecord) -> str:
    """Say how a run ended that did not complete: ``diverged at iteration 34, lr 0.02 (seed 1)``."""
    where = ""
    if (iteration := record.details.get("iteration")) is not None:
        where = f" at iteration {iteration}"
    if (lr := record.details.get("lr_at_end", record.details.get("lr"))) is not None:
        where += f", lr {lr:g}"
    return f"{record.status}{where} (seed {record.seed})"


def _reading_order(row: MeasuredRow) -> tuple:
    """Controls first, then methods by name, each from short to long pre-training."""
    order = {"detectron2-random": 0, "random": 1, "supervised-torchvision": 2, "supervised-msra": 3}
    s = row.setting
    weights = (s.recipe or "", s.zoo or "")
    return (order.get(s.method, 9), s.method, s.epochs or 0, s.branch or "", s.swept, s.lr or 0, *weights)
