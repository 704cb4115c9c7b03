"""Tables of the grid against small results whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from nsynth_helpers.analysis.statistics import (
    Interval,
    detectable_by_welch,
    detectable_mean_difference,
    mean_difference,
)
from nsynth_helpers.analysis.tables import (
    baseline_of,
    compare_seeds,
    compare_variants,
    differences_from_baseline,
    duration,
    grid_progress,
    interval_text,
    learnt,
    over_seeds,
    p_value,
    percent,
    points,
    summarise_seeds,
)
from nsynth_helpers.settings import InputError
from nsynth_helpers.training.grid import KEY, Variant, trials


def rows(group: str, variant: str, values, epochs: int = 10, data: str = "nsynth-mini") -> pd.DataFrame:
    values = np.asarray(values, dtype=float)
    key = {"data": data, "group": group, "variant": variant, "epochs": epochs, "seed": 1 + np.arange(len(values))}
    figures = {"test_accuracy": values, "train_accuracy": 0.9, "test_notes": 400, "train_notes": 1600}
    return pd.DataFrame(key | figures | {"parameters": 7, "seconds": 2.0})


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
    with pytest.raises(InputError, match="no cells"):
        grid_progress(RESULTS, [])


def test_a_blstm_is_compared_with_the_blstm():
    assert [baseline_of(name) for name in ("BLSTM, 2 layers", "LSTM, SGD", "GRU")] == [
        "2018 BLSTM", "2018 LSTM", "2018 LSTM",
    ]  # fmt: skip


def test_two_variants_are_compared_over_their_common_seeds():
    found = compare_variants(RESULTS.sample(frac=1, random_state=0), "nsynth-mini", "tanh", "2018 LSTM", 10)
    expected = mean_difference([0.51, 0.50, 0.55], BASELINE, paired=True)
    assert found[:3] == pytest.approx((expected.estimate, expected.low, expected.high))
    assert (found.seeds, found.probability_of_improvement) == (3, pytest.approx(2 / 3))
    assert found.detectable == pytest.approx(
        detectable_mean_difference(np.std([1, -2, 1], ddof=1) / 100, 3, paired=True)
    )
    without_seed_1 = RESULTS[(RESULTS["variant"] != "tanh") | (RESULTS["seed"] > 1)]
    fewer = compare_variants(without_seed_1, "nsynth-mini", "tanh", "2018 LSTM", 10)
    assert (fewer.seeds, fewer.estimate) == (2, pytest.approx(-0.005)), "the second seed must meet the second"


def test_too_few_common_seeds_have_no_interval():
    one = compare_variants(RESULTS, "nsynth-mini", "BLSTM, SGD", "2018 BLSTM", 20)
    assert (one.seeds, one.estimate, one.probability_of_improvement) == (1, pytest.approx(-0.3), 0)
    assert np.isnan([one.low, one.high, one.detectable]).all()
    none = compare_variants(RESULTS, "nsynth-mini", "GRU", "2018 LSTM", 10)
    assert none.seeds == 0 and np.isnan(none.estimate) and np.isnan(none.probability_of_improvement)
    assert (none.variant_learnt, none.baseline_learnt) == (False, True)


def test_equal_seeds_improve_with_an_even_chance():
    twice = pd.concat([rows("a", "a", [0.3, 0.4]), rows("b", "b", [0.3, 0.4])])
    assert compare_variants(twice, "nsynth-mini", "a", "b", 10)[:5] == (0, 0, 0, 2, 0.5)


@pytest.mark.parametrize(
    ("data", "accuracy", "beats"),
    [("nsynth-mini", 0.12, False), ("nsynth-mini", 0.15, True), ("nsynth", 0.209, False), ("nsynth", 0.299, True)],
)
def test_a_variant_has_learnt_if_it_beats_the_most_frequent_family(data, accuracy, beats):
    notes = {"nsynth-mini": 400, "nsynth": 4096}[data]
    table = rows("core", "arm", [accuracy] * 3, data=data).assign(test_notes=notes, train_accuracy=0.1)
    assert learnt(table, data, "arm", 10) is beats
    assert not learnt(table, data, "arm", 10, "train"), "a tenth of train is guessed"
    assert compare_variants(table.assign(train_accuracy=0.2), data, "arm", "arm", 10, "train_accuracy").variant_learnt


def test_numbers_as_text():
    assert [percent(share) for share in (0.648, 0.0225, np.nan)] == ["64.8 %", "2.3 %", "–"]
    assert [points(share) for share in (0.011, -0.2, np.nan)] == ["+1.1 points", "−20.0 points", "–"]
    assert [p_value(value) for value in (0.0342, 0.0009)] == ["p = 0.034", "p < 0.001"]
    assert [duration(seconds) for seconds in (4.2, 719, 49_980)] == ["4.2 s", "12 min", "13 h 53 min"]
    assert interval_text(Interval(0.648, 0.634, 0.663, 0.95)) == "64.8 % (63.4 % to 66.3 %)"
    assert interval_text(Interval(0.01, -0.02, 0.04, 0.95), points) == "+1.0 points (−2.0 points to +4.0 points)"
    assert interval_text(Interval(1.222, 1.1, 1.35, 0.95), "{:.2f}".format) == "1.22 (1.10 to 1.35)"
    assert interval_text(Interval(0.5, np.nan, np.nan, 0.95)) == "50.0 %"
