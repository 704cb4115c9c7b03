"""Downloads from a server on loopback that misbehaves in every way that a real one does."""

import errno
import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nsynth_helpers.data import download as download_module
from nsynth_helpers.data.download import OFFICIAL_ARCHIVES, OFFICIAL_URLS, RetryPolicy, download
from nsynth_helpers.settings import InputError, one_sentence

NOTES = 12
NOTE_BYTES = 30_000
EXAMPLES = b'{"bass_electronic_018-022-100": {}}'
FAST = RetryPolicy(attempts=5, first_wait=0.001, longest_wait=0.01, connect_timeout=2, read_timeout=2)
NAME = "nsynth-test.jsonwav.tar.gz"


def make_archive(split="test", notes=NOTES, examples=EXAMPLES, extra=(), seed=0) -> bytes:
    """A tiny archive in the official layout; its audio is noise, so that gzip cannot shrink it."""
    generator = random.Random(seed)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for number in range(notes):
            add(
                archive,
                f"nsynth-{split}/audio/bass_electronic_018-{number:03d}-100.wav",
                generator.randbytes(NOTE_BYTES),
            )
        if examples is not None:
            add(archive, f"nsynth-{split}/examples.json", examples)
        for member in extra:
            archive.addfile(member)
    return packed.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def special(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = "/etc/passwd"
    return member


def pinned(content: bytes, *splits: str) -> dict[str, dict]:
    return {split: {"md5": hashlib.md5(content).hexdigest()} for split in splits or ["test"]}


ARCHIVE = make_archive()
TINY = pinned(ARCHIVE)


class Server(ThreadingHTTPServer):
    """Serves ``content`` under any name; each attribute below is one way to misbehave."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = ARCHIVE
        self.headers = {"ETag": '"first"'}
        self.ranges = True  # answer 206 to a range
        self.honours_if_range = True
        self.states_length = True
        self.surplus = 0  # bytes that Content-Length promises beyond the content
        self.shift = 0  # how far Content-Range is off
        self.statuses = []  # of the next requests of any method; 0 means to behave
        self.drops = []  # of the next GETs: bytes after which the connection closes
        self.stalls = []  # of the next GETs: seconds before the first byte
        self.pause, self.piece = 0.0, 16_384  # seconds between two pieces, and their bytes
        self.before_get = []  # of the next GETs: something to call
        self.requests = []  # what arrived: (method, headers)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/nsynth"

    def gets(self):
        return [headers for method, headers in self.requests if method == "GET"]

    def handle_error(self, request, client_address):
        """A client that was killed is no news."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        if self.server.before_get:
            self.server.before_get.pop(0)()
        self.answer()

    def answer(self):
        server = self.server
        server.requests.append((self.command, dict(self.headers)))
        if status := (server.statuses.pop(0) if server.statuses else 0):
            self.send_error(status)
            return
        content, start = server.content, self.wanted_start()
        total = len(content) + server.surplus
        if start is None:
            self.send_response(200)
        elif start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            content = b""
        else:
            self.send_response(206)
            start += server.shift
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_body(content[start or 0 :])

    def wanted_start(self):
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        changed = condition not in (None, *self.server.headers.values()) and self.server.honours_if_range
        return int(match[1]) if match and self.server.ranges and not changed else None

    def send_body(self, body):
        server = self.server
        for header, value in server.headers.items():
            self.send_header(header, value)
        if server.states_length:
            self.send_header("Content-Length", str(len(body) + server.surplus))
        self.end_headers()
        if self.command == "HEAD":
            return
        time.sleep(server.stalls.pop(0) if server.stalls else 0)
        end = server.drops.pop(0) if server.drops else len(body)
        for position in range(0, min(end, len(body)), server.piece):
            self.wfile.write(body[position : min(position + server.piece, end)])
            time.sleep(server.pause)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


def fetch(server, folder, archives=TINY, policy=FAST) -> Path:
    return download(["test"], folder, [server.url], archives, policy)[0]


def refusal(server, folder, **arguments) -> str:
    """The sentence that a download ends with: one, and only one."""
    with pytest.raises(InputError) as caught, one_sentence():
        fetch(server, folder, **arguments)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and not re.search(r"\.\s+[A-Z]", sentence), sentence
    return sentence


def part(folder: Path) -> Path:
    return folder / f"{NAME}.part"


def leave_part(server, folder, size: int) -> None:
    """What an earlier run leaves behind that was cut off after so many bytes."""
    server.drops = [size, 0, 0, 0, 0, 0]
    refusal(server, folder)
    server.drops, server.requests = [], []
    assert part(folder).read_bytes() == server.content[:size]


def assert_finished(folder: Path, content: bytes = ARCHIVE) -> None:
    assert (folder / NAME).read_bytes() == content
    left = {path.name for path in folder.iterdir()} - {f"{NAME}.lock"}
    assert left == {NAME, f"{NAME}.verified.json"}


def test_official_archives_are_pinned_and_https_comes_first():
    assert OFFICIAL_ARCHIVES["train"]["bytes"] == 23_815_298_079
    digests = [archive[kind] for archive in OFFICIAL_ARCHIVES.values() for kind in ("md5", "sha256") if kind in archive]
    assert [len(digest) for digest in digests] == [32, 64, 32, 32]
    assert [url.split("/")[0] for url in OFFICIAL_URLS] == ["https:", "http:"]


@pytest.mark.parametrize("pin", [{"md5": "0" * 32}, {"sha256": "0" * 64}, {"bytes": 17}])
def test_an_archive_that_is_not_the_pinned_one_is_refused(server, tmp_path, pin):
    (fact,) = pin
    assert f"{fact} is " in refusal(server, tmp_path, archives={"test": TINY["test"] | pin})


def test_download_verifies_and_records(server, tmp_path):
    folder = tmp_path / "new" / "folder"
    assert fetch(server, folder) == folder / NAME
    assert_finished(folder)
    record = json.loads((folder / f"{NAME}.verified.json").read_text())
    assert record["bytes"] == len(ARCHIVE)
    assert record["sha256"] == hashlib.sha256(ARCHIVE).hexdigest()
    assert all(headers["Accept-Encoding"] == "identity" for _, headers in server.requests)


def test_verified_file_is_skipped_without_reading_or_asking(server, tmp_path, monkeypatch):
    fetch(server, tmp_path)
    server.requests = []
    monkeypatch.setattr(download_module, "verify_archive", lambda *_: pytest.fail("verified again"))
    fetch(server, tmp_path)
    assert server.requests == []


def test_finished_file_without_record_is_verified_not_fetched(server, tmp_path):
    (tmp_path / NAME).write_bytes(ARCHIVE)
    fetch(server, tmp_path)
    assert server.requests == []
    assert_finished(tmp_path)


def test_changed_finished_file_is_refused_and_kept(server, tmp_path):
    fetch(server, tmp_path)
    server.requests = []
    (tmp_path / NAME).write_bytes(ARCHIVE[:-500])
    assert "move it away first" in refusal(server, tmp_path)
    assert (tmp_path / NAME).read_bytes() == ARCHIVE[:-500]
    assert server.requests == []


def test_unknown_split_and_unusable_folder(server, tmp_path):
    with pytest.raises(InputError, match=r"no split 'tests' to download; use one of train, valid, test\."):
        download(["tests"], tmp_path, [server.url])
    (tmp_path / "file").write_text("in the way")
    assert "cannot be used (File exists); check its permissions or choose another path" in refusal(
        server, tmp_path / "file"
    )


# A connection that breaks


def test_dropped_connections_are_continued(server, tmp_path):
    # More drops than attempts: each one brings something, so none of them counts as a failure.
    server.drops = [40_000] * 8
    fetch(server, tmp_path)
    assert_finished(tmp_path)
    assert len(server.gets()) == 9
    assert server.gets()[0].get("Range") is None
    assert [headers["Range"] for headers in server.gets()[1:]] == [f"bytes={40_000 * n}-" for n in range(1, 9)]
    assert {headers["If-Range"] for headers in server.gets()[1:]} == {'"first"'}


def test_attempts_that_bring_nothing_count_in_a_row_alone(server, tmp_path):
    """Over a day of downloading, each of many good hours may have its bad minute."""
    server.drops = [40_000, 0, 0, 0, 0] * 4
    fetch(server, tmp_path)
    assert_finished(tmp_path)
    assert len(server.gets()) > 3 * FAST.attempts


def test_part_of_an_earlier_run_is_continued(server, tmp_path, monkeypatch):
    leave_part(server, tmp_path, 100_000)
    bars = []

    class RecordingBar(download_module.tqdm):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options | {"disable": False})

        def close(self):
            bars.append((self.desc, self.initial, self.n, self.total))
            super().close()

    monkeypatch.setattr(download_module, "tqdm", RecordingBar)
    fetch(server, tmp_path)
    assert_finished(tmp_path)
    assert [headers["Range"] for headers in server.gets()] == ["bytes=100000-"]
    # The resumed bytes are shown as done, and do not count for the rate.
    assert (NAME, 100_000, len(ARCHIVE), len(ARCHIVE)) in bars


def test_server_that_ignores_ranges_restarts_cleanly(server, tmp_path):
    server.ranges = False
    server.drops = [50_000, 120_000]
    fetch(server, tmp_path)
    assert_finished(tmp_path)
    assert len(server.gets()) == 3


def test_server_that_ignores_ranges_and_always_drops_is_given_up(server, tmp_path):
    server.ranges = False
    server.drops = [50_000] * 100
    assert "5 attempts" in refusal(server, tmp_path)
    assert len(server.gets()) == 1 + FAST.attempts


def test_server_without_content_length_is_refused(server, tmp_path):
    """What it sends could be endless, or cut off unnoticed."""
    server.states_length = False
    assert "does not say how many bytes it has" in refusal(server, tmp_path)
    assert not part(tmp_path).exists()


def test_stalled_server_is_asked_again(server, tmp_path):
    server.stalls = [5.0]
    started = time.monotonic()
    fetch(server, tmp_path, policy=RetryPolicy(5, 0.001, 0.01, 2, read_timeout=0.2))
    assert_finished(tmp_path)
    assert time.monotonic() - started < 3


def test_unreachable_server(server, tmp_path):
    with pytest.raises(InputError, match=r"5 attempts .*check the network and run the same command again\.$"):
        download(["test"], tmp_path, [unused_address()], TINY, FAST)


def unused_address() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/nsynth/"


def test_the_second_address_is_tried_when_the_first_is_not_reachable(server, tmp_path):
    download(["test"], tmp_path, [unused_address(), server.url], TINY, FAST)
    assert_finished(tmp_path)
    with pytest.raises(InputError, match=r"nsynth/.* and http.*5 attempts"):
        download(["test"], tmp_path / "new", [unused_address(), unused_address()], TINY, FAST)


@pytest.mark.parametrize("status", [403, 404, 503])
def test_the_second_address_is_tried_when_the_first_has_no_such_file(server, tmp_path, status):
    server.statuses = [status]
    download(["test"], tmp_path, [f"{server.url}/first", f"{server.url}/second"], TINY, FAST)
    assert_finished(tmp_path)
    assert len(server.requests) == 3


def test_a_server_that_drips_for_ever_is_given_up_and_what_came_is_kept(server, tmp_path):
    server.pause, server.piece = 0.05, 50  # a thousand bytes a second
    policy = RetryPolicy(3, 0.001, 0.01, 2, read_timeout=0.3, least_rate=100_000)
    started = time.monotonic()
    sentence = refusal(server, tmp_path, policy=policy)
    assert "3 attempts (it sends fewer than 100,000 bytes a second)" in sentence
    assert time.monotonic() - started < 5
    assert part(tmp_path).stat().st_size > 500
    server.pause, server.piece = 0, 16_384
    fetch(server, tmp_path)
    assert_finished(tmp_path)


@pytest.mark.parametrize("disable", ["", "1"])
def test_progress_bars_may_be_off(server, tmp_path, disable):
    with start_child(server, tmp_path, TQDM_DISABLE=disable) as child:
        assert (b"%" in child.stderr.read()) == (not disable)
    assert child.returncode == 0
    assert_finished(tmp_path)


# Files of the user's in the way


@pytest.mark.parametrize("suffix", ["", ".part", ".part.json", ".rejected", ".verified.json", ".lock"])
def test_a_download_follows_no_link_out_of_its_folder(server, tmp_path, suffix):
    folder, victim = tmp_path / "data", tmp_path / "victim"
    folder.mkdir()
    (folder / f"{NAME}{suffix}").symlink_to(victim)
    if suffix:
        victim.write_text("mine")
    assert "is a link, and a download follows none" in refusal(server, folder)
    assert server.requests == []
    assert victim.read_text() == "mine" if suffix else not victim.exists()


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"size": "100", "mark": null}',
        b'{"size": -1, "mark": null}',
        b'{"size": 1e3, "mark": null}',
        b'{"size": true, "mark": null}',
        b'{"size": 1000000, "mark": 5}',
        b'{"size": 1000000, "mark": "a\\r\\nX-Injected: 1"}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_record_of_the_part_spoils_nothing(server, tmp_path, record):
    leave_part(server, tmp_path, 100_000)
    Path(f"{part(tmp_path)}.json").write_bytes(record)
    fetch(server, tmp_path)
    assert_finished(tmp_path)
    assert "X-Injected" not in server.gets()[0]


@pytest.mark.parametrize("record", [b"", b"null", b"[]", b"3", b'{"bytes": "1"}', b"\xff"])
def test_a_damaged_record_of_what_was_verified_is_written_anew(server, tmp_path, record):
    fetch(server, tmp_path)
    (tmp_path / f"{NAME}.verified.json").write_bytes(record)
    server.requests = []
    fetch(server, tmp_path)
    assert server.requests == []
    assert json.loads((tmp_path / f"{NAME}.verified.json").read_text())["bytes"] == len(ARCHIVE)


# What a server answers


@pytest.mark.parametrize("status", [404, 403])
def test_final_answers_are_not_repeated(server, tmp_path, status):
    server.statuses = [0, *[status] * 50]  # HEAD may pass
    sentence = refusal(server, tmp_path)
    assert str(status) in sentence and "base URL" in sentence
    assert len(server.gets()) == 1


def test_missing_file_is_told_before_anything_is_fetched(server, tmp_path):
    server.statuses = [0, 404]  # of the two HEADs
    both = pinned(ARCHIVE, "valid", "test")
    with pytest.raises(InputError, match=r"nsynth-test.* is answered with 404 Not Found; check the base URL\.$"):
        download(["valid", "test"], tmp_path, [server.url], both, FAST)
    assert server.gets() == []


def test_overloaded_server_is_asked_again(server, tmp_path):
    server.statuses = [503, 503, 0, 503, 429]
    fetch(server, tmp_path)
    assert_finished(tmp_path)
    assert len(server.requests) == 6


def test_server_that_stays_overloaded_is_given_up(server, tmp_path):
    server.statuses = [0, *[503] * 50]
    assert "503" in refusal(server, tmp_path)
    assert len(server.gets()) == FAST.attempts


def test_waits_grow_between_attempts(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    server.statuses = [503] * 50
    refusal(server, tmp_path, policy=RetryPolicy(attempts=6, first_wait=1, longest_wait=10))
    assert len(waits) == 5
    for number, wait in enumerate(waits):
        assert min(2**number, 10) <= wait <= min(2**number, 10) + 1


def test_server_that_does_not_know_head(server, tmp_path):
    server.statuses = [501]
    fetch(server, tmp_path)
    assert_finished(tmp_path)


def test_archive_labelled_as_encoded_is_kept_as_it_is(server, tmp_path):
    server.headers["Content-Encoding"] = "gzip"  # servers do that to .gz files; nobody asked to unpack it
    fetch(server, tmp_path)
    assert_finished(tmp_path)


# A file that changes on the server


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ETag": '"first"'}, {"ETag": '"second"'}),
        ({"ETag": 'W/"first"'}, {"ETag": 'W/"second"'}),
        ({"Last-Modified": "Mon, 01 Jan 2018 00:00:00 GMT"}, {"Last-Modified": "Tue, 02 Jan 2018 00:00:00 GMT"}),
        ({}, {}),  # told by the size alone
    ],
)
@pytest.mark.parametrize("honours_if_range", [True, False])
def test_changed_file_is_fetched_afresh(server, tmp_path, before, after, honours_if_range):
    changed = make_archive(seed=1) if before else make_archive(seed=1, examples=EXAMPLES + b" " * 5_000)

    def change():
        server.content, server.headers = changed, after

    server.honours_if_range = honours_if_range
    server.headers = before
    server.drops = [150_000]
    server.before_get = [lambda: None, change]
    fetch(server, tmp_path, archives=pinned(changed))
    assert_finished(tmp_path, changed)
    assert not any(headers.get("If-Range", "").startswith("W/") for headers in server.gets()), "forbidden by HTTP"


def test_part_without_its_version_is_not_continued(server, tmp_path):
    part(tmp_path).write_bytes(b"of unknown origin" * 1_000)
    fetch(server, tmp_path)
    assert_finished(tmp_path)
    assert "X-Injected" not in server.gets()[0]


def test_whole_part_is_verified_without_asking(server, tmp_path):
    leave_part(server, tmp_path, len(ARCHIVE) - 1)
    part(tmp_path).write_bytes(ARCHIVE)
    fetch(server, tmp_path)
    assert_finished(tmp_path)
    assert server.requests == []


def test_part_longer_than_the_file_is_fetched_afresh(server, tmp_path):
    leave_part(server, tmp_path, 100_000)
    part(tmp_path).write_bytes(ARCHIVE + b"surplus")
    fetch(server, tmp_path)
    assert_finished(tmp_path)


def test_range_that_starts_elsewhere_is_not_appended(server, tmp_path):
    server.drops = [100_000]
    server.shift = 7
    fetch(server, tmp_path)
    assert_finished(tmp_path)


# Content that is not what it should be


def test_server_that_promises_more_than_it_has(server, tmp_path):
    server.surplus = 1_000
    assert "5 attempts" in refusal(server, tmp_path)
    assert part(tmp_path).read_bytes() == ARCHIVE
    assert len(server.gets()) == 1 + FAST.attempts


def test_truncated_archive_is_moved_aside_and_fetched_afresh(server, tmp_path):
    server.content = ARCHIVE[:-2_000]
    assert f"moved to {NAME}.rejected, the next run starts afresh" in refusal(server, tmp_path)
    assert not (tmp_path / NAME).exists() and not part(tmp_path).exists()
    server.content = ARCHIVE
    fetch(server, tmp_path)
    assert (tmp_path / NAME).read_bytes() == ARCHIVE


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


WRONG = {
    "sign-in page": b"<html>Please sign in</html>" * 1_000,
    "flipped bit": flipped(ARCHIVE, len(ARCHIVE) // 2),
    "wrong checksum": flipped(ARCHIVE, len(ARCHIVE) - 6),
    "empty": gzip.compress(b""),
    "a note short": make_archive(notes=NOTES - 1),
    "a note over": make_archive(notes=NOTES + 1),
    "another split": make_archive(split="valid"),
    "other examples": make_archive(examples=b"{}"),
    "dots": make_archive(extra=[special("nsynth-test/../../x.wav")]),
    "link": make_archive(extra=[special("nsynth-test/l.wav", tarfile.SYMTYPE)]),
    "device": make_archive(extra=[special("nsynth-test/d", tarfile.CHRTYPE)]),
    "bomb": make_archive(examples=b" " * 900_000),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_content_is_refused(server, tmp_path, kind):
    server.content = WRONG[kind]
    sentence = refusal(server, tmp_path)
    assert "is not the official archive: its md5 is " in sentence and "moved to" in sentence
    assert {path.name for path in tmp_path.iterdir()} <= {f"{NAME}.rejected", f"{NAME}.lock"}


# A full disk


def leave_free(monkeypatch, free: int) -> None:
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: usage)


def test_too_little_free_disk_is_told_before_starting(server, tmp_path, monkeypatch):
    leave_free(monkeypatch, len(ARCHIVE) - 1)
    assert "free some space" in refusal(server, tmp_path)
    assert server.gets() == []
    leave_free(monkeypatch, len(ARCHIVE))
    fetch(server, tmp_path)
    assert_finished(tmp_path)


def test_free_disk_counts_what_is_there_already(server, tmp_path, monkeypatch):
    leave_part(server, tmp_path, 100_000)
    leave_free(monkeypatch, len(ARCHIVE) - 100_000)
    fetch(server, tmp_path)
    assert_finished(tmp_path)


def test_free_disk_must_hold_all_splits(server, tmp_path, monkeypatch):
    leave_free(monkeypatch, 2 * len(ARCHIVE) - 1)
    both = pinned(ARCHIVE, "valid", "test")
    with pytest.raises(InputError, match="free some space"):
        download(["valid", "test"], tmp_path, [server.url], both, FAST)
    assert server.gets() == []


def test_size_that_only_the_transfer_tells_is_checked_too(server, tmp_path, monkeypatch):
    leave_free(monkeypatch, 1_000)
    server.statuses = [405]  # to HEAD
    assert "free some space" in refusal(server, tmp_path)
    assert not part(tmp_path).exists()


def test_disk_that_fills_up_leaves_a_usable_part(server, tmp_path, monkeypatch):
    class FullDisk(io.FileIO):
        def write(self, piece):
            room = 150_000 - self.tell()
            if room <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(piece[:room])

    genuine = Path.open

    def open_on_full_disk(path, mode="r", **arguments):
        if mode == "ab":
            return io.BufferedWriter(FullDisk(path, "a"))
        return genuine(path, mode, **arguments)

    with monkeypatch.context() as full:
        full.setattr(Path, "open", open_on_full_disk)
        assert f"The disk of {tmp_path} is full" in refusal(server, tmp_path)
    assert part(tmp_path).read_bytes() == ARCHIVE[:150_000]
    server.requests = []
    fetch(server, tmp_path)
    assert_finished(tmp_path)
    assert [headers["Range"] for headers in server.gets()] == ["bytes=150000-"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_really_full_disk_leaves_a_usable_part(server, small_disk, monkeypatch):
    with monkeypatch.context() as blind:
        leave_free(blind, 10**12)
        assert f"The disk of {small_disk} is full" in refusal(server, small_disk)
    received = part(small_disk).stat().st_size
    assert received > 100_000 and part(small_disk).read_bytes() == ARCHIVE[:received]
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    server.requests = []
    fetch(server, small_disk)
    assert_finished(small_disk)
    assert [headers["Range"] for headers in server.gets()] == [f"bytes={received}-"]


# Processes that die or meet

CHILD = """
import sys
from pathlib import Path
from nsynth_helpers.data.download import RetryPolicy, download

url, folder, md5 = sys.argv[1:]
print("ready", flush=True)
download(["test"], Path(folder), [url], {"test": {"md5": md5}}, RetryPolicy(5, 0.01, 0.1))
"""


def start_child(server, folder, **variables) -> subprocess.Popen:
    arguments = [server.url, str(folder), TINY["test"]["md5"]]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if variables else subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
        env=os.environ | variables,
    )
    assert child.stdout.readline() == b"ready\n"
    return child


def wait_until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_killed_downloads_finish_with_the_same_bytes(server, tmp_path):
    server.pause = 0.04  # the archive takes about 0.9 s
    generator = random.Random(2018)
    received = [0]
    for number in range(4):
        with start_child(server, tmp_path) as child:
            wait_until(lambda number=number: len(server.gets()) > number)
            time.sleep(generator.uniform(0.05, 0.35))
            child.kill()
        assert child.returncode < 0, "the child was done before it could be killed"
        received.append(part(tmp_path).stat().st_size if part(tmp_path).exists() else 0)
    assert received == sorted(received) and received[-1] > 0, "a kill lost what had arrived"
    server.pause = 0.0
    fetch(server, tmp_path)
    assert_finished(tmp_path)


def test_kill_at_every_step_of_the_ending(server, tmp_path, monkeypatch):
    """Stop right before each file operation in turn, which is all that a kill can leave behind."""

    class Killed(BaseException):
        pass

    genuine = os.replace
    for step in range(6):
        folder = tmp_path / str(step)
        calls = iter(range(100))

        def replace_or_die(source, target, calls=calls, step=step):
            if next(calls) == step:
                raise Killed
            genuine(source, target)

        with monkeypatch.context() as deadly:
            deadly.setattr(download_module.os, "replace", replace_or_die)
            try:
                fetch(server, folder)
            except Killed:
                pass
            else:
                break
        fetch(server, folder)
        assert (folder / NAME).read_bytes() == ARCHIVE
        assert (folder / f"{NAME}.verified.json").exists()
    assert step == 3, "expected three replacements: the version, the archive, the record"


def test_second_process_waits_and_fetches_nothing(server, tmp_path, capsys):
    server.pause = 0.05
    with start_child(server, tmp_path) as child:
        wait_until(part(tmp_path).exists)
        fetch(server, tmp_path)
    assert child.returncode == 0
    assert "waiting for it" in capsys.readouterr().err
    assert_finished(tmp_path)
    assert len(server.gets()) == 1
