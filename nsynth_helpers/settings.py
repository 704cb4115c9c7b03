"""Every path and every knob of the workbook, read once from ``NSYNTH_*`` environment variables."""

from __future__ import annotations

import errno
import json
import math
import os
import reprlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

PROJECT_ROOT = Path(__file__).resolve().parents[1]
MINI = "mini"
MINI_FOLDER = PROJECT_ROOT / "data" / "nsynth-mini"
PREFIX = "NSYNTH_"


def shown(text: object, limit: int = 200) -> str:
    """Something from outside as a sentence may show it: on one line, cut in its middle, without control characters."""
    # reprlib stops early: the repr of a 240 MB record takes as much again and a minute.
    text = text if isinstance(text, str) else str(text) if isinstance(text, (Path, Exception)) else reprlib.repr(text)
    if len(text) > limit:
        text = f"{text[: limit // 2]} ... {text[-limit // 2 :]}"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


class InputError(Exception):
    """Bad input, told in one sentence that names the thing and the remedy.

    The command line prints the sentence and ends with exit code 2; a notebook shows it as the last line.
    """


@dataclass(frozen=True)
class Settings:
    """The settings of one session; each field is the variable ``NSYNTH_<FIELD>`` in lower case.

    Attributes
    ----------
    data : str
        ``mini`` for the embedded nsynth-mini, or a folder in the official layout.
    seconds : float
        How much of each note is kept, in seconds from its start (NSynth notes last 4 s).
    epochs, batch_size, seed, workers : int
        Epochs of training, notes in a batch, random seed, decoding threads.
    learning_rate : float
        Learning rate of the optimizer.
    device, precision : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``; ``32-true``, ``16-mixed`` or ``bf16-mixed`` (training only).
    devices, nodes : int
        Devices on each machine, and machines, of a distributed training.
    retrain : bool
        Train again although a finished run of the same configuration and data exists.
    cache, runs, figures, report, results : pathlib.Path
        Where decoded waveforms, runs, figures and the HTML report are written; where committed runs are read.

    Notes
    -----
    Used in: every notebook, in its settings cell.
    """

    data: str = MINI
    seconds: float = 1.0
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 0.0008
    seed: int = 2018
    workers: int = 0
    device: str = "auto"
    precision: str = "32-true"
    devices: int = 1
    nodes: int = 1
    retrain: bool = False
    skip_bad: bool = False
    cache: Path = Path("build/cache")
    runs: Path = Path("build/runs")
    figures: Path = Path("build/figures")
    report: Path = Path("build/report")
    results: Path = Path("results")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from ``NSYNTH_*`` variables; what is not set keeps its default.

        Parameters
        ----------
        environ : mapping of str to str, optional
            The variables; ``os.environ`` by default.

        Raises
        ------
        InputError
            If a variable has a value that cannot be used; the sentence names the variable.
        """
        environ = os.environ if environ is None else environ
        values = {}
        for field in fields(cls):
            variable = PREFIX + field.name.upper()
            text = environ.get(variable, "").strip()
            values[field.name] = _parse(variable, text, field.default) if text else _from_root(field.default)
        return cls(**values)

    @property
    def data_folder(self) -> Path:
        """The folder that holds the three splits."""
        return MINI_FOLDER if self.data == MINI else _from_root(Path(self.data))

    @property
    def data_name(self) -> str:
        """What figures and tables call the data: ``nsynth-mini`` or the folder's name."""
        return MINI_FOLDER.name if self.data == MINI else self.data_folder.name


def progress_is_off() -> bool:
    """Whether ``TQDM_DISABLE`` asks for no progress bars: tqdm's bars for notebooks do not look for themselves."""
    return os.environ.get("TQDM_DISABLE", "0") != "0"


CHOICES = {
    "NSYNTH_DEVICE": ("auto", "cpu", "cuda", "mps"),
    "NSYNTH_PRECISION": ("32-true", "16-mixed", "bf16-mixed"),
}
# A seed is what NumPy takes, a note lasts 4 s, and one step of it 0.01 s.
RANGES = {"NSYNTH_SEED": (0, 2**32 - 1), "NSYNTH_WORKERS": (0, 256), "NSYNTH_SECONDS": (0.01, 4)}
WRITTEN = ("NSYNTH_CACHE", "NSYNTH_RUNS", "NSYNTH_FIGURES", "NSYNTH_REPORT")
TRUTH = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


def _from_root(value):
    """Take a relative path from the project's root, wherever the kernel runs; leave anything else as it is."""
    return PROJECT_ROOT / value.expanduser() if isinstance(value, Path) else value


def _parse(variable: str, text: str, default):
    """Turn the text of a variable into the type of its default, or say what it should have been."""
    if isinstance(default, bool):
        if text.lower() not in TRUTH:
            raise InputError(f"{variable} is '{text}'; set it to 1 (yes) or 0 (no).")
        return TRUTH[text.lower()]
    if isinstance(default, (int, float)):
        return _parse_number(variable, text, type(default))
    if isinstance(default, Path):
        return _parse_folder(variable, text)
    if variable in CHOICES and text not in CHOICES[variable]:
        raise InputError(f"{variable} is '{text}'; set it to one of {', '.join(CHOICES[variable])}.")
    if variable == "NSYNTH_DATA" and text != MINI and not _from_root(Path(text)).is_dir():
        raise InputError(
            f"NSYNTH_DATA is '{text}', which is no folder; set it to mini or to a folder of NSynth splits."
        )
    return text


def _parse_number(variable: str, text: str, kind: type):
    """Read a whole or a decimal number that is in range."""
    word = "a whole number" if kind is int else "a number"
    try:
        number = kind(text)
    except ValueError:
        number = math.nan
    if variable in RANGES:
        low, high = RANGES[variable]
        fits, bounds = low <= number <= high, f"from {low} to {high}"
    else:
        fits, bounds = 0 < number < math.inf, "above 0"
    if not fits:
        raise InputError(f"{variable} is '{text}'; set it to {word} {bounds}.")
    return number


def _parse_folder(variable: str, text: str) -> Path:
    """Take a folder that exists or can be made."""
    folder = _from_root(Path(text))
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir():
        raise InputError(f"{variable} is '{text}', but {existing} is a file; set it to a folder.")
    if variable in WRITTEN and not os.access(existing, os.W_OK):
        raise InputError(f"{variable} is '{text}', but {existing} cannot be written to; set it to a folder of yours.")
    return folder


FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
# What libraries that report a full disk with an exception of their own say.
FULL_DISK_WORDS = ("No space left on device", "Disk quota exceeded")


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
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
    atomic_write(path, lambda temporary: temporary.write_text(text))


def write_json(path: Path, content: dict) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


@contextmanager
def file_lock(lock: Path, doing: str) -> Iterator[None]:
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
