"""Predictions to tables: who is confused with whom, the extreme notes, accuracy by group, two networks' answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn import metrics

from nsynth_helpers.analysis.calibration import expected_calibration_error
from nsynth_helpers.analysis.statistics import (
    clustered_bootstrap,
    clustered_t_interval,
    wilson_interval,
)
from nsynth_helpers.data.metadata import FAMILIES, LOGITS, NOTE_STR
from nsynth_helpers.settings import InputError

PREDICTION_COLUMNS = ["note_str", "family", *LOGITS]
# Test notes reported as noise: https://github.com/magenta/magenta/issues/2092
NOISY_INSTRUMENT = "brass_acoustic_046"
NOISY_PITCHES = (84, 108)
OCTAVE = 12


@dataclass(frozen=True)
class SummaryScores:
    """One row of the results table: fractions from 0 to 1, and counts.

    Macro-F1 and balanced accuracy average over the families that have notes; ``expected_calibration_error`` is NaN
    where only a confusion matrix is known.
    """

    notes: int
    correct: int
    accuracy: float
    macro_f1: float
    balanced_accuracy: float
    expected_calibration_error: float


def logits_of(predictions: pd.DataFrame) -> np.ndarray:
    """The ten logits of each note, float64 of shape (notes, families), in the order of `notes.FAMILIES`."""
    return predictions[LOGITS].to_numpy(dtype=np.float64)


def with_temperature(predictions: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """The same predictions with every logit divided by a temperature, ready for `make_outcomes`.

    For calibration before and after temperature scaling. Used in: 04_result_analysis.
    """
    return predictions.assign(**{column: predictions[column].astype(np.float64) / temperature for column in LOGITS})


def make_outcomes(predictions: pd.DataFrame) -> pd.DataFrame:
    """Say for each note what was predicted, whether it is right, and how surely.

    Parameters
    ----------
    predictions : pandas.DataFrame
        One row a note, of one checkpoint and one split: ``note_str``, ``family`` (the true one), ``logit_bass`` to
        ``logit_vocal``.

    Returns
    -------
    pandas.DataFrame
        The predictions with ``predicted``, ``correct`` (bool), ``probability`` (softmax, of the predicted family),
        ``true_probability`` (of the true family), ``margin`` (logit of the predicted minus logit of the true family, 0
        when correct), and from the note's name ``label`` (0 to 9), ``source``, ``instrument``, ``pitch``, ``velocity``.

    Notes
    -----
    Raises `InputError` if columns are missing, there are no notes, a note occurs twice, a name does not fit its family,
    or a logit is not finite. Used in: 04_result_analysis, and everything below.
    """
    names = _check(predictions)
    logits = logits_of(predictions)
    rows = np.arange(len(logits))
    label = pd.Index(FAMILIES).get_indexer(predictions["family"])
    predicted = logits.argmax(axis=1)
    probabilities = softmax(logits, axis=1)
    return predictions.assign(
        predicted=np.array(FAMILIES, dtype=object)[predicted],
        correct=predicted == label,
        probability=probabilities[rows, predicted],
        true_probability=probabilities[rows, label],
        margin=logits[rows, predicted] - logits[rows, label],
        label=label,
        source=names["source"],
        instrument=names["instrument"],
        pitch=names["pitch"].astype(np.int64),
        velocity=names["velocity"].astype(np.int64),
    )


def _check(predictions: pd.DataFrame) -> pd.DataFrame:
    """Refuse what cannot be outcomes; return what the names of the notes say."""
    missing = [column for column in PREDICTION_COLUMNS if column not in predictions]
    if missing:
        raise InputError(f"The predictions lack the column(s) {', '.join(missing)}; evaluate the run again.")
    if predictions.empty:
        raise InputError("The predictions hold no notes; choose a checkpoint and a split that were evaluated.")
    twice = predictions["note_str"].duplicated()
    if twice.any():
        note_str = predictions.loc[twice, "note_str"].iloc[0]
        raise InputError(f"The predictions hold {note_str} more than once; choose one checkpoint and one split.")
    names = predictions["note_str"].str.extract(f"^{NOTE_STR.pattern}$")
    wrong = (names["family"] != predictions["family"]) | ~predictions["family"].isin(FAMILIES)
    if wrong.any():
        note_str, family = predictions.loc[wrong, ["note_str", "family"]].iloc[0]
        raise InputError(f"The predictions call {note_str} a '{family}', not what its name says; evaluate again.")
    broken = ~np.isfinite(predictions[LOGITS]).all(axis=1)
    if broken.any():
        note_str = predictions.loc[broken, "note_str"].iloc[0]
        raise InputError(f"A logit of {note_str} is not a finite number; the training diverged, so train it again.")
    return names


def name_confusion_matrix(counts) -> pd.DataFrame:
    """Label a 10 x 10 table of counts (rows actual, columns predicted), for example a published one."""
    actual, predicted = pd.Index(FAMILIES, name="actual"), pd.Index(FAMILIES, name="predicted")
    return pd.DataFrame(np.asarray(counts), index=actual, columns=predicted)


def confusion_matrix(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Count the notes of each actual (rows) and predicted (columns) family; always all ten families.

    Used in: 04_result_analysis.
    """
    return name_confusion_matrix(metrics.confusion_matrix(outcomes["family"], outcomes["predicted"], labels=FAMILIES))


def normalise_rows(confusion: pd.DataFrame) -> pd.DataFrame:
    """Divide each row by its notes, so that a cell is the share of the actual family; NaN for a family without notes.

    Two of these, subtracted, compare two networks. Used in: 04_result_analysis.
    """
    notes = confusion.sum(axis=1)
    return confusion.div(notes.where(notes > 0), axis=0)


def family_scores(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Per family what `scores_of_confusion` says, from outcomes notes. Used in: 04_result_analysis."""
    return scores_of_confusion(confusion_matrix(outcomes))


def scores_of_confusion(confusion: pd.DataFrame) -> pd.DataFrame:
    """Precision, recall and F1 of each family, from a confusion matrix alone (all that was published in 2018).

    Indexed by family: ``notes``, ``correct``, ``precision``, ``recall``, ``f1``, ``recall_low``, ``recall_high``
    (Wilson interval). NaN where undefined: recall without notes, precision of a family that was never predicted.

    Notes
    -----
    `sklearn.metrics.precision_recall_fscore_support`, each cell weighted by its notes.
    """
    counts = confusion.to_numpy()
    actual, predicted = np.indices(counts.shape).reshape(2, -1)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        actual, predicted, labels=range(len(FAMILIES)), sample_weight=counts.ravel(), zero_division=np.nan
    )
    table = pd.DataFrame({"notes": counts.sum(axis=1), "correct": counts.diagonal()}, index=confusion.index)
    interval = wilson_interval(table["correct"], table["notes"])
    table.index.name = "family"
    return table.assign(precision=precision, recall=recall, f1=f1, recall_low=interval.low, recall_high=interval.high)


def summary_scores(outcomes: pd.DataFrame, bins: int = 15) -> SummaryScores:
    """The row of the results table that belongs to these notes. Used in: 04_result_analysis."""
    error = expected_calibration_error(outcomes["probability"], outcomes["correct"], bins)
    return summary_of_confusion(confusion_matrix(outcomes), error)


def summary_of_confusion(confusion: pd.DataFrame, calibration_error: float = float("nan")) -> SummaryScores:
    """The row of the results table that a confusion matrix alone allows, for the published networks."""
    scores = scores_of_confusion(confusion)
    present = scores[scores["notes"] > 0]
    notes, correct = int(present["notes"].sum()), int(present["correct"].sum())
    macro_f1, balanced_accuracy = float(present["f1"].mean()), float(present["recall"].mean())
    return SummaryScores(notes, correct, correct / notes, macro_f1, balanced_accuracy, calibration_error)


def accuracy_intervals(outcomes: pd.DataFrame, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The accuracy with Wilson's interval (notes independent), and with the bootstrap that resamples instruments.

    Two rows: ``resampled`` (``notes``, ``instruments``), ``units`` (how many), ``accuracy``, ``low``, ``high``.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    alone = wilson_interval(outcomes["correct"].sum(), len(outcomes))
    clustered = clustered_bootstrap(outcomes["correct"], outcomes["instrument"], draws, seed)
    units = {"notes": (len(outcomes), alone), "instruments": (outcomes["instrument"].nunique(), clustered)}
    rows = [(name, count, given.estimate, given.low, given.high) for name, (count, given) in units.items()]
    return pd.DataFrame(rows, columns=["resampled", "units", "accuracy", "low", "high"])


def extremes(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Per family, the correctly classified notes with the highest and the lowest probability.

    The columns of `make_outcomes` after ``extreme`` (``highest probability``, ``lowest probability``); two rows a family, none
    for a family without such notes. Ties go to the first note_str.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    return _ends(
        outcomes[outcomes["correct"]], "probability", {"highest probability": False, "lowest probability": True}
    )


def nearest_and_farthest(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Per family, the misclassified notes nearest to and farthest from the decision boundary, by margin.

    The table is that of `extremes`, with ``extreme`` either ``nearest`` or ``farthest``.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    return _ends(outcomes[~outcomes["correct"]], "margin", {"nearest": True, "farthest": False})


def _ends(outcomes: pd.DataFrame, column: str, ends: Mapping[str, bool]) -> pd.DataFrame:
    """The first note of each family for each end: its name, and whether it is the smallest of the column."""
    tables = []
    for name, smallest in ends.items():
        ordered = outcomes.sort_values([column, "note_str"], ascending=[smallest, True])
        tables.append(ordered.drop_duplicates("family").assign(extreme=name))
    both = pd.concat(tables).sort_values("label", kind="stable", ignore_index=True)
    return both[["extreme", *outcomes.columns]]


def pitch_band(pitch: pd.Series) -> pd.Series:
    """The octave of each MIDI pitch, as an ordered category such as ``60–71`` (C4 to B4)."""
    octave = pitch // OCTAVE
    order = range(octave.min(), octave.max() + 1)
    names = {number: f"{OCTAVE * number}–{OCTAVE * number + OCTAVE - 1}" for number in order}
    return octave.map(names).astype(pd.CategoricalDtype(list(names.values()), ordered=True)).rename("pitch")


def accuracy_by_instrument(outcomes: pd.DataFrame, train_instruments) -> tuple[pd.Series, pd.Series]:
    """The accuracy on each test instrument: of those that train has, and of those that it lacks.

    Parameters
    ----------
    outcomes : pandas.DataFrame
        Judged test notes.
    train_instruments : collection of str
        The instruments of the train split.

    Notes
    -----
    Used in: 04_result_analysis, 05_ablations.
    """
    accuracy = outcomes.groupby("instrument")["correct"].mean()
    known = accuracy.index.isin(train_instruments)
    return accuracy[known], accuracy[~known]


def accuracy_by(outcomes: pd.DataFrame, by: str | pd.Series) -> pd.DataFrame:
    """Accuracy of each group of notes.

    Parameters
    ----------
    outcomes : pandas.DataFrame
        What `make_outcomes` returns.
    by : str or pandas.Series
        A column (``source``, ``family``, ``velocity``), or a series on the same index (else `InputError`):
        `pitch_band` of the pitches, or `notes.seen_in` of the instruments.

    Notes
    -----
    Indexed by group, in order: ``notes``, ``instruments``, ``correct``, ``accuracy``, ``low``, ``high`` (Wilson).
    Used in: 04_result_analysis.
    """
    if isinstance(by, pd.Series) and not by.index.equals(outcomes.index):
        raise InputError(
            f"The groups '{by.name}' do not belong to these notes row by row; compute them from the table."
        )
    groups = outcomes.groupby(by, observed=True)
    table = groups.agg(notes=("correct", "size"), instruments=("instrument", "nunique"), correct=("correct", "sum"))
    interval = wilson_interval(table["correct"], table["notes"])
    return table.assign(accuracy=interval.estimate, low=interval.low, high=interval.high)


def noisy_notes(outcomes: pd.DataFrame) -> pd.Series:
    """The names of the notes that magenta issue 2092 reports as noise: ``brass_acoustic_046``, pitches 84 to 108."""
    noisy = (outcomes["instrument"] == NOISY_INSTRUMENT) & outcomes["pitch"].between(*NOISY_PITCHES)
    return outcomes.loc[noisy, "note_str"]


def without_notes(outcomes: pd.DataFrame, note_strs: Collection[str]) -> pd.DataFrame:
    """Leave out the named notes."""
    return outcomes[~outcomes["note_str"].isin(list(note_strs))]


def accuracy_without(outcomes: pd.DataFrame, groups: Mapping[str, Collection[str]]) -> pd.DataFrame:
    """Accuracy on all notes, without each named group of notes, and without all the groups.

    Parameters
    ----------
    outcomes : pandas.DataFrame
        What `make_outcomes` returns.
    groups : mapping of str to collection of note_str
        For example ``{"noisy": noisy_notes(outcomes), "duplicate": ...}``.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    left_out = {"none": (), **groups}
    if len(groups) > 1:
        left_out[" and ".join(groups)] = {note_str for names in groups.values() for note_str in names}
    rows = []
    for name, note_strs in left_out.items():
        kept = without_notes(outcomes, note_strs)["correct"]
        interval = wilson_interval(kept.sum(), len(kept))
        rows.append((name, len(kept), int(kept.sum()), interval.estimate, interval.low, interval.high))
    return pd.DataFrame(rows, columns=["left_out", "notes", "correct", "accuracy", "low", "high"])


def agreement(outcomes_a: pd.DataFrame, outcomes_b: pd.DataFrame) -> pd.DataFrame:
    """Set two models' answers to the same notes side by side, for McNemar's test.

    Sorted by ``note_str``: ``family``, ``instrument``, ``predicted_a``, ``predicted_b``, ``correct_a``, ``correct_b``,
    ``right`` (``both``, ``only a``, ``only b`` or ``neither``).

    Notes
    -----
    Raises `InputError` unless both hold the same notes. Used in: 04_result_analysis.
    """
    a, b = (outcomes.sort_values("note_str", ignore_index=True) for outcomes in (outcomes_a, outcomes_b))
    if not np.array_equal(a["note_str"], b["note_str"]):
        one_only = sorted(set(a["note_str"]) ^ set(b["note_str"]))
        raise InputError(
            f"{len(one_only)} notes (first {one_only[0]}) were outcomes for one model only; evaluate both on one split."
        )
    table = a[["note_str", "family", "instrument"]].copy()
    for column in ("predicted", "correct"):
        table[f"{column}_a"], table[f"{column}_b"] = a[column], b[column]
    right = np.array([["neither", "only b"], ["only a", "both"]], dtype=object)
    return table.assign(right=right[table["correct_a"].astype(int), table["correct_b"].astype(int)])


def confusion_changes(outcomes: pd.DataFrame, outcomes_other: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """How often each family is taken for each other one, now and in another hearing of the same notes.

    For the hypothesis of symmetric notes: the other hearing plays the notes reversed in time.

    The 90 pairs by falling absolute difference: ``actual``, ``predicted``, ``notes``, ``instruments`` (of the actual
    family), ``rate``, ``rate_other`` (shares of the actual family), ``difference`` (other minus first), ``low``,
    ``high`` (NaN where the family has a single instrument). Families without notes are left out.

    Notes
    -----
    Paired intervals by `statistics.clustered_t_interval`, since a family has few instruments in a test split. Among 90
    intervals of 95 % some four miss zero by chance: ask for ``confidence=1 - 0.05 / 90`` before naming a pair after
    the fact. Raises `InputError` unless both hold the same notes. Used in: 04_result_analysis.
    """
    rows = []
    for actual, notes in agreement(outcomes, outcomes_other).groupby("family", observed=True):
        instruments = notes["instrument"].nunique()
        for predicted in FAMILIES:
            if predicted == actual:
                continue
            before, after = (notes[column] == predicted for column in ("predicted_a", "predicted_b"))
            change = after.astype(float) - before
            low = high = np.nan
            if instruments > 1:
                interval = clustered_t_interval(change, notes["instrument"], confidence)
                low, high = max(interval.low, -1.0), min(interval.high, 1.0)
            rates = (before.mean(), after.mean(), change.mean())
            rows.append((actual, predicted, len(notes), instruments, *rates, low, high))
    columns = ["actual", "predicted", "notes", "instruments", "rate", "rate_other", "difference", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("difference", key=np.abs, ascending=False, kind="stable", ignore_index=True)
