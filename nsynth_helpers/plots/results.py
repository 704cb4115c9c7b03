"""Figures of results: estimates with their intervals, confusion matrices, calibration, one answer."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import softmax

from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.plots.style import (
    COLOURS,
    FAMILY_COLOURS,
    MARKERS,
    PAGE,
    WIDE,
    in_percent,
    interval_reach,
    legend_below,
    new_axes,
)

# So many rows fit into a figure of one row of axes.
FEW_ROWS = 11
# Of red, green and blue (ITU-R BT.709); on darker cells the numbers are white.
LUMINANCE, DARK = (0.2126, 0.7152, 0.0722), 0.45
# Area of a mark, in square points, for all notes in one bin; a bin of a smaller share is drawn as if it held this one.
BIN_AREA, LEAST_SHARE = 400.0, 0.02


def plot_intervals(
    table: pd.DataFrame,
    y: str,
    hue: str | None = None,
    block: str | None = None,
    panel: str | None = None,
    seeds: pd.DataFrame | None = None,
    reference: float | str | None = None,
    hollow: bool = False,
    unit: str = "%",
    xlabel: str = "test accuracy",
) -> tuple[Figure, Axes | np.ndarray]:
    """Estimates with their intervals, a row of the figure for each value of ``y``, in the order of the table.

    Parameters
    ----------
    table : pandas.DataFrame
        ``value``, ``low``, ``high`` (fractions; NaN limits draw no interval), and the columns named below.
    y, hue, block, panel : str
        Columns: name of the row; series (colour and marker); block of rows, whose name stands above them; panel.
        All panels have one scale.
    seeds : pandas.DataFrame
        The same columns without ``low`` and ``high``, one row a seed: small grey dots.
    reference : float or str
        A vertical line, or the column that says where it stands in each block; the column's name goes to the legend.
    hollow : bool
        Leave marks white whose interval holds the reference (or 0).
    unit : {"%", "points"}
        How fractions are written: 0.5 as 50% or as +50 percentage points.

    Examples
    --------
    >>> table = pd.DataFrame({"network": ["LSTM", "BLSTM"], "value": [0.38, 0.4], "low": [0.3, 0.36], "high": 0.45})
    >>> fig, ax = plot_intervals(table, y="network")
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['LSTM', 'BLSTM']
    """
    parts = list(table.groupby(panel, sort=False)) if panel else [("", table)]
    layouts = [_places(part, y, block) for _, part in parts]
    size = WIDE if max(map(len, layouts)) <= FEW_ROWS else PAGE
    same_rows = all(layout == layouts[0] for layout in layouts)
    fig, [axes] = plt.subplots(1, len(parts), figsize=size, squeeze=False, sharex=True, sharey=same_rows)
    names = list(table[hue].unique()) if hue else [None]
    for ax, (title, part), places in zip(axes, parts, layouts, strict=True):
        dots = None if seeds is None else seeds[seeds[panel] == title] if panel else seeds
        crowded = len(names) > 1 and part.duplicated([block, y] if block else y).any()
        for number, name in enumerate(names):
            series, its_dots = (
                rows if hue is None or rows is None else rows[rows[hue] == name] for rows in (part, dots)
            )
            shift = ((len(names) - 1) / 2 - number) * 0.6 / len(names) if crowded else 0
            if its_dots is not None:
                heights = _heights(its_dots, places, y, block) + shift
                ax.plot(its_dots["value"], heights, ".", color="0.55", markersize=5, zorder=2, label="one seed")
            level = series[reference] if isinstance(reference, str) else reference or 0
            white = hollow & (series["low"] <= level) & (series["high"] >= level)
            style = {"color": f"C{number}", "marker": MARKERS[number % len(MARKERS)], "linestyle": "none"}
            _draw_series(ax, series, _heights(series, places, y, block) + shift, white.to_numpy(), style, name)
        _draw_reference(ax, part, places, block, reference)
        _name_rows(ax, places)
        ax.set(title=title, xlabel=f"{xlabel} (percentage points)" if unit == "points" else xlabel)
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        in_percent(ax.xaxis)
        if unit == "points":
            ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+.3g}".replace("-", "−") if value else "0")
    if hue or seeds is not None or isinstance(reference, str):
        legend_below(fig, axes)
    return fig, axes if panel else axes[0]


def _places(table: pd.DataFrame, y: str, block: str | None) -> dict[tuple, int]:
    """The height of each row of a figure, from top to bottom; a block's name, (name, None), has a row of its own."""
    rows = []
    for name, part in table.groupby(block, sort=False) if block else [(None, table)]:
        rows += ([] if name is None else [(name, None)]) + [(name, row) for row in part[y].unique()]
    return {row: len(rows) - 1 - place for place, row in enumerate(rows)}


def _heights(rows: pd.DataFrame, places: Mapping[tuple, int], y: str, block: str | None) -> np.ndarray:
    blocks = rows[block] if block else [None] * len(rows)
    return np.array([places[row] for row in zip(blocks, rows[y], strict=True)], dtype=float)


def _draw_series(ax: Axes, rows: pd.DataFrame, heights: np.ndarray, hollow: np.ndarray, style: dict, name) -> None:
    reach = interval_reach(rows["value"], rows["low"], rows["high"])
    ax.errorbar(rows["value"], heights, xerr=reach, fmt="none", ecolor=style["color"], elinewidth=1.5)
    for white, chosen in ((False, ~hollow), (True, hollow)):
        face = "white" if white else style["color"]
        label = None if white and (~hollow).any() else name
        if chosen.any():
            ax.plot(rows["value"][chosen], heights[chosen], markersize=6, markerfacecolor=face, label=label, **style)


def _draw_reference(ax: Axes, table: pd.DataFrame, places, block: str | None, reference: float | str | None) -> None:
    look = {"color": "0.2", "linestyle": "--", "linewidth": 1, "zorder": 1}
    if isinstance(reference, str):
        for name, part in table.groupby(block, sort=False) if block else [(None, table)]:
            heights = [place for (its_block, row), place in places.items() if its_block == name and row is not None]
            levels = part[reference].dropna()
            if len(levels):
                ends = [min(heights) - 0.45, max(heights) + 0.45]
                ax.plot([levels.iloc[0]] * 2, ends, label=reference, **look)
    elif reference is not None:
        ax.axvline(reference, **look)


def _name_rows(ax: Axes, places: Mapping[tuple, int]) -> None:
    names = [str(block) if row is None else str(row) for block, row in places]
    ax.set_yticks(list(places.values()), names)
    for label, (block, row), place in zip(ax.get_yticklabels(), places, places.values(), strict=False):
        if block is not None and row is None:
            label.set_fontweight("bold")
            ax.axhline(place + 0.5, color="0.75", linewidth=1)
    ax.set_ylim(-0.6, len(places) - 0.4)
    ax.grid(axis="y", color="0.93")


def plot_confusion_matrix(
    confusion: pd.DataFrame, title: str = "", shares: bool = False, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """One confusion matrix of counts (rows actual, columns predicted); the colour is the share of the row.

    The number is that of the notes, or with ``shares`` the percentage of the row; zeros stay empty, so that the eye
    finds what is there.
    """
    fig, ax = new_axes(ax, PAGE)
    counts = confusion.to_numpy()
    part = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Not seaborn.heatmap: it draws the whole figure once for each matrix.
    mesh = ax.pcolormesh(part, edgecolors="0.9", linewidth=0.3, cmap="Blues", vmin=0, vmax=1)
    # Halves are rounded up, as in the tables.
    numbers = np.floor(100 * part + 0.5 + 1e-9).astype(int) if shares else counts
    for row, column in np.argwhere(numbers):
        luminance = np.dot(mesh.cmap(mesh.norm(part[row, column]))[:3], LUMINANCE)
        colour = "white" if luminance < DARK else "black"
        ax.text(column + 0.5, row + 0.5, numbers[row, column], color=colour, ha="center", va="center")
    plt.setp(ax.texts, in_layout=False)
    ax.grid(visible=False)
    ax.invert_yaxis()
    places = np.arange(len(FAMILIES)) + 0.5
    ax.set_xticks(places, FAMILIES, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(places, FAMILIES)
    title = f"{title}, {'% of each row' if shares else 'notes'}".removeprefix(", ")
    ax.set(title=title, xlabel="predicted family", ylabel="actual family")
    return fig, ax


def plot_confusion_matrices(confusions: Mapping[str, pd.DataFrame]) -> tuple[Figure, np.ndarray]:
    """Confusion matrices side by side, by title: a row of them with counts, and below it one with shares."""
    fig, axes = plt.subplots(2, len(confusions), figsize=PAGE, squeeze=False)
    for row, shares in zip(axes, (False, True), strict=True):
        for panel, (title, confusion) in zip(row, confusions.items(), strict=True):
            plot_confusion_matrix(confusion, title, shares, panel)
            panel.label_outer(remove_inner_ticks=True)
    return fig, axes


def plot_reliability(diagrams: Mapping[str, Mapping[str, pd.DataFrame]]) -> tuple[Figure, np.ndarray]:
    """Reliability diagrams: how often a network is right against how sure it was; the dotted diagonal is honest.

    ``diagrams`` goes from the title of a panel to a name (``before``, ``after``) to what
    `analysis.reliability_table` returns; the area of a mark is the share of all notes that its bin holds.
    """
    fig, [axes] = plt.subplots(1, len(diagrams), figsize=WIDE, squeeze=False, sharex=True, sharey=True)
    for panel, (title, tables) in zip(axes, diagrams.items(), strict=True):
        panel.plot([0, 1], [0, 1], color="0.4", linewidth=1, linestyle=":")
        for number, (name, table) in enumerate(tables.items()):
            bins, colour = table[table["notes"] > 0], COLOURS[number]
            reach = interval_reach(bins["accuracy"], bins["low"], bins["high"])
            panel.errorbar(bins["probability"], bins["accuracy"], reach, fmt="none", ecolor=colour, elinewidth=0.7)
            areas = BIN_AREA * np.maximum(bins["notes"] / bins["notes"].sum(), LEAST_SHARE)
            look = {"color": colour, "marker": MARKERS[number], "alpha": 0.8, "linewidths": 0}
            panel.scatter(bins["probability"], bins["accuracy"], areas, clip_on=False, zorder=3, **look)
            panel.plot([], [], color=colour, marker=MARKERS[number], linestyle="none", label=name)
        panel.set(title=title, xlabel="mean probability of the answer", xlim=(-0.03, 1.03), ylim=(-0.04, 1.04))
        panel.set_xticks(np.linspace(0, 1, 6))
        in_percent(panel.xaxis, panel.yaxis)
    axes[0].set_ylabel("share of right answers")
    key = {
        f"a bin of {size} of the notes": axes[0].scatter([], [], BIN_AREA * share, color="0.5", linewidths=0)
        for size, share in {f"{LEAST_SHARE:.0%} or less": LEAST_SHARE, "10%": 0.1, "30%": 0.3}.items()
    }
    legend_below(fig, axes, columns=3, more=key)
    return fig, axes


def plot_logits_and_probabilities(logits: np.ndarray, family: str) -> tuple[Figure, np.ndarray]:
    """The answer to one note of a true family: its ten logits, shape (10,), and what softmax makes of them.

    The true family's bars are hatched; a star stands above the predicted one's.
    """
    fig, axes = plt.subplots(1, 2, figsize=WIDE)
    logits = np.asarray(logits, dtype=float)
    predicted = int(logits.argmax())
    for panel, heights in zip(axes, (logits, softmax(logits)), strict=True):
        bars = panel.bar(FAMILIES, heights, color=[FAMILY_COLOURS[name] for name in FAMILIES], edgecolor="0.2")
        true = bars[FAMILIES.index(family)]
        true.set(hatch="//", label=f"true family: {family}")
        top, label = max(heights[predicted], 0), f"predicted: {FAMILIES[predicted]}"
        panel.plot(predicted, top, "*", ms=11, color="black", clip_on=False, zorder=4, label=label)
        panel.axhline(0, color="0.3", lw=1)
        panel.tick_params(axis="x", rotation=45)
        panel.grid(axis="x", visible=False)
        panel.margins(y=0.12)
        panel.set_xlabel("family")
    axes[0].set(ylabel="logit", title="what the network says")
    axes[1].set(ylabel="probability", title="after softmax", ylim=(0, 1.08))
    in_percent(axes[1].yaxis)
    legend_below(fig, axes[0])
    return fig, axes


def plot_note_map(notes: pd.DataFrame, shares: np.ndarray, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Notes in the plane, coloured and shaped by family, filled where the network is right.

    ``notes`` has ``family``, ``correct``, ``x`` and ``y``; ``shares`` (fractions) are those of the variance that the
    two axes show.
    """
    fig, ax = new_axes(ax, PAGE)
    for family, marker in zip(FAMILIES, MARKERS, strict=True):
        look = {"s": 50 if marker == "*" else 26, "linewidths": 1}  # a star's arms are thin
        colour = FAMILY_COLOURS[family]
        right, wrong = (notes[(notes["family"] == family) & (notes["correct"] == known)] for known in (True, False))
        ax.scatter(right["x"], right["y"], color=colour, marker=marker, label=family, **look)
        ax.scatter(wrong["x"], wrong["y"], facecolor="none", edgecolor=colour, marker=marker, **look)
    ax.set(
        aspect="equal", xlabel=f"first axis: {shares[0]:.0%} of the variance", ylabel=f"second axis: {shares[1]:.0%}"
    )
    key = {
        "filled: right": ax.scatter([], [], 26, color="0.4"),
        "hollow: wrong": ax.scatter([], [], 26, facecolor="none", edgecolor="0.4"),
    }
    legend_below(fig, ax, columns=6, more=key)
    return fig, ax
