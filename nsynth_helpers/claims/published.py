"""What the 2018 report published, in the shapes of our own results, so that the two can stand side by side."""

import json
import re
from pathlib import Path

import pandas as pd

from nsynth_helpers.analysis.outcomes import name_confusion_matrix
from nsynth_helpers.training.runs import HISTORY_COLUMNS

RECURRENT_NETWORKS = ("lstm", "blstm")
EARLIER_NETWORKS = ("fully_connected", "convolutional")


def read_report() -> dict:
    """All facts of the report: hyperparameters, results of each network, and the claims of its text."""
    return json.loads(Path(__file__).with_name("report_2018.json").read_bytes())


def claims() -> list[str]:
    """The fourteen claims in the report's words, without our remarks in brackets on how to test them."""
    return [re.sub(r" \([^)]*\)", "", claim) for claim in read_report()["claims"]]


def accuracy(network: str) -> float:
    """The published test accuracy of a recurrent or an earlier network."""
    report = read_report()
    return (report | report["earlier_models"])[network]["accuracy_percent"] / 100


def correct_notes(network: str) -> int:
    """How many of the 4,096 test notes the ``lstm`` or ``blstm`` classified correctly.

    Examples
    --------
    >>> correct_notes("lstm")
    2656
    """
    return read_report()[network]["correct"]


def history(network: str) -> pd.DataFrame:
    """The published training curves of the ``lstm`` or ``blstm``, in the columns of `Run.history`.

    Twenty epochs; losses in nats, accuracies as fractions, ``seconds`` empty (only the whole training was timed). The
    BLSTM's curves are those of the published vector figure; the LSTM's were read off a picture, to about 0.02 nats
    (the last five valid losses: 0.05) and 0.3 points.
    """
    curves = pd.DataFrame(read_report()[network]["curves"])
    curves[["train_accuracy", "valid_accuracy"]] /= 100
    curves["epoch"] = curves.index + 1
    return curves.reindex(columns=list(HISTORY_COLUMNS))


def confusion_matrix(network: str) -> pd.DataFrame:
    """The published confusion matrix of the ``lstm`` or ``blstm`` on nsynth-test; rows actual, columns predicted."""
    return name_confusion_matrix(read_report()[network]["confusion_matrix"])


def training_seconds(network: str) -> int:
    """The published time of the ``lstm`` or ``blstm``: training and testing together ("4 am to 5:53 pm")."""
    hours, minutes = map(int, read_report()[network]["training_time"].split(":"))
    return 3600 * hours + 60 * minutes
