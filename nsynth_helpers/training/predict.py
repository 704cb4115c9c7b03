"""Evaluation: what a network says of notes, in float32, and how often it is right."""

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
from nsynth_helpers.data.metadata import FAMILIES, LOGITS, keep_families
from nsynth_helpers.settings import InputError, Settings, reading, write_json
from nsynth_helpers.training.devices import choose_device, in_shares
from nsynth_helpers.training.runs import (
    BY_EPOCH,
    CHECKPOINTS,
    Run,
    RunConfig,
    best_epoch,
    check_folder,
    describe_environment,
    read_predictions,
    write_table,
)

EVALUATION_BATCH = 256


@torch.inference_mode()
def predict(network: nn.Module, notes: NSynthDataset, device: str = "auto") -> pd.DataFrame:
    """The logits of every note, in float32.

    Returns
    -------
    pandas.DataFrame
        In the order of the notes: ``note_str``, ``family`` and ten float32 columns ``logit_<family>``.
    """
    place = choose_device(device)
    network = network.to(place).eval()
    with in_shares(network) as compute:
        logits = [compute(frames.to(place)).float().cpu() for frames, _ in batches(notes, EVALUATION_BATCH)]
    table = pd.DataFrame(torch.cat(logits).numpy(), columns=LOGITS)
    table.insert(0, "note_str", notes.notes["note_str"])
    table.insert(1, "family", notes.notes["family"])
    return table


def score(predictions: pd.DataFrame) -> dict:
    """Loss, accuracy (a fraction), correct notes and all notes of a table of predictions."""
    logits = torch.tensor(predictions[LOGITS].to_numpy(dtype=np.float32))
    labels = torch.tensor([FAMILIES.index(family) for family in predictions["family"]])
    correct = int((logits.argmax(dim=1) == labels).sum())
    loss = float(functional.cross_entropy(logits, labels))
    return {"loss": loss, "accuracy": correct / len(labels), "correct": correct, "notes": len(labels)}


def classify(network: nn.Module, notes: NSynthDataset, device: str) -> tuple[pd.DataFrame, dict]:
    """What `predict` returns, and what `score` says of it with the ``seconds`` that both took."""
    started = time.perf_counter()
    table = predict(network, notes, device)
    return table, score(table) | {"seconds": time.perf_counter() - started}


def evaluate_run(run: Run, splits: dict[str, NSynthSplit], device: str = "auto") -> None:
    """Predict valid and test with a run's last and best model, and write predictions and, last, metrics."""
    history, tables = run.history, []
    metrics = {"training_seconds": float(history["seconds"].sum()), "test_digest": splits["test"].digest}
    epochs = {"last": run.config.epochs, "best": int(best_epoch(history)["epoch"])}
    for checkpoint in CHECKPOINTS:
        if not (run.path / f"{checkpoint}.safetensors").is_file():
            raise InputError(f"{run.path} holds no weights to test again on this test split; retrain it.")
        network = run.load_network(checkpoint)
        metrics[checkpoint] = {"epoch": epochs[checkpoint]}
        for split in ("valid", "test"):
            table, metrics[checkpoint][split] = classify(network, run.config.frames(splits[split]), device)
            tables.append(table.assign(checkpoint=checkpoint, split=split))
    if run.finished:
        # Until the new metrics are there, a kill must not leave the old ones beside new predictions.
        write_json(run.path / "metrics.json", run.metrics | {"test_digest": "tested again"})
        (run.path / BY_EPOCH).unlink(missing_ok=True)
    write_table(run.path / "predictions.parquet", pd.concat(tables, ignore_index=True))
    write_json(run.path / "metrics.json", metrics)


def was_tested_on(run: Run, test: NSynthSplit) -> bool:
    """Whether a run's predictions and metrics are of this test split."""
    # Runs of before November 2026 do not know its digest: there, the names of the notes must do.
    return run.metrics.get("test_digest", test.digest) == test.digest and has_notes_of(run, test)


def has_notes_of(run: Run, test: NSynthSplit) -> bool:
    """Whether a run's predictions are of the notes of a test split, by their names."""
    return set(run.predictions("test")["note_str"]) == set(keep_families(test.notes)["note_str"])


def test_every_epoch(run: Run, test: NSynthSplit, settings: Settings) -> pd.DataFrame:
    """Test the weights of each epoch, once; the table is kept in the run as ``test_by_epoch.csv``.

    For looking back at how models could have been chosen; none is chosen by it. A kept run has its table, but no
    longer the weights. A run that was tested on other notes is refused.

    Returns
    -------
    pandas.DataFrame
        ``epoch``, ``test_loss`` and ``test_accuracy`` (a fraction).
    """
    if not has_notes_of(run, test):
        raise InputError(f"{run.path} was tested on other notes than these; let `fit` test it again first.")
    path = run.path / BY_EPOCH
    if not path.is_file():
        notes, rows = run.config.frames(test), []
        for epoch in run.history["epoch"]:
            scores = score(predict(run.load_network(str(epoch)), notes, settings.device))
            rows.append({"epoch": epoch, "test_loss": scores["loss"], "test_accuracy": scores["accuracy"]})
        write_table(path, pd.DataFrame(rows))
    with reading(path, "delete it and test every epoch again"):
        return pd.read_csv(path)[["epoch", "test_loss", "test_accuracy"]].astype(float).astype({"epoch": int})


def evaluate_network(
    network: nn.Module, config: RunConfig, cached: NSynthSplit, device: str = "auto", out: Path | None = None
) -> dict:
    """Classify a split, and return what `score` says and the seconds it took.

    With `out`, the predictions are added to a run of predictions alone, where those of other splits stay; a folder that
    holds anything else is refused.
    """
    if out is not None:
        check_folder(out, {"config": config})
    table, scores = classify(network, config.frames(cached), device)
    if out is not None:
        kept = Run(out)
        tables, metrics = [table.assign(checkpoint="last", split=cached.name)], {}
        if kept.finished:
            there = read_predictions(out)
            tables.insert(0, there[there["split"] != cached.name])
            metrics = kept.metrics["last"]
        write_json(out / "config.json", {"config": asdict(config)})
        write_json(out / "environment.json", describe_environment())
        write_table(out / "predictions.parquet", pd.concat(tables, ignore_index=True))
        write_json(out / "metrics.json", {"last": metrics | {cached.name: scores}})
    return scores
