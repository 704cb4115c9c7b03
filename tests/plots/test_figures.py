"""What holds for every figure: two sizes, given axes, axes with labels and units, text that a page can show."""

import inspect

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from nsynth_helpers import plots
from nsynth_helpers.analysis.calibration import reliability_table
from nsynth_helpers.analysis.outcomes import name_confusion_matrix
from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE, parse_note_str
from nsynth_helpers.plots.style import COLOURS, SMALL

TONE = (np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE) * 16_000).astype(np.int16)
NAMES = {
    "train": [f"{family}_acoustic_000-{40 + 3 * row:03d}-100" for row, family in enumerate((*FAMILIES, "synth_lead"))],
    "valid": ["bass_electronic_001-020-025", "flute_acoustic_002-072-050"],
    "test": ["bass_acoustic_000-041-127", "bass_electronic_001-021-025", "flute_acoustic_002-110-050"],
}
TABLES = {split: pd.DataFrame([parse_note_str(name) for name in names]) for split, names in NAMES.items()}
NOTES = pd.concat(TABLES, names=["split"]).reset_index("split")
COUNTS = NOTES.groupby(["split", "family", "source"]).size().unstack(fill_value=0)
CHOSEN = pd.DataFrame({"extreme": ["nearest", "farthest"], "family": "bass", "note_str": NAMES["test"][:2]})
CHOSEN = CHOSEN.assign(correct=False, probability=0.5, predicted="keyboard", margin=1.5)
HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [2.0, 1.5, 1.0], "valid_loss": [2.1, 1.9, 2.5]})
HISTORY = HISTORY.assign(train_accuracy=[0.2, 0.4, 0.6], valid_accuracy=[0.3, 0.25, 0.35], seconds=[4.0, 3.0, 5.0])
CONFUSION = name_confusion_matrix(843 * np.eye(10, dtype=int))
INTERVALS = pd.DataFrame({"network": ["LSTM", "BLSTM"], "value": [0.38, 0.4], "low": [0.3, 0.36], "high": [0.45, 0.5]})
BINS = reliability_table(pd.DataFrame({"probability": [0.95, 0.99, 0.35], "correct": [True, False, False]}))
PLACES = pd.DataFrame({"family": ["bass", "flute"], "correct": [True, False], "x": [-1.0, 1.0], "y": [0.5, -0.5]})
BELIEF = np.full((20, 10), 0.1)
AVERAGE = pd.DataFrame(BELIEF, columns=FAMILIES, index=range(1, 21))

# Arguments of each function, the axes that it draws on (None: a single one), and the units that its labels must tell.
FIGURES = {
    "plot_note_counts": ((COUNTS,), 3, "number of notes"),
    "plot_pitches": ((NOTES,), None, "MIDI number"),
    "plot_shared_instruments": ((TABLES,), 2, "split|number of notes"),
    "plot_waveform": ((TONE,), None, "(s)|of full scale"),
    "plot_log_mel_spectrogram": ((TONE,), None, "(s)|(Hz|(dB"),
    "plot_family_waveforms": ((dict.fromkeys(NAMES["valid"], TONE),), 2, "(s)|of full scale"),
    "plot_family_spectrograms": ((dict.fromkeys(NAMES["valid"], TONE),), 2, "(s)|(Hz|(dB"),
    "plot_frames": ((TONE,), 2, "(ms)|of full scale|10 ms each|62.5 µs each"),
    "plot_gallery": ((CHOSEN, dict.fromkeys(NAMES["test"], TONE), ["bass"]), 4, "time (s)|amplitude|(kHz"),
    "plot_learning_curves": (({"ours": HISTORY},), 2, "epoch|nats|accuracy"),
    "plot_model_selection": (
        ({"LSTM": HISTORY}, {"LSTM": pd.DataFrame({"rule": ["a", "b"], "epoch": [2, 2]})}), 2, "epoch|nats|accuracy",
    ),
    "plot_intervals": ((INTERVALS, "network"), None, "test accuracy"),
    "plot_confusion_matrix": ((CONFUSION,), None, "predicted family|actual family"),
    "plot_confusion_matrices": (({"a": CONFUSION, "b": CONFUSION},), 4, "predicted family|actual family"),
    "plot_reliability": (({"a": {"before": BINS}, "b": {"before": BINS}},), 2, "mean probability|share of right"),
    "plot_logits_and_probabilities": ((np.arange(10.0), "bass"), 2, "logit|probability|family"),
    "plot_note_map": ((PLACES, [0.38, 0.161]), None, "first axis: 38% of the variance|second axis: 16%"),
    "plot_note_beliefs": (({"LSTM": {NAMES["train"][0]: BELIEF, NAMES["train"][1]: BELIEF}},), 2, "(s)|probability"),
    "plot_average_beliefs": (({"LSTM": AVERAGE},), 10, "(s)|mean probability"),
    "plot_decisions": (({"LSTM": np.array([1, 20])}, {"LSTM": AVERAGE["bass"]}), 2, "(s)|decided|accuracy"),
    "plot_saliency": ((pd.DataFrame([[0.0, 1.0]], index=["layer 1 →"], columns=[1, 2]),), None, "10 ms each|RMS"),
}  # fmt: skip


def labels(fig) -> str:
    """All axis labels of a figure, its colour bars' and its common ones included."""
    parts = [ax.get_xlabel() + " " + ax.get_ylabel() for ax in fig.axes]
    return " ".join([*parts, fig.get_supxlabel(), fig.get_supylabel()])


def test_every_plot_is_tried_here():
    assert set(FIGURES) == {name for name in dir(plots) if name.startswith("plot_")}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_a_size_of_the_project_units_and_text_that_a_page_shows(name):
    arguments, count, units = FIGURES[name]
    fig, ax = getattr(plots, name)(*arguments)
    assert tuple(fig.get_size_inches()) in (plots.WIDE, plots.PAGE)
    assert np.size(ax) == (count or 1) or name == "plot_family_spectrograms"
    assert isinstance(ax, np.ndarray) == (count is not None)
    for unit in units.split("|"):
        assert unit in labels(fig), labels(fig)
    shown = [text for text in fig.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert min(text.get_fontsize() for text in shown) >= SMALL
    assert fig.get_supxlabel() or all(panel.get_xlabel() for panel in np.ravel(ax)[-1:])


@pytest.mark.parametrize(
    "name", [name for name in FIGURES if "ax" in inspect.signature(getattr(plots, name)).parameters]
)
def test_figure_is_drawn_on_given_axes(name):
    arguments, _, _ = FIGURES[name]
    given_fig, given = plt.subplots()
    fig, ax = getattr(plots, name)(*arguments, ax=given)
    assert fig is given_fig and plt.get_fignums() == [given_fig.number]
    assert ax is given and (given.has_data() or given.texts)


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_no_colour_of_a_line_is_pale_on_white():
    assert len(set(COLOURS)) == 10
    # The yellow and the pink of seaborn's palette have 1.4 and 1.7.
    assert min(1.05 / (luminance(colour) + 0.05) for colour in COLOURS) > 2.5
    assert len(set(plots.FAMILY_COLOURS.values())) == 11
