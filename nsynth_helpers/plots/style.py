"""Figures of single notes; ``save_figure``, the style and the two figure sizes serve every figure of the workbook."""

from __future__ import annotations

from pathlib import Path

import librosa
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from librosa.display import specshow
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from nsynth_helpers.data.metadata import (
    DROPPED_FAMILY,
    FAMILIES,
    FULL_SCALE,
    SAMPLE_RATE,
    STEP_SIZE,
    parse_note_str,
)
from nsynth_helpers.settings import Settings

# The two figure sizes of the project, in inches: one row of axes, and a page of them.
WIDE, PAGE = (10.0, 3.6), (10.0, 7.2)
RESOLUTION = 110
SPECTRUM_COLOURS = "magma"
# A second cue beside colour, for print and for colour-blind readers.
MARKERS = "osD^vP*X<>"
LINE_STYLES = ("-", "--", "-.", ":")
HATCHES = ("", "///", "...")
# One column of a spectrogram is one step of the networks; 64 bands keep even the lowest filter from being empty.
WINDOW_SIZE, MEL_BANDS, DYNAMIC_RANGE_DB = 1024, 64, 80.0
SMALLEST_REFERENCE = 1e-6


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
    return dict(zip(FAMILIES, sns.color_palette("colorblind", len(FAMILIES)), strict=True)) | {
        DROPPED_FAMILY: (0.45, 0.45, 0.45)
    }


def new_panels(ax, rows: int, columns: int, size: tuple[float, float], **options) -> tuple[Figure, np.ndarray]:
    """The given axes as an array and their figure, or a new grid of axes, row by row in one array.

    Parameters
    ----------
    ax : sequence of matplotlib.axes.Axes or None
        As many axes as the figure needs, or more.
    rows, columns : int
        Shape of a new grid.
    size : tuple of float
        `WIDE` or `PAGE`.
    **options
        Passed to `matplotlib.pyplot.subplots`, such as ``sharey=True``.
    """
    if ax is not None:
        panels = np.ravel(ax)
        return panels[0].figure, panels
    fig, panels = plt.subplots(rows, columns, figsize=size, squeeze=False, **options)
    return fig, panels.ravel()


def plot_waveform(waveform: np.ndarray, ax: Axes | None = None, colour=None) -> tuple[Figure, Axes]:
    """One waveform over time, scaled as the networks see it.

    Parameters
    ----------
    waveform : np.ndarray [shape=(samples,)], int16, 16 kHz
        The note, or the part of it to show from its start; up to 0.1 s the time is told in milliseconds.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    colour : matplotlib colour, optional
        Of the line.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : matplotlib.axes.Axes

    Notes
    -----
    Used in: 01_data_exploration, 04_result_analysis.
    """
    fig, ax = new_axes(ax)
    short = len(waveform) <= SAMPLE_RATE // 10
    time = np.arange(len(waveform)) / SAMPLE_RATE * (1000 if short else 1)
    ax.plot(time, waveform / FULL_SCALE, color=colour, linewidth=1.5 if short else 0.5)
    ax.set_xlim(0, len(waveform) / SAMPLE_RATE * (1000 if short else 1))
    ax.set(xlabel=f"time ({'ms' if short else 's'})", ylabel="amplitude (of full scale)")
    return fig, ax


def log_mel_spectrogram(waveform: np.ndarray) -> np.ndarray:
    """Level of a note in 64 mel bands, one column every 10 ms.

    Parameters
    ----------
    waveform : np.ndarray [shape=(samples,)], int16, 16 kHz
        The note.

    Returns
    -------
    np.ndarray [shape=(64, 1 + samples // 160)], float32
        Decibel below the note's strongest value, down to -80 dB.

    Notes
    -----
    `librosa.feature.melspectrogram` with a Hann window of 1,024 samples (64 ms). Used in: 01_data_exploration,
    04_result_analysis.
    """
    power = librosa.feature.melspectrogram(
        y=waveform.astype(np.float32) / FULL_SCALE,
        sr=SAMPLE_RATE,
        n_fft=WINDOW_SIZE,
        hop_length=STEP_SIZE,
        n_mels=MEL_BANDS,
        # Zeros beyond the cut, where the cached seconds end, would make its click louder still.
        pad_mode="reflect",
    )
    # A silent note is its own maximum everywhere: without a smallest reference it would shine at 0 dB.
    reference = max(float(power.max()), SMALLEST_REFERENCE)
    return np.maximum(librosa.power_to_db(power, ref=reference, top_db=None), -DYNAMIC_RANGE_DB)


def plot_log_mel_spectrogram(
    waveform: np.ndarray, ax: Axes | None = None, colour_bar: bool = True
) -> tuple[Figure, Axes]:
    """The log-mel spectrogram of one note.

    Parameters
    ----------
    waveform : np.ndarray [shape=(samples,)], int16, 16 kHz
        The note.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    colour_bar : bool
        Draw the scale of levels beside it.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : matplotlib.axes.Axes

    Notes
    -----
    Used in: 01_data_exploration, 04_result_analysis.
    """
    fig, ax = new_axes(ax)
    image = specshow(
        log_mel_spectrogram(waveform),
        sr=SAMPLE_RATE,
        hop_length=STEP_SIZE,
        x_axis="time",
        y_axis="mel",
        cmap=SPECTRUM_COLOURS,
        vmin=-DYNAMIC_RANGE_DB,
        vmax=0,
        ax=ax,
    )
    ax.grid(visible=False)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.set(xlabel="time (s)", ylabel="frequency (Hz, mel scale)")
    if colour_bar:
        _level_bar(fig, image, ax)
    return fig, ax


def _level_bar(fig: Figure, image, ax) -> None:
    fig.colorbar(image, ax=ax, label="level (dB; 0 is the note's strongest)", aspect=30, pad=0.02)


def plot_note(waveform: np.ndarray, note_str: str, ax=None) -> tuple[Figure, np.ndarray]:
    """One note: its waveform on the left, its log-mel spectrogram on the right.

    Parameters
    ----------
    waveform : np.ndarray [shape=(samples,)], int16, 16 kHz
        The note.
    note_str : str
        Its name: the title, and the colour of its family.
    ax : sequence of matplotlib.axes.Axes, optional
        Two of them.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : np.ndarray of matplotlib.axes.Axes [shape=(2,)]

    Notes
    -----
    Used in: 01_data_exploration, 04_result_analysis.
    """
    fig, panels = new_panels(ax, 1, 2, WIDE)
    plot_waveform(waveform, panels[0], family_colours()[parse_note_str(note_str)["family"]])
    plot_log_mel_spectrogram(waveform, panels[1])
    panels[0].set_title(note_str)
    panels[1].set_title("log-mel spectrogram")
    return fig, panels


def plot_family_waveforms(waveforms: dict[str, np.ndarray], ax=None) -> tuple[Figure, np.ndarray]:
    """A page of waveforms, one note a family; each panel has its own amplitude scale.

    Parameters
    ----------
    waveforms : dict of str to np.ndarray [shape=(samples,)], int16, 16 kHz
        Waveform by ``note_str``; cut it to show the start alone.
    ax : sequence of matplotlib.axes.Axes, optional
        As many as there are waveforms.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : np.ndarray of matplotlib.axes.Axes

    Notes
    -----
    Used in: 01_data_exploration.
    """
    fig, panels = _family_panels(ax, len(waveforms), columns=2, sharex=True)
    for panel, (note_str, waveform) in zip(panels, waveforms.items(), strict=False):
        plot_waveform(waveform, panel, family_colours()[parse_note_str(note_str)["family"]])
        panel.set_title(note_str, fontsize="medium")
    _label_once(fig, panels[: len(waveforms)])
    return fig, panels


def plot_family_spectrograms(waveforms: dict[str, np.ndarray], ax=None) -> tuple[Figure, np.ndarray]:
    """A page of log-mel spectrograms, one note a family, on one scale of levels.

    Parameters
    ----------
    waveforms : dict of str to np.ndarray [shape=(samples,)], int16, 16 kHz
        Waveform by ``note_str``.
    ax : sequence of matplotlib.axes.Axes, optional
        As many as there are waveforms.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : np.ndarray of matplotlib.axes.Axes

    Notes
    -----
    Used in: 01_data_exploration.
    """
    fig, panels = _family_panels(ax, len(waveforms), columns=5, sharey=True)
    for panel, (note_str, waveform) in zip(panels, waveforms.items(), strict=False):
        plot_log_mel_spectrogram(waveform, panel, colour_bar=False)
        panel.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 5, 10]))
        note = parse_note_str(note_str)
        panel.set_title(f"{note['family']}\n{note['source']}, pitch {note['pitch']}", fontsize="medium")
    shown = panels[: len(waveforms)]
    _label_once(fig, shown)
    _level_bar(fig, shown[0].collections[0], list(shown))
    return fig, panels


def _family_panels(ax, count: int, columns: int, **options) -> tuple[Figure, np.ndarray]:
    fig, panels = new_panels(ax, -(-count // columns), columns, PAGE, **options)
    for panel in panels[count:]:
        panel.set_axis_off()
    return fig, panels


def _label_once(fig: Figure, panels) -> None:
    """Tell the units of panels that are alike once for the whole figure, at its edges."""
    fig.supxlabel(panels[0].get_xlabel(), fontsize="medium")
    fig.supylabel(panels[0].get_ylabel(), fontsize="medium")
    for panel in panels:
        panel.set(xlabel="", ylabel="")


def plot_frames(waveform: np.ndarray, step_size: int = STEP_SIZE, ax=None) -> tuple[Figure, np.ndarray]:
    """How a waveform becomes steps: its first five steps cut apart, and all of them stacked into the input matrix.

    Parameters
    ----------
    waveform : np.ndarray [shape=(samples,)], int16, 16 kHz
        The note.
    step_size : int
        Samples in one step.
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
    frames = waveform[: len(waveform) // step_size * step_size].reshape(-1, step_size) / FULL_SCALE
    _draw_cuts(panels[0], frames[:5])
    _draw_matrix(fig, panels[1], frames)
    return fig, panels


def _draw_cuts(ax: Axes, frames: np.ndarray) -> None:
    milliseconds = 1000 * frames.shape[1] / SAMPLE_RATE
    time = np.arange(frames.size) / SAMPLE_RATE * 1000
    ax.plot(time, frames.ravel(), linewidth=1)
    for step in range(len(frames)):
        ax.axvline((step + 1) * milliseconds, color="black", linestyle="--", linewidth=1)
        ax.annotate(
            f"step {step + 1}", ((step + 0.5) * milliseconds, 1.01), xycoords=("data", "axes fraction"), ha="center"
        )
    ax.margins(x=0)
    ax.set(xlabel="time (ms)", ylabel="amplitude (of full scale)")


def _draw_matrix(fig: Figure, ax: Axes, frames: np.ndarray) -> None:
    # The loud attack alone would leave the rest of the matrix pale.
    limit = max(float(np.percentile(np.abs(frames), 99)), 1 / FULL_SCALE)
    steps, samples = frames.shape
    extent = (0.5, samples + 0.5, steps + 0.5, 0.5)  # both counted from 1
    image = ax.imshow(
        frames, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest", extent=extent
    )
    ax.grid(visible=False)
    ax.set(
        xlabel=f"sample within the step ({1e6 / SAMPLE_RATE:g} µs each)",
        ylabel=f"step ({1000 * frames.shape[1] / SAMPLE_RATE:g} ms each)",
    )
    fig.colorbar(image, ax=ax, label="amplitude (of full scale)", extend="both")
