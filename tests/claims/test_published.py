"""The published results against the report's file and against one another."""

import pandas as pd
import pytest

from nsynth_helpers.claims import published
from nsynth_helpers.data.metadata import FAMILIES, OFFICIAL_FAMILY_NOTES
from nsynth_helpers.settings import Settings
from nsynth_helpers.training.runs import HISTORY_COLUMNS

both_networks = pytest.mark.parametrize("network", published.RECURRENT_NETWORKS)


def test_the_reports_families_and_hyperparameters_are_the_workbooks():
    report, settings = published.read_report(), Settings()
    assert tuple(report["families"]) == FAMILIES
    for name in ("learning_rate", "batch_size", "epochs", "seconds"):
        assert report["hyperparameters"][name] == getattr(settings, name)


@both_networks
def test_history_holds_the_curves_of_twenty_epochs_as_fractions(network):
    history, curves = published.history(network), published.read_report()[network]["curves"]
    assert tuple(history.columns) == HISTORY_COLUMNS
    assert history["epoch"].tolist() == list(range(1, 21))
    assert history["seconds"].isna().all()
    for split in ("train", "valid"):
        assert history[f"{split}_loss"].tolist() == curves[f"{split}_loss"]
        assert (100 * history[f"{split}_accuracy"]).tolist() == pytest.approx(curves[f"{split}_accuracy"])


def test_history_is_known_at_its_ends():
    lstm, blstm = published.history("lstm"), published.history("blstm")
    assert lstm.loc[0, ["train_loss", "valid_accuracy"]].tolist() == pytest.approx([1.699, 0.424])
    assert blstm.loc[19, ["valid_loss", "train_accuracy"]].tolist() == pytest.approx([2.812, 0.98336])


@both_networks
def test_the_lowest_valid_loss_is_at_epoch_two(network):
    history = published.history(network)
    assert history.loc[history["valid_loss"].idxmin(), "epoch"] == 2


@pytest.mark.parametrize(("network", "correct"), [("lstm", 2656), ("blstm", 2609)])
def test_confusion_matrix_agrees_with_the_stated_accuracy(network, correct):
    confusion = published.confusion_matrix(network)
    trace = sum(confusion.loc[family, family] for family in FAMILIES)
    assert trace == published.correct_notes(network) == correct
    assert published.accuracy(network) == pytest.approx(correct / confusion.to_numpy().sum(), abs=5e-6)


@both_networks
def test_confusion_matrix_has_the_official_notes_of_each_family_in_its_rows(network):
    official = list(OFFICIAL_FAMILY_NOTES["test"])
    del official[9]  # synth_lead
    assert published.confusion_matrix(network).sum(axis=1).tolist() == official


def test_confusion_matrix_has_actual_families_in_rows():
    assert published.confusion_matrix("lstm").loc["bass", "guitar"] == 85
    assert published.confusion_matrix("blstm").loc["bass", "guitar"] == 84


def test_training_time_is_hours_and_minutes():
    seconds = pd.Series({network: published.training_seconds(network) for network in published.RECURRENT_NETWORKS})
    assert seconds.to_dict() == {"lstm": 49_980, "blstm": 60_960}


def test_accuracies_of_the_earlier_networks():
    assert [published.accuracy(name) for name in published.EARLIER_NETWORKS] == pytest.approx([0.45752, 0.52515])
