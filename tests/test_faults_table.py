"""The table of what was done to runs: a part that is run again leaves the rows of the others alone."""

from tests.faults import table
from tests.faults.table import Row

PAGE = f"""# Nothing lost

{table.BEGIN}{table.HEAD[0]}
{table.HEAD[1]}
| SIGKILL | 100 | 99 | continues to bit-identical weights (in steps 86, in a write 14) |
| SIGTERM | 3 | 3 | exit code 75 (or 0 after the end) |
{table.END}
What comes after.
"""


def test_a_part_replaces_its_own_rows_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    table.put([Row("SIGTERM", 20, 19, "exit code 75"), Row("a full disk", 5, 5, "a record")], page)
    assert page.read_text() == PAGE.replace(
        "| SIGTERM | 3 | 3 | exit code 75 (or 0 after the end) |\n",
        "| SIGTERM | 20 | 19 | exit code 75 |\n| a full disk | 5 | 5 | a record |\n",
    )
    assert table.read(page)[0] == Row(
        "SIGKILL", 100, 99, "continues to bit-identical weights (in steps 86, in a write 14)"
    )


def test_the_page_is_one_that_can_be_read():
    assert all(0 <= row.right <= row.tried and row.what for row in table.read())
    assert len(table.read()) >= 5
