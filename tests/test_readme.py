"""The README's numbers are those of the committed runs, and its links lead somewhere."""

import re

import pytest

from nsynth_helpers import readme
from nsynth_helpers.settings import PROJECT_ROOT, InputError, Settings

README = PROJECT_ROOT / "README.md"
MINI = Settings.from_environment({})


def test_the_table_is_that_of_the_committed_runs():
    assert readme.MARKED.search(README.read_text())[0] == readme.results_table(MINI)


def test_every_row_says_what_it_was_measured_on():
    rows = [line for line in readme.results_table(MINI).splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 5
    assert all("nsynth-test" in row or "nsynth-mini" in row for row in rows)
    assert sum("64.844 %" in row and "2,656" in row for row in rows) == 2


def test_links_and_pictures_are_there():
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text())
    assert len(targets) > 8
    assert [target for target in targets if not (PROJECT_ROOT / target).exists()] == []


def test_lost_marks_are_told(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("no marks")
    with pytest.raises(InputError, match="has no lines '<!-- results -->'"):
        readme.refresh(path, MINI)
    assert path.read_text() == "no marks"
