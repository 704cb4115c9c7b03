"""Evaluation: scores against hand computation, predictions that are kept, and a device that is not there."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import NOTE_STRS, cached_split, waveform_of
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.settings import InputError
from nsynth_helpers.training.predict import LOGITS, evaluate_network, predict, score
from nsynth_helpers.training.runs import Run, RunConfig

SMALL = RunConfig(network_arguments={"hidden_size": 4, "num_layers": 1}, seconds=0.05)


def split_of(split: str) -> NSynthSplit:
    """One note of each family."""
    return cached_split(split, NOTE_STRS, [waveform_of(name) for name in NOTE_STRS])


def test_a_run_of_predictions_alone_gathers_splits(tmp_path):
    network = SMALL.build_network()
    for split in ("valid", "test", "valid"):
        evaluate_network(network, SMALL, split_of(split), "cpu", tmp_path / "alone")
    alone = Run(tmp_path / "alone")
    assert {split: len(alone.predictions(split)) for split in ("valid", "test")} == {"valid": 10, "test": 10}
    assert set(alone.metrics["last"]) == {"valid", "test"}
    with pytest.raises(InputError, match="no predictions of train"):
        alone.predictions("train")


def test_score_counts_what_is_right():
    logits = np.full((4, 10), -2.0, dtype=np.float32)
    logits[[0, 1, 2, 3], [0, 1, 2, 4]] = 8.0
    table = pd.DataFrame(logits, columns=LOGITS).assign(family=list(FAMILIES[:4]))
    result = score(table)
    assert (result["correct"], result["notes"], result["accuracy"]) == (3, 4, 0.75)
    assert result["loss"] == pytest.approx(2.5, abs=0.01)


def test_a_device_that_is_not_there_is_refused():
    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(InputError, match=f"NSYNTH_DEVICE is '{absent}', which this machine does not have"):
        predict(SMALL.build_network(), SMALL.frames(split_of("test")), absent)


def test_predictions_are_not_added_to_another_run(tmp_path):
    """Neither to a run that was trained there, nor to predictions of another configuration."""
    evaluate_network(SMALL.build_network(), SMALL, split_of("test"), "cpu", tmp_path)
    other = replace(SMALL, network_arguments={"hidden_size": 5, "num_layers": 1})
    record = json.loads((tmp_path / "config.json").read_text())
    for config, data in ((other, None), (SMALL, {"train": "x"})):
        (tmp_path / "config.json").write_text(json.dumps(record | ({"data": data} if data else {})))
        there = (tmp_path / "predictions.parquet").read_bytes()
        with pytest.raises(InputError, match="holds a run of another configuration"):
            evaluate_network(config.build_network(), config, split_of("valid"), "cpu", tmp_path)
        assert (tmp_path / "predictions.parquet").read_bytes() == there
