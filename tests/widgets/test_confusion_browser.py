"""The confusion browser, driven as a reader would drive it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from conftest import cached_split
from nsynth_helpers import widgets
from nsynth_helpers.analysis.outcomes import LOGITS, confusion_matrix, make_outcomes
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.plots import beliefs as belief_plots

# Note, what the LSTM answers and how loudly, what the BLSTM answers.
ANSWERS = [
    ("bass_acoustic_000-030-100", "bass", 3.0, "bass"),
    ("bass_acoustic_000-031-100", "keyboard", 2.0, "bass"),
    ("bass_acoustic_000-032-100", "keyboard", 4.0, "bass"),
    ("keyboard_acoustic_001-030-100", "bass", 3.0, "vocal"),
    ("vocal_acoustic_002-060-100", "vocal", 3.0, "vocal"),
]


def outcomes(answers: list[str], loudness) -> pd.DataFrame:
    names = [answer[0] for answer in ANSWERS]
    table = pd.DataFrame({"note_str": names, "family": [name.split("_")[0] for name in names]})
    table[LOGITS] = np.zeros((len(names), len(FAMILIES)))
    for row, (answer, logit) in enumerate(zip(answers, loudness, strict=True)):
        table.loc[row, f"logit_{answer}"] = logit
    return make_outcomes(table)


@pytest.fixture
def networks() -> dict[str, pd.DataFrame]:
    return {
        "LSTM": outcomes([answer[1] for answer in ANSWERS], [answer[2] for answer in ANSWERS]),
        "BLSTM": outcomes([answer[3] for answer in ANSWERS], [2.0] * len(ANSWERS)),
    }


@pytest.fixture
def cached() -> NSynthSplit:
    waveforms = np.arange(len(ANSWERS) * 1600, dtype=np.int16).reshape(len(ANSWERS), -1)
    return cached_split("test", [answer[0] for answer in ANSWERS], waveforms)


@pytest.fixture
def drawn(monkeypatch) -> list:
    """What was drawn, as tiny pictures, since these tests change menus many times."""
    calls = []

    def tiny(probabilities, actual, waveform=None):
        calls.append((int(np.argmax(probabilities)), actual, None if waveform is None else int(waveform[0])))
        fig = Figure(figsize=(0.5, 0.1), dpi=50)
        fig.text(0, 0, str(calls[-1]))
        return fig, fig.axes

    monkeypatch.setattr(belief_plots, "plot_answer", tiny)
    return calls


def choose(browser, **choice) -> None:
    for menu, value in choice.items():
        getattr(browser, menu).value = value


def test_it_opens_at_the_largest_confusion_with_its_surest_note(networks, cached, drawn):
    browser = widgets.ConfusionBrowser(networks, cached)
    assert (browser.network.value, browser.actual.value, browser.predicted.value) == ("LSTM", "bass", "keyboard")
    assert browser.note.options == ("bass_acoustic_000-032-100", "bass_acoustic_000-031-100")
    assert "<b>bass_acoustic_000-032-100</b>: keyboard" in browser.view.caption.value
    assert "wrong by a margin of 4.00" in browser.view.caption.value
    assert drawn == [(FAMILIES.index("keyboard"), "bass", 2 * 1600)]


def test_menus_count_the_notes(networks, cached, drawn):
    browser = widgets.ConfusionBrowser(networks, cached)
    assert browser.actual.options[0] == ("bass (3)", "bass")
    assert {family: text for text, family in browser.predicted.options}["keyboard"] == "keyboard (2)"
    choose(browser, actual="keyboard")
    assert {family: text for text, family in browser.predicted.options}["bass"] == "bass (1)"
    choose(browser, network="BLSTM")
    assert {family: text for text, family in browser.predicted.options}["bass"] == "bass (0)"


def test_an_empty_cell_says_so_and_recovers(networks, cached, drawn):
    browser = widgets.ConfusionBrowser(networks, cached)
    choose(browser, network="BLSTM")
    assert browser.view.caption.value == "The BLSTM takes no bass note for keyboard."
    assert browser.note.disabled and browser.view.picture.layout.display == "none"
    choose(browser, predicted="bass")
    assert not browser.note.disabled and browser.view.picture.layout.display is None
    assert "bass_acoustic_000-030-100</b>: bass" in browser.view.caption.value and "right" in browser.view.caption.value


def test_choosing_a_note_shows_it_once(networks, cached, drawn):
    browser = widgets.ConfusionBrowser(networks, cached)
    drawn.clear()
    choose(browser, note="bass_acoustic_000-031-100")
    assert drawn == [(FAMILIES.index("keyboard"), "bass", 1600)]
    assert browser.view.sound.value == widgets.encode_mp3(cached.waveforms[1])
    drawn.clear()
    choose(browser, actual="vocal", predicted="vocal")
    assert len(drawn) == 1, "vocal taken for keyboard is empty; then one picture"


def test_every_note_can_be_reached(networks, cached, drawn):
    browser = widgets.ConfusionBrowser(networks, cached)
    reached = []
    for actual in FAMILIES:
        for predicted in FAMILIES:
            choose(browser, actual=actual, predicted=predicted)
            reached += browser.note.options
    assert sorted(reached) == sorted(answer[0] for answer in ANSWERS)


def test_without_audio_there_is_no_player(networks, drawn):
    browser = widgets.ConfusionBrowser(networks)
    assert browser.view.sound.layout.display == "none" and browser.view.sound.value == b""
    assert drawn[0][2] is None


def test_running_the_cell_again_gives_the_same_view_and_shares_nothing(networks, cached, drawn):
    browser, again = widgets.ConfusionBrowser(networks, cached), widgets.ConfusionBrowser(networks, cached)
    assert again.view.caption.value == browser.view.caption.value
    assert again.view.picture.value == browser.view.picture.value
    choose(again, actual="vocal", predicted="vocal")
    assert browser.actual.value == "bass"


def test_it_draws_for_real_and_leaves_no_figure_open(networks, cached):
    browser = widgets.ConfusionBrowser(networks, cached)
    assert bytes(browser.view.picture.value).startswith(b"\x89PNG")
    assert not plt.get_fignums()


def test_largest_confusion_of_a_network_without_errors_is_its_largest_cell(networks):
    notes = networks["BLSTM"]
    perfect = confusion_matrix(notes[notes["correct"]])
    assert widgets.largest_confusion(perfect) == ("bass", "bass")
    assert widgets.largest_confusion(confusion_matrix(notes)) == ("keyboard", "vocal")
