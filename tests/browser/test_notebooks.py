"""Every notebook in a real JupyterLab: its cells run from the first to the last, and its page loaded again."""

import shutil
from pathlib import Path

import pytest

from conftest import LONG
from nsynth_helpers.settings import PROJECT_ROOT

NOTEBOOKS = sorted(path.name for path in (PROJECT_ROOT / "notebooks").glob("*.ipynb"))
FIRST = NOTEBOOKS[0]
# Whether each code cell of the page shows as many outputs as this; cells beyond the window are drawn a little later.
SHOWN = """outputs => JSON.stringify(outputs) === JSON.stringify(
    [...jupyterapp.shell.currentWidget.node.querySelectorAll(".jp-CodeCell")].map(
        cell => [...cell.querySelectorAll(".jp-OutputArea-output")].filter(output => output.childElementCount).length
    )
)"""
BROKEN = """[...document.querySelectorAll(".jp-Notebook img")]
    .filter(image => image.complete && !image.naturalWidth).map(image => image.src.slice(0, 200))"""
DEAD = "text=/Error displaying widget|Loading widget/"
# Chromium draws no taller pictures.
TALLEST = 16_000


@pytest.fixture(scope="module", autouse=True)
def copies(lab):
    """The notebooks beside their pictures, so that the committed ones stay as they are."""
    for folder in ("notebooks", "figures"):
        shutil.copytree(PROJECT_ROOT / folder, lab.folder / folder)


@pytest.fixture
def page(lab, name):
    """A notebook's page, closed with its kernel also where the test fails: the next page would show it again."""
    page = lab.show(f"notebooks/{name}")
    yield page
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()


@pytest.mark.parametrize("name", [FIRST, *(pytest.param(name, marks=LONG) for name in NOTEBOOKS[1:])])
def test_all_cells_run_and_a_reloaded_page_shows_what_they_gave(lab, page, shots, name):
    page.evaluate("jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    lab.run_all(page)
    cells = lab.cells(page)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    lab.reload(page, f"notebooks/{name}")
    page.wait_for_function(SHOWN, arg=[len(cell["outputs"]) for cell in code], polling=500)
    assert lab.cells(page) == cells
    assert page.evaluate(BROKEN) == []
    page.evaluate("jupyterapp.shell.collapseLeft()")
    for width in (1400, 390) if name == FIRST else (1400,):
        page.set_viewport_size({"width": width, "height": TALLEST})
        page.wait_for_timeout(500)
        page.screenshot(path=shots / f"{Path(name).stem}-{width}.jpg")
    assert page.locator(DEAD).count() == 0
