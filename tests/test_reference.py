"""The published LSTM on the complete real test set: runs where the real notes and the report's weights are at hand."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nsynth_helpers.analysis.outcomes import confusion_matrix, make_outcomes
from nsynth_helpers.claims import published
from nsynth_helpers.settings import PROJECT_ROOT
from nsynth_helpers.training.runs import Run

REAL, REFERENCE = os.environ.get("NSYNTH_REAL"), os.environ.get("NSYNTH_REFERENCE")
COMMITTED = Run(PROJECT_ROOT / "results" / "lstm-2018")
needs_reference = pytest.mark.skipif(
    not (REAL and REFERENCE), reason="set NSYNTH_REAL and NSYNTH_REFERENCE to check against the published result"
)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The README's command, on the real test set."""
    out = tmp_path_factory.mktemp("reference")
    command = [sys.executable, "-m", "nsynth_helpers", "evaluate", "--weights", f"{REFERENCE}/lstm_2018.safetensors"]
    command += ["--model", "lstm", "--data", REAL, "--split", "test", "--out", str(out / "run")]
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
