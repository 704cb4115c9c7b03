"""Tables of made-up runs and of a small grid whose answers are known, rules of model selection, numbers as text."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import cached_split
from nsynth_helpers.analysis import tables
from nsynth_helpers.analysis.statistics import Interval, detectable_mean_difference, mean_difference
from nsynth_helpers.claims.published import read_report
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import FAMILIES, LOGITS
from nsynth_helpers.settings import Settings, write_json
from nsynth_helpers.training.grid import KEY
from nsynth_helpers.training.runs import Run, RunConfig, data_digests, save_weights, write_table

NAMES = [f"{family}_acoustic_{number:03d}-060-100" for family in FAMILIES for number in (0, 1)]
SMALL = {"hidden_size": 4, "num_layers": 1}


def make_split(split: str, names=NAMES) -> NSynthSplit:
    waveforms = np.random.default_rng(0).integers(-9999, 9999, (len(names), 1600)).astype(np.int16)
    return cached_split(split, names, waveforms, digest=split)


@pytest.fixture
def splits() -> dict[str, NSynthSplit]:
    return {split: make_split(split) for split in ("train", "valid", "test")}


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(device="cpu", results=tmp_path / "results")


def predictions(loudness: float = 3.0, wrong: int = 0) -> pd.DataFrame:
    """Predictions that are right but for the first few notes."""
    table = pd.DataFrame({"note_str": NAMES, "family": [name.split("_")[0] for name in NAMES]})
    labels = np.array([FAMILIES.index(family) for family in table["family"]])
    labels[:wrong] = (labels[:wrong] + 1) % 10
    logits = np.zeros((len(NAMES), 10), dtype=np.float32)
    logits[np.arange(len(NAMES)), labels] = loudness
    return pd.concat([table, pd.DataFrame(logits, columns=LOGITS)], axis=1)


def make_run(path: Path, splits, network: str = "lstm", **arguments) -> Run:
    config = RunConfig(network=network, network_arguments=arguments, seconds=0.1, epochs=3)
    record = {"config": config.__dict__, "data": data_digests(splits) | {"name": "made up"}}
    write_json(path / "config.json", record)
    torch.manual_seed(0)
    save_weights(config.build_network(), path / "last.safetensors")
    kept = predictions(wrong=4).assign(checkpoint="last", split="test")
    write_table(path / "predictions.parquet", kept)
    losses = {"train_loss": 1.0, "train_accuracy": 0.5, "valid_loss": [1.0, 2.0, 3.0], "valid_accuracy": 0.5}
    write_table(path / "history.csv", pd.DataFrame({"epoch": [1, 2, 3], **losses, "seconds": [9.0, 2.0, 3.0]}))
    scores = {"loss": 1.0, "accuracy": 0.8, "correct": 16, "notes": 20, "seconds": 0.5}
    tested = {"epoch": 1, "valid": scores, "test": scores}
    write_json(path / "metrics.json", {"training_seconds": 14.0, "last": tested | {"epoch": 3}, "best": tested})
    return Run(path)


def test_kept_predictions_are_taken_when_they_are_of_the_notes_at_hand(tmp_path, splits, settings):
    run = make_run(tmp_path / "run", splits, **SMALL)
    assert tables.run_outcomes(run, splits, settings)["correct"].sum() == len(NAMES) - 4


@pytest.mark.parametrize("other", ["data", "notes", "sound of test"])
def test_the_network_answers_when_they_are_not(tmp_path, splits, settings, other):
    run = make_run(tmp_path / "run", splits, **SMALL)
    if other == "data":
        splits["train"] = NSynthSplit("train", splits["train"].notes, splits["train"].waveforms, digest="other")
    elif other == "notes":
        splits["test"] = make_split("test", NAMES[::-1])
    else:
        write_json(run.path / "metrics.json", run.metrics | {"test_digest": "other"})
        run = Run(run.path)
    outcomes = tables.run_outcomes(run, splits, settings)
    assert outcomes["note_str"].tolist() == splits["test"].notes["note_str"].tolist()
    assert outcomes[LOGITS].abs().to_numpy().max() < 2.9, "the logits of the untrained network, not the kept ones"


def test_runs_table_tells_committed_runs(tmp_path, splits, settings):
    runs = {
        "LSTM": make_run(settings.results / "mini-lstm", splits, **SMALL),
        "own": make_run(tmp_path / "lstm-1", splits, **SMALL),
    }
    table = tables.runs_table(runs, settings)
    assert table["kept in"].tolist() == ["results (committed)", "runs (these settings)"]
    assert table.loc["LSTM", ["run", "trained on", "best epoch"]].tolist() == ["mini-lstm", "made up", 1]


def test_a_figure_says_how_long_each_of_its_runs_was_trained(tmp_path, splits):
    long, short = make_run(tmp_path / "a", splits), Run(tmp_path / "b")
    write_json(short.path / "config.json", {"config": RunConfig(epochs=1).__dict__})
    assert tables.epochs_of({"LSTM": long, "BLSTM": long}) == "3 epochs"
    assert tables.epochs_of({"LSTM": short, "BLSTM": long}) == "LSTM 1 epoch, BLSTM 3 epochs"


def test_hyperparameters_stand_beside_those_of_2018(tmp_path, splits):
    runs = {
        "BLSTM": make_run(tmp_path / "a", splits, "blstm"),
        "convolutional": make_run(tmp_path / "b", splits, "convolutional"),
    }
    configs = {name: run.config for name, run in runs.items()}
    table = tables.hyperparameter_table(configs, read_report()["hyperparameters"])
    for row in ("input of a step", "hidden size", "layers", "directions", "read out at", "numbers learned"):
        assert table.loc[row, "BLSTM"] == table.loc[row, "2018 BLSTM"], row
    assert table.loc["directions"].tolist()[:3] == ["one", "two", "two"]
    assert table.loc["training notes shuffled"].tolist() == ["no", "no", "yes", "yes"]
    assert table.loc["learning rate", "2018 LSTM"] == table.loc["learning rate", "BLSTM"] == "0.0008"
    assert table.loc["hidden size", "convolutional"] == "32, 64, 128, 128, 192"
    assert table.loc["layers", "convolutional"] == "6" and table.loc["directions", "convolutional"] == "–"
    assert table.loc["seed", "2018 LSTM"] == tables.UNKNOWN


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
    table = tables.summarise_seeds(RESULTS)
    assert table["variant"].tolist() == [
        "2018 BLSTM", "2018 LSTM", "2018 BLSTM", "BLSTM, SGD", "2018 LSTM", "tanh", "1e-4", "of my own",
    ]  # fmt: skip
    assert table["data"].tolist() == ["nsynth"] + 7 * ["nsynth-mini"]
    assert table["epochs"].tolist() == [20, 20, 20, 20, 10, 10, 10, 10]
    assert table["seeds"].tolist() == [2, 3, 3, 1, 3, 3, 2, 2]
    assert table.loc[1, ["mean", "deviation"]].tolist() == pytest.approx([0.62, 0.02])
    assert np.isnan(table.loc[3, "deviation"])
    assert tables.summarise_seeds(EMPTY).empty


def test_differences_are_from_the_2018_network_with_the_same_data_and_epochs():
    table = tables.differences_from_baseline(RESULTS).set_index("variant")
    assert table.index.tolist() == ["2018 BLSTM", "2018 BLSTM", "BLSTM, SGD", "tanh", "1e-4", "of my own"]
    assert table.loc["2018 BLSTM", "estimate"].tolist() == pytest.approx([np.nan, -0.02], nan_ok=True)
    assert table.loc["2018 BLSTM", "baseline"].tolist() == 2 * ["2018 LSTM"]
    expected = mean_difference([0.51, 0.50, 0.55], BASELINE, paired=True)
    assert table.loc["tanh", ["estimate", "low", "high"]].tolist() == pytest.approx(
        [expected.estimate, expected.low, expected.high]
    )
    assert table.loc["BLSTM, SGD", "baseline"] == "2018 BLSTM"
    assert table.loc["BLSTM, SGD", "estimate"] == pytest.approx(-0.3)
    assert table.loc["BLSTM, SGD", ["low", "high", "detectable"]].isna().all(), "one seed has no interval"
    assert tables.differences_from_baseline(EMPTY).empty


def test_without_a_baseline_there_is_no_difference():
    table = tables.differences_from_baseline(rows("activation", "tanh", [0.5, 0.6]))
    assert table[["estimate", "low", "high"]].isna().all(axis=None)


def test_values_of_a_row_are_in_the_order_of_the_seeds_and_each_seed_counts_once():
    shuffled = pd.concat([RESULTS.sample(frac=1, random_state=0), RESULTS])
    assert tables.over_seeds(shuffled, "nsynth-mini", "2018 LSTM", 10).tolist() == BASELINE
    assert tables.over_seeds(shuffled, "nsynth-mini", "2018 LSTM", 10, "parameters").tolist() == [7, 7, 7]
    assert tables.over_seeds(RESULTS, "nsynth", "tanh", 10).empty
    assert tables.over_seeds(EMPTY, "nsynth", "tanh", 10).empty


def test_two_variants_are_compared_over_their_common_seeds():
    found = tables.compare_variants(RESULTS.sample(frac=1, random_state=0), "nsynth-mini", "tanh", "2018 LSTM", 10)
    expected = mean_difference([0.51, 0.50, 0.55], BASELINE, paired=True)
    assert found[:3] == pytest.approx((expected.estimate, expected.low, expected.high))
    assert (found.seeds, found.probability_of_improvement) == (3, pytest.approx(2 / 3))
    assert found.detectable == pytest.approx(detectable_mean_difference(np.std([1, -2, 1], ddof=1) / 100, 3))
    without_seed_1 = RESULTS[(RESULTS["variant"] != "tanh") | (RESULTS["seed"] > 1)]
    fewer = tables.compare_variants(without_seed_1, "nsynth-mini", "tanh", "2018 LSTM", 10)
    assert (fewer.seeds, fewer.estimate) == (2, pytest.approx(-0.005)), "the second seed must meet the second"


def test_too_few_common_seeds_have_no_interval():
    one = tables.compare_variants(RESULTS, "nsynth-mini", "BLSTM, SGD", "2018 BLSTM", 20)
    assert (one.seeds, one.estimate, one.probability_of_improvement) == (1, pytest.approx(-0.3), 0)
    assert np.isnan([one.low, one.high, one.detectable]).all()
    none = tables.compare_variants(RESULTS, "nsynth-mini", "GRU", "2018 LSTM", 10)
    assert none.seeds == 0 and np.isnan(none.estimate) and np.isnan(none.probability_of_improvement)
    assert (none.variant_learnt, none.baseline_learnt) == (False, True)


def test_log_mel_rows_are_compared_with_log_mel_networks():
    names = ("log-mel LSTM", "log-mel BLSTM", "log-mel BLSTM, final state")
    table = pd.concat([rows("log-mel", name, [0.3, 0.4], data="nsynth", epochs=20) for name in names])
    found = tables.differences_from_baseline(table).set_index("variant")["baseline"]
    assert found.to_dict() == {"log-mel BLSTM": "log-mel LSTM", "log-mel BLSTM, final state": "log-mel BLSTM"}


def test_equal_seeds_improve_with_an_even_chance():
    twice = pd.concat([rows("a", "a", [0.3, 0.4]), rows("b", "b", [0.3, 0.4])])
    assert tables.compare_variants(twice, "nsynth-mini", "a", "b", 10)[:6] == (0, 0, 0, 1, 2, 0.5)


@pytest.mark.parametrize(
    ("data", "accuracy", "beats"),
    [("nsynth-mini", 0.12, False), ("nsynth-mini", 0.15, True), ("nsynth", 0.209, False), ("nsynth", 0.299, True)],
)
def test_a_variant_has_learnt_if_it_beats_the_most_frequent_family(data, accuracy, beats):
    notes = {"nsynth-mini": 400, "nsynth": 4096}[data]
    table = rows("core", "arm", [accuracy] * 3, data=data).assign(test_notes=notes)
    assert tables.learnt(table, data, "arm", 10) is beats


def test_numbers_as_text():
    assert [tables.percent(share) for share in (0.648, 0.0225, np.nan)] == ["64.8 %", "2.3 %", "–"]
    assert [tables.points(share) for share in (0.011, -0.2, np.nan)] == ["+1.1 points", "−20.0 points", "–"]
    assert [tables.p_value(value) for value in (0.0342, 0.0009)] == ["p = 0.034", "p < 0.001"]
    assert [tables.duration(seconds) for seconds in (4.2, 719, 49_980)] == ["4.2 s", "12 min", "13 h 53 min"]
    assert tables.interval_text(Interval(0.648, 0.634, 0.663)) == "64.8 % (63.4 % to 66.3 %)"
    assert tables.interval_text(Interval(0.01, -0.02, 0.04), tables.points) == (
        "+1.0 points (−2.0 points to +4.0 points)"
    )
    assert tables.interval_text(Interval(1.222, 1.1, 1.35), "{:.2f}".format) == "1.22 (1.10 to 1.35)"
    assert tables.interval_text(Interval(0.5, np.nan, np.nan)) == "50.0 %"


def test_shares_in_percent_leave_the_table_and_its_other_columns_alone():
    table = pd.DataFrame({"notes": [3, 4], "accuracy": [0.5, np.nan]})
    shown = tables.in_percent(table, "accuracy")
    assert shown.to_dict("list") == {"notes": [3, 4], "accuracy": ["50.0\N{NO-BREAK SPACE}%", "–"]}
    assert table["accuracy"][0] == 0.5
    nested = tables.in_percent(pd.concat({"LSTM": table[["accuracy"]]}, axis=1))
    assert nested["LSTM", "accuracy"].tolist() == shown["accuracy"].tolist()
