"""The table of faults names tests, and the tests are there."""

import re

from nsynth_helpers.settings import PROJECT_ROOT

NAMED = re.compile(r"`([\w/]*test_\w+\.py)::(test_\w+)`")


def test_every_row_of_the_table_is_a_test():
    rows = [
        line for line in (PROJECT_ROOT / "docs" / "reliability.md").read_text().splitlines() if line.startswith("| ")
    ]
    faults = [row for row in rows if not row.startswith("| fault ")]
    assert len(faults) > 40
    for row in faults:
        (file, test), *others = NAMED.findall(row)
        assert not others
        assert f"def {test}(" in (PROJECT_ROOT / "tests" / file).read_text(), row
