"""The numbers of README and `docs/reproduction.md` are those of the committed runs, and their links lead somewhere."""

import importlib.util
import re

import pytest

from nsynth_helpers.settings import PROJECT_ROOT, InputError

PAGES = ("README.md", "docs/reproduction.md")


@pytest.fixture(scope="module")
def tool():
    """The maintainers' script."""
    spec = importlib.util.spec_from_file_location("readme_tool", PROJECT_ROOT / "tools" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES)
def test_tables_and_links_are_those_of_the_committed_runs_and_of_the_address(page, tool, tmp_path):
    path, committed = tmp_path / "page.md", (PROJECT_ROOT / page).read_text()
    path.write_text(committed)
    tool.refresh(page, path)
    assert path.read_text() == committed
    assert set(tool.PAGES) == set(PAGES)


def test_links_lead_to_the_address_once_it_is_known(tool, tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text((PROJECT_ROOT / "pyproject.toml").read_text().replace("OWNER/nsynth-workbook", "someone/a.book"))
    text = tool.links(project)
    for part in ("/github/someone/a.book/blob/main/notebooks/01_", "/gh/someone/a.book/HEAD?labpath=notebooks/01_"):
        assert part in text
    assert "!git clone --depth 1 https://github.com/someone/a.book && " in text and "OWNER" not in text
    assert (PROJECT_ROOT / tool.FIRST_NOTEBOOK).is_file()
    project.write_text(project.read_text().replace("https://github.com/someone/", "somewhere/"))
    with pytest.raises(InputError, match=r"is somewhere/a.book; give it as https://github.com/OWNER/NAME\."):
        tool.links(project)


def test_every_row_says_what_it_was_measured_on_and_a_trained_one_its_spread(tool):
    rows = [line for line in tool.results_table().splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 5
    assert all("nsynth-test" in row or "nsynth-mini" in row for row in rows)
    assert sum("64.844 % (2,656)" in row for row in rows) == 2
    trained = [row for row in rows if "trained by this workbook" in row]
    assert all(
        re.search(r"seeds 1, 2, 3.*\| \d\d\.\d ± \d\.\d %; the run of the notebooks, seed \d+", row) for row in trained
    )
    assert len(trained) == 2


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_are_there(page):
    path = PROJECT_ROOT / page
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text())
    assert len(targets) > 8
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_lost_marks_are_told(tool, tmp_path):
    path = tmp_path / "README.md"
    path.write_text("no marks")
    with pytest.raises(InputError, match="has no lines '<!-- results -->'"):
        tool.refresh("README.md", path)
    assert path.read_text() == "no marks"
