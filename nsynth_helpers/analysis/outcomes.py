"""Predictions to tables: each note's outcome, confusions, extreme notes, accuracy by group, two networks' answers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import log_softmax, softmax
from sklearn import metrics

from nsynth_helpers.analysis.statistics import clustered_bootstrap, wilson_interval
from nsynth_helpers.data.metadata import FAMILIES, LOGITS, parse_note_str
from nsynth_helpers.settings import InputError


def make_outcomes(predictions: pd.DataFrame) -> pd.DataFrame:
    """What was predicted for each note, whether it is right, and how surely.

    From one row a note, of one checkpoint and one split, as `Run.predictions` and `predict` give them: ``note_str``,
    ``family`` (the true one), ``logit_bass`` to ``logit_vocal``.

    Returns
    -------
    pandas.DataFrame
        The predictions with ``predicted``, ``correct`` (bool), ``probability`` (softmax, of the predicted family),
        ``true_probability`` (of the true family), ``margin`` (logit of the predicted minus logit of the true family, 0
        when correct), ``loss`` (cross-entropy in nats), and from the note's name ``label`` (0 to 9), ``source``,
        ``instrument``, ``pitch``, ``velocity``.

    Examples
    --------
    >>> from nsynth_helpers.settings import PROJECT_ROOT
    >>> from nsynth_helpers.training.runs import Run
    >>> outcomes = make_outcomes(Run(PROJECT_ROOT / "results" / "lstm-2018").predictions("test"))
    >>> print(outcomes["correct"].sum(), "of", len(outcomes))
    2656 of 4096
    """
    names = pd.DataFrame([parse_note_str(note_str) for note_str in predictions["note_str"]], index=predictions.index)
    logits = logits_of(predictions)
    rows, label, predicted = np.arange(len(logits)), names["label"].to_numpy(), logits.argmax(axis=1)
    probabilities = softmax(logits, axis=1)
    return predictions.assign(
        predicted=np.array(FAMILIES, dtype=object)[predicted],
        correct=predicted == label,
        probability=probabilities[rows, predicted],
        true_probability=probabilities[rows, label],
        margin=logits[rows, predicted] - logits[rows, label],
        loss=-log_softmax(logits, axis=1)[rows, label],
        **names[["label", "source", "instrument", "pitch", "velocity"]],
    )


def logits_of(predictions: pd.DataFrame) -> np.ndarray:
    """The ten logits of each note, float64 of shape (notes, families), in the order of `FAMILIES`."""
    return predictions[LOGITS].to_numpy(dtype=np.float64)


def name_confusion_matrix(counts) -> pd.DataFrame:
    """Label a 10 x 10 table of counts (rows actual, columns predicted), for example a published one."""
    actual, predicted = pd.Index(FAMILIES, name="actual"), pd.Index(FAMILIES, name="predicted")
    return pd.DataFrame(np.asarray(counts), index=actual, columns=predicted)


def confusion_matrix(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Count the notes of each actual (rows) and predicted (columns) family; always all ten families."""
    return name_confusion_matrix(metrics.confusion_matrix(outcomes["family"], outcomes["predicted"], labels=FAMILIES))


def scores_of_confusion(confusion: pd.DataFrame) -> pd.DataFrame:
    """Precision, recall and F1 of each family, from a confusion matrix alone (all that was published in 2018).

    Indexed by family: ``notes``, ``correct``, ``precision``, ``recall``, ``f1``, ``recall_low``, ``recall_high``
    (Wilson interval). NaN where undefined: recall without notes, precision of a family that was never predicted.
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


def scores_table(known: Mapping[str, pd.DataFrame | tuple[int, int]]) -> pd.DataFrame:
    """One row of scores for each network, as far as what is known of it allows.

    From a name to outcomes, to a confusion matrix, or to the numbers of correct and of all notes. Indexed by name:
    ``notes``, ``correct``, ``accuracy``, ``low``, ``high`` (Wilson), ``clustered_low``, ``clustered_high``
    (instruments resampled; outcomes alone), ``balanced_accuracy`` and ``macro_f1`` (over the families that have notes;
    not from two numbers); fractions, NaN where too little is known.
    """
    columns = "notes correct accuracy low high clustered_low clustered_high balanced_accuracy macro_f1"
    rows = {}
    for name, given in known.items():
        row = {}
        if isinstance(given, tuple):
            correct, notes = given
        else:
            families = scores_of_confusion(confusion_matrix(given) if "predicted" in given else given)
            families = families[families["notes"] > 0]
            correct, notes = families["correct"].sum(), families["notes"].sum()
            row |= {"balanced_accuracy": families["recall"].mean(), "macro_f1": families["f1"].mean()}
            if "instrument" in given:
                clustered = clustered_bootstrap(given["correct"], given["instrument"])
                row |= {"clustered_low": clustered.low, "clustered_high": clustered.high}
        alone = wilson_interval(correct, notes)
        row |= {"notes": notes, "correct": correct, "accuracy": alone.estimate, "low": alone.low, "high": alone.high}
        rows[name] = row
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns.split())
    return table.astype({"notes": int, "correct": int})


def extremes(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Per family, the correctly classified notes with the highest and the lowest probability.

    The columns of `make_outcomes` after ``extreme`` (``highest probability``, ``lowest probability``); two rows a
    family, none for a family without such notes. Ties go to the first note_str.
    """
    right = outcomes[outcomes["correct"]]
    return _ends(right, "probability", {"highest probability": False, "lowest probability": True})


def nearest_and_farthest(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Per family, the misclassified notes nearest to and farthest from the decision boundary, by margin.

    The table is that of `extremes`, with ``extreme`` either ``nearest`` or ``farthest``.
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


def accuracy_by(outcomes: pd.DataFrame, by: str | pd.Series) -> pd.DataFrame:
    """Accuracy of each group of notes.

    By a column (``source``, ``family``, ``velocity``), or by a series on the same index (else `InputError`), such as
    `data.metadata.seen_in` of the instruments. Indexed by group, in order: ``notes``,
    ``instruments``, ``correct``, ``accuracy``, ``low``, ``high`` (Wilson).
    """
    if isinstance(by, pd.Series) and not by.index.equals(outcomes.index):
        raise InputError(
            f"The groups '{by.name}' do not belong to these notes row by row; compute them from the table."
        )
    groups = outcomes.groupby(by, observed=True)
    table = groups.agg(notes=("correct", "size"), instruments=("instrument", "nunique"), correct=("correct", "sum"))
    interval = wilson_interval(table["correct"], table["notes"])
    return table.assign(accuracy=interval.estimate, low=interval.low, high=interval.high)


def agreement(outcomes_a: pd.DataFrame, outcomes_b: pd.DataFrame) -> pd.DataFrame:
    """Set two networks' answers to the same notes (else `InputError`) side by side, for McNemar's test.

    Sorted by ``note_str``: ``family``, ``instrument``, ``predicted_a``, ``predicted_b``, ``correct_a``, ``correct_b``,
    ``right`` (``both``, ``only a``, ``only b`` or ``neither``).
    """
    a, b = (outcomes.sort_values("note_str", ignore_index=True) for outcomes in (outcomes_a, outcomes_b))
    if not np.array_equal(a["note_str"], b["note_str"]):
        one_only = sorted(set(a["note_str"]) ^ set(b["note_str"]))
        raise InputError(
            f"{len(one_only)} notes (first {one_only[0]}) have one network's answer only; evaluate both on one split."
        )
    table = a[["note_str", "family", "instrument"]].copy()
    for column in ("predicted", "correct"):
        table[f"{column}_a"], table[f"{column}_b"] = a[column], b[column]
    right = np.array([["neither", "only b"], ["only a", "both"]], dtype=object)
    return table.assign(right=right[table["correct_a"].astype(int), table["correct_b"].astype(int)])
