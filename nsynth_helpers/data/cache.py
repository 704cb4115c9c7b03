"""The waveform cache: every note decoded once into one memory-mapped int16 array beside its table of notes."""

import hashlib
import io
import os
import struct
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import soundfile
from pydantic import BaseModel, ConfigDict, PositiveInt
from tqdm.auto import tqdm

from nsynth_helpers.data.archives import (
    ARCHIVE_NAMES,
    AudioFile,
    NoteStream,
    SplitSource,
    content_digest,
    find_split,
    fingerprint,
    is_gzip,
)
from nsynth_helpers.data.metadata import OFFICIAL_NOTES, SAMPLE_RATE, SPLITS, parse_examples
from nsynth_helpers.settings import (
    InputError,
    Settings,
    file_lock,
    one_sentence,
    progress_is_off,
    reading,
    shown,
    write_text,
)

WAVEFORMS, NOTES, RECORD = "waveforms.int16", "notes.parquet", "cache.json"
# All that a cache, or the build of one, ever holds.
OWN_FILES = (WAVEFORMS, NOTES, RECORD, f"{RECORD}.*.tmp")
IS_RIGHT = dict.fromkeys(("note_str", "family", "source", "instrument", "qualities"), pd.api.types.is_string_dtype)
IS_RIGHT |= dict.fromkeys(("label", "pitch", "velocity"), pd.api.types.is_integer_dtype)
# libsndfile's int16 of these is not what they hold: it does not scale floats (soundfile's floats are int16 / 32768),
# and what a lossy codec decodes beyond full scale wraps around.
FLOAT_SCALES = {"FLOAT": 32_768, "DOUBLE": 32_768, "VORBIS": 32_767, "OPUS": 32_767, "MPEG_LAYER_III": 32_767}
# Beyond it a float file holds unscaled integers, of which clipping would leave a square wave.
FLOAT_PEAK = 256
OR_SKIP = "or set NSYNTH_SKIP_BAD=1 (prepare: --skip-bad) to go on without it"
REBUILD = "run prepare again with --rebuild, or delete the folder of the cache"


class Note(NamedTuple):
    """One note of a split; `audio` is its waveform, int16 of shape ``(samples,)``, at 16 kHz."""

    note_str: str
    family: str
    source: str
    instrument: str
    pitch: int
    velocity: int
    audio: np.ndarray


@dataclass(frozen=True)
class NSynthSplit:
    """One split, decoded; ``split[note_str]`` is its `Note` of that name.

    Row i of `notes` (``synth_lead`` is still in it) describes ``waveforms[i]``. `digest` is the SHA-256 of names and
    waveforms: the identity of this data, wherever it lies. `skipped` has a line for each bad note that was left out.
    """

    name: str
    notes: pd.DataFrame
    waveforms: np.ndarray  # (notes, samples), int16, 16 kHz, memory-mapped and read-only
    digest: str
    skipped: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of each waveform in seconds."""
        return self.waveforms.shape[1] / SAMPLE_RATE

    def __getitem__(self, note_str: str) -> Note:
        rows = np.flatnonzero(self.notes["note_str"].to_numpy() == note_str)
        if not len(rows):
            raise InputError(
                f"The {self.name} split holds no note '{shown(note_str)}'; choose one of its table of notes."
            )
        [words] = self.notes.iloc[rows[:1]][list(Note._fields[:-1])].to_dict("records")
        return Note(**words, audio=self.waveforms[rows[0]])


class CacheRecord(BaseModel):
    """The ``cache.json`` of a finished cache: what it was made from, and what is in it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    version: Literal[1] = 1
    source: str
    fingerprint: str
    seconds: float
    content: str | None
    shape: tuple[PositiveInt, PositiveInt]
    digest: str
    skipped: tuple[str, ...]


def load_splits(settings: Settings, splits=SPLITS) -> dict[str, NSynthSplit]:
    """Load the splits of the settings' data, decoding what is not decoded yet.

    Examples
    --------
    >>> import nsynth_helpers as ns
    >>> splits = ns.load_splits(ns.Settings.from_environment({"NSYNTH_SECONDS": "0.25"}), ["test"])
    >>> splits["test"].waveforms.shape
    (400, 4000)
    >>> note = splits["test"]["bass_acoustic_032-030-025"]
    >>> note.family, note.pitch, note.audio.dtype
    ('bass', 30, dtype('int16'))
    """
    return {split: load_split(settings, split) for split in splits}


def load_split(settings: Settings, split: str, rebuild: bool = False) -> NSynthSplit:
    """Load one split from its cache; build the cache first where there is none, or anew if `rebuild`.

    An `InputError` is raised if the source is missing or bad, or its cache is damaged, cannot be written, was made from
    files that have changed since, or leaves bad notes out although the settings do not say so.
    """
    with one_sentence(), ExitStack() as held:
        source = find_split(settings.data_folder, split)
        # The folder of a cache is known by where its source is, and how many seconds are kept.
        place = hashlib.sha256(os.fsencode(source.path.resolve())).hexdigest()[:8]
        folder = settings.cache / f"{settings.data_name}-{place}-{settings.seconds:g}s" / split
        try:
            held.enter_context(file_lock(folder.with_name(folder.name + ".lock"), f"prepares {folder}"))
        except OSError:
            # A complete cache may lie on a disk that nobody writes to.
            if rebuild or not os.path.exists(folder / RECORD):
                raise
        if rebuild or not (folder / RECORD).exists():
            prepare(source, folder, settings.seconds, settings.workers, settings.skip_bad)
        return _open(source, folder, settings)


def prepare(source: SplitSource, folder: Path, seconds: float = 1.0, workers: int = 0, skip_bad: bool = False) -> None:
    """Decode the first seconds of every note of a split into a waveform cache, in one streaming pass.

    The cache appears under its name only once it is whole, in place of an older one; what an interrupted build left is
    thrown away.

    Of the decoding threads (`workers`; 0: one for each core) each has one note in hand at a time. A note that is
    missing, surplus, unreadable, truncated, too short, stereo or of another rate is left out and listed with
    `skip_bad`; otherwise the first stops the build with an `InputError`, as do files in the way that are no cache's.
    """
    partial = folder.with_name(folder.name + ".partial")
    _remove(partial)
    partial.mkdir(parents=True)
    try:
        before = fingerprint(source)
        record = CacheRecord(
            source=str(source.path.resolve()),
            fingerprint=before,
            seconds=seconds,
            **_build(source, partial, round(seconds * SAMPLE_RATE), workers or os.cpu_count() or 1, skip_bad),
            content=content_digest(source.path) if source.is_archive else None,
        )
        if fingerprint(source) != before:
            raise InputError(f"{source.path} changed while it was decoded; run the same command again.")
        (partial / RECORD).write_text(record.model_dump_json(indent=1))
        _remove(folder)
        partial.replace(folder)
    finally:
        _remove(partial)


def _build(source: SplitSource, folder: Path, samples: int, workers: int, skip_bad: bool, surplus=frozenset()) -> dict:
    """Write the waveforms and their table, without audio known to be surplus; return what the record says of them."""
    stream, kept, skipped, digest = NoteStream(source), {}, {}, hashlib.sha256()

    def leave_out(note_str: str, sentence: str) -> None:
        if not skip_bad:
            raise InputError(sentence) from None
        skipped[note_str] = sentence

    official = OFFICIAL_NOTES[source.split] if source.path.name == ARCHIVE_NAMES[0].format(source.split) else None
    total = official if source.is_archive else len(os.listdir(source.path / "audio"))
    bar = tqdm(total=total, unit="note", desc=f"decoding {source.split}", leave=False, disable=progress_is_off())
    with (folder / WAVEFORMS).open("wb") as file, bar:
        for audio, decoded in _decode(stream, workers, samples):
            bar.update()
            if audio.note_str in surplus:
                continue
            if audio.note_str in kept or audio.note_str in skipped:
                raise InputError(f"{audio.name} occurs twice in {source.path}; remove one of the two.")
            try:
                waveform = decoded.result()
            except InputError as error:
                leave_out(audio.note_str, str(error))
                continue
            kept[audio.note_str] = None
            file.write(waveform)
            digest.update(waveform)
    table = parse_examples(stream.examples, stream.examples_name).set_index("note_str", drop=False)
    listed = set(table.index)
    for note_str in sorted((kept.keys() | surplus) - listed):
        sentence = f"{source.path} holds audio for {shown(note_str)}, which its examples.json does not list; remove it"
        leave_out(note_str, f"{sentence} {OR_SKIP}.")
    for note_str in sorted(listed - kept.keys() - skipped.keys()):
        sentence = f"{stream.examples_name} lists {note_str}, but its audio file is missing; add it"
        leave_out(note_str, f"{sentence} {OR_SKIP}.")
    if kept.keys() - listed:
        # Only the end of an archive may tell: the rows of such audio are left out in a second pass.
        return _build(source, folder, samples, workers, skip_bad, kept.keys() - listed)
    if not kept:
        raise InputError(f"{source.path} has no readable note: the split is empty; fetch it again.")
    digest.update("\n".join(kept).encode())
    table.loc[list(kept)].to_parquet(folder / NOTES, index=False)
    return {"shape": (len(kept), samples), "digest": digest.hexdigest(), "skipped": tuple(skipped.values())}


def _decode(stream: NoteStream, workers: int, samples: int) -> Iterator[tuple[AudioFile, Future[np.ndarray]]]:
    """Decode the notes of a split, by several workers, in the order of the stream."""
    # Decompression has a thread of its own and is slower than decoding: more threads would only get in its way.
    workers = 1 if stream.source.is_archive and is_gzip(stream.source.path) else workers
    in_hand = deque()
    with ThreadPoolExecutor(workers) as pool:
        for audio in stream:
            in_hand.append((audio, pool.submit(read_waveform, audio, samples)))
            if len(in_hand) == workers:
                yield in_hand.popleft()
        yield from in_hand


def _remove(folder: Path) -> None:
    """Delete a cache, or the build of one, and nothing else."""
    if not os.path.lexists(folder):
        return
    is_folder = folder.is_dir() and not folder.is_symlink()
    files = sorted(folder.iterdir(), key=lambda path: path.name != RECORD) if is_folder else [folder]
    if others := [path for path in files if path.is_dir() or not any(map(path.match, OWN_FILES))]:
        raise InputError(
            f"{shown(others[0])} is in the way of a cache; move it away or set NSYNTH_CACHE to another folder."
        )
    # Without its record, which goes first, what is left is no cache.
    for path in files:
        path.unlink()
    folder.rmdir()


class AudioBytes(io.BytesIO):
    """The bytes of an audio file, for soundfile."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        # Of damaged files libsndfile seeks places before the start; a refusal would be printed as a traceback.
        return super().seek(max(offset, 0) if whence == io.SEEK_SET else offset, whence)


def read_waveform(audio: AudioFile, samples: int) -> np.ndarray:
    """Decode the first samples of one note, int16 of shape ``(samples,)``; an `InputError` names what it cannot use."""

    def refuse(complaint: str, remedy: str = "replace it") -> None:
        raise InputError(f"{audio.name} {complaint}; {remedy} {OR_SKIP}.")

    try:
        if isinstance(audio.content, Path):
            with audio.content.open("rb") as file:
                head, size = file.read(8), os.fstat(file.fileno()).st_size
        else:
            head, size = audio.content[:8], len(audio.content)
        # A cut WAV file is read as if it ended there; the size in its header tells the truth.
        if head[:4] == b"RIFF" and len(head) == 8 and size < struct.unpack("<I", head[4:])[0] + 8:
            refuse("is truncated: its header promises more bytes")
        content = audio.content if isinstance(audio.content, Path) else AudioBytes(audio.content)
        with soundfile.SoundFile(content) as file:
            if file.samplerate != SAMPLE_RATE:
                refuse(f"has a sample rate of {file.samplerate} Hz, not {SAMPLE_RATE}", "resample it")
            if file.channels != 1:
                refuse(f"has {file.channels} channels, not one", "mix it to mono")
            if file.frames < samples:
                seconds = f"{file.frames / SAMPLE_RATE:g} s of {samples / SAMPLE_RATE:g} s"
                refuse(f"is too short: {seconds}", "set NSYNTH_SECONDS lower, replace the file")
            scale = FLOAT_SCALES.get(file.subtype)
            waveform = file.read(samples, dtype="float32" if scale else "int16")
    except PermissionError:
        refuse("may not be read", "change its permissions")
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        refuse(f"cannot be read as audio ({shown(getattr(error, 'error_string', error)).rstrip('.')})")
    if len(waveform) < samples:
        refuse(f"is truncated: {len(waveform)} of {samples} samples")
    if scale:
        if not np.isfinite(waveform).all():
            refuse("has samples that are no numbers (NaN or infinite)")
        if np.abs(waveform).max() > FLOAT_PEAK:
            refuse(f"has float samples up to {np.abs(waveform).max():g}, where full scale is 1", "scale it")
        waveform = np.rint(waveform * np.float32(scale)).clip(-32_768, 32_767).astype(np.int16)
    return waveform


def _open(source: SplitSource, folder: Path, settings: Settings) -> NSynthSplit:
    with reading(folder / RECORD, REBUILD):
        record = CacheRecord.model_validate_json((folder / RECORD).read_bytes())
        if record.shape[1] != round(settings.seconds * SAMPLE_RATE):
            raise ValueError(f"shape: {record.shape[1]} samples are not {settings.seconds:g} s")
    current = fingerprint(source)
    if record.fingerprint != current:
        # Only its time may have changed, as in a fresh checkout; then the bytes are still the same.
        if record.content is None or record.content != content_digest(source.path):
            raise InputError(f"{source.path} has changed since its cache {folder} was made; {REBUILD}.")
        # On a disk that nobody writes to the bytes are compared again next time.
        with suppress(OSError):
            write_text(folder / RECORD, record.model_copy(update={"fingerprint": current}).model_dump_json(indent=1))
    with reading(folder / WAVEFORMS, REBUILD):
        if (folder / WAVEFORMS).stat().st_size != 2 * record.shape[0] * record.shape[1]:
            raise ValueError("it has other bytes than its record says")
        waveforms = np.memmap(folder / WAVEFORMS, dtype=np.int16, mode="r", shape=record.shape)
    with reading(folder / NOTES, REBUILD):
        notes = pd.read_parquet(folder / NOTES)
        for column, is_right in IS_RIGHT.items():
            if not is_right(notes[column]):
                raise ValueError(f"column {column} is of another type")
        if len(notes) != len(waveforms):
            raise ValueError(f"it has {len(notes)} rows for {len(waveforms)} notes")
    if record.skipped:
        if not settings.skip_bad:
            raise InputError(record.skipped[0])
        left_out = f"{len(record.skipped)} bad or missing; the first: {record.skipped[0]}"
        tqdm.write(f"Left out of the {source.split} split: {left_out}", file=sys.stderr)
    return NSynthSplit(source.split, notes, waveforms, record.digest, record.skipped)
