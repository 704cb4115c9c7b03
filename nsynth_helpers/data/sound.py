"""A sound of the reader's own: from any audio file, or from samples, to a waveform as the notes of NSynth are kept."""

from typing import NamedTuple

import librosa
import numpy as np
import soundfile

from nsynth_helpers.data.cache import AudioBytes
from nsynth_helpers.data.metadata import FULL_SCALE, SAMPLE_RATE, STEP_SIZE
from nsynth_helpers.settings import InputError, shown

LONGEST_SECONDS, LARGEST_MEGABYTES = 60, 20
# Of full scale: half of the train notes have a higher peak in their first second, in nsynth-mini (0.74) as in NSynth.
PEAK = 0.75
# A note begins where 20 ms of it are no more than so much below its loudest 20 ms.
ONSET_DB = 30
# Of full scale, -80 dB: what a microphone that is off may give.
SILENT = 1e-4
BLOCK = 65_536  # frames that are decoded at once, so that many channels need no more memory than one


class Sound(NamedTuple):
    """A prepared sound: `waveform` is what a network reads, `whole` where it was found; both have the same peak."""

    waveform: np.ndarray  # (samples,), int16, 16 kHz
    whole: np.ndarray  # all of the sound, mono, int16, 16 kHz
    onset: float  # where in `whole` the waveform begins, in seconds
    padding: float  # seconds of silence at the waveform's end


@np.errstate(invalid="ignore", over="ignore")  # what is not finite is refused in a sentence
def prepare_sound(sound: bytes | np.ndarray, rate: int | None = None, seconds: float = 1.0) -> Sound:
    """Mix a sound to mono, resample it to 16 kHz, and take its first `seconds` from the onset on, at NSynth's level.

    The onset is the energy rule of ``librosa.effects.trim`` (McFee et al., 2015) in frames of 20 ms, one every step;
    the resampler is soxr's ``HQ``. What is too short is filled up with silence.

    Parameters
    ----------
    sound : bytes or numpy.ndarray
        A WAV, FLAC, Ogg or MP3 file of any rate and channels; or samples, of shape (frames,) or (frames, channels).
    rate : int, optional
        Of samples, in Hz; a file knows its own.

    Raises
    ------
    InputError
        If it is no audio, empty, silent, longer than 60 s, a file of over 20 MB, or has samples that are no numbers.
    """
    mono, rate = _decode(sound) if isinstance(sound, bytes) else (np.asarray(sound, np.float32), rate)
    if not len(mono):
        raise InputError("The sound is empty; choose one with a note in it.")
    if len(mono) > LONGEST_SECONDS * rate:
        raise InputError(f"The sound is longer than {LONGEST_SECONDS} s; cut it to the note.")
    mono = mono.reshape(len(mono), -1).mean(axis=1)
    if not np.isfinite(mono).all():
        raise InputError("The sound has samples that are no numbers (NaN or infinite); export it again.")
    mono /= max(np.abs(mono).max(), 1)  # floats may be of any size
    whole = librosa.resample(mono, orig_sr=rate, target_sr=SAMPLE_RATE)
    if np.abs(whole).max() < SILENT:
        raise InputError("The sound is silent; choose another, or check the microphone.")
    _, (start, _) = librosa.effects.trim(whole, top_db=ONSET_DB, frame_length=2 * STEP_SIZE, hop_length=STEP_SIZE)
    samples = round(seconds * SAMPLE_RATE)
    found = whole[start : start + samples]
    padding = samples - len(found)
    return Sound(_at_peak(np.pad(found, (0, padding))), _at_peak(whole), start / SAMPLE_RATE, padding / SAMPLE_RATE)


def check_size(size: int) -> None:
    """Refuse, in an `InputError`, a file of so many bytes before it is read."""
    if size > LARGEST_MEGABYTES * 1_000_000:
        raise InputError(f"The file is larger than {LARGEST_MEGABYTES} MB; cut it to the note, or save it as FLAC.")


def _decode(content: bytes) -> tuple[np.ndarray, int]:
    """The samples of a file, mono, and their rate; a little more than the longest sound at most."""
    check_size(len(content))
    if not content:
        return np.empty(0, np.float32), SAMPLE_RATE
    try:
        with soundfile.SoundFile(AudioBytes(content)) as file:
            frames = min(file.frames, LONGEST_SECONDS * file.samplerate + 1)
            blocks = file.blocks(BLOCK, frames=frames, dtype="float32", always_2d=True)
            return np.concatenate([np.empty(0, np.float32), *(block.mean(axis=1) for block in blocks)]), file.samplerate
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = shown(getattr(error, "error_string", error)).rstrip(".")
        raise InputError(f"This is no audio that can be read ({reason}); use a WAV, FLAC, Ogg or MP3 file.") from None


def _at_peak(samples: np.ndarray) -> np.ndarray:
    return np.rint(samples * (PEAK * FULL_SCALE / np.abs(samples).max())).astype(np.int16)
