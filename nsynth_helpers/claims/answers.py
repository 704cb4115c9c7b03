"""The four discussion questions of the 2018 report, answered in words that the numbers choose."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from nsynth_helpers.analysis.statistics import FEWEST_VALUES, Interval, mean_difference
from nsynth_helpers.claims.sentences import (
    ABOUT_THE_SAME,
    compare_accuracies,
    compare_times,
    describe_confidence,
    describe_families,
    excludes_zero,
    percent,
    points,
)
from nsynth_helpers.training.runs import best_epoch


def answer_behaviour(confusions: Mapping[str, pd.DataFrame], outcomes: Mapping[str, pd.DataFrame]) -> str:
    """Answer the report's first question: what do the pictures tell about the classifiers?

    Parameters
    ----------
    confusions : mapping of str to pandas.DataFrame
        Confusion matrices by network, with the published ones.
    outcomes : mapping of str to pandas.DataFrame
        Judged test notes by network, where they are known.

    Returns
    -------
    str
        Markdown, one list item a network.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    items = []
    for network, confusion in confusions.items():
        confidence = f" {describe_confidence(network, outcomes[network])}" if network in outcomes else ""
        items.append(f"- {describe_families(network, confusion)}{confidence}")
    return "\n".join(items)


def answer_speed_and_accuracy(networks: pd.DataFrame, against_earlier: Mapping[str, Interval]) -> str:
    """Answer the report's second question: speed and accuracy, against the best network of the first project.

    Parameters
    ----------
    networks : pandas.DataFrame
        What `comparisons.networks_table` returns, with rows ``LSTM`` and ``BLSTM``.
    against_earlier : mapping of str to Interval
        From the names of two networks, "a, b", to accuracy of a minus accuracy of b.

    Returns
    -------
    str
        Markdown.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    seconds = networks["seconds_per_epoch"]
    speed = compare_times("LSTM", "BLSTM", seconds["LSTM"], seconds["BLSTM"])
    hours = networks["hours_2018"] * 3600
    published = compare_times("LSTM", "BLSTM", hours["LSTM"], hours["BLSTM"], "took")
    ranking = networks["accuracy"].sort_values(ascending=False, kind="stable")
    ranks = ", ".join(f"{network} {percent(accuracy)}" for network, accuracy in ranking.items())
    lines = [
        f"- **Speed.** In an epoch here {speed}; in 2018, over the whole training, {published}. The quickest network "
        f"here is the {seconds.idxmin()}, the slowest the {seconds.idxmax()}.",
        f"- **Accuracy here:** {ranks}.",
    ]
    for pair, difference in against_earlier.items():
        lines.append(f"- {compare_accuracies(*pair.split(', '), difference)}")
    return "\n".join(lines)


def answer_design(histories: Mapping[str, pd.DataFrame], temperatures: Mapping[str, float]) -> str:
    """Answer the report's third question as far as this notebook's curves go: what led to the results?

    Parameters
    ----------
    histories : mapping of str to pandas.DataFrame
        Histories by network.
    temperatures : mapping of str to float
        Temperatures fitted on valid, by network.

    Returns
    -------
    str
        Markdown, one list item a network.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    items = []
    for network, history in histories.items():
        last, lowest = history.iloc[-1], best_epoch(history)
        gap = last["train_accuracy"] - last["valid_accuracy"]
        rise = last["valid_loss"] - lowest["valid_loss"]
        fit = "overfits" if rise > 0 else "has not begun to overfit, as far as the valid loss tells"
        remedy = (
            f" Its valid notes ask for a temperature of {temperatures[network]:.1f}: it is over-confident."
            if temperatures.get(network, 1.0) > ABOUT_THE_SAME
            else ""
        )
        items.append(
            f"- **{network}** {fit}: the valid loss is lowest in epoch {lowest['epoch']:.0f} of {last['epoch']:.0f} "
            f"and {rise:.2f} higher at the end, where it is right on {percent(last['train_accuracy'])} of train and "
            f"{percent(last['valid_accuracy'])} of valid ({points(gap)} between them).{remedy}"
        )
    return "\n".join(items)


def answer_summary(
    seen: Mapping[str, tuple[pd.Series, pd.Series]], majority: tuple[str, float], networks: pd.DataFrame
) -> str:
    """Sum up: against guessing, on known and unknown instruments, and recurrent networks against the others.

    Parameters
    ----------
    seen : mapping of str to tuple of pandas.Series
        From network to what `analysis.accuracy_by_instrument` returns.
    majority : tuple of (str, float)
        What `comparisons.majority_accuracy` returns.
    networks : pandas.DataFrame
        What `comparisons.networks_table` returns.

    Returns
    -------
    str
        Markdown.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    family, share = majority
    above = [name for name, row in networks.iterrows() if row["low"] > share]
    lines = [
        f"- Always answering {family} would be right on {percent(share)}; "
        f"{_how_many(len(above), len(networks))} of the networks {'is' if len(above) == 1 else 'are'} better than that "
        "beyond chance."
    ]
    for network, (known, new) in seen.items():
        if min(len(known), len(new)) >= FEWEST_VALUES:
            gap = mean_difference(known, new)
            verdict = "the gap may be chance"
            if excludes_zero(gap.low, gap.high):
                verdict = f"it does {'better' if gap.estimate > 0 else 'worse'} on instruments that it knows"
            lines.append(
                f"- The {network} is right on {percent(known.mean())} of an instrument's notes if train has it, and on "
                f"{percent(new.mean())} if not, on average over instruments: {verdict} ({points(gap.estimate)}, "
                f"interval {points(gap.low)} to {points(gap.high)})."
            )
        else:
            lines.append(
                f"- Train has {len(known)} of the {len(known) + len(new)} test instruments: too few of one kind for "
                f"the {network} to be compared on both."
            )
    return "\n".join(lines)


def _how_many(count: int, total: int) -> str:
    return {0: "none", total: "all"}.get(count, str(count))
