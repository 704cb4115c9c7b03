"""The monitor of a training, without a browser: what it tells, and that stopping loses nothing."""

from dataclasses import replace

import lightning
import pytest

from conftest import TINY, tones
from nsynth_helpers.settings import Settings
from nsynth_helpers.training.fit import TrainingStopped, fit
from nsynth_helpers.training.runs import HISTORY_COLUMNS
from nsynth_helpers.widgets import TrainingMonitor
from nsynth_helpers.widgets.training import TrainingCurves


@pytest.fixture(scope="module")
def splits():
    return {"train": tones("train", 8, 1), "valid": tones("valid", 2, 2), "test": tones("test", 3, 3)}


@pytest.fixture
def settings(tmp_path):
    return replace(Settings.from_environment({"NSYNTH_DEVICE": "cpu"}), runs=tmp_path / "runs")


class Presses(lightning.Callback):
    """A reader who presses stop while an epoch runs."""

    def __init__(self, monitor: TrainingMonitor, epoch: int):
        self.monitor, self.epoch = monitor, epoch

    def on_train_batch_start(self, trainer, *_) -> None:
        """In the first batch of the epoch."""
        if trainer.current_epoch + 1 == self.epoch:
            self.monitor.curves._handle_custom_msg({"stop": True}, [])


def test_curves_are_the_history_and_end_finished(splits, settings):
    monitor = TrainingMonitor()
    run = fit(TINY, splits, settings, callbacks=[monitor])
    data = monitor.curves.data
    assert (data["state"], data["epochs"], data["progress"]) == ("finished", TINY.epochs, 1)
    assert [row["valid_loss"] for row in data["history"]] == pytest.approx(run.history["valid_loss"].tolist())
    assert data["seconds_left"] == 0
    monitor.show(run)
    found = TrainingMonitor()
    found.show(fit(TINY, splits, settings, callbacks=[found]))
    assert found.curves.data == monitor.curves.data, "a run found finished shows the picture of one trained just now"


def test_stop_ends_after_the_epoch_in_one_sentence_and_the_next_call_goes_on(splits, settings):
    monitor = TrainingMonitor()
    with pytest.raises(TrainingStopped, match="stopped after epoch 2 of 4") as stopped:
        fit(TINY, splits, settings, callbacks=[monitor, Presses(monitor, epoch=2)])
    assert stopped.value._render_traceback_() == [str(stopped.value)]
    assert monitor.curves.data["state"] == "stopped" and len(monitor.curves.data["history"]) == 2
    again = TrainingMonitor()
    run = fit(TINY, splits, settings, callbacks=[again])
    assert len(again.curves.data["history"]) == 4 and again.curves.data["state"] == "finished"
    whole = fit(TINY, splits, settings, settings.runs / "whole")
    columns = list(HISTORY_COLUMNS[:-1])
    assert run.history[columns].equals(whole.history[columns]), "as if it had never been stopped"


def test_stop_in_the_last_epoch_finishes(splits, settings):
    monitor = TrainingMonitor()
    run = fit(TINY, splits, settings, callbacks=[monitor, Presses(monitor, epoch=TINY.epochs)])
    assert run.finished and monitor.curves.data["state"] == "finished"


def test_a_training_that_diverged_is_told_without_nan_which_json_lacks():
    curves = TrainingCurves()
    curves.tell("stopped", "lstm", 2, [{"epoch": 1, "train_loss": float("nan"), "seconds": 1.0}], 0.5, None)
    assert curves.data["history"] == [{"epoch": 1, "train_loss": None}]
