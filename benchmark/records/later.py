"""Options that a later version of this project made of what was fixed before: older records have no word of them."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from benchmark.records.record import RunRecord


def later_options(pretrainings: Iterable[RunRecord]) -> dict[str, frozenset[str]]:
    """Return, by method, the options that some pre-trainings have no word of and the others agree on.

    Records of the later version are repeats of the older ones, as long as nobody has used the option. All
    pre-trainings are looked at together, not those of one table, so that a recipe is the same in every table.
    """
    configs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in pretrainings:
        configs[record.method].append(record.config)
    found = {}
    for method, all_of in configs.items():
        named = Counter(key for config in all_of for key in config)
        lacking = [key for key, count in named.items() if count < len(all_of)]
        found[method] = frozenset(
            key for key in lacking if len({json.dumps(config[key]) for config in all_of if key in config}) == 1
        )
    return found
