"""Tables that set runs beside each other, on made-up runs and on the committed predictions of 2018."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import cached_split
from nsynth_helpers.analysis import comparisons
from nsynth_helpers.analysis.outcomes import LOGITS, confusion_changes, make_outcomes
from nsynth_helpers.claims import published
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.models import count_parameters
from nsynth_helpers.settings import PROJECT_ROOT, Settings, write_json
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
    config = RunConfig(network=network, network_arguments=arguments, seconds=0.1)
    record = {"config": config.__dict__, "data": data_digests(splits) | {"name": "made up"}}
    write_json(path / "config.json", record)
    torch.manual_seed(0)
    save_weights(config.build_network(), path / "last.safetensors")
    kept = predictions(wrong=4).assign(checkpoint="last", split="test")
    write_table(path / "predictions.parquet", kept)
    seconds = {"epoch": [1, 2, 3], "seconds": [9.0, 2.0, 3.0], "valid_loss": [1.0, 2.0, 3.0]}
    write_table(path / "history.csv", pd.DataFrame(seconds))
    write_json(
        path / "metrics.json",
        {"training_seconds": 14.0, "last": {"test": {"seconds": 0.5}}, "best": {"epoch": 1}},
    )
    return Run(path)


def test_kept_predictions_are_taken_when_they_are_of_the_notes_at_hand(tmp_path, splits, settings):
    run = make_run(tmp_path / "run", splits, **SMALL)
    assert comparisons.run_outcomes(run, splits, settings)["correct"].sum() == len(NAMES) - 4


@pytest.mark.parametrize("other", ["data", "notes"])
def test_the_network_answers_when_they_are_not(tmp_path, splits, settings, other):
    run = make_run(tmp_path / "run", splits, **SMALL)
    if other == "data":
        splits["train"] = NSynthSplit("train", splits["train"].notes, splits["train"].waveforms, digest="other")
    else:
        splits["test"] = make_split("test", NAMES[::-1])
    outcomes = comparisons.run_outcomes(run, splits, settings)
    assert outcomes["note_str"].tolist() == splits["test"].notes["note_str"].tolist()
    assert outcomes[LOGITS].abs().to_numpy().max() < 2.9, "the logits of the untrained network, not the kept ones"


def test_runs_table_tells_committed_runs(tmp_path, splits, settings):
    runs = {
        "LSTM": make_run(settings.results / "mini-lstm", splits, **SMALL),
        "own": make_run(tmp_path / "lstm-1", splits, **SMALL),
    }
    table = comparisons.runs_table(runs, settings)
    assert table["kept in"].tolist() == ["results (committed)", "runs (these settings)"]
    assert table.loc["LSTM", ["run", "trained on", "best epoch"]].tolist() == ["mini-lstm", "made up", 1]


def test_hyperparameters_stand_beside_those_of_2018(tmp_path, splits):
    runs = {
        "BLSTM": make_run(tmp_path / "a", splits, "blstm"),
        "convolutional": make_run(tmp_path / "b", splits, "convolutional"),
    }
    table = comparisons.hyperparameter_table(runs)
    for row in ("input of a step", "hidden size", "layers", "directions", "read out at", "numbers learned"):
        assert table.loc[row, "BLSTM"] == table.loc[row, "2018 BLSTM"], row
    assert table.loc["directions"].tolist()[:3] == ["one", "two", "two"]
    assert table.loc["training notes shuffled"].tolist() == ["no", "no", "yes", "yes"]
    assert table.loc["learning rate", "2018 LSTM"] == table.loc["learning rate", "BLSTM"] == "0.0008"
    assert table.loc["hidden size", "convolutional"] == "32, 64, 128, 128, 192"
    assert table.loc["layers", "convolutional"] == "6" and table.loc["directions", "convolutional"] == "–"
    assert table.loc["seed", "2018 LSTM"] == comparisons.UNKNOWN


def test_results_table_holds_both_intervals():
    table = comparisons.results_table({"a": make_outcomes(predictions(wrong=4)), "b": make_outcomes(predictions())})
    assert table.loc["a", ["notes", "correct"]].tolist() == [20, 16] and table.loc["a", "accuracy"] == 0.8
    assert table.loc["a", "low"] < table.loc["a", "clustered_low"] <= 0.8 <= table.loc["a", "clustered_high"]
    assert table.loc["b", ["accuracy", "macro_f1", "balanced_accuracy"]].tolist() == [1, 1, 1]


def test_published_results_begin_with_the_recomputed_lstm():
    recomputed = make_outcomes(Run(PROJECT_ROOT / "results" / "lstm-2018").predictions("test"))
    table = comparisons.published_results(recomputed)
    assert table.loc["2018 LSTM", "correct"] == table.loc["2018 LSTM, recomputed", "correct"] == 2656
    assert table["accuracy"].round(5).tolist() == [0.64844, 0.64844, 0.63696, 0.45752, 0.52515]
    assert table["clustered_low"].notna().tolist() == [True, False, False, False, False]
    assert table.loc["2018 LSTM", "macro_f1"] == pytest.approx(table.loc["2018 LSTM, recomputed", "macro_f1"])


def test_networks_table(tmp_path, splits):
    runs = {
        "LSTM": make_run(tmp_path / "a", splits),
        "convolutional": make_run(tmp_path / "b", splits, "convolutional"),
    }
    table = comparisons.networks_table(runs, {name: make_outcomes(predictions(wrong=10)) for name in runs})
    assert table.loc["LSTM", "parameters"] == count_parameters(runs["LSTM"].config.build_network())
    assert table.loc["LSTM", ["seconds_per_epoch", "training_seconds", "test_seconds"]].tolist() == [3, 14, 0.5]
    assert table.loc["LSTM", "hours_2018"] == pytest.approx(13 + 53 / 60)
    assert np.isnan(table.loc["convolutional", "hours_2018"])
    assert table.loc["convolutional", "accuracy_2018"] == published.accuracy("convolutional")


def test_calibration_is_fitted_on_valid_and_judged_on_test():
    shouting = make_outcomes(predictions(loudness=12.0, wrong=10))
    table = comparisons.calibration_table(
        {"half right": (shouting, shouting), "right": (make_outcomes(predictions()), shouting)}
    )
    half, right = table.loc["half right"], table.loc["right"]
    assert half["temperature"] > 2 and half["calibration_error_after"] < 0.05 < half["calibration_error_before"]
    assert half["loss_after"] < half["loss_before"] and half["accuracy"] == 0.5
    assert right["temperature"] < 1, "the valid notes alone decide"


def test_reliability_pair_keeps_the_answers():
    outcomes = make_outcomes(predictions(loudness=6.0, wrong=10))
    before, after = comparisons.reliability_pair(outcomes, 4.0).values()
    assert before["notes"].sum() == after["notes"].sum() == len(NAMES)
    assert after["probability"].mean() < before["probability"].mean()


def test_the_surest_note_by_logit_need_not_be_the_surest_by_probability():
    table = predictions()[:2]
    table.loc[0, ["logit_bass", "logit_brass"]] = [9.0, 8.0]
    table.loc[1, "logit_bass"] = 5.0
    picks = comparisons.logit_and_probability_picks(make_outcomes(table)).loc["bass"]
    assert (picks["by_logit"], picks["logit"]) == (NAMES[0], 9.0)
    assert picks["by_probability"] == NAMES[1] and not picks["same"]
    table.loc[0, "logit_brass"] = 0.0
    table.loc[2] = ["bass_acoustic_002-060-100", "bass", *[0.0] * 9, 99.0]
    assert comparisons.logit_and_probability_picks(make_outcomes(table)).loc["bass", "same"]


def test_majority_is_counted_in_train_and_tried_on_test():
    train = pd.DataFrame({"family": ["synth_lead"] * 9 + ["reed"] * 3 + ["bass"] * 2})
    assert comparisons.majority_accuracy(train, make_outcomes(predictions())) == ("reed", 0.1)


def test_chosen_changes_are_the_same_pairs_for_each_network():
    forward, backward = make_outcomes(predictions()), make_outcomes(predictions(wrong=4))
    changes = {"a": confusion_changes(forward, backward), "b": confusion_changes(forward, forward)}
    chosen = comparisons.choose_changes(changes, most=2)
    pairs = [list(zip(table["actual"], table["predicted"], strict=True)) for table in chosen.values()]
    assert pairs[0] == pairs[1] == [("keyboard", "bass"), ("bass", "keyboard"), ("bass", "brass"), ("brass", "flute")]
    assert chosen["a"]["difference"].tolist() == [0, 0, 1, 1]
    bass_alone = {"a": changes["a"].query("actual == 'bass'")}
    assert comparisons.choose_changes(bass_alone, most=0)["a"]["actual"].tolist() == ["bass"]
