"""The figures of the grid show every row of one data set, and say so where there is none yet."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from test_tables import EMPTY, RESULTS

from nsynth_helpers.analysis.tables import differences_from_baseline, summarise_seeds
from nsynth_helpers.plots.ablations import NOTHING, plot_accuracies, plot_core, plot_differences
from nsynth_helpers.plots.style import PAGE, WIDE

SUMMARY = summarise_seeds(RESULTS)
DIFFERENCES = differences_from_baseline(RESULTS)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def names(ax) -> list[str]:
    """The rows from top to bottom."""
    places = {place: label.get_text() for place, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    return [places[place] for place in sorted(places, reverse=True)]


def test_every_row_of_the_data_has_its_name_and_rows_of_one_baseline_stand_together():
    fig, ax = plot_accuracies(RESULTS, SUMMARY, "nsynth-mini")
    assert names(ax) == [
        "2018 LSTM, 20 epochs", "2018 BLSTM, 20 epochs", "BLSTM, SGD, 20 epochs", "2018 LSTM, 10 epochs",
        "tanh, 10 epochs", "weight decay: 1e-4, 10 epochs", "live: of my own, 10 epochs",
    ]  # fmt: skip
    assert tuple(fig.get_size_inches()) == PAGE
    assert "nsynth-mini" in ax.get_title()


def test_marks_stand_at_the_means_and_dots_at_the_seeds():
    _, ax = plot_accuracies(RESULTS, SUMMARY, "nsynth-mini")
    marks = {container[0].get_ydata()[0]: container[0].get_xdata()[0] for container in ax.containers}
    rows = SUMMARY[SUMMARY["data"] == "nsynth-mini"]
    top = max(marks)
    assert marks[top] == pytest.approx(rows["mean"].iloc[0])
    assert sorted(marks.values()) == pytest.approx(sorted(rows["mean"]))
    dots = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "."])
    assert sorted(dots) == pytest.approx(sorted(RESULTS.loc[RESULTS["data"] == "nsynth-mini", "test_accuracy"]))


def test_the_dashed_line_of_a_2018_network_reaches_over_the_rows_of_its_epochs_alone():
    _, ax = plot_accuracies(RESULTS, SUMMARY, "nsynth-mini")
    lines = {round(line.get_xdata()[0], 6): line.get_ydata() for line in ax.lines if len(line.get_xdata()) == 2}
    assert lines[0.52] == pytest.approx([-0.45, 3.45])
    assert lines[0.62] == pytest.approx([5.55, 6.45])


def test_differences_are_filled_only_where_the_interval_leaves_out_zero():
    sure = pd.DataFrame({"group": "cell", "variant": ["GRU", "plain RNN"], "low": [-0.01, -0.4], "high": [0.03, -0.3]})
    sure = sure.assign(data="nsynth", epochs=10, baseline="2018 LSTM", seeds=3, difference=[0.01, -0.35])
    _, ax = plot_differences(sure, "nsynth")
    marks = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [line.get_markerfacecolor() for line in marks] == ["white", marks[1].get_color()]
    assert [float(line.get_xdata()[0]) for line in marks] == pytest.approx([1, -35])


def test_core_rows_have_one_panel_for_each_data_set_with_an_axis_of_its_own():
    fig, axes = plot_core(SUMMARY, ["nsynth-mini", "nsynth"])
    assert [ax.get_title() for ax in axes] == ["nsynth-mini", "NSynth (subset)"]
    assert names(axes[0]) == ["2018 LSTM", "2018 BLSTM", "BLSTM, SGD"]
    assert names(axes[1]) == ["2018 BLSTM"]
    assert not axes[0].get_shared_x_axes().joined(*axes)
    assert tuple(fig.get_size_inches()) == WIDE


def test_an_empty_table_is_said_to_be_empty():
    for draw in (
        lambda: plot_accuracies(EMPTY, summarise_seeds(EMPTY), "nsynth-mini"),
        lambda: plot_differences(differences_from_baseline(EMPTY), "nsynth-mini"),
    ):
        _, ax = draw()
        assert [text.get_text() for text in ax.texts] == [NOTHING]
    _, axes = plot_core(summarise_seeds(EMPTY), ["nsynth-mini", "nsynth"])
    assert all("make ablations" in ax.texts[0].get_text() for ax in axes)


def test_figures_can_be_drawn_into_given_axes():
    _, given = plt.subplots()
    for draw in (
        lambda: plot_accuracies(RESULTS, SUMMARY, "nsynth-mini", given),
        lambda: plot_differences(DIFFERENCES, "nsynth-mini", given),
    ):
        assert draw()[1] is given
    _, given = plt.subplots(1, 2)
    assert plot_core(SUMMARY, ["nsynth-mini", "nsynth"], given)[1][0] is given[0]
