"""Sentences must follow the numbers: each is fed data that hold and data that fail."""

import numpy as np
import pandas as pd
import pytest

from nsynth_helpers.analysis.outcomes import name_confusion_matrix
from nsynth_helpers.analysis.statistics import Interval, McNemar
from nsynth_helpers.claims import published, sentences
from nsynth_helpers.training.checkpoints import checkpoint_rules


def interval(estimate: float, low: float, high: float) -> Interval:
    return Interval(estimate, low, high, 0.95)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ((1.9, 1.5), "no rise to explain"),
        ((2.5, 1.4), "from 2.00 to 2.50 as it is, and from 1.50 to 1.40 after temperature scaling: all of the rise"),
        ((2.4, 1.6), f"{sentences.percent(0.75)} of the rise"),
        ((2.4, 2.5), f"{sentences.percent(0)} of the rise"),
    ],
)
def test_the_parting_of_loss_and_accuracy_is_laid_to_over_confidence(last, words):
    rows = [pd.Series({"loss_before": before, "loss_after": after}) for before, after in ((2.0, 1.5), last)]
    assert words in sentences.describe_parting("LSTM", *rows)


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (sentences.percent, 0.64844, "64.8 %"),
        (sentences.percent, float("nan"), "–"),
        (sentences.points, 0.0115, "+1.1 points"),
        (sentences.points, -0.0115, "−1.1 points"),
        (sentences.p_value, 0.0341, "p = 0.034"),
        (sentences.p_value, 0.0004, "p < 0.001"),
        (sentences.duration, 4.21, "4.2 s"),
        (sentences.duration, 720, "12 min"),
        (sentences.duration, 13 * 3600 + 53 * 60, "13 h 53 min"),
        (sentences.duration, 7199.9, "2 h 00 min"),
    ],
)
def test_numbers_as_text(function, value, text):
    assert function(value) == text


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (interval(0.03, 0.01, 0.05), "The LSTM is right more often than the BLSTM"),
        (interval(-0.03, -0.05, -0.01), "The BLSTM is right more often than the LSTM"),
        (interval(0.03, -0.01, 0.07), "cannot be told apart"),
        (interval(0.03, np.nan, np.nan), "cannot be told apart"),
    ],
)
def test_compare_accuracies(difference, expected):
    assert expected in sentences.compare_accuracies("LSTM", "BLSTM", difference)


@pytest.mark.parametrize(("value", "expected"), [(0.01, "a significant"), (0.2, "no significant"), (0.05, "no sig")])
def test_compare_on_same_notes(value, expected):
    found = McNemar(5, 3, 1, 2, value)
    sentence = sentences.compare_on_same_notes("LSTM", "BLSTM", found)
    assert f"finds {expected}" in sentence and "of 11 notes both are right on 5" in sentence


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(20, "takes 2.0 times as long"), (10.5, "about as long"), (9.5, "about as long"), (5, "takes only 0.50")],
)
def test_compare_times(seconds, expected):
    assert expected in sentences.compare_times("LSTM", "BLSTM", 10, seconds)


def test_families_of_the_published_lstm():
    sentence = sentences.describe_families("LSTM", published.confusion_matrix("lstm"))
    assert "finds string (88.6 %), vocal (78.0 %) and keyboard (76.4 %) best" in sentence
    assert "flute (25.0 %), guitar (48.5 %) and mallet (53.5 %) worst" in sentence
    assert "guitar taken for keyboard: 230 of 652 notes" in sentence


def test_families_of_a_network_without_errors_and_of_a_small_test():
    perfect = name_confusion_matrix(np.eye(10, dtype=int) * 4)
    assert "confuses no two families" in sentences.describe_families("LSTM", perfect)
    lonely = perfect.where(perfect.index.to_series() == "bass", 0).T
    assert "fewer than two" in sentences.describe_families("LSTM", lonely)
    two = name_confusion_matrix(np.diag([3, 4] + [0] * 8))
    assert "finds bass (100.0 %) best, and brass (100.0 %) worst" in sentences.describe_families("LSTM", two)


def test_mixed_pair_counts_both_directions():
    sentence = sentences.describe_mixed_pair("2018 BLSTM", published.confusion_matrix("blstm"), "keyboard", "brass")
    assert "for each other in 7 of its 275 errors" in sentence


def outcomes(*answers: tuple[float, bool]) -> pd.DataFrame:
    return pd.DataFrame(answers, columns=["probability", "correct"])


def test_confidence_says_over_confident_only_where_it_is():
    sure = sentences.describe_confidence("LSTM", outcomes((0.9, True), (0.8, False)))
    assert "90.0 % when it is right" in sure and "80.0 % when it is wrong" in sure and "more sure than right" in sure
    modest = sentences.describe_confidence("LSTM", outcomes((0.9, True), (0.8, True)))
    assert "less sure than right" in modest and "– when it is wrong" in modest
    assert "about as sure as right" in sentences.describe_confidence("LSTM", outcomes((0.5, True), (0.51, False)))


@pytest.mark.parametrize(
    ("temperature", "after", "expected", "effect"),
    [(2.0, 0.1, "over-confident", "falls"), (0.5, 0.3, "under-confident", "does not"), (1.05, 0.1, "about", "falls")],
)
def test_calibration(temperature, after, expected, effect):
    sentence = sentences.describe_calibration("LSTM", 0.2, after, temperature)
    assert expected in sentence and f"error {effect}" in sentence


def change(difference: float, low: float, high: float) -> pd.Series:
    rates = {"rate": 0.1, "rate_other": 0.1 + difference, "difference": difference, "low": low, "high": high}
    return pd.Series({"actual": "keyboard", "predicted": "bass", "notes": 40, **rates})


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (change(0.2, 0.1, 0.3), "more often when reversed"),
        (change(-0.05, -0.08, -0.02), "less often when reversed"),
        (change(0.2, -0.1, 0.5), "cannot tell from none"),
        (change(0.2, np.nan, np.nan), "single instrument"),
        (change(0.0, 0.0, 0.0), "not one note changes"),
    ],
)
def test_change(row, expected):
    sentence = sentences.describe_change("BLSTM", row)
    assert expected in sentence and "takes keyboard for bass in 10.0 % of the 40 notes forward" in sentence


def history(losses, accuracies) -> pd.DataFrame:
    epochs = range(1, len(losses) + 1)
    return pd.DataFrame({"epoch": epochs, "valid_loss": losses, "valid_accuracy": accuracies})


@pytest.mark.parametrize(
    ("losses", "accuracies", "expected"),
    [
        (
            (2.0, 1.0, 3.0),
            (0.2, 0.4, 0.6),
            "is right more often than the one of the lowest valid loss (2) on these valid notes",
        ),
        ((2.0, 1.0, 3.0), (0.2, 0.4, 0.3), "is not right more often than the one of the lowest valid loss"),
        ((3.0, 2.0, 1.0), (0.2, 0.4, 0.6), "the two agree"),
    ],
)
def test_rules(losses, accuracies, expected):
    sentence = sentences.describe_rules("LSTM", checkpoint_rules(history(losses, accuracies)))
    assert expected in sentence


def test_rules_speak_of_test_where_it_is_known():
    rules = checkpoint_rules(history((2.0, 1.0, 3.0), (0.2, 0.4, 0.6))).assign(test_accuracy=[0.5, 0.5, 0.3, 0.3])
    sentence = sentences.describe_rules("LSTM", rules)
    assert "is not right more often" in sentence and "on these test notes, 30.0 % against 50.0 %" in sentence


def test_in_percent_leaves_other_columns_alone():
    table = pd.DataFrame({"notes": [4], "accuracy": [0.5]}, index=["LSTM"])
    shown = sentences.in_percent(table, "accuracy")
    assert shown.loc["LSTM"].tolist() == [4, "50.0\N{NO-BREAK SPACE}%"]
    assert table.loc["LSTM", "accuracy"] == 0.5, "the table itself is untouched"
    assert sentences.in_percent(table[["accuracy"]]).loc["LSTM", "accuracy"] == "50.0\N{NO-BREAK SPACE}%"


def test_equal_halves_look_equal_however_the_float_came_out():
    assert {sentences.percent(share) for share in (203 / 400, 0.5075 - 1e-16, 0.5075 + 1e-16)} == {"50.8 %"}
    assert sentences.percent(155 / 400) == sentences.percent(np.mean([31 / 80, 31 / 80])) == "38.8 %"
