"""Tables of the grid of ablations, and numbers as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from nsynth_helpers.analysis.statistics import (
    FEWEST_VALUES,
    Difference,
    detectable_by_welch,
    detectable_mean_difference,
    mean_difference,
    wilson_interval,
)
from nsynth_helpers.data.metadata import FAMILIES, OFFICIAL_FAMILIES, OFFICIAL_FAMILY_NOTES, OFFICIAL_NOTES
from nsynth_helpers.settings import InputError
from nsynth_helpers.training.grid import GRID, KEY, MINI_DATA, REAL_DATA, Trial, trials

ROW = ["data", "group", "variant", "epochs"]
# What scores without listening: the most frequent family of test, and its share of the notes.
ALWAYS = {
    MINI_DATA: ("one family", 1 / len(FAMILIES)),
    REAL_DATA: (
        OFFICIAL_FAMILIES[np.argmax(OFFICIAL_FAMILY_NOTES["test"])],
        max(OFFICIAL_FAMILY_NOTES["test"]) / OFFICIAL_NOTES["test"],
    ),
}
# Rows of these groups say by themselves what was changed.
NAMED_BY_THE_CHANGE = ("core", "baseline", "cell", "layers", "seconds", "shuffle", "level", "activation", "readout")
# More than the error of a float left just below a half, so that equal shares look equal.
A_HAIR = 1e-9


def percent(share: float) -> str:
    """A share of 1 as text: 0.648 is ``64.8 %``; halves go up, however the float came out; NaN is ``–``.

    Examples
    --------
    >>> percent(0.648)
    '64.8 %'
    """
    return "–" if np.isnan(share) else f"{100 * share + A_HAIR:.1f} %"


def points(difference: float) -> str:
    """A difference of shares as text, with its sign: 0.011 is ``+1.1 points``; NaN is ``–``."""
    return "–" if np.isnan(difference) else f"{100 * difference:+.1f} points".replace("-", "−")


def p_value(value: float) -> str:
    """A p-value as text: ``p = 0.034``, or ``p < 0.001``."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def duration(seconds: float) -> str:
    """Seconds as text in the unit that suits them: ``4.2 s``, ``12 min``, ``13 h 53 min``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def interval_text(interval, number: Callable[[float], str] = percent) -> str:
    """A value with its interval: ``64.8 % (63.4 % to 66.3 %)``, of whatever has ``estimate``, ``low`` and ``high``.

    `number` writes each of the three: `percent`, `points`, or a format of your own (``"{:.2f}".format``).
    """
    if np.isnan(interval.low):
        return number(interval.estimate)
    return f"{number(interval.estimate)} ({number(interval.low)} to {number(interval.high)})"


def baseline_of(variant: str) -> str:
    """The 2018 network that a change starts from.

    Notes
    -----
    Used in: 05_ablations.
    """
    return "2018 BLSTM" if "BLSTM" in variant else "2018 LSTM"


def compared_with(variant: str) -> str:
    """The 2018 network that a row is set against: `baseline_of` it, and of the 2018 BLSTM itself the 2018 LSTM.

    Notes
    -----
    Used in: 05_ablations.
    """
    return "2018 LSTM" if variant == "2018 BLSTM" else baseline_of(variant)


def row_name(group: str, variant: str) -> str:
    """What a reader calls a row: the variant, with its group where that says more."""
    return variant if group in NAMED_BY_THE_CHANGE else f"{group}: {variant}"


def over_seeds(results: pd.DataFrame, data: str, variant: str, epochs: int, column: str = "test_accuracy") -> pd.Series:
    """One value a seed of a row of the grid, in the order of the seeds; empty where nothing is trained yet.

    Parameters
    ----------
    results : pandas.DataFrame
        What `ablations.read_results` returns.
    data, change : str
        The data's name and the row's.
    epochs : int
        Epochs of the row: a 2018 network is trained for several numbers of them.
    column : str
        Which of the columns.

    Notes
    -----
    Used in: 05_ablations.
    """
    rows = results[(results["data"] == data) & (results["variant"] == variant) & (results["epochs"] == epochs)]
    if rows.empty:
        return pd.Series(dtype=float)
    return rows.drop_duplicates("seed").set_index("seed")[column].astype(float).dropna().sort_index()


class VariantComparison(NamedTuple):
    """A variant minus another over their common seeds; see `compare_variants`."""

    estimate: float
    low: float
    high: float
    seeds: int
    probability_of_improvement: float
    variant_learnt: bool
    baseline_learnt: bool
    detectable: float


def compare_variants(
    results: pd.DataFrame,
    data: str,
    variant: str,
    baseline: str,
    epochs: int,
    column: str = "test_accuracy",
    confidence: float = 0.95,
) -> VariantComparison:
    """Mean difference of two variants over the seeds that both have, paired seed by seed.

    Parameters
    ----------
    results : pandas.DataFrame
        What `training.grid.read_results` returns.
    epochs : int
        Of both.
    column : str
        What is compared; a ratio of times, for example, as a column of their logarithms.

    Returns
    -------
    VariantComparison
        ``estimate`` (variant minus baseline) with its paired t interval, the number of common ``seeds``,
        ``probability_of_improvement`` (share of the seeds in which the variant is higher, ties counting half;
        Bouthillier et al., 2021), whether each has `learnt`, and the true difference that so many seeds would have
        found in four of five grids (``detectable``). Below two common seeds the interval is NaN; without one, all is.
    """
    values, others = (over_seeds(results, data, name, epochs, column) for name in (variant, baseline))
    values, others = values.align(others, join="inner")
    gains = values - others
    low = high = detectable = np.nan
    if len(gains) >= FEWEST_VALUES:
        interval = mean_difference(values, others, paired=True, confidence=confidence)
        low, high = interval.low, interval.high
        detectable = detectable_mean_difference(gains.std(), len(gains), paired=True, alpha=1 - confidence)
    improved = (gains > 0).mean() + (gains == 0).mean() / 2
    split = "train" if column.startswith("train") else "test"
    both_learnt = (learnt(results, data, name, epochs, split) for name in (variant, baseline))
    return VariantComparison(gains.mean(), low, high, len(gains), improved, *both_learnt, detectable)


def learnt(results: pd.DataFrame, data: str, variant: str, epochs: int, split: str = "test") -> bool:
    """Whether a variant beats the floor by more than chance among the notes of a split explains.

    The floor on ``test`` is the share of its most frequent family (`ALWAYS`); on ``train``, whose families are of
    about one size, a tenth. The mean accuracy over seeds beats it if Wilson's interval of 95 %, for the notes of one
    split, lies above it.
    """
    accuracy, notes = (
        over_seeds(results, data, variant, epochs, f"{split}_{column}").mean() for column in ("accuracy", "notes")
    )
    floor = ALWAYS[data][1] if split == "test" else 1 / len(FAMILIES)
    return bool(wilson_interval(accuracy * notes, notes).low > floor)


def compare_seeds(a: pd.Series, b: pd.Series, confidence: float = 0.95) -> tuple[Difference, float]:
    """Mean of a minus mean of b over seeds (Welch), and the difference that so many seeds could have detected.

    Raises
    ------
    InputError
        If one of them has fewer than two seeds.

    Notes
    -----
    Not paired by seed: the same seed gives two different networks no common fate. Used in: 05_ablations.
    """
    difference = mean_difference(a, b, confidence=confidence)
    return difference, detectable_by_welch(a, b, alpha=1 - confidence)


def summarise_seeds(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds of each row of the grid, by data and in the grid's order.

    Parameters
    ----------
    results : pandas.DataFrame
        What `ablations.read_results` returns.

    Returns
    -------
    pandas.DataFrame
        ``data, group, variant, epochs, seeds``, ``mean`` and ``deviation`` of the test accuracy (fractions; NaN
        deviation for one seed), mean ``train_accuracy``, ``parameters`` and ``seconds`` of training.

    Notes
    -----
    Used in: 05_ablations.
    """
    columns = [*ROW, "seeds", "mean", "deviation", "train_accuracy", "parameters", "seconds"]
    if results.empty:
        return pd.DataFrame(columns=columns)
    table = results.groupby(ROW, as_index=False, sort=False).agg(
        seeds=("seed", "nunique"),
        mean=("test_accuracy", "mean"),
        deviation=("test_accuracy", "std"),
        train_accuracy=("train_accuracy", "mean"),
        parameters=("parameters", "first"),
        seconds=("seconds", "mean"),
    )
    order = {(change.group, change.name): place for place, change in enumerate(GRID)}
    places = [order.get((row.group, row.variant), len(order)) for row in table.itertuples()]
    return table.assign(place=places).sort_values(["data", "place"], kind="stable", ignore_index=True)[columns]


def differences_from_baseline(results: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of each row minus that of its 2018 network with the same data and epochs.

    Parameters
    ----------
    results : pandas.DataFrame
        What `ablations.read_results` returns.

    Returns
    -------
    pandas.DataFrame
        ``data, group, variant, epochs, baseline, seeds, difference, low, high, detectable`` (fractions), without the
        2018 networks themselves; NaN where a side has fewer than two seeds.

    Notes
    -----
    Welch's intervals of 95 % by `compare_seeds`. Used in: 05_ablations.
    """
    rows = []
    for row in summarise_seeds(results).itertuples():
        baseline = compared_with(row.variant)
        if row.variant == baseline:
            continue
        values, others = (over_seeds(results, row.data, name, row.epochs) for name in (row.variant, baseline))
        difference = low = high = detectable = np.nan
        if min(len(values), len(others)) >= FEWEST_VALUES:
            found, detectable = compare_seeds(values, others)
            difference, low, high = found.estimate, found.low, found.high
        elif len(values) and len(others):
            difference = values.mean() - others.mean()
        rows.append((*row[1:5], baseline, len(values), difference, low, high, detectable))
    columns = [*ROW, "baseline", "seeds", "difference", "low", "high", "detectable"]
    return pd.DataFrame(rows, columns=columns)


def grid_progress(results: pd.DataFrame, grid: Sequence[Trial] | None = None) -> pd.DataFrame:
    """How many trainings of the grid are in the table, by row and data, and how many seeds are still missing.

    Parameters
    ----------
    results : pandas.DataFrame
        What `ablations.read_results` returns.
    grid : sequence of Trial, optional
        The grid; the whole one by default.

    Returns
    -------
    pandas.DataFrame
        ``data, group, variant, epochs, trainings, done, missing``, in the grid's order.

    Notes
    -----
    Used in: 05_ablations.
    """
    grid = trials() if grid is None else grid
    if not grid:
        raise InputError("The grid has no cells; name at least one variant, seed and data.")
    done = {tuple(record) for record in results[KEY].itertuples(index=False)}
    wanted = pd.DataFrame([cell.key for cell in grid])
    wanted["done"] = [tuple(cell.key.values()) in done for cell in grid]
    table = wanted.groupby(ROW, as_index=False, sort=False).agg(trainings=("seed", "size"), done=("done", "sum"))
    return table.assign(missing=table["trainings"] - table["done"])
