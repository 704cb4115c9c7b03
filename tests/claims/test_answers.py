"""The answers to the report's four questions must turn with the numbers."""

import numpy as np
import pandas as pd
import pytest

from nsynth_helpers.analysis.statistics import Interval
from nsynth_helpers.claims import answers, published


def networks(lstm_seconds=4.0, blstm_seconds=8.0, low=0.3) -> pd.DataFrame:
    table = pd.DataFrame(index=["LSTM", "BLSTM", "convolutional"])
    return table.assign(
        seconds_per_epoch=[lstm_seconds, blstm_seconds, 1.0],
        accuracy=[0.5, 0.45, 0.4],
        low=low,
        hours_2018=[13 + 53 / 60, 16 + 56 / 60, np.nan],
    )


def test_behaviour_tells_of_each_matrix_and_of_confidence_where_it_is_known():
    confusions = {f"2018 {network.upper()}": published.confusion_matrix(network) for network in ("lstm", "blstm")}
    outcomes = {"2018 LSTM": pd.DataFrame({"probability": [0.9, 0.8], "correct": [True, False]})}
    lines = answers.answer_behaviour(confusions, outcomes).split("\n")
    assert len(lines) == 2 and all(line.startswith("- The 2018") for line in lines)
    assert "string (88.6 %)" in lines[0] and "more sure than right" in lines[0]
    assert "vocal (89.4 %)" in lines[1] and "probability" not in lines[1]


@pytest.mark.parametrize(
    ("seconds", "words", "slowest"),
    [
        ((4.0, 8.0), "here the BLSTM takes 2.0 times as long", "BLSTM"),
        ((8.0, 4.0), "here the BLSTM takes only 0.50 of the time", "LSTM"),
    ],
)
def test_speed_follows_the_times(seconds, words, slowest):
    text = answers.answer_speed_and_accuracy(networks(*seconds), {})
    assert words in text and f"the slowest the {slowest}" in text
    assert "in 2018, over the whole training, the BLSTM took 1.2 times as long" in text
    assert "LSTM 50.0 %, BLSTM 45.0 %, convolutional 40.0 %" in text


@pytest.mark.parametrize(("low", "words"), [(0.01, "right more often than"), (-0.01, "cannot be told apart")])
def test_accuracy_against_the_earlier_network(low, words):
    text = answers.answer_speed_and_accuracy(networks(), {"LSTM, fully connected": Interval(0.1, low, 0.2, 0.95)})
    assert words in text and "fully connected" in text


def history(valid_loss) -> pd.DataFrame:
    epochs = pd.DataFrame({"epoch": range(1, len(valid_loss) + 1), "valid_loss": valid_loss})
    return epochs.assign(train_accuracy=0.9, valid_accuracy=0.6)


def test_design_calls_overfitting_what_overfits():
    text = answers.answer_design({"LSTM": history([2.0, 1.5, 2.5])}, {"LSTM": 2.0})
    assert "**LSTM** overfits" in text and "lowest in epoch 2 of 3 and 1.00 higher" in text
    assert "+30.0 points" in text and "temperature of 2.0: it is over" in text
    fine = answers.answer_design({"LSTM": history([2.0, 1.5, 1.4])}, {"LSTM": 1.0})
    assert "has not begun to overfit" in fine and "temperature" not in fine
    assert "temperature" not in answers.answer_design({"2018 LSTM": published.history("lstm")}, {})


def seen(known: float, new: float) -> tuple[pd.Series, pd.Series]:
    """Accuracies of five instruments each, spread a little."""
    spread = np.linspace(-0.1, 0.1, 5)
    return pd.Series(known + spread), pd.Series(new + spread)


def test_summary_tells_seen_from_unseen_only_where_both_are_there():
    apart = answers.answer_summary({"LSTM": seen(0.6, 0.3)}, ("bass", 0.1), networks())
    assert "60.0 %" in apart and "does better on instruments that it knows" in apart and "all of the networks" in apart
    assert "does worse on instruments" in answers.answer_summary({"LSTM": seen(0.3, 0.6)}, ("bass", 0.1), networks())
    assert "may be chance" in answers.answer_summary({"LSTM": seen(0.6, 0.55)}, ("bass", 0.1), networks())
    real = answers.answer_summary({"LSTM": (seen(0.6, 0.5)[0][:0], seen(0.6, 0.5)[1])}, ("bass", 0.1), networks())
    assert "Train has 0 of the 5 test instruments" in real


@pytest.mark.parametrize(
    ("low", "words"), [(0.05, "none of the networks are"), ([0.05, 0.3, 0.1], "1 of the networks is")]
)
def test_summary_counts_the_networks_that_beat_guessing(low, words):
    assert words in answers.answer_summary({}, ("bass", 0.1), networks(low=low))
