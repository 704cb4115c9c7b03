"""Measure this machine: the training of 2018 against ours, decoding, what an epoch of more notes costs, start-up.

``make bench`` prints one table and writes it, with every single measurement and the environment, to build/bench.json.
All is measured on the notes of nsynth-mini, each way in its turn (A B C A B C), and told as median and range.
``--quick`` runs every part once on a few notes, to see that it works; its numbers mean nothing.

The 2018 way is restated in our words: each note a WAV of 4 s that is read and decoded whole whenever it is asked for,
nothing kept; notes put together to batches of 32 one by one; float32 and torch's own threads; validation one note at a
time. It has a process of its own, which sleeps while ours works: how freed memory is handled and how OpenMP waits are a
process's, and both are left there as they come. (Our OpenMP settings send a waiting thread to sleep soon, which slows
its validation: between two notes one thread alone reads a file.) On one note two threads meet hundreds of times, and on
one machine they were twice as fast at one time as at another: its validation by one thread is measured beside them.
"""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import json
import math
import multiprocessing
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import lightning
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import soundfile
import torch
from nbclient import NotebookClient
from scipy.io import wavfile
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from nsynth_helpers.data.archives import SplitSource
from nsynth_helpers.data.cache import NSynthSplit, load_splits, prepare
from nsynth_helpers.data.dataset import NSynthDataModule
from nsynth_helpers.data.metadata import FAMILIES, FULL_SCALE, SAMPLE_RATE, STEP_SIZE
from nsynth_helpers.plots.style import WIDE, legend_below, save_figure, use_style
from nsynth_helpers.report import NOTEBOOKS
from nsynth_helpers.settings import PROJECT_ROOT, Settings, write_json
from nsynth_helpers.training.devices import choose_precision
from nsynth_helpers.training.fit import TrainingStopped, fit
from nsynth_helpers.training.predict import predict
from nsynth_helpers.training.runs import RunConfig, describe_environment, write_table

THREADS = torch.get_num_threads()
PRODUCT = 1024  # rows and columns of the matrices whose product gives the peak
BUSY_NOTES = 320
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
# A longer epoch is measured by this many of its steps, of which the first are warm-up.
MOST_STEPS, WARM_STEPS = 320, 20
OPENMP = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # what `nsynth_helpers` and make set


class WavNotes(Dataset):
    """The notes of a folder of 4 s WAV files; every access reads and decodes its file."""

    def __init__(self, folder: Path):
        self.paths = sorted((folder / "audio").iterdir())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """``frames (100, 160)`` of the first second, and the family."""
        _, waveform = wavfile.read(self.paths[index])
        frames = torch.from_numpy(waveform.astype(np.float32) / FULL_SCALE)[:SAMPLE_RATE].view(-1, STEP_SIZE)
        return frames, FAMILIES.index(self.paths[index].name.split("_")[0])


class Way2018:
    """Files, loops and loss of 2018."""

    def __init__(self, config: RunConfig, folder: Path):
        self.config = config
        self.train = DataLoader(WavNotes(folder / "nsynth-train"), config.batch_size, shuffle=True)
        self.valid = DataLoader(WavNotes(folder / "nsynth-valid"), 1)
        self.network = config.build_network()
        self.optimizer = torch.optim.Adam(self.network.parameters(), config.learning_rate)

    def load(self) -> None:
        """Read the train notes once, in batches."""
        for _ in self.train:
            pass

    def learn(self) -> None:
        """One epoch on the train notes."""
        loss_sum, correct = 0.0, 0
        self.network.train()
        for frames, labels in self.train:
            self.optimizer.zero_grad()
            logits = self.network(frames)
            loss = functional.cross_entropy(logits, labels)
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.item()
            correct += (logits.argmax(dim=1) == labels).sum().item()

    @torch.no_grad()
    def evaluate(self) -> None:
        """Loss and accuracy on the valid notes."""
        self.network.eval()
        loss_sum, correct = 0.0, 0
        for frames, labels in self.valid:
            logits = self.network(frames)
            loss_sum += functional.cross_entropy(logits, labels).item()
            correct += (logits.argmax(dim=1) == labels).sum().item()


def seconds_of_2018(config: RunConfig, folder: Path, training_alone: bool) -> dict[str, float]:
    """Seconds of each column of the 2018 way, in the process that calls it."""
    way = Way2018(config, folder)
    seconds = {"loading": seconds_of(way.load), "training": seconds_of(way.learn)}
    if training_alone:
        return seconds
    seconds["evaluation"] = seconds_of(way.evaluate)
    torch.set_num_threads(1)
    seconds["evaluation, 1 thread"] = seconds_of(way.evaluate)
    torch.set_num_threads(THREADS)
    return seconds | {"epoch": seconds["training"] + seconds["evaluation"]}


@contextmanager
def process_of_2018():
    """A process that knows nothing of our settings of OpenMP, which are read when it loads torch."""
    ours = {name: os.environ.pop(name) for name in OPENMP if name in os.environ}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as old:
        old.submit(int).result()
        os.environ.update(ours)
        yield old


class Clock(lightning.Callback):
    """The seconds from an epoch's first batch to its validation."""

    def on_train_epoch_start(self, trainer, module) -> None:
        """Start."""
        self.started = time.perf_counter()

    def on_validation_start(self, trainer, module) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self.started


class Ours:
    """`fit` and `predict` as a user calls them."""

    def __init__(self, config: RunConfig, splits: dict[str, NSynthSplit], settings: Settings):
        self.config, self.splits, self.settings = config, splits, settings
        self.train, self.valid = config.frames(splits["train"]), config.frames(splits["valid"])
        self.network = config.build_network()

    def load(self) -> None:
        """Read the train notes once, in batches."""
        for _ in NSynthDataModule(self.train, self.valid, self.config.batch_size).train_dataloader():
            pass

    def epoch(self) -> dict[str, float]:
        """Seconds of training on the train notes and of the epoch with its validation, and with what it writes."""
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            run = fit(self.config, self.splits, self.settings, Path(folder) / "run", [clock])
            return {"training": clock.seconds, "epoch": float(run.history["seconds"].iloc[-1])}

    def evaluate(self) -> None:
        """The logits of the valid notes."""
        predict(self.network, self.valid, "cpu")


def measure(
    networks: tuple[str, ...],
    splits: dict[str, NSynthSplit],
    files: Path,
    settings: Settings,
    repeats: int,
    old: ProcessPoolExecutor,
    training_alone: bool = False,
) -> dict[tuple[str, str], dict[str, list[float]]]:
    """Notes/s of each way in each column, measured in turn after one round that does not count."""
    precision = choose_precision("auto", "cpu")
    notes, others = len(splits["train"].notes), len(splits["valid"].notes)
    done = {"loading": notes, "training": notes, "evaluation": others, "epoch": notes + others}
    done["evaluation, 1 thread"] = others
    speeds = {}
    for turn, network in itertools.product(range(repeats + 1), networks):
        float32 = RunConfig(network, epochs=1)
        ways = {"ours, float32": float32, f"ours, auto ({precision})": replace(float32, precision=precision)}
        seconds = {"2018 way": old.submit(seconds_of_2018, float32, files, training_alone).result()}
        for way, config in ways.items():
            ours = Ours(config, splits, settings)
            seconds[way] = {"loading": seconds_of(ours.load), "evaluation": seconds_of(ours.evaluate), **ours.epoch()}
        for way, columns in seconds.items():
            kept = speeds.setdefault((network, way), {column: [] for column in columns})
            for column in columns if turn else ():
                kept[column].append(done[column] / columns[column])
    return speeds


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak(dtype: torch.dtype, repeats: int) -> float:
    """GFLOP/s of products of square matrices on every core at once: threads x products x 2 n^3 / seconds, the median.

    In float32, where torch's own product is MKL's and slow on some processors, the better of it and oneDNN's.
    """
    left, right = (torch.randn(PRODUCT, PRODUCT).to(dtype) for _ in range(2))
    products, best = 8, 0.0
    candidates = [lambda: functional.linear(left, right)]
    if dtype == torch.float32 and torch.backends.mkldnn.is_available():
        candidates.append(lambda: torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], ""))
    with ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for product in candidates:

            def work(_, product=product) -> None:
                for _ in range(products):
                    product()

            taken = [seconds_of(lambda: list(pool.map(work, range(THREADS)))) for _ in range(repeats + 1)][1:]
            best = max(best, THREADS * products * 2 * PRODUCT**3 / statistics.median(taken) / 1e9)
    return best


def training_gflop(config: RunConfig) -> float:
    """GFLOP to train on one note: a product and a sum for each weight and step, forward and twice that backward."""
    matrices = (weight for name, weight in config.build_network().named_parameters() if name.startswith("rnn.weight"))
    return 3 * 2 * round(config.seconds * SAMPLE_RATE) // STEP_SIZE * sum(weight.numel() for weight in matrices) / 1e9


@contextmanager
def busy_loops():
    """One process for each thread that does nothing, all the time."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(THREADS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def make_wavs(splits: dict[str, NSynthSplit], folder: Path) -> None:
    """The notes as 4 s WAV files in the official layout."""
    for name, split in splits.items():
        audio = folder / f"nsynth-{name}" / "audio"
        audio.mkdir(parents=True)
        for note_str, waveform in zip(split.notes["note_str"], split.waveforms, strict=True):
            soundfile.write(audio / f"{note_str}.wav", waveform, SAMPLE_RATE)
        records = {note_str: {} for note_str in split.notes["note_str"]}
        (audio.parent / "examples.json").write_text(json.dumps(records))


def first_notes(splits: dict[str, NSynthSplit], most: int) -> dict[str, NSynthSplit]:
    """At most so many notes of each split, from all over it; ``synth_lead``, which 2018 had no family for, left out."""
    chosen = {}
    for name, split in splits.items():
        rows = np.flatnonzero(split.notes["label"] >= 0)
        rows = rows[:: max(1, len(rows) // most)][:most]
        chosen[name] = replace(split, notes=split.notes.iloc[rows], waveforms=split.waveforms[rows])
    return chosen


def decoding(source: SplitSource, repeats: int) -> dict[str, list[float]]:
    """Notes/s of `prepare` from a folder and from an archive, each beside the plain loop that it is measured by."""
    folder = source.path.parent
    archive = SplitSource(source.split, folder / f"{source.path.name}.tar.gz")
    with tarfile.open(archive.path, "w:gz", compresslevel=6) as file:
        file.add(source.path, source.path.name)
    paths = sorted((source.path / "audio").iterdir())

    def unzip() -> None:
        with gzip.open(archive.path) as file:
            while file.read(io.DEFAULT_BUFFER_SIZE * 16):
                pass

    works = {
        "plain loop, first second": lambda: [soundfile.read(path, SAMPLE_RATE, dtype="int16") for path in paths],
        "prepare, folder": lambda: prepare(source, folder / "cache"),
        "plain gzip stream": unzip,
        "prepare, archive": lambda: prepare(archive, folder / "cache"),
    }
    speeds = {name: [] for name in works}
    for _, (name, work) in itertools.product(range(repeats), works.items()):
        speeds[name].append(len(paths) / seconds_of(work))
    return speeds


class Steps(Clock):
    """When each step ended and the most anonymous memory, in bytes; an epoch of more than `most` steps ends there."""

    def __init__(self, most: int):
        self.most, self.ends, self.memory = most, [], math.nan

    def on_train_batch_end(self, trainer, *_) -> None:
        """Look at the clock and at the memory."""
        self.ends.append(time.perf_counter())
        with suppress(OSError):  # a file of Linux
            found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
            self.memory = max(1024 * int(found[1]), np.nan_to_num(self.memory))
        if len(self.ends) == self.most < trainer.num_training_batches:
            raise KeyboardInterrupt


def cost_of(notes: int, folder: Path, splits: dict[str, NSynthSplit], settings: Settings, most: int, warm: int) -> dict:
    """Seconds and memory of training on the first `notes` of the folder's, in the process that calls it.

    An epoch of at most `most` steps is measured whole; of a longer one what comes before its first step (the order of
    the notes, the loader's start) and the median step, of which it is made up.
    """
    waveforms = np.memmap(folder / "waveforms.int16", np.int16, "r", shape=(notes, SAMPLE_RATE))
    train = NSynthSplit("train", pd.read_parquet(folder / f"{notes}.parquet"), waveforms, f"{notes} repeated")
    config, clock = RunConfig("lstm", epochs=1), Steps(most)
    read = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
    with suppress(TrainingStopped):
        fit(config, splits | {"train": train}, settings, folder / f"run-{notes}", [clock])
    steps, step = math.ceil(notes / config.batch_size), statistics.median(np.diff(clock.ends[warm:]))
    before = clock.ends[0] - clock.started - step
    whole = len(clock.ends) == steps
    return {
        "notes": notes,
        "steps": steps,
        "measured_steps": len(clock.ends),
        "before_first_step_s": before,
        "step_s": step,
        "epoch_s": clock.seconds if whole else before + steps * step,
        "anonymous_bytes": clock.memory,
        "disk_bytes": 512 * (resource.getrusage(resource.RUSAGE_SELF).ru_inblock - read),
    }


def growth(splits: dict[str, NSynthSplit], folder: Path, settings: Settings, sizes, most: int, warm: int):
    """What an epoch of so many notes costs, a row for each size that fits half the free disk, each in its own process.

    The notes are repeated, and really there: a file of the full size, mapped into memory as a cache is. It was written
    just now, and lies in the system's page cache as far as there is room; ``disk_bytes`` had to be read again.
    """
    train, room = splits["train"], shutil.disk_usage(folder).free / 2
    sizes = [notes for notes in sizes if notes * SAMPLE_RATE * 2 < room]
    copies = math.ceil(max(sizes) / len(train.notes))
    with (folder / "waveforms.int16").open("wb") as file:
        for _ in range(copies):
            np.ascontiguousarray(train.waveforms).tofile(file)
        os.fsync(file.fileno())  # not while a training is timed
    table = pd.concat([train.notes] * copies, ignore_index=True)
    table["note_str"] += "-" + table.index.astype(str)
    rows = []
    for notes in sizes:
        table.iloc[:notes].to_parquet(folder / f"{notes}.parquet")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            rows.append(fresh.submit(cost_of, notes, folder, splits, settings, most, warm).result())
    return pd.DataFrame(rows)


def plot_growth(costs: pd.DataFrame, settings: Settings) -> None:
    """Seconds an epoch and anonymous memory against notes, both axes logarithmic."""
    use_style()
    fig, axes = plt.subplots(1, 2, figsize=WIDE, sharex=True)
    whole = costs["measured_steps"] == costs["steps"]
    linear = costs["notes"] * (costs["epoch_s"] / costs["notes"]).median()
    axes[0].plot(costs["notes"], linear, "--", color="0.5", label="in proportion to the notes")
    axes[1].plot(costs["notes"], costs["notes"] * 2 * SAMPLE_RATE / 1e9, ":", color="0.5", label="the notes on disk")
    for ax, values in zip(axes, (costs["epoch_s"], costs["anonymous_bytes"] / 1e9), strict=True):
        ax.loglog(costs["notes"][whole], values[whole], "o", color="C0", label="a whole epoch measured")
        some = f"estimated from {costs['measured_steps'].max()} of its steps"
        ax.loglog(costs["notes"][~whole], values[~whole], "o", color="C0", markerfacecolor="none", label=some)
    axes[0].set(xlabel="train notes", ylabel="seconds an epoch, training alone")
    axes[1].set(xlabel="train notes", ylabel="anonymous memory, GB")
    legend_below(fig, axes, columns=2)
    fig.suptitle("Time and memory of an LSTM's epoch, in float32")
    save_figure(fig, "bench_growth", settings)


def run_notebook(path: Path, environment: dict[str, str], to_figure: bool = False) -> float:
    """Seconds from before the kernel's start to the notebook's last cell, or to the first that shows a figure."""
    started, notebook = time.perf_counter(), nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(path.parent)}})
    with client.setup_kernel(env=environment):
        for number, cell in enumerate(notebook.cells):
            client.execute_cell(cell, number)
            if to_figure and any("image/png" in output.get("data", {}) for output in cell.get("outputs", ())):
                break
        return time.perf_counter() - started


def start_up(folder: Path, repeats: int, quick: bool) -> dict[str, list[float]]:
    """Seconds until something is there to look at: the command's help, notebook 01's first figure, notebook 04 again.

    Notebook 01 finds nothing decoded, as on the first day; notebook 04 all that it needs finished.
    """
    given = os.environ | {f"NSYNTH_{name.upper()}": str(folder / name) for name in ("cache", "runs", "figures")}
    first, again = NOTEBOOKS / "01_data_exploration.ipynb", NOTEBOOKS / "04_result_analysis.ipynb"
    command = [sys.executable, "-m", "nsynth_helpers", "--help"]
    show_help = partial(subprocess.run, command, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, check=True)
    seconds = {"help": [seconds_of(show_help) for _ in range(repeats)]}
    seconds["first figure of notebook 01"] = [
        run_notebook(first, given | {"NSYNTH_CACHE": str(folder / f"cache-{turn}")}, to_figure=True)
        for turn in range(repeats)
    ]
    if not quick:
        run_notebook(again, given)
        seconds["notebook 04 again"] = [run_notebook(again, given) for _ in range(repeats)]
    return seconds


def shown(values: list[float], decimals: int = 0) -> str:
    """Median and range."""
    middle, least, most = (f"{value:,.{decimals}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every part once, on a few notes")
    parser.add_argument("--out", type=Path, default=PROJECT_ROOT / "build" / "bench.json")
    options = parser.parse_args()
    # Six pairs of epochs are the fewest on which a claim is judged; one more for good measure.
    repeats, most = (1, 40) if options.quick else (7, 100_000)
    sizes, steps, warm = ((100, 300), 5, 1) if options.quick else (SIZES, MOST_STEPS, WARM_STEPS)
    busy_before = os.getloadavg()
    settings = Settings.from_environment({"NSYNTH_DEVICE": "cpu"})
    precision = choose_precision("auto", "cpu")
    cached = first_notes(load_splits(settings), most)
    whole = first_notes(load_splits(replace(settings, seconds=4.0), ("train", "valid")), most)
    peaks = {name: peak(dtype, repeats) for name, dtype in (("32-true", torch.float32), ("bf16-mixed", torch.bfloat16))}

    with tempfile.TemporaryDirectory() as name, process_of_2018() as old:
        folder = Path(name)
        make_wavs(whole, folder)
        make_wavs(first_notes(whole, min(BUSY_NOTES, most)), folder / "few")
        few = first_notes(cached, min(BUSY_NOTES, most))
        speeds = measure(("lstm", "blstm"), cached, folder, settings, repeats, old)
        idle = measure(("lstm",), few, folder / "few", settings, repeats, old, training_alone=True)
        with busy_loops():
            busy = measure(("lstm",), few, folder / "few", settings, repeats, old, training_alone=True)
        decoded = decoding(SplitSource("train", folder / "nsynth-train"), repeats)
        costs = growth(first_notes(cached, 1_000), folder, settings, sizes, steps, warm)
        started = start_up(folder, repeats, options.quick)

    rows, single = [], {}
    for (network, way), columns in speeds.items():
        config, old = RunConfig(network), speeds[network, "2018 way"]
        ratios = {
            f"{column}, ratio": round(statistics.median(np.divide(columns[column], old[column])), 2)
            for column in ("evaluation", "epoch")
        }
        against_one = statistics.median(np.divide(columns["evaluation"], old["evaluation, 1 thread"]))
        ratios["evaluation, ratio to 1 thread"] = round(against_one, 2)
        used = peaks[precision if "auto" in way else "32-true"]
        share = statistics.median(columns["training"]) * training_gflop(config) / used
        rows.append({"network": network, "way": way} | {name: shown(values) for name, values in columns.items()})
        rows[-1] |= ratios | {"of the peak": f"{100 * share:.0f} %"}
        single[f"{network}, {way}"] = columns | ratios | {"share_of_peak": share}
    slowed = []
    for (network, way), columns in busy.items():
        before, during = idle[network, way]["training"], columns["training"]
        slower = [statistics.median(before) / each for each in (statistics.median(during), min(during))]
        slowed.append({"network": network, "way": way, "idle": shown(before), "busy": shown(during)})
        slowed[-1] |= {"times slower": f"{slower[0]:.1f}", "at worst": f"{slower[1]:.1f}"}
        single[f"{network}, {way}, busy"] = {"idle": before, "busy": during, "slower": slower}

    print("notes/s: median (range); ratios to the 2018 way: median of the pairs")
    print(pd.DataFrame(rows).to_string(index=False))
    print(f"training beside {THREADS} busy loops, notes/s")
    print(pd.DataFrame(slowed).to_string(index=False))
    print(f"peak of matrix products, GFLOP/s: {', '.join(f'{name} {value:,.0f}' for name, value in peaks.items())}")
    for name, values in decoded.items():
        print(f"decoding, {name}: {shown(values)} notes/s")
    print("an epoch's training on more notes")
    print(costs.to_string(index=False))
    for name, values in started.items():
        print(f"start-up, {name}: {shown(values, 2)} s")
    found = {
        "environment": describe_environment(),
        "load_average": {"before": busy_before, "after": os.getloadavg()},
        "peak_gflops": peaks,
        "notes_per_second": single,
        "decoding": decoded,
        "start_up_seconds": started,
    }
    write_json(options.out, found)
    write_table(options.out.with_name("growth.csv"), costs)
    plot_growth(costs, replace(settings, figures=options.out.parent))
    epochs = {network: speeds[network, "ours, float32"]["epoch"] for network in ("lstm", "blstm")}
    notes = sum(len(cached[name].notes) for name in ("train", "valid"))
    # Notebook 08 compares their times; they stand in one row as they were measured, one after the other.
    write_table(options.out.with_name("epoch_pairs.csv"), notes / pd.DataFrame(epochs))
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
