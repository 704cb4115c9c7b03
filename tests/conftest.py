"""Tiny splits of made-up notes, in the official layout, for tests that must not wait for real ones."""

import io
import json
import os
import shutil
import signal
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from nsynth_helpers.data.archives import SplitSource
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE, parse_note_str
from nsynth_helpers.settings import Settings
from nsynth_helpers.training.fit import fit
from nsynth_helpers.training.runs import Run, RunConfig

# Started in the background of a script, the tests and their children would not hear an interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# What takes a minute or more; `.ci/run` leaves none out.
LONG = pytest.mark.skipif("NSYNTH_LONG_TESTS" not in os.environ, reason="takes long; set NSYNTH_LONG_TESTS=1")
# How many seconds a page, a server or a kernel may take on a busy machine.
PATIENCE = 180
SECONDS = 0.05
NOTE_STRS = tuple(f"{family}_acoustic_{7 * label:03d}-{60 + label:03d}-100" for label, family in enumerate(FAMILIES))
# A training of seconds, for notes such as `tones` makes.
TINY = RunConfig(network_arguments={"hidden_size": 12, "num_layers": 1}, epochs=4, batch_size=8, seconds=0.1)
FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG"}


def waveform_of(note_str: str, seconds: float = SECONDS) -> np.ndarray:
    """A sound that depends on the note's name alone."""
    rng = np.random.default_rng(zlib.crc32(note_str.encode()))
    return rng.integers(-20_000, 20_000, round(seconds * SAMPLE_RATE), dtype=np.int16)


def audio_of(note_str: str, suffix: str = ".wav", rate: int = SAMPLE_RATE, channels: int = 1, seconds=SECONDS) -> bytes:
    """The note as a file."""
    file = io.BytesIO()
    waveform = waveform_of(note_str, seconds)
    soundfile.write(file, np.stack([waveform] * channels, axis=1), rate, format=FORMATS[suffix])
    return file.getvalue()


def record_of(note_str: str) -> dict:
    """The note's entry in ``examples.json``, as the official ones are."""
    instrument, pitch, velocity = note_str.split("-")
    family, source, _ = instrument.rsplit("_", 2)
    return {
        "note": 1,
        "note_str": note_str,
        "instrument_str": instrument,
        "pitch": int(pitch),
        "velocity": int(velocity),
        "sample_rate": SAMPLE_RATE,
        "qualities_str": ["bright"],
        "instrument_family_str": family,
        "instrument_source_str": source,
    }


def cached_split(split: str, names, waveforms, digest: str = "digest", skipped=()) -> NSynthSplit:
    """A split as its cache would hold it, without one: notes by their names, waveforms of whole numbers."""
    notes = pd.DataFrame([parse_note_str(name) for name in names])
    return NSynthSplit(split, notes, np.asarray(waveforms, dtype=np.int16), digest, skipped)


def tones(split: str, notes_of_each: int, seed: int) -> NSynthSplit:
    """A tenth of a second of notes of which each family has a pitch of its own: easy to learn."""
    random = np.random.default_rng(seed)
    time_axis = np.arange(SAMPLE_RATE // 10) / SAMPLE_RATE
    names, waveforms = [], []
    for number, family in enumerate(FAMILIES):
        for velocity in range(notes_of_each):
            names.append(f"{family}_acoustic_{seed:03d}-{40 + number:03d}-{velocity:03d}")
            wave = np.sin(2 * np.pi * (100 + 150 * number) * time_axis + random.uniform(0, 0.3))
            waveforms.append(30_000 * wave)
    return cached_split(split, names, waveforms, f"{split}-{seed}")


@pytest.fixture(scope="session")
def tiny_splits() -> dict[str, NSynthSplit]:
    """Eighty training notes, twenty valid and thirty test notes, of instruments of their own."""
    return {"train": tones("train", 8, 1), "valid": tones("valid", 2, 2), "test": tones("test", 3, 3)}


@pytest.fixture
def tiny_settings(tmp_path) -> Settings:
    """Settings whose runs lie in folders of the test's own."""
    given = Settings.from_environment({"NSYNTH_DEVICE": "cpu"})
    return replace(given, runs=tmp_path / "runs", results=tmp_path / "results")


@pytest.fixture(scope="session")
def tiny_run(tiny_splits, tmp_path_factory) -> Run:
    """A finished run of `TINY`, for tests that read it; `tiny_copy` is for those that change it."""
    settings = Settings.from_environment({"NSYNTH_DEVICE": "cpu"})
    return fit(TINY, tiny_splits, settings, tmp_path_factory.mktemp("tiny") / "run")


@pytest.fixture
def tiny_copy(tiny_run, tmp_path) -> Run:
    """A finished run of the test's own."""
    return Run(shutil.copytree(tiny_run.path, tmp_path / "run"))


def write_tar(path: Path, members, mode: str = "w:gz") -> Path:
    """Write (name, bytes) or ready-made ``tarfile.TarInfo`` members."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                name, content = member
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def make_folder(tmp_path):
    """Make ``nsynth-<split>/`` with its audio and ``examples.json``."""

    def make(split="test", note_strs=NOTE_STRS, suffix=".wav", root=tmp_path) -> SplitSource:
        folder = root / f"nsynth-{split}"
        (folder / "audio").mkdir(parents=True)
        (folder / "examples.json").write_text(json.dumps({note_str: record_of(note_str) for note_str in note_strs}))
        for note_str in note_strs:
            (folder / "audio" / f"{note_str}{suffix}").write_bytes(audio_of(note_str, suffix))
        return SplitSource(split, folder)

    return make


@pytest.fixture
def make_archive(tmp_path):
    """Make the archive of a split; ``examples_last`` is how tar packs a folder whose audio comes first."""

    def make(
        split="test",
        note_strs=NOTE_STRS,
        suffix=".wav",
        examples_last=False,
        packed=True,
        root=tmp_path,
        seconds=SECONDS,
    ):
        records = json.dumps({note_str: record_of(note_str) for note_str in note_strs}).encode()
        names = [(note_str, f"nsynth-{split}/audio/{note_str}{suffix}") for note_str in note_strs]
        audio = [(name, audio_of(note_str, suffix, seconds=seconds)) for note_str, name in names]
        examples = [(f"nsynth-{split}/examples.json", records)]
        name = f"nsynth-{split}.jsonwav.tar.gz" if packed else f"nsynth-{split}.tar"
        members = audio + examples if examples_last else examples + audio
        return SplitSource(split, write_tar(root / name, members, "w:gz" if packed else "w"))

    return make
