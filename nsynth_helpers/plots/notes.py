"""Pictures of single notes: waveform, log-mel spectrogram, frames, one note of each family, galleries of extremes."""

from collections.abc import Mapping, Sequence

import librosa
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from librosa.display import specshow
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from nsynth_helpers.data.metadata import FULL_SCALE, SAMPLE_RATE, STEP_SIZE, parse_note_str, scale
from nsynth_helpers.plots.style import FAMILY_COLOURS, PAGE, SMALL, SPECTRUM_COLOURS, WIDE, label_once, new_axes

# One column of a spectrogram is one step of the networks; 64 bands keep even the lowest filter from being empty.
WINDOW_SIZE, MEL_BANDS, DYNAMIC_RANGE_DB = 1024, 64, 80.0
SMALLEST_REFERENCE = 1e-6
SPECTRUM_LEVELS = 20
# Of a title, in points.
LINE_HEIGHT = 1.25 * SMALL


def plot_waveform(waveform: np.ndarray, ax: Axes | None = None, colour=None) -> tuple[Figure, Axes]:
    """A waveform (int16, 16 kHz) over time, scaled as the networks see it; up to 0.1 s in milliseconds."""
    fig, ax = new_axes(ax)
    unit, per_second = ("ms", 1000) if len(waveform) <= SAMPLE_RATE // 10 else ("s", 1)
    time = np.arange(len(waveform)) / SAMPLE_RATE * per_second
    ax.plot(time, scale(waveform), color=colour, linewidth=1.5 if unit == "ms" else 0.5)
    ax.set_xlim(0, len(waveform) / SAMPLE_RATE * per_second)
    ax.set(xlabel=f"time ({unit})", ylabel="amplitude (of full scale)")
    return fig, ax


def log_mel_spectrogram(waveform: np.ndarray) -> np.ndarray:
    """Level of a note (int16, 16 kHz) in 64 mel bands, one column every 10 ms (Hann window of 64 ms).

    Of shape (64, 1 + samples // 160), float32: decibel below the note's strongest value, down to -80 dB.
    """
    power = librosa.feature.melspectrogram(
        y=scale(waveform),
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
    """The log-mel spectrogram of a note (int16, 16 kHz), with its scale of levels."""
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


def plot_family_waveforms(waveforms: Mapping[str, np.ndarray]) -> tuple[Figure, np.ndarray]:
    """A page of waveforms (int16, 16 kHz, by ``note_str``), one note a family, each with its own amplitude scale."""
    fig, panels = _family_panels(len(waveforms), columns=2, sharex=True)
    for panel, (note_str, waveform) in zip(panels, waveforms.items(), strict=False):
        plot_waveform(waveform, panel, FAMILY_COLOURS[parse_note_str(note_str)["family"]])
        panel.set_title(note_str)
    label_once(fig, panels[: len(waveforms)])
    return fig, panels


def plot_family_spectrograms(waveforms: Mapping[str, np.ndarray]) -> tuple[Figure, np.ndarray]:
    """A page of log-mel spectrograms (int16, 16 kHz, by ``note_str``), one note a family, on one scale of levels."""
    fig, panels = _family_panels(len(waveforms), columns=5, sharey=True)
    for panel, (note_str, waveform) in zip(panels, waveforms.items(), strict=False):
        plot_log_mel_spectrogram(waveform, panel, colour_bar=False)
        panel.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 5, 10]))
        note = parse_note_str(note_str)
        panel.set_title(f"{note['family']}\n{note['source']}, pitch {note['pitch']}")
    shown = panels[: len(waveforms)]
    label_once(fig, shown)
    _level_bar(fig, shown[0].collections[0], list(shown))
    return fig, panels


def _family_panels(count: int, columns: int, **options) -> tuple[Figure, np.ndarray]:
    fig, panels = plt.subplots(-(-count // columns), columns, figsize=PAGE, squeeze=False, **options)
    for panel in panels.flat[count:]:
        panel.set_axis_off()
    return fig, panels.ravel()


def plot_frames(waveform: np.ndarray) -> tuple[Figure, np.ndarray]:
    """How a waveform (int16, 16 kHz) becomes frames: the first five cut apart, and all stacked into a matrix."""
    fig, (cuts, matrix) = plt.subplots(1, 2, figsize=WIDE)
    frames = scale(waveform[: len(waveform) // STEP_SIZE * STEP_SIZE]).reshape(-1, STEP_SIZE)
    milliseconds = 1000 * STEP_SIZE / SAMPLE_RATE
    first = frames[:5]
    cuts.plot(np.arange(first.size) / SAMPLE_RATE * 1000, first.ravel(), linewidth=1)
    for step in range(1, len(first) + 1):
        cuts.axvline(step * milliseconds, color="black", linestyle="--", linewidth=1)
        middle = ((step - 0.5) * milliseconds, 1.01)
        cuts.annotate(f"step {step}", middle, xycoords=("data", "axes fraction"), ha="center")
    cuts.margins(x=0)
    cuts.set(xlabel="time (ms)", ylabel="amplitude (of full scale)")
    # The loud attack alone would leave the rest of the matrix pale.
    limit = max(float(np.percentile(np.abs(frames), 99)), 1 / FULL_SCALE)
    extent = (0.5, STEP_SIZE + 0.5, len(frames) + 0.5, 0.5)  # both counted from 1
    colours = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    image = matrix.imshow(frames, aspect="auto", interpolation="nearest", extent=extent, **colours)
    matrix.grid(visible=False)
    matrix.set(
        xlabel=f"sample within the step ({1e6 / SAMPLE_RATE:g} µs each)", ylabel=f"step ({milliseconds:g} ms each)"
    )
    fig.colorbar(image, ax=matrix, label="amplitude (of full scale)", extend="both")
    return fig, np.array([cuts, matrix])


def plot_gallery(
    chosen: pd.DataFrame, waveforms: Mapping[str, np.ndarray], families: Sequence[str]
) -> tuple[Figure, np.ndarray]:
    """Two notes of each family, as waveform and log-mel spectrogram: a column a family, five of them at most.

    ``chosen`` has one row a note, as from `analysis.extremes` and `analysis.nearest_and_farthest`; ``waveforms``
    (int16, 16 kHz) go by ``note_str``.
    """
    fig, axes = plt.subplots(4, len(families), figsize=PAGE, squeeze=False, height_ratios=(2, 3, 2, 3))
    extremes = list(chosen["extreme"].unique())
    for column, family in zip(axes.T, families, strict=True):
        notes = chosen[chosen["family"] == family].set_index("extreme")
        for pair, extreme in zip((column[:2], column[2:]), extremes or ["", ""], strict=False):
            if extreme in notes.index:
                _draw_note(pair, notes.loc[extreme], waveforms)
            else:
                pair[0].text(0.5, 0.5, "no such note", ha="center", va="center", transform=pair[0].transAxes)
                for panel in pair:
                    panel.set(xticks=[], yticks=[])
                    panel.spines[:].set_visible(False)
        above = len(column[0].get_title().splitlines()) * LINE_HEIGHT + 4
        header = {"xycoords": "axes fraction", "xytext": (0, above), "textcoords": "offset points", "ha": "center"}
        column[0].annotate(family, (0.5, 1), fontweight="bold", fontsize="x-large", **header)
    for number, extreme in enumerate(extremes):
        axes[2 * number, 0].set_ylabel(f"{extreme}\namplitude")
        axes[2 * number + 1, 0].set_ylabel("frequency (kHz, mel)")
    for panel in axes[-1]:
        panel.set_xlabel("time (s)")
    return fig, axes


def _draw_note(pair: Sequence[Axes], note: pd.Series, waveforms: Mapping[str, np.ndarray]) -> None:
    waveform, names = waveforms[note["note_str"]], parse_note_str(note["note_str"])
    plot_waveform(waveform, pair[0], FAMILY_COLOURS[note["family"]])
    plot_log_mel_spectrogram(waveform, pair[1], colour_bar=False)
    answer = f"probability {note['probability']:.2%}"
    if not note["correct"]:
        answer = f"taken for {note['predicted']}\nmargin {note['margin']:.2g}"
    instrument = names["instrument"].removeprefix(f"{names['family']}_")
    title = f"{instrument}\npitch {names['pitch']}, vel. {names['velocity']}\n{answer}"
    pair[0].set_title(title, fontsize=SMALL, pad=3)
    # Without smoothed edges and with few colours the picture of so many notes has half the bytes, and half the time
    # where the layout need not measure them.
    plt.setp(pair[0].lines, antialiased=False, in_layout=False)
    pair[1].collections[0].set_cmap(plt.get_cmap(SPECTRUM_COLOURS, SPECTRUM_LEVELS))
    pair[0].set(xlabel="", ylabel="", xticklabels=[], yticks=[])
    pair[1].set(xlabel="", ylabel="", yticks=[512, 2048, 4096], yticklabels=["0.5", "2", "4"])
    pair[1].xaxis.set_major_locator(MaxNLocator(3, steps=[1, 5, 10]))
