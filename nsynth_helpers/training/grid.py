"""The grid of ablations: one variant at a time from the 2018 configuration, several seeds, resumable."""

import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm
from typing_extensions import TypedDict

from nsynth_helpers.data.archives import find_split
from nsynth_helpers.data.cache import load_splits
from nsynth_helpers.data.metadata import FAMILIES, LOGITS, SPLITS, keep_families, seen_in
from nsynth_helpers.models import count_parameters
from nsynth_helpers.settings import InputError, Settings, file_lock, progress_is_off, reading, validated, write_json
from nsynth_helpers.training.fit import fit
from nsynth_helpers.training.runs import LOCK_FILE, RunConfig, describe_environment, remove_run, run_folder, write_table

# The columns of a table of results: what tells one training from every other, then how it went.
KEY = ["data", "group", "variant", "epochs", "seed"]
MEASURES = [
    *("test_accuracy", "test_notes", "seen_accuracy", "unseen_accuracy", "valid_accuracy", "best_test_accuracy"),
    *("train_accuracy", "train_loss", "train_notes", "parameters", "seconds"),
]
ANSWERED = dict.fromkeys([*KEY, "note_str", "predicted"], "category") | {"epochs": "int16", "seed": "int16"}
# Beside a table of results, for its name's ending: the machine that last filled it, and what each network answered.
ENVIRONMENT, OUTCOMES = ".environment.json", ".outcomes.parquet"
COUNTS = ["epochs", "seed", "test_notes", "train_notes", "parameters"]
CORE_EPOCHS, MINOR_EPOCHS = 20, 10
MINI_DATA, REAL_DATA = "nsynth-mini", "nsynth"
# What a reader sees. Real notes come first: where both were measured, they decide.
DATA_TITLES = {REAL_DATA: "NSynth (subset)", MINI_DATA: MINI_DATA}


@dataclass(frozen=True)
class Variant:
    """One row of the grid: what it changes of a named network, on which data."""

    group: str  # the question it belongs to, such as "layers"; rows of a group are compared with one another
    name: str
    network: str = "lstm"
    network_arguments: dict = field(default_factory=dict)
    changes: dict = field(default_factory=dict)  # of the rest of the RunConfig
    epochs: int = MINOR_EPOCHS
    seeds: Mapping[str, int] = field(default_factory=lambda: {MINI_DATA: 6})  # how many on each kind of notes

    @property
    def baseline(self) -> str:
        """The row that it is compared with: its unchanged network, for a BLSTM itself the LSTM."""
        kind = "log-mel" if "front_end" in self.network_arguments else "2018"
        return f"{kind} BLSTM" if self.network == "blstm" and self.name != f"{kind} BLSTM" else f"{kind} LSTM"

    def config(self, seed: int) -> RunConfig:
        return RunConfig(self.network, self.network_arguments, epochs=self.epochs, seed=seed, **self.changes)


@dataclass(frozen=True)
class Trial:
    """One training of the grid: a row, the data and a seed."""

    variant: Variant
    data: str
    seed: int

    @property
    def key(self) -> dict:
        """What tells this trial from every other in ``ablations.csv``."""
        of = self.variant
        return dict(zip(KEY, (self.data, of.group, of.name, of.epochs, self.seed), strict=True))


def _core(name: str, network: str = "lstm", real: int = 3, **options) -> Variant:
    return Variant("core", name, network, epochs=CORE_EPOCHS, seeds={MINI_DATA: 8, REAL_DATA: real}, **options)


def _log_mel(name: str, network: str = "lstm", arguments: dict | None = None, **options) -> Variant:
    """A row on real notes that hears log-mel columns: another input, on which raw-frame networks' floor is left."""
    arguments = {"front_end": "log_mel"} | (arguments or {})
    return Variant(
        "log-mel", f"log-mel {name}", network, arguments, epochs=CORE_EPOCHS, seeds={REAL_DATA: 6}, **options
    )


def _rates(network: str, optimizer: str, rates: dict[float, int]) -> Iterator[Variant]:
    """The search for an optimizer's learning rate, by valid accuracy, with the seeds of each rate."""
    for rate, seeds in rates.items():
        changes = {"optimizer": optimizer, "learning_rate": rate}
        name = f"{network.upper()}, {'SGD' if optimizer == 'sgd' else 'Adam'} at {rate:g}"
        yield Variant("rate", name, network, changes=changes, epochs=CORE_EPOCHS, seeds={MINI_DATA: seeds})


SGD = {"optimizer": "sgd", "momentum": 0.8}
# Two seeds of each rate, eight of the one with the highest valid accuracy. Adam's 0.0008 is that of the 2018 rows.
SGD_RATES = {0.008: 2, 0.08: 2, 0.8: 8, 2.4: 2}
# In the order of their importance: the report's own claims first.
GRID: tuple[Variant, ...] = (
    _core("2018 LSTM"),
    _core("LSTM, 2 layers", network_arguments={"num_layers": 2}),
    _core("LSTM, SGD", changes=SGD),
    _core("2018 BLSTM", "blstm", real=6),
    _core("BLSTM, final state", "blstm", real=6, network_arguments={"readout": "final"}),
    _core("BLSTM, 2 layers", "blstm", network_arguments={"num_layers": 2}),
    _core("BLSTM, SGD", "blstm", changes=SGD),
    _log_mel("LSTM"),
    _log_mel("LSTM, 2 layers", arguments={"num_layers": 2}),
    _log_mel("LSTM, SGD", changes=SGD),
    _log_mel("BLSTM", "blstm"),
    _log_mel("BLSTM, final state", "blstm", {"readout": "final"}),
    _log_mel("BLSTM, 2 layers", "blstm", {"num_layers": 2}),
    *_rates("lstm", "sgd", SGD_RATES),
    *_rates("lstm", "adam", {0.00025: 8, 0.0025: 2}),
    *_rates("blstm", "sgd", SGD_RATES),
    *_rates("blstm", "adam", {0.00025: 2, 0.0025: 2}),
    Variant("precision", "LSTM, bfloat16", changes={"precision": "bf16-mixed"}, epochs=CORE_EPOCHS),
    Variant("precision", "BLSTM, bfloat16", "blstm", changes={"precision": "bf16-mixed"}, epochs=CORE_EPOCHS),
    Variant("baseline", "2018 LSTM"),
    Variant("cell", "plain RNN", "rnn"),
    Variant("activation", "tanh", network_arguments={"tanh": True}),
    Variant("layers", "1 layer", network_arguments={"num_layers": 1}),
    Variant("layers", "4 layers", network_arguments={"num_layers": 4}),
    Variant("weight decay", "1e-4", changes={"weight_decay": 1e-4}),
    Variant("weight decay", "1e-3", changes={"weight_decay": 1e-3}),
    *(Variant("batch", f"{size}", changes={"batch_size": size}) for size in (16, 64, 128, 256)),
    *(Variant("seconds", f"{seconds:g} s", changes={"seconds": seconds}) for seconds in (0.25, 0.5, 2.0, 4.0)),
    Variant("shuffle", "not shuffled", changes={"shuffle": False}),
    Variant("readout", "mean over steps", network_arguments={"readout": "mean"}),
    Variant("readout", "maximum over steps", network_arguments={"readout": "max"}),
    Variant("level", "each note to peak 1", changes={"normalise_level": True}),
    Variant("cell", "GRU", "gru"),
    Variant("step", "80 samples", changes={"step_size": 80}),
    Variant("step", "320 samples", changes={"step_size": 320}),
    Variant("optimizer", "AdamW", changes={"optimizer": "adamw", "weight_decay": 1e-2}),
    Variant("dropout", "0.3", network_arguments={"dropout": 0.3}),
)


def trials(grid: tuple[Variant, ...] = GRID) -> list[Trial]:
    """Every training of a grid, most important first: all seeds of a row before the next row."""
    return [
        Trial(variant, name, seed + 1)
        for variant in grid
        for name, count in variant.seeds.items()
        for seed in range(count)
    ]


class Environment(TypedDict):  # what tells the description of a grid's machine from other files
    jobs: int
    torch_threads: int


def run_grid(
    grid: list[Trial], results: Path, settings: Settings, real_folder: Path | None = None, jobs: int = 1
) -> pd.DataFrame:
    """Run or resume a grid; each finished training adds one row to a csv file, and what is there is skipped.

    An interrupted training goes on from the runs folder of the settings, in which one grid at a time works. Beside
    `results`, ``<name>.environment.json`` tells the machine that filled it last, and ``<name>.outcomes.parquet`` what
    each network answered (`read_outcomes`). Without `real_folder`, trials on real notes are left for later. The cores
    are divided among so many `jobs`. Returns what `read_results` reads; `InputError` if `results` is another file, or a
    trial cannot be trained.
    """
    # Refused before hours of training: what could not be read or must not be written over.
    if results.suffix != ".csv":
        raise InputError(f"{results} is no csv file; choose a name that ends in .csv for the table.")
    environment = results.with_suffix(ENVIRONMENT)
    if environment.exists():
        validated(Environment, environment.read_bytes(), environment, "choose another name for the table beside it")
    read_outcomes(results)
    for split in SPLITS if real_folder else ():
        find_split(real_folder, split)
    grid = [trial for trial in grid if trial.data == MINI_DATA or real_folder is not None]
    if _todo(grid, results):
        # Two grids that train the same trial in the same folder would delete each other's runs.
        with file_lock(settings.runs / "ablations.lock", f"runs a grid of ablations in {settings.runs}"):
            if todo := _todo(grid, results):
                _fill(results, todo, settings, real_folder, jobs)
    return read_results(results)


def _todo(grid: list[Trial], results: Path) -> list[Trial]:
    done = read_results(results)[KEY].to_dict("records")
    return [trial for trial in grid if trial.key not in done]


def _fill(results: Path, todo: list[Trial], settings: Settings, real_folder: Path | None, jobs: int) -> None:
    """Train trials; each adds its row to the table as it ends."""
    threads = max(1, torch.get_num_threads() // jobs)
    write_json(results.with_suffix(ENVIRONMENT), describe_environment() | {"jobs": jobs, "torch_threads": threads})
    with tqdm(total=len(todo), desc="ablations", unit="training", disable=progress_is_off()) as progress:
        for trial, (row, answers, folder) in _trained(todo, settings, real_folder, jobs, threads):
            # Answers first, those of a kill before the row was written gone: each row has its answers, once.
            tables = [read_outcomes(results), answers.assign(**trial.key)[list(ANSWERED)]]
            kept = pd.concat(tables).drop_duplicates([*KEY, "note_str"], keep="last")
            write_table(results.with_suffix(OUTCOMES), kept.astype(ANSWERED))
            rows = [*read_results(results).to_dict("records"), row]
            write_table(results, pd.DataFrame(rows, columns=KEY + MEASURES))
            # Only now: a kill before this line leaves the finished run, from which the row is made again at once.
            remove_run(folder)
            with suppress(OSError):  # something else is in it
                (folder / LOCK_FILE).unlink()
                folder.rmdir()
            progress.set_postfix_str(f"{trial.variant.name}, {trial.data}: {100 * row['test_accuracy']:.1f} %")
            progress.update()


def read_outcomes(results: Path) -> pd.DataFrame:
    """What each network of a table of results answered on its test notes: `KEY`, ``note_str``, ``predicted``.

    Empty where there are none.
    """
    path = results.with_suffix(OUTCOMES)
    with reading(path, "put it back, or delete it"):
        return pd.read_parquet(path)[list(ANSWERED)] if path.exists() else pd.DataFrame(columns=list(ANSWERED))


def read_results(path: Path) -> pd.DataFrame:
    """The table of finished trainings: `KEY` and `MEASURES`, accuracies as fractions; empty where there is none yet.

    `InputError` if the file is no such table.
    """
    if not path.exists():
        return pd.DataFrame(columns=KEY + MEASURES)
    with reading(path, "choose another file, or a new one"):
        # A table whose variants are all numbers, such as batch sizes, would be read as numbers otherwise.
        table = pd.read_csv(path, dtype={"data": str, "group": str, "variant": str})[KEY + MEASURES]
        return table.astype(dict.fromkeys(MEASURES, float) | dict.fromkeys(COUNTS, int))


def _trained(
    todo: list[Trial], settings: Settings, real_folder: Path | None, jobs: int, threads: int
) -> Iterator[tuple[Trial, tuple[dict, pd.DataFrame, Path]]]:
    """Train trials and hand over what `train_trial` returns of each as it comes."""
    if jobs == 1:
        for trial in todo:
            yield trial, train_trial(trial, settings, real_folder)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, initializer=_begin_worker, initargs=(threads,)) as pool:
        futures = {pool.submit(train_trial, trial, settings, real_folder): trial for trial in todo}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            # After a failed trial, the hours of trials that still wait would bring no rows.
            pool.shutdown(cancel_futures=True)


def _begin_worker(threads: int) -> None:
    # The grid's own bar tells how far it is; bars of several trainings in one terminal would overwrite one another.
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, which would train on, unseen, beside those of a resumed grid."""
    multiprocessing.parent_process().join()
    os._exit(1)


def train_trial(trial: Trial, settings: Settings, real_folder: Path | None = None) -> tuple[dict, pd.DataFrame, Path]:
    """Train one trial, or go on with it.

    Returns its row, its answers on test (``note_str``, ``predicted``), and its run's folder, to delete once both are
    kept.
    """
    config = trial.variant.config(trial.seed)
    data = "mini" if trial.data == MINI_DATA else str(real_folder)
    # Several processes of one training would each begin the whole grid; a grid's own are its jobs.
    runs = settings.runs / "ablations"
    settings = replace(settings, data=data, seconds=config.seconds, devices=1, nodes=1, runs=runs)
    splits = load_splits(settings)
    folder = run_folder(settings, config, splits)
    run = fit(config, splits, settings, folder)
    predictions = run.predictions("test")
    predicted = np.array(FAMILIES)[predictions[LOGITS].to_numpy().argmax(axis=1)]
    answers = pd.DataFrame({"note_str": predictions["note_str"], "predicted": predicted})
    correct = predicted == predictions["family"]
    instruments = splits["test"].notes.set_index("note_str")["instrument"][predictions["note_str"]]
    seen = seen_in(instruments, splits["train"].notes).to_numpy()
    last, history = run.metrics["last"], run.history.iloc[-1]
    row = trial.key | {
        "test_accuracy": last["test"]["accuracy"],
        "test_notes": last["test"]["notes"],
        "seen_accuracy": correct[seen].mean(),
        "unseen_accuracy": correct[~seen].mean(),
        "valid_accuracy": last["valid"]["accuracy"],
        "best_test_accuracy": run.metrics["best"]["test"]["accuracy"],
        "train_accuracy": history["train_accuracy"],
        "train_loss": history["train_loss"],
        "train_notes": len(keep_families(splits["train"].notes)),
        "parameters": count_parameters(run.load_network()),
        "seconds": run.metrics["training_seconds"],
    }
    return row, answers, folder
