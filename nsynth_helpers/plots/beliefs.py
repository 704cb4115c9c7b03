"""Figures over the time of a note: belief of single notes and of families, decisions, saliency."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE, STEP_SIZE, parse_note_str
from nsynth_helpers.plots.style import (
    FAMILY_COLOURS,
    MARKERS,
    PAGE,
    SMALL,
    WIDE,
    in_percent,
    legend_below,
    line_style,
    new_axes,
)

STEP_SECONDS = STEP_SIZE / SAMPLE_RATE
# Of the families of a note's panel, so many are coloured: the true one, the likeliest at the end, and those with the
# highest peaks above this probability.
MOST_FAMILIES, LIKELIEST, WORTH_A_NAME = 6, 3, 0.15
THICK, REST = 2.6, {"color": "0.6", "linewidth": 0.8}
# Saliency below this is drawn as if it were this; no path at all is drawn grey.
FAINTEST_SALIENCY = 1e-9
# A curve of fewer points has its points marked.
FEW_POINTS = 20


def plot_note_beliefs(
    beliefs: Mapping[str, Mapping[str, np.ndarray]], step_seconds: float = STEP_SECONDS
) -> tuple[Figure, np.ndarray]:
    """The probability of each family while single notes are heard: one row of axes a network, one column a note.

    ``beliefs`` goes from network to note_str to an array of shape (steps, 10), a step being `step_seconds` long. A
    panel colours the true family, the three likeliest at the end and those with the highest peaks, six at most; the
    rest is grey.
    """
    columns, size = len(next(iter(beliefs.values()))), WIDE if len(beliefs) == 1 else PAGE
    fig, axes = plt.subplots(len(beliefs), columns, figsize=size, squeeze=False, sharex=True, sharey=True)
    for row, (network, notes) in zip(axes, beliefs.items(), strict=True):
        for panel, (note_str, belief) in zip(row, notes.items(), strict=True):
            _draw_belief(panel, belief, parse_note_str(note_str)["family"], step_seconds)
            instrument, pitch, velocity = note_str.split("-")
            panel.set_title(f"{instrument}\npitch {int(pitch)}, velocity {int(velocity)}", fontsize=SMALL)
        row[0].set_ylabel(f"{network}\nprobability" if len(beliefs) > 1 else "probability")
    for panel in axes[-1]:
        panel.set_xlabel("time in the note (s)")
    named = {name for panel in axes.flat for name in panel.get_legend_handles_labels()[1]}
    key = {name: Line2D([], [], **_family_line(name)) for name in FAMILIES if name in named}
    key["all others"] = Line2D([], [], **REST)
    key["thick: the true family"] = Line2D([], [], color="0.2", linewidth=THICK)
    legend_below(fig, [], columns=6, more=key)
    return fig, axes


def _family_line(family: str) -> dict:
    return line_style(FAMILIES.index(family)) | {"color": FAMILY_COLOURS[family], "linewidth": 1.3}


def _draw_belief(ax: Axes, belief: np.ndarray, family: str, step_seconds: float) -> None:
    peaks = belief.max(axis=0)
    true = FAMILIES.index(family)
    high = [number for number in np.argsort(-peaks) if peaks[number] > WORTH_A_NAME]
    coloured = list(dict.fromkeys([true, *np.argsort(-belief[-1])[:LIKELIEST], *high]))[:MOST_FAMILIES]
    times = np.arange(1, len(belief) + 1) * step_seconds
    for number, name in enumerate(FAMILIES):
        look = REST | {"zorder": 1}
        if number in coloured:
            look = _family_line(name) | {"linewidth": THICK if number == true else 1.3}
        ax.plot(times, belief[:, number], label=name if number in coloured else None, **look)
    ax.set_ylim(0, 1)
    in_percent(ax.yaxis)


def plot_average_beliefs(averages: Mapping[str, pd.DataFrame]) -> tuple[Figure, np.ndarray]:
    """The mean probability of the true family while its notes are heard, one panel a family, one line a network.

    ``averages`` goes from network to one row a step (from 1) and one column a family.
    """
    fig, axes = plt.subplots(2, 5, figsize=PAGE, sharex=True, sharey=True)
    for panel, family in zip(axes.flat, FAMILIES, strict=True):
        for number, (network, average) in enumerate(averages.items()):
            panel.plot(average.index * STEP_SECONDS, average[family], label=network, **line_style(number))
        panel.axhline(1 / len(FAMILIES), color="0.4", linewidth=1, linestyle=":", label="knowing nothing")
        panel.set(title=family, ylim=(0, 1))
        in_percent(panel.yaxis)
    for panel in axes[1]:
        panel.set_xlabel("time (s)")
    fig.supylabel("mean probability of the true family", fontsize=SMALL)
    legend_below(fig, axes)
    return fig, axes


def plot_decisions(
    decisions: Mapping[str, np.ndarray], accuracies: Mapping[str, pd.Series]
) -> tuple[Figure, np.ndarray]:
    """When networks make up their minds, and how often they are right at each moment.

    ``decisions`` goes from network to the step at which each note was decided, shape (notes,);
    ``accuracies`` from a name to fractions indexed by step (from 1).
    """
    fig, axes = plt.subplots(1, 2, figsize=WIDE, sharex=True, sharey=True)
    for number, (network, steps) in enumerate(decisions.items()):
        axes[0].ecdf(np.asarray(steps) * STEP_SECONDS, label=network, **line_style(number))
    for number, (name, accuracy) in enumerate(accuracies.items()):
        marker = MARKERS[number] if len(accuracy) < FEW_POINTS else None
        axes[1].plot(accuracy.index * STEP_SECONDS, accuracy, marker=marker, label=name, **line_style(number))
    axes[0].set(ylabel="notes decided for good", title="decided by then", ylim=(0, 1))
    axes[1].set(ylabel="accuracy of the answer", title="right at that moment")
    for panel in axes:
        panel.set_xlabel("time in the note (s)")
        in_percent(panel.yaxis)
    legend_below(fig, axes)
    return fig, axes


def plot_saliency(saliency: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """How strongly each frame (columns) moves each layer and direction (rows) at the last step; grey: no path leads.

    ``saliency`` is what `analysis.saliency` gives, the lowest layer first.
    """
    fig, ax = new_axes(ax)
    shown = np.ma.masked_equal(saliency.iloc[::-1].to_numpy(), 0)
    faintest = max(float(shown.min()), FAINTEST_SALIENCY)
    colours = LogNorm(faintest, max(float(shown.max()), 10 * faintest), clip=True)
    extent = (0.5, len(saliency.columns) + 0.5, 0, len(saliency))
    ax.set_facecolor("0.85")
    image = ax.imshow(shown, cmap="viridis", norm=colours, aspect="auto", extent=extent, interpolation="nearest")
    ax.set_yticks(np.arange(len(saliency)) + 0.5, saliency.index)
    ax.set(xlabel="frame (10 ms each)", ylabel="output at the last step")
    ax.grid(False)
    for border in range(1, len(saliency)):
        ax.axhline(border, color="white", lw=2)
    fig.colorbar(image, ax=ax, label="saliency (RMS derivative)", extend="min")
    if shown.mask.any():
        legend_below(fig, [], more={"no path: exactly 0": Patch(facecolor="0.85", edgecolor="0.6")})
    return fig, ax
