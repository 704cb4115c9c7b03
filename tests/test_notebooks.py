"""Each cell of each notebook run twice in a row: the second time it must show the same page."""

import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from nsynth_helpers.settings import PROJECT_ROOT

NOTEBOOKS = sorted((PROJECT_ROOT / "notebooks").glob("[0-9]*.ipynb"))
# What differs between two runs of the same cell and means nothing: addresses, widget ids, and measured times.
PASSING = re.compile(r"0x[0-9a-f]{6,16}|\b[0-9a-f]{32}\b|\b\d+(?:\.\d+)? ?(?:ms|s|min)\b")


def shown(cell) -> list[str]:
    """What a cell shows, without what goes to stderr; the pieces in which a stream happens to arrive are one text."""
    streams = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    others = [output for output in cell.outputs if output.output_type != "stream"]
    for output in others:
        output.pop("execution_count", None)
        output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return [PASSING.sub("~", text) for text in (streams, *(json.dumps(output, sort_keys=True) for output in others))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_running_each_cell_twice_shows_the_same_page(path: Path, tmp_path: Path):
    """With runs and figures of its own: what other tests train meanwhile must not come between a cell's two runs."""
    notebook = nbformat.read(path, as_version=4)
    twice = [cell for cell in notebook.cells if cell.cell_type == "code" for _ in range(2)]
    notebook.cells = [nbformat.v4.new_code_cell(cell.source) for cell in twice]
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}})
    own = {"NSYNTH_RUNS": str(tmp_path / "runs"), "NSYNTH_FIGURES": str(tmp_path / "figures")}
    client.execute(env={**os.environ, **own, "TQDM_DISABLE": "1"})
    for first, second in zip(notebook.cells[::2], notebook.cells[1::2], strict=True):
        assert shown(first) == shown(second), first.source


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 4
