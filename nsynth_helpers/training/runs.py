"""A run on disk: configuration, environment, history, weights, predictions and metrics of one training."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.dataset import NSynthDataset
from nsynth_helpers.data.metadata import SAMPLE_RATE, STEP_SIZE
from nsynth_helpers.models import build_network
from nsynth_helpers.settings import InputError, Settings, atomic_write

CHECKPOINTS = ("last", "best")
HISTORY_COLUMNS = ("epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds")
RECORDED_PACKAGES = ("torch", "lightning", "numpy", "pandas", "librosa", "soundfile", "nsynth-workbook")
RESUME_FILE, LOCK_FILE = "training.ckpt", "training.lock"
# What a committed run leaves behind: large, or of use only while the training goes on.
NOT_KEPT = ("epochs", RESUME_FILE, LOCK_FILE, "*.tmp")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a training learns; the defaults are the 2018 report's, but for `shuffle`.

    Attributes
    ----------
    network : str
        A name of `models.NETWORKS`.
    network_arguments : dict
        Arguments that differ from the named network's.
    epochs, batch_size : int
        Epochs of training, notes in a batch.
    learning_rate : float
        Learning rate.
    optimizer : {"adam", "adamw", "sgd"}
        The optimizer; `momentum` is for ``sgd`` alone.
    momentum, weight_decay : float
        Momentum of SGD; L2 weight decay (decoupled for ``adamw``).
    shuffle : bool
        Whether training notes are mixed in every epoch; the 2018 code did not.
    seed : int
        Seed of weights and shuffling.
    seconds : float
        Seconds of each note.
    step_size : int
        Samples in one step.
    normalise_level : bool
        Scale each note to a peak of 1.
    precision : str
        Lightning's precision of the training; evaluation is float32.
    """

    network: str = "lstm"
    network_arguments: dict = field(default_factory=dict)
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 0.0008
    optimizer: str = "adam"
    momentum: float = 0.8
    weight_decay: float = 0.0
    shuffle: bool = True
    seed: int = 2018
    seconds: float = 1.0
    step_size: int = STEP_SIZE
    normalise_level: bool = False
    precision: str = "32-true"

    @classmethod
    def from_settings(cls, network: str, settings: Settings, **changes) -> RunConfig:
        """The configuration of a named network under the session's settings; `changes` override both."""
        shared = ("epochs", "batch_size", "learning_rate", "seed", "seconds", "precision")
        return cls(network=network, **({name: getattr(settings, name) for name in shared} | changes))

    def build_network(self) -> nn.Module:
        """A fresh network of this configuration, fitted to the shape of its input."""
        samples = round(self.seconds * SAMPLE_RATE) // self.step_size * self.step_size
        shape = {"fully_connected": {"samples": samples}, "convolutional": {}}
        arguments = shape.get(self.network, {"input_size": self.step_size})
        return build_network(self.network, **(arguments | self.network_arguments))

    def frames(self, cached: NSynthSplit, **options) -> NSynthDataset:
        """A split's notes as this configuration reads them."""
        return NSynthDataset(cached, self.step_size, self.seconds, self.normalise_level, **options)

    def digest(self, data: dict[str, str]) -> str:
        """Eight hex digits that tell this configuration on this data from every other.

        The shapes of the weights count: runs of an earlier version, whose network was another, are not taken for these.
        """
        with torch.device("meta"):  # shapes alone: no weights are drawn
            network = self.build_network()
        shapes = {name: list(weight.shape) for name, weight in network.state_dict().items()}
        text = json.dumps({"config": asdict(self), "weights": shapes, "data": data}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Run:
    """A run's folder and what it holds; each part is read when it is asked for.

    Attributes
    ----------
    path : pathlib.Path
        The folder: ``config.json``, ``environment.json``, ``history.csv``, ``best.safetensors``,
        ``last.safetensors``, ``epochs/``, ``predictions.parquet``, ``metrics.json``. A run may hold predictions alone.

    Notes
    -----
    Used in: 02_lstm_training, 03_blstm_training, 04_result_analysis.
    """

    path: Path

    @property
    def finished(self) -> bool:
        """Whether training and evaluation have ended: the metrics are written last."""
        return (self.path / "metrics.json").is_file()

    @cached_property
    def record(self) -> dict:
        """``config.json``: the configuration and the digests of the data."""
        return self._json("config.json")

    @cached_property
    def config(self) -> RunConfig:
        """The configuration."""
        return RunConfig(**self.record["config"])

    @cached_property
    def metrics(self) -> dict:
        """Losses and accuracies by checkpoint and split, and seconds of training and testing."""
        return self._json("metrics.json")

    @cached_property
    def environment(self) -> dict:
        """The versions and the machine that made the run."""
        return self._json("environment.json")

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch: `HISTORY_COLUMNS`, accuracies as fractions."""
        return read_history(self.path)

    def predictions(self, split: str = "test", checkpoint: str = "last") -> pd.DataFrame:
        """The logits of each note of a split: ``note_str``, ``family``, ``logit_<family>`` ...

        Raises
        ------
        InputError
            If the run holds no predictions of that split and checkpoint.
        """
        path = self.path / "predictions.parquet"
        if not path.is_file():
            raise InputError(f"{self.path} holds no predictions; finish the run or choose another.")
        table = pd.read_parquet(path)
        chosen = table[(table["split"] == split) & (table["checkpoint"] == checkpoint)]
        if chosen.empty:
            raise InputError(
                f"{self.path} holds no predictions of {split} by its {checkpoint} model; evaluate it first."
            )
        return chosen.reset_index(drop=True)

    def load_network(self, checkpoint: str = "last") -> nn.Module:
        """The trained network, ready to evaluate.

        Parameters
        ----------
        checkpoint : str
            ``last``, ``best``, or an epoch's number as text (only where ``epochs/`` is kept).
        """
        name = f"{checkpoint}.safetensors" if checkpoint in CHECKPOINTS else epoch_file(int(checkpoint))
        return load_weights(self.config.build_network(), self.path / name)

    def _json(self, name: str) -> dict:
        path = self.path / name
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise InputError(f"{path} is missing; {self.path} is no finished run, train it first.") from None
        except ValueError as error:
            raise InputError(f"{path} is not valid JSON ({error}); delete the run and train it again.") from None


def find_run(settings: Settings, config: RunConfig, splits: dict[str, NSynthSplit]) -> Run:
    """A finished run of this configuration and data, or else the committed one of the same network.

    The committed run (``results/mini-<network>``) may have been made with other settings or on other data: its
    ``path`` and ``record`` say which, and the notebook shows them.

    Raises
    ------
    InputError
        If neither is there.

    Notes
    -----
    Used in: 03_blstm_training, 04_result_analysis.
    """
    run = Run(run_folder(settings, config, splits))
    if run.finished:
        return run
    committed = Run(settings.results / f"mini-{config.network}")
    if committed.finished:
        return committed
    raise InputError(f"{run.path} is no finished run; train the {config.network} first (notebooks 02 and 03).")


def run_folder(settings: Settings, config: RunConfig, splits: dict[str, NSynthSplit]) -> Path:
    """Where a run lies unless a path is given: its name tells the network, its digest the rest."""
    return settings.runs / f"{config.network}-{config.digest(data_digests(splits))}"


def data_digests(splits: dict[str, NSynthSplit]) -> dict[str, str]:
    """The identity of the data that a training reads: train and valid, never test."""
    return {split: splits[split].digest for split in ("train", "valid")}


def load_weights(network: nn.Module, path: Path) -> nn.Module:
    """Load a safetensors file into a network; nothing in such a file can execute.

    Raises
    ------
    InputError
        If the file is missing, no safetensors file, or holds the weights of another network.
    """
    try:
        weights = load_file(path)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{path} does not exist; check the path, or train the run again.") from None
    except SafetensorError as error:
        raise InputError(f"{path} is not a safetensors file ({error}); only safetensors weights are read.") from None
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    if {name: tuple(value.shape) for name, value in weights.items()} != shapes:
        raise InputError(f"{path} holds the weights of another network; choose the network it was trained as.")
    network.load_state_dict(weights)
    return network.eval()


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors, whole or not at all."""
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    atomic_write(path, lambda temporary: save_file(weights, temporary))


def read_history(folder: Path) -> pd.DataFrame:
    """The history of a run, or an empty one where none has been written yet."""
    path = folder / "history.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=list(HISTORY_COLUMNS))


def best_epoch(history: pd.DataFrame) -> pd.Series:
    """The row of the epoch with the lowest valid loss, whose weights are called ``best``.

    Raises
    ------
    InputError
        If no epoch has a valid loss that is a number.
    """
    if history["valid_loss"].isna().all():
        raise InputError("No epoch has a valid loss that is a number: the training diverged; lower its learning rate.")
    return history.loc[history["valid_loss"].idxmin()]


def holds_another(path: Path, record: dict) -> bool:
    """Whether a folder holds a run of another configuration or training data than ``config.json`` would say.

    Parameters
    ----------
    path : pathlib.Path
        The folder, which need not be there.
    record : dict
        ``config`` and, unless the run is of predictions alone, ``data``.
    """
    if not (path / "config.json").is_file():
        return False
    there = Run(path).record
    return there["config"] != record["config"] or _digests(there) != _digests(record)


def _digests(record: dict) -> dict:
    # A run of predictions alone has no data of its own.
    return {split: record.get("data", {}).get(split) for split in ("train", "valid")}


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as csv or parquet, by the path's suffix, whole or not at all."""
    write = table.to_csv if path.suffix == ".csv" else table.to_parquet
    atomic_write(path, lambda temporary: write(temporary, index=False))


def epoch_file(epoch: int) -> str:
    """The file of one epoch's weights inside a run."""
    return f"epochs/epoch-{epoch:03d}.safetensors"


def describe_environment() -> dict:
    """Versions, processor or GPU, and threads, for ``environment.json``."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in RECORDED_PACKAGES},
        "system": platform.system(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def keep_run(run: Run, path: Path) -> Run:
    """Copy a finished run to where it is committed, without each epoch's weights.

    Raises
    ------
    InputError
        If the run is not finished.
    """
    if not run.finished:
        raise InputError(f"{run.path} is no finished run; train it first.")
    temporary = path.with_name(path.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(run.path, temporary, ignore=shutil.ignore_patterns(*NOT_KEPT))
    shutil.rmtree(path, ignore_errors=True)
    temporary.replace(path)
    return Run(path)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
