"""The note view on a page without a kernel and without a network, as in the report."""

import base64

import numpy as np
import pytest

from nsynth_helpers import view, widgets
from nsynth_helpers.analysis.outcomes import make_outcomes, nearest_and_farthest
from nsynth_helpers.data.cache import load_split
from nsynth_helpers.data.metadata import SAMPLE_RATE, STEP_SIZE
from nsynth_helpers.plots.notes import log_mel_spectrogram
from nsynth_helpers.settings import PROJECT_ROOT, Settings
from nsynth_helpers.training.runs import Run

HEAD = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>page</title>'
STYLE = "<style>@media (prefers-color-scheme: dark) { body { background: #111; color: #eee } }</style>"
VIEWS = ("explorer", "confusion", "gallery")


@pytest.fixture(scope="module")
def test_split():
    return load_split(Settings.from_environment(), "test")


@pytest.fixture(scope="module")
def report(test_split, tmp_path_factory):
    """A page from the file system with each view on it."""
    runs = {name: Run(PROJECT_ROOT / "results" / f"mini-{name.lower()}") for name in ("LSTM", "BLSTM")}
    outcomes = {name: make_outcomes(run.predictions()) for name, run in runs.items()}
    shown = [
        widgets.NoteExplorer({"test": test_split}, runs=runs, stored=12),
        widgets.ConfusionExplorer(outcomes, test_split, runs=runs, stored=12),
        widgets.ExtremesGallery(nearest_and_farthest(outcomes["LSTM"]), test_split, "LSTM", runs["LSTM"]),
    ]
    path = tmp_path_factory.mktemp("report") / "page.html"
    path.write_text(HEAD + STYLE + "".join(view.embed(widget.data) for widget in shown) + view.script())
    return path


@pytest.fixture
def opened(chromium, report):
    """Opens the page with the network off, and fails if it asked for anything outside itself or an error was told."""
    contexts, faults = [], []

    def open_page(width=1400, theme="light"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "request", lambda request: request.url.startswith(("file:", "blob:", "data:")) or faults.append(request.url)
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.goto(report.as_uri())
        page.locator(".nsynth-note-view").first.wait_for()
        return page

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
    canvas = explorer.locator("canvas")
    explorer.locator(".play:enabled").wait_for()
    explorer.get_by_role("button", name="play").click()
    page.wait_for_timeout(350)
    assert 5 < int(canvas.get_attribute("aria-valuenow")) < 95
    page.wait_for_function("canvas => canvas.getAttribute('aria-valuenow') === '100'", arg=canvas.element_handle())


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
    for shown in opened().locator(".nsynth-note-view").all():
        shown.locator(".play:enabled").wait_for()
        canvas, name = shown.locator("canvas"), shown.locator("h3").inner_text()
        assert name in canvas.get_attribute("aria-label")
        rows = shown.locator(".unseen tr").all_inner_texts()
        assert len(rows) == 11 and "LSTM answers" in rows[0]


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
