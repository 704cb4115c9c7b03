"""The report: its pages stand alone, and a failing cell ends in one sentence with nothing lost."""

import re
import shutil
import subprocess
from dataclasses import replace
from xml.etree import ElementTree

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from nsynth_helpers import report, view
from nsynth_helpers.report import pages
from nsynth_helpers.settings import PROJECT_ROOT, InputError, Settings
from nsynth_helpers.widgets import player_table

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
    return pages.Pages(tmp_path, {"page": "A page"}).write("page", new_notebook(cells=list(cells))).read_text()


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


def test_links_to_other_files_of_the_project_lead_there(tmp_path):
    page = export(tmp_path, new_markdown_cell("[more](../docs/reproduction.md)"))
    (target,) = re.findall(r'href="([^"]+/docs/reproduction\.md)"', page)
    assert (tmp_path / target).resolve() == PROJECT_ROOT / "docs" / "reproduction.md"


def test_every_formula_of_the_notebooks_is_understood(tmp_path):
    """What the converter does not know, it passes on as letters."""
    notebooks = [nbformat.read(path, as_version=4) for path in report.notebook_paths()]
    texts = [cell.source for notebook in notebooks for cell in notebook.cells if cell.cell_type == "markdown"]
    formulas = MATH.findall(export(tmp_path, *map(new_markdown_cell, texts)))
    assert len(formulas) > 20
    for formula in formulas:
        letters = re.sub(r"<[^>]*>|&#x[0-9A-F]+;", "", formula)
        assert not re.search(r"[\\&]", letters), letters


def test_the_index_leads_to_the_executed_notebook(write_notebook, settings):
    write_notebook("print(6 * 7)")
    index = report.make_report(replace(settings, epochs=1))
    assert "with 1 epoch of training" in index.read_text()
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


# What a user has, and what kills a report


def test_a_folders_name_runs_nowhere_in_the_report(write_notebook, settings, tmp_path, monkeypatch):
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    folder.mkdir()
    monkeypatch.setenv("NSYNTH_DATA", str(folder))
    write_notebook(
        "from IPython.display import HTML, Markdown, display\nimport nsynth_helpers as ns\n"
        "settings = ns.Settings.from_environment()\nprint(settings)\nsettings",
        "display(Markdown(f'**{settings.data_name}**'), HTML(f'<b>{settings.data_name}</b>'))",
    )
    index = report.make_report(replace(settings, data=str(folder)))
    for page in (index, index.with_name("01_tiny.html")):
        assert "<img src=x" not in page.read_text() and "_img src_x onerror" in page.read_text()


def test_a_kernel_that_is_killed_is_one_sentence(write_notebook, settings):
    write_notebook("print(6 * 7)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(InputError, match=r"The kernel of 01_tiny\.ipynb was killed, .* make NSYNTH_BATCH_SIZE"):
        report.make_report(settings)
    kept = nbformat.read(settings.report / "01_tiny.failed.ipynb", as_version=4)
    assert kept.cells[1].outputs[0].text == "42\n"


@pytest.fixture
def checkout(write_notebook, tmp_path, monkeypatch):
    """A notebook that is committed, in a checkout of its own."""
    write_notebook("print(6 * 7)")
    monkeypatch.setattr(report, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(report, "KEPT_NETWORKS", ())
    (tmp_path / ".gitignore").write_text("report/\n")
    git = ["git", "-c", "user.name=tester", "-c", "user.email=tester@localhost"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    return tmp_path / "01_tiny.ipynb"


def test_a_notebook_that_was_edited_is_not_refreshed(checkout, settings):
    report.make_report(settings, refresh=True)
    refreshed = checkout.read_text()
    assert "42" in refreshed
    checkout.write_text(refreshed.replace("6 * 7", "6 * 8"))
    edited = checkout.read_text()
    with pytest.raises(InputError, match=r"01_tiny\.ipynb has changes that refreshing would overwrite; commit them"):
        report.make_report(settings, refresh=True)
    assert checkout.read_text() == edited
    report.make_report(settings)  # a report reads notebooks and writes none
    assert checkout.read_text() == edited


def test_a_notebook_that_is_edited_while_it_runs_is_left_as_it_is(checkout, settings, monkeypatch):
    execute = report.execute

    def edit_meanwhile(path, *others):
        notebook = execute(path, *others)
        path.write_text(path.read_text().replace("6 * 7", "6 * 9"))
        return notebook

    monkeypatch.setattr(report, "execute", edit_meanwhile)
    with pytest.raises(InputError, match=r"01_tiny\.ipynb was edited while it ran and is left as it is"):
        report.make_report(settings, refresh=True)
    assert "6 * 9" in checkout.read_text()


def test_refreshing_needs_a_way_back(write_notebook, settings, tmp_path, monkeypatch):
    write_notebook("print(6 * 7)")
    monkeypatch.setattr(report, "PROJECT_ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    before = (tmp_path / "01_tiny.ipynb").read_bytes()
    with pytest.raises(InputError, match="is not under git"):
        report.make_report(settings, refresh=True)
    assert (tmp_path / "01_tiny.ipynb").read_bytes() == before


def test_a_picture_of_the_project_is_in_the_page_itself(tmp_path):
    page = export(tmp_path, new_markdown_cell("![the LSTM](../figures/lstm_diagram.svg)"))
    assert 'src="data:image/svg+xml;base64,' in page and "../figures" not in page


def test_every_picture_of_the_notebooks_has_words_of_its_own():
    words = []
    for path in report.notebook_paths():
        notebook = nbformat.read(path, as_version=4)
        pages.describe_pictures(notebook)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        words += [output.metadata.alt for output in outputs if "image/png" in output.get("data", {})]
    assert len(words) > 30 and len(set(words)) == len(words)
    assert not [text for text in words if len(text) < 30]


def test_a_picture_is_described_by_its_caption_or_by_what_stands_about_it():
    image = {"image/png": ""}
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Title\n\n## How long?\n\nNotes last `4 s`. So much for that."),
            new_code_cell(outputs=[new_output("display_data", image)]),
            new_code_cell(outputs=[new_output("display_data", image), new_output("display_data", image)]),
            new_markdown_cell("*Levels of each\nnote, 0.5 at most.* The [first](a.html) is loud.\n\n## Next"),
            new_code_cell(outputs=[new_output("display_data", image)]),
            new_markdown_cell("The *outline* swells; see there."),
            new_code_cell(outputs=[new_output("display_data", image)]),
        ]
    )
    pages.describe_pictures(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.metadata.alt for output in outputs] == [
        "Levels of each note, 0.5 at most.",
        "Levels of each note, 0.5 at most. (1 of 2)",
        "Levels of each note, 0.5 at most. (2 of 2)",
        "Next – The outline swells; see there.",
        "Next – The outline swells; see there.",
    ]


def test_a_sound_is_stored_once(tmp_path):
    waveform = (8000 * np.sin(np.arange(16000) / 5)).astype(np.int16)
    html = player_table({"a": waveform, "b": waveform})._repr_html_()
    cells = [new_code_cell(outputs=[new_output("display_data", {"text/html": html})])]
    book = pages.Pages(tmp_path, {"one": "One", "two": "Two"})
    for name in ("one", "two"):
        page = book.write(name, new_notebook(cells=cells)).read_text()
        assert page.count("data-sound=") == 2 and "base64" not in page.split("<body>")[1].split("<script>")[0]
    assert (tmp_path / "sounds.js").stat().st_size < 8000


def test_the_report_is_printed(write_notebook, settings):
    if not any(map(shutil.which, pages.BROWSERS)):
        pytest.skip(f"no browser is installed ({', '.join(pages.BROWSERS)})")
    write_notebook("print(6 * 7)")
    report.make_report(settings, pdf=True)
    assert (settings.report / "01_tiny.pdf").read_bytes().startswith(b"%PDF")


def test_without_a_browser_the_pages_are_there_and_one_sentence_says_what_is_missing(
    write_notebook, settings, monkeypatch
):
    write_notebook("print(6 * 7)")
    monkeypatch.setattr(pages.shutil, "which", lambda _: None)
    with pytest.raises(InputError, match=r"in .*index\.html, but no browser prints it \(chromium, .*install"):
        report.make_report(settings, pdf=True)
    assert (settings.report / "index.html").exists() and (settings.report / "01_tiny.html").exists()


def test_a_note_view_lives_on_the_page_without_a_kernel(tmp_path):
    state = {"state": {"model": {"state": {"_esm": view.MODULE, "data": {"kind": "explorer"}}}}}
    output = new_output("display_data", {view.WIDGET_VIEW: {"model_id": "model"}})
    notebook = new_notebook(cells=[new_code_cell("explore()", outputs=[output])])
    notebook.metadata["widgets"] = {view.WIDGET_STATE: state}
    page = pages.Pages(tmp_path, {"page": "A page"}).write("page", notebook).read_text()
    assert '{"kind":"explorer"}' in page and page.count(view.script()) == 1
    assert notebook.cells[0].outputs[0].data == {view.WIDGET_VIEW: {"model_id": "model"}}
