"""The published LSTM and the studio network on the complete real test set, where the real notes are at hand."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nsynth_helpers.analysis.outcomes import confusion_matrix, make_outcomes
from nsynth_helpers.claims import published
from nsynth_helpers.settings import PROJECT_ROOT
from nsynth_helpers.training.runs import Run

REAL, REFERENCE = os.environ.get("NSYNTH_REAL"), os.environ.get("NSYNTH_REFERENCE")
COMMITTED, STUDIO = (Run(PROJECT_ROOT / "results" / name) for name in ("lstm-2018", "studio"))
needs_reference = pytest.mark.skipif(
    not (REAL and REFERENCE), reason="set NSYNTH_REAL and NSYNTH_REFERENCE to check against the published result"
)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The README's command, on the real test set."""
    return evaluate(tmp_path_factory, "--weights", f"{REFERENCE}/lstm_2018.safetensors", "--model", "lstm")


def evaluate(tmp_path_factory, *options: str):
    """What the command prints on the real test set, and the run of its predictions."""
    out = tmp_path_factory.mktemp("reference")
    command = [sys.executable, "-m", "nsynth_helpers", "evaluate", *options]
    command += ["--data", REAL, "--split", "test", "--out", str(out / "run")]
    environment = os.environ | {"NSYNTH_CACHE": str(out / "cache"), "TQDM_DISABLE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(out), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, Run(out / "run")


@needs_reference
def test_published_weights_give_the_published_accuracy(evaluated):
    assert evaluated[0].splitlines()[-1] == "accuracy 64.844 % (2656 of 4096)"


@needs_reference
def test_published_weights_give_the_published_confusion_in_every_cell(evaluated):
    ours = confusion_matrix(make_outcomes(evaluated[1].predictions("test")))
    np.testing.assert_array_equal(ours.to_numpy(), published.confusion_matrix("lstm").to_numpy())


@needs_reference
def test_committed_predictions_are_those_of_the_published_weights(evaluated):
    ours, committed = evaluated[1].predictions("test"), COMMITTED.predictions("test")
    assert ours["note_str"].equals(committed["note_str"])
    logits = [column for column in ours if column.startswith("logit_")]
    np.testing.assert_allclose(ours[logits], committed[logits], atol=1e-3)


def test_committed_predictions_give_the_published_confusion_in_every_cell():
    ours = confusion_matrix(make_outcomes(COMMITTED.predictions("test")))
    np.testing.assert_array_equal(ours.to_numpy(), published.confusion_matrix("lstm").to_numpy())
    assert int(np.trace(ours)) == COMMITTED.metrics["last"]["test"]["correct"] == 2656


def test_no_weights_of_the_report_are_committed():
    assert not list(COMMITTED.path.glob("*.safetensors"))


@pytest.mark.skipif(not REAL, reason="set NSYNTH_REAL to test the studio network on the real notes")
def test_committed_weights_of_the_studio_network_give_its_committed_accuracy(tmp_path_factory):
    said, run = evaluate(tmp_path_factory, "--run", str(STUDIO.path))
    correct, committed = STUDIO.metrics["last"]["test"]["correct"], STUDIO.predictions("test")
    assert said.splitlines()[-1] == f"accuracy {100 * correct / 4096:.3f} % ({correct} of 4096)"
    ours = run.predictions("test")
    logits = [column for column in ours if column.startswith("logit_")]
    assert ours["note_str"].equals(committed["note_str"])
    np.testing.assert_allclose(ours[logits], committed[logits], atol=1e-3)


def test_the_studio_network_is_small_and_whole():
    assert sum(path.stat().st_size for path in STUDIO.path.iterdir()) < 10e6
    outcomes = make_outcomes(STUDIO.predictions("test"))
    assert len(outcomes) == 4096 and outcomes["correct"].sum() == STUDIO.metrics["last"]["test"]["correct"]
    assert STUDIO.load_network()(torch.zeros(1, 100, 160)).shape == (1, 10)
