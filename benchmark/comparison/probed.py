"""Records of probes -> rows of settings: the same weights, or weights of one pre-training recipe with several seeds."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from benchmark.comparison.rows import MeasuredRow, by_weights, measured_rows
from benchmark.records import RunRecord
from benchmark.records.later import later_options

Probe = tuple[str, str, str]  # data, network, settings' hash


def probed_rows(records: Iterable[RunRecord]) -> dict[str, list[MeasuredRow]]:
    """Return the settings whose frozen features were probed, under the data of each probe, ordered for reading.

    Probes of other networks or with other settings on the same data are kept apart, and say so in its name.
    """
    records = list(records)
    pretrained = by_weights(records)
    later = later_options(pretrained.values())
    groups: dict[Probe, list[RunRecord]] = defaultdict(list)
    for record in records:
        if record.kind == "classification":
            key = (str(record.data or ""), str(record.details.get("arch", "")), str(record.protocol_hash)[:8])
            groups[key].append(record)
    names = {key: _told_apart(key, list(groups)) for key in sorted(groups)}
    return {name: measured_rows(groups[key], pretrained, later) for key, name in names.items()}


def _told_apart(key: Probe, keys: Sequence[Probe]) -> str:
    """Return the data's name, with the network and the settings' hash where the same data has several of them."""
    data, arch, settings = key
    same = [other for other in keys if other[0] == data]
    parts = [data, arch if len({other[1] for other in same}) > 1 else ""]
    parts += [f"settings {settings}" if len({other[2] for other in same}) > 1 else ""]
    return ", ".join(filter(None, parts))
