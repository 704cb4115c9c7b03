"""Audio files to waveforms: what a note must be, and several notes at a time."""

from __future__ import annotations

import itertools
import os
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from nsynth_helpers.data.archives import AudioFile, SplitSource
from nsynth_helpers.data.metadata import SAMPLE_RATE, parse_note_str
from nsynth_helpers.settings import InputError

FILES_IN_TASK = 32


def read_waveform(audio: AudioFile, samples: int) -> np.ndarray:
    """Decode the first samples of one note.

    Parameters
    ----------
    audio : AudioFile
        A wav, flac or ogg file.
    samples : int
        How many samples are needed.

    Returns
    -------
    waveform : np.ndarray [shape=(samples,)], int16, 16 kHz

    Raises
    ------
    InputError
        If the name does not parse, or the file is missing, unreadable, truncated, too short, not mono or not at 16 kHz.
    """
    parse_note_str(audio.note_str)
    try:
        _refuse_cut_wav(audio)
        with soundfile.SoundFile(audio.content) as file:
            _refuse_wrong_format(audio, file, samples)
            waveform = file.read(samples, dtype="int16")
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{audio.name} cannot be read as audio ({error}); replace it or pass --skip-bad.") from None
    if len(waveform) < samples:
        raise InputError(
            f"{audio.name} is truncated: {len(waveform)} of {samples} samples; replace it or pass --skip-bad."
        )
    return waveform


def decode_all(
    files: Iterator[AudioFile], source: SplitSource, workers: int, samples: int
) -> Iterator[tuple[list[str], list[np.ndarray | InputError]]]:
    """Decode the files of a split, by several workers, in the order of the files.

    Parameters
    ----------
    files : iterator of AudioFile
        What is to be decoded.
    source : SplitSource
        Where the files come from.
    workers : int
        Decoding threads.
    samples : int
        How many samples of each note are needed.

    Yields
    ------
    note_strs : list of str
        The names of a few notes.
    waveforms : list of np.ndarray or InputError
        What `read_waveform` returned or raised for each.
    """
    # Out of an archive a task is one note, for its bytes are in memory; of a folder it is a handful of paths.
    task_size = 1 if source.is_archive else FILES_IN_TASK
    tasks = iter(lambda: list(itertools.islice(files, task_size)), [])
    if workers == 1 or source.is_compressed:
        # Decompression has a thread of its own and is slower than decoding: more threads would only get in its way.
        yield from ((_names(task), _read_waveforms(task, samples)) for task in tasks)
        return
    in_flight: deque[tuple[list[str], Future]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for task in tasks:
            in_flight.append((_names(task), pool.submit(_read_waveforms, task, samples)))
            if len(in_flight) >= workers:
                names, waveforms = in_flight.popleft()
                yield names, waveforms.result()
        yield from ((names, waveforms.result()) for names, waveforms in in_flight)


def _names(files: list[AudioFile]) -> list[str]:
    return [audio.note_str for audio in files]


def _read_waveforms(files: list[AudioFile], samples: int) -> list[np.ndarray | InputError]:
    """One task of a worker: the waveform of each file, or why there is none."""
    waveforms = []
    for audio in files:
        try:
            waveforms.append(read_waveform(audio, samples))
        except InputError as error:
            waveforms.append(error)
    return waveforms


def _refuse_wrong_format(audio: AudioFile, file: soundfile.SoundFile, samples: int) -> None:
    if file.samplerate != SAMPLE_RATE:
        raise InputError(
            f"{audio.name} has a sample rate of {file.samplerate} Hz, not {SAMPLE_RATE}; "
            "resample it or pass --skip-bad."
        )
    if file.channels != 1:
        raise InputError(f"{audio.name} has {file.channels} channels, not one; mix it to mono or pass --skip-bad.")
    if file.frames < samples:
        raise InputError(
            f"{audio.name} is too short: {file.frames / SAMPLE_RATE:g} s of {samples / SAMPLE_RATE:g} s; "
            "set NSYNTH_SECONDS lower, replace the file or pass --skip-bad."
        )


def _refuse_cut_wav(audio: AudioFile) -> None:
    """A cut WAV file is read as if it ended there; the size in its header tells the truth."""
    if not audio.name.endswith(".wav"):
        return
    if isinstance(audio.content, Path):
        with audio.content.open("rb") as file:
            head, size = file.read(8), os.fstat(file.fileno()).st_size
    else:
        head, size = bytes(audio.content.getbuffer()[:8]), audio.content.getbuffer().nbytes
    if head[:4] == b"RIFF" and len(head) == 8 and size < struct.unpack("<I", head[4:])[0] + 8:
        raise InputError(f"{audio.name} is truncated: its header promises more bytes; replace it or pass --skip-bad.")
