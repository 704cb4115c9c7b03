"""Calibration against hand-made tables, torchmetrics, and logits whose true scale is known."""

import numpy as np
import pytest
import torch
from scipy import special
from torchmetrics.functional.classification import multiclass_calibration_error

from nsynth_helpers.analysis import calibration
from nsynth_helpers.analysis.statistics import wilson_interval
from nsynth_helpers.settings import InputError


def some_logits(notes=4000, scale=1.0, seed=0):
    """Logits whose softmax is the true distribution of the labels, then multiplied by `scale`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, (notes, 10))
    probabilities = special.softmax(logits, axis=1)
    labels = (generator.random((notes, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return scale * logits, labels


def test_reliability_table_by_hand():
    table = calibration.reliability_table([0.1, 0.2, 0.3, 0.9, 1.0, 0.5], [0, 1, 0, 1, 1, 0], bins=4)
    assert table["notes"].tolist() == [2, 1, 1, 2]
    assert table["probability"].to_numpy() == pytest.approx([0.15, 0.3, 0.5, 0.95])
    assert table["accuracy"].tolist() == [0.5, 0.0, 0.0, 1.0]
    assert table["high"][0] == pytest.approx(wilson_interval(1, 2).high)
    error = calibration.expected_calibration_error([0.1, 0.2, 0.3, 0.9, 1.0, 0.5], [0, 1, 0, 1, 1, 0], bins=4)
    assert error == pytest.approx((2 * 0.35 + 0.3 + 0.5 + 2 * 0.05) / 6)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_calibration_error_equals_torchmetrics(scale):
    logits, labels = some_logits(scale=scale)
    probabilities = special.softmax(logits, axis=1)
    ours = calibration.expected_calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)
    theirs = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(labels), 10, n_bins=15, norm="l1")
    assert ours == pytest.approx(float(theirs), abs=1e-5)
    assert (ours < 0.03) == (scale == 1.0)


def test_reliability_refuses_logits_and_uneven_lengths():
    with pytest.raises(InputError, match="rather than logits"):
        calibration.reliability_table([1.2], [True])
    with pytest.raises(InputError, match="2 probabilities of 1 notes"):
        calibration.reliability_table([0.2, 0.3], [True])


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_recovers_a_known_scale(scale):
    logits, labels = some_logits(notes=4_000, scale=scale)
    temperature = calibration.fit_temperature(logits.astype(np.float32), labels)
    assert temperature == pytest.approx(scale, rel=0.06)


def test_temperature_lowers_the_calibration_error_and_keeps_the_predictions():
    logits, labels = some_logits(scale=4.0)
    before, after = (special.softmax(logits / value, axis=1) for value in (1, 4))
    correct = before.argmax(axis=1) == labels
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    errors = [calibration.expected_calibration_error(rows.max(axis=1), correct) for rows in (before, after)]
    assert errors[1] < errors[0] / 5


def test_temperature_needs_a_label_for_each_row():
    with pytest.raises(InputError, match="2 rows of logits with 1 labels"):
        calibration.fit_temperature(np.zeros((2, 10)), [1])
