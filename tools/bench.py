"""Measure on this machine: decoding against a plain loop, an archive against its gzip stream, networks against one.

Every figure is the median of several repeats, and every comparison a ratio within this one run.
Run it with `make bench`; it makes its own WAV files from nsynth-mini in a temporary folder and deletes them.
"""

from __future__ import annotations

import gzip
import io
import json
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import soundfile
import torch
from torch.nn import functional

from nsynth_helpers.data.archives import SplitSource
from nsynth_helpers.data.cache import load_split, prepare
from nsynth_helpers.data.metadata import SAMPLE_RATE
from nsynth_helpers.models import NETWORKS, build_network
from nsynth_helpers.settings import Settings

NOTES, REPEATS = 4000, 3
STEPS = 10


def main() -> None:
    """Print one line a measurement."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make_wav_split(folder)
        archive = pack(source, folder)
        loop = seconds(lambda: read_plainly(source.path))
        stream = seconds(lambda: unzip_plainly(archive.path))
        report("plain soundfile loop, first second", loop)
        report("prepare from the folder", seconds(lambda: build(source, folder)), loop)
        report("plain gzip stream", stream)
        report("prepare from the archive", seconds(lambda: build(archive, folder)), stream)
    compare_networks()


def make_wav_split(folder: Path) -> SplitSource:
    """Official layout with notes of 4 s as WAV: those of nsynth-mini, over and over."""
    waveforms = load_split(Settings.from_environment({"NSYNTH_SECONDS": "4"}), "train").waveforms
    audio = folder / "nsynth-train" / "audio"
    audio.mkdir(parents=True)
    names = [f"bass_synthetic_{i // 1000:03d}-{i // 8 % 125:03d}-{i % 8:03d}" for i in range(NOTES)]
    for index, note_str in enumerate(names):
        soundfile.write(audio / f"{note_str}.wav", waveforms[index % len(waveforms)], SAMPLE_RATE)
    (audio.parent / "examples.json").write_text(json.dumps({note_str: {} for note_str in names}))
    return SplitSource("train", audio.parent)


def pack(source: SplitSource, folder: Path) -> SplitSource:
    """The same split as a .tar.gz."""
    path = folder / "nsynth-train.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=6) as archive:
        archive.add(source.path, source.path.name)
    return SplitSource("train", path)


def build(source: SplitSource, folder: Path) -> None:
    """Build the cache anew."""
    prepare(source, folder / "cache")


def read_plainly(folder: Path) -> None:
    """The first second of each file, one after the other, kept nowhere."""
    for path in sorted((folder / "audio").iterdir()):
        soundfile.read(path, SAMPLE_RATE, dtype="int16")


def unzip_plainly(path: Path) -> None:
    """Decompress and throw away: no reader of the archive can be faster."""
    with gzip.open(path) as file:
        while file.read(io.DEFAULT_BUFFER_SIZE * 16):
            pass


def seconds(work: Callable[[], object]) -> float:
    """Median wall-clock seconds."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def report(what: str, taken: float, against: float | None = None) -> None:
    """One line: notes a second, and the ratio to what it is compared with."""
    ratio = "" if against is None else f"  {against / taken:5.2f} times as fast as the line above it"
    print(f"{what:<36} {NOTES / taken:8.0f} notes/s{ratio}")


def compare_networks() -> None:
    """Seconds of one training step of each network, as a multiple of the LSTM's."""
    steps = {name: training_step(name) for name in NETWORKS}
    for name, taken in steps.items():
        print(f"training step, {name:<20} {1000 * taken:8.1f} ms  {taken / steps['lstm']:5.2f} times the LSTM's")


def training_step(name: str) -> float:
    """Median seconds of one step of 32 notes."""
    torch.manual_seed(0)
    network = build_network(name)
    optimizer = torch.optim.Adam(network.parameters())
    frames, labels = torch.randn(32, 100, 160), torch.randint(10, (32,))
    times = []
    for _ in range(STEPS):
        started = time.perf_counter()
        optimizer.zero_grad()
        functional.cross_entropy(network(frames), labels).backward()
        optimizer.step()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
