"""Fetch the official archives: resume what is there, retry what breaks, and keep only what its content proves right."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import requests
import urllib3
from filelock import FileLock, Timeout
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random
from tqdm.auto import tqdm

from nsynth_helpers.archives import (
    ARCHIVE_NAMES,
    AUDIO_SUFFIXES,
    EXAMPLES,
    MAX_EXAMPLES_BYTES,
    content_digest,
    open_members,
)
from nsynth_helpers.notes import OFFICIAL_NOTES
from nsynth_helpers.settings import InputError

OFFICIAL_URL = "http://download.magenta.tensorflow.org/datasets/nsynth/"
OFFICIAL_TEST_EXAMPLES = "74df2dd960c156cd5e8757d8afb1fe30e6a233aa99043a29037e7b54cde6908f"
# A note of 4 s is 128,044 bytes; the rest is room for padding.
NOTE_BYTES_LIMIT = 200_000
# Small, because what a broken connection had gathered of one piece is lost.
NETWORK_CHUNK = 1 << 16
# However often a connection breaks after some progress, the requests end.
MOST_CONNECTIONS = 1_000
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)
CONTENT_RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<size>\d+|\*)")


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


@dataclass(frozen=True)
class Patience:
    """How long to try: times in seconds.

    Attributes
    ----------
    attempts : int
        Requests in a row that may bring nothing new before the download gives up.
    first_wait, longest_wait : float
        The wait doubles from one attempt to the next, between these two.
    connect_timeout, read_timeout : float
        How long a server may take to accept a connection, and to send the next bytes.
    """

    attempts: int = 8
    first_wait: float = 1.0
    longest_wait: float = 60.0
    connect_timeout: float = 10.0
    read_timeout: float = 60.0


PATIENCE = Patience()


def download(
    splits: Iterable[str],
    to: Path,
    base_url: str = OFFICIAL_URL,
    archives: Mapping[str, Archive] = OFFICIAL_ARCHIVES,
    patience: Patience = PATIENCE,
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
    patience : Patience
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
        _require_space(to, sum(download.bytes_to_come() for download in downloads))
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


class _Interrupted(Exception):
    """A request failed in a way that may pass."""


@dataclass(frozen=True)
class _Version:
    """What a server says of a file: its size in bytes (None if it does not say) and what tells versions apart."""

    size: int | None
    etag: str | None
    last_modified: str | None

    @classmethod
    def of(cls, response: requests.Response) -> _Version:
        whole = response.status_code == 200
        text = response.headers.get("Content-Length") if whole else _content_range(response).get("size")
        return cls(
            size=int(text) if text and text.isdecimal() else None,
            etag=response.headers.get("ETag"),
            last_modified=response.headers.get("Last-Modified"),
        )

    @classmethod
    def read(cls, path: Path) -> _Version | None:
        try:
            return cls(**json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    @property
    def condition(self) -> dict[str, str]:
        """The header that makes a server send the whole file if it is no longer this one."""
        # HTTP allows no weak ETag here (RFC 9110, 13.1.5).
        is_strong = self.etag and not self.etag.startswith("W/")
        validator = self.etag if is_strong else self.last_modified
        return {"If-Range": validator} if validator else {}

    def agrees_with(self, other: _Version) -> bool:
        """Whether nothing that both state differs."""
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return all(None in pair or pair[0] == pair[1] for pair in pairs)


def _content_range(response: requests.Response) -> dict[str, str]:
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return match.groupdict() if match else {}


class _Download:
    """One archive on its way to disk: ``<name>.part`` and its version beside it, then ``<name>``."""

    def __init__(self, archive: Archive, to: Path, base_url: str, session: requests.Session, patience: Patience):
        self.archive = archive
        self.url = f"{base_url.rstrip('/')}/{archive.name}"
        self.session = session
        self.patience = patience
        self.path = to / archive.name
        self.part, self.part_version, self.rejected, self.verified, self.lock = (
            to / f"{archive.name}{suffix}" for suffix in (".part", ".part.json", ".rejected", ".verified.json", ".lock")
        )
        self.most_received = self.received

    @property
    def received(self) -> int:
        """Bytes in the part; those without a version cannot be continued and do not count."""
        return _size(self.part) if self.version else 0

    @property
    def version(self) -> _Version | None:
        return _Version.read(self.part_version)

    @property
    def is_whole(self) -> bool:
        version = self.version
        return version is not None and version.size is not None and version.size == self.received

    def bytes_to_come(self) -> int:
        """Bytes that the disk must still take, as far as the server tells."""
        if self.path.exists() or self.is_whole:
            return 0
        size = self._persist(self._ask_size)
        return max(0, size - self.received) if size else 0

    def finish(self) -> Path:
        """Fetch and verify, unless that is done; wait first if another process is at it."""
        with self._turn():
            if self.path.exists():
                self._verify_finished()
            else:
                self._fetch_all()
                self._verify_part()
        return self.path

    @contextmanager
    def _turn(self) -> Iterator[None]:
        lock = FileLock(self.lock)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tqdm.write(f"Another process downloads {self.archive.name}; waiting for it.")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

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
        _write_json(self.verified, {**facts, "verified": datetime.now(UTC).isoformat(timespec="seconds")})

    def _fetch_all(self) -> None:
        with tqdm(desc=self.archive.name, initial=self.received, unit="B", unit_scale=True) as self.bar:
            for _ in range(MOST_CONNECTIONS):
                if self.is_whole or self._persist(self._advance):
                    return
                time.sleep(self.patience.first_wait)
        raise InputError(f"{self.url} broke off {MOST_CONNECTIONS} times; run the same command again to go on.")

    def _persist(self, request: Callable):
        """Repeat a request until it works; give up after too many attempts in a row that brought nothing."""
        patience = self.patience
        retrying = Retrying(
            stop=stop_after_attempt(patience.attempts),
            wait=wait_exponential(patience.first_wait, patience.longest_wait) + wait_random(0, patience.first_wait),
            retry=retry_if_exception_type(_Interrupted),
            reraise=True,
        )
        try:
            return retrying(request)
        except _Interrupted as error:
            raise InputError(
                f"{self.url} could not be downloaded in {patience.attempts} attempts ({error}); what has arrived is "
                "kept, so check the network and run the same command again."
            ) from None

    @contextmanager
    def _exchange(self, method: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        """Send a request, and sort what goes wrong into what may pass and what is final."""
        patience = self.patience
        try:
            with self.session.request(
                method,
                self.url,
                # The archive itself is wanted, not a compressed transfer of it: byte ranges count its bytes.
                headers={"Accept-Encoding": "identity", **headers},
                stream=True,
                timeout=(patience.connect_timeout, patience.read_timeout),
            ) as response:
                if response.status_code in PASSING_STATUSES:
                    raise _Interrupted(f"the server answers {response.status_code} {response.reason}")
                if response.status_code in (404, 410):
                    raise InputError(f"{self.url} does not exist ({response.status_code}); check the base URL.")
                yield response
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            raise _Interrupted(f"the connection broke: {type(error).__name__}") from error
        except requests.RequestException as error:
            raise InputError(f"{self.url} cannot be fetched ({error}); check the base URL.") from None

    def _ask_size(self) -> int | None:
        with self._exchange("HEAD", {}) as response:
            return _Version.of(response).size if response.status_code == 200 else None

    def _advance(self) -> bool:
        """Fetch what is missing and say whether that is all; only a failure that brought nothing new is raised."""
        try:
            self._fetch_missing()
        except _Interrupted as error:
            if self.received <= self.most_received:
                raise
            self.bar.set_postfix_str(str(error))
        self.most_received = max(self.most_received, self.received)
        return self.is_whole

    def _fetch_missing(self) -> None:
        received, version = self.received, self.version
        headers = {"Range": f"bytes={received}-", **version.condition} if received else {}
        with self._exchange("GET", headers) as response:
            offered = _Version.of(response)
            if response.status_code == 200:
                _require_space(self.part.parent, (offered.size or 0) - _size(self.part))
                self._start_over(offered)
            elif received and response.status_code in (206, 416):
                self._continue(received, version, response, offered)
            else:
                raise InputError(f"{self.url} is answered with {response.status_code}; check the base URL.")
            if response.status_code != 416:
                self._append(response)
        if not self.is_whole:
            raise _Interrupted(f"it ended after {self.received:,} of {self.version.size:,} bytes")

    def _start_over(self, offered: _Version) -> None:
        # Emptied before the new version is noted: a kill between the two must not pair old bytes with it.
        self.part.write_bytes(b"")
        _write_json(self.part_version, asdict(offered))

    def _continue(self, received: int, version: _Version, response: requests.Response, offered: _Version) -> None:
        """Accept a range only if it is of the same version and goes on where the part ends."""
        start = _content_range(response).get("start")
        fits = int(start) == received if start else response.status_code == 416 and offered.size == received
        if not (fits and version.agrees_with(offered)):
            self.part.unlink()
            raise _Interrupted("the server's file is no longer the one that was begun")
        if offered.size is not None:
            _require_space(self.part.parent, offered.size - received)
            _write_json(self.part_version, asdict(replace(version, size=offered.size)))

    def _append(self, response: requests.Response) -> None:
        size = self.version.size
        limit = self.archive.unpacked_limit if size is None else size
        with self.part.open("ab") as part:
            self._show(part.tell(), size)
            for piece in response.raw.stream(NETWORK_CHUNK, decode_content=False):
                if part.tell() + len(piece) > limit:
                    raise InputError(f"{self.url} sends more than {limit:,} bytes; check the base URL.")
                part.write(piece)
                self.bar.update(len(piece))
        if size is None:
            # Without a declared size the end of the stream is the end of the file; verifying tells.
            _write_json(self.part_version, asdict(replace(self.version, size=self.received)))

    def _show(self, received: int, size: int | None) -> None:
        self.bar.total = size
        self.bar.initial = min(self.bar.initial, received)
        self.bar.n = received
        self.bar.set_postfix_str("")


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder} has {tqdm.format_sizeof(free, 'B')} free, but the download needs "
            f"{tqdm.format_sizeof(needed, 'B')} more; free some space or choose another folder with --to."
        )


@contextmanager
def _one_sentence_for_disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"The disk of {folder} is full; what has arrived is kept, so free some space and run the same command "
                "again."
            ) from None
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}); choose another folder with --to."
        ) from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


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


def _write_json(path: Path, content: dict) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
