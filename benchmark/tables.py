"""Records and published figures -> the rows of one table a protocol. Rules: protocols.md, "Rules for a table".

One protocol a table, and one effective config: runs with other overrides get a table of their own. Repeats are the
seeds of one setting. ``published`` and ``measured`` are separate columns, never averaged. Diverged runs are shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmark.compare import Difference, Summary, difference, summarise
from benchmark.published import PublishedRow
from benchmark.records import RunRecord

METRICS = tuple((task, metric) for task in ("bbox", "segm") for metric in ("AP", "AP50", "AP75"))
TASK_NAMES = {"bbox": "box", "segm": "mask"}
CONTROL = "random"
METHOD_NAMES = {
    "random": "untrained encoder",
    "detectron2-random": "Detectron2's random init",
    "kernel_ssl": "Kernel-SSL",
    "torchvision": "supervised (torchvision)",
    "msra": "supervised (MSRA)",
}


@dataclass(frozen=True)
class Setting:
    """What makes runs repeats of each other: initial weights and learning rate."""

    method: str
    epochs: int | None
    total_epochs: int | None
    branch: str | None
    lr: float | None = None
    lr_chosen_by: str | None = None

    @property
    def label(self) -> str:
        """The method as people write it, with the branch when it is not the usual one."""
        name = METHOD_NAMES.get(self.method, self.method)
        return f"{name} (momentum)" if self.branch == "momentum" else name

    @property
    def epochs_label(self) -> str:
        """Epochs of pre-training that the weights had, by the checkpoint's own account: ``200``, ``200 of 400``."""
        if self.epochs is None:
            return "?" if self.method not in ("detectron2-random", "torchvision", "msra") else "-"
        if self.total_epochs is None or self.epochs == self.total_epochs:
            return str(self.epochs)
        return f"{self.epochs} of {self.total_epochs}"


@dataclass
class MeasuredRow:
    """Runs of one setting: finished ones give ``values`` by metric and seed, the others are told in ``troubles``."""

    setting: Setting
    values: dict[tuple[str, str], dict[tuple[int, int], float]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    def summary(self, task: str, metric: str) -> Summary | None:
        """Return n, mean and sd of a metric over the repeats, None where it is missing."""
        return summarise(list(self.values.get((task, metric), {}).values()))


@dataclass
class Table:
    """All rows of one protocol with one effective config on one data set; ``measured`` may be empty."""

    protocol: str
    data: str
    overrides: dict[str, object]
    fraction: float | None
    measured: list[MeasuredRow]
    published: list[PublishedRow]

    @property
    def title(self) -> str:
        """Protocol, data and what differs from the protocol."""
        parts = [self.protocol, f"data: {self.data}"]
        if self.fraction:
            parts.append(f"{100 * self.fraction:g} % of the training images")
        parts += [f"{key}={value}" for key, value in sorted(self.overrides.items())]
        return ", ".join(parts)

    def control(self) -> MeasuredRow | None:
        """Return the row of the untrained encoder, the control of every comparison (pitfall 8b)."""
        return next((row for row in self.measured if row.setting.method == CONTROL), None)

    def against_control(self, row: MeasuredRow, task: str) -> Difference | None:
        """Return the difference in AP between a row and the control, None for the control itself."""
        control = self.control()
        if control is None or control is row:
            return None
        return difference(row.values.get((task, "AP"), {}), control.values.get((task, "AP"), {}))

    def length_pairs(self) -> list[tuple[MeasuredRow, MeasuredRow]]:
        """Return the pairs (shorter, longer) of complete pre-training runs of one method, branch and lr."""
        pairs = []
        rows = [r for r in self.measured if r.setting.epochs and r.setting.epochs == r.setting.total_epochs]
        rows.sort(key=lambda r: r.setting.epochs or 0)
        for i, shorter in enumerate(rows):
            for longer in rows[i + 1 :]:
                if _same_but_length(shorter.setting, longer.setting):
                    pairs.append((shorter, longer))
                    break
        return pairs


def _same_but_length(a: Setting, b: Setting) -> bool:
    # A swept lr may differ between the two lengths: it was chosen by the same rule.
    same_lr = a.lr == b.lr or (a.lr_chosen_by == b.lr_chosen_by == "sweep")
    return (a.method, a.branch) == (b.method, b.branch) and same_lr and a.epochs != b.epochs


def detection_tables(records: Iterable[RunRecord], published: Iterable[PublishedRow]) -> list[Table]:
    """Arrange detection records and published rows as tables, measured protocols first, each ordered for reading."""
    tables: dict[tuple, Table] = {}
    published = list(published)
    for record in records:
        if record.kind == "detection":
            table = tables.setdefault(_table_key(record), _new_table(record, published))
            _add(table, record)
    for table in tables.values():
        table.measured.sort(key=_reading_order)
    have = {table.protocol for table in tables.values()}
    for protocol in sorted({row.protocol for row in published} - have):
        rows = [row for row in published if row.protocol == protocol]
        tables[(protocol,)] = Table(protocol, "COCO 2017" if "coco" in protocol else "VOC", {}, None, [], rows)
    return list(tables.values())


def _table_key(record: RunRecord) -> tuple:
    return (record.protocol, record.protocol_hash, record.data, record.details.get("fraction"))


def _new_table(record: RunRecord, published: list[PublishedRow]) -> Table:
    """Make the table of a record; published figures stand only beside runs of the whole, unchanged protocol."""
    fraction = record.details.get("fraction")
    comparable = not record.overrides and not fraction and record.data in ("coco", "voc")
    rows = [row for row in published if row.protocol == record.protocol] if comparable else []
    return Table(str(record.protocol), str(record.data), dict(record.overrides), fraction, [], rows)


def _add(table: Table, record: RunRecord) -> None:
    lr, chosen_by = record.details.get("lr"), record.details.get("lr_chosen_by")
    setting = Setting(record.method, record.epochs, record.total_epochs, record.branch, lr, chosen_by)
    row = next((row for row in table.measured if row.setting == setting), None)
    if row is None:
        row = MeasuredRow(setting)
        table.measured.append(row)
    if record.status != "completed":
        row.troubles.append(trouble(record))
        return
    for task, values in record.metrics.items():
        for metric, value in values.items():
            if value is not None:
                repeats = row.values.setdefault((task, metric), {})
                # Other pre-training seeds may be fine-tuned with the same seed; they are repeats as well.
                repeats[record.seed, sum(seed == record.seed for seed, _ in repeats)] = value


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
    order = {"detectron2-random": 0, "random": 1, "torchvision": 2, "msra": 3}
    setting = row.setting
    return (order.get(setting.method, 9), setting.method, setting.epochs or 0, setting.branch or "", setting.lr or 0)
