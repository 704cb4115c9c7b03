"""Every path and every knob of the workbook, read once from ``NSYNTH_*`` environment variables."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock, Timeout
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, ValidationInfo
from tqdm.auto import tqdm

PROJECT_ROOT = Path(__file__).resolve().parents[1]
MINI = "mini"
MINI_FOLDER = PROJECT_ROOT / "data" / "nsynth-mini"
LONGEST_SENTENCE, LONGEST_NAME, LONGEST_FILE_NAME = 1_500, 60, 255
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
# What libraries say that have exceptions of their own.
FULL_DISK_WORDS = ("No space left on device", "Disk quota exceeded")
FULL_MEMORY_WORDS = ("can't allocate memory", "out of memory")


def shown(text: object, limit: int = 200) -> str:
    """Something from outside as a sentence may show it: on one line, cut in its middle, without control characters."""
    # A record of 240 MB takes as much again, and a minute, to be written out; even reprlib sorts its keys first.
    text = f"a {type(text).__name__} of {len(text)}" if isinstance(text, list | dict) else str(text)
    if len(text) > limit:
        text = f"{text[: limit // 2]} ... {text[-limit // 2 :]}"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


class InputError(Exception):
    """Bad input, told in one sentence that names the thing and the remedy, cut where it quotes too much.

    The command line prints the sentence and ends with exit code 2; a notebook shows it as the last line.
    """

    def __init__(self, sentence: str):
        super().__init__(shown(sentence, LONGEST_SENTENCE))


def _folder(text: str, info: ValidationInfo) -> Path | str:
    """Take a folder that exists or, but for the data, can be made; a relative path starts at the project's root."""
    name = info.field_name
    if name == "data" and text == MINI:
        return text
    try:
        folder = PROJECT_ROOT / Path(text).expanduser()
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        if any(len(os.fsencode(part)) > LONGEST_FILE_NAME for part in folder.parts):
            raise ValueError("a name in it is too long")
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise ValueError(f"it can be no folder ({reason}); set it to one") from None
    if name == "data":
        if not folder.is_dir():
            raise ValueError("it is no folder; set it to mini or to a folder of NSynth splits")
        return text
    if not existing.is_dir():
        raise ValueError(f"{existing} is a file; set it to a folder")
    # A cache that is there may be on a disk that takes no more.
    is_read = name == "results" or (name == "cache" and folder == existing)
    if not is_read and not os.access(existing, os.W_OK):
        raise ValueError(f"{existing} cannot be written to; set it to a folder of yours")
    return folder


Folder = Annotated[Path, BeforeValidator(_folder)]
# In pydantic's words these are a programmer's.
PLAIN_WORDS = {
    "bool_parsing": "it should be 1 (yes) or 0 (no)",
    "int_parsing": "it should be a whole number",
    "float_parsing": "it should be a number",
}


@dataclass(frozen=True)
class Settings:
    """The settings of one session; each field is the variable ``NSYNTH_<FIELD>``, which README.md explains.

    Times are in seconds. `data` is ``mini`` or a folder in the official layout; `workers` are decoding threads (0: one
    for each core); `devices` and `nodes` are those of a distributed training.
    """

    # A seed is what NumPy takes, a note lasts 4 s, and one step of it 0.01 s; other bounds keep out what is absurd.
    data: Annotated[str, BeforeValidator(_folder)] = MINI
    seconds: Annotated[float, Field(ge=0.01, le=4)] = 1.0
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 20
    batch_size: Annotated[int, Field(ge=1, le=100_000)] = 32
    learning_rate: Annotated[float, Field(ge=1e-9, le=1_000)] = 0.0008
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 2018
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "auto", "16-mixed", "bf16-mixed"] = "32-true"
    devices: Annotated[int, Field(ge=1, le=1_024)] = 1
    nodes: Annotated[int, Field(ge=1, le=1_024)] = 1
    retrain: bool = False
    skip_bad: bool = False
    cache: Folder = PROJECT_ROOT / "build" / "cache"
    runs: Folder = PROJECT_ROOT / "build" / "runs"
    figures: Folder = PROJECT_ROOT / "build" / "figures"
    report: Folder = PROJECT_ROOT / "build" / "report"
    results: Folder = PROJECT_ROOT / "results"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from ``NSYNTH_*`` variables (of ``os.environ``); what is not set keeps its default.

        An `InputError` names the variable whose value cannot be used.

        Examples
        --------
        >>> Settings.from_environment({"NSYNTH_EPOCHS": "3"}).epochs
        3
        """
        environ = os.environ if environ is None else environ
        texts = {field.name: environ.get(f"NSYNTH_{field.name.upper()}", "").strip() for field in fields(cls)}
        try:
            return TypeAdapter(cls).validate_python({name: text for name, text in texts.items() if text})
        except ValidationError as error:
            problem = error.errors()[0]
            [name] = problem["loc"]
            reason = problem["msg"].removeprefix("Value error, ").replace("Input should", "it should")
            reason = PLAIN_WORDS.get(problem["type"], reason)
            raise InputError(f"NSYNTH_{name.upper()} is '{shown(texts[name])}', but {reason}.") from None

    @property
    def data_folder(self) -> Path:
        """The folder that holds the three splits."""
        return MINI_FOLDER if self.data == MINI else PROJECT_ROOT / Path(self.data).expanduser()

    @property
    def data_name(self) -> str:
        """What figures, tables and pages call the data: ``nsynth-mini``, or the folder's name without odd letters."""
        return re.sub(r"[^\w .+-]", "_", self.data_folder.resolve().name)[:LONGEST_NAME]


def progress_is_off() -> bool:
    """Whether ``TQDM_DISABLE`` asks for no progress bars: tqdm's bars for notebooks do not look for themselves."""
    return os.environ.get("TQDM_DISABLE", "0") != "0"


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then give it its name: a kill leaves a ``*.tmp`` at most."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that write the same file at once must not take each other's half-written one for their own.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    except Exception as error:
        if getattr(error, "filename", None) in (None, str(temporary)):
            error.filename = str(path)  # for `one_sentence`: libraries leave it out, and nobody knows a temporary file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: dict) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


@contextmanager
def reading(place: object, remedy: str) -> Iterator[None]:
    """Turn what a damaged file, or another text from outside, provokes into an `InputError` with place and remedy."""
    try:
        yield
    except PermissionError:
        raise
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        field = ".".join(map(str, problem["loc"])) or "content"
        raise InputError(f"{place} cannot be used ({field}: {problem['msg'].lower()}); {remedy}.") from None
    except (KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or shown(error)
        raise InputError(f"{place} cannot be used ({reason}); {remedy}.") from None


def validated(kind, text: str | bytes, place: object, remedy: str):
    """What a text of JSON holds, as `kind` describes it; else an `InputError` names the place, field and remedy."""
    with reading(place, remedy):
        return TypeAdapter(kind).validate_json(text)


@contextmanager
def file_lock(lock: Path, doing: str) -> Iterator[None]:
    """Let one process at a time do something; another one says what it is `doing`, and waits."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    turn = FileLock(lock)
    try:
        held = turn.acquire(timeout=0)
    except Timeout:
        tqdm.write(f"Another process {doing}; waiting for it.", file=sys.stderr)
        held = turn.acquire()
    with held:
        yield


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn what the machine refuses (a full disk, permissions, a file in the way, memory) into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        place, text = getattr(error, "filename", None), str(error)
        place = place and shown(str(place))
        if getattr(error, "errno", None) in FULL_DISK or any(words in text for words in FULL_DISK_WORDS):
            raise InputError(
                f"The disk{f' of {place}' if place else ''} is full; free some space or name a folder on a larger disk "
                "(NSYNTH_CACHE, NSYNTH_RUNS, NSYNTH_REPORT, --out, --to), then run the same command again: what is "
                "finished is kept."
            ) from None
        if isinstance(error, MemoryError) or any(words in text for words in FULL_MEMORY_WORDS):
            raise InputError(
                "The memory is full; make NSYNTH_BATCH_SIZE or NSYNTH_SECONDS smaller, or use a larger machine."
            ) from None
        if isinstance(error, OSError) and place:
            raise InputError(
                f"{place} cannot be used ({error.strerror}); check its permissions or choose another path."
            ) from None
        raise
