"""Files that are written whole or not at all, and a full disk told in one sentence."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nsynth_helpers.settings import InputError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
# What libraries that report a full disk with an exception of their own say.
FULL_DISK_WORDS = ("No space left on device", "Disk quota exceeded")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then give it its name: a kill leaves no half of it.

    Parameters
    ----------
    path : pathlib.Path
        The file to make or to replace; its folder is made if it is missing.
    write : callable
        Takes the temporary path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text))


def write_json(path: Path, content: dict) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


@contextmanager
def explain_full_disk(folder: Path, kept: str) -> Iterator[None]:
    """Turn a full disk into one sentence.

    Parameters
    ----------
    folder : pathlib.Path
        Where is written.
    kept : str
        What stays usable, for the sentence.

    Raises
    ------
    InputError
        If the disk is full; every other error passes.
    """
    try:
        yield
    except Exception as error:
        code = getattr(error, "errno", None)
        if code not in FULL_DISK and not any(words in str(error) for words in FULL_DISK_WORDS):
            raise
        raise InputError(
            f"The disk of {folder} is full; free some space and run the same command again: {kept}."
        ) from None
