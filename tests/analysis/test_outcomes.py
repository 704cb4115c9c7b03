"""Predictions to tables, on made-up predictions whose answers are known and on the published matrices."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from nsynth_helpers.analysis import outcomes as analysis
from nsynth_helpers.analysis import statistics
from nsynth_helpers.data import metadata as notes
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.settings import PROJECT_ROOT, InputError


@pytest.fixture(scope="module")
def report():
    return json.loads((PROJECT_ROOT / "nsynth_helpers/claims/report_2018.json").read_text())


def predictions_of(rows) -> pd.DataFrame:
    """Predictions from (note_str, {family: logit}); the other logits are 0."""
    table = pd.DataFrame({"note_str": [note_str for note_str, _ in rows]})
    table["family"] = table["note_str"].str.split("_").str[0]
    for family in FAMILIES:
        table[f"logit_{family}"] = np.array([logits.get(family, 0) for _, logits in rows], dtype=np.float32)
    return table.assign(checkpoint="last", split="test")


def random_predictions(count=4096, seed=0, skill=1.5) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    names = pd.Series(
        [
            f"{FAMILIES[i % 10]}_{notes.SOURCES[i % 3]}_{i % 53:03d}-{21 + i // 60:03d}-{(25, 50, 127)[i // 7 % 3]:03d}"
            for i in range(count)
        ]
    ).drop_duplicates(ignore_index=True)
    logits = generator.normal(0, 1.5, (len(names), 10)).astype(np.float32)
    logits[np.arange(len(names)), names.str.split("_").str[0].map(FAMILIES.index)] += skill
    table = pd.DataFrame(logits, columns=analysis.LOGITS)
    table.insert(0, "note_str", names)
    table.insert(1, "family", names.str.split("_").str[0])
    return table.assign(checkpoint="last", split="test")


@pytest.fixture(scope="module")
def outcomes():
    return analysis.make_outcomes(random_predictions())


FOUR = [
    ("bass_acoustic_001-030-050", {"bass": 2}),
    ("bass_acoustic_001-031-127", {"bass": 1, "keyboard": 4}),
    ("vocal_synthetic_003-060-025", {"vocal": 5, "bass": 5.5}),
    ("vocal_synthetic_003-061-025", {"vocal": 3}),
]


def test_outcomes_by_hand():
    outcomes = analysis.make_outcomes(predictions_of(FOUR))
    assert outcomes["predicted"].tolist() == ["bass", "keyboard", "bass", "vocal"]
    assert outcomes["correct"].tolist() == [True, False, False, True]
    assert outcomes["margin"].tolist() == [0, 3, 0.5, 0]
    assert outcomes["probability"][1] == pytest.approx(np.exp(4) / (np.exp(4) + np.exp(1) + 8))
    assert outcomes["true_probability"][1] == pytest.approx(np.exp(1) / (np.exp(4) + np.exp(1) + 8))
    assert outcomes["loss"].to_numpy() == pytest.approx(-np.log(outcomes["true_probability"]))
    assert outcomes["label"].tolist() == [0, 0, 9, 9]
    assert outcomes.loc[2, ["source", "instrument", "pitch", "velocity"]].tolist() == [
        "synthetic",
        "vocal_synthetic_003",
        60,
        25,
    ]


def test_outcomes_keeps_the_index_and_takes_a_part_of_a_larger_table():
    table = pd.concat([predictions_of(FOUR), predictions_of(FOUR).assign(checkpoint="best")])
    best = analysis.make_outcomes(table[table["checkpoint"] == "best"].iloc[::-1])
    assert best.index.tolist() == [3, 2, 1, 0]
    assert best["pitch"].tolist() == [61, 60, 31, 30]


def test_confusion_matrix_has_all_families_with_actual_ones_in_rows():
    confusion = analysis.confusion_matrix(analysis.make_outcomes(predictions_of(FOUR)))
    assert confusion.shape == (10, 10)
    assert confusion.loc["bass", "keyboard"] == 1
    assert confusion.loc["vocal", "bass"] == 1
    assert confusion.to_numpy().sum() == 4


def test_published_matrices_give_the_published_accuracies(report):
    for model, recall in (("lstm", 271 / 306), ("blstm", 253 / 306)):
        confusion = analysis.name_confusion_matrix(report[model]["confusion_matrix"])
        assert confusion.sum(axis=1).tolist() == [*notes.OFFICIAL_FAMILY_NOTES["test"][:9], 141]
        summary = analysis.scores_table({model: confusion}).loc[model]
        assert (summary["notes"], summary["correct"]) == (4096, report[model]["correct"])
        assert 100 * summary["accuracy"] == pytest.approx(report[model]["accuracy_percent"], abs=5e-4)
        assert summary[["clustered_low", "clustered_high"]].isna().all()
        scores = analysis.scores_of_confusion(confusion)
        assert scores.loc["string", "recall"] == pytest.approx(recall)
        assert scores.loc["string", "precision"] == pytest.approx(
            confusion.loc["string", "string"] / confusion["string"].sum()
        )


def test_scores_agree_with_scikit_learn(outcomes):
    summary = analysis.scores_table({"net": outcomes}).loc["net"]
    truth, predicted = outcomes["family"], outcomes["predicted"]
    assert summary["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert summary["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert summary["accuracy"] == outcomes["correct"].mean()
    scores = analysis.scores_of_confusion(analysis.confusion_matrix(outcomes))
    reed = outcomes[outcomes["family"] == "reed"]["correct"]
    interval = statistics.wilson_interval(reed.sum(), len(reed))
    assert scores.loc["reed", ["recall", "recall_low", "recall_high"]].tolist() == pytest.approx(
        [reed.mean(), interval.low, interval.high]
    )


def test_scores_without_notes_or_predictions_are_undefined_and_not_averaged():
    outcomes = analysis.make_outcomes(predictions_of(FOUR))
    scores = analysis.scores_of_confusion(analysis.confusion_matrix(outcomes))
    assert scores.loc["brass", ["precision", "recall", "f1"]].isna().all()
    assert scores.loc["keyboard", "precision"] == 0
    assert scores.loc["bass", ["precision", "recall", "f1"]].tolist() == [0.5, 0.5, 0.5]
    assert scores.loc["vocal", "f1"] == pytest.approx(2 / 3)
    assert analysis.scores_table({"net": outcomes})["macro_f1"].tolist() == pytest.approx([(0.5 + 2 / 3) / 2])


def test_scores_hold_both_intervals_as_far_as_the_notes_are_known(outcomes):
    confusion, count = analysis.confusion_matrix(outcomes), int(outcomes["correct"].sum())
    table = analysis.scores_table({"notes": outcomes, "cells": confusion, "total": (count, len(outcomes))})
    assert (table["correct"] == count).all() and (table["notes"] == len(outcomes)).all()
    alone = statistics.wilson_interval(count, len(outcomes))
    assert (table[["accuracy", "low", "high"]] == [alone.estimate, alone.low, alone.high]).all(axis=None)
    clustered = statistics.clustered_bootstrap(outcomes["correct"], outcomes["instrument"])
    assert table.loc["notes", ["clustered_low", "clustered_high"]].tolist() == [clustered.low, clustered.high]
    assert table["clustered_low"].notna().tolist() == [True, False, False]
    assert table["balanced_accuracy"].notna().tolist() == [True, True, False]
    assert table.loc["cells", "macro_f1"] == table.loc["notes", "macro_f1"]


def test_extremes_and_margins_by_hand_with_ties_to_the_first_name():
    rows = [
        ("reed_acoustic_001-060-050", {"reed": 3}),
        ("reed_acoustic_001-059-050", {"reed": 3}),
        ("reed_acoustic_001-061-050", {"reed": 1}),
        ("reed_acoustic_001-062-050", {"bass": 1, "reed": 0.5}),
        ("reed_acoustic_001-063-050", {"bass": 9}),
        ("bass_acoustic_001-063-050", {"bass": 9}),
    ]
    outcomes = analysis.make_outcomes(predictions_of(rows))
    sure = analysis.extremes(outcomes)[["family", "extreme", "note_str"]].to_numpy().tolist()
    assert sure == [
        ["bass", "highest probability", "bass_acoustic_001-063-050"],
        ["bass", "lowest probability", "bass_acoustic_001-063-050"],
        ["reed", "highest probability", "reed_acoustic_001-059-050"],
        ["reed", "lowest probability", "reed_acoustic_001-061-050"],
    ]
    wrong = analysis.nearest_and_farthest(outcomes)
    assert wrong[["extreme", "note_str", "margin"]].to_numpy().tolist() == [
        ["nearest", "reed_acoustic_001-062-050", 0.5],
        ["farthest", "reed_acoustic_001-063-050", 9.0],
    ]
    pd.testing.assert_frame_equal(
        analysis.extremes(outcomes.sample(frac=1, random_state=1)), analysis.extremes(outcomes)
    )


def test_no_misclassified_notes_leave_an_empty_table_with_its_columns():
    wrong = analysis.nearest_and_farthest(analysis.make_outcomes(predictions_of(FOUR[:1])))
    assert wrong.empty
    assert {"extreme", "note_str", "margin"} <= set(wrong.columns)


def test_accuracy_by_source_octave_and_seen():
    outcomes = analysis.make_outcomes(predictions_of(FOUR))
    by_source = analysis.accuracy_by(outcomes, "source")
    assert by_source.index.tolist() == ["acoustic", "synthetic"]
    assert by_source[["notes", "instruments", "correct", "accuracy"]].to_numpy().tolist() == [[2, 1, 1, 0.5]] * 2
    assert by_source["low"].iloc[0] == pytest.approx(statistics.wilson_interval(1, 2).low)
    by_pitch = analysis.accuracy_by(outcomes, pd.cut(outcomes["pitch"], range(0, 133, 12), right=False, labels=False))
    assert by_pitch.index.tolist() == [2, 5]
    train = pd.DataFrame({"instrument": ["bass_acoustic_001", "reed_acoustic_001"]})
    seen = notes.seen_in(outcomes["instrument"], train)
    assert analysis.accuracy_by(outcomes, seen)["notes"].to_dict() == {False: 2, True: 2}


def test_accuracy_by_refuses_groups_of_other_notes(outcomes):
    with pytest.raises(InputError, match="'seen' do not belong"):
        analysis.accuracy_by(outcomes, pd.Series([True, False], name="seen"))


def test_agreement_aligns_by_name():
    other = [(name, {name.split("_")[0]: 1}) for name, _ in reversed(FOUR)]
    other[0] = (FOUR[3][0], {"bass": 1})
    aligned = analysis.agreement(
        analysis.make_outcomes(predictions_of(FOUR)), analysis.make_outcomes(predictions_of(other))
    )
    assert aligned["right"].tolist() == ["both", "only b", "only b", "only a"]
    assert aligned["predicted_b"].tolist() == ["bass", "bass", "vocal", "bass"]


def test_agreement_refuses_other_notes():
    with pytest.raises(InputError, match=r"2 notes.*vocal_synthetic_003-060-025"):
        analysis.agreement(*(analysis.make_outcomes(predictions_of(rows)) for rows in (FOUR[:3], FOUR[:2] + FOUR[3:])))
