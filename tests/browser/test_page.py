"""The report's pages, opened from the file system without a network: their note views, sounds, tables and code."""

import base64

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sklearn.decomposition import PCA
from test_widgets import play_to_end

from conftest import PATIENCE
from nsynth_helpers import view, widgets
from nsynth_helpers.analysis.beliefs import note_states
from nsynth_helpers.analysis.outcomes import make_outcomes, nearest_and_farthest
from nsynth_helpers.data.cache import load_split
from nsynth_helpers.data.metadata import SAMPLE_RATE, STEP_SIZE
from nsynth_helpers.plots.notes import log_mel_spectrogram
from nsynth_helpers.report import notebook_paths
from nsynth_helpers.report.pages import Pages, title_of
from nsynth_helpers.settings import PROJECT_ROOT, Settings
from nsynth_helpers.training.runs import Run

VIEWS = ("explorer", "confusion", "gallery", "map")


@pytest.fixture(scope="module")
def test_split():
    return load_split(Settings.from_environment(), "test")


@pytest.fixture(scope="module")
def report(test_split, tmp_path_factory):
    """A page from the file system with each view on it."""
    runs = {name: Run(PROJECT_ROOT / "results" / f"mini-{name.lower()}") for name in ("LSTM", "BLSTM")}
    outcomes = {name: make_outcomes(run.predictions()) for name, run in runs.items()}
    axes = PCA(2)
    places = axes.fit_transform(note_states(runs["LSTM"].load_network(), runs["LSTM"].config.frames(test_split)))
    placed = outcomes["LSTM"].assign(x=places[:, 0], y=places[:, 1])
    shown = [
        widgets.NoteExplorer({"test": test_split}, runs=runs, stored=12),
        widgets.ConfusionExplorer(outcomes, test_split, runs=runs, stored=12),
        widgets.ExtremesGallery(nearest_and_farthest(outcomes["LSTM"]), test_split, "LSTM", runs["LSTM"]),
        widgets.NoteMap(placed, axes.explained_variance_ratio_, test_split, "LSTM"),
    ]
    states = {str(i): {"state": {"_esm": view.MODULE, "data": widget.data}} for i, widget in enumerate(shown)}
    outputs = [new_output("display_data", {view.WIDGET_VIEW: {"model_id": i}}) for i in states]
    notebook = new_notebook(cells=[new_code_cell("views", outputs=outputs)])
    notebook.metadata["widgets"] = {view.WIDGET_STATE: {"state": states}}
    return Pages(tmp_path_factory.mktemp("report"), {"page": "Views"}).write("page", notebook)


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The committed notebooks as a report."""
    notebooks = {path.stem: nbformat.read(path, as_version=4) for path in notebook_paths()}
    pages = Pages(tmp_path_factory.mktemp("book"), {name: title_of(notebook) for name, notebook in notebooks.items()})
    for name, notebook in notebooks.items():
        pages.write(name, notebook)
    return pages.write_index("The committed notebooks.").parent


@pytest.fixture
def opened(chromium, report):
    """Opens a page with the network off, and fails if it asked for anything outside its folder or an error was told."""
    contexts, faults = [], []

    def open_page(width=1400, theme="light", path=report):
        own = (path.parent.as_uri(), "blob:", "data:")
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, offline=True)
        context.set_default_timeout(1000 * PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: request.url.startswith(own) or faults.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.goto(path.as_uri())
        return page

    open_page.faults = faults
    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def test_stored_notes_are_alive_without_a_kernel(opened):
    page = opened()
    explorer = page.locator(".nsynth-note-view").first
    assert explorer.locator(".remark").first.inner_text() == "This page holds 12 of the 400 notes."
    assert explorer.locator(".count").inner_text() == "1 of 12 notes"
    met = set()
    for _ in range(12):
        explorer.locator(".play:enabled").wait_for()
        met.add(explorer.locator("h3").inner_text())
        assert explorer.locator(".message").inner_text() == ""
        explorer.get_by_role("button", name="next note").click()
    assert len(met) == 12


def test_a_note_that_is_not_stored_shows_its_answers_and_says_why_it_is_silent(opened):
    confusion = opened().locator(".nsynth-note-view").nth(1)
    lines = confusion.get_by_label("note of the cell").locator("option")
    confusion.get_by_label("note of the cell").select_option(str(lines.count() - 1))
    confusion.get_by_text("This page holds no sound of this note").wait_for()
    assert confusion.get_by_role("button", name="play").is_disabled()
    assert "after the whole note" in confusion.locator(".answers").inner_text()
    assert confusion.locator(".answers td").count() == 20


def test_the_sound_plays_offline(opened):
    page = opened()
    explorer = page.locator(".nsynth-note-view").first
    explorer.locator(".play:enabled").wait_for()
    passed = play_to_end(page, explorer)
    assert passed == sorted(passed) and any(5 < step < 95 for step in passed)
    explorer.locator("canvas").press("Home")
    page.evaluate("window.requestAnimationFrame = () => 0")
    assert set(play_to_end(page, explorer)) == {100}, "it ends there, too, where the page is too busy to draw"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1600, 1400, 390])
def test_the_page_fits_and_takes_the_theme_of_the_system(opened, shots, width, theme):
    page = opened(width, theme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for number, name in enumerate(VIEWS):
        shown = page.locator(".nsynth-note-view").nth(number)
        shown.locator(".play:enabled").wait_for()
        assert shown.evaluate("view => getComputedStyle(view).colorScheme") == theme
        shown.screenshot(path=shots / f"page-{name}-{theme}-{width}.png")


def test_pictures_have_words(opened):
    page = opened()
    page.locator(".nsynth-note-view").first.wait_for()
    for shown in page.locator(".nsynth-note-view").all():
        shown.locator(".play:enabled").wait_for()
        canvas, name = shown.locator(".note canvas"), shown.locator("h3").inner_text()
        assert name in canvas.get_attribute("aria-label")
        rows = shown.locator(".note .unseen tr").all_inner_texts()
        assert len(rows) == 11 and rows[0].startswith("time")


def test_the_map_has_words_and_is_heard_from_the_first_click_on(opened, test_split):
    page = opened()
    page.evaluate(
        "void (HTMLMediaElement.prototype.play = async function () { (window.heard ??= []).push(this.src); })"
    )
    shown = page.locator(".nsynth-note-view").nth(VIEWS.index("map"))
    shown.locator(".play:enabled").wait_for()
    rows = [row.split("\t") for row in shown.locator("section:not(.note) > .unseen tr").all_inner_texts()]
    right = make_outcomes(Run(PROJECT_ROOT / "results" / "mini-lstm").predictions()).groupby("family")["correct"].sum()
    assert [(row[0], row[1], int(row[2])) for row in rows[1:]] == [(name, "40", n) for name, n in right.items()]
    canvas = shown.locator("canvas.map")
    size, before = canvas.bounding_box(), shown.locator(".told").inner_text()

    def pointed_at() -> set[str]:
        """What is told while the pointer crosses the map."""
        told = set()
        for share in np.linspace(0.1, 0.9, 9):
            canvas.hover(position={"x": share * size["width"], "y": 0.25 * size["height"]})
            page.wait_for_timeout(200)
            told.add(shown.locator(".told").inner_text())
        return told - {before}

    notes = {text.split(":")[0] for text in pointed_at()}
    assert len(notes) > 1 and notes <= set(test_split.notes["note_str"])
    assert page.evaluate("window.heard ?? []") == [], "silent before the first click"
    canvas.click(position={"x": 3, "y": 3})
    pointed_at()
    assert len(page.evaluate("window.heard")) > 1


def test_the_spectrogram_is_that_of_the_figures(chromium, test_split):
    """From the exact samples: the same to a tenth of a decibel; MP3 adds to that what it leaves out of a sound."""
    page = chromium.new_page()
    for row in (0, 150, 399):
        waveform = test_split.waveforms[row]
        text = page.evaluate(
            """async ([module, samples, rate, hop]) => {
                const { logMel } = await import(URL.createObjectURL(new Blob([module], { type: "text/javascript" })));
                const heard = new Int16Array(Uint8Array.from(atob(samples), c => c.charCodeAt(0)).buffer);
                const { level } = logMel(Float32Array.from(heard, value => value / 32767), rate, hop);
                return btoa(String.fromCharCode(...new Uint8Array(level.buffer)));
            }""",
            [view.MODULE, base64.b64encode(waveform.tobytes()).decode(), SAMPLE_RATE, STEP_SIZE],
        )
        drawn = np.frombuffer(base64.b64decode(text), "<f4")
        assert np.abs(drawn - log_mel_spectrogram(waveform).ravel()).max() < 0.1
    page.close()


def test_the_book_is_small(book):
    assert sum(path.stat().st_size for path in book.iterdir()) < 30_000_000


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_every_page_of_the_book_fits_and_is_whole(opened, book, shots, width, theme):
    for path in sorted(book.glob("*.html")):
        page = opened(width, theme, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
        assert page.locator("meta[name=viewport]").get_attribute("content") == "width=device-width, initial-scale=1"
        light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert light == (theme == "light")
        pictures = page.locator("main img").evaluate_all("all => all.map(i => [i.naturalWidth > 0, i.alt.length])")
        assert all(loaded and words > 20 for loaded, words in pictures), path.name
        # A figure keeps its light sheet, and lets it scroll where the page is narrow.
        assert page.evaluate("[...document.querySelectorAll('.sheet')].every(s => s.offsetWidth <= innerWidth)")
        if path.name[:2] in ("in", "01", "04", "08"):
            page.screenshot(path=shots / f"report-{path.stem}-{theme}-{width}.png", full_page=True)
        page.close()


def test_a_web_address_would_be_noticed(opened, book):
    """Or else no test above could fail."""
    path = book / "with_an_address" / "page.html"
    path.parent.mkdir()
    cell = new_markdown_cell("![a picture](https://example.org/picture.png)")
    Pages(path.parent, {"page": "Elsewhere"}).write("page", new_notebook(cells=[cell]))
    opened(path=path).wait_for_load_state()
    assert "https://example.org/picture.png" in opened.faults
    opened.faults.clear()


def test_the_book_is_read_from_page_to_page(opened, book):
    page = opened(path=book / "index.html")
    page.get_by_role("link", name="What a note looks like").click()
    assert page.evaluate("decodeURI(location.hash)") == "#What-a-note-looks-like"
    names = []
    while page.locator("header [rel=next]").count():
        page.locator("header [rel=next]").click()
        names.append(page.url.rpartition("/")[2])
    assert names == sorted(path.name for path in book.glob("*_*.html"))[1:]
    page.locator("header [rel=prev]").click()
    page.get_by_role("link", name="Learning NSynth", exact=True).click()
    assert page.url.endswith("/index.html")


@pytest.mark.parametrize("width", [1400, 390])
def test_the_contents_are_folded_on_a_phone_alone(opened, book, width):
    page = opened(width, path=book / "02_lstm_training.html")
    contents = page.get_by_role("navigation", name="this chapter")
    link = contents.get_by_role("link", name="The network")
    if width == 390:
        assert not link.is_visible()
        contents.get_by_text("Contents").click()
    link.click()
    assert page.locator("h2", has_text="The network").bounding_box()["y"] < 200


def test_code_opens_cell_by_cell_and_at_once(opened, book):
    page = opened(path=book / "02_lstm_training.html")
    code = page.locator(".code .highlight")
    assert code.count() > 20 and not any(cell.is_visible() for cell in code.all())
    page.locator(".code summary").nth(3).focus()
    page.keyboard.press("Enter")
    assert [cell.is_visible() for cell in code.all()].index(True) == 3
    page.get_by_role("button", name="show all code").press("Enter")
    assert all(cell.is_visible() for cell in code.all())
    page.get_by_role("button", name="show all code").press("Enter")
    assert not any(cell.is_visible() for cell in code.all())


def test_every_player_plays(opened, book):
    for name in ("01_data_exploration", "05_closer_look", "your_own_sound"):
        page = opened(path=book / f"{name}.html")
        page.wait_for_function(
            "[...document.querySelectorAll('audio')].every(a => a.readyState > 1 && a.duration > 0.9)"
        )
        player = page.locator("audio").first
        player.evaluate("player => { player.muted = true; return player.play(); }")
        page.wait_for_function("player => player.currentTime > 0.1", arg=player.element_handle())


def test_verdicts_are_filtered_by_keyboard(opened, book):
    page = opened(390, path=book / "08_discussion.html")
    rows = page.locator("#T_claims tbody tr:visible")
    assert rows.count() == 14
    page.get_by_label("verdict").first.focus()
    page.keyboard.press("f")
    found = rows.all_inner_texts()
    assert 0 < len(found) < 14 and all("fails" in text for text in found)
    page.get_by_label("find").first.press_sequentially("similar families")
    assert rows.count() == 1 and "similar" in rows.inner_text()
    assert page.locator(".filter output").first.inner_text() == "1 of 14 rows"


def test_without_scripts_the_whole_text_is_there(chromium, book):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / "08_discussion.html").as_uri())
    assert page.locator("#T_claims tbody tr:visible").count() == 14
    assert page.get_by_role("navigation", name="this chapter").get_by_role("link").first.is_visible()
    context.close()


def test_a_sound_of_ones_own_asks_for_the_notebook(opened, book):
    view = opened(path=book / "your_own_sound.html").locator(".nsynth-note-view")
    view.locator(".play:enabled").nth(1).wait_for()
    assert view.locator(".remark").first.inner_text().startswith("To try a sound of your own, run this notebook")
    assert view.get_by_role("button", name="record").count() == view.locator("input").count() == 0
