"""Evaluation: what a network says of notes, in float32, and how often it is right."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.dataset import NSynthDataset, batches
from nsynth_helpers.data.metadata import FAMILIES, LOGITS
from nsynth_helpers.settings import InputError, Settings, write_json
from nsynth_helpers.training.runs import Run, RunConfig, describe_environment, holds_another, write_table

EVALUATION_BATCH = 256


@torch.inference_mode()
def predict(
    network: nn.Module, notes: NSynthDataset, device: str = "auto", batch_size: int = EVALUATION_BATCH
) -> pd.DataFrame:
    """The logits of every note, in float32.

    Parameters
    ----------
    network : torch.nn.Module
        Takes ``frames (batch, steps, step_size)``.
    notes : NSynthDataset
        The notes, in the order of the result.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    batch_size : int
        Notes at a time.

    Returns
    -------
    pandas.DataFrame
        ``note_str``, ``family`` and ten float32 columns ``logit_<family>``.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    place = choose_device(device)
    network = network.to(place).eval()
    logits = [network(frames.to(place)).float().cpu() for frames, _ in batches(notes, batch_size)]
    table = pd.DataFrame(torch.cat(logits).numpy(), columns=LOGITS)
    table.insert(0, "note_str", notes.notes["note_str"])
    table.insert(1, "family", notes.notes["family"])
    return table


def test_every_epoch(run: Run, test: NSynthSplit, settings: Settings) -> pd.DataFrame:
    """Test the weights of each epoch, once; the table is kept in the run as ``test_by_epoch.csv``.

    For looking back at how models could have been chosen; none is chosen by it.

    Parameters
    ----------
    run : Run
        A finished run that still has its ``epochs/``, or its table.
    test : NSynthSplit
        nsynth-test.
    settings : Settings
        Names the device.

    Returns
    -------
    pandas.DataFrame
        ``epoch``, ``test_loss`` and ``test_accuracy`` (a fraction).

    Notes
    -----
    Used in: 04_result_analysis.
    """
    path = run.path / "test_by_epoch.csv"
    if not path.is_file():
        notes = run.config.frames(test)
        scores = {
            epoch: score(predict(run.load_network(str(epoch)), notes, settings.device)) for epoch in run.history.epoch
        }
        rows = [{"epoch": epoch, "test_loss": s["loss"], "test_accuracy": s["accuracy"]} for epoch, s in scores.items()]
        write_table(path, pd.DataFrame(rows))
    return pd.read_csv(path)


# The name begins with "test", but pytest has nothing to collect here.
test_every_epoch.__test__ = False


def evaluate_network(
    network: nn.Module, config: RunConfig, cached: NSynthSplit, device: str = "auto", out: Path | None = None
) -> dict:
    """Classify a split and score it; with `out`, keep the predictions as a run of predictions alone.

    Parameters
    ----------
    network : torch.nn.Module
        The trained network.
    config : RunConfig
        How it reads its notes.
    cached : NSynthSplit
        The notes.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    out : pathlib.Path, optional
        Folder to add the predictions to; those of other splits that are there stay.

    Returns
    -------
    dict
        What `score` returns, and the seconds it took.

    Raises
    ------
    InputError
        If `out` holds a run that was trained there, or the predictions of another configuration.
    """
    if out is not None and holds_another(out, {"config": asdict(config)}):
        raise InputError(f"{out} holds another run; choose a new folder for the predictions.")
    table, scores = classify(network, config.frames(cached), device)
    if out is not None:
        _keep_predictions(out, table.assign(checkpoint="last", split=cached.name), config, scores)
    return scores


def _keep_predictions(out: Path, table: pd.DataFrame, config: RunConfig, scores: dict) -> None:
    split = table["split"].iloc[0]
    there = pd.read_parquet(out / "predictions.parquet") if (out / "predictions.parquet").is_file() else table[:0]
    metrics = Run(out).metrics if Run(out).finished else {"last": {}}
    write_json(out / "config.json", {"config": asdict(config)})
    write_json(out / "environment.json", describe_environment())
    write_table(out / "predictions.parquet", pd.concat([there[there["split"] != split], table], ignore_index=True))
    write_json(out / "metrics.json", metrics | {"last": metrics["last"] | {split: scores}})


def classify(network: nn.Module, notes: NSynthDataset, device: str) -> tuple[pd.DataFrame, dict]:
    """What `predict` returns, and what `score` says of it with the ``seconds`` that both took."""
    started = time.perf_counter()
    table = predict(network, notes, device)
    return table, score(table) | {"seconds": time.perf_counter() - started}


def score(predictions: pd.DataFrame) -> dict:
    """Loss, accuracy (a fraction), correct notes and all notes of a table of predictions."""
    logits = torch.tensor(predictions[LOGITS].to_numpy(dtype=np.float32))
    labels = torch.tensor([FAMILIES.index(family) for family in predictions["family"]])
    correct = int((logits.argmax(dim=1) == labels).sum())
    loss = float(functional.cross_entropy(logits, labels))
    return {"loss": loss, "accuracy": correct / len(labels), "correct": correct, "notes": len(labels)}


def choose_device(device: str) -> torch.device:
    """The device of a setting: ``auto`` takes CUDA, then MPS, then the CPU.

    Raises
    ------
    InputError
        If the named device is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in available.items() if there)
    if not available.get(device):
        raise InputError(f"NSYNTH_DEVICE is '{device}', which this machine does not have; set it to auto or cpu.")
    return torch.device(device)
