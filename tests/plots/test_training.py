"""Figures of the networks: that they show the numbers they are given, in the two sizes, with units."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from nsynth_helpers.claims import published
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.models import RecurrentClassifier, build_network
from nsynth_helpers.plots import training as network_plots
from nsynth_helpers.plots.style import PAGE, WIDE, use_style
from nsynth_helpers.settings import InputError


@pytest.fixture(autouse=True)
def styled_figures():
    with plt.rc_context():
        use_style()
        yield
    plt.close("all")


@pytest.fixture
def history():
    return pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "train_loss": [2.0, 1.5, 1.0],
            "train_accuracy": [0.2, 0.4, 0.6],
            "valid_loss": [2.1, 1.9, 2.5],
            "valid_accuracy": [0.3, 0.25, 0.35],
            "seconds": [4.0, 3.0, 5.0],
        }
    )


def texts(ax):
    return [text.get_text() for text in ax.texts]


def curve(ax, x, y):
    """The lines of an axes that go exactly through these points."""
    return [line for line in ax.lines if np.array_equal(line.get_xydata(), np.column_stack([x, y]))]


def legend_texts(fig):
    return [text.get_text() for text in fig.legends[0].get_texts()]


def test_diagram_of_the_lstm_states_its_shapes_and_families():
    fig, ax = network_plots.plot_network(build_network("lstm"))
    shown = texts(ax)
    assert tuple(fig.get_size_inches()) == PAGE
    assert "LSTM: 413,962 parameters" in shown
    assert shown.count("LSTM →") == 3 * 4
    assert shown.count("(batch, 100, 128)") == 3
    assert {"(batch, 100, 160)", "last step: (batch, 128)", "Linear(128, 10)", "logits: (batch, 10)"} <= set(shown)
    assert {"$x_{1}$", "$x_{2}$", "$x_{99}$", "$x_{100}$", "0 to 10 ms", "990 to 1000 ms"} <= set(shown)
    assert [text for text in shown if text in FAMILIES] == list(FAMILIES)


def test_diagram_of_the_blstm_has_both_directions():
    _, ax = network_plots.plot_network(build_network("blstm"))
    shown = texts(ax)
    assert "BLSTM: 1,090,058 parameters" in shown
    assert shown.count("→") == shown.count("←") == 3 * 4
    assert shown.count("(batch, 100, 256)") == 3
    assert "Linear(256, 10)" in shown
    assert "← reads from the note's end" in shown


def test_diagram_draws_each_direction_from_zeros_at_its_own_end():
    _, ax = network_plots.plot_network(build_network("blstm"))
    zeros = sorted(text.get_position()[0] for text in ax.texts if text.get_text() == "0")
    steps = [text.get_position()[0] for text in ax.texts if text.get_text() in ("→", "←")]
    assert len(zeros) == 6
    assert zeros[2] < min(steps)
    assert max(steps) < zeros[3]


def test_diagram_keeps_its_words_inside_and_apart():
    fig, ax = network_plots.plot_network(build_network("blstm"))
    fig.draw_without_rendering()
    frame = ax.get_window_extent()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert all(frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1 and frame.y0 - 1 <= box.y0 for box in boxes)
    assert not [pair for i, box in enumerate(boxes) for pair in boxes[:i] if box.overlaps(pair)]


@pytest.mark.parametrize("name", ["lstm", "blstm"])
def test_diagram_keeps_its_boxes_apart(name):
    fig, ax = network_plots.plot_network(build_network(name))
    fig.draw_without_rendering()
    boxes = [patch.get_window_extent() for patch in ax.patches]
    assert len(boxes) == 4 + 12 * (2 if name == "blstm" else 1) + 1 + len(FAMILIES)
    assert not [pair for i, box in enumerate(boxes) for pair in boxes[:i] if box.overlaps(pair)]


def test_diagram_follows_cell_layers_and_step_size():
    network = build_network("gru", num_layers=2, input_size=320)
    shown = texts(network_plots.plot_network(network, steps=50)[1])
    assert shown.count("GRU →") == 2 * 4
    assert {"(batch, 50, 320)", "980 to 1000 ms", "layer 2"} <= set(shown)
    assert "layer 3" not in shown


@pytest.mark.parametrize(("arguments", "steps"), [({"readout": "mean"}, 100), ({"num_layers": 5}, 100), ({}, 3)])
def test_diagram_refuses_what_it_cannot_show(arguments, steps):
    with pytest.raises(InputError, match=r"draw one that reads the last of at least 4 steps in at most 4 layers\.$"):
        network_plots.plot_network(RecurrentClassifier(**arguments), steps)


def test_learning_curves_go_through_the_history(history):
    fig, (losses, accuracies) = network_plots.plot_learning_curves({"ours": history})
    assert tuple(fig.get_size_inches()) == WIDE
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
    _, (losses, accuracies) = network_plots.plot_learning_curves({"ours": history})
    assert curve(losses, [2], [1.9])
    assert curve(accuracies, [2], [0.25])


def test_learning_curves_show_where_a_network_begins(history):
    _, (losses, accuracies) = network_plots.plot_learning_curves({"ours": history})
    assert [line.get_ydata()[0] for line in losses.lines][-1] == pytest.approx(np.log(10))
    assert [line.get_ydata()[0] for line in accuracies.lines][-1] == 0.1


def test_learning_curves_tell_runs_apart_by_colour_and_marker(history):
    fig, (ax, _) = network_plots.plot_learning_curves({"ours": history, "2018": published.history("blstm")})
    (ours,) = curve(ax, history["epoch"], history["valid_loss"])
    theirs = next(line for line in ax.lines if len(line.get_xdata()) == 20)
    assert ours.get_color() != theirs.get_color()
    assert ours.get_marker() != theirs.get_marker()
    assert legend_texts(fig) == ["ours", "2018", "train", "valid", "lowest valid loss", "knowing nothing"]


def test_a_single_epoch_is_counted_in_whole_epochs(history):
    single = {"ours": history.head(1)}
    for plot in (network_plots.plot_learning_curves(single), network_plots.plot_training_times(single, {"here": 1})):
        fig, (ax, _) = plot
        fig.draw_without_rendering()
        low, high = ax.get_xlim()
        assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1]


def test_learning_curves_refuse_nothing():
    with pytest.raises(InputError, match="no histories"):
        network_plots.plot_learning_curves({})


def test_training_times_show_seconds_and_ratios(history):
    twice = history.assign(seconds=2 * history["seconds"])
    fig, (epochs, whole) = network_plots.plot_training_times(
        {"LSTM": history, "BLSTM": twice}, {"here": 2, "2018": 1.22}
    )
    assert tuple(fig.get_size_inches()) == WIDE
    assert curve(epochs, [1, 2, 3], [4, 3, 5])
    assert curve(epochs, [1, 2, 3], [8, 6, 10])
    assert [bar.get_width() for bar in whole.patches] == [2, 1.22]
    assert [text.get_text().strip() for text in whole.texts] == ["2.00", "1.22"]
    assert "(s)" in epochs.get_ylabel()


def test_logits_and_probabilities_are_those_given():
    logits = torch.tensor([1.0, 0, 3, 0, 0, 0, -2, 0, 0, 0])
    fig, (left, right) = network_plots.plot_logits_and_probabilities(logits, "organ")
    assert [bar.get_height() for bar in left.patches] == logits.tolist()
    assert [bar.get_height() for bar in right.patches] == pytest.approx(logits.softmax(dim=0).tolist())
    assert [place for place, bar in enumerate(left.patches) if bar.get_hatch()] == [FAMILIES.index("organ")]
    assert legend_texts(fig) == ["true family: organ", "predicted: flute"]


def test_frame_influence_is_drawn_with_the_top_layer_above_and_no_path_left_empty():
    influence = pd.DataFrame([[0.0, 0.0, 1.0], [1e-4, 1e-2, 0.5]], index=["layer 1 ←", "layer 2 ←"], columns=[1, 2, 3])
    fig, ax = network_plots.plot_saliency(influence)
    shown = ax.images[0].get_array()
    assert tuple(fig.get_size_inches()) == WIDE
    assert shown.mask.tolist() == [[False, False, False], [True, True, False]]
    assert shown[0].tolist() == [1e-4, 1e-2, 0.5]
    # Rows are drawn from the top of the picture, labels are placed from its bottom.
    assert [label.get_text() for label in ax.get_yticklabels()] == ["layer 1 ←", "layer 2 ←"]
    assert ax.images[0].origin == "upper"
    assert ax.get_yticks().tolist() == [0.5, 1.5]


def test_figures_take_the_axes_they_are_given(history):
    fig, axes = plt.subplots(1, 2)
    assert network_plots.plot_learning_curves({"ours": history}, ax=axes)[0] is fig
    assert network_plots.plot_logits_and_probabilities(torch.zeros(10), "bass", ax=axes)[0] is fig
    assert network_plots.plot_training_times({"LSTM": history}, {"here": 1}, ax=axes)[0] is fig
    assert network_plots.plot_network(build_network("lstm"), ax=axes[0])[0] is fig
    influence = pd.DataFrame([[1.0]], index=["layer 1 →"], columns=[1])
    assert network_plots.plot_saliency(influence, ax=axes[1])[0] is fig
