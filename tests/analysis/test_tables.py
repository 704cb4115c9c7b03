"""Tables of the grid against small results whose answers are known."""

import json

import numpy as np
import pandas as pd
import pytest

from nsynth_helpers.analysis.statistics import detectable_by_welch, mean_difference
from nsynth_helpers.analysis.tables import (
    baseline_of,
    compare_seeds,
    describe_agreement,
    describe_difference,
    describe_differences,
    describe_floor,
    describe_machine,
    describe_missing,
    differences_from_baseline,
    grid_progress,
    over_seeds,
    side_by_side,
    summarise_seeds,
)
from nsynth_helpers.settings import InputError
from nsynth_helpers.training.grid import KEY, MINI_DATA, Variant, trials


def rows(group: str, variant: str, values, epochs: int = 10, data: str = "nsynth-mini") -> pd.DataFrame:
    values = np.asarray(values, dtype=float)
    key = {"data": data, "group": group, "variant": variant, "epochs": epochs, "seed": 1 + np.arange(len(values))}
    return pd.DataFrame(key | {"test_accuracy": values, "train_accuracy": 0.9, "parameters": 7, "seconds": 2.0})


BASELINE = [0.50, 0.52, 0.54]
RESULTS = pd.concat(
    [
        rows("activation", "tanh", [0.51, 0.50, 0.55]),
        rows("baseline", "2018 LSTM", BASELINE),
        rows("core", "2018 LSTM", [0.60, 0.62, 0.64], epochs=20),
        rows("core", "BLSTM, SGD", [0.2], epochs=20),
        rows("core", "2018 BLSTM", [0.5, 0.6, 0.7], epochs=20),
        rows("core", "2018 BLSTM", [0.3, 0.4], epochs=20, data="nsynth"),
        rows("weight decay", "1e-4", [0.4, 0.6]),
        rows("live", "of my own", [0.3, 0.3]),
    ]
)
EMPTY = pd.DataFrame(columns=KEY)


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        (None, "PyTorch 9.9 on EPYC, 2 cores; trainings side by side: 2, threads of each: 1"),
        ("H100", "9.9 on H100; trainings"),
    ],
)
def test_the_machine_of_the_table_is_told(tmp_path, gpu, words):
    made = {"torch": "9.9", "processor": "EPYC", "cpu_count": 2, "jobs": 2, "torch_threads": 1, "gpu": gpu}
    (tmp_path / "grid.environment.json").write_text(json.dumps(made))
    assert words in describe_machine(tmp_path / "grid.csv")
    assert describe_machine(tmp_path / "other.csv") == ""


def test_the_summary_gives_mean_and_deviation_in_the_order_of_the_grid():
    table = summarise_seeds(RESULTS)
    assert table["variant"].tolist() == [
        "2018 BLSTM", "2018 LSTM", "2018 BLSTM", "BLSTM, SGD", "2018 LSTM", "tanh", "1e-4", "of my own",
    ]  # fmt: skip
    assert table["data"].tolist() == ["nsynth"] + 7 * ["nsynth-mini"]
    assert table["epochs"].tolist() == [20, 20, 20, 20, 10, 10, 10, 10]
    assert table["seeds"].tolist() == [2, 3, 3, 1, 3, 3, 2, 2]
    assert table.loc[1, ["mean", "deviation"]].tolist() == pytest.approx([0.62, 0.02])
    assert np.isnan(table.loc[3, "deviation"])
    assert summarise_seeds(EMPTY).empty


def test_differences_are_from_the_2018_network_with_the_same_data_and_epochs():
    table = differences_from_baseline(RESULTS).set_index("variant")
    assert table.index.tolist() == ["2018 BLSTM", "2018 BLSTM", "BLSTM, SGD", "tanh", "1e-4", "of my own"]
    assert table.loc["2018 BLSTM", "difference"].tolist() == pytest.approx([np.nan, -0.02], nan_ok=True)
    assert table.loc["2018 BLSTM", "baseline"].tolist() == 2 * ["2018 LSTM"]
    expected = mean_difference([0.51, 0.50, 0.55], BASELINE)
    assert table.loc["tanh", ["difference", "low", "high"]].tolist() == pytest.approx(
        [expected.estimate, expected.low, expected.high]
    )
    assert table.loc["BLSTM, SGD", "baseline"] == "2018 BLSTM"
    assert table.loc["BLSTM, SGD", "difference"] == pytest.approx(-0.4)
    assert table.loc["BLSTM, SGD", ["low", "high", "detectable"]].isna().all(), "one seed has no interval"
    assert differences_from_baseline(EMPTY).empty


def test_without_a_baseline_there_is_no_difference():
    table = differences_from_baseline(rows("activation", "tanh", [0.5, 0.6]))
    assert table[["difference", "low", "high"]].isna().all(axis=None)


def test_compared_seeds_come_with_what_they_could_have_detected():
    a, b = pd.Series([0.5, 0.6, 0.7]), pd.Series([0.4, 0.45, 0.5, 0.55])
    difference, detectable = compare_seeds(a, b, confidence=0.9)
    assert difference == mean_difference(a, b, confidence=0.9)
    assert detectable == detectable_by_welch(a, b, alpha=0.1)
    with pytest.raises(InputError, match="seeds"):
        compare_seeds(a[:1], b)


def test_values_of_a_row_are_in_the_order_of_the_seeds_and_each_seed_counts_once():
    shuffled = pd.concat([RESULTS.sample(frac=1, random_state=0), RESULTS])
    assert over_seeds(shuffled, "nsynth-mini", "2018 LSTM", 10).tolist() == BASELINE
    assert over_seeds(shuffled, "nsynth-mini", "2018 LSTM", 10, "parameters").tolist() == [7, 7, 7]
    assert over_seeds(RESULTS, "nsynth", "tanh", 10).empty
    assert over_seeds(EMPTY, "nsynth", "tanh", 10).empty


def test_progress_counts_what_the_grid_has_and_what_it_lacks():
    grid = trials((Variant("activation", "tanh", data=("nsynth-mini", "nsynth")), Variant("cell", "GRU")))
    table = grid_progress(RESULTS, grid)
    assert table[["data", "variant"]].to_numpy().tolist() == [
        ["nsynth-mini", "tanh"], ["nsynth", "tanh"], ["nsynth-mini", "GRU"],
    ]  # fmt: skip
    assert table["done"].tolist() == [3, 0, 0]
    assert table["missing"].tolist() == [0, 3, 3]
    assert grid_progress(EMPTY)["missing"].sum() == len(trials())
    assert "tanh on NSynth (subset) (3 of 3); GRU on nsynth-mini (3 of 3)." in describe_missing(table)
    assert "3 trainings on NSynth (subset); 3 trainings on nsynth-mini." in describe_missing(table, most=1)
    assert describe_missing(grid_progress(RESULTS, grid[:3])) == "Nothing is missing."
    with pytest.raises(InputError, match="no cells"):
        grid_progress(RESULTS, [])


def test_a_blstm_is_compared_with_the_blstm():
    assert [baseline_of(name) for name in ("BLSTM, 2 layers", "LSTM, SGD", "GRU")] == [
        "2018 BLSTM", "2018 LSTM", "2018 LSTM",
    ]  # fmt: skip


def test_core_rows_stand_side_by_side():
    table = side_by_side(summarise_seeds(RESULTS), ["nsynth-mini", "nsynth"])
    assert table.loc["2018 LSTM"].tolist() == ["62.0 % ± 2.0 % (3 seeds)", "–"]
    assert table.loc["2018 BLSTM", "NSynth (subset)"] == "35.0 % ± 7.1 % (2 seeds)"
    assert table.loc["BLSTM, SGD", "nsynth-mini"] == "20.0 % (1 seed)"
    assert (side_by_side(summarise_seeds(EMPTY), ["nsynth"]) == "–").all(axis=None)


def test_sentences_say_what_the_intervals_say():
    grid = pd.concat(
        [
            rows("baseline", "2018 LSTM", BASELINE),
            rows("batch", "16", [0.70, 0.71, 0.72]),
            rows("batch", "256", [0.20, 0.21, 0.22]),
            rows("activation", "tanh", [0.51, 0.52, 0.54]),
        ]
    )
    differences = differences_from_baseline(grid)
    sentence = describe_differences(differences, "nsynth-mini")
    assert "3 rows with an interval." in sentence
    assert "set against: batch: 16. Worse: batch: 256." in sentence
    assert "The other 1 cannot be told" in sentence
    assert "about 0.2 of 3 such intervals" in sentence
    assert "more than chance among seeds explains" in describe_difference(differences, "nsynth-mini", "16")
    assert "which chance among seeds alone could explain" in describe_difference(differences, "nsynth-mini", "tanh")
    for nothing in (describe_differences(differences, "nsynth"), describe_difference(differences, "nsynth", "16")):
        assert "make ablations" in nothing


def test_rows_no_better_than_always_one_family_are_named():
    grid = pd.concat([rows("baseline", "2018 LSTM", [0.19, 0.20, 0.21]), rows("batch", "16", [0.30, 0.31, 0.32])])
    sentence = describe_floor(summarise_seeds(grid.assign(data="nsynth")), "nsynth")
    assert "Always answering bass would be right on 20.6 %" in sentence
    assert sentence.endswith("no higher: 2018 LSTM (20.0 %).")
    # The mean of three tenths is a hair above a tenth.
    assert "2018 LSTM (10.0 %)" in describe_floor(summarise_seeds(rows("baseline", "2018 LSTM", [0.1] * 3)), MINI_DATA)


@pytest.mark.parametrize(("values", "clear"), [([0.70, 0.71, 0.72], 1), ([0.40, 0.60, 0.80], 0)])
def test_agreement_counts_rows_that_are_clear_on_both_data(values, clear):
    both = [
        rows(group, variant, numbers).assign(data=data)
        for data in ("nsynth-mini", "nsynth")
        for group, variant, numbers in (("baseline", "2018 LSTM", BASELINE), ("batch", "16", values))
    ]
    sentence = describe_agreement(differences_from_baseline(pd.concat(both)), "nsynth-mini", "nsynth")
    assert f"in {clear} of them both intervals leave out zero" in sentence
