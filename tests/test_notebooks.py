"""Every notebook under other settings than the default, on very few notes, and each of its cells twice in a row.

The notebooks as they are run through nbval and in the browser tests; these settings take long (`conftest.LONG`).
"""

import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import LONG
from nsynth_helpers.data.archives import open_members, write_archive
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.report import notebook_paths
from nsynth_helpers.settings import MINI_FOLDER

NOTEBOOKS = notebook_paths()
# Notes of each family, all of one instrument.
FEW = {"train": 4, "valid": 2, "test": 2}
MATRIX = {
    "half a second, batches of 8": {"NSYNTH_SECONDS": "0.5", "NSYNTH_BATCH_SIZE": "8"},
    "two seconds": {"NSYNTH_SECONDS": "2"},
    "batches of one note": {"NSYNTH_SECONDS": "0.25", "NSYNTH_BATCH_SIZE": "1"},
}
# What differs between two runs of the same cell and means nothing: addresses, widget ids, and measured times.
PASSING = re.compile(r"0x[0-9a-f]{6,16}|\b[0-9a-f]{32}\b|\b\d+(?:\.\d+)? ?(?:ms|s|min)\b")


@pytest.fixture(scope="module")
def few_notes(tmp_path_factory) -> Path:
    """Splits of few notes of nsynth-mini, one instrument a family."""
    folder = tmp_path_factory.mktemp("few")
    for split, count in FEW.items():
        members = dict(open_members(MINI_FOLDER / f"nsynth-{split}.tar"))
        records = json.loads(members.pop(f"nsynth-{split}/examples.json"))
        chosen = []
        for family in FAMILIES:
            names = sorted(name for name in records if name.startswith(f"{family}_"))
            chosen += [name for name in names if name.split("-")[0] == names[0].split("-")[0]][:count]
        audio = [(name, content) for path, content in members.items() for name in chosen if Path(path).stem == name]
        audio = [(f"{name}.ogg", content) for name, content in audio]
        write_archive(folder / f"nsynth-{split}.tar", split, {name: records[name] for name in chosen}, audio)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Where the notebooks of this file find one another's runs, and no other test does."""
    return tmp_path_factory.mktemp("built")


def shown(cell) -> list[str]:
    """What a cell shows, without what goes to stderr; the pieces in which a stream happens to arrive are one text."""
    streams = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    others = [output for output in cell.outputs if output.output_type != "stream"]
    for output in others:
        output.pop("execution_count", None)
        output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return [PASSING.sub("~", text) for text in (streams, *(json.dumps(output, sort_keys=True) for output in others))]


@LONG
@pytest.mark.parametrize("variant", MATRIX)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_under_other_settings_and_each_cell_twice_shows_the_same_page(path, variant, few_notes, built):
    notebook = nbformat.read(path, as_version=4)
    twice = [cell for cell in notebook.cells if cell.cell_type == "code" for _ in range(2)]
    notebook.cells = [nbformat.v4.new_code_cell(cell.source) for cell in twice]
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}})
    folder = built / variant.replace(" ", "-")
    own = {f"NSYNTH_{name.upper()}": str(folder / name) for name in ("runs", "figures", "cache")}
    client.execute(env={**os.environ, **own, **MATRIX[variant], "NSYNTH_DATA": str(few_notes), "TQDM_DISABLE": "1"})
    for first, second in zip(notebook.cells[::2], notebook.cells[1::2], strict=True):
        assert shown(first) == shown(second), first.source


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 4
