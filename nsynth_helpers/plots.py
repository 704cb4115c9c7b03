"""Figures of notes and data; ``save_figure``, the style and the two figure sizes serve every figure of the workbook."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nsynth_helpers.notes import FAMILIES
from nsynth_helpers.settings import Settings

# The two figure sizes of the project, in inches: one row of axes, and a page of them.
WIDE, PAGE = (10.0, 3.6), (10.0, 7.2)
RESOLUTION = 110
SPECTRUM_COLOURS = "magma"
# A second cue beside colour, for print and for colour-blind readers.
MARKERS = "osD^vP*X<>"
LINE_STYLES = ("-", "--", "-.", ":")


def use_style() -> None:
    """Set the look of every figure: seaborn's colour-blind palette on a light grid.

    Notes
    -----
    Used in: every notebook, beside its imports.
    """
    sns.set_theme(style="whitegrid", palette="colorblind", context="notebook")
    plt.rcParams.update(
        {
            "figure.figsize": WIDE,
            "figure.dpi": RESOLUTION,
            "figure.constrained_layout.use": True,
            "savefig.dpi": RESOLUTION,
        }
    )


def new_axes(ax: Axes | None = None, size: tuple[float, float] = WIDE) -> tuple[Figure, Axes]:
    """The given axes and their figure, or new ones of one of the two sizes."""
    if ax is not None:
        return ax.figure, ax
    return plt.subplots(figsize=size)


def save_figure(fig: Figure, name: str, settings: Settings | None = None) -> Path:
    """Save a figure as PNG in the settings' figures folder.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
        The figure.
    name : str
        File name without suffix; the notebook's number first, as in ``01_waveforms``.
    settings : Settings, optional
        Names the folder; the environment's settings by default.

    Returns
    -------
    pathlib.Path
        The file.

    Notes
    -----
    Used in: every notebook, after every figure.
    """
    folder = (settings or Settings.from_environment()).figures
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    # Without the version of matplotlib in the file, the same figure gives the same bytes.
    fig.savefig(path, metadata={"Software": None})
    return path


def family_colours() -> dict[str, tuple[float, float, float]]:
    """One colour for each family, the same in every figure."""
    return dict(zip(FAMILIES, sns.color_palette("colorblind", len(FAMILIES)), strict=True))
