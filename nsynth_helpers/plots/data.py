"""Figures of a whole data set: how many notes, of which pitch, and what its splits share."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
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
from nsynth_helpers.plots.style import COLOURS, HATCHES, PAGE, WIDE, legend_below, new_axes


def plot_note_counts(sources: pd.DataFrame) -> tuple[Figure, np.ndarray]:
    """Bars of the notes of each family, stacked by source, one panel a split.

    ``sources`` has the notes by split and family (index) and source (columns): `DataReport.sources`.
    """
    splits = sorted(sources.index.unique("split"), key=SPLITS.index)
    fig, [panels] = plt.subplots(1, len(splits), figsize=WIDE, squeeze=False, sharey=True)
    for panel, split in zip(panels, splits, strict=False):
        counts = sources.loc[split]
        counts = counts.reindex([family for family in OFFICIAL_FAMILIES if family in counts.index])
        _stacked_bars(panel, counts.reindex(columns=SOURCES, fill_value=0))
        panel.set(title=f"{split}: {int(counts.to_numpy().sum()):,} notes", xlabel="number of notes")
    panels[0].set_ylabel("family")
    panels[0].invert_yaxis()
    legend_below(fig, panels[0])
    return fig, panels


def plot_pitches(notes: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Boxes of the pitches of each family in each split; the whiskers reach the lowest and the highest note.

    ``notes`` has the notes of all splits: ``split``, ``family``, ``pitch``.
    """
    fig, ax = new_axes(ax, PAGE)
    families = [family for family in OFFICIAL_FAMILIES if family in set(notes["family"])]
    splits = sorted(notes["split"].unique(), key=SPLITS.index)
    height = 0.8 / len(splits)
    look = {"whis": (0, 100), "medianprops": {"color": "white", "linewidth": 3}, "patch_artist": True}
    for number, split in enumerate(splits):
        # Not seaborn.boxplot: it calls matplotlib in a way that is to go.
        ax.boxplot(
            [notes.loc[(notes["split"] == split) & (notes["family"] == family), "pitch"] for family in families],
            positions=np.arange(len(families)) + height * (number - (len(splits) - 1) / 2),
            widths=height,
            orientation="horizontal",
            boxprops={"facecolor": COLOURS[number], "hatch": HATCHES[number]},
            label=split,
            **look,
        )
    ax.set_yticks(range(len(families)), families)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    for pitch, name in zip(PIANO_PITCHES, ("ends of a piano", None), strict=True):
        ax.axvline(pitch, color="black", linestyle=":", linewidth=1, label=name)
    ax.set(xlabel="pitch (MIDI number; 60 is middle C)", ylabel="family")
    legend_below(fig, ax)
    return fig, ax


def plot_shared_instruments(tables: Mapping[str, pd.DataFrame]) -> tuple[Figure, np.ndarray]:
    """Which instruments the splits share, and how many test notes come from instruments that train has.

    ``tables`` has the table of notes of each split, at least of ``train`` and ``test``.
    """
    fig, panels = plt.subplots(1, 2, figsize=WIDE)
    overlap = instrument_overlap(dict(tables))
    sns.heatmap(overlap, annot=True, fmt=",d", cmap="Blues", vmin=0, cbar=False, square=True, ax=panels[0])
    panels[0].set(title="instruments that two splits share", xlabel="split", ylabel="split")
    test = keep_families(tables["test"])
    seen = seen_in(test["instrument"], tables["train"]).map({True: "heard in train", False: "new in test"})
    counts = pd.crosstab(test["family"], seen).reindex(FAMILIES, fill_value=0)
    _stacked_bars(panels[1], counts.reindex(columns=["heard in train", "new in test"], fill_value=0))
    panels[1].invert_yaxis()
    panels[1].set(title="test notes by their instrument", xlabel="number of notes", ylabel="family")
    legend_below(fig, panels[1])
    return fig, panels


def _stacked_bars(ax: Axes, counts: pd.DataFrame) -> None:
    """Horizontal bars, one for each row, a piece for each column."""
    left = np.zeros(len(counts))
    for column, hatch in zip(counts, HATCHES, strict=False):
        ax.barh(counts.index, counts[column], left=left, hatch=hatch, edgecolor="white", linewidth=0.5, label=column)
        left += counts[column].to_numpy()
    ax.grid(axis="y", visible=False)
