"""Figures of training go through the histories that they were given."""

import numpy as np
import pandas as pd
import pytest
from test_figures import HISTORY

from nsynth_helpers import plots
from nsynth_helpers.claims import published


@pytest.fixture
def history():
    return HISTORY.copy()


def curve(ax, x, y):
    """The lines of an axes that go exactly through these points."""
    return [line for line in ax.lines if np.array_equal(line.get_xydata(), np.column_stack([x, y]))]


def legend_texts(fig):
    return [text.get_text() for text in fig.legends[0].get_texts()]


def test_learning_curves_go_through_the_history(history):
    _, (losses, accuracies) = plots.plot_learning_curves({"ours": history})
    for ax, measure in ((losses, "loss"), (accuracies, "accuracy")):
        (train,), (valid,) = (
            curve(ax, history["epoch"], history[f"{split}_{measure}"]) for split in ("train", "valid")
        )
        assert train.get_linestyle() != valid.get_linestyle()
        assert train.get_markerfacecolor() != valid.get_markerfacecolor()
        assert ax.get_xlabel() == "epoch"
    assert losses.get_ylabel() == "cross-entropy (nats)"
    assert accuracies.yaxis.get_major_formatter()(0.5) == "50%"


def test_learning_curves_ring_the_lowest_valid_loss(history):
    _, (losses, accuracies) = plots.plot_learning_curves({"ours": history})
    assert curve(losses, [2], [1.9])
    assert curve(accuracies, [2], [0.25])


def test_learning_curves_show_where_a_network_begins(history):
    _, (losses, accuracies) = plots.plot_learning_curves({"ours": history})
    assert [line.get_ydata()[0] for line in losses.lines][-1] == pytest.approx(np.log(10))
    assert [line.get_ydata()[0] for line in accuracies.lines][-1] == 0.1


def test_learning_curves_tell_runs_apart_by_colour_and_marker(history):
    fig, (ax, _) = plots.plot_learning_curves({"ours": history, "2018": published.history("blstm")})
    (ours,) = curve(ax, history["epoch"], history["valid_loss"])
    theirs = next(line for line in ax.lines if len(line.get_xdata()) == 20)
    assert ours.get_color() != theirs.get_color()
    assert ours.get_marker() != theirs.get_marker()
    names = ["ours, 3 epochs", "2018, 20 epochs"]
    assert legend_texts(fig) == [*names, "train", "valid", "lowest valid loss", "knowing nothing"]


def test_a_single_epoch_is_counted_in_whole_epochs(history):
    single = {"ours": history.head(1)}
    fig, (ax, _) = plots.plot_learning_curves(single)
    assert legend_texts(fig)[0] == "ours, 1 epoch"
    fig.draw_without_rendering()
    low, high = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1]


def test_rules_that_choose_one_epoch_stand_in_a_pile_above_the_valid_curve(history):
    selection = pd.DataFrame({"rule": ["lowest valid loss", "before first rise", "last"], "epoch": [2, 2, 3]})
    fig, axes = plots.plot_model_selection({"LSTM": history}, {"LSTM": selection})
    fig.draw_without_rendering()
    loss = axes[0, 0]
    marks = {line.get_label(): line for line in loss.lines if line.get_label() in set(selection["rule"])}
    assert [float(mark.get_ydata()[0]) for mark in marks.values()] == [1.9, 1.9, 2.5]
    heights = [mark.get_transform().transform(mark.get_xydata())[0] for mark in marks.values()]
    (x, curve_height), (_, last_height) = loss.transData.transform([(2, 1.9), (3, 2.5)])
    apart = heights[0][1] - curve_height
    size = fig.dpi / 72 * marks["last"].get_markersize()
    assert apart > size and heights[1][1] - heights[0][1] == pytest.approx(apart), "they do not cover one another"
    assert heights[2][1] - last_height == pytest.approx(apart) and heights[0][0] == heights[1][0] == pytest.approx(x)
    assert len({(mark.get_marker(), mark.get_color()) for mark in marks.values()}) == 3


def test_the_test_curve_is_drawn_where_it_is_known(history):
    selection = {"LSTM": pd.DataFrame({"rule": ["last"], "epoch": [3]})}
    fig, _ = plots.plot_model_selection({"LSTM": history}, selection)
    assert legend_texts(fig) == ["train", "valid", "last"]
    tested = history.assign(test_loss=1.0, test_accuracy=0.5)
    fig, _ = plots.plot_model_selection({"LSTM": tested}, selection)
    assert legend_texts(fig) == ["train", "valid", "test", "last"]
