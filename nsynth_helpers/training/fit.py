"""Training with Lightning: from a configuration and the data to a finished run."""

import json
import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import lightning
import pandas as pd
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.warnings import PossibleUserWarning
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR
from torchmetrics import MeanMetric
from tqdm.auto import tqdm

from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.dataset import NSynthDataModule
from nsynth_helpers.settings import InputError, Settings, file_lock, one_sentence, progress_is_off, shown, write_json
from nsynth_helpers.training.augmentation import mix_notes, vary_waveforms
from nsynth_helpers.training.devices import choose_precision, in_shares
from nsynth_helpers.training.predict import evaluate_run, has_notes_of, was_tested_on
from nsynth_helpers.training.runs import (
    HISTORY_COLUMNS,
    LOCK_FILE,
    RESUME_FILE,
    Run,
    RunConfig,
    best_epoch,
    check_folder,
    data_digests,
    describe_environment,
    epoch_file,
    note_run,
    read_history,
    remove_run,
    run_folder,
    save_weights,
    validated,
    write_table,
)

GRACE = 5  # seconds in which a process is ended by the first of its machine, before it speaks for itself
# What a torchrun, mpirun or Slurm that starts every process sets.
LAUNCHED = ("MASTER_ADDR", "SLURM_NTASKS", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE")
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def fit(
    config: RunConfig,
    splits: dict[str, NSynthSplit],
    settings: Settings,
    path: Path | None = None,
    callbacks: Sequence[lightning.Callback] = (),
    retrain: bool = False,
) -> Run:
    """Train a network, test its best and its last model, and return the finished run.

    A finished run of the same configuration and data is returned as it is, or tested again where the test split is
    another. An interrupted one goes on after its last whole epoch. Without a `path`, the run is noted in the manifest
    of ``settings.runs``.

    Parameters
    ----------
    settings : Settings
        Device, devices, nodes, and where runs lie; the configuration alone says what is learnt. Of several processes,
        which share each batch, the first writes, and all return once the run is finished.
    path : pathlib.Path, optional
        The run's folder; one named after network and digest by default.
    retrain : bool
        Throw a run that is there away and train again.

    Raises
    ------
    InputError
        If the folder holds anything but a run of this configuration and data, or this cannot be trained here.
    TrainingStopped
        If it is interrupted.
    """
    _check(config, splits, settings)
    folder, retrain = path or run_folder(settings, config, splits), retrain or settings.retrain
    recorder = RunRecorder(folder)
    trainer = _trainer(config, settings, [EpochProgress(), *callbacks, recorder])
    # The first of several processes alone looks after the folder; the others compute with it, and wait for its end.
    if not trainer.is_global_zero:
        with _together(trainer, folder):
            if _meet(trainer):
                _train(trainer, config, splits, settings, recorder)
            trainer.strategy.barrier()
        return Run(folder)
    record = {"config": config, "data": data_digests(splits) | {"name": settings.data_name}}
    check_folder(folder, None if retrain else record)  # before there is a lock in a folder that is not ours
    with _together(trainer, folder), file_lock(folder / LOCK_FILE, f"trains {folder}"):
        check_folder(folder, None if retrain else record)
        if retrain:
            remove_run(folder)
        if not (folder / "config.json").is_file():
            write_json(folder / "config.json", record | {"config": asdict(config)})
            write_json(folder / "environment.json", describe_environment())
        try:
            _finish(Run(folder), splits, settings, trainer, recorder)
        except KeyboardInterrupt:
            done = len(read_history(folder))
            raise TrainingStopped(f"stopped after epoch {done} of {config.epochs}; run it again to go on") from None
    if path is None:
        note_run(Run(folder), settings.runs)
    return Run(folder)


def find_run(settings: Settings, config: RunConfig, splits: dict[str, NSynthSplit]) -> Run:
    """A finished run of this configuration and data, or else the committed one of the same network.

    A run that was tested on another test split is tested again. The committed one (``results/mini-<network>``) may
    have been made with other settings: its ``path`` and ``record`` say which, and the notebook shows them. What was
    found is noted in the manifest of ``settings.runs``.

    Raises
    ------
    InputError
        If neither is there, or the committed one alone, which was tested on other notes.
    """
    run = Run(run_folder(settings, config, splits))
    if run.finished and not was_tested_on(run, splits["test"]):
        with file_lock(run.path / LOCK_FILE, f"trains {run.path}"):
            evaluate_run(run, splits, settings.device)
        run = Run(run.path)
    elif not run.finished:
        folder, run = run.path, Run(settings.results / f"mini-{config.network}")
        if not run.finished or not has_notes_of(run, splits["test"]):
            raise InputError(f"{folder} is no finished run; train the {config.network} first (notebooks 02 and 03).")
    with suppress(OSError):  # a read-only checkout can show its runs all the same
        note_run(run, settings.runs)
    return run


class TrainingStopped(KeyboardInterrupt):
    """An interrupt that says how far the training came; a notebook shows the sentence alone."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def _check(config: RunConfig, splits: dict[str, NSynthSplit], settings: Settings) -> None:
    """Refuse what cannot be trained before anything is written."""
    validated(RunConfig, json.dumps(asdict(config)), "The configuration", "change it")
    choose_precision(config.precision, settings.device)
    if settings.nodes > 1 and not any(name in os.environ for name in LAUNCHED):
        raise InputError(
            f"NSYNTH_NODES is {settings.nodes}, but no launcher started this process; start it with torchrun or srun."
        )
    started, asked = os.environ.get("WORLD_SIZE"), settings.devices * settings.nodes
    if started not in (None, str(asked)):
        raise InputError(
            f"A launcher started {shown(started)} processes, but NSYNTH_DEVICES times NSYNTH_NODES is {asked}; make "
            "them equal."
        )
    notes = {name: len(config.frames(cached)) for name, cached in splits.items()}
    if notes["train"] < 2:
        raise InputError("The train split has one note of the ten families; a training needs two at least.")
    with torch.device("meta"):  # draws no weights
        network = config.build_network()
    if config.batch_size == 1 and any(isinstance(module, nn.BatchNorm1d) for module in network.modules()):
        raise InputError(
            f"The {config.network} network normalises over the notes of a batch, which one note has no spread for; "
            "set NSYNTH_BATCH_SIZE to 2 or more."
        )


def _finish(run: Run, splits: dict[str, NSynthSplit], settings: Settings, trainer, recorder) -> None:
    """Train and test what is not trained or not tested yet."""
    if run.finished:
        _meet(trainer, False)
    else:
        _train(trainer, run.config, splits, settings, recorder)
        save_weights(run.load_network(str(run.config.epochs)), run.path / "last.safetensors")
        best = int(best_epoch(run.history)["epoch"])
        save_weights(run.load_network(str(best)), run.path / "best.safetensors")
    if not run.finished or not was_tested_on(run, splits["test"]):
        evaluate_run(run, splits, settings.device)
    with suppress(RuntimeError):  # one of the others that wait for this end has died: there was nothing left to do
        trainer.strategy.barrier()


def _meet(trainer: lightning.Trainer, todo: bool = False) -> bool:
    """Start the other processes, or meet those that a launcher started; the first tells them if they are to train."""
    launcher = trainer.strategy.launcher
    if launcher is None:
        return todo
    if not launcher.is_interactive_compatible:
        # Without it, Lightning takes this process's share of the cores for all that it has; `in_shares` divides them.
        os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
        launcher.launch(trainer.strategy.setup_environment, trainer=trainer)
        return trainer.strategy.broadcast(todo)
    if todo:
        raise InputError(
            "A notebook cannot train in several processes; run `python -m nsynth_helpers train` with the same settings "
            "first, then this cell again, or set NSYNTH_DEVICES to 1."
        )
    return False


@contextmanager
def _together(trainer: lightning.Trainer, folder: Path) -> Iterator[None]:
    """Tell in one sentence that another process has died, and end those that this one started when it fails."""
    try:
        with one_sentence():
            yield
    except BaseException as error:
        lost = isinstance(error, torch.distributed.DistError) or "gloo/transport" in str(error)
        if lost and trainer.local_rank:
            time.sleep(GRACE)  # the first process of this machine tells it, unless it is the one that died
        for process in getattr(trainer.strategy.launcher, "procs", ()):
            process.kill()
        if not trainer.is_global_zero and (isinstance(error, KeyboardInterrupt) or (lost and trainer.local_rank > 1)):
            raise SystemExit(1) from None
        if not lost:
            raise
        raise InputError(
            f"Another process of this training has died, after epoch {len(read_history(folder))}; run the same command "
            "again to go on."
        ) from None


def _stay(record: logging.LogRecord) -> bool:
    """End the thread in which Lightning, five seconds after another process has died, kills this one unheard."""
    if torch.distributed.get_backend() == "gloo":  # which tells it at once
        raise SystemExit
    return True


class FamilyClassifier(lightning.LightningModule):
    """What Lightning needs to know to train a network on families: losses, metrics and the optimizer."""

    def __init__(self, network: nn.Module, config: RunConfig, compute: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.network, self.config, self.compute = network, config, compute
        # Sums on the device, without the checks that would wait for it; read once an epoch.
        self.means = nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in HISTORY_COLUMNS[1:5]})

    def training_step(self, batch, index: int) -> torch.Tensor:
        """Cross-entropy of one batch, varied and mixed as the recipe says, which Lightning takes the gradients of."""
        (frames, labels), config = batch, self.config
        if config.waveform_augmentation:
            frames = vary_waveforms(frames, config.waveform_augmentation)
        if config.mixup:
            frames, shares, others = mix_notes(frames, config.mixup)
        logits = self.compute(frames)
        options = {"reduction": "none", "label_smoothing": config.label_smoothing}
        losses = functional.cross_entropy(logits, labels, **options)
        if config.mixup:
            losses = shares * losses + (1 - shares) * functional.cross_entropy(logits, labels[others], **options)
        return self._count("train", losses, logits, labels, self.trainer.train_dataloader.batch_sampler.notes(index))

    def validation_step(self, batch, index: int) -> None:
        """Loss and accuracy on valid, which Lightning gathers over the epoch."""
        frames, labels = batch
        logits = self.compute(frames)
        losses = functional.cross_entropy(logits, labels, reduction="none")
        self._count("valid", losses, logits, labels, self.trainer.val_dataloaders.batch_sampler.notes(index))

    def _count(self, split: str, losses, logits, labels, notes: int) -> torch.Tensor:
        """Add losses and right answers to the means, and return the loss of the batch, which has so many `notes`."""
        processes, rank = self.trainer.world_size, self.trainer.global_rank
        # Every note counts once: of a batch that each process has all of, it counts its share alone.
        mine = slice(rank, None, processes) if len(labels) == notes else slice(None)
        self.means[f"{split}_loss"].update(losses.detach()[mine])
        self.means[f"{split}_accuracy"].update((logits.detach().argmax(dim=1) == labels)[mine])
        # The gradients of processes are averaged as if they had equal shares.
        return losses.mean() if len(labels) == notes else losses.sum() * (processes / notes)

    def on_validation_epoch_end(self) -> None:
        """Report what this epoch brought, over all processes; validation ends after the last training step."""
        for name, mean in self.means.items():
            self.log(name, mean.compute())
            mean.reset()

    def on_train_epoch_start(self) -> None:
        """Seed each epoch, so that a resumed training draws the dropout that it would have drawn."""
        torch.manual_seed(self.config.seed + self.current_epoch)

    def configure_optimizers(self):
        """The optimizer that the configuration names, and the schedule of its learning rate, step by step."""
        config = self.config
        # Torch's fused step rounds differently: in float32, the runs of a CPU stay what they were.
        fused = config.precision == "bf16-mixed" or self.device.type == "cuda"
        options = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": fused}
        options |= {"momentum": config.momentum} if config.optimizer == "sgd" else {}
        optimizer = OPTIMIZERS[config.optimizer](self.network.parameters(), **options)
        if config.schedule == "constant":
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        # Momentum stays what the configuration says.
        schedule = OneCycleLR(optimizer, config.learning_rate, steps, cycle_momentum=False)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class RunRecorder(lightning.Callback):
    """Writes a run as it grows: the weights of each epoch, the state to resume from, and the history.

    An epoch counts once its state is there, which holds the rows of all epochs: the history, written from them last, is
    never ahead of it, and a kill between two files loses at most the epoch that is repeated.
    """

    def __init__(self, folder: Path):
        self.folder, self.rows = folder, []

    def state_dict(self) -> dict:
        """What Lightning keeps in the state."""
        return {"rows": self.rows}

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
            save_weights(module.network, self.folder / epoch_file(row["epoch"]))
        # Every process of a distributed training takes part in gathering the state.
        trainer.save_checkpoint(state.with_suffix(".tmp"))
        if trainer.is_global_zero:
            state.with_suffix(".tmp").replace(state)
            write_table(self.folder / "history.csv", pd.DataFrame(self.rows))


class EpochProgress(lightning.Callback):
    """One progress bar for the whole training, in terminals and notebooks."""

    def on_train_start(self, trainer, module) -> None:
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
        self.bar.update()

    def on_train_epoch_end(self, trainer, module) -> None:
        values = {name: f"{float(trainer.callback_metrics[name]):.3f}" for name in HISTORY_COLUMNS[1:5]}
        self.bar.set_postfix(epoch=trainer.current_epoch + 1, **values)

    def teardown(self, *_, **__) -> None:
        """Close the bar, also after an interruption."""
        if hasattr(self, "bar"):
            self.bar.close()

    on_exception = teardown


def _train(trainer: lightning.Trainer, config: RunConfig, splits, settings: Settings, recorder: RunRecorder) -> None:
    """Train, or go on training, until the last epoch; the weights lie in the run's folder."""
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    data = NSynthDataModule(
        *(config.frames(splits[name]) for name in ("train", "valid")),
        *(config.batch_size, config.shuffle, config.seed),
        *(config.sampling, config.rendered_weight, config.notes_per_epoch),
    )
    network = config.build_network()
    with in_shares(network, settings.devices) as compute, warnings.catch_warnings():
        module = FamilyClassifier(network, config, compute)
        state, recorder.rows = _resume(recorder.folder, module)
        if trainer.is_global_zero:
            if state:
                write_table(recorder.folder / "history.csv", pd.DataFrame(recorder.rows))
            _meet(trainer, True)
        # Batches come from a memory map with one index: loader processes would only add copies.
        warnings.simplefilter("ignore", PossibleUserWarning)
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=state, weights_only=True)
        except SystemExit:  # Lightning's, at an interrupt, after which it is deaf to the next; a kernel should live on
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from None


def _resume(folder: Path, module: FamilyClassifier) -> tuple[Path | None, list[dict]]:
    """The state that a training goes on from, in which nothing can execute, and the history up to it."""
    path = folder / RESUME_FILE
    if not path.is_file():
        return None, []
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"])
        rows = state["callbacks"][RunRecorder.__name__]["rows"]
        damaged = [row["epoch"] for row in rows] != [*range(1, state["epoch"] + 2)] or not state["loops"]
    except Exception:  # whatever unpickling, or a look into what was unpickled, stumbles over
        damaged = True
    if damaged:
        raise InputError(f"{path} is damaged or of another version; delete it to train this run from its first epoch.")
    return path, rows


def _trainer(config: RunConfig, settings: Settings, callbacks: list) -> lightning.Trainer:
    for part in ("pytorch", "fabric.utilities"):
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script").addFilter(_stay)
    try:
        return lightning.Trainer(
            max_epochs=config.epochs,
            accelerator=settings.device,
            devices=settings.devices,
            num_nodes=settings.nodes,
            precision=config.precision,
            gradient_clip_val=config.gradient_clip or None,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # `SharedBatches` does it, without notes that count twice
        )
    except MisconfigurationException as error:
        raise InputError(
            f"NSYNTH_DEVICE {settings.device} and NSYNTH_DEVICES {settings.devices} do not fit this machine "
            f"({' '.join(str(error).split())}); change them."
        ) from None
