"""The waveform cache: every note decoded once into one memory-mapped int16 array beside its table of notes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from filelock import FileLock
from tqdm.auto import tqdm

from nsynth_helpers.archives import AudioFile, NoteStream, SplitSource, content_digest, find_split, fingerprint
from nsynth_helpers.notes import OFFICIAL_NOTES, SAMPLE_RATE, SPLITS, parse_examples, parse_note_str
from nsynth_helpers.settings import InputError, Settings

WAVEFORMS, NOTES, RECORD, JOURNAL = "waveforms.int16", "notes.parquet", "cache.json", "decoded.txt"
HASH_CHUNK = 1 << 22


@dataclass(frozen=True)
class CachedSplit:
    """One split, decoded.

    Attributes
    ----------
    split : str
        ``train``, ``valid`` or ``test``.
    notes : pandas.DataFrame
        One row a note; row i describes waveform i. ``synth_lead`` is still in it.
    waveforms : numpy.memmap [shape=(notes, samples)], int16, 16 kHz
        Read-only; ``waveforms[i]`` is one note.
    digest : str
        SHA-256 of the names and waveforms: the identity of this data, wherever it lies.
    skipped : tuple of str
        One line for each note that ``--skip-bad`` left out.
    """

    split: str
    notes: pd.DataFrame
    waveforms: np.ndarray
    digest: str
    skipped: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of each waveform in seconds."""
        return self.waveforms.shape[1] / SAMPLE_RATE

    def waveform(self, note_str: str) -> np.ndarray:
        """The waveform of a note by its name, shape ``(samples,)``, int16."""
        rows = np.flatnonzero(self.notes["note_str"].to_numpy() == note_str)
        if not len(rows):
            raise InputError(f"The {self.split} split holds no note '{note_str}'; choose one of its table of notes.")
        return self.waveforms[rows[0]]


def load_splits(settings: Settings, splits=SPLITS) -> dict[str, CachedSplit]:
    """Load the splits of the settings' data, decoding what is not decoded yet.

    Notes
    -----
    Used in: every notebook.
    """
    return {split: load_split(settings, split) for split in splits}


def load_split(settings: Settings, split: str, **options) -> CachedSplit:
    """Load one split from its cache; build the cache first where there is none.

    Parameters
    ----------
    settings : Settings
        Names the data, the seconds, the cache folder and the number of decoding threads.
    split : str
        ``train``, ``valid`` or ``test``.
    **options
        ``skip_bad`` and ``rebuild`` of `prepare`.

    Raises
    ------
    InputError
        If the source is missing or bad, or the cache was made from files that have changed since.
    """
    source = find_split(settings.data_folder, split)
    folder = cache_folder(settings, source)
    with _locked(folder):
        if options.get("rebuild") or not (folder / RECORD).exists():
            prepare(source, folder, settings.seconds, workers=settings.workers, **options)
        return _open(source, folder)


def cache_folder(settings: Settings, source: SplitSource) -> Path:
    """Where a split's cache lies: keyed by where the source is and how many seconds are kept."""
    place = hashlib.sha256(str(source.path.resolve()).encode()).hexdigest()[:8]
    return settings.cache / f"{settings.data_name}-{place}-{settings.seconds:g}s" / source.split


def prepare(
    source: SplitSource,
    folder: Path,
    seconds: float = 1.0,
    workers: int = 0,
    skip_bad: bool = False,
    rebuild: bool = False,
) -> None:
    """Decode the first seconds of every note of a split into a waveform cache, in one streaming pass.

    A build that was interrupted goes on where it stopped: the archive is streamed again, but no note is decoded
    twice. The cache appears under its name only once it is whole.

    Parameters
    ----------
    source : SplitSource
        Folder or archive.
    folder : pathlib.Path
        The cache to make.
    seconds : float
        Seconds of each note that are kept.
    workers : int
        Decoding threads; 0 takes one for each core. At most one note in flight for each.
    skip_bad : bool
        Leave bad notes out, and list them, instead of stopping at the first.
    rebuild : bool
        Throw an existing or half-built cache away first.

    Raises
    ------
    InputError
        If a note is missing, unreadable, truncated, too short, stereo or of another rate (unless `skip_bad`), if
        ``examples.json`` disagrees with the audio, or the disk is full.
    """
    partial = folder.with_name(folder.name + ".partial")
    if rebuild:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    identity = {"source": str(source.path.resolve()), "fingerprint": fingerprint(source), "seconds": seconds}
    try:
        build = _Build(partial, identity, round(seconds * SAMPLE_RATE), skip_bad)
        stream = NoteStream(source)
        with build:
            build.decode(stream, workers or os.cpu_count() or 1, _progress_bar(source, stream))
        build.finish(parse_examples(stream.examples, stream.examples_name), stream, folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"The disk of {folder.parent} is full; free some space or set NSYNTH_CACHE to a larger disk, and run the "
            "same command again: the notes decoded so far are kept."
        ) from None


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


def _refuse_wrong_format(audio: AudioFile, file: soundfile.SoundFile, samples: int) -> None:
    if file.samplerate != SAMPLE_RATE:
        raise InputError(
            f"{audio.name} has a sample rate of {file.samplerate} Hz, not {SAMPLE_RATE}; resample it or pass --skip-bad."
        )
    if file.channels != 1:
        raise InputError(f"{audio.name} has {file.channels} channels, not one; mix it to mono or pass --skip-bad.")
    if file.frames < samples:
        raise InputError(
            f"{audio.name} is too short: {file.frames / SAMPLE_RATE:g} s of {samples / SAMPLE_RATE:g} s; "
            "set NSYNTH_SECONDS lower, replace the file or pass --skip-bad."
        )


def _refuse_cut_wav(audio: AudioFile) -> None:
    """libsndfile reads a cut WAV file as if it ended there; the size in its header tells the truth."""
    if not audio.name.endswith(".wav"):
        return
    if isinstance(audio.content, Path):
        with audio.content.open("rb") as file:
            head, size = file.read(8), os.fstat(file.fileno()).st_size
    else:
        head, size = bytes(audio.content.getbuffer()[:8]), audio.content.getbuffer().nbytes
    if head[:4] == b"RIFF" and len(head) == 8 and size < struct.unpack("<I", head[4:])[0] + 8:
        raise InputError(f"{audio.name} is truncated: its header promises more bytes; replace it or pass --skip-bad.")


@dataclass
class _Build:
    """A cache in the making: rows are appended, a journal names them, and a kill leaves both readable."""

    folder: Path
    identity: dict
    samples: int
    skip_bad: bool
    done: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        record = self.folder / RECORD
        if not record.exists() or json.loads(record.read_text()) != self.identity:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            _write_atomically(record, json.dumps(self.identity))
        self.hash = hashlib.sha256()

    def __enter__(self):
        self._cut_to_whole_rows()
        self.rows = (self.folder / WAVEFORMS).open("ab")
        self.journal = (self.folder / JOURNAL).open("a")
        return self

    def __exit__(self, *_):
        self.rows.close()
        self.journal.close()

    def _cut_to_whole_rows(self) -> None:
        """Take up what an interrupted build left: as many rows as both files hold whole."""
        rows, journal = self.folder / WAVEFORMS, self.folder / JOURNAL
        rows.touch()
        journal.touch()
        whole_lines = journal.read_text().split("\n")[:-1]
        count = min(len(whole_lines), rows.stat().st_size // (2 * self.samples))
        self.done = whole_lines[:count]
        os.truncate(rows, count * 2 * self.samples)
        os.truncate(journal, sum(len(line) + 1 for line in self.done))
        with rows.open("rb") as file:
            while chunk := file.read(HASH_CHUNK):
                self.hash.update(chunk)

    def decode(self, stream: NoteStream, workers: int, progress: tqdm) -> None:
        """Decode what is not decoded yet, in the stream's order, with one note in flight for each worker."""
        known, met = set(self.done), set()
        in_flight: deque[tuple[str, Future]] = deque()
        with ThreadPoolExecutor(workers) as pool, progress:
            for audio in stream:
                if audio.note_str in met:
                    raise InputError(f"{audio.name} occurs twice in {stream.source.path}; remove one of the two.")
                met.add(audio.note_str)
                progress.update()
                if audio.note_str not in known:
                    in_flight.append((audio.note_str, pool.submit(read_waveform, audio, self.samples)))
                if len(in_flight) >= workers:
                    self._append(*in_flight.popleft())
            while in_flight:
                self._append(*in_flight.popleft())

    def _append(self, note_str: str, waveform: Future) -> None:
        try:
            content = waveform.result().tobytes()
        except InputError as error:
            if not self.skip_bad:
                raise
            self.skipped[note_str] = str(error)
            return
        self.rows.write(content)
        self.journal.write(note_str + "\n")
        self.hash.update(content)
        self.done.append(note_str)

    def finish(self, examples: pd.DataFrame, stream: NoteStream, folder: Path) -> None:
        """Compare audio with ``examples.json``, write the table beside the waveforms, and give the cache its name."""
        self._compare(set(examples["note_str"]), stream)
        if not self.done:
            raise InputError(f"{stream.source.path} has no readable note: the split is empty; fetch it again.")
        table = examples.set_index("note_str").loc[self.done].reset_index()
        table.to_parquet(self.folder / NOTES, index=False)
        self.hash.update("\n".join(self.done).encode())
        record = self.identity | {
            "content": content_digest(stream.source.path) if stream.source.is_archive else None,
            "shape": [len(self.done), self.samples],
            "digest": self.hash.hexdigest(),
            "skipped": list(self.skipped.values()),
        }
        _write_atomically(self.folder / RECORD, json.dumps(record, indent=1))
        (self.folder / JOURNAL).unlink()
        self.folder.replace(folder)

    def _compare(self, listed: set[str], stream: NoteStream) -> None:
        decoded = set(self.done) | set(self.skipped)
        for missing in sorted(listed - decoded):
            self._refuse(missing, f"{stream.examples_name} lists {missing}, but its audio file is missing")
        surplus = decoded - listed
        for note_str in sorted(surplus):
            self._refuse(
                note_str, f"{stream.source.path} holds audio for {note_str}, which its examples.json does not list"
            )
        if surplus & set(self.done):
            self._remove(surplus)

    def _refuse(self, note_str: str, sentence: str) -> None:
        if not self.skip_bad:
            raise InputError(f"{sentence}; fetch the split again or pass --skip-bad.")
        self.skipped[note_str] = f"{sentence}."

    def _remove(self, names: set[str]) -> None:
        """Take rows out of the finished array: audio that examples.json does not list."""
        path = self.folder / WAVEFORMS
        kept = [row for row, name in enumerate(self.done) if name not in names]
        rows = np.memmap(path, dtype=np.int16, mode="r", shape=(len(self.done), self.samples))
        self.hash = hashlib.sha256()
        with (self.folder / "kept").open("wb") as file:
            for row in kept:
                file.write(rows[row].tobytes())
                self.hash.update(rows[row].tobytes())
        self.done = [self.done[row] for row in kept]
        (self.folder / "kept").replace(path)


def _open(source: SplitSource, folder: Path) -> CachedSplit:
    record = json.loads((folder / RECORD).read_text())
    if record["fingerprint"] != fingerprint(source):
        # Only its time may have changed, as in a fresh checkout; then the bytes are still the same.
        if record["content"] is None or record["content"] != content_digest(source.path):
            raise InputError(
                f"{source.path} has changed since its cache {folder} was made; "
                "run prepare again with --rebuild, or delete that folder."
            )
        _write_atomically(folder / RECORD, json.dumps(record | {"fingerprint": fingerprint(source)}, indent=1))
    waveforms = np.memmap(folder / WAVEFORMS, dtype=np.int16, mode="r", shape=tuple(record["shape"]))
    notes = pd.read_parquet(folder / NOTES)
    return CachedSplit(source.split, notes, waveforms, record["digest"], tuple(record["skipped"]))


def _locked(folder: Path) -> FileLock:
    """Let one process build a cache while others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(folder.name + ".lock"))


def _progress_bar(source: SplitSource, stream: NoteStream) -> tqdm:
    total = None if source.is_archive else len(os.listdir(source.path / "audio"))
    if source.path.name.endswith(".jsonwav.tar.gz"):
        total = OFFICIAL_NOTES[source.split]
    return tqdm(total=total, unit="note", desc=f"decoding {source.split}", leave=False)


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)
