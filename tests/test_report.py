"""The report: its pages stand alone, and a failing cell ends in one sentence with nothing lost."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from nsynth_helpers import report
from nsynth_helpers.settings import InputError, Settings

MATH = re.compile(r"<math.*?</math>", re.DOTALL)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return replace(Settings(), report=tmp_path / "report")


@pytest.fixture
def write_notebook(tmp_path, monkeypatch):
    """Put a notebook where the report looks for them."""
    monkeypatch.setattr(report, "NOTEBOOKS", tmp_path)

    def write(*cells: str):
        notebook = new_notebook(cells=[new_markdown_cell("# A title"), *map(new_code_cell, cells)])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, tmp_path / "01_tiny.ipynb")

    return write


def export(tmp_path, *cells) -> str:
    report._export(new_notebook(cells=list(cells)), tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def test_formulas_of_cells_and_outputs_need_no_network(tmp_path):
    shown = new_output("display_data", {"text/markdown": "A share of $\\frac{1}{3}$."})
    page = export(
        tmp_path, new_markdown_cell("Softmax: $$p_k = e^{z_k}$$ with *logits* $z$"), new_code_cell("x", outputs=[shown])
    )
    assert [ElementTree.fromstring(formula).get("display") for formula in MATH.findall(page)] == [
        "block",
        "inline",
        "inline",
    ]
    assert "<em>logits</em>" in page and "<mfrac>" in page
    assert "$$" not in page.split("<body")[1] and "frac{" not in page


def test_links_to_other_notebooks_lead_to_their_pages(tmp_path):
    page = export(tmp_path, new_markdown_cell("[next](02_lstm_training.ipynb), or [elsewhere](https://a.b/c.ipynb)"))
    assert 'href="02_lstm_training.html"' in page and 'href="https://a.b/c.ipynb"' in page


def test_every_formula_of_the_notebooks_is_understood(tmp_path):
    """What the converter does not know, it passes on as letters."""
    notebooks = [nbformat.read(path, as_version=4) for path in report.NOTEBOOKS.glob("[0-9]*.ipynb")]
    texts = [cell.source for notebook in notebooks for cell in notebook.cells if cell.cell_type == "markdown"]
    formulas = MATH.findall(export(tmp_path, *map(new_markdown_cell, texts)))
    assert len(formulas) > 20
    for formula in formulas:
        letters = re.sub(r"<[^>]*>|&#x[0-9A-F]+;", "", formula)
        assert not re.search(r"[\\&]", letters), letters


def test_the_index_leads_to_the_executed_notebook(write_notebook, settings):
    write_notebook("print(6 * 7)")
    index = report.make_report(settings)
    assert '<a href="01_tiny.html">A title</a>' in index.read_text()
    assert "42" in (index.parent / "01_tiny.html").read_text().split("<body")[1]


def test_a_failing_cell_is_one_sentence_and_the_page_up_to_there_is_kept(write_notebook, settings):
    write_notebook("print(6 * 7)", "raise ValueError('no such note')")
    with pytest.raises(InputError, match=r"01_tiny\.ipynb stopped at a cell that raised ValueError \(no such note\)"):
        report.make_report(settings)
    kept = nbformat.read(settings.report / "01_tiny.failed.ipynb", as_version=4)
    assert kept.cells[1].outputs[0].text == "42\n"
    assert not (settings.report / "index.html").exists()


def test_what_is_committed_is_made_on_nsynth_mini_alone(settings):
    with pytest.raises(InputError, match="unset NSYNTH_DATA"):
        report.make_report(replace(settings, data="elsewhere"), refresh=True)
