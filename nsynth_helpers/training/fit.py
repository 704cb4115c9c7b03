"""Training with Lightning: from a configuration and the data to a finished run."""

from __future__ import annotations

import logging
import shutil
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import lightning
import pandas as pd
import torch
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.warnings import PossibleUserWarning
from torch import nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy
from tqdm.auto import tqdm

from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.dataset import NSynthDataModule
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.settings import InputError, Settings, explain_full_disk, file_lock, progress_is_off, write_json
from nsynth_helpers.training.predict import classify
from nsynth_helpers.training.runs import (
    CHECKPOINTS,
    HISTORY_COLUMNS,
    LOCK_FILE,
    RESUME_FILE,
    Run,
    RunConfig,
    best_epoch,
    data_digests,
    describe_environment,
    epoch_file,
    holds_another,
    read_history,
    run_folder,
    save_weights,
    write_table,
)


def fit(
    config: RunConfig,
    splits: dict[str, NSynthSplit],
    settings: Settings,
    path: Path | None = None,
    callbacks: Sequence[lightning.Callback] = (),
    retrain: bool = False,
) -> Run:
    """Train a network, test its best and its last model, and return the finished run.

    A finished run of the same configuration and data is returned as it is. An interrupted one goes on after its
    last whole epoch.

    Parameters
    ----------
    config : RunConfig
        What to train.
    splits : dict of str to NSynthSplit
        ``train``, ``valid`` and ``test``; test is for evaluation alone.
    settings : Settings
        Device, precision, devices, nodes, and where runs lie.
    path : pathlib.Path, optional
        The run's folder; one named after network and digest by default.
    callbacks : sequence of lightning.Callback
        Further callbacks, such as a notebook's monitor.
    retrain : bool
        Throw a run that is there away and train again.

    Raises
    ------
    InputError
        If the folder holds a run of another configuration or data.

    Notes
    -----
    Used in: 02_lstm_training, 03_blstm_training.
    """
    path = path or run_folder(settings, config, splits)
    # In a distributed training the first process alone looks after the folder; the others only compute.
    if rank_zero_only.rank != 0:
        if retrain or settings.retrain or not Run(path).finished:
            _train(config, splits, settings, path, callbacks)
        return Run(path)
    with file_lock(path / LOCK_FILE, f"trains {path}"), explain_full_disk(path, "the finished epochs are kept"):
        record = {"config": asdict(config), "data": data_digests(splits) | {"name": settings.data_name}}
        _claim(path, record, retrain or settings.retrain)
        if not Run(path).finished:
            _train(config, splits, settings, path, callbacks)
            _evaluate_checkpoints(Run(path), splits, settings)
    return Run(path)


def _claim(path: Path, record: dict, retrain: bool) -> None:
    """Make the folder this run's own, or say whose it is."""
    if (path / "config.json").is_file() and not retrain:
        if holds_another(path, record):
            raise InputError(f"{path} holds a run of another configuration or data; choose another folder, or retrain.")
        return
    for entry in path.iterdir():
        if entry.name != LOCK_FILE:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    write_json(path / "environment.json", describe_environment())
    write_json(path / "config.json", record)


class FamilyClassifier(lightning.LightningModule):
    """What Lightning needs to know to train a network on families: losses, metrics and the optimizer."""

    def __init__(self, network: nn.Module, config: RunConfig):
        super().__init__()
        self.network, self.config = network, config
        self.accuracies = nn.ModuleDict(
            {f"{split}_accuracy": MulticlassAccuracy(len(FAMILIES), average="micro") for split in ("train", "valid")}
        )

    def training_step(self, batch, _) -> torch.Tensor:
        """Cross-entropy of one batch."""
        return self._step(batch, "train")

    def validation_step(self, batch, _) -> None:
        """Loss and accuracy on valid."""
        self._step(batch, "valid")

    def _step(self, batch, split: str) -> torch.Tensor:
        frames, labels = batch
        logits = self.network(frames)
        loss = functional.cross_entropy(logits, labels)
        accuracy = self.accuracies[f"{split}_accuracy"]
        accuracy(logits, labels)
        report = {f"{split}_loss": loss, f"{split}_accuracy": accuracy}
        self.log_dict(report, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=True)
        return loss

    def on_train_epoch_start(self) -> None:
        """Seed each epoch, so that a resumed training draws the dropout that it would have drawn."""
        torch.manual_seed(self.config.seed + self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer that the configuration names."""
        config, weights = self.config, self.network.parameters()
        options = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
        if config.optimizer == "sgd":
            return torch.optim.SGD(weights, momentum=config.momentum, **options)
        optimizers = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        if config.optimizer not in optimizers:
            raise InputError(f"There is no optimizer '{config.optimizer}'; use sgd, {' or '.join(optimizers)}.")
        return optimizers[config.optimizer](weights, **options)


class RunRecorder(lightning.Callback):
    """Writes a run as it grows: a history row and the weights of each epoch, then the state to resume from.

    The state is written last, so that a kill between two files loses at most the epoch that is repeated.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def on_train_start(self, trainer, module) -> None:
        """Drop what an interrupted training wrote after the state that it resumes from."""
        history = read_history(self.folder)
        self.rows = history[history["epoch"] <= trainer.current_epoch].to_dict("records")

    def on_train_epoch_start(self, trainer, module) -> None:
        """Start the epoch's clock."""
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer, module) -> None:
        """Write what this epoch brought."""
        values = {name: float(trainer.callback_metrics[name]) for name in HISTORY_COLUMNS[1:5]}
        row = {"epoch": trainer.current_epoch + 1, **values, "seconds": time.perf_counter() - self.started}
        self.rows.append(row)
        state = self.folder / RESUME_FILE
        if trainer.is_global_zero:
            write_table(self.folder / "history.csv", pd.DataFrame(self.rows))
            save_weights(module.network, self.folder / epoch_file(row["epoch"]))
        # Every process of a distributed training takes part in gathering the state.
        trainer.save_checkpoint(state.with_suffix(".tmp"))
        if trainer.is_global_zero:
            state.with_suffix(".tmp").replace(state)


class EpochProgress(lightning.Callback):
    """One progress bar for the whole training, in terminals and notebooks."""

    def on_train_start(self, trainer, module) -> None:
        """Open the bar where the training starts or resumes."""
        steps = trainer.num_training_batches
        self.bar = tqdm(
            total=trainer.max_epochs * steps,
            initial=trainer.current_epoch * steps,
            desc=f"{module.config.network}, {trainer.max_epochs} epochs",
            unit="batch",
            leave=False,
            disable=progress_is_off() or not trainer.is_global_zero,
        )

    def on_train_batch_end(self, *_) -> None:
        """One batch further."""
        self.bar.update()

    def on_train_epoch_end(self, trainer, module) -> None:
        """Show the epoch's losses."""
        losses = {name: f"{float(trainer.callback_metrics[name]):.3f}" for name in ("train_loss", "valid_loss")}
        self.bar.set_postfix(epoch=trainer.current_epoch + 1, **losses)

    def teardown(self, *_, **__) -> None:
        """Close the bar, also after an interruption."""
        if hasattr(self, "bar"):
            self.bar.close()


def _train(config, splits, settings, folder: Path, callbacks) -> None:
    """Train, or go on training, until the last epoch; the weights lie in the run's folder."""
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    data = NSynthDataModule(
        config.frames(splits["train"]), config.frames(splits["valid"]), config.batch_size, config.shuffle, config.seed
    )
    module = FamilyClassifier(config.build_network(), config)
    state = folder / RESUME_FILE
    with warnings.catch_warnings():
        # Batches come from a memory map with one index: loader processes would only add copies.
        warnings.simplefilter("ignore", PossibleUserWarning)
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        trainer = _trainer(config, settings, [EpochProgress(), *callbacks, RunRecorder(folder)])
        with _interruptible():
            trainer.fit(module, datamodule=data, ckpt_path=state if state.is_file() else None, weights_only=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning ends the process at an interrupt and goes deaf to the next; a notebook's kernel should live on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


def _trainer(config: RunConfig, settings: Settings, callbacks: list) -> lightning.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return lightning.Trainer(
        max_epochs=config.epochs,
        accelerator=settings.device,
        devices=settings.devices,
        num_nodes=settings.nodes,
        precision=config.precision,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _evaluate_checkpoints(run: Run, splits: dict[str, NSynthSplit], settings: Settings) -> None:
    """Name the best and the last model, predict valid and test with both, and write metrics last."""
    history = read_history(run.path)
    epochs = {"last": int(history["epoch"].iloc[-1]), "best": int(best_epoch(history)["epoch"])}
    tables, scores = [], {}
    for checkpoint in CHECKPOINTS:
        network = run.load_network(str(epochs[checkpoint]))
        save_weights(network, run.path / f"{checkpoint}.safetensors")
        scores[checkpoint] = {"epoch": epochs[checkpoint]}
        for split in ("valid", "test"):
            table, scores[checkpoint][split] = classify(network, run.config.frames(splits[split]), settings.device)
            tables.append(table.assign(checkpoint=checkpoint, split=split))
    write_table(run.path / "predictions.parquet", pd.concat(tables, ignore_index=True))
    write_json(run.path / "metrics.json", {"training_seconds": float(history["seconds"].sum()), **scores})
