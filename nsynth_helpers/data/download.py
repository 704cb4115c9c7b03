"""Fetch the official archives: resume what is there, retry what breaks, and keep only what its content proves right."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import requests
from tqdm.auto import tqdm

from nsynth_helpers.data.archives import (
    ARCHIVE_NAMES,
    AUDIO_SUFFIXES,
    EXAMPLES,
    MAX_EXAMPLES_BYTES,
    content_digest,
    open_members,
)
from nsynth_helpers.data.metadata import OFFICIAL_NOTES
from nsynth_helpers.data.transfer import RETRY_POLICY, RetryPolicy, Transfer, require_space
from nsynth_helpers.settings import InputError, explain_full_disk, file_lock, write_json

OFFICIAL_URL = "http://download.magenta.tensorflow.org/datasets/nsynth/"
OFFICIAL_TEST_EXAMPLES = "74df2dd960c156cd5e8757d8afb1fe30e6a233aa99043a29037e7b54cde6908f"
# A note of 4 s is 128,044 bytes; the rest is room for padding.
NOTE_BYTES_LIMIT = 200_000


@dataclass(frozen=True)
class Archive:
    """What a downloaded archive must prove to be.

    Attributes
    ----------
    split : str
        ``train``, ``valid`` or ``test``.
    notes : int
        Number of audio files in ``nsynth-<split>/audio``.
    unpacked_limit : int
        Most bytes that the files may have together; what goes beyond is refused as a gzip bomb.
    examples_sha256 : str, optional
        SHA-256 of ``examples.json``, in hex, where it is known.
    """

    split: str
    notes: int
    unpacked_limit: int
    examples_sha256: str | None = None

    @property
    def name(self) -> str:
        """The file's name, on the server and on disk."""
        return ARCHIVE_NAMES[0].format(self.split)


def _official(split: str, examples_sha256: str | None = None) -> Archive:
    notes = OFFICIAL_NOTES[split]
    return Archive(split, notes, notes * NOTE_BYTES_LIMIT + MAX_EXAMPLES_BYTES, examples_sha256)


OFFICIAL_ARCHIVES = {
    "train": _official("train"),
    "valid": _official("valid"),
    "test": _official("test", OFFICIAL_TEST_EXAMPLES),
}


def download(
    splits: Iterable[str],
    to: Path,
    base_url: str = OFFICIAL_URL,
    archives: Mapping[str, Archive] = OFFICIAL_ARCHIVES,
    patience: RetryPolicy = RETRY_POLICY,
) -> list[Path]:
    """Download the archives of the splits, go on where an earlier run stopped, and verify what arrived.

    Parameters
    ----------
    splits : iterable of str
        ``train``, ``valid``, ``test``, in the order to fetch them.
    to : pathlib.Path
        The folder for the archives; made if it is missing.
    base_url : str
        Where the archives lie, without their names.
    archives : mapping of str to Archive
        What the archive of each split must contain.
    patience : RetryPolicy
        Attempts, waits and timeouts.

    Returns
    -------
    list of pathlib.Path
        The verified archives, in the order of ``splits``.

    Raises
    ------
    InputError
        If a split is unknown, the server has no such file or keeps failing, the disk is full, or an archive's content
        is not what it should be. What was fetched so far stays in ``<name>.part`` and the next call goes on from
        there; only content that is proven wrong is moved aside, to ``<name>.rejected``.

    Notes
    -----
    Beside ``<name>`` lies ``<name>.verified.json``: size, time and SHA-256 of what was verified. A later call compares
    size and time alone, and a finished file is never overwritten. Processes that want the same file take turns.

    Used in: the command line, ``python -m nsynth_helpers download``.
    """
    splits = list(splits)
    if unknown := [split for split in splits if split not in archives]:
        raise InputError(f"There is no split '{unknown[0]}' to download; use one of {', '.join(archives)}.")
    with _one_sentence_for_disk_errors(to), requests.Session() as session:
        to.mkdir(parents=True, exist_ok=True)
        downloads = [_Download(archives[split], to, base_url, session, patience) for split in splits]
        require_space(to, sum(download.bytes_to_come() for download in downloads))
        return [download.finish() for download in downloads]


def verify_archive(path: Path, archive: Archive) -> dict:
    """Prove an archive by its content, in one stream that holds one of its files at a time.

    Parameters
    ----------
    path : pathlib.Path
        The archive; it is not trusted and nothing of it is written to disk.
    archive : Archive
        What it must contain.

    Returns
    -------
    dict
        ``bytes``, ``mtime_ns``, ``sha256`` (of the archive), ``notes``, ``examples_sha256``.

    Raises
    ------
    InputError
        If gzip or tar is damaged, a member is unsafe, the files are too large together, or the number of notes or
        ``examples.json`` is not the expected one.
    """
    folder = PurePosixPath(f"nsynth-{archive.split}")
    notes = unpacked = 0
    examples_sha256 = None
    with tqdm(total=archive.notes, desc=f"verify {archive.name}", unit=" notes") as bar:
        for name, content in open_members(path):
            unpacked += len(content)
            if unpacked > archive.unpacked_limit:
                raise InputError(f"{path} unpacks to more than {archive.unpacked_limit:,} bytes; fetch it again.")
            member = PurePosixPath(name)
            if member == folder / EXAMPLES:
                examples_sha256 = hashlib.sha256(content).hexdigest()
            elif member.parent == folder / "audio" and member.suffix in AUDIO_SUFFIXES:
                notes += 1
                bar.update()
    _require_content(path, archive, notes, examples_sha256)
    return {**_stamp(path), "sha256": content_digest(path), "notes": notes, "examples_sha256": examples_sha256}


def _require_content(path: Path, archive: Archive, notes: int, examples_sha256: str | None) -> None:
    if notes != archive.notes:
        raise InputError(f"{path} holds {notes:,} notes of {archive.split}, not {archive.notes:,}; fetch it again.")
    if examples_sha256 is None:
        raise InputError(f"{path} holds no nsynth-{archive.split}/{EXAMPLES}; fetch it again.")
    if archive.examples_sha256 not in (None, examples_sha256):
        raise InputError(
            f"{path} holds an {EXAMPLES} with SHA-256 {examples_sha256}, not {archive.examples_sha256}; fetch it again."
        )


class _Download(Transfer):
    """One archive on its way to disk: its transfer, the proof of its content, then its name."""

    def __init__(self, archive: Archive, to: Path, base_url: str, session: requests.Session, patience: RetryPolicy):
        self.archive = archive
        self.path = to / archive.name
        self.rejected, self.verified, self.lock = (
            to / f"{archive.name}{suffix}" for suffix in (".rejected", ".verified.json", ".lock")
        )
        url = f"{base_url.rstrip('/')}/{archive.name}"
        super().__init__(url, self.path, archive.unpacked_limit, session, patience)

    def bytes_to_come(self) -> int:
        """Bytes that the disk must still take, as far as the server tells."""
        if self.path.exists() or self.is_whole:
            return 0
        size = self.persist(self.ask_size)
        return max(0, size - self.received) if size else 0

    def finish(self) -> Path:
        """Fetch and verify, unless that is done; wait first if another process is at it."""
        with file_lock(self.lock, f"downloads {self.archive.name}"):
            if self.path.exists():
                self._verify_finished()
            else:
                self.fetch()
                self._verify_part()
        return self.path

    def _verify_finished(self) -> None:
        if _recorded_stamp(self.verified) == _stamp(self.path):
            return
        try:
            self._record(verify_archive(self.path, self.archive))
        except InputError as error:
            reason = str(error).rstrip(".")
            raise InputError(f"{reason}; move it away first, a finished file is not overwritten.") from None

    def _verify_part(self) -> None:
        try:
            facts = verify_archive(self.part, self.archive)
        except InputError as error:
            os.replace(self.part, self.rejected)
            self.part_version.unlink(missing_ok=True)
            reason = str(error).rstrip(".")
            raise InputError(f"{reason}; it was moved to {self.rejected.name}, the next run starts afresh.") from None
        _flush_to_disk(self.part)
        os.replace(self.part, self.path)
        self._record(facts)
        self.part_version.unlink(missing_ok=True)

    def _record(self, facts: dict) -> None:
        write_json(self.verified, {**facts, "verified": datetime.now(UTC).isoformat(timespec="seconds")})


@contextmanager
def _one_sentence_for_disk_errors(folder: Path) -> Iterator[None]:
    try:
        with explain_full_disk(folder, "what has arrived is kept"):
            yield
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}); choose another folder with --to."
        ) from None


def _stamp(path: Path) -> dict[str, int]:
    """What tells quickly whether a file is still the one that was verified."""
    stat = path.stat()
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _recorded_stamp(path: Path) -> dict[str, int] | None:
    try:
        record = json.loads(path.read_bytes())
        return {key: record[key] for key in ("bytes", "mtime_ns")}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
