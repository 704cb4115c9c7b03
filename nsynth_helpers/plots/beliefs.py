"""Figures of what grows with time: belief while a note is heard, over-confidence, and which epoch to keep."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nsynth_helpers.analysis.beliefs import decision_step
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.plots.style import LINE_STYLES, MARKERS, PAGE, WIDE, family_colours, new_panels, plot_waveform

STEP_SECONDS = 0.01
SMALL = 8
# A family that never comes above this probability is drawn in grey.
WORTH_A_NAME = 0.15


def plot_reliability(diagrams: Mapping[str, Mapping[str, pd.DataFrame]], ax=None) -> tuple[Figure, np.ndarray]:
    """Reliability diagrams: how often a network is right against how sure it was; the diagonal is honest.

    Parameters
    ----------
    diagrams : mapping of str to mapping of str to pandas.DataFrame
        From the title of a panel to a name (``before``, ``after``) to what `calibration.reliability_table` returns.
    ax : sequence of Axes, optional
        One for each diagram.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, axes = new_panels(ax, 1, len(diagrams), WIDE, sharex=True, sharey=True)
    for panel, (title, tables) in zip(axes, diagrams.items(), strict=True):
        panel.plot([0, 1], [0, 1], color="0.5", linewidth=1, linestyle=":")
        for number, (name, table) in enumerate(tables.items()):
            _draw_reliability(panel, table.dropna(), name, number)
        panel.set(title=title, xlabel="mean probability of the answer", xlim=(-0.03, 1.03), ylim=(-0.04, 1.04))
        panel.title.set_fontsize("medium")
        panel.set_xticks(np.linspace(0, 1, 6))
        panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes[0].set_ylabel("share right")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=SMALL)
    return fig, axes


def _draw_reliability(ax: Axes, table: pd.DataFrame, name: str, number: int) -> None:
    """One curve; its bins without notes have been left out."""
    reach = np.clip([table["accuracy"] - table["low"], table["high"] - table["accuracy"]], 0, None)
    style = {"color": f"C{number}", "marker": MARKERS[number], "markersize": 5, "linestyle": "none"}
    ax.plot(table["probability"], table["accuracy"], color=f"C{number}", linestyle=LINE_STYLES[number], alpha=0.4)
    ax.errorbar(table["probability"], table["accuracy"], reach, elinewidth=1, label=name, **style)


def plot_checkpoints(
    histories: Mapping[str, pd.DataFrame], rules: Mapping[str, pd.DataFrame], ax=None
) -> tuple[Figure, np.ndarray]:
    """Loss and accuracy by epoch, and where each rule of choosing a model stops.

    Parameters
    ----------
    histories : mapping of str to pandas.DataFrame
        From network to ``epoch``, and ``<split>_loss`` and ``<split>_accuracy`` (fraction) of train, valid and, where
        known, test.
    rules : mapping of str to pandas.DataFrame
        From network to what `checkpoints.checkpoint_rules` returns.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, panels = new_panels(ax, 2, len(histories), PAGE, sharex="col", sharey="row")
    axes = panels.reshape(2, -1)
    for column, (network, history) in zip(axes.T, histories.items(), strict=True):
        for ax, figure in zip(column, ("loss", "accuracy"), strict=True):
            _draw_curves(ax, history, figure)
            _mark_rules(ax, rules[network], history, figure)
        column[0].set_title(network)
        column[1].set_xlabel("epoch")
        column[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        column[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel("cross-entropy loss")
    axes[1, 0].set_ylabel("accuracy")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=SMALL)
    return fig, axes


def _draw_curves(ax: Axes, history: pd.DataFrame, figure: str) -> None:
    """The curve of each split that the history knows."""
    for number, split in enumerate(("train", "valid", "test")):
        if f"{split}_{figure}" in history:
            style = {"color": f"C{number}", "linestyle": LINE_STYLES[number]}
            ax.plot(history["epoch"], history[f"{split}_{figure}"], label=split, **style)


def _mark_rules(ax: Axes, rules: pd.DataFrame, history: pd.DataFrame, figure: str) -> None:
    """A marker on the valid curve for each rule; nested sizes, since two rules may choose one epoch."""
    values = history.set_index("epoch")[f"valid_{figure}"]
    for number, row in enumerate(rules.itertuples()):
        style = {"marker": MARKERS[number], "markersize": 16 - 4 * number, "markerfacecolor": "none"}
        style |= {"linestyle": "none", "color": "black", "markeredgewidth": 1.5}
        ax.plot(row.epoch, values[row.epoch], label=row.rule, **style)


def plot_note_beliefs(beliefs: Mapping[str, Mapping[str, np.ndarray]], ax=None) -> tuple[Figure, np.ndarray]:
    """The probability of each family while single notes are heard: one row of axes a network, one column a note.

    Parameters
    ----------
    beliefs : mapping of str to mapping of str to np.ndarray [shape=(steps, families)]
        From network to note_str to the beliefs of that note.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    columns = len(next(iter(beliefs.values())))
    fig, panels = new_panels(ax, len(beliefs), columns, PAGE, sharex=True, sharey=True)
    axes = panels.reshape(len(beliefs), -1)
    for row, (network, notes) in zip(axes, beliefs.items(), strict=True):
        for ax, (note_str, belief) in zip(row, notes.items(), strict=True):
            _draw_belief(ax, belief)
            ax.set_title(note_str, fontsize=SMALL + 1)
        row[0].set_ylabel(f"{network}\nprobability")
    for ax in axes[-1]:
        ax.set_xlabel("time in the note (s)")
    handles = dict(zip(*reversed(_named(axes)), strict=True))
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=10, fontsize=SMALL)
    return fig, axes


def _named(axes: np.ndarray) -> tuple[list, list]:
    """Handles and names of all axes, in the families' order."""
    pairs = [pair for ax in axes.flat for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
    pairs.sort(key=lambda pair: FAMILIES.index(pair[1]))
    return [handle for handle, _ in pairs], [name for _, name in pairs]


def _draw_belief(ax: Axes, belief: np.ndarray) -> None:
    colours = family_colours()
    times = _times(len(belief))
    for number, family in enumerate(FAMILIES):
        style = {"color": "0.85", "linewidth": 1, "zorder": 1}
        if belief[:, number].max() > WORTH_A_NAME:
            style = {"color": colours[family], "linestyle": LINE_STYLES[number % len(LINE_STYLES)], "label": family}
        ax.plot(times, belief[:, number], **style)
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def plot_average_beliefs(averages: Mapping[str, pd.DataFrame], ax=None) -> tuple[Figure, np.ndarray]:
    """The mean probability of the true family while its notes are heard, one panel a family, one line a network.

    Parameters
    ----------
    averages : mapping of str to pandas.DataFrame
        From network to what `beliefs.average_belief` returns.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, axes = new_panels(ax, 2, 5, PAGE, sharex=True, sharey=True)
    for ax, family in zip(axes, FAMILIES, strict=True):
        for number, (network, average) in enumerate(averages.items()):
            style = {"color": f"C{number}", "linestyle": LINE_STYLES[number], "label": network}
            ax.plot(_times(len(average)), average[family], **style)
        ax.axhline(1 / len(FAMILIES), color="0.5", linewidth=1, linestyle=":")
        ax.set_title(family)
        ax.set_ylim(0, 1)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    fig.supxlabel("time in the note (s)", fontsize="medium")
    fig.supylabel("mean probability of the true family", fontsize="medium")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(averages))
    return fig, axes


def plot_decisions(
    beliefs: Mapping[str, np.ndarray], accuracies: Mapping[str, pd.Series], ax=None
) -> tuple[Figure, np.ndarray]:
    """When the networks make up their minds, and how often they are right by then.

    Parameters
    ----------
    beliefs : mapping of str to np.ndarray [shape=(notes, steps, families)]
        From network to what `beliefs.belief_over_time` returns.
    accuracies : mapping of str to pandas.Series
        From a name to accuracies indexed by step (from 1); a series of few steps is drawn with markers.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    fig, axes = new_panels(ax, 1, 2, WIDE)
    for number, (network, belief) in enumerate(beliefs.items()):
        steps = belief.shape[1]
        decided = np.bincount(decision_step(belief), minlength=steps + 1)[1:].cumsum() / len(belief)
        axes[0].step(
            _times(steps), decided, where="post", color=f"C{number}", linestyle=LINE_STYLES[number], label=network
        )
    for number, (name, accuracy) in enumerate(accuracies.items()):
        marker = MARKERS[number] if len(accuracy) < 20 else None
        style = {"color": f"C{number}", "linestyle": LINE_STYLES[number], "marker": marker, "label": name}
        axes[1].plot(accuracy.index * STEP_SECONDS, accuracy, **style)
    axes[0].set(xlabel="time in the note (s)", ylabel="notes decided for good")
    axes[1].set(xlabel="time in the note (s)", ylabel="accuracy of the answer")
    for ax in axes:
        ax.set_ylim(0, 1)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.legend(fontsize=SMALL)
    return fig, axes


def plot_answer(
    probabilities: np.ndarray, actual: str, waveform: np.ndarray | None = None, ax=None
) -> tuple[Figure, np.ndarray]:
    """What a network says of one note: its waveform, and the probability of each family.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(families,)]
        In the order of `notes.FAMILIES`.
    actual : str
        The true family.
    waveform : np.ndarray [shape=(samples,)], int16, 16 kHz, optional
        The note; without it a sentence stands in its place.
    ax : sequence of Axes, optional
        Two of them.

    Notes
    -----
    Used in: 04_result_analysis, also in the confusion browser.
    """
    fig, panels = new_panels(ax, 1, 2, WIDE)
    if waveform is None:
        panels[0].text(0.5, 0.5, "The audio of this note is not at hand.", ha="center", transform=panels[0].transAxes)
        panels[0].set_axis_off()
    else:
        plot_waveform(waveform, panels[0], family_colours()[actual])
    colours = [family_colours()[family] for family in FAMILIES]
    bars = panels[1].barh(FAMILIES, probabilities, color=colours)
    panels[1].bar_label(bars, [f"{value:.1%}" for value in probabilities], fontsize=SMALL, padding=2)
    panels[1].set(xlim=(0, 1.15), xlabel="probability")
    panels[1].set_yticks(range(len(FAMILIES)), [f"{name} (true)" if name == actual else name for name in FAMILIES])
    panels[1].get_yticklabels()[FAMILIES.index(actual)].set_fontweight("bold")
    panels[1].set_xticks(np.linspace(0, 1, 6))
    panels[1].xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panels[1].invert_yaxis()
    return fig, panels


def _times(steps: int) -> np.ndarray:
    """The moment at which each step ends, in seconds."""
    return np.arange(1, steps + 1) * STEP_SECONDS
