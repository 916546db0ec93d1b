"""Reading a folder of records."""

from pathlib import Path

from benchmark.core.errors import UserError
from benchmark.records.record import RECORDS, RunRecord


def scan_records(folder: str | Path = RECORDS) -> tuple[list[RunRecord], list[str]]:
    """Read all that can be read in a folder of records.

    Returns:
        The valid records, ordered by the files' names, and one sentence for each file that is not one. An absent
        folder has neither. Hidden files are passed over: other systems leave such beside copied files.
    """
    records, problems = [], []
    for path in sorted(Path(folder).glob("*.json")):
        if path.name.startswith("."):
            continue
        try:
            records.append(RunRecord.read(path))
        except UserError as error:
            problems.append(str(error))
    return records, problems


def read_records(folder: str | Path = RECORDS) -> list[RunRecord]:
    """Read all records of a folder, ordered by id; an absent folder has none. Raises ``UserError`` for a bad file."""
    records, problems = scan_records(folder)
    if problems:
        more = f" {len(problems) - 1} more files have problems." if len(problems) > 1 else ""
        raise UserError(problems[0] + more)
    return records
