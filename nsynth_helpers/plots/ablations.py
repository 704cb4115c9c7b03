"""Figures of the grid of ablations: accuracies over seeds, and differences from the 2018 networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nsynth_helpers.analysis.tables import baseline_of, row_name
from nsynth_helpers.plots.style import PAGE, WIDE, new_axes, new_panels
from nsynth_helpers.training.grid import title_of

SMALL = 9
# LSTM and BLSTM rows: a colour, and a marker as the second cue.
LOOKS = {"2018 LSTM": ("C0", "o"), "2018 BLSTM": ("C1", "D")}
LITTLE = 2.0
# So many rows fit into a figure of one row of axes.
FEW_ROWS = 8
POINTS = "difference in test accuracy (percentage points)"
NOTHING = "No training of this kind is in the table yet: run `make ablations`."


def plot_accuracies(
    results: pd.DataFrame, summary: pd.DataFrame, data: str, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """Test accuracy of every row of the grid: each seed a dot, mean and standard deviation a mark with a bar.

    A dashed line tells the mean of the 2018 network with as many epochs; it reaches over the rows that start from it.

    Parameters
    ----------
    results : pandas.DataFrame
        What `ablations.read_results` returns.
    summary : pandas.DataFrame
        What `ablation_tables.summarise_seeds` makes of it.
    data : str
        Which data; accuracies on different data never share an axis.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : matplotlib.axes.Axes

    Notes
    -----
    Used in: 05_ablations.
    """
    fig, ax = new_axes(ax, PAGE)
    ax.set(title=f"Test accuracy on {title_of(data)}", xlabel="test accuracy")
    rows = _rows_of(summary, data)
    if rows.empty:
        return fig, _say(ax, NOTHING)
    for row in rows.itertuples():
        seeds = results[
            (results["data"] == data) & (results["variant"] == row.variant) & (results["epochs"] == row.epochs)
        ]["test_accuracy"]
        colour, marker = LOOKS[baseline_of(row.variant)]
        ax.plot(seeds, np.full(len(seeds), row.place), ".", color="0.55", markersize=5, zorder=2)
        ax.errorbar(
            row.mean, row.place, xerr=np.nan_to_num(row.deviation), fmt=marker, color=colour, markersize=6, capsize=3
        )
    _draw_baselines(ax, rows)
    _name_rows(ax, rows)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _explain(ax, rows)
    return fig, ax


def _rows_of(summary: pd.DataFrame, data: str) -> pd.DataFrame:
    """The rows of one data set with their places from top to bottom, those of one baseline together."""
    rows = summary[summary["data"] == data]
    if "baseline" not in rows:
        rows = rows.assign(baseline=rows["variant"].map(baseline_of))
    blocks = [rows["epochs"].rank(ascending=False), rows["baseline"] != "2018 LSTM"]
    order = pd.concat(blocks, axis=1).apply(tuple, axis=1).sort_values(kind="stable").index if len(rows) else rows.index
    rows = rows.loc[order].reset_index(drop=True)
    return rows.assign(place=len(rows) - 1 - rows.index)


def _draw_baselines(ax: Axes, rows: pd.DataFrame) -> None:
    """A dashed line at each 2018 network, over the rows with its data and epochs; a thin one between such blocks."""
    for (_, baseline), block in rows.groupby(["epochs", "baseline"], sort=False):
        low, high = block["place"].min() - 0.45, block["place"].max() + 0.45
        mean = block.loc[block["variant"] == baseline, "mean"]
        if len(mean):
            ax.plot([mean.iloc[0]] * 2, [low, high], linestyle="--", linewidth=1.2, color=LOOKS[baseline][0], zorder=1)
        if low > 0:
            ax.axhline(low - 0.05, color="0.8", linewidth=1)


def _name_rows(ax: Axes, rows: pd.DataFrame) -> None:
    """Name each row by its group and variant, with its epochs; no lines across, for the eye has the dashed ones."""
    names = [f"{row_name(row.group, row.variant)}, {row.epochs} epochs" for row in rows.itertuples()]
    ax.set_yticks(rows["place"], names, fontsize=SMALL)
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ax.grid(axis="y", visible=False)


def _explain(ax: Axes, rows: pd.DataFrame) -> None:
    for baseline in rows["baseline"].unique():
        colour, marker = LOOKS[baseline]
        name = baseline.removeprefix("2018 ")
        ax.plot([], [], linestyle="", marker=marker, color=colour, label=f"{name}, mean ± standard deviation")
        ax.plot([], [], linestyle="--", color=colour, label=f"{baseline}, same epochs")
    ax.plot([], [], ".", color="0.55", label="one seed")
    ax.figure.legend(loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)


def _say(ax: Axes, sentence: str) -> Axes:
    """An empty figure says why it is empty."""
    ax.text(0.5, 0.5, sentence, ha="center", va="center", transform=ax.transAxes)
    ax.set(xticks=[], yticks=[])
    return ax


def plot_differences(differences: pd.DataFrame, data: str, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Each row's difference from its 2018 network with its interval; full marks where the interval leaves out zero.

    Parameters
    ----------
    differences : pandas.DataFrame
        What `ablation_tables.differences_from_baseline` returns.
    data : str
        Which data.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : matplotlib.axes.Axes

    Notes
    -----
    Used in: 05_ablations.
    """
    rows = _rows_of(differences.dropna(subset="low"), data)
    fig, ax = new_axes(ax, WIDE if len(rows) < FEW_ROWS else PAGE)
    ax.set(title=f"Difference from the 2018 network on {title_of(data)}", xlabel=POINTS)
    if rows.empty:
        return fig, _say(ax, NOTHING)
    ax.axvline(0, color="black", linewidth=1)
    ax.axvspan(-LITTLE, LITTLE, color="0.9", zorder=0, label=f"changes little: within {LITTLE:.0f} points")
    for row in rows.itertuples():
        colour, marker = LOOKS[row.baseline]
        middle, low, high = 100 * row.difference, 100 * row.low, 100 * row.high
        ax.plot([low, high], [row.place] * 2, color=colour, linewidth=1.5)
        filled = colour if low > 0 or high < 0 else "white"
        ax.plot(middle, row.place, marker, color=colour, markerfacecolor=filled, markersize=6)
    _name_rows(ax, rows)
    for baseline in rows["baseline"].unique():
        colour, marker = LOOKS[baseline]
        ax.plot([], [], marker=marker, color=colour, label=f"minus the {baseline}, 95 % (Welch)")
    fig.legend(loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    return fig, ax


def plot_core(summary: pd.DataFrame, data: Sequence[str], ax=None) -> tuple[Figure, np.ndarray]:
    """The rows that were trained on several data sets, one panel each, so that no two data sets share an axis.

    Parameters
    ----------
    summary : pandas.DataFrame
        What `ablation_tables.summarise_seeds` returns.
    data : sequence of str
        The data sets, one panel each.
    ax : sequence of matplotlib.axes.Axes, optional
        One for each data set.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : np.ndarray of matplotlib.axes.Axes

    Notes
    -----
    Used in: 05_ablations.
    """
    fig, axes = new_panels(ax, 1, len(data), WIDE)
    core = summary[summary["group"] == "core"]
    for ax, name in zip(axes, data, strict=False):
        ax.set(title=title_of(name), xlabel="test accuracy, mean ± standard deviation")
        rows = _rows_of(core, name)
        if rows.empty:
            _say(ax, "Not in the table yet:\nrun `make ablations`.")
            continue
        for row in rows.itertuples():
            colour, marker = LOOKS[row.baseline]
            ax.errorbar(row.mean, row.place, xerr=np.nan_to_num(row.deviation), fmt=marker, color=colour, capsize=3)
        _draw_baselines(ax, rows)
        ax.set_yticks(rows["place"], rows["variant"], fontsize=SMALL)
        ax.set_ylim(-0.7, len(rows) - 0.3)
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.xaxis.set_major_locator(MaxNLocator(6))
    return fig, axes
