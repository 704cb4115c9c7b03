"""Audio players that need no running kernel."""

import html
import io
from collections.abc import Mapping

import numpy as np
import soundfile
from IPython.display import HTML, Audio

from nsynth_helpers.data.metadata import SAMPLE_RATE


def encode_mp3(waveform: np.ndarray) -> bytes:
    """Compress a waveform (int16, 16 kHz) to about 5 kB of MP3 a second, which every browser plays.

    The same waveform always gives the same bytes.
    """
    content = io.BytesIO()
    soundfile.write(content, np.asarray(waveform), SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III")
    return content.getvalue()


def player(waveform: np.ndarray) -> Audio:
    """An audio player of a waveform (int16, 16 kHz), small enough to be stored in a notebook."""
    audio = Audio(data=encode_mp3(waveform))
    # IPython takes any bytes for WAV.
    audio.mimetype = "audio/mpeg"
    return audio


def player_table(waveforms: Mapping[str, np.ndarray], columns: int = 2) -> HTML:
    """Players in a grid, each below its title, such as a ``note_str``; fewer side by side where the page is narrow."""
    cells = (
        f"<figure style='margin:0'><figcaption>{html.escape(title)}</figcaption>{player(note)._repr_html_()}</figure>"
        for title, note in waveforms.items()
    )
    # At most so many columns, none narrower than a player.
    width = f"max(min(100%, 300px), {100 / columns:.4g}% - 0.5em)"
    style = f"display:grid;grid-template-columns:repeat(auto-fill,minmax({width},1fr));gap:0.5em"
    return HTML(f"<div style='{style}'>{''.join(cells)}</div>")
