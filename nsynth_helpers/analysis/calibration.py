"""Whether a network is right as often as it is sure: reliability, calibration error, temperature."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from nsynth_helpers.analysis.statistics import wilson_interval
from nsynth_helpers.settings import InputError

# A network that is right on every note has no finite best temperature; the search stays within these.
TEMPERATURES = (0.01, 100.0)


def reliability_table(probabilities, correct, bins: int = 15) -> pd.DataFrame:
    """How often the network is right at each level of the probability that it gives its prediction.

    Parameters
    ----------
    probabilities : array of float, shape (notes,)
        Probability of the predicted family, 0 to 1.
    correct : array of bool, shape (notes,)
        Whether the prediction is right.
    bins : int
        Bins of equal width; each holds its lower edge, the last one also 1.

    Returns
    -------
    pandas.DataFrame
        One row a bin: ``bin_low``, ``bin_high``, ``notes``, ``probability`` (mean in the bin), ``accuracy``, ``low``,
        ``high`` (Wilson interval of the accuracy); NaN where a bin has no notes.

    Raises
    ------
    InputError
        If the lengths differ, there are no notes, or a probability is not between 0 and 1.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    probabilities, correct = np.asarray(probabilities, dtype=float), np.asarray(correct, dtype=float)
    if probabilities.shape != correct.shape or not len(correct):
        raise InputError(f"{len(probabilities)} probabilities of {len(correct)} notes; give one for each, and some.")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise InputError("A probability lies outside 0 to 1; pass softmax probabilities rather than logits.")
    means, edges, _ = stats.binned_statistic(probabilities, [probabilities, correct], "mean", bins, (0, 1))
    totals, _, _ = stats.binned_statistic(probabilities, [np.ones_like(correct), correct], "sum", bins, (0, 1))
    interval = wilson_interval(totals[1], totals[0])
    table = pd.DataFrame({"bin_low": edges[:-1], "bin_high": edges[1:], "notes": totals[0].astype(int)})
    return table.assign(probability=means[0], accuracy=means[1], low=interval.low, high=interval.high)


def expected_calibration_error(probabilities, correct, bins: int = 15) -> float:
    """Mean gap between probability and accuracy over the bins of `reliability_table`, weighted by their notes.

    Notes
    -----
    Guo and others (2017), "On calibration of modern neural networks", eq. 3. Equals torchmetrics'
    ``MulticlassCalibrationError(norm="l1")`` unless a probability is exactly 1, for which torchmetrics opens a bin of
    its own. Used in: 04_result_analysis.
    """
    table = reliability_table(probabilities, correct, bins).dropna()
    return float(np.average((table["probability"] - table["accuracy"]).abs(), weights=table["notes"]))


def fit_temperature(logits, labels) -> float:
    """The temperature that makes logits fit the labels best; above 1 the network was over-confident.

    Parameters
    ----------
    logits : array of float, shape (notes, families)
        Logits on the valid split (never on test).
    labels : array of int, shape (notes,)
        True families as places in `notes.FAMILIES`; `InputError` unless there is one for each row.

    Notes
    -----
    Temperature scaling of Guo and others (2017), section 4.2: least negative log-likelihood, searched over the
    logarithm of the temperature from 0.01 to 100. Used in: 04_result_analysis.
    """
    logits, labels = np.asarray(logits, dtype=float), np.asarray(labels, dtype=int)
    if not len(labels) or len(labels) != len(logits):
        raise InputError(f"{len(logits)} rows of logits with {len(labels)} labels; give one each, and some notes.")
    rows = np.arange(len(labels))

    def negative_log_likelihood(log_temperature):
        return -special.log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean()

    found = optimize.minimize_scalar(negative_log_likelihood, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(found.x))
