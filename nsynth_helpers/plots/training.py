"""Figures of the recurrent networks: diagrams, learning curves, times, an answer, and what the last step knows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch, Polygon
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE
from nsynth_helpers.models import RecurrentClassifier, count_parameters
from nsynth_helpers.plots.style import LINE_STYLES, MARKERS, PAGE, WIDE, family_colours, new_axes, new_panels
from nsynth_helpers.settings import InputError
from nsynth_helpers.training.runs import best_epoch

WIRE = "0.4"
MOST_LAYERS = 4
# Influences below this are drawn as if they were this; no path at all is drawn grey.
FAINTEST_INFLUENCE = 1e-9


def plot_network(network: RecurrentClassifier, steps: int = 100, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Draw a recurrent network unrolled over its time steps: layers, directions, readout and shapes.

    Parameters
    ----------
    network : RecurrentClassifier
        A network of at most four layers that reads the last step.
    steps : int
        Frames of a note, at least 4.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure of size `PAGE` by default.

    Raises
    ------
    InputError
        If the network has another readout or more layers, or there are fewer steps.

    Notes
    -----
    Used in: 02_lstm_training, 03_blstm_training.
    """
    if network.readout != "last" or network.rnn.num_layers > MOST_LAYERS or steps < 4:
        raise InputError(
            f"This network reads '{network.readout}' of {steps} steps in {network.rnn.num_layers} layers; draw one "
            f"that reads the last of at least 4 steps in at most {MOST_LAYERS} layers."
        )
    fig, ax = new_axes(ax, PAGE)
    ax.set(xlim=(0, 100), ylim=(0, 72))
    ax.axis("off")
    _Diagram(network, steps, ax).draw()
    return fig, ax


class _Diagram:
    """The drawing of one network, on a plane of 100 by 72.

    Each layer is a band. Its wires enter at the bottom of the band and leave at its top, so that a layer need not
    know what lies below or above it.
    """

    COLUMNS, GAP = (22.0, 34.0, 54.0, 66.0), 44.0
    FIRST_ZERO, LAST_ZERO = 13.5, 74.5
    FRAMES, BANDS = 5.8, (8.0, 62.0)
    LINEAR, LOGITS = (80.0, 86.0), 94.0

    def __init__(self, network: RecurrentClassifier, steps: int, ax: Axes):
        self.network, self.rnn, self.steps, self.ax = network, network.rnn, steps, ax
        self.cell = self.rnn.mode.split("_")[0]
        self.both = self.rnn.bidirectional
        self.band = (self.BANDS[1] - self.BANDS[0]) / self.rnn.num_layers
        self.size = (5.0, self.band * 0.28) if self.both else (9.0, self.band * 0.42)
        self.forward, self.backward, self.linear, *_ = sns.color_palette("colorblind")

    def draw(self) -> None:
        title = f"{'B' if self.both else ''}{self.cell}: {count_parameters(self.network):,} parameters"
        self._text(0, 70, title, size=15, weight="bold", ha="left")
        self._frames()
        for layer in range(self.rnn.num_layers):
            self._layer(layer)
        self._readout()
        self._key()

    def _frames(self) -> None:
        milliseconds = 1000 * self.rnn.input_size / SAMPLE_RATE
        self._side_note(self.FRAMES, "frames", self.rnn.input_size)
        for column, number in zip(self.COLUMNS, self._step_numbers(), strict=True):
            self._box(column, self.FRAMES, (9.0, 4.0), f"$x_{{{number}}}$", WIRE)
            span = f"{milliseconds * (number - 1):g} to {milliseconds * number:g} ms"
            self._text(column, 2.2, span, size=9, color=WIRE)
        self._dots(self.FRAMES)

    def _step_numbers(self) -> tuple[int, ...]:
        return (1, 2, self.steps - 1, self.steps)

    def _layer(self, layer: int) -> None:
        bottom = self.BANDS[0] + layer * self.band
        self._side_note(bottom + self.band * 0.5, f"layer {layer + 1}", self.network.out.in_features)
        if self.both:
            self._direction(bottom, 0.36, -2.8, self.forward, backwards=False)
            self._direction(bottom, 0.70, 2.8, self.backward, backwards=True)
        else:
            self._direction(bottom, 0.5, 0, self.forward, backwards=False)

    def _direction(self, bottom: float, height: float, shift: float, colour, backwards: bool) -> None:
        """One direction of one layer: a cell at each step, from zero states along the chain."""
        y, (width, tall) = bottom + height * self.band, self.size
        arrow = "←" if backwards else "→"
        for column in self.COLUMNS:
            x = column + shift
            self._wire([(column, bottom), (x, y - tall / 2)])
            self._wire([(x, y + tall / 2), (column, bottom + self.band)], arrow=False)
            self._box(x, y, self.size, arrow if self.both else f"{self.cell} {arrow}", colour)
        places = [self.FIRST_ZERO, *(column + shift for column in self.COLUMNS)]
        if backwards:
            places = [self.LAST_ZERO, *reversed(places[1:])]
        ahead = -width / 2 if backwards else width / 2
        self._wire([(places[0], y), (places[1] - ahead, y)], colour)
        for start, end in pairwise(places[1:]):
            self._wire([(start + ahead, y), (end - ahead, y)], colour)
        self._text(places[0], y, "0", size=9, box={"boxstyle": "circle,pad=0.3", "fc": "white", "ec": colour})
        self._dots(y)

    def _readout(self) -> None:
        """From the top layer's last step through the linear layer to the logits."""
        top, width = self.BANDS[1], self.network.out.in_features
        for column in self.COLUMNS[:-1]:
            self._wire([(column, top), (column, top + 1.6)], "0.75")
        self._text(self.GAP, top + 3.2, "only the last step is read", size=9, color=WIRE, style="italic")
        left, right = self.LINEAR
        middle, last = 36, self.COLUMNS[-1]
        self._wire([(last, top), (last, top + 2.5), (77.5, top + 2.5), (77.5, middle), (left, middle)], self.linear)
        self._text(78, top + 4.4, f"last step: (batch, {width})", size=9)
        corners = [(left, middle - 8), (right, 13), (right, 61), (left, middle + 8)]
        self.ax.add_patch(Polygon(corners, fc=_lighten(self.linear), ec=self.linear, lw=1.5))
        self._text((left + right) / 2, middle, f"Linear({width}, {len(FAMILIES)})", size=11, rotation=90)
        colours = family_colours()
        for place, family in enumerate(FAMILIES):
            self._box(self.LOGITS, 59 - 4.9 * place, (11.0, 3.6), family, colours[family])
        self._text(self.LOGITS, 10.4, f"logits: (batch, {len(FAMILIES)})", size=9)

    def _key(self) -> None:
        """What the colours and the zeros mean."""
        lines = [("→ reads from the note's start", self.forward), ("0: states begin at zero", WIRE)]
        if self.both:
            lines.insert(1, ("← reads from the note's end", self.backward))
        for place, (text, colour) in enumerate(lines):
            self._text(78, 6.2 - 2.4 * place, text, size=9, color=colour, ha="left")

    def _side_note(self, y: float, name: str, width: int) -> None:
        self._text(0, y + 1.2, name, weight="bold", ha="left")
        self._text(0, y - 1.2, f"(batch, {self.steps}, {width})", size=8, ha="left", color=WIRE)

    def _box(self, x: float, y: float, size: tuple[float, float], text: str, colour) -> None:
        width, height = size
        corner, shape = (x - width / 2, y - height / 2), "round,pad=0,rounding_size=0.8"
        box = FancyBboxPatch(corner, width, height, shape, fc=_lighten(colour), ec=colour, lw=1.5, zorder=3)
        self.ax.add_patch(box)
        self._text(x, y, text)

    def _wire(self, points: Sequence[tuple[float, float]], colour=WIRE, arrow: bool = True) -> None:
        """A line through the points; the arrow's head is at the last."""
        if len(points) > 2 or not arrow:
            self.ax.plot(*zip(*points, strict=True), color=colour, lw=1.3, snap=False, zorder=2)
        if arrow:
            look = {"arrowstyle": "-|>,head_width=0.22,head_length=0.4", "color": colour, "lw": 1.3}
            self.ax.annotate("", points[-1], points[-2], arrowprops=look | {"shrinkA": 0, "shrinkB": 0}, zorder=2)

    def _dots(self, y: float) -> None:
        self._text(self.GAP, y, "· · ·", size=14, box={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none"})

    def _text(self, x: float, y: float, text: str, size: int = 11, ha: str = "center", box=None, **look) -> None:
        self.ax.text(x, y, text, fontsize=size, ha=ha, va="center", bbox=box, zorder=4, **look)


def _lighten(colour, share: float = 0.8) -> tuple[float, float, float]:
    return tuple(sns.blend_palette([colour, "white"], 101)[round(100 * share)])


def plot_learning_curves(histories: Mapping[str, pd.DataFrame], ax=None) -> tuple[Figure, np.ndarray]:
    """Draw loss and accuracy by epoch on train and valid, the epoch of the lowest valid loss ringed.

    Parameters
    ----------
    histories : mapping of str to pandas.DataFrame
        A name for the legend, which says network and data, and what `Run.history` or `published.history` gives.
    ax : sequence of two matplotlib.axes.Axes, optional
        For loss and for accuracy; a new figure of size `WIDE` by default.

    Returns
    -------
    fig : matplotlib.figure.Figure
    axes : numpy.ndarray [shape=(2,)] of matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there is no history.

    Notes
    -----
    Grey lines show where a network begins that knows nothing: a loss of ln 10 and an accuracy of 10 %.

    Used in: 02_lstm_training, 03_blstm_training.
    """
    if not histories:
        raise InputError("There are no histories to draw; give at least one.")
    fig, axes = new_panels(ax, 1, 2, WIDE)
    for place, history in enumerate(histories.values()):
        _curves_of_one_run(history, axes, f"C{place}", MARKERS[place])
    unknowing = (math.log(len(FAMILIES)), 1 / len(FAMILIES))
    for ax, level in zip(axes, unknowing, strict=True):
        ax.axhline(level, color="0.55", linestyle=":", zorder=1)
        _count_epochs(ax, histories)
    axes[0].set(ylabel="cross-entropy (nats)", ylim=(0, None))
    axes[1].set(ylabel="accuracy", ylim=(0, 1))
    axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    fig.legend(handles=_curve_legend(histories), loc="outside lower center", ncols=3, frameon=False)
    return fig, axes


def _count_epochs(ax: Axes, histories: Mapping[str, pd.DataFrame]) -> None:
    """Mark whole epochs on the axis, also where there is but one."""
    last = max(history["epoch"].max() for history in histories.values())
    ax.set(xlabel="epoch", xlim=(0.3, last + 0.7))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _curves_of_one_run(history: pd.DataFrame, axes, colour: str, marker: str) -> None:
    best = best_epoch(history)
    for ax, measure in zip(axes, ("loss", "accuracy"), strict=True):
        for split, line_style, filled in (("train", LINE_STYLES[1], False), ("valid", LINE_STYLES[0], True)):
            ax.plot(
                history["epoch"],
                history[f"{split}_{measure}"],
                color=colour,
                linestyle=line_style,
                marker=marker,
                markersize=4.5,
                markerfacecolor=colour if filled else "white",
            )
        ax.plot(best["epoch"], best[f"valid_{measure}"], "o", ms=13, mfc="none", mec="black", mew=1.4, zorder=4)


def _curve_legend(histories: Mapping[str, pd.DataFrame]) -> list[Line2D]:
    names = [
        Line2D([], [], color=f"C{place}", marker=MARKERS[place], linestyle="none", label=name)
        for place, name in enumerate(histories)
    ]
    plain = {"color": "0.2", "markeredgecolor": "0.2", "markersize": 4.5}
    return [
        *names,
        Line2D([], [], linestyle=LINE_STYLES[1], marker="o", markerfacecolor="white", label="train", **plain),
        Line2D([], [], linestyle=LINE_STYLES[0], marker="o", label="valid", **plain),
        Line2D([], [], linestyle="none", marker="o", ms=11, mfc="none", mec="black", label="lowest valid loss"),
        Line2D([], [], color="0.55", linestyle=":", label="knowing nothing"),
    ]


def plot_training_times(
    histories: Mapping[str, pd.DataFrame], ratios: Mapping[str, float], ax=None
) -> tuple[Figure, np.ndarray]:
    """Draw the seconds of each epoch, and how many times as long as the LSTM the BLSTM took.

    Parameters
    ----------
    histories : mapping of str to pandas.DataFrame
        A name for the legend, and a history with ``seconds``.
    ratios : mapping of str to float
        Where it was measured, and the BLSTM's time divided by the LSTM's.
    ax : sequence of two matplotlib.axes.Axes, optional
        A new figure of size `WIDE` by default.

    Returns
    -------
    fig : matplotlib.figure.Figure
    axes : numpy.ndarray [shape=(2,)] of matplotlib.axes.Axes

    Notes
    -----
    Used in: 03_blstm_training.
    """
    fig, (left, right) = new_panels(ax, 1, 2, WIDE)
    for place, (name, history) in enumerate(histories.items()):
        look = {"color": f"C{place}", "marker": MARKERS[place], "linestyle": LINE_STYLES[place]}
        left.plot(history["epoch"], history["seconds"], label=name, **look)
    left.set(ylabel="time (s)", ylim=(0, None), title="each epoch")
    _count_epochs(left, histories)
    fig.legend(loc="outside lower center", ncols=2, frameon=False)
    bars = right.barh(list(ratios), list(ratios.values()), height=0.5, color="C2")
    right.bar_label(bars, fmt=" %.2f")
    right.axvline(1, color="0.3", linestyle="--")
    right.set(
        xlabel="BLSTM's time / LSTM's time (1: equal)",
        xlim=(0, 1.2 * max(1, *ratios.values())),
        title="BLSTM against LSTM",
    )
    right.invert_yaxis()
    right.grid(axis="y", visible=False)
    return fig, np.array([left, right])


def plot_logits_and_probabilities(logits: torch.Tensor, family: str, ax=None) -> tuple[Figure, np.ndarray]:
    """Draw a network's answer to one note: its ten logits, and the probabilities that softmax makes of them.

    Parameters
    ----------
    logits : torch.Tensor [shape=(families,)]
        Of one note.
    family : str
        The note's true family, whose bars are hatched; the star is above the predicted one's.
    ax : sequence of two matplotlib.axes.Axes, optional
        A new figure of size `WIDE` by default.

    Returns
    -------
    fig : matplotlib.figure.Figure
    axes : numpy.ndarray [shape=(2,)] of matplotlib.axes.Axes

    Notes
    -----
    Used in: 02_lstm_training.
    """
    fig, axes = new_panels(ax, 1, 2, WIDE)
    predicted = int(logits.argmax())
    colours = [family_colours()[name] for name in FAMILIES]
    hatches = ["//" if name == family else None for name in FAMILIES]
    for ax, heights in zip(axes, (logits, logits.softmax(dim=0)), strict=True):
        ax.bar(FAMILIES, heights.tolist(), color=colours, hatch=hatches, edgecolor="0.2")
        ax.plot(predicted, max(float(heights[predicted]), 0), "*", ms=13, color="black", clip_on=False, zorder=4)
        ax.axhline(0, color="0.3", lw=1)
        ax.tick_params(axis="x", rotation=45)
        ax.grid(axis="x", visible=False)
        ax.margins(y=0.12)
    axes[0].set(ylabel="logit", title="what the network says")
    axes[1].set(ylabel="probability", title="after softmax", ylim=(0, 1.08))
    axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    key = [
        Patch(facecolor="white", edgecolor="0.2", hatch="//", label=f"true family: {family}"),
        Line2D([], [], marker="*", color="black", ms=12, ls="none", label=f"predicted: {FAMILIES[predicted]}"),
    ]
    fig.legend(handles=key, loc="outside lower center", ncols=2, frameon=False)
    return fig, axes


def plot_saliency(influence: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Draw a map of how strongly each frame moves each layer and direction; grey where no path leads.

    Parameters
    ----------
    influence : pandas.DataFrame
        What `influence.saliency` gives.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure of size `WIDE` by default.

    Notes
    -----
    Used in: 03_blstm_training.
    """
    fig, ax = new_axes(ax)
    strengths = influence.iloc[::-1].to_numpy()
    ax.set_facecolor("0.85")
    shown = np.ma.masked_equal(strengths, 0)
    faintest = max(float(shown.min()), FAINTEST_INFLUENCE)
    scale = LogNorm(faintest, max(float(shown.max()), 10 * faintest), clip=True)
    steps = len(influence.columns)
    extent = (0.5, steps + 0.5, 0, len(influence))
    image = ax.imshow(shown, cmap="viridis", norm=scale, aspect="auto", extent=extent, interpolation="nearest")
    ax.set_yticks(np.arange(len(influence)) + 0.5, influence.index)
    ax.set(xlabel="frame (of 10 ms)", ylabel="output at the last step")
    ax.grid(False)
    for border in range(1, len(influence)):
        ax.axhline(border, color="white", lw=2)
    fig.colorbar(image, ax=ax, label="influence (RMS derivative)", extend="min")
    no_path = [Patch(facecolor="0.85", edgecolor="0.6", label="no path: exactly 0")]
    fig.legend(handles=no_path, loc="outside upper right", frameon=False)
    return fig, ax
