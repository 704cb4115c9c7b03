"""Tables of the grid of ablations: means over seeds, differences from the 2018 networks, and what is still missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nsynth_helpers.analysis.statistics import FEWEST_VALUES, Difference, detectable_by_welch, mean_difference
from nsynth_helpers.claims.sentences import A_HAIR, excludes_zero, percent, points
from nsynth_helpers.data.metadata import FAMILIES, OFFICIAL_FAMILIES, OFFICIAL_FAMILY_NOTES, OFFICIAL_NOTES
from nsynth_helpers.settings import InputError
from nsynth_helpers.training.grid import GRID, KEY, MINI_DATA, REAL_DATA, Trial, environment_file, title_of, trials

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


def describe_machine(results: Path) -> str:
    """Where the last rows of the table of results were made, in a sentence; nothing where it was not made yet.

    Notes
    -----
    Used in: 05_ablations.
    """
    path = environment_file(results)
    if not path.is_file():
        return ""
    made = json.loads(path.read_text())
    on = made["gpu"] or f"{made['processor']}, {made['cpu_count']} cores"
    return (
        f"The last rows were made with PyTorch {made['torch']} on {on}; trainings side by side: {made['jobs']}, "
        f"threads of each: {made['torch_threads']}."
    )


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


def describe_missing(progress: pd.DataFrame, most: int = 8) -> str:
    """Say which trainings the table lacks: row by row where they are few, else how many on which data.

    Parameters
    ----------
    progress : pandas.DataFrame
        What `grid_progress` returns.
    most : int
        How many rows to name at most.

    Notes
    -----
    Used in: 05_ablations.
    """
    missing = progress[progress["missing"] > 0]
    if missing.empty:
        return "Nothing is missing."
    if len(missing) <= most:
        parts = [
            f"{row.variant} on {title_of(row.data)} ({row.missing} of {row.trainings})" for row in missing.itertuples()
        ]
    else:
        counts = missing.groupby("data", sort=False)["missing"].sum()
        parts = [f"{count} trainings on {title_of(data)}" for data, count in counts.items()]
    return f"Still missing: {'; '.join(parts)}. `make ablations` goes on with them."


def side_by_side(summary: pd.DataFrame, data: Sequence[str], group: str = "core") -> pd.DataFrame:
    """The rows of one group as text, one column for each data set: mean ± standard deviation, and seeds.

    Parameters
    ----------
    summary : pandas.DataFrame
        What `summarise_seeds` returns.
    data : sequence of str
        Names of the columns; a row that is not trained yet holds a dash.
    group : str
        Which rows.

    Notes
    -----
    Used in: 05_ablations.
    """
    order = [change.name for change in GRID if change.group == group]
    table = pd.DataFrame("–", index=pd.Index(order, name="variant"), columns=[title_of(name) for name in data])
    for row in summary[summary["group"] == group].itertuples():
        deviation = "" if np.isnan(row.deviation) else f" ± {percent(row.deviation)}"
        table.loc[row.variant, title_of(row.data)] = (
            f"{percent(row.mean)}{deviation} ({row.seeds} seed{'' if row.seeds == 1 else 's'})"
        )
    return table


def describe_floor(summary: pd.DataFrame, data: str) -> str:
    """Say which rows are no better than `ALWAYS` answering the most frequent family of test.

    Parameters
    ----------
    summary : pandas.DataFrame
        What `summarise_seeds` returns.
    data : str
        Which data.

    Notes
    -----
    Used in: 05_ablations.
    """
    family, share = ALWAYS[data]
    rows = summary[summary["data"] == data]
    low = rows[rows["mean"] <= share + A_HAIR]
    named = "; ".join(f"{row_name(row.group, row.variant)} ({percent(row.mean)})" for row in low.itertuples()) or "none"
    return (
        f"Always answering {family} would be right on {percent(share)} of the test notes of {title_of(data)}. Rows "
        f"whose mean is no higher: {named}."
    )


def describe_differences(differences: pd.DataFrame, data: str) -> str:
    """Say which changes are better or worse than the 2018 networks beyond their intervals, and what was detectable.

    Parameters
    ----------
    differences : pandas.DataFrame
        What `differences_from_baseline` returns.
    data : str
        Which data.

    Returns
    -------
    str
        Two or three sentences.

    Notes
    -----
    Used in: 05_ablations.
    """
    rows = differences[(differences["data"] == data) & differences["low"].notna()]
    if rows.empty:
        return f"On {title_of(data)} no change has two seeds and a baseline yet: run `make ablations`."
    better, worse = rows[rows["low"] > 0], rows[rows["high"] < 0]
    same = len(rows) - len(better) - len(worse)
    return (
        f"On {title_of(data)} the grid has {len(rows)} rows with an interval. Better than the 2018 network that "
        f"they are set against: "
        f"{_listed(better)}. Worse: {_listed(worse)}. The other {same} cannot be told apart from it. Half of the rows "
        f"could have shown a difference as small as {100 * rows['detectable'].median():.1f} points. By chance alone "
        f"about {0.05 * len(rows):.1f} of {len(rows)} such intervals (95 %) would leave out zero."
    )


def _listed(rows: pd.DataFrame) -> str:
    return "; ".join(row_name(row.group, row.variant) for row in rows.itertuples()) or "none"


def describe_difference(differences: pd.DataFrame, data: str, variant: str) -> str:
    """Say what one change gains or loses, and whether its interval leaves out zero.

    Notes
    -----
    Used in: 05_ablations.
    """
    rows = differences[(differences["data"] == data) & (differences["variant"] == variant)].dropna(subset="low")
    if rows.empty:
        return f"{variant} on {title_of(data)}: not measured yet, run `make ablations`."
    row = rows.iloc[0]
    sure = "more than chance among seeds explains"
    if not excludes_zero(row["low"], row["high"]):
        sure = "which chance among seeds alone could explain"
    return (
        f"{variant} on {title_of(data)}: {points(row['difference'])} against the {row['baseline']} after "
        f"{row['epochs']} epochs, {sure} (95 %: {points(row['low'])} to {points(row['high'])}, {row['seeds']} seeds)."
    )


def describe_detectable(differences: pd.DataFrame) -> str:
    """Say how small a difference the rows of each data set could have shown.

    Notes
    -----
    Used in: 05_ablations.
    """
    rows = differences.dropna(subset="detectable")
    if rows.empty:
        return "Not known yet, for no row has two seeds and a baseline: run `make ablations`."
    parts = [
        f"from {100 * sizes.min():.1f} to {100 * sizes.max():.1f} points on {title_of(data)} "
        f"(median {100 * sizes.median():.1f})"
        for data, sizes in rows.groupby("data")["detectable"]
    ]
    return f"The smallest difference that a row could have shown goes {', and '.join(parts)}."


def describe_agreement(differences: pd.DataFrame, a: str, b: str) -> str:
    """Say in how many of the rows that both data sets have the difference points the same way.

    Parameters
    ----------
    differences : pandas.DataFrame
        What `differences_from_baseline` returns.
    a, b : str
        The data sets.

    Notes
    -----
    Used in: 05_ablations.
    """
    sides = [differences[differences["data"] == data].dropna(subset="low") for data in (a, b)]
    both = pd.merge(*sides, on=["variant", "epochs"])
    if both.empty:
        return f"No row is measured on both {title_of(a)} and {title_of(b)} yet: run `make ablations`."
    same = both["difference_x"] * both["difference_y"] > 0
    apart = (both["low_x"] > 0) & (both["high_y"] < 0) | (both["high_x"] < 0) & (both["low_y"] > 0)
    clear = [excludes_zero(row.low_x, row.high_x) and excludes_zero(row.low_y, row.high_y) for row in both.itertuples()]
    contradictions = "; ".join(both.loc[apart, "variant"]) or "none"
    return (
        f"In {same.sum()} of the {len(both)} rows that were trained on both {title_of(a)} and {title_of(b)}, the "
        f"difference from the 2018 network points the same way; in {sum(clear)} of them both "
        f"intervals leave out zero. Rows whose two intervals contradict each other: {contradictions}."
    )
