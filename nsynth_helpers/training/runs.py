"""A run on disk: configuration, environment, history, weights, predictions and metrics of one training."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NotRequired

import numpy as np
import pandas as pd
import torch
from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from nsynth_helpers import __version__
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.dataset import NSynthDataset
from nsynth_helpers.data.metadata import FAMILIES, LOGITS, SAMPLE_RATE, STEP_SIZE
from nsynth_helpers.models import RECIPES, build_network
from nsynth_helpers.settings import InputError, Settings, atomic_write, file_lock, reading, validated, write_json
from nsynth_helpers.training.devices import choose_precision

CHECKPOINTS = ("last", "best")
HISTORY_COLUMNS = ("epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds")
RECORDED_PACKAGES = ("torch", "lightning", "numpy", "pandas", "librosa", "soundfile")
RESUME_FILE, LOCK_FILE = "training.ckpt", "training.lock"
MANIFEST, BY_EPOCH = "manifest.json", "test_by_epoch.csv"
# What a committed run keeps; the rest is large, or of use only while the training goes on.
KEPT_FILES = (
    *("config.json", "environment.json", "history.csv", "best.safetensors", "last.safetensors"),
    *("predictions.parquet", BY_EPOCH, "metrics.json"),
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a training may do beyond 2018; by default, nothing of it is done."""

    schedule: Literal["constant", "one_cycle"] = "constant"  # of the learning rate, whose highest is `learning_rate`
    gradient_clip: NonNegativeFloat = 0.0  # the longest gradient; 0: any
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: NonNegativeFloat = 0.0  # alpha of the beta distribution of shares; 0: none
    waveform_augmentation: NonNegativeFloat = 0.0  # strength of `vary_waveforms`
    sampling: Literal["all", "balanced", "nsynth"] = "all"  # this and the next two: of `NSynthDataModule`
    rendered_weight: NonNegativeFloat = 1.0
    notes_per_epoch: Annotated[int, Field(ge=2)] | None = None


@dataclass(frozen=True)
class RunConfig(Recipe):
    """Everything that decides what a training learns; the defaults are the 2018 report's, but for `shuffle`.

    `network` is a name of `models.NETWORKS`, `step_size` in samples, `precision` Lightning's, of the training alone.
    The fields of a `Recipe` are given by name.

    Examples
    --------
    >>> config = RunConfig("blstm", {"hidden_size": 64}, epochs=2)
    >>> config.build_network().out.in_features
    128
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    network: str = "lstm"
    network_arguments: dict = field(default_factory=dict)  # that differ from the named network's
    epochs: PositiveInt = 20
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 0.0008
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    momentum: NonNegativeFloat = 0.8  # of sgd alone
    weight_decay: NonNegativeFloat = 0.0  # L2; decoupled for adamw
    shuffle: bool = True  # mix the training notes in every epoch, which the 2018 code did not
    seed: NonNegativeInt = 2018  # of weights, shuffling and dropout
    seconds: PositiveFloat = 1.0
    step_size: PositiveInt = STEP_SIZE
    normalise_level: bool = False  # scale each note to a peak of 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"

    @classmethod
    def from_settings(cls, network: str, settings: Settings, **changes) -> RunConfig:
        """The configuration of a named network under the session's settings; `changes` override both.

        A network of `models.RECIPES` is trained by its recipe, over which a setting goes that is not at its default.
        """
        shared = ("epochs", "batch_size", "learning_rate", "seed", "seconds", "precision")
        given = {name: getattr(settings, name) for name in shared}
        changed = {name: value for name, value in given.items() if value != getattr(Settings, name)}
        config = cls(network=network, **(given | RECIPES.get(network, {}) | changed | changes))
        return replace(config, precision=choose_precision(config.precision, settings.device))

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
            shapes = weight_shapes(self.build_network().state_dict())
        # What is not done beyond 2018 does not count: runs keep the names that they had before it could be done.
        off = asdict(Recipe())
        config = {name: value for name, value in asdict(self).items() if name not in off or value != off[name]}
        text = json.dumps({"config": config, "weights": shapes, "data": data}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


# What the JSON files of a run hold. A run of predictions alone has no data of its own, and scores by split.
class Record(TypedDict):
    config: RunConfig
    data: NotRequired[dict[str, str]]


class Scores(TypedDict):
    loss: float
    accuracy: Annotated[float, Field(ge=0, le=1)]
    correct: int
    notes: int
    seconds: float


class CheckpointScores(TypedDict):
    epoch: int
    valid: Scores
    test: Scores


class TrainingMetrics(TypedDict):
    training_seconds: float
    test_digest: NotRequired[str]  # not in runs of before November 2026
    last: CheckpointScores
    best: CheckpointScores


class PredictionMetrics(TypedDict):
    last: dict[str, Scores]


class ManifestEntry(TypedDict):
    run: str  # the folder, seen from the folder of runs
    network: str
    time: str  # of its training or finding, ISO 8601 in UTC


@dataclass(frozen=True)
class Run:
    """A run's folder and what it holds; each part is read, and validated, when it is asked for.

    The folder holds ``config.json``, ``environment.json``, ``history.csv``, ``best.safetensors``,
    ``last.safetensors``, ``epochs/``, ``predictions.parquet`` and ``metrics.json``, or predictions alone. Every part
    raises `InputError` if its file is missing or damaged.
    """

    path: Path

    @property
    def finished(self) -> bool:
        """Whether training and evaluation have ended: the metrics are written last."""
        return (self.path / "metrics.json").is_file()

    @cached_property
    def record(self) -> Record:
        """The configuration, and the digests and the name of the data."""
        return self._json("config.json", Record)

    @property
    def config(self) -> RunConfig:
        return self.record["config"]

    @cached_property
    def metrics(self) -> TrainingMetrics | PredictionMetrics:
        """Losses and accuracies by checkpoint and split, and seconds of training and testing."""
        return self._json("metrics.json", TrainingMetrics if "data" in self.record else PredictionMetrics)

    @cached_property
    def environment(self) -> dict[str, str | int | None]:
        """The versions and the machine that made the run."""
        return self._json("environment.json", dict[str, str | int | None])

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch: `HISTORY_COLUMNS`, accuracies as fractions; without rows before the first has ended."""
        is_trained = self.finished and "data" in self.record
        return read_history(self.path, self.config.epochs if is_trained else None)

    def predictions(self, split: str = "test", checkpoint: str = "last") -> pd.DataFrame:
        """The logits of each note of a split: ``note_str``, ``family``, ``logit_<family>`` ..."""
        table = read_predictions(self.path)
        chosen = table[(table["split"] == split) & (table["checkpoint"] == checkpoint)]
        if chosen.empty:
            raise InputError(
                f"{self.path} holds no predictions of {split} by its {checkpoint} model; evaluate it first."
            )
        return chosen.reset_index(drop=True)

    def load_network(self, checkpoint: str = "last") -> nn.Module:
        """The trained network after its ``last``, ``best`` or, where all are there, any epoch (its number as text)."""
        name = f"{checkpoint}.safetensors" if checkpoint in CHECKPOINTS else epoch_file(int(checkpoint))
        return load_weights(self.config.build_network(), self.path / name)

    def _json(self, name: str, kind):
        path, remedy = self.path / name, "choose a finished run, or delete this one and train it again"
        with reading(path, remedy):
            return validated(kind, path.read_bytes(), path, remedy)


def run_folder(settings: Settings, config: RunConfig, splits: dict[str, NSynthSplit]) -> Path:
    """Where a run lies unless a path is given: its name tells the network, its digest the rest."""
    return settings.runs / f"{config.network}-{config.digest(data_digests(splits))}"


def data_digests(splits: dict[str, NSynthSplit]) -> dict[str, str]:
    """The identity of the data that a training reads: train and valid, never test."""
    return {split: splits[split].digest for split in ("train", "valid")}


def epoch_file(epoch: int) -> str:
    return f"epochs/epoch-{epoch:03d}.safetensors"


def weight_shapes(weights: Mapping[str, torch.Tensor]) -> dict[str, list[int]]:
    return {name: list(weight.shape) for name, weight in weights.items()}


def load_weights(network: nn.Module, path: Path) -> nn.Module:
    """Load a safetensors file, in which nothing can execute, into a network, ready to evaluate.

    Raises `InputError` if the file is missing, of another kind or network, or holds weights that are no numbers.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is no safetensors file ({error}); choose another, or train the run again.") from None
    if weight_shapes(weights) != weight_shapes(network.state_dict()):
        raise InputError(f"{path} holds the weights of another network; choose the network it was trained as.")
    if not all(value.isfinite().all() for value in weights.values()):
        raise InputError(
            f"{path} holds weights that are no finite numbers: its training diverged; choose other weights, or train "
            "again with a lower learning rate."
        )
    network.load_state_dict(weights)
    return network.eval()


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors, whole or not at all."""
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    # Its own save_file leaves nameless files behind where it is killed.
    atomic_write(path, lambda temporary: temporary.write_bytes(save(weights)))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as csv or parquet, by the path's suffix, whole or not at all."""
    write = table.to_csv if path.suffix == ".csv" else table.to_parquet
    atomic_write(path, lambda temporary: write(temporary, index=False))


def read_history(folder: Path, epochs: int | None = None) -> pd.DataFrame:
    """The history of a run, of so many `epochs`, or else one that may still grow: empty where there is none yet."""
    path = folder / "history.csv"
    with reading(path, "put the whole file back, or train the run again with --retrain"):
        table = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=HISTORY_COLUMNS)
        history = table[list(HISTORY_COLUMNS)].astype(float).astype({"epoch": int})
        # A training that diverged has losses that are missing; an epoch, its accuracies and its time are always there.
        accuracies = history[["train_accuracy", "valid_accuracy"]]
        whole = ((accuracies >= 0) & (accuracies <= 1)).all(axis=1) & np.isfinite(history["seconds"])
        whole &= history["epoch"] == np.arange(len(history)) + 1
        if not whole.all():
            raise ValueError(f"its row {whole.argmin() + 1} is not that of a whole epoch")
        if epochs not in (None, len(history)):
            raise ValueError(f"it has {len(history)} of {epochs} epochs")
    return history


def best_epoch(history: pd.DataFrame) -> pd.Series:
    """The row of the epoch with the lowest valid loss, whose weights are called ``best``.

    Raises `InputError` if no epoch has a valid loss that is a number.
    """
    if history["valid_loss"].isna().all():
        raise InputError("No epoch has a valid loss that is a number: the training diverged; lower its learning rate.")
    return history.loc[history["valid_loss"].idxmin()]


def read_predictions(folder: Path) -> pd.DataFrame:
    """All predictions of a run: ``note_str``, ``family``, ``logit_<family>`` ..., ``checkpoint``, ``split``."""
    path = folder / "predictions.parquet"
    with reading(path, "put it back, or evaluate the network again"):
        table = pd.read_parquet(path)
        named = table[["note_str", "family", "checkpoint", "split"]]
        sound = np.isfinite(table[LOGITS].to_numpy(dtype=float)).all() and named["family"].isin(FAMILIES).all()
        if not sound or named.duplicated(["note_str", "checkpoint", "split"]).any():
            raise ValueError("a family, a logit or a note's name is not right")
    return table


def own_files(folder: Path) -> list[Path]:
    """The files of a folder that a training makes, also half-written ones, with ``config.json`` first."""
    names = (*KEPT_FILES, RESUME_FILE, "training.tmp", "epochs/epoch-*.safetensors")
    found = [file for name in names for ending in ("", ".[0-9]*.tmp") for file in sorted(folder.glob(name + ending))]
    return [file for file in found if file.is_file() or file.is_symlink()]


def check_folder(path: Path, record: Record | None = None) -> None:
    """Refuse, in an `InputError`, a folder that a run must not be written into, and touch nothing.

    It may be new or empty, or hold a run: that of the `record`, or any run without one.
    """
    existing = next(place for place in (path, *path.parents) if place.exists() or place.is_symlink())
    if not existing.is_dir():
        raise InputError(f"{existing} is no folder; choose another place for the run.")
    # A run that was killed at its first moment left a lock and a part of its record, both without content.
    held = existing == path and [entry for entry in path.iterdir() if entry.is_dir() or entry.stat().st_size]
    if not held:
        return
    if not (path / "config.json").is_file():
        raise InputError(f"{path} holds other things than a run; choose a new or an empty folder.")
    for file in own_files(path):
        if file.is_symlink() or (path / "epochs").is_symlink():
            raise InputError(f"{file} is a link or behind one, which no training makes; choose another folder.")
    there = Run(path).record
    if record is not None and _identity(there) != _identity(record):
        raise InputError(f"{path} holds a run of another configuration or data; choose another folder, or --retrain.")


def _identity(record: Record) -> str:
    data = record.get("data", {})
    # As JSON, in which a tuple is a list.
    return json.dumps([asdict(record["config"]), data.get("train"), data.get("valid")], sort_keys=True)


def remove_run(folder: Path) -> None:
    """Remove a run's own files, its record last, and nothing else."""
    for file in reversed(own_files(folder)):
        file.unlink()
    with suppress(OSError):  # something else is in it
        (folder / "epochs").rmdir()


def keep_run(run: Run, path: Path) -> Run:
    """Copy a finished run to where it is committed, without each epoch's weights; a run kept there is replaced.

    Raises `InputError` if the run is not finished, or the folder holds anything else than a kept run.
    """
    if not run.finished:
        raise InputError(f"{run.path} is no finished run; train it first.")
    check_folder(path)
    if (path / "epochs").exists() or (path / RESUME_FILE).exists():
        raise InputError(f"{path} is a run with all its epochs, not a kept one; choose another folder.")
    path = path.resolve()
    if path == run.path.resolve():
        raise InputError(f"{path} is the run itself; choose another folder.")
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as copies:
        names = [name for name in KEPT_FILES if (run.path / name).is_file()]
        for name in names:
            shutil.copyfile(run.path / name, Path(copies, name))
        remove_run(path)
        for name in names:
            Path(copies, name).replace(path / name)
    return Run(path)


def note_run(run: Run, runs: Path) -> None:
    """Put a run at the end of the manifest of a folder of runs: the list of those that were trained or found last."""
    entry = {
        "run": Path(os.path.relpath(run.path, runs)).as_posix(),
        "network": run.config.network,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    with file_lock(runs / "manifest.lock", f"writes {runs / MANIFEST}"):
        others = [other for other in read_manifest(runs) if other["run"] != entry["run"]]
        write_json(runs / MANIFEST, [*others, entry])


def read_manifest(runs: Path) -> list[ManifestEntry]:
    """The manifest of a folder of runs, the newest entry last; empty where nothing has been trained or found."""
    path, remedy = runs / MANIFEST, "delete it, the next training writes it anew"
    return validated(list[ManifestEntry], path.read_bytes(), path, remedy) if path.is_file() else []


def describe_environment() -> dict:
    """Versions, processor or GPU, and threads, for ``environment.json``."""
    about = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", about.read_text()) if about.is_file() else []
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in RECORDED_PACKAGES},
        "nsynth-workbook": __version__,
        "system": platform.system(),
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
