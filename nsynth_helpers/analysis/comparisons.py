"""Tables that set runs beside each other and beside the 2018 report: settings, results, speed, reversed notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import nn

from nsynth_helpers.analysis.calibration import fit_temperature, reliability_table
from nsynth_helpers.analysis.outcomes import (
    accuracy_intervals,
    extremes,
    logits_of,
    make_outcomes,
    summary_of_confusion,
    summary_scores,
    with_temperature,
)
from nsynth_helpers.analysis.statistics import wilson_interval
from nsynth_helpers.claims import published
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.models import build_network, count_parameters
from nsynth_helpers.settings import Settings
from nsynth_helpers.training.predict import predict, score
from nsynth_helpers.training.runs import Run, data_digests

NETWORK_NAMES = {
    "lstm": "LSTM",
    "blstm": "BLSTM",
    "fully_connected": "fully connected net",
    "convolutional": "convolutional net",
}
SHOWN_SETTINGS = {
    "optimizer": "optimizer",
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "epochs": "epochs",
    "seconds": "seconds of each note",
    "shuffle": "training notes shuffled",
    "seed": "seed",
}
UNKNOWN = "not published"
OWN_PAIRS = (("keyboard", "bass"), ("bass", "keyboard"))


def run_outcomes(
    run: Run, splits: Mapping[str, NSynthSplit], settings: Settings, split: str = "test", checkpoint: str = "last"
) -> pd.DataFrame:
    """What a run says of the notes of a split at hand, outcomes.

    The predictions that the run keeps are taken if they are of these very notes. A committed run may have met other
    data: then its network classifies the notes at hand.

    Parameters
    ----------
    run : Run
        A finished run.
    splits : mapping of str to NSynthSplit
        The data at hand.
    settings : Settings
        The device.
    split, checkpoint : str
        Which notes, and ``last`` or ``best``.

    Returns
    -------
    pandas.DataFrame
        What `analysis.make_outcomes` returns, in the order of the split's ten families.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    notes = run.config.frames(splits[split])
    digests = data_digests(dict(splits))
    if all(run.record["data"].get(name) == digest for name, digest in digests.items()):
        kept = run.predictions(split, checkpoint)
        if kept["note_str"].tolist() == notes.notes["note_str"].tolist():
            return make_outcomes(kept)
    return make_outcomes(predict(run.load_network(checkpoint), notes, settings.device))


def runs_table(runs: Mapping[str, Run], settings: Settings) -> pd.DataFrame:
    """Which runs are analysed: their folders, whether they are committed ones, and what they were trained on.

    Parameters
    ----------
    runs : mapping of str to Run
        By name.
    settings : Settings
        Names the folder of committed runs.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    rows = {
        name: {
            "run": run.path.name,
            "kept in": "results (committed)" if run.path.parent == settings.results else "runs (these settings)",
            "trained on": run.record["data"]["name"],
            "epochs": run.config.epochs,
            "best epoch": run.metrics["best"]["epoch"],
            "seed": run.config.seed,
        }
        for name, run in runs.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def hyperparameter_table(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Every hyper-parameter of the 2018 report's two networks and of some runs, side by side.

    Parameters
    ----------
    runs : mapping of str to Run
        The runs, by the names of their columns.

    Returns
    -------
    pandas.DataFrame
        One row a hyper-parameter, one column a network, as text.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    report = published.read_report()["hyperparameters"]
    columns = {}
    for network, directions in (("lstm", "one"), ("blstm", "two")):
        columns[f"2018 {NETWORK_NAMES[network]}"] = {
            "input of a step": report["input_size"],
            "hidden size": report["hidden_size"],
            "layers": report["num_layers"],
            "directions": directions,
            "read out at": "last step",
            **{name: report.get(field, UNKNOWN) for field, name in SHOWN_SETTINGS.items()},
            "training notes shuffled": "no",
            "optimizer": report["optimizer"].lower(),
            "numbers learned": f"{count_parameters(build_network(network)):,}",
        }
    columns |= {name: _settings_of(run) for name, run in runs.items()}
    return pd.DataFrame(columns).map(_text)


def _settings_of(run: Run) -> dict:
    network = run.config.build_network()
    shown = {name: getattr(run.config, field) for field, name in SHOWN_SETTINGS.items()}
    if hasattr(network, "rnn"):
        shown |= {
            "input of a step": network.rnn.input_size,
            "hidden size": network.rnn.hidden_size,
            "layers": network.rnn.num_layers,
            "directions": "two" if network.rnn.bidirectional else "one",
            "read out at": f"{network.readout} step" if network.readout == "last" else network.readout,
        }
    else:
        layers = [layer for layer in network.modules() if isinstance(layer, (nn.Linear, nn.Conv1d))]
        sizes = [layer.weight.shape[0] for layer in layers[:-1]]
        shown |= {"input of a step": "all at once", "hidden size": ", ".join(map(str, sizes)), "layers": len(layers)}
    return shown | {"numbers learned": f"{count_parameters(network):,}"}


def _text(value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:g}"
    return str(value)


def results_table(outcomes: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row of scores for each set of outcomes notes, with both intervals of the accuracy.

    Parameters
    ----------
    outcomes : mapping of str to pandas.DataFrame
        From a name (network and checkpoint) to what `analysis.make_outcomes` returns.

    Returns
    -------
    pandas.DataFrame
        Indexed by name: ``notes``, ``correct``, ``accuracy``, ``low``, ``high`` (Wilson), ``clustered_low``,
        ``clustered_high`` (instruments resampled), ``macro_f1``, ``balanced_accuracy``; fractions.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    rows = {}
    for name, notes in outcomes.items():
        scores = summary_scores(notes)
        alone, clustered = accuracy_intervals(notes).itertuples()
        rows[name] = {
            "notes": scores.notes,
            "correct": scores.correct,
            "accuracy": scores.accuracy,
            "low": alone.low,
            "high": alone.high,
            "clustered_low": clustered.low,
            "clustered_high": clustered.high,
            "macro_f1": scores.macro_f1,
            "balanced_accuracy": scores.balanced_accuracy,
        }
    return pd.DataFrame.from_dict(rows, orient="index").astype({"notes": int, "correct": int})


def published_results(recomputed: pd.DataFrame) -> pd.DataFrame:
    """The published results on nsynth-test in the shape of `results_table`, after the LSTM's recomputed row.

    Parameters
    ----------
    recomputed : pandas.DataFrame
        The outcomes notes of ``results/lstm-2018``: with them the resampling of instruments is possible, too.

    Returns
    -------
    pandas.DataFrame
        NaN where the report tells too little.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    rows = {}
    for network in published.RECURRENT_NETWORKS:
        scores = summary_of_confusion(published.confusion_matrix(network))
        rows[f"2018 {NETWORK_NAMES[network]}"] = {
            "notes": scores.notes,
            "correct": scores.correct,
            "macro_f1": scores.macro_f1,
            "balanced_accuracy": scores.balanced_accuracy,
        }
    notes = published.read_report()["test_notes"]
    for network in published.EARLIER_NETWORKS:
        correct = round(published.accuracy(network) * notes)
        rows[f"2018 {NETWORK_NAMES[network]}"] = {"notes": notes, "correct": correct}
    table = pd.DataFrame.from_dict(rows, orient="index")
    interval = wilson_interval(table["correct"], table["notes"])
    table = table.assign(accuracy=interval.estimate, low=interval.low, high=interval.high)
    return pd.concat([results_table({"2018 LSTM, recomputed": recomputed}), table])


def networks_table(runs: Mapping[str, Run], outcomes: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Size, speed and accuracy of networks, beside the 2018 report's accuracy and time.

    Parameters
    ----------
    runs : mapping of str to Run
        By name; the configuration's network finds the published figures.
    outcomes : mapping of str to pandas.DataFrame
        The outcomes test notes of each.

    Returns
    -------
    pandas.DataFrame
        Indexed by name: ``parameters``, ``seconds_per_epoch``, ``training_seconds``, ``test_seconds`` (all test notes
        of the run's own data), ``accuracy``, ``low``, ``high`` (Wilson), ``accuracy_2018``, ``hours_2018`` (training
        and testing).

    Notes
    -----
    Used in: 04_result_analysis.
    """
    rows = {}
    for name, run in runs.items():
        network = run.config.network
        scores, alone = results_table({name: outcomes[name]}).iloc[0], run.metrics
        timed = network in published.RECURRENT_NETWORKS
        rows[name] = {
            "parameters": count_parameters(run.config.build_network()),
            "seconds_per_epoch": run.history["seconds"].median(),
            "training_seconds": alone["training_seconds"],
            "test_seconds": alone["last"]["test"]["seconds"],
            **scores[["accuracy", "low", "high"]],
            "accuracy_2018": published.accuracy(network),
            "hours_2018": published.training_seconds(network) / 3600 if timed else np.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index").astype({"parameters": int})


def calibration_table(
    predictions: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
) -> pd.DataFrame:
    """Loss and calibration on test before and after temperature scaling; the temperature is fitted on valid alone.

    Parameters
    ----------
    predictions : mapping of str to (pandas.DataFrame, pandas.DataFrame)
        From a name (network and checkpoint) to its outcomes valid and its outcomes test notes; so is the result indexed:
        ``accuracy``, ``temperature``, ``calibration_error_before``, ``calibration_error_after`` (the expected one),
        ``loss_before``, ``loss_after`` (cross-entropy).

    Notes
    -----
    Used in: 04_result_analysis.
    """
    rows = {}
    for name, (valid, test) in predictions.items():
        temperature = fit_temperature(logits_of(valid), valid["label"])
        scaled = with_temperature(test, temperature)
        rows[name] = {
            "accuracy": test["correct"].mean(),
            "temperature": temperature,
            "calibration_error_before": summary_scores(test).expected_calibration_error,
            "calibration_error_after": summary_scores(make_outcomes(scaled)).expected_calibration_error,
            "loss_before": score(test)["loss"],
            "loss_after": score(scaled)["loss"],
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def reliability_pair(test: pd.DataFrame, temperature: float, bins: int = 15) -> dict[str, pd.DataFrame]:
    """The reliability tables of outcomes test notes, before and after dividing the logits by a temperature.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    named = {"before": test, "after temperature scaling": make_outcomes(with_temperature(test, temperature))}
    return {name: reliability_table(notes["probability"], notes["correct"], bins) for name, notes in named.items()}


def logit_and_probability_picks(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Per family, the surest correct note by logit (as in 2018) and by probability, and whether they are one note.

    From outcomes notes; indexed by family: ``by_logit``, ``logit``, ``by_probability``, ``probability``, ``same``.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    right = outcomes[outcomes["correct"]]
    logit = pd.Series(logits_of(right).max(axis=1), index=right.index)
    rows = {}
    for family, notes in right.groupby("family"):
        by_logit = notes.loc[logit[notes.index].idxmax()]
        by_probability = extremes(notes).iloc[0]
        rows[family] = {
            "by_logit": by_logit["note_str"],
            "logit": logit[by_logit.name],
            "by_probability": by_probability["note_str"],
            "probability": by_probability["probability"],
            "same": by_logit["note_str"] == by_probability["note_str"],
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def majority_accuracy(train: pd.DataFrame, outcomes: pd.DataFrame) -> tuple[str, float]:
    """The most frequent family of train, and the test accuracy of always answering it.

    Parameters
    ----------
    train : pandas.DataFrame
        The table of the train split; ``synth_lead`` does not count.
    outcomes : pandas.DataFrame
        Judged test notes.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    counts = train["family"].value_counts().reindex(FAMILIES, fill_value=0)
    family = str(counts.idxmax())
    return family, float((outcomes["family"] == family).mean())


def choose_changes(
    changes: Mapping[str, pd.DataFrame], most: int = 6, own: Sequence[tuple[str, str]] = OWN_PAIRS
) -> dict[str, pd.DataFrame]:
    """The same pairs of families out of each network's confusion changes: those asked about, and the largest.

    Parameters
    ----------
    changes : mapping of str to pandas.DataFrame
        From network to what `analysis.confusion_changes` returns.
    most : int
        How many pairs to add, by the largest change in any network.
    own : sequence of (actual, predicted)
        Pairs that were asked about before looking, first in the result where the families have notes.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    pairs = {name: table.set_index(["actual", "predicted"]) for name, table in changes.items()}
    sizes = pd.concat([table["difference"].abs() for table in pairs.values()], axis=1).max(axis=1)
    largest = sizes.drop([pair for pair in own if pair in sizes.index]).sort_values(ascending=False, kind="stable")
    chosen = [pair for pair in own if pair in sizes.index] + list(largest.index[:most])
    return {name: table.loc[chosen].reset_index() for name, table in pairs.items()}
