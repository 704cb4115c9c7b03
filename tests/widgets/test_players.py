"""Players that need no kernel."""

import io

import numpy as np
import soundfile

from nsynth_helpers import widgets
from nsynth_helpers.data.metadata import SAMPLE_RATE

TONE = (20_000 * np.sin(2 * np.pi * 110 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)).astype(np.int16)


def test_a_player_holds_the_note_as_a_few_kilobytes_of_mp3():
    audio = widgets.player(TONE)
    decoded, rate = soundfile.read(io.BytesIO(audio.data))
    assert audio.mimetype == "audio/mpeg" and "data:audio/mpeg;base64" in audio._repr_html_()
    assert (rate, len(decoded)) == (SAMPLE_RATE, len(TONE))
    assert np.corrcoef(decoded, TONE)[0, 1] > 0.99
    assert len(audio.data) < 10_000
    assert widgets.encode_mp3(TONE) == audio.data, "the same note gives the same bytes"


def test_a_table_of_players_titles_each_and_escapes_the_title():
    page = widgets.player_table({"a < b": TONE, "c": TONE[::-1]}).data
    assert page.count("<audio") == page.count("<figcaption>") == 2
    assert "<figcaption>a &lt; b</figcaption>" in page
