"""Fetch files: resume what is there, retry what breaks, never mix two versions, keep what its content proves right."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import requests
import urllib3
from pydantic import BaseModel, ConfigDict, NonNegativeInt
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random
from tqdm.auto import tqdm

from nsynth_helpers.data.archives import ARCHIVE_NAMES
from nsynth_helpers.settings import InputError, file_lock, shown, write_json

# The documented address comes second: it has no encryption. The first is the host of the bucket behind it.
OFFICIAL_URLS = (
    "https://storage.googleapis.com/magentadata/datasets/nsynth/",
    "http://download.magenta.tensorflow.org/datasets/nsynth/",
)
DISK_CHUNK = 1 << 20
# Small, because what a broken connection had gathered of one piece is lost.
NETWORK_CHUNK = 1 << 16
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)
SUFFIXES = (".part", ".part.json", ".rejected", ".verified.json", ".lock")


# What a downloaded archive must prove to be, as far as it is known. NSynth's publisher gives no checksums: these stand,
# the same, in several independent public projects that download it.
OFFICIAL_ARCHIVES = {
    "train": {
        "md5": "fde6665a93865503ba598b9fac388660",
        "sha256": "15c5100fc40c3a262f9b42707c15ffed30b8fec58c0d9b88d4136f6cb1fddefe",
        "bytes": 23_815_298_079,
    },
    "valid": {"md5": "87e94a00a19b6dbc99cf6d4c0c0cae87"},
    "test": {"md5": "5e6f8719bf7e16ad0a00d518b78af77d"},
}


@dataclass(frozen=True)
class RetryPolicy:
    """How long to try, in seconds: the wait doubles between the two, after each of `attempts` that bring nothing.

    A connection that brings fewer bytes a second than `least_rate` counts as one that brings nothing.
    """

    attempts: int = 8
    first_wait: float = 1.0
    longest_wait: float = 60.0
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    least_rate: float = 1_000.0


def download(
    splits: Sequence[str],
    to: Path,
    base_urls: Sequence[str] = OFFICIAL_URLS,
    archives: Mapping[str, dict] = OFFICIAL_ARCHIVES,
    policy: RetryPolicy = RetryPolicy(),
) -> list[Path]:
    """Download the archives of the splits, go on where an earlier run stopped, and return them verified.

    The first of `base_urls`, the folders of the archives, that answers is used. A finished file is never
    overwritten. Beside ``<name>`` lies ``<name>.verified.json``: a later call compares size and time with it alone.

    An `InputError` is raised if a split is unknown, no server has the file or all keep failing, too little disk is
    free, or an archive is not the pinned one. What was fetched so far stays in ``<name>.part`` and the next call goes
    on from there; only content that is proven wrong is moved aside, to ``<name>.rejected``.
    """
    if unknown := [split for split in splits if split not in archives]:
        raise InputError(f"There is no split '{unknown[0]}' to download; use one of {', '.join(archives)}.")
    to.mkdir(parents=True, exist_ok=True)
    downloads = []
    for split in splits:
        name = ARCHIVE_NAMES[0].format(split)
        urls = [f"{base_url.rstrip('/')}/{name}" for base_url in base_urls]
        downloads.append(Download(urls, to / name, partial(verify_archive, archive=archives[split]), policy))
    _require_space(to, sum(one.bytes_to_come() for one in downloads))
    try:
        return [one.finish() for one in downloads]
    except OSError as error:
        error.filename = error.filename or str(to)  # a full disk names no file
        raise


def verify_archive(path: Path, archive: dict) -> dict:
    """The ``bytes``, ``md5`` and ``sha256`` of a file; an `InputError` if one of them is not that of the archive."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    bar = tqdm(desc=f"verify {path.name}", total=path.stat().st_size, unit="B", unit_scale=True, leave=False)
    with path.open("rb") as file, bar:
        while piece := file.read(DISK_CHUNK):
            md5.update(piece)
            sha256.update(piece)
            bar.update(len(piece))
        found = {"bytes": file.tell(), "md5": md5.hexdigest(), "sha256": sha256.hexdigest()}
    for fact, value in found.items():
        if value != archive.get(fact, value):
            raise InputError(f"{path} is not the official archive: its {fact} is {value}, not {archive[fact]}.")
    return found


class Interrupted(Exception):
    """A request failed in a way that may pass."""


class Version(BaseModel):
    """What a server says of a file: its size in bytes, and a mark that changes when the file does."""

    model_config = ConfigDict(strict=True, frozen=True)
    size: NonNegativeInt
    mark: str | None = None

    @classmethod
    def of(cls, response: requests.Response) -> Version:
        """The version that a response states; an `InputError` if it does not say how many bytes there are."""
        stated, is_whole = response.headers, response.status_code == 200
        size = stated.get("Content-Length", "") if is_whole else stated.get("Content-Range", "").rpartition("/")[2]
        if not size.isdecimal():
            raise InputError(f"{response.url} does not say how many bytes it has; use another base URL.")
        return cls(size=int(size), mark=stated.get("ETag") or stated.get("Last-Modified"))

    @property
    def condition(self) -> dict[str, str]:
        """The header that makes a server send the whole file if it is no longer this one."""
        # HTTP allows no weak ETag here (RFC 9110, 13.1.5), and a damaged record may hold anything.
        usable = self.mark and not self.mark.startswith("W/") and self.mark.isascii() and self.mark.isprintable()
        return {"If-Range": self.mark} if usable else {}


class Download:
    """One file on its way to disk: ``<path>.part`` until its content is proven right, then ``<path>``.

    The first of `urls` that answers is used. `prove` takes a path and raises an `InputError` if the content is not
    right, else returns facts to record.
    """

    def __init__(self, urls: list[str], path: Path, prove: Callable, policy: RetryPolicy):
        self.urls, self.url, self.path, self.prove = urls, urls[0], path, prove
        self.policy = policy
        own = [path.with_name(path.name + suffix) for suffix in SUFFIXES]
        self.part, self.part_version, self.rejected, self.verified, self.lock = own
        if links := [file for file in (path, *own) if file.is_symlink() and (file != path or not path.exists())]:
            raise InputError(f"{links[0]} is a link, and a download follows none out of its folder; remove it.")
        self.most_received = self.received

    @property
    def version(self) -> Version | None:
        """The version of the part; None where nothing usable tells, and the part cannot be continued."""
        try:
            return Version.model_validate_json(self.part_version.read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    @property
    def received(self) -> int:
        """Bytes of the part that can be continued."""
        return self.part.stat().st_size if self.version and self.part.exists() else 0

    @property
    def is_whole(self) -> bool:
        """Whether as much has arrived as the server spoke of."""
        return self.version is not None and self.version.size == self.received

    def bytes_to_come(self) -> int:
        """Bytes that the disk must still take, as far as a server tells; settles on the first that has the file."""
        if self.path.exists() or self.is_whole:
            return 0
        return max(0, (self._persist(self._ask_size) or 0) - self.received)

    def finish(self) -> Path:
        """Fetch and verify, unless that is done; wait first if another process is at it."""
        with file_lock(self.lock, f"downloads {self.path.name}"):
            is_finished = self.path.exists()
            if is_finished and self._is_recorded():
                return self.path
            while not (is_finished or self.is_whole):
                self._persist(self._fetch_more)
            try:
                facts = self.prove(self.path if is_finished else self.part)
            except InputError as error:
                remedy = "move it away first, a finished file is not overwritten"
                if not is_finished:
                    os.replace(self.part, self.rejected)
                    self.part_version.unlink()
                    remedy = f"it was moved to {self.rejected.name}, the next run starts afresh"
                raise InputError(f"{str(error).rstrip('.')}; {remedy}.") from None
            if not is_finished:
                with self.part.open("rb+") as file:
                    os.fsync(file.fileno())
                os.replace(self.part, self.path)
            write_json(self.verified, facts | _stamp(self.path))
            self.part_version.unlink(missing_ok=True)
        return self.path

    def _is_recorded(self) -> bool:
        try:
            return _stamp(self.path).items() <= json.loads(self.verified.read_bytes()).items()
        except (FileNotFoundError, ValueError, AttributeError):
            return False

    def _persist(self, request: Callable):
        """Repeat a request until it works; give up after too many attempts in a row that brought nothing."""
        policy = self.policy
        retrying = Retrying(
            stop=stop_after_attempt(policy.attempts),
            wait=wait_exponential(policy.first_wait, policy.longest_wait) + wait_random(0, policy.first_wait),
            retry=retry_if_exception_type(Interrupted),
            reraise=True,
        )
        try:
            return retrying(request)
        except Interrupted as error:
            raise InputError(
                f"{' and '.join(self.urls)} could not be downloaded in {policy.attempts} attempts ({error}); what has "
                "arrived is kept, so check the network and run the same command again."
            ) from None

    @contextmanager
    def _exchange(self, method: str, expected: Sequence[int], headers: dict) -> Iterator[requests.Response]:
        """Send a request, and sort what goes wrong into what may pass and what is final."""
        # The file itself is wanted, not a compressed transfer of it: byte ranges count its bytes.
        headers = {"Accept-Encoding": "identity"} | headers
        timeout = (self.policy.connect_timeout, self.policy.read_timeout)
        try:
            with requests.request(method, self.url, headers=headers, stream=True, timeout=timeout) as response:
                answer = f"is answered with {response.status_code} {shown(response.reason or '', 80)}"
                if response.status_code in PASSING_STATUSES:
                    raise Interrupted(f"it {answer}")
                if response.status_code not in expected:
                    raise InputError(f"{self.url} {answer}; check the base URL.")
                yield response
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            raise Interrupted(f"the connection broke: {type(error).__name__}") from error
        except requests.RequestException as error:
            raise InputError(f"{self.url} cannot be fetched ({shown(error, 200)}); check the base URL.") from None

    def _ask_size(self) -> int | None:
        for url in self.urls:
            self.url = url
            try:
                # The last two are of servers that do not know HEAD.
                with self._exchange("HEAD", (200, 405, 501), {}) as response:
                    return Version.of(response).size if response.status_code == 200 else None
            except (Interrupted, InputError) as error:
                refusal = error
        raise refusal

    def _fetch_more(self) -> None:
        """Fetch what one connection brings; only one that brings next to nothing counts as a failure."""
        started = time.monotonic()
        try:
            self._fetch_missing()
        except Interrupted:
            least = self.policy.least_rate * max(1.0, time.monotonic() - started)
            gained, self.most_received = self.received - self.most_received, max(self.received, self.most_received)
            if gained < least:
                raise
            time.sleep(self.policy.first_wait)

    def _fetch_missing(self) -> None:
        received, version = self.received, self.version
        expected, headers = (200,), {}
        if received:
            expected, headers = (200, 206, 416), {"Range": f"bytes={received}-", **version.condition}
        with self._exchange("GET", expected, headers) as response:
            offered, sent = Version.of(response), response.headers.get("Content-Range", "")
            if response.status_code == 200:
                # Removed before the new version is noted: a kill between the two must not pair old bytes with it.
                self.part.unlink(missing_ok=True)
                _require_space(self.part.parent, offered.size)
                write_json(self.part_version, offered.model_dump())
            else:
                goes_on = sent.startswith(f"bytes {received}-")  # 416: the file is shorter now
                same_mark = version.mark == offered.mark or None in (version.mark, offered.mark)
                if not (goes_on and same_mark and version.size == offered.size):
                    self.part.unlink()
                    raise Interrupted("the server's file is no longer the one that was begun")
            self._append(response)
        if not self.is_whole:
            raise Interrupted(f"it ended after {self.received:,} of {self.version.size:,} bytes")

    def _append(self, response: requests.Response) -> None:
        size = self.version.size
        bar = tqdm(desc=self.path.name, total=size, initial=self.received, unit="B", unit_scale=True, leave=False)
        with self.part.open("ab") as part, bar:
            since, then = time.monotonic(), part.tell()
            while piece := response.raw.read1(NETWORK_CHUNK, decode_content=False):
                if part.tell() + len(piece) > size:
                    raise InputError(f"{self.url} sends more than {size:,} bytes; check the base URL.")
                part.write(piece)
                bar.update(len(piece))
                if (passed := time.monotonic() - since) > self.policy.read_timeout:
                    if part.tell() - then < self.policy.least_rate * passed:
                        raise Interrupted(f"it sends fewer than {self.policy.least_rate:,.0f} bytes a second")
                    since, then = time.monotonic(), part.tell()


def _require_space(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        sizes = [tqdm.format_sizeof(size, "B") for size in (free, needed)]
        raise InputError(
            f"{folder} has {sizes[0]} free, but {sizes[1]} more are needed; free some space or choose another folder."
        )


def _stamp(path: Path) -> dict[str, int]:
    """What tells quickly whether a file is still the one that was verified."""
    return {"bytes": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns}
