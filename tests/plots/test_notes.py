"""Figures of notes and data sets: each returns ``fig, ax``, draws where told, names units, bears a missing family."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE, parse_note_str
from nsynth_helpers.plots import data as data_plots
from nsynth_helpers.plots import style as plots
from nsynth_helpers.settings import Settings

NAMES = {
    "train": [f"{family}_acoustic_000-{40 + 3 * row:03d}-100" for row, family in enumerate((*FAMILIES, "synth_lead"))],
    "valid": ["bass_electronic_001-020-025", "flute_acoustic_002-072-050"],
    "test": ["bass_acoustic_000-041-127", "bass_electronic_001-021-025", "flute_acoustic_002-110-050"],
}
TABLES = {split: pd.DataFrame([parse_note_str(name) for name in names]) for split, names in NAMES.items()}
NOTES = pd.concat(TABLES, names=["split"]).reset_index("split")
SOURCES = (
    NOTES.groupby(["split", "family", "source"]).size().unstack(fill_value=0).rename_axis(index=["split", "family"])
)
LEVELS = NOTES.assign(peak=np.linspace(0, 1, len(NOTES)))
TONE = (np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE) * 16_000).astype(np.int16)
TWO_FAMILIES = dict.fromkeys(NAMES["valid"], TONE)

# Function, its arguments, how many axes it draws on, and the units that its labels must tell.
FIGURES = {
    data_plots.plot_note_counts: ((SOURCES,), 3, "notes"),
    data_plots.plot_pitches: ((NOTES,), None, "MIDI number"),
    data_plots.plot_velocities: ((NOTES,), None, "MIDI, 0 to 127|(%)"),
    plots.plot_waveform: ((TONE,), None, "(s)|of full scale"),
    plots.plot_log_mel_spectrogram: ((TONE,), None, "(s)|(Hz|(dB"),
    plots.plot_note: ((TONE, NAMES["train"][0]), 2, "(s)|of full scale|(Hz|(dB"),
    plots.plot_family_waveforms: ((TWO_FAMILIES,), 2, "(s)|of full scale"),
    plots.plot_family_spectrograms: ((TWO_FAMILIES,), 2, "(s)|(Hz|(dB"),
    plots.plot_frames: ((TONE,), 2, "(ms)|of full scale|10 ms each|62.5 µs each"),
    data_plots.plot_shared_instruments: ((TABLES,), 2, "split|notes"),
    data_plots.plot_levels: ((LEVELS,), None, "of full scale|(%)"),
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def labels(fig) -> str:
    """All axis labels of a figure, its colour bars' and its common ones included."""
    parts = [ax.get_xlabel() + " " + ax.get_ylabel() for ax in fig.axes]
    return " ".join([*parts, fig.get_supxlabel(), fig.get_supylabel()])


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_figure_is_drawn_in_a_size_of_the_project_with_units(draw):
    arguments, count, units = FIGURES[draw]
    fig, ax = draw(*arguments)
    assert tuple(fig.get_size_inches()) in (plots.WIDE, plots.PAGE)
    assert len(np.ravel(ax)) >= (count or 1)
    assert isinstance(ax, np.ndarray) == (count is not None)
    for unit in units.split("|"):
        assert unit in labels(fig), labels(fig)


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_figure_is_drawn_on_given_axes(draw):
    arguments, count, _ = FIGURES[draw]
    given_fig, given = plt.subplots(1, count or 1)
    fig, ax = draw(*arguments, ax=given)
    assert fig is given_fig and plt.get_fignums() == [given_fig.number]
    assert list(np.ravel(ax)) == list(np.ravel(given))
    for panel in np.ravel(given):
        assert panel.has_data()


def test_note_counts_stack_the_sources_to_the_number_of_notes():
    _, ax = data_plots.plot_note_counts(SOURCES)
    assert [panel.get_title() for panel in ax] == ["train: 11 notes", "valid: 2 notes", "test: 3 notes"]
    ends = [bar.get_x() + bar.get_width() for bar in ax[2].patches]
    assert max(ends) == 2, "two bass notes, one acoustic and one electronic"
    assert [label.get_text() for label in ax[0].get_yticklabels()] == [*FAMILIES[:9], "synth_lead", "vocal"]


def test_pitch_whiskers_reach_the_extremes():
    pitches = [20, *range(58, 66), 110]
    _, ax = data_plots.plot_pitches(pd.DataFrame({"pitch": pitches, "family": "bass", "split": "train"}))
    # Points beyond the whiskers would be drawn without a line.
    whiskers = np.concatenate([line.get_xdata() for line in ax.lines if line.get_linestyle() == "-"])
    assert (whiskers.min(), whiskers.max()) == (20, 110)


def test_velocity_shares_of_each_split_add_up():
    _, ax = data_plots.plot_velocities(NOTES)
    for container in ax.containers:
        assert sum(bar.get_height() for bar in container) == pytest.approx(100)


@pytest.mark.parametrize(("samples", "unit", "end"), [(SAMPLE_RATE, "s", 1), (160, "ms", 10)])
def test_waveform_time_and_scale(samples, unit, end):
    _, ax = plots.plot_waveform(np.full(samples, 32_767, dtype=np.int16))
    assert ax.get_xlabel() == f"time ({unit})" and ax.get_xlim() == (0, end)
    assert set(ax.lines[0].get_ydata()) == {1.0}


def test_spectrogram_shows_a_tone_in_its_band_and_every_step():
    spectrogram = plots.log_mel_spectrogram(TONE)
    assert spectrogram.shape == (plots.MEL_BANDS, 101)
    assert spectrogram.max() == pytest.approx(0, abs=1e-4) and spectrogram.min() >= -plots.DYNAMIC_RANGE_DB
    centre = plots.librosa.mel_frequencies(plots.MEL_BANDS + 2, fmax=SAMPLE_RATE / 2)[1:-1]
    assert centre[spectrogram.mean(axis=1).argmax()] == pytest.approx(440, rel=0.06)


def test_spectrogram_of_silence_is_dark():
    assert plots.log_mel_spectrogram(np.zeros(SAMPLE_RATE, dtype=np.int16)).max() < -30


def test_frames_are_cut_in_order():
    waveform = np.arange(1_000, dtype=np.int16)
    _, ax = plots.plot_frames(waveform, step_size=300)
    matrix = ax[1].images[0].get_array()
    assert matrix.shape == (3, 300), "the rest that fills no step is left out"
    assert matrix[2, 0] == pytest.approx(600 / 32_767)


def test_figures_bear_silence():
    silence = np.zeros(SAMPLE_RATE, dtype=np.int16)
    for draw in (plots.plot_frames, plots.plot_log_mel_spectrogram, plots.plot_waveform):
        fig, _ = draw(silence)
        fig.canvas.draw()


def test_shared_instruments_tell_heard_from_new():
    _, ax = data_plots.plot_shared_instruments(TABLES)
    assert [text.get_text() for text in ax[0].texts] == ["11", "0", "1", "0", "2", "2", "1", "2", "3"]
    heard, new = ([bar.get_width() for bar in container] for container in ax[1].containers)
    assert (heard[:3], new[:3]) == ([1, 0, 0], [1, 0, 1]) and sum(heard + new) == 3


def test_unused_panels_of_a_page_are_blank():
    three = dict.fromkeys(NAMES["test"], TONE)
    _, ax = plots.plot_family_waveforms(three)
    assert [panel.axison for panel in ax] == [True, True, True, False]


def test_every_family_has_its_own_colour():
    colours = plots.family_colours()
    assert len(set(colours.values())) == len(colours) == 11


def test_save_figure_writes_the_same_bytes_twice(tmp_path):
    settings = Settings(figures=tmp_path / "figures")
    first = plots.save_figure(plots.plot_waveform(TONE)[0], "01_tone", settings)
    content = first.read_bytes()
    again = plots.save_figure(plots.plot_waveform(TONE)[0], "01_tone", settings)
    assert first == again == tmp_path / "figures" / "01_tone.png"
    assert again.read_bytes() == content


def test_style_leaves_room_for_labels():
    with plt.rc_context():
        plots.use_style()
        assert plt.rcParams["figure.constrained_layout.use"]
        assert plt.rcParams["savefig.dpi"] == plots.RESOLUTION
