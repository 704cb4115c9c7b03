"""A sound of the reader's own in a real JupyterLab: files good and bad, a recording, a refused microphone, keys."""

from time import monotonic

import numpy as np
import pytest
import soundfile
from test_widgets import CUT_OFF, press_keys, tab_through

LOADING = """import numpy as np
import nsynth_helpers as ns
from nsynth_helpers.data.sound import prepare_sound
from nsynth_helpers.settings import PROJECT_ROOT
from nsynth_helpers.training.runs import Run
train = ns.load_splits(ns.Settings.from_environment(), ["train"])["train"]
runs = {name: Run(PROJECT_ROOT / "results" / f"mini-{name.lower()}") for name in ("LSTM", "BLSTM")}
first = prepare_sound(np.sin(2 * np.pi * 220 * np.arange(16_000) / 16_000), 16_000)"""
CELLS = [LOADING, 'explorer = ns.widgets.SoundExplorer(first, train, runs, "a sine")\nexplorer', "# the last cell"]
RATE = 44_100


def tone(seconds: float, onset: float = 0.5) -> np.ndarray:
    time = np.arange(round(RATE * seconds)) / RATE
    return 0.4 * np.sin(2 * np.pi * 330 * time) * (time >= onset)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Good and bad ones, by name."""
    folder = tmp_path_factory.mktemp("sounds")
    for name in ("good.wav", "good.flac", "good.ogg", "good.mp3"):
        soundfile.write(folder / name, np.stack([tone(1.2)] * 2, axis=1), RATE)
    soundfile.write(folder / "large.wav", np.stack([tone(30)] * 6, axis=1), RATE)  # 16 MB: in many pieces
    (folder / "letter.wav").write_text("Dear reader, this is no sound.")
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(folder / "long.flac", tone(61), RATE)
    soundfile.write(folder / "nan.wav", np.where(tone(1) > 0.39, np.nan, tone(1)), RATE, subtype="FLOAT")
    (folder / "huge.wav").write_bytes(bytes(20_000_001))
    return folder


@pytest.fixture(scope="module")
def page(lab):
    page = lab.open("sound", CELLS)
    yield page
    page.close()


@pytest.fixture
def view(page):
    """The widget, with both panels drawn."""
    view = page.locator(".nsynth-note-view")
    view.scroll_into_view_if_needed()
    drawn(view)
    return view


def drawn(view) -> None:
    for number in (0, 1):
        view.locator(".play:enabled").nth(number).wait_for()


def title(view) -> str:
    return view.locator("h3").first.inner_text()


def message(view) -> str:
    return view.locator("[role=status]").first.inner_text()


def choose(view, path) -> None:
    """Hand a file over and wait for the end of it."""
    view.get_by_label("a sound file").set_input_files(path)
    view.page.wait_for_function(
        "told => !/Waiting/.test(told.textContent)", arg=view.locator("[role=status]").first.element_handle()
    )


def test_the_first_sound_its_answers_and_the_nearest_notes(view):
    assert title(view) == "a sine"
    assert view.locator(".facts").first.inner_text() == "1.00 s, heard from 0 ms on"
    rows = view.locator(".note").first.locator(".unseen tr").all_inner_texts()
    assert "LSTM answers" in rows[0] and "BLSTM answers" in rows[0]
    lines = view.get_by_label("near train note").locator("option").all_inner_texts()
    assert len(lines) == 5 and all("distance" in line for line in lines)
    assert view.locator("h3").nth(1).inner_text() in lines[0]
    view.get_by_role("button", name="next note").click()
    assert view.locator("h3").nth(1).inner_text() in lines[1]
    assert "as the LSTM hears them" in view.locator("h2").nth(1).inner_text()


@pytest.mark.parametrize("name", ["good.wav", "good.flac", "good.ogg", "good.mp3", "large.wav"])
def test_a_file_is_shown(view, files, name):
    choose(view, files / name)
    assert message(view) == "" and title(view) == name
    drawn(view)
    told = view.locator(".facts").first.inner_text()
    heard = int(told.split("heard from ")[1].split(" ms")[0])
    assert 480 <= heard <= 550, "half a second of silence before it; MP3 delays a little"
    assert ("of added silence" in told) is False and ("are added silence" in told) == (name != "large.wav")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("letter.wav", "This is no audio that can be read"),
        ("empty.wav", "The sound is empty"),
        ("silent.wav", "The sound is silent"),
        ("long.flac", "The sound is longer than 60 s"),
        ("nan.wav", "The sound has samples that are no numbers"),
        ("huge.wav", "The file is larger than 20 MB"),
    ],
)
def test_a_bad_file_is_one_sentence_and_the_sound_before_stays(view, files, name, sentence):
    choose(view, files / "good.wav")
    before = view.locator(".note").first.inner_text()
    choose(view, files / name)
    assert message(view).startswith(sentence) and message(view).endswith(".")
    assert view.locator(".note").first.inner_text() == before and title(view) == "good.wav"
    assert view.locator(".play:enabled").count() == 2


def test_a_recording_by_keyboard(page, view):
    page.context.grant_permissions(["microphone"])
    button = view.get_by_role("button", name="record")
    button.focus()
    start = monotonic()
    page.keyboard.press("Enter")
    view.get_by_role("button", name="stop recording").wait_for()
    page.wait_for_timeout(1_600)  # the browser's own device beeps each second
    page.keyboard.press("Space")
    view.get_by_role("heading", name="your recording").wait_for()
    passed = monotonic() - start
    # The kernel's word that it is done comes a little after what it drew.
    page.wait_for_function("told => !told.textContent", arg=view.locator("[role=status]").first.element_handle())
    assert button.inner_text() == "● record"
    assert 1 < float(view.locator(".facts").first.inner_text().split(" s")[0]) < passed


def test_a_refused_microphone_is_one_sentence(page, view):
    before = title(view)
    page.context.clear_permissions()
    page.context.grant_permissions(["geolocation"])  # which refuses all others
    view.get_by_role("button", name="record").click()
    view.get_by_text("This page cannot use a microphone").wait_for()
    assert message(view).endswith("; allow it, or choose a file.")
    assert title(view) == before and view.get_by_role("button", name="record").is_enabled()


def test_keys_leave_the_notebook_alone(lab, page, view):
    press_keys(lab, page, view)  # Enter and Space are not among them: they would open the file dialogue


def test_every_control_is_reached_by_tab(page, view):
    tab_through(page, view, "a sound file")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_view_fits(lab, shots, files, theme):
    page = lab.open(f"sound-{theme}", CELLS, theme=theme)
    page.evaluate("jupyterapp.shell.collapseLeft()")
    for width in (1600, 390):
        page.set_viewport_size({"width": width, "height": 1400})
        view = page.locator(".nsynth-note-view")
        view.scroll_into_view_if_needed()
        drawn(view)
        page.wait_for_timeout(300)
        assert view.evaluate(CUT_OFF) == []
        view.screenshot(path=shots / f"lab-sound-{theme}-{width}.png")
    page.close()
