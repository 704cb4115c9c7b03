"""Sentences about results, their words chosen by the numbers that they cite."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nsynth_helpers.analysis.outcomes import normalise_rows, scores_of_confusion
from nsynth_helpers.analysis.statistics import Interval, McNemar

SIGNIFICANCE = 0.05
# Two times closer than this factor are called about the same: machines are no more steady than that.
ABOUT_THE_SAME = 1.1
# Lifts a half that a float left just below, so that equal shares look equal.
A_HAIR = 1e-9
# Mean probability and accuracy that are closer than this agree.
ABOUT_AS_SURE = 0.02
EXTREME_FAMILIES = 3


def percent(share: float) -> str:
    """A share of 1 as text: 0.648 is ``64.8 %``; halves go up, however the float came out; NaN is ``–``."""
    return "–" if np.isnan(share) else f"{100 * share + A_HAIR:.1f} %"


def points(difference: float) -> str:
    """A difference of shares as text, with its sign: 0.011 is ``+1.1 points``."""
    return f"{100 * difference:+.1f} points".replace("-", "−")


def p_value(value: float) -> str:
    """A p-value as text: ``p = 0.034``, or ``p < 0.001``."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def range_of(interval) -> str:
    """An interval of shares, or anything with ``low`` and ``high``, as text: ``60.1 % to 68.8 %``."""
    return f"{percent(interval.low)} to {percent(interval.high)}"


def excludes_zero(low: float, high: float) -> bool:
    """Whether an interval lies on one side of zero; an interval of NaN does not."""
    return bool(low > 0 or high < 0)


def compare_accuracies(a: str, b: str, difference: Interval) -> str:
    """Say which of two networks is right more often, if the interval of a minus b tells.

    Parameters
    ----------
    a, b : str
        Names of the networks.
    difference : Interval
        Accuracy of a minus accuracy of b, with its interval.

    Returns
    -------
    str
        One sentence.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    interval = f"{points(difference.estimate)}, interval {points(difference.low)} to {points(difference.high)}"
    if not excludes_zero(difference.low, difference.high):
        return f"The {a} and the {b} cannot be told apart by accuracy ({a} minus {b}: {interval})."
    better, worse = (a, b) if difference.estimate > 0 else (b, a)
    return f"The {better} is right more often than the {worse} ({a} minus {b}: {interval})."


def compare_on_same_notes(a: str, b: str, test: McNemar) -> str:
    """Say what McNemar's test finds on the notes that two networks both heard.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    counts = (
        f"of {test.both + test.only_a + test.only_b + test.neither:,} notes both are right on {test.both:,}, only the "
        f"{a} on {test.only_a:,}, only the {b} on {test.only_b:,}, neither on {test.neither:,}"
    )
    verdict = "a significant difference" if test.p_value < SIGNIFICANCE else "no significant difference"
    return f"McNemar's test finds {verdict} between {a} and {b} ({p_value(test.p_value)}): {counts}."


def compare_times(a: str, b: str, seconds_a: float, seconds_b: float, takes: str = "takes") -> str:
    """Say how much longer one network takes, or ``took``, than the other.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    ratio = seconds_b / seconds_a
    times = f"({duration(seconds_b)} against {duration(seconds_a)})"
    if 1 / ABOUT_THE_SAME < ratio < ABOUT_THE_SAME:
        return f"the {b} {takes} about as long as the {a} {times}"
    if ratio > 1:
        return f"the {b} {takes} {ratio:.1f} times as long as the {a} {times}"
    return f"the {b} {takes} only {ratio:.2f} of the time of the {a} {times}"


def duration(seconds: float) -> str:
    """Seconds as text in the unit that suits them: ``4.2 s``, ``12 min``, ``13 h 53 min``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def describe_families(network: str, confusion: pd.DataFrame) -> str:
    """Say which families a network finds best and worst, and what it mixes up most.

    Parameters
    ----------
    network : str
        Its name.
    confusion : pandas.DataFrame [shape=(10, 10)]
        Counts, rows actual, columns predicted: ours, or a published one.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    recall = scores_of_confusion(confusion)["recall"].dropna().sort_values(ascending=False, kind="stable")
    # Few families may be present in a small data folder; then none is named twice.
    shown = min(EXTREME_FAMILIES, len(recall) // 2)
    if shown == 0:
        return f"The {network} was tested on fewer than two families."
    best, worst = (_list_shares(part) for part in (recall.head(shown), recall.tail(shown)[::-1]))
    return f"The {network} finds {best} best, and {worst} worst. {_worst_confusion(confusion)}"


def _list_shares(recall: pd.Series) -> str:
    named = [f"{family} ({percent(share)})" for family, share in recall.items()]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _worst_confusion(confusion: pd.DataFrame) -> str:
    errors = confusion.where(~np.eye(len(confusion), dtype=bool), 0)
    if not errors.to_numpy().any():
        return "It confuses no two families."
    shares = normalise_rows(confusion).where(errors > 0, 0).stack()
    actual, predicted = shares.idxmax()
    return (
        f"Its most frequent confusion, as a share of the family, is {actual} taken for {predicted}: "
        f"{errors.loc[actual, predicted]:,} of {confusion.loc[actual].sum():,} notes."
    )


def describe_mixed_pair(network: str, confusion: pd.DataFrame, a: str, b: str) -> str:
    """Say how often two families are taken for each other, and how often for something else.

    Notes
    -----
    Used in: 04_result_analysis, on the 2018 report's "similar looking" keyboard and brass.
    """
    each_other = confusion.loc[a, b] + confusion.loc[b, a]
    wrong = confusion.loc[[a, b]].to_numpy().sum() - confusion.loc[a, a] - confusion.loc[b, b]
    return f"The {network} takes {a} and {b} for each other in {each_other:,} of its {wrong:,} errors on the two"


def describe_confidence(network: str, outcomes: pd.DataFrame) -> str:
    """Say how sure a network is when it is right, and when it is wrong.

    Parameters
    ----------
    network : str
        Its name.
    outcomes : pandas.DataFrame
        What `analysis.make_outcomes` returns.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    right, wrong = (outcomes.loc[outcomes["correct"] == state, "probability"].median() for state in (True, False))
    mean, accuracy = outcomes["probability"].mean(), outcomes["correct"].mean()
    tendency = "about as sure as right"
    if abs(mean - accuracy) > ABOUT_AS_SURE:
        tendency = "more sure than right" if mean > accuracy else "less sure than right"
    return (
        f"The {network} gives its answer a median probability of {percent(right)} when it is right and of "
        f"{percent(wrong)} when it is wrong; on average {percent(mean)}, at an accuracy of {percent(accuracy)}: it is "
        f"{tendency}."
    )


def describe_calibration(network: str, before: float, after: float, temperature: float) -> str:
    """Say what temperature scaling, fitted on valid, did to the calibration on test.

    Parameters
    ----------
    network : str
        Its name.
    before, after : float
        Expected calibration error on test without and with the temperature.
    temperature : float
        Fitted on valid.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    if temperature > ABOUT_THE_SAME:
        finding = "valid calls the network over-confident"
    elif temperature < 1 / ABOUT_THE_SAME:
        finding = "valid calls the network under-confident"
    else:
        finding = "valid finds the network about as confident as it should be"
    effect = "falls" if after < before else "does not fall"
    return (
        f"**{network}:** the temperature is {temperature:.2f}, so {finding}; on test the expected calibration error "
        f"{effect} ({percent(before)} before, {percent(after)} after)."
    )


def describe_parting(network: str, best: pd.Series, last: pd.Series) -> str:
    """Say how much of the rise of the test loss, from the best to the last model, was over-confidence.

    Parameters
    ----------
    network : str
        Its name.
    best, last : pandas.Series
        Rows of `comparisons.calibration_table`.

    Notes
    -----
    Over-confidence is what temperature scaling takes away. Used in: 04_result_analysis.
    """
    rise, left = last["loss_before"] - best["loss_before"], last["loss_after"] - best["loss_after"]
    if rise <= 0:
        reading = "there is no rise to explain"
    elif left <= 0:
        reading = "all of the rise was over-confidence"
    else:
        reading = f"{percent(max(0.0, 1 - left / rise))} of the rise was over-confidence"
    return (
        f"**{network}:** from the best to the last model, the test loss goes from {best['loss_before']:.2f} to "
        f"{last['loss_before']:.2f} as it is, and from {best['loss_after']:.2f} to {last['loss_after']:.2f} after "
        f"temperature scaling: {reading}."
    )


def describe_change(network: str, change: pd.Series, confidence: float = 0.95) -> str:
    """Say whether reversing the notes in time changes how often one family is taken for another.

    Parameters
    ----------
    network : str
        Its name.
    change : pandas.Series
        A row of `analysis.confusion_changes`.
    confidence : float
        Of its interval.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    pair = f"takes {change['actual']} for {change['predicted']}"
    rates = (
        f"{percent(change['rate'])} of the {change['notes']} notes forward, {percent(change['rate_other'])} reversed"
    )
    if np.isnan(change["low"]):
        return f"The {network} {pair} in {rates}; a single instrument allows no interval."
    if change["low"] == change["high"] == 0:
        return f"The {network} {pair} in {rates}: not one note changes."
    interval = f"{100 * confidence:.4g} % interval {points(change['low'])} to {points(change['high'])}"
    if not excludes_zero(change["low"], change["high"]):
        return f"The {network} {pair} in {rates}: a change that these notes cannot tell from none ({interval})."
    word = "more" if change["difference"] > 0 else "less"
    return f"The {network} {pair} in {rates}: {word} often when reversed ({interval})."


def describe_rules(network: str, rules: pd.DataFrame) -> str:
    """Say whether the last epoch beats the one of the lowest valid loss, and whether accuracy parted from loss.

    Parameters
    ----------
    network : str
        Its name.
    rules : pandas.DataFrame
        What `checkpoints.checkpoint_rules` returns, with ``test_accuracy`` where it is known.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    table = rules.set_index("rule")
    best, last = table.loc["lowest valid loss"], table.loc["last"]
    split = "test" if "test_accuracy" in table else "valid"
    gain = last[f"{split}_accuracy"] - best[f"{split}_accuracy"]
    if best["epoch"] == last["epoch"]:
        return f"**{network}:** the last epoch ({last['epoch']:.0f}) has the lowest valid loss, so the two agree."
    verdict = "is right more often than" if gain > 0 else "is not right more often than"
    parted = "although" if gain > 0 and last["valid_loss"] > best["valid_loss"] else "while"
    return (
        f"**{network}:** the last epoch ({last['epoch']:.0f}) {verdict} the one of the lowest valid loss "
        f"({best['epoch']:.0f}) on these {split} notes, {percent(last[f'{split}_accuracy'])} against "
        f"{percent(best[f'{split}_accuracy'])}, {parted} the valid loss went from {best['valid_loss']:.2f} to "
        f"{last['valid_loss']:.2f}."
    )


def in_percent(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The table with its columns of shares (all columns by default) as text.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    shown = table.copy()
    for column in columns or table.columns:
        # A space that does not break keeps narrow columns on one line.
        shown[column] = [percent(share).replace(" ", "\N{NO-BREAK SPACE}") for share in table[column]]
    return shown
