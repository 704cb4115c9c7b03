"""What the history of a run, or of a published one, says of when to stop."""

import json

import numpy as np
import pandas as pd
import pytest

from nsynth_helpers.settings import PROJECT_ROOT, InputError
from nsynth_helpers.training import checkpoints


def history_of(losses, accuracies):
    epochs = range(1, len(losses) + 1)
    return pd.DataFrame({"epoch": epochs, "valid_loss": losses, "valid_accuracy": accuracies})


def test_checkpoint_rules_part_where_the_loss_rises_twice():
    rules = checkpoints.checkpoint_rules(history_of([2.0, 1.8, 1.9, 1.5, 1.7, 1.6], [0.2, 0.3, 0.4, 0.5, 0.6, 0.6]))
    assert rules.set_index("rule")["epoch"].to_dict() == {
        "before first rise": 2,
        "lowest valid loss": 4,
        "highest valid accuracy": 5,
        "last": 6,
    }
    assert rules["valid_loss"].tolist() == [1.8, 1.5, 1.7, 1.6]


def test_checkpoint_rules_without_a_rise_and_with_one_epoch():
    rules = checkpoints.checkpoint_rules(history_of([2.0, 1.8, 1.8], [0.2, 0.3, 0.25]))
    assert rules["epoch"].tolist() == [3, 2, 2, 3]
    assert checkpoints.checkpoint_rules(history_of([2.0], [0.2]))["epoch"].tolist() == [1, 1, 1, 1]


def test_checkpoint_rules_on_the_published_curves():
    report = json.loads((PROJECT_ROOT / "nsynth_helpers/claims/report_2018.json").read_text())
    picked = {}
    for model in ("lstm", "blstm"):
        curves = report[model]["curves"]
        rules = checkpoints.checkpoint_rules(history_of(curves["valid_loss"], np.divide(curves["valid_accuracy"], 100)))
        picked[model] = rules["epoch"].tolist()
    assert picked == {"lstm": [2, 2, 17, 20], "blstm": [2, 2, 12, 20]}


@pytest.mark.parametrize("history", [history_of([], []), history_of([1.0, np.nan], [0.1, 0.1])])
def test_checkpoint_rules_refuse_empty_and_broken_histories(history):
    with pytest.raises(InputError, match="train the run again"):
        checkpoints.checkpoint_rules(history)
