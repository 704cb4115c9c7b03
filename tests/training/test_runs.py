"""The name of a run, and what is kept of it."""

import numpy as np
import pandas as pd
import pytest
import torch

from nsynth_helpers import models
from nsynth_helpers.settings import InputError
from nsynth_helpers.training import runs


@pytest.mark.parametrize("network", models.NETWORKS)
def test_the_name_of_a_run_draws_no_random_numbers(network):
    """Else the training after it would begin from other weights."""
    before = torch.get_rng_state()
    assert len(runs.RunConfig(network).digest({"train": "notes"})) == 8
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_kill_left_behind_is_not_kept(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("metrics.json", "history.csv.123.tmp", runs.LOCK_FILE):
        (run / name).write_text("{}")
    assert [path.name for path in runs.keep_run(runs.Run(run), tmp_path / "kept").path.iterdir()] == ["metrics.json"]


def test_the_best_epoch_is_that_of_the_lowest_valid_loss():
    history = pd.DataFrame({"epoch": [1, 2, 3, 4], "valid_loss": [2.0, np.nan, 1.5, 1.5]})
    assert runs.best_epoch(history)["epoch"] == 3


def test_a_training_that_diverged_is_told():
    with pytest.raises(InputError, match="the training diverged; lower its learning rate"):
        runs.best_epoch(pd.DataFrame({"epoch": [1, 2], "valid_loss": [np.nan, np.nan]}))
