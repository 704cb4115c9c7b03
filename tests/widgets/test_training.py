"""The monitor of a training, without a browser: what it tells, and that stopping loses nothing."""

from dataclasses import replace

import lightning
import pytest
from jupyter_client.manager import run_kernel

from conftest import PATIENCE, TINY, tones
from nsynth_helpers.settings import Settings
from nsynth_helpers.training.fit import TrainingStopped, fit
from nsynth_helpers.training.runs import HISTORY_COLUMNS
from nsynth_helpers.widgets import TrainingMonitor, training
from nsynth_helpers.widgets.training import TrainingCurves

# A cell that trains and speaks all the time, slowly.
SPEAKS = f"""
import time
curves = TrainingCurves()
send = curves.comm.kernel.session.send
def slowly(*given, **named):
    time.sleep(0.05)
    return send(*given, **named)
curves.comm.kernel.session.send = slowly
end = time.monotonic() + {PATIENCE / 2}
print(curves.comm.comm_id, flush=True)
while not curves.asked_to_stop and time.monotonic() < end:
    curves.tell("running", "lstm", 2, [], 0.5, None)
assert curves.asked_to_stop, "stop was heard after the cell alone"
"""


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


def test_a_page_is_told_at_most_once_a_while_however_short_the_epochs(splits, settings, monkeypatch):
    monkeypatch.setattr(training, "BETWEEN_UPDATES", 1e9)
    told = []
    monkeypatch.setattr(TrainingCurves, "tell", lambda self, state, *_: told.append(state))
    fit(TINY, splits, settings, callbacks=[TrainingMonitor()])
    assert told == ["running", "finished"] and TINY.epochs > 2


def test_stop_is_heard_while_the_kernel_speaks():
    with run_kernel() as client:
        client.execute("from nsynth_helpers.widgets.training import TrainingCurves", reply=True)
        client.control_channel.send(client.session.msg("create_subshell_request"))
        subshell = client.get_control_msg(timeout=PATIENCE)["content"]["subshell_id"]
        asked = client.execute(SPEAKS)
        while (message := client.get_iopub_msg(timeout=PATIENCE))["msg_type"] != "stream":
            pass
        told = {"comm_id": message["content"]["text"].strip(), "data": {"method": "custom", "content": {"stop": True}}}
        stop = client.session.msg("comm_msg", told)
        stop["header"]["subshell_id"] = subshell
        client.shell_channel.send(stop)
        while (reply := client.get_shell_msg(timeout=PATIENCE))["parent_header"].get("msg_id") != asked:
            pass
        assert reply["content"]["status"] == "ok", reply["content"]


def test_a_training_that_diverged_is_told_without_nan_which_json_lacks():
    curves = TrainingCurves()
    curves.tell("stopped", "lstm", 2, [{"epoch": 1, "train_loss": float("nan"), "seconds": 1.0}], 0.5, None)
    assert curves.data["history"] == [{"epoch": 1, "train_loss": None}]
