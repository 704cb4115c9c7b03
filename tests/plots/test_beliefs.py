"""Figures over time show what they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from nsynth_helpers.analysis.beliefs import average_belief
from nsynth_helpers.analysis.calibration import reliability_table
from nsynth_helpers.claims import published
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.plots import beliefs as belief_plots
from nsynth_helpers.training.checkpoints import checkpoint_rules

STEPS = 20


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def belief() -> np.ndarray:
    """Three notes; flute takes over from bass in the middle of each, and no other family is likely."""
    beliefs = np.full((3, STEPS, len(FAMILIES)), 0.01)
    beliefs[:, :10, 0], beliefs[:, 10:, 0] = 0.8, 0.12
    beliefs[:, :10, 2], beliefs[:, 10:, 2] = 0.12, 0.8
    return beliefs


def names(legend) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def test_reliability_leaves_empty_bins_out():
    table = reliability_table(pd.DataFrame({"probability": [0.95, 0.99, 0.35], "correct": [True, False, False]}), bins=10)
    fig, axes = belief_plots.plot_reliability({"LSTM": {"before": table}, "BLSTM": {"before": table}})
    points = axes[0].containers[0].lines[0]
    np.testing.assert_allclose(np.asarray(points.get_xdata(), float), [0.35, 0.97])
    np.testing.assert_allclose(np.asarray(points.get_ydata(), float), [0, 0.5])
    assert names(fig.legends[0]) == ["before"] and axes[1].get_title() == "BLSTM"


def test_rules_are_marked_on_the_valid_curve():
    history = published.history("lstm")
    rules = checkpoint_rules(history)
    fig, axes = belief_plots.plot_checkpoints({"LSTM": history}, {"LSTM": rules})
    marks = {line.get_label(): line for line in axes[1, 0].lines if line.get_label() in set(rules["rule"])}
    assert marks["last"].get_xdata()[0] == 20 and marks["lowest valid loss"].get_xdata()[0] == 2
    assert marks["highest valid accuracy"].get_ydata()[0] == pytest.approx(0.66241)
    assert names(fig.legends[0])[:2] == ["train", "valid"] and "test" not in names(fig.legends[0])
    tested = history.assign(test_loss=1.0, test_accuracy=0.5)
    fig, _ = belief_plots.plot_checkpoints({"LSTM": tested}, {"LSTM": rules})
    assert "test" in names(fig.legends[0])


def test_single_notes_name_only_likely_families(belief):
    fig, axes = belief_plots.plot_note_beliefs(
        {"LSTM": {"a note": belief[0], "b": belief[1]}, "BLSTM": {"a note": belief[0], "b": belief[1]}}
    )
    assert axes.shape == (2, 2) and axes[0, 0].get_title() == "a note"
    assert names(fig.legends[0]) == ["bass", "flute"]
    assert axes[1, 0].get_xlabel() == "time in the note (s)" and "BLSTM" in axes[1, 0].get_ylabel()


def test_average_beliefs_have_a_panel_for_each_family(belief):
    _, axes = belief_plots.plot_average_beliefs({"LSTM": average_belief(belief, [2, 2, 2])})
    panel = next(ax for ax in axes if ax.get_title() == "flute")
    np.testing.assert_allclose(panel.lines[0].get_ydata()[[0, -1]], [0.12, 0.8])
    np.testing.assert_allclose(panel.lines[0].get_xdata()[[0, -1]], [0.01, STEPS * 0.01])


def test_decisions_fall_where_the_answer_changes_last(belief):
    accuracy = pd.Series([0.0, 1.0], index=[10, 20])
    _, axes = belief_plots.plot_decisions({"LSTM": belief}, {"LSTM, cut off": accuracy})
    decided = axes[0].lines[0].get_ydata()
    assert decided[9] == 0 and decided[10] == 1
    np.testing.assert_allclose(axes[1].lines[0].get_xdata(), [0.1, 0.2])


def test_an_answer_without_audio_says_so():
    probabilities = np.full(len(FAMILIES), 0.1)
    _, axes = belief_plots.plot_answer(probabilities, "reed")
    assert "not at hand" in axes[0].texts[0].get_text()
    bold = [text.get_text() for text in axes[1].get_yticklabels() if text.get_fontweight() == "bold"]
    assert bold == ["reed (true)"]
    _, axes = belief_plots.plot_answer(probabilities, "reed", np.zeros(16_000, dtype=np.int16))
    assert not axes[0].texts and axes[0].get_xlabel() == "time (s)"
