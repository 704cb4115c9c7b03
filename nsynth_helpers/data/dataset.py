"""Cached waveforms as torch batches: a `Dataset` that reads whole batches, and the `DataModule` that trains on it."""

import lightning
import numpy as np
import pandas as pd
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, WeightedRandomSampler
from torch.utils.data.distributed import DistributedSampler

from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import (
    OFFICIAL_FAMILIES,
    OFFICIAL_FAMILY_NOTES,
    SAMPLE_RATE,
    STEP_SIZE,
    is_rendered,
    scale,
)
from nsynth_helpers.settings import InputError


class NSynthDataset(Dataset):
    """The notes of the ten families as frames for a recurrent network; ``synth_lead`` is dropped here.

    `notes` is the table of the notes that are left, in the dataset's order, and `labels` the family of each, int64.
    The first `seconds` of each cached waveform are used (all of it by default), in steps of `step_size` samples;
    `normalise_level` scales each note to a peak of 1 (the 2018 code did not), `reverse` plays it backwards. An
    `InputError` is raised if no note is left, or the waveforms are shorter than asked or than one step.
    """

    def __init__(
        self,
        cached: NSynthSplit,
        step_size: int = STEP_SIZE,
        seconds: float | None = None,
        normalise_level: bool = False,
        reverse: bool = False,
    ):
        self.rows = np.flatnonzero(cached.notes["label"].to_numpy() >= 0)
        if not len(self.rows):
            raise InputError(f"The {cached.name} split has no note of the ten families; use another data folder.")
        samples = cached.waveforms.shape[1] if seconds is None else round(seconds * SAMPLE_RATE)
        if not step_size <= samples <= cached.waveforms.shape[1]:
            raise InputError(
                f"{samples} samples of each note were asked for, but the {cached.name} cache holds "
                f"{cached.waveforms.shape[1]} and a step is {step_size}; set NSYNTH_SECONDS to fit."
            )
        self.waveforms = cached.waveforms
        self.notes = cached.notes.iloc[self.rows].reset_index(drop=True)
        self.labels = torch.tensor(self.notes["label"].to_numpy(dtype=np.int64))
        self.step_size, self.steps = step_size, samples // step_size
        self.normalise_level, self.reverse = normalise_level, reverse

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One note: ``frames (steps, step_size)`` and its label."""
        frames, labels = self.__getitems__([index])
        return frames[0], labels[0]

    def __getitems__(self, indices) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch with one fancy index: ``frames (batch, steps, step_size)``, float32, and ``labels (batch,)``."""
        if isinstance(self.waveforms, torch.Tensor):
            # From pinned memory the numbers go to a GPU without waiting for what it still computes.
            pinned = torch.tensor(indices, pin_memory=torch.cuda.is_available())
            indices = pinned.to(self.rows.device, non_blocking=True)
        batch = torch.as_tensor(self.waveforms[self.rows[indices], : self.steps * self.step_size])
        if self.reverse:
            batch = batch.flip(1)
        frames = scale(batch)
        if self.normalise_level:
            # A silent note stays silent.
            frames /= frames.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        return frames.view(len(batch), self.steps, self.step_size), self.labels[indices]

    def to(self, device: torch.device) -> None:
        """Put waveforms and families on a device, piece by piece; from then on batches are gathered there."""
        there = torch.empty(len(self), self.steps * self.step_size, dtype=torch.int16, device=device)
        for part in torch.arange(len(self)).split(4096):
            there[part[0] : part[-1] + 1] = torch.from_numpy(self.waveforms[self.rows[part], : there.shape[1]])
        self.waveforms, self.rows, self.labels = there, torch.arange(len(self), device=device), self.labels.to(device)


class SharedBatches(BatchSampler):
    """Batches that n processes share: each takes every n-th note, and all of a batch that is too small to share."""

    def __init__(self, order, batch_size: int, drop_last: bool, processes: int, rank: int):
        super().__init__(order, batch_size, drop_last)
        self.processes, self.rank = processes, rank

    def __iter__(self):
        # Two notes each, as one has no spread that batch normalisation could divide by.
        for batch in super().__iter__():
            yield batch[self.rank :: self.processes] if len(batch) >= 2 * self.processes else batch

    def notes(self, index: int) -> int:
        """Notes of a whole batch, of all processes."""
        return min(self.batch_size, len(self.sampler) - index * self.batch_size)


def draw_weights(notes: pd.DataFrame, sampling: str, rendered_weight: float) -> torch.Tensor:
    """How often each note of a table is drawn against the others, for `NSynthDataModule`: ``(notes,)``, float64."""
    weights = pd.Series(np.where(is_rendered(notes), rendered_weight, 1.0), notes.index)
    if sampling != "all":
        sums = weights.groupby(notes["family"]).transform("sum")
        weights /= sums.where(sums > 0, 1)  # of a family that is all rendered, nothing may be left to draw
    if sampling == "nsynth":
        weights *= notes["family"].map(dict(zip(OFFICIAL_FAMILIES, OFFICIAL_FAMILY_NOTES["train"], strict=True)))
    if not weights.any():
        raise InputError("All train notes are rendered and rendered_weight is 0: none is left to draw; set it above 0.")
    return torch.tensor(weights.to_numpy())


class DrawnNotes(WeightedRandomSampler):
    """So many notes, drawn by their weights with replacement; with `seed`, epoch k draws the same ones each time."""

    def __init__(self, weights: torch.Tensor, notes: int, seed: int):
        super().__init__(weights, notes, generator=torch.Generator())
        self.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Lightning tells the epoch."""
        self.generator.manual_seed(self.seed + epoch)


def batches(
    notes: NSynthDataset, batch_size: int, order=None, drop_last: bool = False, processes: int = 1, rank: int = 0
) -> DataLoader:
    """A loader of a process's share of whole batches, in the dataset's order unless another is given."""
    sampler = SharedBatches(order or SequentialSampler(notes), batch_size, drop_last, processes, rank)
    # `__getitems__` has made the batch already. With a generator of its own, opening a loader draws nothing from the
    # one that dropout uses.
    # Lightning copies pinned batches to a GPU while it computes; what lies there already cannot be pinned.
    pinned = torch.cuda.is_available() and isinstance(getattr(notes, "waveforms", None), np.ndarray)
    options = {"collate_fn": lambda batch: batch, "generator": torch.Generator(), "pin_memory": pinned}
    return DataLoader(notes, batch_sampler=sampler, **options)


class NSynthDataModule(lightning.LightningDataModule):
    """The train and valid notes of one training, for Lightning; never those of nsynth-test.

    With `shuffle` the training notes are mixed anew in every epoch (the 2018 code did not): with `seed`, epoch k meets
    the same order however often the training was interrupted.

    Parameters
    ----------
    sampling : {"all", "balanced", "nsynth"}
        Each note once, as in 2018; or notes drawn with replacement, the families equally often or as often as
        nsynth-train has them.
    rendered_weight : float
        How often a note of a rendered instrument is drawn against a real one; other than 1, notes are drawn.
    notes_per_epoch : int, optional
        Notes drawn in an epoch; as many as there are by default.
    """

    def __init__(
        self,
        train: NSynthDataset,
        valid: NSynthDataset,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 2018,
        sampling: str = "all",
        rendered_weight: float = 1.0,
        notes_per_epoch: int | None = None,
    ):
        super().__init__()
        self.train, self.valid = train, valid
        self.batch_size = batch_size
        # DistributedSampler shuffles by seed and epoch: a resumed training goes on with the order that it would have
        # met. The batches are those of one process, however many share them.
        self.order = DistributedSampler(train, num_replicas=1, rank=0, shuffle=shuffle, seed=seed)
        if (sampling, rendered_weight, notes_per_epoch) != ("all", 1.0, None):
            weights = draw_weights(train.notes, sampling, rendered_weight)
            self.order = DrawnNotes(weights, notes_per_epoch or len(train), seed)

    def setup(self, stage: str) -> None:
        """Put the notes on a GPU, once, if they fill at most half of its free memory; else batches go there in turn."""
        device = self.trainer.strategy.root_device
        size = sum(2 * len(notes) * notes.steps * notes.step_size for notes in (self.train, self.valid))
        if device.type == "cuda" and 2 * size < torch.cuda.mem_get_info(device)[0]:
            self.train.to(device)
            self.valid.to(device)

    def _batches(self, *arguments) -> DataLoader:
        share = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else ()
        return batches(*arguments, *share)

    def train_dataloader(self) -> DataLoader:
        """Batches of training notes; every process of a distributed training gets its share of each."""
        # A last batch of one note has no spread that batch normalisation could divide by: it is left out, unless it is
        # all that there is.
        drop_last = len(self.order) > self.batch_size and len(self.order) % self.batch_size == 1
        return self._batches(self.train, self.batch_size, self.order, drop_last)

    def val_dataloader(self) -> DataLoader:
        return self._batches(self.valid, self.batch_size * 8, None, False)
