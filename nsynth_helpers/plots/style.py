"""The look of every figure: two sizes, colours with a second cue, axes, one legend below, saving."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nsynth_helpers.data.metadata import DROPPED_FAMILY, FAMILIES
from nsynth_helpers.settings import Settings, atomic_write

# The two figure sizes of the project, in inches, as wide as a page: one row of axes, and a page of them.
WIDE, PAGE = (8.0, 3.4), (8.0, 7.2)
RESOLUTION = 130
# The smallest text, in points: a page of A4 shows it at 8.
SMALL = 9
SPECTRUM_COLOURS = "magma"
# Seaborn's colorblind palette, with indigo, maroon and a darker brown for its pink, yellow and tan, which are pale on
# white; the nearest two are 10 CIELAB units apart to a protanope, and have different line styles.
COLOURS = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#a0653a", "#4b3fd1", "#808080", "#7a0026", "#44a6e0",
)  # fmt: skip
FAMILY_COLOURS = dict(zip(FAMILIES, COLOURS, strict=True)) | {DROPPED_FAMILY: "#404040"}
# The second cue beside colour, for print and for colour-blind readers.
MARKERS = "osD^vP*X<>"
LINE_STYLES = ("-", "--", "-.", ":", (0, (7, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (9, 2, 2, 2)))
HATCHES = ("", "///", "...")


def use_style() -> None:
    """Set the look of every figure: a light grid, colours for colour-blind readers, text that a page shows at 8 pt."""
    small = ("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize", "figure.labelsize")
    text = dict.fromkeys(small, SMALL)
    titles = {"axes.titlesize": SMALL + 1, "figure.titlesize": SMALL + 2}
    resolution = {"figure.dpi": RESOLUTION, "savefig.dpi": RESOLUTION}
    layout = {"figure.figsize": WIDE, "figure.constrained_layout.use": True, "legend.frameon": False}
    sns.set_theme(style="whitegrid", palette=COLOURS, context="paper", rc=text | titles | resolution | layout)


def new_axes(ax: Axes | None = None, size: tuple[float, float] = WIDE) -> tuple[Figure, Axes]:
    """The given axes and their figure, or new ones of one of the two sizes."""
    return (ax.figure, ax) if ax is not None else plt.subplots(figsize=size)


def save_figure(fig: Figure, name: str, settings: Settings) -> Path:
    """Save a figure as PNG in the settings' figures folder; its name begins with the notebook's number."""
    path = settings.figures / f"{name}.png"
    # Without the version of matplotlib in the file, the same figure gives the same bytes.
    atomic_write(path, lambda temporary: fig.savefig(temporary, format="png", metadata={"Software": None}))
    return path


def in_percent(*axes: Axis) -> None:
    """Write the fractions of an x or y axis as percentages."""
    for axis in axes:
        axis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")


def count_epochs(ax: Axes, last: int) -> None:
    """Whole epochs along x, also where there is but one."""
    ax.set(xlabel="epoch", xlim=(0.3, last + 0.7))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def line_style(number: int) -> dict:
    """Colour and line style of the n-th of several curves."""
    return {"color": f"C{number}", "linestyle": LINE_STYLES[number % len(LINE_STYLES)]}


def interval_reach(values, low, high) -> np.ndarray:
    """Lengths of error bars, shape (2, values): never negative, whatever rounding did, and 0 where not known."""
    return np.clip(np.nan_to_num([np.asarray(values) - low, np.asarray(high) - values]), 0, None)


def legend_below(fig: Figure, axes, columns: int = 4, more: Mapping[str, Artist] | None = None) -> None:
    """One legend for all panels below them, each name once; ``more`` are names and handles that no panel draws."""
    named = {
        name: handle for ax in np.ravel(axes) for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)
    } | dict(more or {})
    fig.legend(named.values(), named.keys(), loc="outside lower center", ncols=min(columns, len(named)))


def label_once(fig: Figure, panels) -> None:
    """Tell the units of panels that are alike once for the whole figure, at its edges."""
    fig.supxlabel(panels[0].get_xlabel(), fontsize=SMALL)
    fig.supylabel(panels[0].get_ylabel(), fontsize=SMALL)
    for panel in panels:
        panel.set(xlabel="", ylabel="")
