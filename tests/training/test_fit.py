"""Training through a tiny configuration: what a run holds, resuming, and what bad input says."""

import os
import pickle
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
from nsynth_helpers.settings import InputError, Settings
from nsynth_helpers.training import fit as training
from nsynth_helpers.training.fit import find_run, fit
from nsynth_helpers.training.predict import LOGITS, evaluate_network, predict, score, test_every_epoch
from nsynth_helpers.training.runs import HISTORY_COLUMNS, Run, RunConfig, keep_run, load_weights, run_folder


@pytest.fixture(scope="module")
def splits():
    return {"train": tones("train", 8, 1), "valid": tones("valid", 2, 2), "test": tones("test", 3, 3)}


@pytest.fixture
def settings(tmp_path):
    return replace(
        Settings.from_environment({"NSYNTH_DEVICE": "cpu"}), runs=tmp_path / "runs", results=tmp_path / "kept"
    )


def same_history(one: Run, other: Run) -> bool:
    """Equal but for the seconds."""
    columns = list(HISTORY_COLUMNS[:-1])
    return one.history[columns].equals(other.history[columns])


def test_a_run_holds_all_that_it_should(splits, settings):
    run = fit(TINY, splits, settings)
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


def test_history_states_what_the_weights_give(splits, settings):
    run = fit(TINY, splits, settings)
    valid = score(predict(run.load_network("2"), TINY.frames(splits["valid"])))
    assert run.history["valid_loss"][1] == pytest.approx(valid["loss"], abs=1e-5)
    assert run.history["valid_accuracy"][1] == pytest.approx(valid["accuracy"])


def test_the_saved_network_gives_the_saved_predictions(splits, settings):
    run = fit(TINY, splits, settings)
    again = predict(run.load_network("best"), TINY.frames(splits["test"]), batch_size=7)
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


def test_weights_and_states_that_could_execute_are_refused(splits, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="only safetensors weights are read"):
        load_weights(TINY.build_network(), tmp_path / "evil.safetensors")
    path = settings.runs / "resumed"
    with pytest.raises(KeyboardInterrupt):
        fit(TINY, splits, settings, path, callbacks=[StopAfter(1)])
    torch.save({"state_dict": Evil()}, path / training.RESUME_FILE)
    with pytest.raises(InputError, match=r"training\.ckpt is damaged or of another version; delete it"):
        fit(TINY, splits, settings, path)
    assert not (tmp_path / "executed").exists()


def test_weights_that_are_missing_or_of_another_network_are_refused(splits, settings, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
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
            loader.sampler.set_epoch(epoch)
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
    table = test_every_epoch(run, splits["test"], settings)
    assert table["test_accuracy"].iloc[-1] == run.metrics["last"]["test"]["accuracy"]
    kept = keep_run(run, settings.results / "kept")
    assert test_every_epoch(kept, splits["test"], settings).equals(table)


def test_an_unknown_optimizer_is_refused(splits, settings):
    with pytest.raises(InputError, match=r"optimizer cannot be used .*'adam'"):
        fit(replace(TINY, optimizer="adagrad"), splits, settings)


def test_a_full_disk_ends_in_one_sentence_and_the_finished_epochs_go_on(splits, settings, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = settings.runs / "full"
    with monkeypatch.context() as patch:
        save = training.save_weights
        patch.setattr(training, "save_weights", lambda net, file: full() if "003" in file.name else save(net, file))
        with pytest.raises(InputError, match=r"is full; free some space .* the finished epochs are kept"):
            fit(TINY, splits, settings, path)
    assert fit(TINY, splits, settings, path).history["epoch"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("retrain", [False, True])
def test_other_processes_of_a_distributed_training_skip_a_finished_run(splits, settings, monkeypatch, retrain):
    """The first process, which looks after the folder, would leave them waiting for it."""
    run = fit(TINY, splits, settings)
    trained = []
    monkeypatch.setattr(training.rank_zero_only, "rank", 1)
    monkeypatch.setattr(training, "_train", lambda *_: trained.append(1))
    assert fit(TINY, splits, settings, retrain=retrain).path == run.path
    assert bool(trained) == retrain


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
