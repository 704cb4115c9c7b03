"""Figures of results show the numbers that they were given, also where there are few."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from conftest import cached_split
from nsynth_helpers.analysis.outcomes import (
    LOGITS,
    extremes,
    make_outcomes,
    name_confusion_matrix,
    nearest_and_farthest,
    scores_of_confusion,
)
from nsynth_helpers.claims import published
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.plots import results as result_plots
from nsynth_helpers.plots.style import PAGE, WIDE

NAMES = ("bass_acoustic_000-030-100", "bass_acoustic_000-031-100", "flute_acoustic_001-060-050")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def outcomes(*answers: str) -> pd.DataFrame:
    table = pd.DataFrame({"note_str": NAMES, "family": [name.split("_")[0] for name in NAMES]})
    table[LOGITS] = [
        [2.0 + row if family == answer else 0.0 for family in FAMILIES] for row, answer in enumerate(answers)
    ]
    return make_outcomes(table)


@pytest.fixture
def cached() -> NSynthSplit:
    waveforms = np.random.default_rng(0).integers(-9999, 9999, (len(NAMES), 16_000)).astype(np.int16)
    return cached_split("test", NAMES, waveforms)


def test_each_data_set_has_its_own_panel_and_both_intervals():
    table = pd.DataFrame({"accuracy": [0.5, 0.6], "low": [0.4, 0.5], "high": [0.6, 0.7]}, index=["a", "b"])
    table = table.assign(clustered_low=[0.3, np.nan], clustered_high=[0.7, np.nan])
    fig, axes = result_plots.plot_accuracies({"ours": table, "NSynth": table[:1]})
    fig.canvas.draw()
    assert [ax.get_title() for ax in axes] == ["ours", "NSynth"]
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["a", "b"]
    spans = [list(line.get_xdata()) for line in axes[0].lines]
    assert [0.3, 0.7] in spans and [0.4, 0.6] in spans and tuple(fig.get_size_inches()) == WIDE


def test_confusion_matrix_writes_counts_or_percentages_and_leaves_zeros_empty():
    counts = np.zeros((10, 10), dtype=int)
    counts[0, :2], counts[4, 0] = (3, 1), 5
    confusion = name_confusion_matrix(counts)
    assert texts(result_plots.plot_confusion_matrix(confusion)[1]) == ["3", "1", "5"]
    _, ax = result_plots.plot_confusion_matrix(confusion, "LSTM", normalised=True)
    assert texts(ax) == ["75", "25", "100"] and ax.get_title() == "LSTM, % of each row"
    assert [place.get_position() for place in ax.texts][-1] == (0.5, 4.5), "keyboard (row 4) taken for bass"
    assert ax.yaxis.get_inverted(), "bass is the uppermost row"


def test_numbers_on_dark_cells_are_white():
    _, ax = result_plots.plot_confusion_matrix(name_confusion_matrix(np.eye(10, dtype=int) * 9 + 1))
    colours = {text.get_text(): text.get_color() for text in ax.texts}
    assert colours == {"10": "white", "1": "black"} or colours == {"10": "black", "1": "black"}
    _, ax = result_plots.plot_confusion_matrix(name_confusion_matrix(np.eye(10, dtype=int)))
    assert {text.get_color() for text in ax.texts} == {"white"}


def test_a_difference_of_nothing_says_so_in_every_cell():
    lstm, blstm = published.confusion_matrix("lstm"), published.confusion_matrix("blstm")
    _, axes = result_plots.plot_recomputed_and_published(lstm, lstm, blstm)
    assert texts(axes[2]) == ["0"] * 100
    changed = lstm.copy()
    changed.iloc[0, 0] += 1
    _, axes = result_plots.plot_recomputed_and_published(changed, lstm, blstm)
    assert texts(axes[2]) == ["1"]


def test_shares_are_told_as_points_in_a_difference():
    difference = name_confusion_matrix(np.eye(10) * 0.126)
    assert set(texts(result_plots.plot_confusion_difference(difference)[1])) == {"13"}


def test_confusion_pair_has_counts_above_and_shares_below():
    lstm = published.confusion_matrix("lstm")
    _, axes = result_plots.plot_confusion_pair({"a": lstm, "b": lstm})
    assert axes.shape == (2, 2) and "605" in texts(axes[0, 0]) and "72" in texts(axes[1, 1])


def test_family_scores_stand_above_their_families():
    scores = {name: scores_of_confusion(published.confusion_matrix(name)) for name in ("lstm", "blstm")}
    fig, axes = result_plots.plot_family_scores(scores)
    recall = axes[0].containers[0].lines[0].get_ydata()
    assert recall[0] == pytest.approx(605 / 843) and tuple(fig.get_size_inches()) == PAGE
    assert [text.get_text() for text in axes[1].get_xticklabels()] == list(FAMILIES)


@pytest.mark.parametrize(("groupings", "size"), [(1, WIDE), (3, WIDE), (4, PAGE)])
def test_accuracy_by_takes_up_to_four_groupings(groupings, size):
    table = pd.DataFrame({"notes": 4, "accuracy": 0.5, "low": 0.2, "high": 0.8}, index=list("abcdefg"))
    tables = {f"by {number}": {"LSTM": table, "BLSTM": table[:3]} for number in range(groupings)}
    fig, axes = result_plots.plot_accuracy_by(tables)
    assert len(axes) == groupings and tuple(fig.get_size_inches()) == size
    assert axes[0].get_xticklabels()[0].get_text() == "a (4)" and axes[0].get_xlabel() == "by 0 (notes)"


def test_gallery_shows_two_notes_of_a_family_and_says_where_there_is_none(cached):
    notes = outcomes("bass", "bass", "reed")
    _, axes = result_plots.plot_gallery(extremes(notes), cached, ("bass", "flute"))
    assert axes.shape == (4, 2)
    assert "pitch 31, velocity 100" in axes[0, 0].get_title() and "pitch 30" in axes[2, 0].get_title()
    assert texts(axes[0, 1]) == ["no flute note\nto show"]
    _, axes = result_plots.plot_gallery(nearest_and_farthest(notes), cached, ("bass", "flute"))
    assert "taken for reed, margin 4" in axes[0, 1].get_title() and texts(axes[0, 0]) == ["no bass note\nto show"]


def test_gallery_without_any_note_is_still_a_figure(cached):
    none = nearest_and_farthest(outcomes("bass", "bass", "flute"))
    _, axes = result_plots.plot_gallery(none, cached, ("bass",))
    assert none.empty and axes.shape == (4, 1)


def test_confusion_changes_are_drawn_in_points():
    rows = {"actual": ["keyboard"], "predicted": ["bass"], "difference": [0.1], "low": [-0.1], "high": [0.3]}
    _, axes = result_plots.plot_confusion_changes({"LSTM": pd.DataFrame(rows), "BLSTM": pd.DataFrame(rows)})
    assert axes[0].containers[0].lines[0].get_xdata()[0] == pytest.approx(10)
    assert axes[0].get_yticklabels()[0].get_text() == "keyboard → bass"


def test_speed_and_accuracy_is_logarithmic_in_time():
    table = {"seconds_per_epoch": [1.0, 10.0], "accuracy": [0.4, 0.5], "low": [0.3, 0.4], "high": [0.5, 0.6]}
    _, ax = result_plots.plot_speed_and_accuracy(pd.DataFrame(table, index=["convolutional", "LSTM"]))
    ax.figure.canvas.draw()
    assert {"1", "2", "5"} <= {text.get_text() for text in ax.get_xticklabels()}
    assert ax.get_xscale() == "log" and "(s" in ax.get_xlabel()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["convolutional", "LSTM"]
