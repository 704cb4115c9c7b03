"""Figures of training: learning curves, which epoch each rule of model selection keeps."""

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from nsynth_helpers.analysis.tables import epochs
from nsynth_helpers.data.metadata import FAMILIES, SPLITS
from nsynth_helpers.plots.style import (
    COLOURS,
    LINE_STYLES,
    MARKERS,
    PAGE,
    WIDE,
    count_epochs,
    in_percent,
    legend_below,
    line_style,
)

LEVELS = {"loss": math.log(len(FAMILIES)), "accuracy": 1 / len(FAMILIES)}
LABELS = {"loss": "cross-entropy (nats)", "accuracy": "accuracy"}
# Marks of rules that choose one epoch stand above each other, so far apart (inches).
STEP_UP = 0.13


def plot_learning_curves(histories: Mapping[str, pd.DataFrame]) -> tuple[Figure, np.ndarray]:
    """Loss and accuracy by epoch on train and valid, the epoch of the lowest valid loss ringed.

    ``histories`` goes from a name to ``epoch``, ``train_loss``, ``valid_loss``, ``train_accuracy``,
    ``valid_accuracy`` (fractions), as `Run.history` or `published.history`. Dotted lines show where a network begins
    that knows nothing: a loss of ln 10, an accuracy of 10 %.
    """
    fig, axes = plt.subplots(1, 2, figsize=WIDE)
    for panel, measure in zip(axes, LABELS, strict=True):
        for number, history in enumerate(histories.values()):
            look = {"color": COLOURS[number], "marker": MARKERS[number], "markersize": 4}
            for split, style in (("train", {"linestyle": LINE_STYLES[1], "markerfacecolor": "white"}), ("valid", {})):
                panel.plot(history["epoch"], history[f"{split}_{measure}"], **look, **style)
            best = history.loc[history["valid_loss"].idxmin()]
            panel.plot(best["epoch"], best[f"valid_{measure}"], "o", ms=12, mfc="none", mec="black", mew=1.4, zorder=4)
        panel.axhline(LEVELS[measure], color="0.45", linestyle=":", zorder=1)
        count_epochs(panel, max(history["epoch"].max() for history in histories.values()))
        panel.set_ylabel(LABELS[measure])
    axes[0].set_ylim(0, None)
    axes[1].set_ylim(0, 1)
    in_percent(axes[1].yaxis)
    plain = {"color": "0.2", "markersize": 4.5, "marker": "o"}
    key = {
        f"{name}, {epochs(len(history))}": Line2D([], [], color=COLOURS[n], marker=MARKERS[n], linestyle="none")
        for n, (name, history) in enumerate(histories.items())
    } | {
        "train": Line2D([], [], linestyle=LINE_STYLES[1], markerfacecolor="white", **plain),
        "valid": Line2D([], [], linestyle=LINE_STYLES[0], **plain),
        "lowest valid loss": Line2D([], [], linestyle="none", marker="o", ms=11, mfc="none", mec="black"),
        "knowing nothing": Line2D([], [], color="0.45", linestyle=":"),
    }
    legend_below(fig, [], columns=3, more=key)
    return fig, axes


def plot_model_selection(
    histories: Mapping[str, pd.DataFrame], selections: Mapping[str, pd.DataFrame]
) -> tuple[Figure, np.ndarray]:
    """Loss and accuracy by epoch on each split, and the epoch that each rule keeps; a column of axes a network.

    By network, ``histories`` have ``epoch``, and ``<split>_loss`` and ``<split>_accuracy`` (fraction) of the splits
    that are known; ``selections`` have ``rule`` and ``epoch``.
    """
    fig, axes = plt.subplots(2, len(histories), figsize=PAGE, squeeze=False, sharex="col", sharey="row")
    for column, (network, history) in zip(axes.T, histories.items(), strict=True):
        for panel, measure in zip(column, LABELS, strict=True):
            for number, split in enumerate(SPLITS):
                if f"{split}_{measure}" in history:
                    panel.plot(history["epoch"], history[f"{split}_{measure}"], label=split, **line_style(number))
            _mark_rules(panel, selections[network], history.set_index("epoch")[f"valid_{measure}"])
        column[0].set_title(f"{network}\n{epochs(len(history))}")
        count_epochs(column[1], history["epoch"].max())
    for panel, label in zip(axes[:, 0], LABELS.values(), strict=True):
        panel.set_ylabel(label)
        panel.margins(y=0.12)
    in_percent(axes[1, 0].yaxis)
    legend_below(fig, axes)
    return fig, axes


def _mark_rules(ax: Axes, selection: pd.DataFrame, valid: pd.Series) -> None:
    """A mark for each rule above the valid curve, with a line down to it; rules that agree stand in a pile."""
    pile = selection.groupby("epoch", sort=False).cumcount() + 1
    for number, (rule, epoch, height) in enumerate(zip(selection["rule"], selection["epoch"], pile, strict=True)):
        up = ax.transData + ScaledTranslation(0, STEP_UP * height, ax.figure.dpi_scale_trans)
        look = {"color": COLOURS[3 + number], "markeredgecolor": "black", "markersize": 7, "linestyle": "none"}
        ax.plot(epoch, valid[epoch], MARKERS[number], transform=up, label=rule, clip_on=False, zorder=5, **look)
        ax.plot(epoch, valid[epoch], ".", color="black", zorder=4)
