"""Training through a tiny configuration: what a run holds, resuming, and what bad input says."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from conftest import TINY, tones
from nsynth_helpers.data.cache import load_splits
from nsynth_helpers.data.dataset import NSynthDataModule
from nsynth_helpers.settings import PROJECT_ROOT, InputError, Settings
from nsynth_helpers.training import fit as training
from nsynth_helpers.training import predict as predicting
from nsynth_helpers.training.devices import choose_device
from nsynth_helpers.training.fit import find_run, fit
from nsynth_helpers.training.predict import LOGITS, evaluate_network, predict, score
from nsynth_helpers.training.runs import (
    HISTORY_COLUMNS,
    Run,
    RunConfig,
    keep_run,
    load_weights,
    read_manifest,
    run_folder,
)


@pytest.fixture
def splits(tiny_splits):
    return tiny_splits


@pytest.fixture
def settings(tiny_settings):
    return tiny_settings


def same_history(one: Run, other: Run) -> bool:
    """Equal but for the seconds."""
    columns = list(HISTORY_COLUMNS[:-1])
    return one.history[columns].equals(other.history[columns])


def test_a_run_holds_all_that_it_should(tiny_run):
    run = tiny_run
    files = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    assert files >= {
        "config.json", "environment.json", "history.csv", "best.safetensors", "last.safetensors",
        "predictions.parquet", "metrics.json", *(f"epochs/epoch-{epoch:03d}.safetensors" for epoch in (1, 2, 3, 4)),
    }  # fmt: skip
    assert list(run.history.columns) == list(HISTORY_COLUMNS)
    assert run.history["epoch"].tolist() == [1, 2, 3, 4]
    assert run.history["train_loss"].is_monotonic_decreasing
    assert run.config == TINY
    assert run.environment["torch"] == torch.__version__
    assert len(run.predictions("test", "best")) == 30
    assert len(run.predictions("valid")) == 20
    assert run.metrics["last"]["epoch"] == 4
    assert run.metrics["best"]["epoch"] == run.history.set_index("epoch")["valid_loss"].idxmin()
    assert run.metrics["last"]["test"]["accuracy"] == score(run.predictions())["accuracy"]
    assert run.metrics["training_seconds"] == pytest.approx(run.history["seconds"].sum())


def test_easy_notes_are_learned(splits, settings):
    run = fit(replace(TINY, epochs=25, learning_rate=0.01), splits, settings)
    assert run.metrics["last"]["test"]["accuracy"] > 0.8
    assert run.history["train_loss"].iloc[-1] < 1.0 < run.history["train_loss"].iloc[0]


def test_history_states_what_the_weights_give(tiny_run, splits):
    run = tiny_run
    valid = score(predict(run.load_network("2"), TINY.frames(splits["valid"])))
    assert run.history["valid_loss"][1] == pytest.approx(valid["loss"], abs=1e-5)
    assert run.history["valid_accuracy"][1] == pytest.approx(valid["accuracy"])


@pytest.mark.parametrize(
    ("device", "precision", "fused"),
    [("cuda", "32-true", True), ("cpu", "32-true", False), ("cpu", "bf16-mixed", True)],
)
def test_the_step_of_the_optimizer_is_fused_on_a_gpu(device, precision, fused, monkeypatch):
    config = replace(TINY, precision=precision)
    module = training.FamilyClassifier(config.build_network(), config, None)
    monkeypatch.setattr(training.FamilyClassifier, "device", torch.device(device))
    assert module.configure_optimizers().defaults["fused"] is fused


def test_a_note_counts_the_same_in_a_short_last_batch(splits, settings):
    """Twenty valid notes in batches of sixteen."""
    run = fit(replace(TINY, epochs=1, batch_size=2), splits, settings)
    valid = score(predict(run.load_network(), TINY.frames(splits["valid"])))
    assert run.history["valid_loss"][0] == pytest.approx(valid["loss"], rel=1e-6)


def test_the_saved_network_gives_the_saved_predictions(tiny_run, splits, monkeypatch):
    run = tiny_run
    monkeypatch.setattr(predicting, "EVALUATION_BATCH", 7)
    again = predict(run.load_network("best"), TINY.frames(splits["test"]))
    np.testing.assert_allclose(again[LOGITS], run.predictions("test", "best")[LOGITS], atol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(splits, settings):
    weights = [
        load_file(fit(replace(TINY, seed=seed), splits, settings, settings.runs / name).path / "last.safetensors")
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not torch.equal(weights[0]["out.bias"], weights[2]["out.bias"])


class StopAfter(lightning.Callback):
    """Interrupts a training in the middle of an epoch, as a user does."""

    def __init__(self, epoch: int):
        self.epoch = epoch

    def on_train_batch_start(self, trainer, module, batch, batch_index):
        if trainer.current_epoch == self.epoch and batch_index == 3:
            raise KeyboardInterrupt


def test_an_interrupted_training_ends_as_an_uninterrupted_one(splits, settings):
    config = replace(TINY, network_arguments={"hidden_size": 12, "num_layers": 2, "dropout": 0.5})
    whole = fit(config, splits, settings, settings.runs / "whole")
    path = settings.runs / "interrupted"
    for epoch in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            fit(config, splits, settings, path, callbacks=[StopAfter(epoch)])
        assert not Run(path).finished
        assert len(Run(path).history) == epoch
    resumed = fit(config, splits, settings, path)
    assert same_history(whole, resumed)
    assert (whole.path / "last.safetensors").read_bytes() == (path / "last.safetensors").read_bytes()


BEYOND_2018 = {"schedule": "one_cycle", "optimizer": "adamw", "gradient_clip": 1.0, "label_smoothing": 0.1}
BEYOND_2018 |= {"mixup": 0.3, "waveform_augmentation": 1.0, "sampling": "balanced", "notes_per_epoch": 60}
TINY_STUDIO = {"hop": 128, "window": 256, "bands": 16, "stem": [4, 4], "hidden_size": 12}


def test_a_recipe_that_is_interrupted_ends_as_an_uninterrupted_one(splits, settings):
    config = RunConfig("studio", TINY_STUDIO, epochs=4, batch_size=8, seconds=0.1, learning_rate=0.01, **BEYOND_2018)
    whole = fit(config, splits, settings, settings.runs / "whole")
    path = settings.runs / "interrupted"
    for epoch in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            fit(config, splits, settings, path, callbacks=[StopAfter(epoch)])
    assert same_history(whole, fit(config, splits, settings, path))
    assert (whole.path / "last.safetensors").read_bytes() == (path / "last.safetensors").read_bytes()


def test_one_cycle_raises_and_lowers_the_learning_rate_with_every_step(splits, settings):
    rates = []

    class Rates(lightning.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_index):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    config = replace(TINY, schedule="one_cycle", learning_rate=0.01, notes_per_epoch=36)
    fit(config, splits, settings, callbacks=[Rates()])
    assert len(rates) == 4 * 5
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.01, rel=0.1) and 4 <= top <= 7
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.001


def test_valid_is_judged_without_what_a_recipe_does_to_train(splits, settings):
    """Neither smoothed nor mixed nor varied."""
    run = fit(replace(TINY, label_smoothing=0.5, mixup=1.0, waveform_augmentation=1.0), splits, settings)
    valid = score(predict(run.load_network(), TINY.frames(splits["valid"])))
    assert run.history["valid_loss"].iloc[-1] == pytest.approx(valid["loss"], abs=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        *({"label_smoothing": 0.2}, {"mixup": 0.5}, {"waveform_augmentation": 0.5}, {"gradient_clip": 0.01}),
        *({"schedule": "one_cycle"}, {"sampling": "balanced"}, {"rendered_weight": 2.0}, {"notes_per_epoch": 40}),
    ],
)
def test_each_part_of_a_recipe_changes_what_is_learnt(change, tiny_run, splits, settings):
    run = fit(replace(TINY, epochs=1, **change), splits, settings)
    weights, plain = (load_file(one.path / "epochs" / "epoch-001.safetensors") for one in (run, tiny_run))
    assert not torch.equal(weights["out.weight"], plain["out.weight"])


def test_a_run_with_its_last_weights_alone_is_evaluated(splits, settings, tmp_path):
    config = RunConfig("studio", TINY_STUDIO, epochs=1, batch_size=8, seconds=0.1)
    run = fit(config, splits, settings)
    for name in ("config.json", "last.safetensors"):
        (tmp_path / "kept").mkdir(exist_ok=True)
        shutil.copyfile(run.path / name, tmp_path / "kept" / name)
    kept = Run(tmp_path / "kept")
    scores = evaluate_network(kept.load_network(), kept.config, splits["test"], "cpu")
    assert scores["loss"] == pytest.approx(run.metrics["last"]["test"]["loss"], abs=1e-6)


def test_a_row_written_before_the_kill_is_not_kept_twice(splits, settings):
    path = settings.runs / "torn"
    with pytest.raises(KeyboardInterrupt):
        fit(TINY, splits, settings, path, callbacks=[StopAfter(2)])
    history = Run(path).history
    pd.concat([history, history.tail(1).assign(epoch=3)]).to_csv(path / "history.csv", index=False)
    assert fit(TINY, splits, settings, path).history["epoch"].tolist() == [1, 2, 3, 4]


def test_a_finished_run_is_loaded_and_retrain_trains_again(splits, settings, monkeypatch):
    first = fit(TINY, splits, settings)
    trained = []
    train = training._train
    monkeypatch.setattr(training, "_train", lambda *arguments: (trained.append(1), train(*arguments)))
    assert same_history(fit(TINY, splits, settings), first)
    assert not trained
    fit(TINY, splits, settings, retrain=True)
    assert trained


def test_a_folder_of_another_run_is_refused_and_kept(splits, settings):
    run = fit(TINY, splits, settings, settings.runs / "x")
    before = (run.path / "last.safetensors").read_bytes()
    with pytest.raises(InputError, match="x holds a run of another configuration or data; choose another folder"):
        fit(replace(TINY, seed=9), splits, settings, run.path)
    other = splits | {"train": replace(splits["train"], digest="other")}
    with pytest.raises(InputError, match="another configuration or data"):
        fit(TINY, other, settings, run.path)
    assert (run.path / "last.safetensors").read_bytes() == before


def test_runs_of_other_data_or_configuration_lie_elsewhere(splits, settings):
    other = splits | {"valid": replace(splits["valid"], digest="other")}
    folders = {
        run_folder(settings, TINY, splits),
        run_folder(settings, replace(TINY, seed=3), splits),
        run_folder(settings, TINY, other),
    }
    assert len(folders) == 3
    assert run_folder(settings, TINY, splits) == run_folder(settings, TINY, splits | {"test": splits["train"]})


def test_find_run_prefers_a_finished_run_and_falls_back_to_the_committed_one(splits, settings):
    with pytest.raises(InputError, match="train the lstm first"):
        find_run(settings, TINY, splits)
    run = fit(TINY, splits, settings)
    assert find_run(settings, TINY, splits).path == run.path
    kept = keep_run(run, settings.results / "mini-lstm")
    assert not (kept.path / "epochs").exists()
    assert find_run(settings, replace(TINY, seed=77), splits).path == kept.path
    assert kept.predictions().equals(run.predictions())


CHILD = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import TINY, tones
from dataclasses import replace
from nsynth_helpers.settings import Settings
from nsynth_helpers.training.fit import find_run, fit
splits = {{"train": tones("train", 8, 1), "valid": tones("valid", 2, 2), "test": tones("test", 3, 3)}}
print("ready", flush=True)
fit(replace(TINY, epochs=12), splits, Settings.from_environment({{"NSYNTH_DEVICE": "cpu"}}), Path({path!r}))
"""


def test_a_killed_training_ends_with_the_same_epochs_and_weights(splits, settings):
    whole = fit(replace(TINY, epochs=12), splits, settings, settings.runs / "whole")
    path = settings.runs / "killed"
    script = CHILD.format(tests=str(Path(__file__).parents[1]), path=str(path))
    for delay in (0.3, 0.8, 0.5):
        environment = os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
        child = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE)
        child.stdout.readline()
        deadline = time.monotonic() + 60
        rows = len(Run(path).history)
        while len(Run(path).history) == rows and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(delay / 10)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert 1 <= len(Run(path).history) <= 12
    resumed = fit(replace(TINY, epochs=12), splits, settings, path)
    assert same_history(whole, resumed)
    assert (whole.path / "last.safetensors").read_bytes() == (path / "last.safetensors").read_bytes()


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return (os.system, ("touch executed",))


@pytest.fixture(scope="module")
def interrupted_run(tiny_splits, tmp_path_factory) -> Path:
    """A training that was interrupted in its third epoch."""
    path = tmp_path_factory.mktemp("interrupted") / "run"
    settings = Settings.from_environment({"NSYNTH_DEVICE": "cpu"})
    with pytest.raises(KeyboardInterrupt, match="stopped after epoch 2 of 4; run it again to go on"):
        fit(TINY, tiny_splits, settings, path, callbacks=[StopAfter(2)])
    return path


@pytest.fixture
def interrupted(interrupted_run, tmp_path) -> Run:
    """The same, the test's own."""
    return Run(Path(shutil.copytree(interrupted_run, tmp_path / "interrupted")))


def test_weights_that_could_execute_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="is no safetensors file"):
        load_weights(TINY.build_network(), tmp_path / "evil.safetensors")
    assert not (tmp_path / "executed").exists()


def damage(state: Path, kind: str) -> None:
    whole = state.read_bytes()
    content = torch.load(state, weights_only=True)
    if kind == "evil":
        torch.save(content | {"state_dict": Evil()}, state)
    elif kind == "of another network":
        torch.save(content | {"state_dict": {"network.out.bias": torch.zeros(3)}}, state)
    elif kind == "without its rows":
        content["callbacks"]["RunRecorder"]["rows"].pop()
        torch.save(content, state)
    elif kind == "of other types":
        torch.save(content | {"epoch": "two", "loops": None}, state)
    elif kind == "a list":
        torch.save([1, 2], state)
    else:
        state.write_bytes({"empty": b"", "cut off": whole[:-1000], "a text": b"epoch 2"}[kind])


@pytest.mark.parametrize(
    "kind",
    ["empty", "cut off", "a text", "a list", "of another network", "of other types", "without its rows", "evil"],
)
def test_a_damaged_state_is_told(interrupted, splits, settings, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    damage(interrupted.path / training.RESUME_FILE, kind)
    with pytest.raises(InputError, match=r"training\.ckpt is damaged or of another version; delete it"):
        fit(TINY, splits, settings, interrupted.path)
    assert not (tmp_path / "executed").exists()


def test_without_its_state_a_training_starts_anew(interrupted, tiny_run, splits, settings):
    (interrupted.path / training.RESUME_FILE).unlink()
    assert same_history(fit(TINY, splits, settings, interrupted.path), tiny_run)


def shorten(history: Path, kind: str) -> None:
    lines = history.read_text().splitlines()
    history.write_text("\n".join({"a row short": lines[:-1], "a row over": [*lines, lines[-1]], "empty": []}[kind]))


@pytest.mark.parametrize("kind", ["a row short", "a row over"])
def test_a_damaged_history_is_mended_from_the_state(interrupted, tiny_run, splits, settings, kind):
    shorten(interrupted.path / "history.csv", kind)
    run = fit(TINY, splits, settings, interrupted.path)
    assert same_history(run, tiny_run)
    assert (run.path / "last.safetensors").read_bytes() == (tiny_run.path / "last.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["a row short", "a row over", "empty"])
def test_a_history_never_makes_the_wrong_epoch_the_last(tiny_copy, tiny_run, splits, settings, kind):
    """Also where the kill came after the last epoch, before the evaluation."""
    for name in ("metrics.json", "last.safetensors", "best.safetensors"):
        (tiny_copy.path / name).unlink()
    shorten(tiny_copy.path / "history.csv", kind)
    run = fit(TINY, splits, settings, tiny_copy.path)
    assert same_history(run, tiny_run)
    assert run.metrics["last"]["epoch"] == 4
    assert (run.path / "last.safetensors").read_bytes() == (tiny_run.path / "last.safetensors").read_bytes()


def test_weights_that_are_missing_or_of_another_network_are_refused(splits, settings, tmp_path):
    with pytest.raises(InputError, match="is no safetensors file"):
        load_weights(TINY.build_network(), tmp_path / "nothing.safetensors")
    run = fit(TINY, splits, settings)
    with pytest.raises(InputError, match="weights of another network"):
        load_weights(RunConfig("blstm").build_network(), run.path / "last.safetensors")


def test_shuffling_changes_every_epoch_and_repeats_with_the_seed(splits):
    def orders(shuffle, seed):
        data = NSynthDataModule(TINY.frames(splits["train"]), TINY.frames(splits["valid"]), 8, shuffle, seed)
        loader = data.train_dataloader()
        result = []
        for epoch in (0, 1):
            loader.batch_sampler.sampler.set_epoch(epoch)
            result.append(torch.cat([labels for _, labels in loader]).tolist())
        return result

    first, second = orders(True, 1)
    assert first != second
    assert sorted(first) == sorted(second)
    assert orders(True, 1) == [first, second]
    assert orders(True, 2)[0] != first
    labels = TINY.frames(splits["train"]).labels.tolist()
    assert orders(False, 1) == [labels, labels]


def test_every_epoch_is_tested_once_and_remembered(splits, settings):
    run = fit(TINY, splits, settings)
    table = predicting.test_every_epoch(run, splits["test"], settings)
    assert table["test_accuracy"].iloc[-1] == run.metrics["last"]["test"]["accuracy"]
    kept = keep_run(run, settings.results / "kept")
    assert predicting.test_every_epoch(kept, splits["test"], settings).equals(table)


def test_a_full_disk_ends_in_one_sentence_and_the_finished_epochs_go_on(splits, settings, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = settings.runs / "full"
    with monkeypatch.context() as patch:
        save = training.save_weights
        patch.setattr(training, "save_weights", lambda net, file: full() if "003" in file.name else save(net, file))
        with pytest.raises(InputError, match=r"is full; free some space .* what is finished is kept"):
            fit(TINY, splits, settings, path)
    assert fit(TINY, splits, settings, path).history["epoch"].tolist() == [1, 2, 3, 4]


def test_a_folder_of_predictions_alone_is_refused_in_one_sentence(splits, settings, tmp_path):
    evaluate_network(TINY.build_network(), TINY, splits["test"], "cpu", tmp_path / "alone")
    with pytest.raises(InputError, match="holds a run of another configuration or data"):
        fit(TINY, splits, settings, tmp_path / "alone")


# Four epochs are enough for the convolutional net, and save a minute.
@pytest.mark.parametrize(("network", "epochs"), [("fully_connected", 20), ("convolutional", 4)])
def test_the_earlier_networks_beat_the_majority_by_ten_points_on_the_mini_subset(network, epochs, settings):
    mini = load_splits(settings)
    run = fit(RunConfig.from_settings(network, settings, epochs=epochs), mini, settings)
    most = mini["train"].notes["family"].mode()[0]
    majority = (run.predictions("test")["family"] == most).mean()
    assert run.metrics["last"]["test"]["accuracy"] >= majority + 0.1


# What a run was tested on


@pytest.fixture
def other_test(splits):
    """The same training data, with another test split."""
    return splits | {"test": tones("test", 5, 4)}


def test_a_run_is_tested_again_with_another_test_split(splits, other_test, settings):
    run = fit(TINY, splits, settings)
    predicting.test_every_epoch(run, splits["test"], settings)
    before = (run.path / "last.safetensors").read_bytes()
    again = fit(TINY, other_test, settings)
    assert again.path == run.path
    assert again.metrics["last"]["test"]["notes"] == 50
    assert again.metrics["last"]["epoch"] == 4
    assert again.metrics["test_digest"] == other_test["test"].digest
    assert set(again.predictions("test")["note_str"]) == set(other_test["test"].notes["note_str"])
    assert same_history(again, run)
    assert (again.path / "last.safetensors").read_bytes() == before
    assert not (again.path / "test_by_epoch.csv").exists()
    table = predicting.test_every_epoch(again, other_test["test"], settings)
    assert table["test_accuracy"].iloc[-1] == again.metrics["last"]["test"]["accuracy"]
    assert find_run(settings, TINY, splits).metrics["last"]["test"]["notes"] == 30


def test_other_sounds_under_the_same_names_are_tested_too(splits, settings):
    before = fit(TINY, splits, settings).metrics["last"]["test"]["loss"]
    silent = replace(splits["test"], waveforms=splits["test"].waveforms * 0, digest="silent")
    assert fit(TINY, splits | {"test": silent}, settings).metrics["last"]["test"]["loss"] != before


def without_digest(run: Run) -> None:
    """As runs of before November 2026 are."""
    metrics = json.loads((run.path / "metrics.json").read_text())
    del metrics["test_digest"]
    (run.path / "metrics.json").write_text(json.dumps(metrics))


def test_a_run_without_a_digest_is_known_by_the_names_of_its_notes(
    tiny_copy, splits, other_test, settings, monkeypatch
):
    without_digest(tiny_copy)
    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluate_run", lambda *_: pytest.fail("was tested on these notes already"))
        fit(TINY, splits, settings, tiny_copy.path)
    assert fit(TINY, other_test, settings, tiny_copy.path).metrics["last"]["test"]["notes"] == 50


def test_a_run_without_weights_is_not_tested_again(tiny_copy, other_test, settings):
    for file in tiny_copy.path.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(InputError, match="holds no weights to test again on this test split; retrain it"):
        fit(TINY, other_test, settings, tiny_copy.path)
    assert Run(tiny_copy.path).metrics == tiny_copy.metrics


def test_a_kill_while_testing_again_does_not_bring_the_old_figures_back(
    tiny_copy, splits, other_test, settings, monkeypatch
):
    without_digest(tiny_copy)
    with monkeypatch.context() as patch:
        write, written = predicting.write_json, []
        patch.setattr(
            predicting, "write_json", lambda *arguments: 1 / 0 if written else written.append(write(*arguments)) or None
        )
        with pytest.raises(ZeroDivisionError):
            fit(TINY, other_test, settings, tiny_copy.path)
    assert fit(TINY, other_test, settings, tiny_copy.path).metrics["last"]["test"]["notes"] == 50


def test_a_committed_run_of_other_test_notes_is_not_shown(tiny_run, splits, other_test, settings):
    keep_run(tiny_run, settings.results / "mini-lstm")
    assert find_run(settings, replace(TINY, seed=5), splits).path.name == "mini-lstm"
    with pytest.raises(InputError, match="train the lstm first"):
        find_run(settings, replace(TINY, seed=5), other_test)


def test_every_epoch_is_not_tested_on_other_notes_than_the_run(tiny_copy, other_test, settings):
    with pytest.raises(InputError, match="was tested on other notes than these"):
        predicting.test_every_epoch(tiny_copy, other_test["test"], settings)


def test_trained_and_found_runs_stand_in_the_manifest(splits, settings):
    run = fit(TINY, splits, settings)
    fit(TINY, splits, settings, settings.runs / "elsewhere")
    assert [settings.runs / entry["run"] for entry in read_manifest(settings.runs)] == [run.path]
    keep_run(run, settings.results / "mini-lstm")
    find_run(settings, replace(TINY, seed=5), splits)
    assert [entry["run"] for entry in read_manifest(settings.runs)] == [run.path.name, "../results/mini-lstm"]


# What this machine or this data cannot do


def some(split, notes: int):
    """The first notes of a split."""
    return replace(split, notes=split.notes[:notes], waveforms=split.waveforms[:notes])


@pytest.mark.parametrize("network", ["lstm", "convolutional"])
@pytest.mark.parametrize(("notes", "batch"), [(2, 32), (20, 32), (9, 8), (5, 1), (1, 32), (1, 1)])
def test_few_notes_and_small_batches_train_or_are_refused(network, notes, batch, splits, settings):
    arguments = TINY.network_arguments if network == "lstm" else {}
    config = RunConfig(network, arguments, epochs=1, batch_size=batch, seconds=0.1)
    few = splits | {"train": some(splits["train"], notes), "valid": some(splits["valid"], 1)}
    if notes == 1 or (batch == 1 and network != "lstm"):
        with pytest.raises(InputError, match=r"needs two at least|set NSYNTH_BATCH_SIZE to 2 or more"):
            fit(config, few, settings)
        assert not settings.runs.exists()
    else:
        assert np.isfinite(fit(config, few, settings).history["train_loss"]).all()


@pytest.mark.parametrize("seconds", [0.01, 0.5, 2.0])
def test_other_lengths_train(seconds, splits, settings):
    longer = {name: replace(split, waveforms=np.tile(split.waveforms, (1, 20))) for name, split in splits.items()}
    for network in ("lstm", "fully_connected", "convolutional"):
        arguments = TINY.network_arguments if network == "lstm" else {}
        run = fit(RunConfig(network, arguments, epochs=1, batch_size=64, seconds=seconds), longer, settings)
        assert run.metrics["last"]["test"]["notes"] == 30


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epochs": 0}, r"cannot be used \(epochs: "),
        ({"batch_size": -1}, r"cannot be used \(batch_size: "),
        ({"learning_rate": float("nan")}, r"cannot be used \(learning_rate: "),
        ({"optimizer": "adagrad"}, r"cannot be used \(optimizer: .*'adam'"),
        ({"network": "resnet"}, r"There is no network 'resnet'"),
        ({"network_arguments": {"heads": 8}}, r"The lstm network cannot be built with .*heads"),
        ({"network_arguments": {"hidden_size": "large"}}, r"The lstm network cannot be built with .*large"),
        ({"seconds": 3.0}, r"set NSYNTH_SECONDS to fit"),
        ({"schedule": "cosine"}, r"cannot be used \(schedule: .*'one_cycle'"),
        ({"gradient_clip": -1.0}, r"cannot be used \(gradient_clip: "),
        ({"label_smoothing": 1.0}, r"cannot be used \(label_smoothing: "),
        ({"mixup": -0.1}, r"cannot be used \(mixup: "),
        ({"waveform_augmentation": float("inf")}, r"cannot be used \(waveform_augmentation: "),
        ({"sampling": "weighted"}, r"cannot be used \(sampling: .*'balanced'"),
        ({"rendered_weight": -0.1}, r"cannot be used \(rendered_weight: "),
        ({"notes_per_epoch": 1}, r"cannot be used \(notes_per_epoch: "),
    ],
)
def test_an_impossible_configuration_is_refused_before_anything_is_written(changes, sentence, splits, settings):
    with pytest.raises(InputError, match=sentence):
        fit(replace(TINY, **changes), splits, settings)
    assert not settings.runs.exists()


def test_test_notes_that_cannot_be_read_are_told_before_the_training(splits, settings):
    short = splits | {"test": replace(splits["test"], waveforms=splits["test"].waveforms[:, :100])}
    with pytest.raises(InputError, match="test cache holds 100"):
        fit(TINY, short, settings)
    assert not settings.runs.exists()


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused_before_the_training(device, splits, settings):
    if choose_device("auto").type == device:
        pytest.skip(f"this machine has {device}")
    with pytest.raises(InputError, match=f"NSYNTH_DEVICE is '{device}', which this machine does not have"):
        fit(TINY, splits, replace(settings, device=device))
    assert not settings.runs.exists()


def test_nodes_without_a_launcher_are_refused_instead_of_waited_for(splits, settings, monkeypatch):
    for name in training.LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="NSYNTH_NODES is 2, but no launcher started this process"):
        fit(TINY, splits, replace(settings, nodes=2))


def test_a_training_that_diverges_ends_in_one_sentence(splits, settings):
    with pytest.raises(InputError, match="diverged"):
        fit(RunConfig("convolutional", epochs=2, seconds=0.1, learning_rate=1e30), splits, settings)


def test_ctrl_c_ends_in_one_sentence_and_the_finished_epochs_go_on(tmp_path):
    """As a user does it, on the command line and nsynth-mini."""
    path = tmp_path / "run"
    command = [sys.executable, "-m", "nsynth_helpers", "train", "lstm", "--epochs", "200", "--out", path]
    environment = os.environ | {
        **{"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "NSYNTH_SECONDS": "0.05", "NSYNTH_BATCH_SIZE": "400"},
        **{"NSYNTH_CACHE": str(tmp_path / "cache"), "NSYNTH_DEVICE": "cpu"},
    }
    options = {"stderr": subprocess.PIPE, "text": True, "cwd": PROJECT_ROOT}
    with subprocess.Popen(command, env=environment, **options) as child:
        deadline = time.monotonic() + 200
        while len(Run(path).history) < 2 and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=100)
    done = len(Run(path).history)
    assert errors == f"nsynth_helpers: stopped after epoch {done} of 200; run it again to go on.\n"
    assert child.returncode == 130
    assert 2 <= done < 200
    # Between the two files, an interrupt leaves a state that is one epoch further.
    assert torch.load(path / training.RESUME_FILE, weights_only=True)["epoch"] + 1 in (done, done + 1)


def test_an_interrupt_while_an_epoch_is_written_does_not_count_it(splits, settings, monkeypatch):
    save = lightning.Trainer.save_checkpoint

    def interrupted(trainer, path, *arguments, **options):
        save(trainer, path, *arguments, **options)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    config = replace(TINY, epochs=3)
    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt, match="stopped after epoch 1 of 3"):
        fit(config, splits, settings)
    monkeypatch.undo()
    run = fit(config, splits, settings)
    assert len(run.history) == 3
