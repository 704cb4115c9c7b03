"""Files that are written whole or not at all and by one process at a time; a full disk told in one sentence."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from nsynth_helpers.settings import InputError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
# What libraries that report a full disk with an exception of their own say.
FULL_DISK_WORDS = ("No space left on device", "Disk quota exceeded")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then give it its name: a kill leaves a ``*.tmp`` at most.

    Parameters
    ----------
    path : pathlib.Path
        The file to make or to replace; its folder is made if it is missing.
    write : callable
        Takes the temporary path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that write the same file at once must not take each other's half-written one for their own.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
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
def in_turn(lock: Path, doing: str) -> Iterator[None]:
    """Let one process at a time do something; another one says what it waits for, and waits.

    Parameters
    ----------
    lock : pathlib.Path
        The file that stands for the work; its folder is made if it is missing.
    doing : str
        What the other process does, such as ``trains <folder>``, for the sentence on stderr.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    turn = FileLock(lock)
    try:
        turn.acquire(timeout=0)
    except Timeout:
        tqdm.write(f"Another process {doing}; waiting for it.", file=sys.stderr)
        turn.acquire()
    try:
        yield
    finally:
        turn.release()


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
