"""The JSON schema of records, for other programs: ``python -m benchmark.records.schema docs/record.schema.json``."""

import json
import sys

from benchmark.core.files import write_text
from benchmark.records.record import RunRecord


def json_schema() -> str:
    """Return the schema of ``RunRecord`` as JSON text (draft 2020-12)."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **RunRecord.model_json_schema()}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write_text(sys.argv[1], json_schema())
