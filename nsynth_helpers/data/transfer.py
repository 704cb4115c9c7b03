"""One file on its way over HTTP: resumed where it stopped, retried where it broke, and never mixed of two versions."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import requests
import urllib3
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random
from tqdm.auto import tqdm

from nsynth_helpers.settings import InputError, write_json

# Small, because what a broken connection had gathered of one piece is lost.
NETWORK_CHUNK = 1 << 16
# However often a connection breaks after some progress, the requests end.
MOST_CONNECTIONS = 1_000
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)
CONTENT_RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<size>\d+|\*)")


@dataclass(frozen=True)
class RetryPolicy:
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


RETRY_POLICY = RetryPolicy()


class Interrupted(Exception):
    """A request failed in a way that may pass."""


@dataclass(frozen=True)
class Version:
    """What a server says of a file: its size in bytes (None if it does not say) and what tells versions apart."""

    size: int | None
    etag: str | None
    last_modified: str | None

    @classmethod
    def of(cls, response: requests.Response) -> Version:
        whole = response.status_code == 200
        text = response.headers.get("Content-Length") if whole else _content_range(response).get("size")
        return cls(
            size=int(text) if text and text.isdecimal() else None,
            etag=response.headers.get("ETag"),
            last_modified=response.headers.get("Last-Modified"),
        )

    @classmethod
    def read(cls, path: Path) -> Version | None:
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

    def agrees_with(self, other: Version) -> bool:
        """Whether nothing that both state differs."""
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return all(None in pair or pair[0] == pair[1] for pair in pairs)


def _content_range(response: requests.Response) -> dict[str, str]:
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return match.groupdict() if match else {}


class Transfer:
    """A file on its way to disk: ``<name>.part``, and beside it what the server said of its version.

    Parameters
    ----------
    url : str
        Where the file lies.
    path : pathlib.Path
        What it will be called once it is whole and found right; a transfer writes ``<path>.part`` alone.
    limit : int
        Most bytes to take from a server that does not say how many there are.
    session : requests.Session
        Keeps connections open from one file to the next.
    patience : RetryPolicy
        Attempts, waits and timeouts.
    """

    def __init__(self, url: str, path: Path, limit: int, session: requests.Session, patience: RetryPolicy):
        self.url, self.name, self.limit = url, path.name, limit
        self.session, self.patience = session, patience
        self.part, self.part_version = (path.with_name(path.name + suffix) for suffix in (".part", ".part.json"))
        self.most_received = self.received

    @property
    def received(self) -> int:
        """Bytes in the part; those without a version cannot be continued and do not count."""
        return file_size(self.part) if self.version else 0

    @property
    def version(self) -> Version | None:
        return Version.read(self.part_version)

    @property
    def is_whole(self) -> bool:
        version = self.version
        return version is not None and version.size is not None and version.size == self.received

    def fetch(self) -> None:
        """Fetch all that is missing; what has arrived stays, whatever happens."""
        with tqdm(desc=self.name, initial=self.received, unit="B", unit_scale=True) as self.bar:
            for _ in range(MOST_CONNECTIONS):
                if self.is_whole or self.persist(self._advance):
                    return
                time.sleep(self.patience.first_wait)
        raise InputError(f"{self.url} broke off {MOST_CONNECTIONS} times; run the same command again to go on.")

    def persist(self, request: Callable):
        """Repeat a request until it works; give up after too many attempts in a row that brought nothing."""
        patience = self.patience
        retrying = Retrying(
            stop=stop_after_attempt(patience.attempts),
            wait=wait_exponential(patience.first_wait, patience.longest_wait) + wait_random(0, patience.first_wait),
            retry=retry_if_exception_type(Interrupted),
            reraise=True,
        )
        try:
            return retrying(request)
        except Interrupted as error:
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
                    raise Interrupted(f"the server answers {response.status_code} {response.reason}")
                if response.status_code in (404, 410):
                    raise InputError(f"{self.url} does not exist ({response.status_code}); check the base URL.")
                yield response
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            raise Interrupted(f"the connection broke: {type(error).__name__}") from error
        except requests.RequestException as error:
            raise InputError(f"{self.url} cannot be fetched ({error}); check the base URL.") from None

    def ask_size(self) -> int | None:
        """The file's size in bytes, if the server tells."""
        with self._exchange("HEAD", {}) as response:
            return Version.of(response).size if response.status_code == 200 else None

    def _advance(self) -> bool:
        """Fetch what is missing and say whether that is all; only a failure that brought nothing new is raised."""
        try:
            self._fetch_missing()
        except Interrupted as error:
            if self.received <= self.most_received:
                raise
            self.bar.set_postfix_str(str(error))
        self.most_received = max(self.most_received, self.received)
        return self.is_whole

    def _fetch_missing(self) -> None:
        received, version = self.received, self.version
        headers = {"Range": f"bytes={received}-", **version.condition} if received else {}
        with self._exchange("GET", headers) as response:
            offered = Version.of(response)
            if response.status_code == 200:
                require_space(self.part.parent, (offered.size or 0) - file_size(self.part))
                self._start_over(offered)
            elif received and response.status_code in (206, 416):
                self._continue(received, version, response, offered)
            else:
                raise InputError(f"{self.url} is answered with {response.status_code}; check the base URL.")
            if response.status_code != 416:
                self._append(response)
        if not self.is_whole:
            raise Interrupted(f"it ended after {self.received:,} of {self.version.size:,} bytes")

    def _start_over(self, offered: Version) -> None:
        # Emptied before the new version is noted: a kill between the two must not pair old bytes with it.
        self.part.write_bytes(b"")
        write_json(self.part_version, asdict(offered))

    def _continue(self, received: int, version: Version, response: requests.Response, offered: Version) -> None:
        """Accept a range only if it is of the same version and goes on where the part ends."""
        start = _content_range(response).get("start")
        fits = int(start) == received if start else response.status_code == 416 and offered.size == received
        if not (fits and version.agrees_with(offered)):
            self.part.unlink()
            raise Interrupted("the server's file is no longer the one that was begun")
        if offered.size is not None:
            require_space(self.part.parent, offered.size - received)
            write_json(self.part_version, asdict(replace(version, size=offered.size)))

    def _append(self, response: requests.Response) -> None:
        size = self.version.size
        limit = self.limit if size is None else size
        with self.part.open("ab") as part:
            self._show(part.tell(), size)
            for piece in response.raw.stream(NETWORK_CHUNK, decode_content=False):
                if part.tell() + len(piece) > limit:
                    raise InputError(f"{self.url} sends more than {limit:,} bytes; check the base URL.")
                part.write(piece)
                self.bar.update(len(piece))
        if size is None:
            # Without a declared size the end of the stream is the end of the file; verifying tells.
            write_json(self.part_version, asdict(replace(self.version, size=self.received)))

    def _show(self, received: int, size: int | None) -> None:
        self.bar.total = size
        self.bar.initial = min(self.bar.initial, received)
        self.bar.n = received
        self.bar.set_postfix_str("")


def require_space(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder} has {tqdm.format_sizeof(free, 'B')} free, but the download needs "
            f"{tqdm.format_sizeof(needed, 'B')} more; free some space or choose another folder with --to."
        )


def file_size(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
