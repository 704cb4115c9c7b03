"""Where notes come from: an archive that is streamed and never extracted, or a folder, in the official layout."""

import hashlib
import io
import itertools
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from isal import igzip_threaded, isal_zlib

from nsynth_helpers.data.metadata import SPLITS
from nsynth_helpers.settings import InputError, atomic_write, shown

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
ARCHIVE_NAMES = ("nsynth-{}.jsonwav.tar.gz", "nsynth-{}.tar.gz", "nsynth-{}.tar")
EXAMPLES = "examples.json"
# An archive is untrusted: a note of 4 s is 128 kB, the largest official examples.json about 200 MB.
MAX_AUDIO_BYTES = 4_000_000
MAX_EXAMPLES_BYTES = 1_000_000_000
MAX_HEADER_BYTES = 1_000_000
TAR_BUFFER = 1 << 16


@dataclass(frozen=True)
class SplitSource:
    """One split as it lies on disk: a folder ``nsynth-<split>/`` or an archive of one."""

    split: str
    path: Path

    @property
    def is_archive(self) -> bool:
        """Whether the notes are streamed out of an archive."""
        return self.path.is_file()


class AudioFile(NamedTuple):
    """The audio of one note, not decoded yet: a path in a folder, or bytes out of an archive; messages use `name`."""

    note_str: str
    name: str
    content: Path | bytes


def find_split(folder: Path, split: str) -> SplitSource:
    """Find a split in a folder, ``nsynth-<split>/`` first, then its archive; raise an `InputError` if there is none."""
    if split not in SPLITS:
        raise InputError(f"There is no split '{shown(split)}'; use one of {', '.join(SPLITS)}.")
    candidates = [f"nsynth-{split}", *(name.format(split) for name in ARCHIVE_NAMES)]
    for name in candidates:
        if (folder / name).exists():
            return SplitSource(split, folder / name)
    raise InputError(
        f"{folder} holds no {split} split; put {' or '.join(candidates[:2])} there, "
        f"or run: python -m nsynth_helpers download {split} --to {folder}"
    )


def fingerprint(source: SplitSource) -> str:
    """SHA-256 of the names, sizes and times of a source's files, in hex: no audio is opened, 290,000 take a second."""
    digest = hashlib.sha256()
    for name, stat in sorted(_entries(source)):
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def content_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entries(source: SplitSource) -> Iterator[tuple[str, os.stat_result]]:
    if source.is_archive:
        yield source.path.name, source.path.stat()
        return
    for folder in (source.path, source.path / "audio"):
        if not folder.is_dir():
            raise InputError(f"{folder} is missing; unpack the split again in the official layout.")
        with os.scandir(folder) as entries:
            yield from ((entry.name, entry.stat()) for entry in entries if entry.is_file())


class NoteStream:
    """Iterate over the audio of a split; `examples` holds its ``examples.json`` once it has been met.

    A folder is read in the order of its file names, an archive in its own order, in one pass, where ``examples.json``
    may come first or last. Hidden files, such as the ``._*`` of macOS, are passed over. An `InputError` is raised if
    the archive is damaged, hostile or of another split, ``examples.json`` is missing, or something may not be read.
    """

    def __init__(self, source: SplitSource):
        self.source = source
        self.examples: bytes | None = None
        self.examples_name = f"{source.path}/{EXAMPLES}" if not source.is_archive else f"{source.path.name}:{EXAMPLES}"

    def __iter__(self) -> Iterator[AudioFile]:
        yield from self._from_archive() if self.source.is_archive else self._from_folder()
        if self.examples is None:
            raise InputError(f"{self.source.path} holds no {EXAMPLES}; fetch or unpack the split again.")

    def _from_folder(self) -> Iterator[AudioFile]:
        examples = self.source.path / EXAMPLES
        if not examples.is_file():
            return
        self.examples = examples.read_bytes()
        for name in sorted(name for name, _ in _entries(self.source) if _is_audio(name)):
            path = self.source.path / "audio" / name
            yield AudioFile(path.stem, shown(str(path)), path)

    def _from_archive(self) -> Iterator[AudioFile]:
        for name, content in open_members(self.source.path):
            parts = PurePosixPath(name).parts
            if parts[-1].startswith("."):
                continue
            # Packed from inside the split's folder, an archive has no folder of this name.
            if parts[0] == f"nsynth-{self.source.split}":
                parts = parts[1:]
            elif parts[0] not in ("audio", EXAMPLES):
                raise InputError(
                    f"{self.source.path} holds '{shown(name)}', which is not of the {self.source.split} split; "
                    "give the archive its own name back."
                )
            if parts == (EXAMPLES,):
                self.examples = content
            elif len(parts) == 2 and parts[0] == "audio" and _is_audio(parts[1]):
                stem = PurePosixPath(name).stem
                yield AudioFile(stem, shown(f"{self.source.path.name}:{name}"), content)


def _is_audio(name: str) -> bool:
    return name.endswith(AUDIO_SUFFIXES) and not name.startswith(".")


def open_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the regular files of an untrusted ``.tar`` or ``.tar.gz``, in one streaming pass.

    Nothing is written to disk; one member at a time and a few megabytes read ahead are held in memory. An `InputError`
    is raised if the archive is unreadable, truncated or damaged, or a member is a link or a device, has an absolute
    path or one with ``..``, or declares an absurd size.
    """
    try:
        with (
            # One core decompresses, a few pieces ahead, while another decodes.
            igzip_threaded.open(path) if is_gzip(path) else path.open("rb") as file,
            tarfile.open(fileobj=(stream := _Bounded(file)), mode="r|", bufsize=TAR_BUFFER) as archive,
        ):
            while member := archive.next():
                # Otherwise tarfile remembers every member: 300 MB for the train split.
                archive.members.clear()
                archive.pax_headers.clear()
                _refuse_unsafe(member)
                stream.expect(member.size)
                if member.isfile():
                    yield member.name, archive.extractfile(member).read()
            # Only at its end does gzip compare its checksum.
            while stream.read(TAR_BUFFER):
                pass
    except PermissionError:
        raise
    except (tarfile.TarError, EOFError, OSError, ValueError, isal_zlib.error, RecursionError) as error:
        raise InputError(
            f"{path} is damaged or unsafe ({shown(error)}); fetch the archive again from a source you trust."
        ) from None


def is_gzip(path: Path) -> bool:
    """Whether a file goes through gzip, told by its first bytes rather than by its name."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


class _Bounded:
    """Read no more of an untrusted stream than its headers declare: neither endless headers nor endless padding."""

    def __init__(self, file):
        self.file = file
        self.expect(0)

    def expect(self, size: int) -> None:
        """Allow a member of this size, and the header that comes after it."""
        self.allowed = size + MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end: all that tarfile asks of a stream."""
        content = self.file.read(size)
        self.allowed -= len(content)
        if self.allowed < 0:
            raise tarfile.TarError("it holds far more data than its members declare")
        return content


def _refuse_unsafe(member: tarfile.TarInfo) -> None:
    path, name = PurePosixPath(member.name), shown(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or not (path.parts or member.isdir()):
        raise tarfile.TarError(f"it holds the unsafe path '{name}'")
    if not (member.isfile() or member.isdir()):
        raise tarfile.TarError(f"it holds '{name}', a link or a device")
    limit = MAX_EXAMPLES_BYTES if path.name == EXAMPLES else MAX_AUDIO_BYTES
    if not 0 <= member.size <= limit:
        raise tarfile.TarError(f"it holds '{name}' of {member.size} bytes, a size that it cannot have")


def write_archive(path: Path, split: str, records: dict[str, dict], audio: Iterable[tuple[str, bytes]]) -> None:
    """Write a split as a ``.tar`` in the official layout, whole or not at all; the same input gives the same bytes.

    `records`, the content of ``examples.json``, come first; of `audio`, file names such as
    ``bass_electronic_018-022-100.ogg`` and their content, one at a time is held in memory.
    """

    def write(temporary: Path) -> None:
        examples = (EXAMPLES, json.dumps(records, indent=1).encode())
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
            for name, content in itertools.chain([examples], ((f"audio/{name}", content) for name, content in audio)):
                # A new TarInfo has time, user and group 0.
                member = tarfile.TarInfo(f"nsynth-{split}/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    atomic_write(path, write)
