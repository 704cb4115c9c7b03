"""How sure a number is: intervals, tests between models, and what data could have detected."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from sklearn import metrics
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

from nsynth_helpers.settings import InputError

# The fewest values, be they of seeds or of instruments, that have a spread.
FEWEST_VALUES = 2


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval; floats, or arrays from `wilson_interval` of arrays."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """A difference a - b with its interval, the test's statistic and its two-sided p-value."""

    statistic: float
    p_value: float


def wilson_interval(correct, notes) -> Interval:
    """Wilson's score interval (1927) of an accuracy, as if the notes were independent.

    Numbers of correct and of all notes; arrays give arrays, no notes give NaN.
    Notes of one instrument resemble each other, so `clustered_bootstrap` is the honest interval for new instruments.

    Examples
    --------
    >>> round(wilson_interval(2656, 4096).low, 3)
    0.634
    """
    correct, notes = np.asarray(correct, dtype=float), np.asarray(notes, dtype=float)
    some = np.where(notes > 0, notes, np.nan)
    low, high = proportion_confint(correct, some, method="wilson")
    estimate = correct / some
    if estimate.ndim == 0:
        return Interval(float(estimate), float(low), float(high))
    return Interval(estimate, np.asarray(low), np.asarray(high))


def clustered_bootstrap(values, clusters, draws: int = 2000, seed: int = 0) -> Interval:
    """Percentile bootstrap of a mean over notes that resamples whole instruments.

    The cluster bootstrap of Davison and Hinkley (1997, section 3.8). Too narrow with few instruments (under about
    20): then `clustered_t_interval`. `clusters` are the notes' instruments; `InputError` for fewer than two of them.
    """
    values, codes, instruments = _by_instrument(values, clusters)
    sums, sizes = np.bincount(codes, weights=values), np.bincount(codes)
    # How often each instrument was drawn is all that a resample is, so one matrix product makes every mean.
    chances = np.full(instruments, 1 / instruments)
    drawn = np.random.default_rng(seed).multinomial(instruments, chances, size=draws)
    low, high = np.quantile(drawn @ sums / (drawn @ sizes), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def clustered_t_interval(values, clusters) -> Interval:
    """Interval of a mean over notes (parameters as in `clustered_bootstrap`) that stays honest with few instruments.

    Cluster-robust standard error and t quantile with one degree of freedom less than instruments (Cameron and Miller,
    2015).
    """
    values, codes, _ = _by_instrument(values, clusters)
    fit = OLS(values, np.ones_like(values)).fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
    low, high = fit.conf_int()[0]
    return Interval(float(values.mean()), float(low), float(high))


def _by_instrument(values, clusters) -> tuple[np.ndarray, np.ndarray, int]:
    """Values, the number of each value's instrument, and how many instruments there are: two or more."""
    values, (codes, names) = np.asarray(values, dtype=float), pd.factorize(np.asarray(clusters))
    if len(names) < FEWEST_VALUES:
        raise InputError(f"The notes come from {len(names)} instrument(s); an interval over them needs two or more.")
    return values, codes, len(names)


def clustered_difference(correct_a, correct_b, clusters) -> Interval:
    """Accuracy of model a minus that of model b on the same notes, by `clustered_bootstrap` (see there)."""
    difference = np.asarray(correct_a, dtype=float) - np.asarray(correct_b, dtype=float)
    return clustered_bootstrap(difference, clusters)


def mcnemar_test(correct_a, correct_b) -> float:
    """The p-value of McNemar's exact test (1947) that two models are equally often right on the same notes.

    Arrays of bool in the same order of notes. The test takes the notes as independent; where notes share an instrument
    its p-value is too small, and `clustered_difference` is the check.
    """
    table = metrics.confusion_matrix(correct_a, correct_b, labels=[True, False])
    return float(mcnemar(table, exact=True).pvalue)


def two_proportion_test(
    correct_a: int, notes_a: int, correct_b: int, notes_b: int, confidence: float = 0.95
) -> Difference:
    """Test two accuracies of which only the totals are known, as if each model had heard other notes.

    Pooled z-test and Newcombe's hybrid score interval. When both models in truth heard the same notes, as the published
    pair did, the test is too careful: `mcnemar_test` needs the notes, which were not published.
    """
    if correct_a + correct_b in (0, notes_a + notes_b):  # both all wrong or all right: the pooled z is 0 / 0
        statistic, p_value = 0.0, 1.0
    else:
        statistic, p_value = proportions_ztest([correct_a, correct_b], [notes_a, notes_b])
    low, high = confint_proportions_2indep(
        correct_a, notes_a, correct_b, notes_b, method="newcomb", compare="diff", alpha=1 - confidence
    )
    estimate = correct_a / notes_a - correct_b / notes_b
    return Difference(estimate, float(low), float(high), float(statistic), float(p_value))


def mean_difference(a, b, paired: bool = False, confidence: float = 0.95) -> Difference:
    """Mean of a minus mean of b over seeds, with a t interval.

    One value a seed; `paired` if a and b hold the same seeds in the same order (paired t-test), else Welch's t-test
    (1947). Two equal constants give p = 1.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)  # constant accuracies are handled below
        test = stats.ttest_rel(a, b) if paired else stats.ttest_ind(a, b, equal_var=False)
        low, high = test.confidence_interval(confidence)
    estimate = float(a.mean() - b.mean())
    if np.isnan(test.pvalue):
        return Difference(estimate, estimate, estimate, 0.0, 1.0)
    return Difference(estimate, float(low), float(high), float(test.statistic), float(test.pvalue))


def detectable_mean_difference(deviation: float, seeds: int) -> float:
    """The smallest mean of differences over seeds that a paired t-test at 5 % would have found with a power of 80 %.

    Cohen (1988), chapter 2. `deviation` is the standard deviation of the differences seed by seed.
    """
    return float(deviation * TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8))
