"""Figures of a whole data set: how many notes, of which pitch, velocity and level, and what its splits share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nsynth_helpers.data.metadata import (
    FAMILIES,
    OFFICIAL_FAMILIES,
    PIANO_PITCHES,
    SOURCES,
    SPLITS,
    instrument_overlap,
    keep_families,
    seen_in,
)
from nsynth_helpers.plots.style import HATCHES, LINE_STYLES, PAGE, WIDE, new_axes, new_panels


def plot_note_counts(sources: pd.DataFrame, ax=None) -> tuple[Figure, np.ndarray]:
    """Bars of the notes of each family, stacked by source, one panel a split.

    Parameters
    ----------
    sources : pandas.DataFrame
        Notes by split and family (index) and source (columns): ``DataReport.sources``.
    ax : sequence of matplotlib.axes.Axes, optional
        One for each split.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : np.ndarray of matplotlib.axes.Axes [shape=(splits,)]

    Notes
    -----
    Used in: 01_data_exploration.
    """
    splits = _in_order(sources.index.unique("split"))
    fig, panels = new_panels(ax, 1, len(splits), WIDE, sharey=True)
    for panel, split in zip(panels, splits, strict=False):
        counts = sources.loc[split]
        counts = counts.reindex([family for family in OFFICIAL_FAMILIES if family in counts.index])
        _stacked_bars(panel, counts.reindex(columns=SOURCES, fill_value=0))
        panel.set(title=f"{split}: {int(counts.to_numpy().sum()):,} notes", xlabel="notes")
    panels[0].invert_yaxis()
    _legend_below(fig, panels[0])
    return fig, panels


def plot_pitches(notes: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Boxes of the pitches of each family in each split; the whiskers reach the lowest and the highest note.

    Parameters
    ----------
    notes : pandas.DataFrame
        The notes of all splits, with a column ``split``.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : matplotlib.axes.Axes

    Notes
    -----
    Used in: 01_data_exploration.
    """
    fig, ax = new_axes(ax, PAGE)
    families = [family for family in OFFICIAL_FAMILIES if family in set(notes["family"])]
    splits = _in_order(notes["split"].unique())
    order = {"order": families, "hue_order": splits}
    median = {"color": "white", "linewidth": 3}
    sns.boxplot(
        notes, x="pitch", y="family", hue="split", **order, whis=(0, 100), linewidth=1, medianprops=median, ax=ax
    )
    for container, hatch in zip(ax.containers, HATCHES, strict=False):
        for box in container.boxes:
            box.set(hatch=hatch, edgecolor="black")
    low, high = PIANO_PITCHES
    ax.axvline(low, color="black", linestyle=":", linewidth=1, label="ends of a piano")
    ax.axvline(high, color="black", linestyle=":", linewidth=1)
    ax.set(xlabel="pitch (MIDI number; 60 is middle C)", ylabel="")
    ax.get_legend().remove()
    _legend_below(fig, ax)
    return fig, ax


def plot_velocities(notes: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Bars of the share of each split's notes that were struck with each velocity.

    Parameters
    ----------
    notes : pandas.DataFrame
        The notes of all splits, with a column ``split``.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : matplotlib.axes.Axes

    Notes
    -----
    Used in: 01_data_exploration.
    """
    fig, ax = new_axes(ax)
    shares = 100 * pd.crosstab(notes["velocity"], notes["split"], normalize="columns")
    splits = _in_order(shares.columns)
    shares[splits].plot.bar(ax=ax, rot=0, width=0.8, edgecolor="white")
    for container, hatch in zip(ax.containers, HATCHES, strict=False):
        for bar in container:
            bar.set_hatch(hatch)
    ax.grid(axis="x", visible=False)
    ax.set(xlabel="velocity (MIDI, 0 to 127)", ylabel="share of the split's notes (%)")
    ax.get_legend().remove()
    _legend_below(fig, ax)
    return fig, ax


def plot_shared_instruments(tables: dict[str, pd.DataFrame], ax=None) -> tuple[Figure, np.ndarray]:
    """Which instruments the splits share, and how many test notes come from instruments that train has.

    Parameters
    ----------
    tables : dict of str to pandas.DataFrame
        The table of notes of each split; ``train`` and ``test`` are needed.
    ax : sequence of matplotlib.axes.Axes, optional
        Two of them.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : np.ndarray of matplotlib.axes.Axes [shape=(2,)]

    Notes
    -----
    Used in: 01_data_exploration.
    """
    fig, panels = new_panels(ax, 1, 2, WIDE)
    sns.heatmap(
        instrument_overlap(tables), annot=True, fmt=",d", cmap="Blues", vmin=0, cbar=False, square=True, ax=panels[0]
    )
    panels[0].set(title="instruments that two splits share", xlabel="split", ylabel="split")
    test = keep_families(tables["test"])
    seen = seen_in(test["instrument"], tables["train"]).map({True: "heard in train", False: "new in test"})
    counts = pd.crosstab(test["family"], seen).reindex(FAMILIES, fill_value=0)
    _stacked_bars(panels[1], counts.reindex(columns=["heard in train", "new in test"], fill_value=0))
    panels[1].invert_yaxis()
    panels[1].set(title="test notes by their instrument", xlabel="notes")
    panels[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return fig, panels


def plot_levels(levels: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Share of each split's notes whose peak is at most so high; silent notes would start the line above 0.

    Parameters
    ----------
    levels : pandas.DataFrame
        One row a note with ``split`` and ``peak`` (of full scale): ``DataReport.levels``.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : matplotlib.axes.Axes

    Notes
    -----
    Used in: 01_data_exploration.
    """
    fig, ax = new_axes(ax)
    splits = _in_order(levels["split"].unique())
    for split, style in zip(splits, LINE_STYLES, strict=False):
        sns.ecdfplot(levels.loc[levels["split"] == split, "peak"], stat="percent", linestyle=style, label=split, ax=ax)
    ax.set(xlim=(0, 1.01), xlabel="peak (of full scale)", ylabel="notes with at most this peak (%)")
    ax.legend(loc="upper left")
    return fig, ax


def _stacked_bars(ax: Axes, counts: pd.DataFrame) -> None:
    """Horizontal bars, one for each row, a piece for each column."""
    left = np.zeros(len(counts))
    for column, hatch in zip(counts, HATCHES, strict=False):
        ax.barh(counts.index, counts[column], left=left, hatch=hatch, edgecolor="white", linewidth=0.5, label=column)
        left += counts[column].to_numpy()
    ax.grid(axis="y", visible=False)


def _legend_below(fig: Figure, ax: Axes) -> None:
    """One legend for all panels, out of the way of what they show."""
    handles, names = ax.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, borderaxespad=0)


def _in_order(splits: Iterable[str]) -> list[str]:
    """The splits that there are, as everybody names them: train, valid, test."""
    return sorted(splits, key=SPLITS.index)
