"""What the report's claims are judged by: each measure takes the evidence and gives estimates, by data and by part."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from nsynth_helpers.analysis import (
    Interval,
    agreement,
    clustered_difference,
    clustered_t_interval,
    confusion_matrix,
    learnt,
    majority_share,
    make_outcomes,
    mean_difference,
    over_seeds,
    run_outcomes,
    scores_of_confusion,
    two_proportion_test,
    wilson_interval,
)
from nsynth_helpers.analysis.statistics import FEWEST_VALUES
from nsynth_helpers.claims import published
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import FAMILIES, OFFICIAL_NOTES
from nsynth_helpers.settings import Settings
from nsynth_helpers.training.grid import DATA_TITLES
from nsynth_helpers.training.predict import predict
from nsynth_helpers.training.runs import Run

PUBLISHED, BENCH = "2018 report", "bench"
# How far the published valid losses can be off, in nats (`curves_from` in the report's facts).
READING_ERROR = {"lstm": 0.05, "blstm": 0.005}


@dataclass(frozen=True)
class Evidence:
    """All that is measured here: the grid's table, outcomes of our runs by network, pairs of epochs timed in turn."""

    grid: pd.DataFrame
    data: str = ""
    outcomes: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    backwards: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    train_instruments: frozenset[str] = frozenset()
    epoch_pairs: pd.DataFrame | None = None


@dataclass(frozen=True)
class Estimate:
    """A number with its interval (NaN where nothing tells its spread), in `unit`.

    ``n`` counts what the interval rests on (``of``: seeds, notes, instruments), ``trainings`` those of each arm (None
    where a claim is about the very networks that were published); ``learnt`` says which arms beat the floor,
    ``balanced`` is the estimate in balanced accuracy.
    """

    data: str
    estimate: float
    low: float
    high: float
    unit: str
    n: int
    of: str
    trainings: int | None = None
    learnt: Mapping[str, bool] = field(default_factory=dict)
    balanced: float = np.nan
    part: str = ""


def gather_evidence(
    grid: pd.DataFrame, runs: Mapping[str, Run], splits: Mapping[str, NSynthSplit], settings: Settings
) -> Evidence:
    """The grid's table, what our runs say of the test notes, and ``results/bench/epoch_pairs.csv`` if it is there.

    Runs that were trained on other data than those at hand are left out. The file of pairs has the columns ``lstm``
    and ``blstm``: seconds of an epoch, one row a pair.
    """
    runs = {run.config.network: run for run in runs.values() if run.record["data"]["name"] == settings.data_name}
    backwards, pairs = {}, settings.results / "bench" / "epoch_pairs.csv"
    if run := runs.get("blstm"):
        notes = run.config.frames(splits["test"], reverse=True)
        backwards = {"blstm": make_outcomes(predict(run.load_network(), notes, settings.device))}
    outcomes = {network: run_outcomes(run, splits, settings) for network, run in runs.items()}
    instruments = frozenset(splits["train"].notes["instrument"])
    timed = pd.read_csv(pairs) if pairs.is_file() else None
    return Evidence(grid, settings.data_name, outcomes, backwards, instruments, timed)


def variant_difference(evidence: Evidence, variants: tuple[str, ...], baseline: str, epochs: int) -> Iterator[Estimate]:
    """Test accuracy of each variant of the grid minus that of a baseline, paired seed by seed."""
    for data in DATA_TITLES:
        for variant in variants:
            gains = _gains(evidence, data, variant, baseline, epochs)
            part = variant if len(variants) > 1 else ""
            yield from _over_seeds(evidence, data, gains, {variant: epochs, baseline: epochs}, len(variants), part)


def gain_lead(evidence: Evidence, gain: tuple[str, str, int], rivals: Mapping[str, tuple]) -> Iterator[Estimate]:
    """How much more one change gains than each rival, seed by seed; a change is (variant, baseline, epochs)."""
    for data in DATA_TITLES:
        for name, rival in rivals.items():
            lead = _gains(evidence, data, *gain) - _gains(evidence, data, *rival)
            arms = {arm: epochs for variant, baseline, epochs in (rival, gain) for arm in (variant, baseline)}
            yield from _over_seeds(evidence, data, lead, arms, len(rivals), name)


def accuracy_above_floor(evidence: Evidence, variant: str, reference: str, epochs: int) -> Iterator[Estimate]:
    """Test accuracy of a variant minus the share of the most frequent family; `reference` shows what can be learnt."""
    for data in DATA_TITLES:
        surplus = over_seeds(evidence.grid, data, variant, epochs) - majority_share(data)
        yield from _over_seeds(evidence, data, surplus, {variant: epochs, reference: epochs})


def last_minus_best(evidence: Evidence, variant: str, epochs: int) -> Iterator[Estimate]:
    """Test accuracy of the last epoch minus that of the epoch with the lowest valid loss, paired seed by seed."""
    columns = ("test_accuracy", "best_test_accuracy")
    for data in DATA_TITLES:
        last, best = (over_seeds(evidence.grid, data, variant, epochs, column) for column in columns)
        # Where the last epoch is the best one with every seed, the rules name one model: nothing is compared.
        if not last.equals(best):
            yield from _over_seeds(evidence, data, last - best, {variant: epochs})


def run_difference(evidence: Evidence, network: str, other: str) -> Iterator[Estimate]:
    """Test accuracy of one of our runs minus that of another on the same notes, whole instruments resampled."""
    if {network, other} <= evidence.outcomes.keys():
        both = [evidence.outcomes[name] for name in (network, other)]
        notes = agreement(*both)
        interval = clustered_difference(notes["correct_a"], notes["correct_b"], notes["instrument"])
        recalls = [scores_of_confusion(confusion_matrix(outcomes))["recall"].mean() for outcomes in both]
        balanced = 100 * (recalls[0] - recalls[1])
        yield _of_run(evidence, interval, len(notes), "notes", (network, other), balanced)


def known_minus_new(evidence: Evidence, network: str) -> Iterator[Estimate]:
    """Accuracy on test instruments that train has minus that on new ones (Welch, over instruments)."""
    if network in evidence.outcomes:
        accuracy = evidence.outcomes[network].groupby("instrument")["correct"].mean()
        known = accuracy.index.isin(evidence.train_instruments)
        if min(known.sum(), (~known).sum()) >= FEWEST_VALUES:
            interval = mean_difference(accuracy[known], accuracy[~known])
            yield _of_run(evidence, interval, len(accuracy), "instruments", (network,))


def taken_for_backwards(evidence: Evidence, network: str, actual: str, predicted: str) -> Iterator[Estimate]:
    """Share of a family that a network takes for another one backwards, minus that forwards."""
    if network in evidence.backwards:
        notes = agreement(evidence.outcomes[network], evidence.backwards[network]).query("family == @actual")
        change = (notes["predicted_b"] == predicted).astype(float) - (notes["predicted_a"] == predicted)
        instruments = notes["instrument"].nunique()
        low = high = np.nan
        if instruments >= FEWEST_VALUES:
            found = clustered_t_interval(change, notes["instrument"])
            if not np.isclose(found.low, found.high):  # instruments that all change alike tell no spread
                low, high = max(found.low, -1.0), min(found.high, 1.0)
        if instruments:
            interval = Interval(change.mean(), low, high)
            yield _of_run(evidence, interval, instruments, "instruments", (network,))


def time_ratio(evidence: Evidence) -> Iterator[Estimate]:
    """Time of the BLSTM over the LSTM's: as published, once; and by the bench in pairs (t interval of logarithms)."""
    ratio = published.training_seconds("blstm") / published.training_seconds("lstm")
    yield Estimate(PUBLISHED, ratio, np.nan, np.nan, "times", 1, "trainings")
    if evidence.epoch_pairs is not None:
        ratios = np.log(evidence.epoch_pairs["blstm"] / evidence.epoch_pairs["lstm"])
        interval, pairs = _mean(ratios), len(ratios)
        ends = np.exp([interval.estimate, interval.low, interval.high])
        yield Estimate(BENCH, *map(float, ends), "times", pairs, "pairs", trainings=pairs)


def late_minus_early_loss(evidence: Evidence, network: str, epoch: int) -> Iterator[Estimate]:
    """Lowest published valid loss after an epoch minus the lowest up to it; its ends are what the picture allows."""
    losses, error = published.history(network)["valid_loss"], 2 * READING_ERROR[network]
    rise = losses[epoch:].min() - losses[:epoch].min()
    yield Estimate(PUBLISHED, rise, rise - error, rise + error, "nats", len(losses), "epochs")


def published_last_minus_best(evidence: Evidence) -> Iterator[Estimate]:
    """Valid accuracy of the last epoch minus that of the epoch with the lowest valid loss, on the published curves."""
    for network in published.RECURRENT_NETWORKS:
        history, notes = published.history(network), OFFICIAL_NOTES["valid"]
        epochs = history.iloc[[-1, history["valid_loss"].argmin()]]
        last, best = (round(accuracy * notes) for accuracy in epochs["valid_accuracy"])
        yield _of_totals(last, notes, best, notes, among=2, part=network.upper())


def published_p_value(evidence: Evidence) -> Iterator[Estimate]:
    """The p-value of a two-proportion test of the published totals of LSTM and BLSTM."""
    notes = published.read_report()["test_notes"]
    lstm, blstm = (published.correct_notes(network) for network in published.RECURRENT_NETWORKS)
    p = two_proportion_test(lstm, notes, blstm, notes).p_value
    yield Estimate(PUBLISHED, p, p, p, "p", notes, "independent notes")


def published_differences(evidence: Evidence) -> Iterator[Estimate]:
    """Published test accuracy of each recurrent network minus that of each earlier one."""
    notes = published.read_report()["test_notes"]
    for network in published.RECURRENT_NETWORKS:
        for other in published.EARLIER_NETWORKS:
            correct, others = (round(published.accuracy(name) * notes) for name in (network, other))
            yield _of_totals(
                correct, notes, others, notes, among=4, part=f"{network.upper()} minus {other.replace('_', ' ')}"
            )


def recall_minus_rest(evidence: Evidence, network: str, families: tuple[str, ...]) -> Iterator[Estimate]:
    """Published recall of each named family minus that of all families that are not named."""
    scores = scores_of_confusion(published.confusion_matrix(network))[["correct", "notes"]]
    for family in families:
        yield _of_totals(*scores.loc[family], *scores.drop(list(families)).sum(), among=len(families), part=family)


def recall_minus_other(evidence: Evidence, network: str, other: str, families: tuple[str, ...]) -> Iterator[Estimate]:
    """Published recall of each named family by one network minus that by the other."""
    ours, others = (scores_of_confusion(published.confusion_matrix(name)) for name in (network, other))
    for family in families:
        counts = [*ours.loc[family, ["correct", "notes"]], *others.loc[family, ["correct", "notes"]]]
        yield _of_totals(*counts, among=len(families), part=family)


def taken_for(evidence: Evidence, network: str, other: str, actual: str, predicted: str) -> Iterator[Estimate]:
    """Published share of a family that a network takes for another one, minus the other network's share.

    Bonferroni's interval for all pairs of families: the report found this pair in the very matrices.
    """
    rows = (published.confusion_matrix(name).loc[actual] for name in (network, other))
    counts = [count for row in rows for count in (row[predicted], row.sum())]
    yield _of_totals(*counts, among=len(FAMILIES) * (len(FAMILIES) - 1))


def share_mixed_up(evidence: Evidence, network: str, pair: tuple[str, str]) -> Iterator[Estimate]:
    """Of the published errors on two families, the percentage in which one is taken for the other."""
    confusion = published.confusion_matrix(network).loc[list(pair)]
    right = sum(confusion.loc[family, family] for family in pair)
    each_other, errors = (table.to_numpy().sum() - right for table in (confusion[list(pair)], confusion))
    yield Estimate(
        PUBLISHED, *_hundredfold(wilson_interval(each_other, errors)), "%", int(errors), "independent errors"
    )


def _gains(evidence: Evidence, data: str, variant: str, baseline: str, epochs: int) -> pd.Series:
    return over_seeds(evidence.grid, data, variant, epochs) - over_seeds(evidence.grid, data, baseline, epochs)


def _over_seeds(
    evidence: Evidence, data: str, values: pd.Series, arms: Mapping[str, int], among: int = 1, part: str = ""
) -> Iterator[Estimate]:
    """One value a seed, where there are any; `arms` goes from the variants behind them to their epochs."""
    if seeds := values.count():
        flags = {arm: learnt(evidence.grid, data, arm, epochs) for arm, epochs in arms.items()}
        interval = _hundredfold(_mean(values.dropna(), among))
        yield Estimate(DATA_TITLES[data], *interval, "points", seeds, "seeds", seeds, flags, part=part)


def _of_totals(correct: int, notes: int, others: int, all_others: int, among: int, part: str = "") -> Estimate:
    interval = two_proportion_test(correct, notes, others, all_others, 1 - 0.05 / among)
    return Estimate(PUBLISHED, *_hundredfold(interval), "points", int(notes), "independent notes", part=part)


def _of_run(evidence: Evidence, interval, n: int, of: str, networks: tuple, balanced: float = np.nan) -> Estimate:
    """With whether each run beats the share of the most frequent family, as `analysis.tables.learnt` does."""
    flags = {}
    for network in networks:
        outcomes = evidence.outcomes[network]
        floor = outcomes["family"].value_counts(normalize=True).max()
        flags[network] = bool(wilson_interval(outcomes["correct"].sum(), len(outcomes)).low > floor)
    return Estimate(evidence.data, *_hundredfold(interval), "points", n, of, 1, flags, balanced)


def _hundredfold(interval) -> tuple[float, ...]:
    return tuple(float(100 * end) for end in (interval.estimate, interval.low, interval.high))


def _mean(values: pd.Series, among: int = 1) -> Interval:
    """The t interval of a mean over seeds; NaN below two of them."""
    if len(values) < FEWEST_VALUES:
        return Interval(values.mean(), np.nan, np.nan)
    return mean_difference(values, np.zeros(len(values)), paired=True, confidence=1 - 0.05 / among)
