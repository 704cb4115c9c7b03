"""Players and the note explorer, driven as a reader would drive them."""

import ast
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import soundfile
from matplotlib.figure import Figure

from conftest import cached_split
from nsynth_helpers import widgets
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import SAMPLE_RATE
from nsynth_helpers.plots import style as plots

TRAIN = (
    "bass_acoustic_000-030-100",
    "bass_electronic_001-030-100",
    "bass_electronic_001-040-050",
    "flute_acoustic_002-070-100",
    "synth_lead_synthetic_003-050-127",
)
TEST = ("bass_electronic_009-030-025", "flute_acoustic_002-072-100")


def make_split(split: str, names: tuple[str, ...]) -> NSynthSplit:
    time = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
    tones = [np.sin(2 * np.pi * 110 * (row + 1) * time) * 20_000 for row in range(len(names))]
    return cached_split(split, names, tones, digest=split)


@pytest.fixture
def splits() -> dict[str, NSynthSplit]:
    return {"train": make_split("train", TRAIN), "test": make_split("test", TEST)}


@pytest.fixture
def quick_drawing(monkeypatch):
    """Draw a note as a tiny picture of its own, for tests that change menus many times."""

    def tiny(waveform, note_str):
        fig = Figure(figsize=(0.5, 0.1), dpi=50)
        fig.text(0, 0, note_str)
        fig.add_axes((0, 0, 1, 1)).plot(waveform)
        return fig, fig.axes

    monkeypatch.setattr(plots, "plot_note", tiny)


@pytest.fixture
def explorer(splits, quick_drawing) -> widgets.NoteExplorer:
    return widgets.NoteExplorer(splits)


def offered(explorer, column: str) -> list:
    """The values of a menu without its "all"."""
    return [value for _, value in explorer.chooser.menus[column].options if value != widgets.ALL]


def choose(explorer, **choice) -> None:
    for column, value in choice.items():
        explorer.chooser.menus[column].value = value


def shows(explorer, splits, split: str, note_str: str) -> bool:
    """Whether caption, picture and sound are all of this note."""
    fig, _ = plots.plot_note(splits[split][note_str].audio, note_str)
    view = explorer.view
    return (
        f"<b>{note_str}</b> of the {split} split" in view.caption.value
        and view.picture.value == widgets.figure_png(fig)
        and view.sound.value == widgets.encode_mp3(splits[split][note_str].audio)
    )


def test_player_holds_the_note_as_mp3(splits):
    waveform = splits["train"].waveforms[0]
    audio = widgets.player(waveform)
    decoded, rate = soundfile.read(io.BytesIO(audio.data))
    assert audio.mimetype == "audio/mpeg" and "data:audio/mpeg;base64" in audio._repr_html_()
    assert (rate, len(decoded)) == (SAMPLE_RATE, len(waveform))
    assert np.corrcoef(decoded, waveform)[0, 1] > 0.95


def test_player_table_titles_every_player_and_escapes_the_title(splits):
    page = widgets.player_table({"a < b": splits["train"].waveforms[0], "c": splits["train"].waveforms[1]}).data
    assert page.count("<audio") == page.count("<figcaption>") == 2
    assert "<figcaption>a &lt; b</figcaption>" in page


def test_figure_png_is_a_png_and_leaves_no_figure_open():
    fig, _ = plots.new_axes()
    assert widgets.figure_png(fig).startswith(b"\x89PNG")
    assert not plt.get_fignums()


def test_narrowing_offers_what_goes_with_the_other_columns():
    table = pd.DataFrame({"letter": ["b", "a", "b"], "number": [2, 1, 1]})
    narrowing = widgets.Narrowing(table, ("letter", "number"))
    assert narrowing.options("letter", {}) == ["a", "b"]
    assert narrowing.options("letter", {"number": 2}) == ["b"]
    assert narrowing.options("letter", {"letter": "a"}) == ["a", "b"]
    assert narrowing.matching({"letter": "b", "number": 1}).index.tolist() == [2]
    assert narrowing.matching({"letter": "a", "number": 2}).empty
    assert narrowing.options("number", {"letter": "no such letter"}) == []


def test_explorer_begins_with_the_first_note_and_all_choices(explorer, splits):
    assert offered(explorer, "split") == ["train", "test"]
    assert offered(explorer, "family") == ["bass", "flute", "synth_lead"]
    assert offered(explorer, "pitch") == [30, 40, 50, 70, 72]
    assert shows(explorer, splits, "train", TRAIN[0])
    assert "the first of 7 notes" in explorer.view.caption.value


def test_open_menus_tell_how_many_choices_are_left(explorer):
    choose(explorer, family="flute")
    labels = {column: menu.label for column, menu in explorer.chooser.menus.items()}
    assert labels == {
        "split": "all (2)",
        "family": "flute",
        "source": "all (1)",
        "instrument": "all (1)",
        "pitch": "all (2)",
        "velocity": "all (1)",
    }


def test_a_family_leaves_only_its_sources_instruments_pitches_and_velocities(explorer, splits):
    choose(explorer, family="flute")
    assert offered(explorer, "source") == ["acoustic"]
    assert offered(explorer, "instrument") == ["flute_acoustic_002"]
    assert offered(explorer, "pitch") == [70, 72]
    assert offered(explorer, "velocity") == [100]
    assert offered(explorer, "family") == ["bass", "flute", "synth_lead"], "its own menu stays open"
    assert shows(explorer, splits, "train", "flute_acoustic_002-070-100")


def test_menus_narrow_one_another_in_any_order(explorer, splits):
    choose(explorer, pitch=30, source="electronic")
    assert offered(explorer, "family") == ["bass"]
    assert offered(explorer, "instrument") == ["bass_electronic_001", "bass_electronic_009"]
    choose(explorer, split="test")
    assert offered(explorer, "instrument") == ["bass_electronic_009"]
    assert shows(explorer, splits, "test", "bass_electronic_009-030-025")
    assert "first of" not in explorer.view.caption.value


def test_opening_a_menu_and_starting_again_widen_the_choice(explorer, splits):
    choose(explorer, split="test", family="flute")
    choose(explorer, family=widgets.ALL)
    assert offered(explorer, "family") == ["bass", "flute"]
    explorer.chooser.start_again.click()
    assert explorer.chooser.choice == {}
    assert shows(explorer, splits, "train", TRAIN[0])


def test_narrowing_to_nothing_says_so_and_recovers(explorer, splits):
    explorer._show(explorer.chooser.narrowing.matching({"family": "flute", "pitch": 30}))
    assert "No note" in explorer.view.caption.value
    assert explorer.view.picture.layout.display == explorer.view.sound.layout.display == "none"
    choose(explorer, family="flute")
    assert explorer.view.picture.layout.display is None
    assert shows(explorer, splits, "train", "flute_acoustic_002-070-100")


def test_running_the_cell_again_gives_the_same_view_and_shares_nothing(explorer, splits):
    again = widgets.NoteExplorer(splits)
    assert again.view.picture.value == explorer.view.picture.value
    assert again.view.caption.value == explorer.view.caption.value
    choose(again, family="flute")
    assert explorer.chooser.choice == {}
    assert shows(explorer, splits, "train", TRAIN[0])


def test_a_change_draws_one_picture(explorer, monkeypatch):
    drawn = []
    monkeypatch.setattr(explorer.view, "show", lambda *note: drawn.append(note))
    choose(explorer, family="flute")
    assert len(drawn) == 1


def test_explorer_draws_a_single_note_for_real_and_leaves_no_figure_open():
    splits = {"valid": make_split("valid", TEST[:1])}
    explorer = widgets.NoteExplorer(splits)
    assert shows(explorer, splits, "valid", TEST[0])
    assert explorer.view.caption.value == f"<b>{TEST[0]}</b> of the valid split."
    assert not plt.get_fignums()


def test_no_module_imports_widgets():
    package = Path(widgets.__file__).parent
    for module in package.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
            elif isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            else:
                continue
            assert "nsynth_helpers.widgets" not in imported, f"{module.name} imports widgets"
