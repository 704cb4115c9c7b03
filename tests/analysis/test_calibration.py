"""Calibration against hand-made tables, torchmetrics, and logits whose true scale is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import special
from torchmetrics.functional.classification import multiclass_calibration_error

from nsynth_helpers.analysis import calibration
from nsynth_helpers.analysis.outcomes import logits_of, make_outcomes
from nsynth_helpers.analysis.statistics import wilson_interval
from nsynth_helpers.data.metadata import FAMILIES, LOGITS


def some_outcomes(notes=4000, scale=1.0, seed=0) -> pd.DataFrame:
    """Outcomes of logits whose softmax is the true distribution of the families, then multiplied by `scale`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, (notes, 10))
    probabilities = special.softmax(logits, axis=1)
    labels = (generator.random((notes, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    table = pd.DataFrame(scale * logits, columns=LOGITS)
    table["family"] = np.array(FAMILIES)[labels]
    table["note_str"] = [
        f"{family}_acoustic_{i % 999:03d}-{i // 999:03d}-100" for i, family in enumerate(table["family"])
    ]
    return make_outcomes(table)


HAND = pd.DataFrame({"probability": [0.1, 0.2, 0.3, 0.9, 1.0, 0.5], "correct": [False, True, False, True, True, False]})


def test_reliability_table_by_hand():
    table = calibration.reliability_table(HAND, bins=4)
    assert table["notes"].tolist() == [2, 1, 1, 2]
    assert table["probability"].to_numpy() == pytest.approx([0.15, 0.3, 0.5, 0.95])
    assert table["accuracy"].tolist() == [0.5, 0.0, 0.0, 1.0]
    assert table["high"][0] == pytest.approx(wilson_interval(1, 2).high)
    assert calibration.expected_calibration_error(HAND, bins=4) == pytest.approx((2 * 0.35 + 0.3 + 0.5 + 2 * 0.05) / 6)


def test_a_bin_without_notes_is_empty_and_does_not_count():
    table = calibration.reliability_table(HAND[:1], bins=2)
    assert table["notes"].tolist() == [1, 0] and np.isnan(table["accuracy"][1])
    assert calibration.expected_calibration_error(HAND[:1], bins=2) == pytest.approx(0.1)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_calibration_error_equals_torchmetrics(scale):
    outcomes = some_outcomes(scale=scale)
    ours = calibration.expected_calibration_error(outcomes)
    probabilities, labels = (
        torch.tensor(values) for values in (special.softmax(logits_of(outcomes), axis=1), outcomes["label"].to_numpy())
    )
    theirs = multiclass_calibration_error(probabilities, labels, 10, n_bins=15, norm="l1")
    assert ours == pytest.approx(float(theirs), abs=1e-5)
    assert (ours < 0.03) == (scale == 1.0)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_recovers_a_known_scale(scale):
    assert calibration.fit_temperature(some_outcomes(scale=scale)) == pytest.approx(scale, rel=0.06)


def test_temperature_changes_probabilities_but_no_prediction():
    outcomes = some_outcomes(scale=4.0)
    cooler = calibration.with_temperature(outcomes, 4.0)
    assert (cooler["predicted"] == outcomes["predicted"]).all()
    quarter = special.softmax(logits_of(outcomes) / 4, axis=1).max(axis=1)
    assert cooler["probability"].to_numpy() == pytest.approx(quarter)
    errors = [calibration.expected_calibration_error(table) for table in (outcomes, cooler)]
    assert errors[1] < errors[0] / 5
    assert calibration.fit_temperature(cooler) == pytest.approx(calibration.fit_temperature(outcomes) / 4, rel=1e-3)
