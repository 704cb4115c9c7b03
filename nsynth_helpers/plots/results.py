"""Figures of results: accuracies, confusion matrices, families, groups of notes, and the notes at the extremes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter

from nsynth_helpers.analysis.outcomes import normalise_rows
from nsynth_helpers.claims.sentences import A_HAIR
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.plots.style import (
    MARKERS,
    PAGE,
    SPECTRUM_COLOURS,
    WIDE,
    family_colours,
    new_axes,
    new_panels,
    plot_log_mel_spectrogram,
    plot_waveform,
)

CONFUSION_COLOURS, DIFFERENCE_COLOURS = "Blues", "RdBu_r"
SMALL, TINY = 8, 7
GALLERY_LEVELS = 20
# Of red, green and blue (ITU-R BT.709); on darker cells the numbers are white.
LUMINANCE, DARK = (0.2126, 0.7152, 0.0722), 0.45
MOST_LEVEL_NAMES = 6
SLANTED = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}


def plot_accuracies(tables: Mapping[str, pd.DataFrame], ax=None) -> tuple[Figure, np.ndarray]:
    """Accuracies with both intervals, one panel for each data set, so that no two data sets share an axis.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        From the name of the data to a table indexed by network: ``accuracy``, ``low``, ``high`` (Wilson),
        ``clustered_low``, ``clustered_high`` (instruments resampled; NaN where the notes are not known); fractions.
    ax : sequence of Axes, optional
        One for each data set.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, axes = new_panels(ax, 1, len(tables), WIDE)
    for ax, (data, table) in zip(axes, tables.items(), strict=True):
        places = np.arange(len(table))[::-1]
        for place, (_, row) in zip(places, table.iterrows(), strict=True):
            ax.plot([row["clustered_low"], row["clustered_high"]], [place, place], color="C1", linewidth=1.5)
            ax.plot([row["low"], row["high"]], [place, place], color="C0", linewidth=5, alpha=0.6)
            ax.plot(row["accuracy"], place, "o", color="black", markersize=5)
        ax.set(title=data, xlabel="test accuracy", ylim=(-0.6, len(table) - 0.4))
        ax.set_yticks(places, table.index)
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes[0].plot([], [], color="C0", linewidth=5, alpha=0.6, label="95 %, notes independent (Wilson)")
    axes[0].plot([], [], color="C1", linewidth=1.5, label="95 %, instruments resampled")
    fig.legend(loc="outside lower center", ncols=2, fontsize=SMALL)
    return fig, axes


def plot_confusion_matrix(
    confusion: pd.DataFrame, title: str = "", normalised: bool = False, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """One confusion matrix; the colour is the share of the actual family, the number the notes or that share.

    Parameters
    ----------
    confusion : pandas.DataFrame [shape=(10, 10)]
        Counts, rows actual, columns predicted.
    title : str
        What network, on what data.
    normalised : bool
        Write percentages of each row instead of counts.
    ax : Axes, optional
        Where to draw.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, ax = new_axes(ax, PAGE)
    shares = normalise_rows(confusion).fillna(0).to_numpy()
    numbers = np.floor(100 * shares + 0.5 + A_HAIR).astype(int) if normalised else confusion.to_numpy()
    _heat_map(ax, shares, numbers, cmap=CONFUSION_COLOURS, vmin=0, vmax=1)
    ax.set_title(f"{title}, {'% of each row' if normalised else 'notes'}", fontsize=SMALL + 2)
    return fig, ax


def plot_confusion_pair(confusions: Mapping[str, pd.DataFrame], ax=None) -> tuple[Figure, np.ndarray]:
    """Two confusion matrices side by side: counts above, shares of each row below.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, panels = new_panels(ax, 2, len(confusions), PAGE)
    axes = panels.reshape(2, -1)
    for column, (title, confusion) in zip(axes.T, confusions.items(), strict=True):
        plot_confusion_matrix(confusion, title, ax=column[0])
        plot_confusion_matrix(confusion, title, normalised=True, ax=column[1])
    _keep_outer_labels(axes)
    return fig, axes


def plot_confusion_difference(difference: pd.DataFrame, title: str = "", ax: Axes | None = None) -> tuple[Figure, Axes]:
    """The difference of two confusion matrices, cell by cell; white is none.

    Parameters
    ----------
    difference : pandas.DataFrame [shape=(10, 10)]
        Notes, or shares of each row (then written as percentage points).
    title : str
        Which matrix minus which.
    ax : Axes, optional
        Where to draw.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, ax = new_axes(ax, PAGE)
    values = difference.fillna(0).to_numpy()
    numbers = values if np.issubdtype(values.dtype, np.integer) else (100 * values).round().astype(int)
    _heat_map(
        ax, values, numbers, cmap=DIFFERENCE_COLOURS, norm=CenteredNorm(halfrange=max(np.abs(values).max(), 1e-9))
    )
    ax.set_title(title, fontsize=SMALL + 2)
    return fig, ax


def plot_recomputed_and_published(
    recomputed: pd.DataFrame, published: pd.DataFrame, published_other: pd.DataFrame, ax=None
) -> tuple[Figure, np.ndarray]:
    """The 2018 LSTM's confusion matrix recomputed and published, their difference, and the BLSTM's published one.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, axes = new_panels(ax, 2, 2, PAGE)
    plot_confusion_matrix(recomputed, "2018 LSTM, recomputed", ax=axes[0])
    plot_confusion_matrix(published, "2018 LSTM, published", ax=axes[1])
    plot_confusion_difference(recomputed - published, "2018 LSTM, recomputed minus published, notes", ax=axes[2])
    plot_confusion_matrix(published_other, "2018 BLSTM, published", ax=axes[3])
    _keep_outer_labels(axes)
    return fig, axes


def _heat_map(ax: Axes, colours: np.ndarray, numbers: np.ndarray, **scale) -> None:
    """Coloured cells with their numbers; zeros stay empty, so that the eye finds what is there, unless all are zero."""
    # Not seaborn.heatmap: it draws the whole figure once for each matrix.
    mesh = ax.pcolormesh(colours, edgecolors="0.9", linewidth=0.3, **scale)
    for (row, column), number in np.ndenumerate(numbers):
        if number or not numbers.any():
            luminance = np.dot(mesh.cmap(mesh.norm(colours[row, column]))[:3], LUMINANCE)
            colour = "white" if luminance < DARK else "black"
            ax.text(column + 0.5, row + 0.5, number, color=colour, fontsize=TINY, ha="center", va="center")
    plt.setp(ax.texts, in_layout=False)
    ax.grid(visible=False)
    ax.invert_yaxis()
    places = np.arange(len(FAMILIES)) + 0.5
    ax.set_xticks(places, FAMILIES, fontsize=SMALL, **SLANTED)
    ax.set_yticks(places, FAMILIES, fontsize=SMALL)
    ax.set_xlabel("predicted", fontsize=SMALL + 2)
    ax.set_ylabel("actual", fontsize=SMALL + 2)


def _keep_outer_labels(axes: np.ndarray) -> None:
    """Name the families only at the left and the lower edge of a grid of matrices."""
    for ax in axes.flat:
        ax.label_outer(remove_inner_ticks=True)


def plot_family_scores(scores: Mapping[str, pd.DataFrame], ax=None) -> tuple[Figure, np.ndarray]:
    """Recall (with Wilson's interval) and precision of each family, for each network.

    Parameters
    ----------
    scores : mapping of str to pandas.DataFrame
        From the name of the network to what `analysis.family_scores` returns.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, axes = new_panels(ax, 2, 1, PAGE, sharex=True)
    places = np.arange(len(FAMILIES))
    for number, (network, table) in enumerate(scores.items()):
        shift = _shift(number, len(scores), 0.5)
        style = {"color": f"C{number}", "marker": MARKERS[number], "linestyle": "none", "label": network}
        reach = _reach(table["recall"], table["recall_low"], table["recall_high"])
        axes[0].errorbar(places + shift, table["recall"], reach, elinewidth=1.5, **style)
        axes[1].plot(places + shift, table["precision"], **style)
    axes[0].set_ylabel("recall:\nshare of the family found")
    axes[1].set_ylabel("precision:\nshare of the answers right")
    for ax in axes:
        ax.set_ylim(-0.03, 1.03)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.set_xticks(places, FAMILIES)
    fig.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=len(scores))
    return fig, axes


def plot_accuracy_by(groupings: Mapping[str, Mapping[str, pd.DataFrame]], ax=None) -> tuple[Figure, np.ndarray]:
    """Accuracy of groups of notes with Wilson's interval: up to four groupings, any number of networks.

    Parameters
    ----------
    groupings : mapping of str to mapping of str to pandas.DataFrame
        From what the notes are grouped by (``source``, ``pitch (MIDI)`` ...) to network to what
        `analysis.accuracy_by` returns.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    rows, columns, size = (1, len(groupings), WIDE) if len(groupings) < 4 else (2, 2, PAGE)
    fig, axes = new_panels(ax, rows, columns, size, sharey=True)
    for ax, (by, tables) in zip(axes, groupings.items(), strict=False):
        groups = next(iter(tables.values())).index
        places = np.arange(len(groups))
        for number, (network, table) in enumerate(tables.items()):
            table = table.reindex(groups)
            style = {"color": f"C{number}", "marker": MARKERS[number], "linestyle": "none", "label": network}
            reach = _reach(table["accuracy"], table["low"], table["high"])
            ax.errorbar(places + _shift(number, len(tables), 0.4), table["accuracy"], reach, elinewidth=1.5, **style)
        notes = next(iter(tables.values()))["notes"]
        crowded = len(groups) > MOST_LEVEL_NAMES
        names = [f"{group}{' ' if crowded else chr(10)}({notes[group]:,})" for group in groups]
        ax.set_xticks(places, names, fontsize=SMALL, **(SLANTED if crowded else {}))
        ax.set(xlabel=f"{by} (notes)", xlim=(-0.6, len(groups) - 0.4), ylim=(-0.04, 1.04))
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for ax in axes[::columns]:
        ax.set_ylabel("test accuracy")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig, axes


def plot_confusion_changes(changes: Mapping[str, pd.DataFrame], ax=None) -> tuple[Figure, np.ndarray]:
    """How much more or less often pairs of families are confused in reversed notes, with intervals.

    Parameters
    ----------
    changes : mapping of str to pandas.DataFrame
        From network to the chosen rows of `analysis.confusion_changes`; the same pairs in the same order for each.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, axes = new_panels(ax, 1, len(changes), WIDE, sharey=True, sharex=True)
    for number, (ax, (network, table)) in enumerate(zip(axes, changes.items(), strict=True)):
        places = np.arange(len(table))[::-1]
        reach = _reach(table["difference"], table["low"], table["high"]) * 100
        style = {"color": f"C{number}", "marker": MARKERS[number], "linestyle": "none"}
        ax.errorbar(table["difference"] * 100, places, xerr=reach, elinewidth=1.5, **style)
        ax.axvline(0, color="0.4", linewidth=1)
        ax.set_yticks(places, table["actual"] + " → " + table["predicted"], fontsize=SMALL)
        ax.set(title=network, xlabel="reversed minus forward\n(percentage points of the true family's notes)")
        ax.xaxis.label.set_fontsize(SMALL + 1)
    return fig, axes


def plot_speed_and_accuracy(networks: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Training time against test accuracy, one point a network.

    Parameters
    ----------
    networks : pandas.DataFrame
        Indexed by network: ``seconds_per_epoch``, ``accuracy``, ``low``, ``high`` (fractions).
    ax : Axes, optional
        Where to draw.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, ax = new_axes(ax)
    for number, (network, row) in enumerate(networks.iterrows()):
        reach = [[row["accuracy"] - row["low"]], [row["high"] - row["accuracy"]]]
        style = {"color": f"C{number}", "marker": MARKERS[number], "linestyle": "none"}
        ax.errorbar(row["seconds_per_epoch"], row["accuracy"], reach, elinewidth=1.5, label=network, **style)
    ax.set(xscale="log", xlabel="training time of one epoch (s, logarithmic)", ylabel="test accuracy", ylim=(0, None))
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return fig, ax


def plot_gallery(
    chosen: pd.DataFrame, cached: NSynthSplit, families: Sequence[str] = FAMILIES[:5], ax=None
) -> tuple[Figure, np.ndarray]:
    """Two notes of each family, each as waveform and log-mel spectrogram; a column a family.

    Parameters
    ----------
    chosen : pandas.DataFrame
        What `analysis.extremes` or `analysis.nearest_and_farthest` returns.
    cached : NSynthSplit
        The split that the notes come from.
    families : sequence of str
        Up to five families: with more, the pictures grow too small to read.
    ax : sequence of Axes, optional
        Four for each family, row by row.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, panels = new_panels(ax, 4, len(families), PAGE)
    axes = panels.reshape(4, -1)
    for column, family in zip(axes.T, families, strict=True):
        notes = chosen[chosen["family"] == family].set_index("extreme")
        for number, extreme in enumerate(chosen["extreme"].unique()):
            pair = column[2 * number : 2 * number + 2]
            if extreme in notes.index:
                _draw_note(pair, notes.loc[extreme], cached)
            else:
                _draw_nothing(pair, f"no {family} note\nto show")
    _label_gallery(axes, families, chosen["extreme"].unique())
    return fig, axes


def _draw_note(pair: Sequence[Axes], note: pd.Series, cached: NSynthSplit) -> None:
    waveform = cached[note["note_str"]].audio
    plot_waveform(waveform, pair[0], family_colours()[note["family"]])
    plot_log_mel_spectrogram(waveform, pair[1], colour_bar=False)
    name = f"{note['instrument']}\npitch {note['pitch']}, velocity {note['velocity']}"
    pair[0].set_title(f"{name}\n{_verdict(note)}", fontsize=TINY, pad=3)
    pair[0].set(yticks=[])
    # Twenty waveforms and spectrograms on a page: flat colours without smoothed edges halve its bytes, and a layout
    # that need not measure them half its time.
    plt.setp(pair[0].lines, antialiased=False, in_layout=False)
    pair[1].collections[0].set_cmap(plt.get_cmap(SPECTRUM_COLOURS, GALLERY_LEVELS))
    pair[1].set(yticks=[512, 4096], yticklabels=["0.5", "4"])


def _verdict(note: pd.Series) -> str:
    """What the network said of a note, in a few words."""
    if note["correct"]:
        return f"probability {note['probability']:.2%}"
    return f"taken for {note['predicted']}, margin {note['margin']:.2g}"


def _draw_nothing(pair: Sequence[Axes], sentence: str) -> None:
    pair[0].text(0.5, 0.5, sentence, ha="center", va="center", fontsize=SMALL, transform=pair[0].transAxes)
    for ax in pair:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)


def _label_gallery(axes: np.ndarray, families: Sequence[str], extremes: Sequence[str]) -> None:
    """Units at the edges alone: a gallery has no room for more."""
    for ax in axes.flat:
        ax.set(xlabel="", ylabel="")
        ax.tick_params(labelsize=TINY, pad=1)
    for ax in axes[:-1].flat:
        ax.tick_params(labelbottom=False)
    for number, extreme in enumerate(extremes):
        axes[2 * number, 0].set_ylabel(f"{extreme}\namplitude", fontsize=SMALL)
        axes[2 * number + 1, 0].set_ylabel("kHz (mel)", fontsize=SMALL)
    for ax, family in zip(axes[-1], families, strict=True):
        ax.set_xlabel(f"{family}, time (s)", fontsize=SMALL)


def _shift(number: int, count: int, width: float) -> float:
    """Where the mark of one of several networks stands beside the middle of its group."""
    return (number - (count - 1) / 2) * width / max(count, 1)


def _reach(values, low, high) -> np.ndarray:
    """Lengths of error bars below and above; never negative, whatever rounding did."""
    return np.clip([np.asarray(values) - low, np.asarray(high) - values], 0, None)
