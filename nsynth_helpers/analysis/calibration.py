"""Whether a network is right as often as it is sure: reliability, calibration error, temperature."""

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from nsynth_helpers.analysis.outcomes import logits_of, make_outcomes
from nsynth_helpers.analysis.statistics import wilson_interval
from nsynth_helpers.data.metadata import LOGITS


def reliability_table(outcomes: pd.DataFrame, bins: int = 15) -> pd.DataFrame:
    """How often the network is right at each level of the probability that it gives its prediction.

    One row for each of the bins of equal width, which hold their lower edge, the last one also 1: ``bin_low``,
    ``bin_high``, ``notes``, ``probability`` (mean in the bin), ``accuracy``, ``low``, ``high`` (Wilson interval of the
    accuracy); NaN where a bin has no notes.
    """
    probabilities, correct = outcomes["probability"], outcomes["correct"].astype(float)
    means, edges, _ = stats.binned_statistic(probabilities, [probabilities, correct], "mean", bins, (0, 1))
    totals, _, _ = stats.binned_statistic(probabilities, [np.ones_like(correct), correct], "sum", bins, (0, 1))
    interval = wilson_interval(totals[1], totals[0])
    table = pd.DataFrame({"bin_low": edges[:-1], "bin_high": edges[1:], "notes": totals[0].astype(int)})
    return table.assign(probability=means[0], accuracy=means[1], low=interval.low, high=interval.high)


def expected_calibration_error(outcomes: pd.DataFrame, bins: int = 15) -> float:
    """Mean gap between probability and accuracy over the bins of `reliability_table`, weighted by their notes.

    Guo and others (2017), "On calibration of modern neural networks", eq. 3. Equals torchmetrics'
    ``MulticlassCalibrationError(norm="l1")`` unless a probability is exactly 1, for which torchmetrics opens a bin of
    its own.
    """
    table = reliability_table(outcomes, bins).dropna()
    return float(np.average((table["probability"] - table["accuracy"]).abs(), weights=table["notes"]))


def fit_temperature(outcomes: pd.DataFrame) -> float:
    """The temperature that makes logits fit the families best; above 1 the network was over-confident.

    To be fitted on valid, never on test. Temperature scaling of Guo and others (2017), section 4.2: least negative
    log-likelihood, searched over the logarithm of the temperature from 0.01 to 100.
    """
    logits, labels = logits_of(outcomes), outcomes["label"].to_numpy()
    rows = np.arange(len(labels))

    def negative_log_likelihood(log_temperature):
        return -special.log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean()

    # A network that is right on every note has no finite best temperature.
    found = optimize.minimize_scalar(negative_log_likelihood, bounds=np.log([0.01, 100]), method="bounded")
    return float(np.exp(found.x))


def with_temperature(outcomes: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """The outcomes with every logit divided by a temperature: other probabilities, the same predictions."""
    return make_outcomes(outcomes.assign(**(outcomes[LOGITS].astype(np.float64) / temperature)))
