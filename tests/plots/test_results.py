"""Figures of results show the numbers that they were given."""

import numpy as np
import pandas as pd
import pytest

from nsynth_helpers import plots
from nsynth_helpers.analysis.calibration import reliability_table
from nsynth_helpers.analysis.outcomes import name_confusion_matrix
from nsynth_helpers.claims import published
from nsynth_helpers.data.metadata import FAMILIES

GRID = pd.DataFrame(
    {
        "variant": ["2018 LSTM", "SGD", "2018 LSTM", "GRU"],
        "block": ["20 epochs", "20 epochs", "10 epochs", "10 epochs"],
        "value": [0.4, 0.1, 0.35, 0.38],
        "low": [0.38, 0.1, 0.3, 0.36],
        "high": [0.42, 0.1, 0.4, np.nan],
        "same epochs": [0.4, 0.4, 0.35, 0.35],
    }
)


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def rows(ax) -> list[str]:
    """The names of the rows from top to bottom."""
    places = {place: label.get_text() for place, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    return [places[place] for place in sorted(places, reverse=True)]


def marks(ax) -> dict[float, float]:
    """Where the marks stand: value by height."""
    lines = [line for line in ax.lines if line.get_marker() in ("o", "s")]
    return {float(y): float(x) for line in lines for x, y in zip(*line.get_data(), strict=True)}


def spans(ax) -> list[list[float]]:
    """The ends of the intervals, from low to high on the axis of values."""
    bars = [bars for container in ax.containers for bars in container.lines[2]]
    return [segment[:, 0].tolist() for collection in bars for segment in collection.get_segments()]


def test_blocks_are_named_above_their_rows_in_the_order_of_the_table():
    _, ax = plots.plot_intervals(GRID, y="variant", block="block")
    assert rows(ax) == ["20 epochs", "2018 LSTM", "SGD", "10 epochs", "2018 LSTM", "GRU"]
    bold = [label.get_text() for label in ax.get_yticklabels() if label.get_fontweight() == "bold"]
    assert bold == ["20 epochs", "10 epochs"]
    assert marks(ax) == {4.0: 0.4, 3.0: 0.1, 1.0: 0.35, 0.0: 0.38}


def test_intervals_reach_from_low_to_high_as_far_as_they_are_known():
    _, ax = plots.plot_intervals(GRID, y="variant", block="block")
    assert np.allclose(spans(ax), [[0.38, 0.42], [0.1, 0.1], [0.3, 0.4], [0.36, 0.38]])


def test_series_of_one_row_stand_beside_each_other_with_colours_and_markers_of_their_own():
    table = pd.concat([GRID[:2].assign(network=name) for name in ("LSTM", "BLSTM")])
    fig, ax = plots.plot_intervals(table, y="variant", hue="network")
    assert sorted(marks(ax), reverse=True) == pytest.approx([1.15, 0.85, 0.15, -0.15])
    series = [line for line in ax.lines if line.get_label() in ("LSTM", "BLSTM")]
    assert len({line.get_color() for line in series}) == len({line.get_marker() for line in series}) == 2
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["LSTM", "BLSTM"]


def test_series_that_never_share_a_row_stand_in_its_middle():
    _, ax = plots.plot_intervals(GRID[:2].assign(network=["LSTM", "BLSTM"]), y="variant", hue="network")
    assert marks(ax) == {1.0: 0.4, 0.0: 0.1}


def test_panels_are_titled_and_have_one_scale():
    table = pd.concat([GRID[:2].assign(data="nsynth-mini"), GRID[:1].assign(data="NSynth", value=0.9, high=0.95)])
    _, axes = plots.plot_intervals(table, y="variant", panel="data")
    assert [ax.get_title() for ax in axes] == ["nsynth-mini", "NSynth"]
    assert rows(axes[0]) == ["2018 LSTM", "SGD"] and rows(axes[1]) == ["2018 LSTM"]
    assert axes[0].get_xlim() == axes[1].get_xlim()


@pytest.mark.parametrize(("panels", "rows_each", "size"), [(1, 3, plots.WIDE), (1, 20, plots.PAGE), (5, 3, plots.WIDE)])
def test_many_rows_take_a_page(panels, rows_each, size):
    table = pd.DataFrame([(str(panel), str(row)) for panel in range(panels) for row in range(rows_each)])
    table = table.set_axis(["panel", "row"], axis=1).assign(value=0.5, low=0.4, high=0.6)
    fig, axes = plots.plot_intervals(table, y="row", panel="panel")
    assert len(axes) == panels and tuple(fig.get_size_inches()) == size


def test_every_seed_is_a_dot_in_its_row():
    seeds = pd.DataFrame({"variant": "SGD", "block": "20 epochs", "value": [0.09, 0.11]})
    fig, ax = plots.plot_intervals(GRID, y="variant", block="block", seeds=seeds)
    dots = [line for line in ax.lines if line.get_marker() == "."]
    assert [line.get_xydata().tolist() for line in dots] == [[[0.09, 3], [0.11, 3]]]
    assert "one seed" in [text.get_text() for text in fig.legends[0].get_texts()]


def test_a_reference_of_each_block_reaches_over_its_rows_alone():
    _, ax = plots.plot_intervals(GRID, y="variant", block="block", reference="same epochs")
    lines = [line.get_xydata().tolist() for line in ax.lines if line.get_label() == "same epochs"]
    assert lines == [[[0.4, 2.55], [0.4, 4.45]], [[0.35, -0.45], [0.35, 1.45]]]


def test_marks_are_hollow_where_the_interval_holds_the_reference():
    table = pd.DataFrame({"variant": ["GRU", "RNN"], "value": [0.01, -0.35], "low": [-0.01, -0.4]})
    table["high"] = [0.03, -0.3]
    _, ax = plots.plot_intervals(table, y="variant", reference=0, hollow=True, unit="points", xlabel="difference")
    faces = {float(line.get_xdata()[0]): line.get_markerfacecolor() for line in ax.lines if line.get_marker() == "o"}
    assert faces[0.01] == "white" != faces[-0.35]
    assert ax.get_xlabel() == "difference (percentage points)"
    assert [ax.xaxis.get_major_formatter()(value) for value in (-0.4, 0, 0.025)] == ["−40", "0", "+2.5"]


def test_bins_of_few_notes_are_small():
    outcomes = pd.DataFrame({"probability": [0.95] * 9 + [0.35], "correct": [True] * 5 + [False] * 4 + [True]})
    table = reliability_table(outcomes, bins=10)
    fig, axes = plots.plot_reliability({"LSTM": {"before": table}, "BLSTM": {"before": table}})
    marks = next(group for group in axes[0].collections if len(group.get_offsets()) == 2)
    np.testing.assert_allclose(marks.get_offsets(), [[0.35, 1], [0.95, 5 / 9]])
    assert marks.get_sizes()[1] == pytest.approx(9 * marks.get_sizes()[0])
    names = [text.get_text() for text in fig.legends[0].get_texts()]
    assert names[0] == "before" and "a bin of 10% of the notes" in names and axes[1].get_title() == "BLSTM"


def test_logits_and_probabilities_are_those_given():
    logits = np.array([1.0, 0, 3, 0, 0, 0, -2, 0, 0, 0])
    fig, (left, right) = plots.plot_logits_and_probabilities(logits, "organ")
    assert [bar.get_height() for bar in left.patches] == logits.tolist()
    shares = np.exp(logits) / np.exp(logits).sum()
    assert [bar.get_height() for bar in right.patches] == pytest.approx(shares.tolist())
    assert [place for place, bar in enumerate(left.patches) if bar.get_hatch()] == [FAMILIES.index("organ")]
    assert {text.get_text() for text in fig.legends[0].get_texts()} == {"true family: organ", "predicted: flute"}


def test_confusion_matrix_writes_counts_or_percentages_and_leaves_zeros_empty():
    counts = np.zeros((10, 10), dtype=int)
    counts[0, :2], counts[4, 0] = (3, 1), 5
    confusion = name_confusion_matrix(counts)
    assert texts(plots.plot_confusion_matrix(confusion)[1]) == ["3", "1", "5"]
    _, ax = plots.plot_confusion_matrix(confusion, "LSTM", shares=True)
    assert texts(ax) == ["75", "25", "100"] and ax.get_title() == "LSTM, % of each row"
    assert [place.get_position() for place in ax.texts][-1] == (0.5, 4.5), "keyboard (row 4) taken for bass"
    assert ax.yaxis.get_inverted(), "bass is the uppermost row"


def test_numbers_on_dark_cells_are_white():
    _, ax = plots.plot_confusion_matrix(name_confusion_matrix(np.eye(10, dtype=int) * 9 + 1))
    colours = {text.get_text(): text.get_color() for text in ax.texts}
    assert colours == {"10": "white", "1": "black"} or colours == {"10": "black", "1": "black"}
    _, ax = plots.plot_confusion_matrix(name_confusion_matrix(np.eye(10, dtype=int)))
    assert {text.get_color() for text in ax.texts} == {"white"}


def test_confusion_matrices_have_counts_above_and_shares_below():
    lstm = published.confusion_matrix("lstm")
    _, axes = plots.plot_confusion_matrices({"a": lstm, "b": lstm})
    assert axes.shape == (2, 2) and "605" in texts(axes[0, 0]) and "72" in texts(axes[1, 1])


def test_halves_of_a_percent_are_rounded_up():
    counts = name_confusion_matrix(np.eye(10, dtype=int) * 7)
    counts.iloc[0, 1] = 1
    assert texts(plots.plot_confusion_matrix(counts, shares=True)[1])[:2] == ["88", "13"]


def test_the_map_fills_the_marks_of_right_notes_alone():
    notes = pd.DataFrame({"family": ["bass", "bass", "flute"], "correct": [True, False, False]})
    fig, ax = plots.plot_note_map(notes.assign(x=[1.0, 2.0, 3.0], y=[4.0, 5.0, 6.0]), [0.4, 0.1])
    drawn = [(marks.get_offsets().tolist(), len(marks.get_facecolor())) for marks in ax.collections]
    assert [mark for mark in drawn if mark[0]] == [([[1, 4]], 1), ([[2, 5]], 0), ([[3, 6]], 0)]
    key = [text.get_text() for text in fig.legends[0].get_texts()]
    assert key == [*FAMILIES, "filled: right", "hollow: wrong"]
