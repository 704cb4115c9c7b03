"""The waveform cache: every note decoded once into one memory-mapped int16 array beside its table of notes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from nsynth_helpers.data.archives import AudioFile, NoteStream, SplitSource, content_digest, find_split, fingerprint
from nsynth_helpers.data.decoding import decode_all
from nsynth_helpers.data.metadata import OFFICIAL_NOTES, SAMPLE_RATE, SPLITS, parse_examples
from nsynth_helpers.settings import InputError, Settings, explain_full_disk, file_lock, progress_is_off, write_json

WAVEFORMS, NOTES, RECORD, JOURNAL = "waveforms.int16", "notes.parquet", "cache.json", "decoded.txt"
HASH_CHUNK = 1 << 22
LINE_BUFFERED = 1
KEPT = "the notes decoded so far are kept (NSYNTH_CACHE may name a folder on a larger disk)"


@dataclass(frozen=True)
class NSynthSplit:
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


def load_splits(settings: Settings, splits=SPLITS) -> dict[str, NSynthSplit]:
    """Load the splits of the settings' data, decoding what is not decoded yet.

    Notes
    -----
    Used in: every notebook.
    """
    return {split: load_split(settings, split) for split in splits}


def load_split(settings: Settings, split: str, **options) -> NSynthSplit:
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
    lock = folder.with_name(folder.name + ".lock")
    with explain_full_disk(folder.parent, KEPT), file_lock(lock, f"prepares {folder}"):
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
        Decoding threads; 0 takes one for each core. Each has one note in hand at a time. From a ``.tar.gz`` one
        thread decodes beside the one that decompresses, whatever the number.
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
    with explain_full_disk(folder.parent, KEPT):
        build = _Build(partial, identity, round(seconds * SAMPLE_RATE), skip_bad)
        stream = NoteStream(source)
        with build:
            build.decode(stream, workers or os.cpu_count() or 1, _progress_bar(source))
        build.finish(parse_examples(stream.examples, stream.examples_name), stream, folder)


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
        # A build killed in its last moments has a record that says more; what identifies it is in there.
        if not record.exists() or not self.identity.items() <= json.loads(record.read_text()).items():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            write_json(record, self.identity)
        self.hash = hashlib.sha256()

    def __enter__(self):
        self._cut_to_whole_rows()
        self.rows = (self.folder / WAVEFORMS).open("ab")
        self.journal = (self.folder / JOURNAL).open("a", buffering=LINE_BUFFERED)
        return self

    def __exit__(self, *_):
        try:
            self.rows.close()
        finally:
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
        """Decode what is not decoded yet, in the stream's order; each worker has one note in hand."""
        with progress:
            files = self._not_decoded_yet(stream, progress)
            for names, waveforms in decode_all(files, stream.source, workers, self.samples):
                self._append(names, waveforms)

    def _not_decoded_yet(self, stream: NoteStream, progress: tqdm) -> Iterator[AudioFile]:
        known, met = set(self.done), set()
        for audio in stream:
            if audio.note_str in met:
                raise InputError(f"{audio.name} occurs twice in {stream.source.path}; remove one of the two.")
            met.add(audio.note_str)
            progress.update()
            if audio.note_str not in known:
                yield audio

    def _append(self, names: list[str], waveforms: list[np.ndarray | InputError]) -> None:
        for note_str, waveform in zip(names, waveforms, strict=True):
            if isinstance(waveform, InputError):
                if not self.skip_bad:
                    raise waveform
                self.skipped[note_str] = str(waveform)
            else:
                content = waveform.tobytes()
                self.rows.write(content)
                self.rows.flush()
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
        write_json(self.folder / RECORD, record)
        self.folder.replace(folder)
        (folder / JOURNAL).unlink(missing_ok=True)

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
        # Without the journal, which has other rows, a build killed here starts anew instead of mixing notes up.
        (self.folder / JOURNAL).unlink()
        (self.folder / "kept").replace(path)


def _open(source: SplitSource, folder: Path) -> NSynthSplit:
    try:
        record = json.loads((folder / RECORD).read_text())
        waveforms = np.memmap(folder / WAVEFORMS, dtype=np.int16, mode="r", shape=tuple(record["shape"]))
        notes = pd.read_parquet(folder / NOTES)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The cache {folder} is damaged ({error}); run prepare again with --rebuild, or delete that folder."
        ) from None
    _refuse_changed(source, folder, record)
    return NSynthSplit(source.split, notes, waveforms, record["digest"], tuple(record["skipped"]))


def _refuse_changed(source: SplitSource, folder: Path, record: dict) -> None:
    if record["fingerprint"] == fingerprint(source):
        return
    # Only its time may have changed, as in a fresh checkout; then the bytes are still the same.
    if record["content"] is None or record["content"] != content_digest(source.path):
        raise InputError(
            f"{source.path} has changed since its cache {folder} was made; "
            "run prepare again with --rebuild, or delete that folder."
        )
    write_json(folder / RECORD, record | {"fingerprint": fingerprint(source)})


def _progress_bar(source: SplitSource) -> tqdm:
    total = None if source.is_archive else len(os.listdir(source.path / "audio"))
    if source.path.name.endswith(".jsonwav.tar.gz"):
        total = OFFICIAL_NOTES[source.split]
    off = progress_is_off()
    return tqdm(total=total, unit="note", desc=f"decoding {source.split}", leave=False, disable=off)
