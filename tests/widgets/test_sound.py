"""What the sound explorer does with a file that the browser hands over; what a reader does is in tests/browser."""

import base64
import io

import numpy as np
import pytest
import soundfile

from nsynth_helpers import widgets
from nsynth_helpers.analysis.beliefs import belief_over_time
from nsynth_helpers.data.sound import LARGEST_MEGABYTES, prepare_sound

RATE, SECONDS = 22_050, 0.1


def tone(family: int) -> np.ndarray:
    """A note as `tones` makes them, after 50 ms of silence."""
    time = np.arange(RATE // 5) / RATE
    return np.pad(np.sin(2 * np.pi * (100 + 150 * family) * time), (RATE // 20, 0))


def wav(samples: np.ndarray) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format="WAV")
    return content.getvalue()


@pytest.fixture
def explorer(tiny_splits, tiny_run):
    """One that remembers what it sends."""
    made = widgets.SoundExplorer(
        prepare_sound(tone(3), RATE, SECONDS), tiny_splits["train"], {"LSTM": tiny_run}, "pluck"
    )
    made.sent = []
    made.send = lambda content, buffers=None: made.sent.append(content)
    return made


def hand_over(explorer, content: bytes, piece: int = 1_000, size: int | None = None) -> dict:
    """What the kernel says at last of a file that the browser sends piece by piece, as it is asked."""
    head = {"id": 1, "name": "mine.wav", "size": len(content) if size is None else size}
    explorer._handle_custom_msg(head, [])
    while "wanted" in explorer.sent[-1]:
        start = explorer.sent[-1]["wanted"]
        explorer._handle_custom_msg(head, [memoryview(content[start : start + piece])])
    return explorer.sent[-1]


def test_the_first_sound_is_whole_without_a_kernel(explorer, tiny_splits, tiny_run):
    data = explorer.data
    assert (data["kind"], data["samples"], list(data["stored"])) == ("sound", 1_600, [0, 1, 2, 3, 4, 5])
    assert data["sound"] | {"distances": 0} == {
        "name": "pluck", "seconds": 0.25, "onset": pytest.approx(0.05, abs=0.01), "padding": 0, "distances": 0
    }  # fmt: skip
    assert explorer.notes["note_str"][0] == "pluck" and explorer.notes["split"].tolist() == ["yours"] + ["train"] * 5
    note = explorer.notes.iloc[1]
    heard, _ = soundfile.read(io.BytesIO(base64.b64decode(data["stored"][1]["sound"])))
    assert np.corrcoef(heard, tiny_splits["train"][note["note_str"]].audio)[0, 1] > 0.99
    belief = np.frombuffer(base64.b64decode(data["stored"][1]["beliefs"][0]), "<u2").reshape(10, 10) / 65_535
    frames = tiny_run.config.frames(tiny_splits["train"])
    expected = belief_over_time(tiny_run.load_network(), frames, [note["row"]], device="cpu")[0]
    assert np.abs(belief - expected).max() < 1e-4


def test_a_train_note_is_nearest_to_itself(explorer, tiny_splits):
    note = tiny_splits["train"]["mallet_acoustic_001-045-004"]
    own = prepare_sound(tone(0), RATE, SECONDS)._replace(waveform=note.audio)
    explorer.show(own, "again")
    assert explorer.notes["note_str"][1] == note.note_str
    distances = explorer.data["sound"]["distances"]
    assert distances[0] == pytest.approx(0, abs=1e-3) and distances == sorted(distances)


def test_a_file_arrives_in_pieces_and_takes_the_place_of_the_sound_before(explorer):
    content = wav(tone(7))
    assert hand_over(explorer, content) == {"id": 1}
    assert [answer["wanted"] for answer in explorer.sent[:-1]] == list(range(0, len(content), 1_000))
    assert explorer.data["sound"]["name"] == "mine.wav"
    expected = prepare_sound(content, seconds=SECONDS).waveform
    np.testing.assert_array_equal(explorer.splits["yours"].waveforms[0], expected)


def test_a_file_chosen_before_the_last_one_had_arrived_begins_anew(explorer):
    explorer._handle_custom_msg({"id": 7, "name": "other.wav", "size": 9_999}, [])
    explorer._handle_custom_msg({"id": 7, "name": "other.wav", "size": 9_999}, [b"RIFF"])
    assert hand_over(explorer, wav(tone(1))) == {"id": 1}


def test_a_bad_file_is_one_sentence_and_the_sound_before_stays(explorer):
    before = explorer.data
    for content, size, sentence in (
        (b"no sound", None, "This is no audio"),
        (b"", None, "The sound is empty"),
        (wav(np.zeros(RATE)), None, "The sound is silent"),
        (b"never read", LARGEST_MEGABYTES * 1_000_000 + 1, "larger than 20 MB"),
    ):
        answer = hand_over(explorer, content, size=size)
        assert sentence in answer["error"] and answer["id"] == 1
        assert explorer.data is before
    assert hand_over(explorer, wav(tone(1))) == {"id": 1}


def test_a_fault_in_the_kernel_is_told_and_logged(explorer, monkeypatch, caplog):
    monkeypatch.setattr(explorer, "show", lambda *_: 1 / 0)
    assert hand_over(explorer, wav(tone(1))) == {"id": 1, "error": "division by zero"}
    assert "ZeroDivisionError" in caplog.text
