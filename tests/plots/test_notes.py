"""Pictures of notes show the waveform that they were given, also a silent one."""

import librosa
import numpy as np
import pytest
from test_figures import CHOSEN, NAMES, TONE

from nsynth_helpers import plots
from nsynth_helpers.data.metadata import SAMPLE_RATE
from nsynth_helpers.settings import Settings


@pytest.mark.parametrize(("samples", "unit", "end"), [(SAMPLE_RATE, "s", 1), (160, "ms", 10)])
def test_waveform_time_and_scale(samples, unit, end):
    _, ax = plots.plot_waveform(np.full(samples, 32_767, dtype=np.int16))
    assert ax.get_xlabel() == f"time ({unit})" and ax.get_xlim() == (0, end)
    assert set(ax.lines[0].get_ydata()) == {1.0}


def test_spectrogram_shows_a_tone_in_its_band_and_every_step():
    spectrogram = plots.log_mel_spectrogram(TONE)
    assert spectrogram.shape == (64, 101)
    assert spectrogram.max() == pytest.approx(0, abs=1e-4) and spectrogram.min() >= -80
    centre = librosa.mel_frequencies(64 + 2, fmax=SAMPLE_RATE / 2)[1:-1]
    assert centre[spectrogram.mean(axis=1).argmax()] == pytest.approx(440, rel=0.06)


def test_spectrogram_of_silence_is_dark():
    assert plots.log_mel_spectrogram(np.zeros(SAMPLE_RATE, dtype=np.int16)).max() < -30


def test_frames_are_cut_in_order():
    waveform = np.arange(1_000, dtype=np.int16)
    _, ax = plots.plot_frames(waveform)
    matrix = ax[1].images[0].get_array()
    assert matrix.shape == (6, 160), "the rest that fills no step is left out"
    assert matrix[2, 0] == pytest.approx(320 / 32_767)


def test_figures_bear_silence():
    silence = np.zeros(SAMPLE_RATE, dtype=np.int16)
    for draw in (plots.plot_frames, plots.plot_log_mel_spectrogram, plots.plot_waveform):
        fig, _ = draw(silence)
        fig.canvas.draw()


def test_unused_panels_of_a_page_are_blank():
    three = dict.fromkeys(NAMES["test"], TONE)
    _, ax = plots.plot_family_waveforms(three)
    assert [panel.axison for panel in ax] == [True, True, True, False]


def test_save_figure_writes_the_same_bytes_twice(tmp_path):
    settings = Settings(figures=tmp_path / "figures")
    first = plots.save_figure(plots.plot_waveform(TONE)[0], "01_tone", settings)
    content = first.read_bytes()
    again = plots.save_figure(plots.plot_waveform(TONE)[0], "01_tone", settings)
    assert first == again == tmp_path / "figures" / "01_tone.png"
    assert again.read_bytes() == content


def test_gallery_names_families_above_and_says_where_there_is_no_note():
    _, axes = plots.plot_gallery(CHOSEN, dict.fromkeys(NAMES["test"], TONE), ["bass", "flute"])
    headers = [text.get_text() for ax in axes[0] for text in ax.texts if text.get_fontweight() == "bold"]
    assert axes.shape == (4, 2) and headers == ["bass", "flute"]
    assert axes[0, 0].get_title() == "acoustic_000\npitch 41, vel. 127\ntaken for keyboard\nmargin 1.5"
    assert axes[2, 0].get_title().startswith("electronic_001")
    assert [axes[row, 0].get_ylabel() for row in (0, 2)] == ["nearest\namplitude", "farthest\namplitude"]
    assert axes[0, 1].texts[0].get_text() == axes[2, 1].texts[0].get_text() == "no such note"


def test_gallery_tells_the_probability_of_right_answers():
    right = CHOSEN.assign(correct=True, extreme=["highest probability", "lowest probability"], probability=0.987)
    _, axes = plots.plot_gallery(right, dict.fromkeys(NAMES["test"], TONE), ["bass"])
    assert axes[0, 0].get_title().endswith("\nprobability 98.70%")


def test_gallery_without_any_note_is_still_a_figure():
    _, axes = plots.plot_gallery(CHOSEN[:0], {}, ["bass"])
    assert [axes[row, 0].texts[0].get_text() for row in (0, 2)] == ["no such note"] * 2
