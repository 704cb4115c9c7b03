"""What the 2018 report published, in the shapes of our own results, so that the two can stand side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from nsynth_helpers.analysis.outcomes import name_confusion_matrix
from nsynth_helpers.settings import InputError
from nsynth_helpers.training.runs import HISTORY_COLUMNS

REPORT_FILE = Path(__file__).with_name("report_2018.json")
RECURRENT_NETWORKS = ("lstm", "blstm")
EARLIER_NETWORKS = ("fully_connected", "convolutional")


def read_report() -> dict:
    """All facts of the report: hyperparameters, results of each network, and the claims of its text.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    return json.loads(REPORT_FILE.read_text())


def accuracy(network: str) -> float:
    """The published test accuracy of a network, a fraction of the 4,096 notes of nsynth-test.

    Parameters
    ----------
    network : {"lstm", "blstm", "fully_connected", "convolutional"}
        The last two are those of the group's earlier reports.

    Raises
    ------
    InputError
        If the report has no such network.

    Notes
    -----
    Used in: 02_lstm_training, 03_blstm_training, 04_result_analysis.
    """
    return _result(network, (*RECURRENT_NETWORKS, *EARLIER_NETWORKS))["accuracy_percent"] / 100


def correct_notes(network: str) -> int:
    """How many of the 4,096 test notes the ``lstm`` or ``blstm`` classified correctly.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    return _result(network)["correct"]


def history(network: str) -> pd.DataFrame:
    """The published training curves of the ``lstm`` or ``blstm``, in the columns of `Run.history`.

    Returns
    -------
    pandas.DataFrame
        One row for each of the 20 epochs: `HISTORY_COLUMNS`, losses in nats and accuracies as fractions. ``seconds``
        is empty, since only the whole training was timed.

    Raises
    ------
    InputError
        If the report has no curves of that network.

    Notes
    -----
    The BLSTM's curves are those of the published vector figure; the LSTM's were read off a picture, to about 0.02
    in loss and 0.3 points in accuracy.

    Used in: 02_lstm_training, 03_blstm_training, 04_result_analysis.
    """
    curves = pd.DataFrame(_result(network)["curves"])
    percentages = ["train_accuracy", "valid_accuracy"]
    curves[percentages] /= 100
    curves["epoch"] = curves.index + 1
    return curves.reindex(columns=list(HISTORY_COLUMNS))


def confusion_matrix(network: str) -> pd.DataFrame:
    """The published confusion matrix of the ``lstm`` or ``blstm`` on nsynth-test, in the shape of `analysis`'s own.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    return name_confusion_matrix(_result(network)["confusion_matrix"])


def training_seconds(network: str) -> int:
    """The published time of the ``lstm`` or ``blstm``, in seconds.

    Notes
    -----
    The report gives hours and minutes from start to end, for training and testing together ("4 am to 5:53 pm").

    Used in: 03_blstm_training, 04_result_analysis.
    """
    hours, minutes = map(int, _result(network)["training_time"].split(":"))
    return 3600 * hours + 60 * minutes


def _result(network: str, known: tuple[str, ...] = RECURRENT_NETWORKS) -> dict:
    if network not in known:
        raise InputError(f"The 2018 report has no such result of '{network}'; ask for one of {', '.join(known)}.")
    report = read_report()
    return (report | report["earlier_models"])[network]
