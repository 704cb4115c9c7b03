"""A training to watch, and to stop at the end of an epoch."""

import time

import lightning
import numpy as np
from IPython.display import display

from nsynth_helpers import view
from nsynth_helpers.training.fit import RunRecorder
from nsynth_helpers.training.runs import Run

BETWEEN_UPDATES = 1  # seconds; a page on a slow machine, told more often, falls behind for good


class TrainingCurves(view.View):
    """Loss and accuracy per epoch in the browser, time left, and a stop button.

    Its data: ``state`` (``running``, ``stopped``, ``finished``), ``network``, ``epochs``, ``history`` (the rows of
    ``history.csv`` without their seconds, None for NaN), ``progress`` (0 to 1), ``seconds_left``.
    """

    def __init__(self):
        super().__init__(data={"kind": "training"})
        self.asked_to_stop = False
        self.on_msg(self._stop)
        # JupyterLab from 4.4 speaks to widgets through a subshell of ipykernel 7, a thread beside the running cell; but
        # ipykernel 7.4 leads answers on a comm to the shell that spoke on it last, which is the busy one.
        self.comm._reply_subshell_for = lambda data, subshell: subshell

    def tell(self, state: str, network: str, epochs: int, history, progress: float, seconds_left: float | None) -> None:
        # JSON has no NaN, which the losses of a training that diverged are.
        rows = [
            {name: value if np.isfinite(value) else None for name, value in row.items() if name != "seconds"}
            for row in history
        ]
        known = {"state": state, "network": network, "epochs": epochs, "history": rows}
        self.data = {"kind": "training", **known, "progress": progress, "seconds_left": seconds_left}

    def _stop(self, _, message: dict, __) -> None:
        self.asked_to_stop = bool(message.get("stop"))
        self.send({"stopping": self.asked_to_stop})


class TrainingMonitor(lightning.Callback):
    """Shows a training as it goes on; its stop button ends it after the epoch, with everything kept.

    Stopping is an interrupt at a good moment: run the cell again to go on.

    Examples
    --------
    ::

        monitor = ns.widgets.TrainingMonitor()
        run = ns.fit(config, splits, settings, callbacks=[monitor])
        monitor.show(run)  # the same picture where the run was finished before
    """

    curves: TrainingCurves | None = None

    def show(self, run: Run) -> None:
        """Show a finished run's whole history."""
        if self.curves is None:
            self.curves = TrainingCurves()
            display(self.curves)
        epochs = run.config.epochs
        self.curves.tell("finished", run.config.network, epochs, run.history.to_dict("records"), 1.0, 0.0)

    def on_train_start(self, trainer, module) -> None:
        self.curves = TrainingCurves()
        self.recorder = next(each for each in trainer.callbacks if isinstance(each, RunRecorder))
        self.started, self.first_epoch, self.told = time.perf_counter(), trainer.current_epoch, -np.inf
        if trainer.is_global_zero:
            display(self.curves)

    def on_train_epoch_start(self, trainer, module) -> None:
        """Tell of the epochs before, or end after them."""
        if self.curves.asked_to_stop:
            raise KeyboardInterrupt
        self._tell_now_and_then(trainer, module, 0)

    def on_train_batch_end(self, trainer, module, outputs, batch, number: int) -> None:
        self._tell_now_and_then(trainer, module, number + 1)

    def on_train_end(self, trainer, module) -> None:
        self._tell(trainer, module, "finished")

    def on_exception(self, trainer, module, exception) -> None:
        """What ends a training early also ends its curves."""
        self._tell(trainer, module, "stopped")

    def _tell_now_and_then(self, trainer, module, batches: int) -> None:
        if time.perf_counter() - self.told > BETWEEN_UPDATES:
            self._tell(trainer, module, "running", batches / trainer.num_training_batches)

    def _tell(self, trainer, module, state: str, part: float = 0.0) -> None:
        epochs = trainer.max_epochs
        done = len(self.recorder.rows) + part
        here = done - self.first_epoch
        self.told = time.perf_counter()
        left = (self.told - self.started) / here * (epochs - done) if here else None
        self.curves.tell(state, module.config.network, epochs, self.recorder.rows, done / epochs, left)
