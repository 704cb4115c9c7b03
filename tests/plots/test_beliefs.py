"""Figures over the time of a note show what they were given."""

import numpy as np
import pandas as pd
import pytest

from nsynth_helpers import plots
from nsynth_helpers.data.metadata import FAMILIES

STEPS = 20


@pytest.fixture
def belief() -> np.ndarray:
    """Three notes; flute takes over from bass in the middle of each, and no other family is likely."""
    beliefs = np.full((3, STEPS, len(FAMILIES)), 0.01)
    beliefs[:, :10, 0], beliefs[:, 10:, 0] = 0.8, 0.12
    beliefs[:, :10, 2], beliefs[:, 10:, 2] = 0.12, 0.8
    return beliefs


def names(fig) -> list[str]:
    return [text.get_text() for text in fig.legends[0].get_texts()]


def test_a_note_names_its_family_and_at_most_five_more():
    belief = np.full((STEPS, len(FAMILIES)), 0.01)
    belief[:, :6] = np.array([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    notes = {"vocal_acoustic_000-060-100": belief, "bass_synthetic_033-022-050": belief}
    fig, axes = plots.plot_note_beliefs({"LSTM": notes, "BLSTM": notes})
    coloured = [line.get_label() for line in axes[0, 0].lines if not line.get_label().startswith("_")]
    assert axes.shape == (2, 2) and coloured == ["brass", "flute", "guitar", "keyboard", "mallet", "vocal"]
    assert [line.get_linewidth() > 2 for line in axes[0, 0].lines] == [False] * 9 + [True]
    assert names(fig) == ["bass", *coloured, "all others", "thick: the true family"]
    assert axes[0, 1].get_title() == "bass_synthetic_033\npitch 22, velocity 50"
    assert axes[1, 0].get_xlabel() == "time in the note (s)" and "BLSTM" in axes[1, 0].get_ylabel()


def test_the_three_likeliest_at_the_end_are_never_grey():
    belief = np.full((STEPS, len(FAMILIES)), 0.01)
    belief[:10, :5], belief[10:, 6:9] = 0.9, [0.1, 0.12, 0.14]
    fig, axes = plots.plot_note_beliefs({"LSTM": {"vocal_acoustic_000-060-100": belief}})
    coloured = [line.get_label() for line in axes[0, 0].lines if not line.get_label().startswith("_")]
    assert len(coloured) == 6 and {"organ", "reed", "string", "vocal"} <= set(coloured)
    assert axes[0, 0].get_ylabel() == "probability" and tuple(fig.get_size_inches()) == plots.WIDE


def test_steps_of_another_length_stand_where_they_end():
    belief = np.full((2, len(FAMILIES)), 0.1)
    _, axes = plots.plot_note_beliefs({"studio": {"vocal_acoustic_000-060-100": belief}}, step_seconds=0.064)
    np.testing.assert_allclose(axes[0, 0].lines[0].get_xdata(), [0.064, 0.128])


def test_average_beliefs_have_a_panel_for_each_family(belief):
    _, axes = plots.plot_average_beliefs({"LSTM": pd.DataFrame(belief[0], columns=FAMILIES, index=range(1, STEPS + 1))})
    panel = next(ax for ax in axes.flat if ax.get_title() == "flute")
    np.testing.assert_allclose(panel.lines[0].get_ydata()[[0, -1]], [0.12, 0.8])
    np.testing.assert_allclose(panel.lines[0].get_xdata()[[0, -1]], [0.01, STEPS * 0.01])


def test_decisions_rise_where_notes_are_decided():
    accuracy = pd.Series([0.0, 1.0], index=[10, 20])
    _, axes = plots.plot_decisions({"LSTM": np.array([11, 11, 20])}, {"LSTM, cut off": accuracy})
    steps = axes[0].lines[0].get_xydata()
    np.testing.assert_allclose(steps[-2:], [[0.11, 2 / 3], [0.2, 1]], atol=1e-9)
    np.testing.assert_allclose(axes[1].lines[0].get_xdata(), [0.1, 0.2])


def test_saliency_is_drawn_with_the_top_layer_above_and_no_path_left_empty():
    saliency = pd.DataFrame([[0.0, 0.0, 1.0], [1e-4, 1e-2, 0.5]], index=["layer 1 ←", "layer 2 ←"], columns=[1, 2, 3])
    fig, ax = plots.plot_saliency(saliency)
    shown = ax.images[0].get_array()
    assert names(fig) == ["no path: exactly 0"]
    assert shown.mask.tolist() == [[False, False, False], [True, True, False]]
    assert shown[0].tolist() == [1e-4, 1e-2, 0.5]
    # Rows are drawn from the top of the picture, labels are placed from its bottom.
    assert [label.get_text() for label in ax.get_yticklabels()] == ["layer 1 ←", "layer 2 ←"]
    assert ax.images[0].origin == "upper"
    assert ax.get_yticks().tolist() == [0.5, 1.5]
