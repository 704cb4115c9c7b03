"""Any sound of a reader becomes one second as NSynth's notes are kept, or one sentence."""

import io
import re
from contextlib import suppress

import numpy as np
import pytest
import soundfile

from nsynth_helpers.data.metadata import FULL_SCALE
from nsynth_helpers.data.sound import LARGEST_MEGABYTES, PEAK, prepare_sound
from nsynth_helpers.settings import InputError

ONSET = 0.2
LOUDEST = round(PEAK * FULL_SCALE)
RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000)
MP3_RATES = RATES[:6]


def tone(rate: int, seconds: float = 1.5, onset: float = ONSET, channels: int = 1) -> np.ndarray:
    """A tone of 440 Hz after silence, of shape (frames, channels)."""
    time = np.arange(round(rate * seconds)) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * 440 * time) * (time >= onset)] * channels, axis=1)


def file_of(samples, rate: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format=kind, subtype=subtype)
    return content.getvalue()


def refusal_of(*sound) -> str:
    with pytest.raises(InputError) as refused:
        prepare_sound(*sound)
    return str(refused.value)


CASES = [(kind, None, rate, channels) for kind in ("WAV", "FLAC", "OGG") for rate in RATES for channels in (1, 2, 6)]
CASES += [("MP3", None, rate, channels) for rate in MP3_RATES for channels in (1, 2)]
CASES += [("WAV", subtype, 44_100, 2) for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")]
CASES += [("FLAC", "PCM_24", 96_000, 2), ("OGG", "OPUS", 48_000, 2), ("AIFF", None, 44_100, 1)]


@pytest.mark.parametrize(("kind", "subtype", "rate", "channels"), CASES)
def test_every_format_rate_and_number_of_channels_gives_the_same_second(kind, subtype, rate, channels):
    sound = prepare_sound(file_of(tone(rate, channels=channels), rate, kind, subtype))
    assert sound.waveform.shape == (16_000,) and sound.waveform.dtype == sound.whole.dtype == np.int16
    assert np.abs(sound.waveform).max() == np.abs(sound.whole).max() == LOUDEST
    assert sound.onset == pytest.approx(ONSET, abs=0.01) and sound.padding == 0
    assert len(sound.whole) == pytest.approx(1.5 * 16_000, abs=0.1 * 16_000)  # MP3 adds up to two of its frames
    assert np.abs(sound.waveform[:480]).max() > LOUDEST / 2, "it does not begin with the silence"
    spectrum = np.abs(np.fft.rfft(sound.waveform.astype(float)))
    assert spectrum.argmax() == 440


@pytest.mark.parametrize("onset", [0.0, 0.0013, 0.05, 0.3337, 0.9, 1.2])
@pytest.mark.parametrize("noise", [0, 0.005])
def test_a_click_is_found_within_10_ms_and_never_cut(onset, noise):
    rate = 44_100
    click = noise * np.random.default_rng(0).standard_normal(2 * rate)
    start = round(onset * rate)
    click[start : start + 441] += 0.8 * np.sin(2 * np.pi * 1_000 * np.arange(441) / rate)
    assert 0 <= onset - prepare_sound(click, rate).onset <= 0.01


def test_a_soft_attack_is_kept():
    rate, time = 16_000, np.arange(32_000) / 16_000
    bowed = np.clip((time - 0.5) / 0.2, 0, 1) * np.sin(2 * np.pi * 220 * time)
    assert prepare_sound(bowed, rate).onset == pytest.approx(0.5, abs=0.02)


def test_short_and_long_sounds():
    short = prepare_sound(file_of(tone(16_000, 0.05, onset=0), 16_000))
    assert short.padding == pytest.approx(0.95) and not short.waveform[800:].any() and short.waveform[:800].any()
    long = prepare_sound(file_of(tone(44_100, 59), 44_100))
    assert long.waveform.shape == (16_000,) and len(long.whole) == 59 * 16_000
    assert prepare_sound(tone(16_000), 16_000, seconds=0.5).waveform.shape == (8_000,)


def test_samples_of_any_size_are_read_as_a_file_of_them_is():
    samples = tone(44_100, channels=2)
    expected = prepare_sound(file_of(samples, 44_100, subtype="FLOAT"))
    for given in (samples, 1e6 * samples, (32_767 * samples).astype(np.int16), samples[:, 0]):
        sound = prepare_sound(given, 44_100)
        assert np.abs(sound.waveform.astype(int) - expected.waveform).max() <= 2 and sound.onset == expected.onset


def test_channels_are_mixed():
    left = tone(16_000, onset=0)
    mixed, alone = (prepare_sound(samples, 16_000) for samples in (np.hstack([0 * left, left]), left))
    assert np.abs(mixed.waveform - alone.waveform).max() < 2


QUIET = tone(16_000) * 1e-4
NAN = np.where(np.arange(16_000) == 9_000, np.nan, tone(16_000, 1)[:, 0])
BAD = {
    "text": (
        b"This is a letter, no sound." * 50,
        r"This is no audio that can be read \(Format not recognised\); use a WAV",
    ),
    "zeros": (bytes(5_000), "This is no audio that can be read"),
    "header alone": (b"RIFF\0\0\0\0WAVE", "This is no audio that can be read"),
    "no bytes": (b"", "The sound is empty"),
    "no samples": (file_of(np.empty((0, 1)), 16_000), "The sound is empty"),
    "silence": (file_of(np.zeros(16_000), 16_000), "The sound is silent; choose another, or check the microphone"),
    "next to silence": (file_of(QUIET, 16_000, subtype="FLOAT"), "The sound is silent"),
    "channels that cancel": (file_of(np.hstack([tone(16_000), -tone(16_000)]), 16_000), "The sound is silent"),
    "beyond hearing": (file_of(tone(16_000), 2**31 - 1), "The sound is silent"),
    "61 s": (file_of(np.ones(61 * 8_000), 8_000), "The sound is longer than 60 s; cut it to the note"),
    "61 s of MP3": (file_of(tone(16_000, 61), 16_000, "MP3"), "The sound is longer than 60 s"),
    "NaN": (file_of(NAN, 16_000, subtype="FLOAT"), r"The sound has samples that are no numbers \(NaN or infinite\)"),
    "20 MB": (bytes(1_000_000 * LARGEST_MEGABYTES + 1), "The file is larger than 20 MB; cut it to the note"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_sounds_end_in_one_sentence(name):
    content, sentence = BAD[name]
    told = refusal_of(content)
    assert told.endswith(".") and "\n" not in told
    assert re.match(sentence, told)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_damaged_files_end_in_a_sound_or_one_sentence(kind):
    whole, random = file_of(tone(22_050, 0.4, channels=2), 22_050, kind), np.random.default_rng(1)
    for _ in range(60):
        damaged = np.frombuffer(whole, np.uint8).copy()
        places = random.integers(0, min(len(whole), 200), 5)
        damaged[places] = random.integers(0, 256, 5)
        with suppress(InputError):
            assert prepare_sound(damaged[: random.integers(1, len(whole) + 1)].tobytes()).waveform.shape == (16_000,)
