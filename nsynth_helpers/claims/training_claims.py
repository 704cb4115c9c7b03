"""The report's claims about training: layers, optimizer, activation, cells, overfitting, checkpoints, time, cures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from nsynth_helpers.analysis.comparisons import NETWORK_NAMES
from nsynth_helpers.analysis.statistics import (
    FEWEST_VALUES,
    Interval,
    clustered_t_interval,
    detectable_from_interval,
    detectable_mean_difference,
    mean_difference,
)
from nsynth_helpers.analysis.tables import ALWAYS, baseline_of, compare_seeds, over_seeds
from nsynth_helpers.claims import published
from nsynth_helpers.claims.evidence import (
    A_GAIN,
    NO_GRID_OR_RUNS,
    PUBLISHED,
    Evidence,
    Finding,
    Measurement,
    Verdict,
    Wanted,
    certain,
    compare_on_same_notes,
    compare_shares,
    not_testable,
    note_losses,
    settle,
)
from nsynth_helpers.claims.sentences import percent
from nsynth_helpers.data.metadata import FAMILIES, OFFICIAL_NOTES
from nsynth_helpers.training.checkpoints import checkpoint_rules
from nsynth_helpers.training.grid import CORE_EPOCHS, DATA_TITLES, MINOR_EPOCHS
from nsynth_helpers.training.runs import best_epoch

RECURRENT = {network: NETWORK_NAMES[network] for network in published.RECURRENT_NETWORKS}
INFINITY = float("inf")
# What the report's words are taken to mean.
ABOUT_THREE = Wanted(0.01, 0.05, "between 1 and 5 points")
MUCH_BETTER = Wanted(0.05, INFINITY, "above 5 points")
LITTLE = Wanted(-0.02, 0.02, "within 2 points either way")
PUBLISHED_FACTOR = published.training_seconds("blstm") / published.training_seconds("lstm")
LONGER = Wanted(1.2, INFINITY, f"above 1.2 times, for the published times differ by a factor of {PUBLISHED_FACTOR:.2f}")
ABOUT_EPOCH_TWO = Wanted(0.5, 3.5, "epoch 1, 2 or 3")
HARDLY = 0.05
LEARNT_NOTHING = 1 / len(FAMILIES) + HARDLY  # on train, whose families are of one size, or about
# How far the published curves of the valid loss can be off, in nats (`curves_from` in the report's facts).
READING_ERROR = {"lstm": 0.05, "blstm": 0.005}
# The changes that the report hopes for, as the grid and as a sentence names them.
REMEDIES = {
    "four seconds": {"4 s": "4 s"},
    "weight decay": {"1e-4": "decay 1e-4", "1e-3": "decay 1e-3"},
    "a bigger batch": {"64": "batch 64", "128": "batch 128", "256": "batch 256"},
    "a fourth layer": {"4 layers": "4 layers"},
}


def third_layer(claim: str, evidence: Evidence) -> list[Verdict]:
    """Three layers against two, over seeds: about 3 points means 1 to 5."""
    what = "3 layers minus 2 layers"
    return [
        settle(claim, f"{name}, {what}", measure_rows(evidence, f"2018 {name}", f"{name}, 2 layers", what, ABOUT_THREE))
        for name in RECURRENT.values()
    ]


def adam(claim: str, evidence: Evidence) -> list[Verdict]:
    """Adam against SGD, over seeds; much better means 5 points. The biggest difference is that no rival exceeds."""
    verdicts = [
        settle(
            claim,
            f"{name}, Adam minus SGD with momentum 0.8, both at the learning rate 0.0008",
            measure_rows(evidence, f"2018 {name}", f"{name}, SGD", "Adam minus SGD", MUCH_BETTER),
        )
        for name in RECURRENT.values()
    ]
    biggest = settle(
        claim,
        "the biggest difference: what Adam gains on SGD, minus what each other change tried in 2018 gains",
        [_biggest(evidence, data) for data in DATA_TITLES],
    )
    valleys = not_testable(
        claim,
        "steep valleys in the loss",
        "Accuracies after training do not show the shape of the loss: many shapes favour Adam, and so does a learning "
        "rate that suits it. One would have to follow the curvature of the loss during training.",
    )
    return [*verdicts, biggest, valleys]


def _biggest(evidence: Evidence, data: str) -> Measurement | None:
    """Adam's gain against the gains of the third layer, of LSTM cells, and of the tanh."""
    gain = _gain(evidence, data, "LSTM, SGD", CORE_EPOCHS)
    rivals = {
        "third layer": _gain(evidence, data, "LSTM, 2 layers", CORE_EPOCHS),
        "LSTM cells": _gain(evidence, data, "plain RNN", MINOR_EPOCHS),
        "tanh": -_gain(evidence, data, "tanh", MINOR_EPOCHS),
    }
    # Gains share their 2018 networks, so they are compared seed by seed.
    leads = {name: (gain - other).dropna() for name, other in rivals.items()}
    # Without one of its rivals, nothing can be called the biggest.
    if min(map(len, leads.values())) < FEWEST_VALUES:
        return None
    findings = (
        Finding(f"Adam minus {name}", *_mean_of(lead, 1 - 0.05 / len(leads)), A_GAIN) for name, lead in leads.items()
    )
    on = _describe(evidence, data, "LSTM, SGD", CORE_EPOCHS)
    on += f" (LSTM cells and tanh after {MINOR_EPOCHS}), each gain against a 2018 LSTM of as many epochs"
    remarks = [
        _learnt_nothing(evidence, data, changes, epochs)
        for changes, epochs in ((("LSTM, SGD", "LSTM, 2 layers"), CORE_EPOCHS), (("plain RNN", "tanh"), MINOR_EPOCHS))
    ]
    return Measurement(DATA_TITLES[data], on, tuple(findings), remark=" ".join(filter(None, remarks)))


def _mean_of(values: pd.Series, confidence: float = 0.95) -> tuple[Interval, float]:
    """The mean of one value a seed, and what could have been detected: its difference from certain zeros."""
    interval = mean_difference(values, np.zeros(len(values)), paired=True, confidence=confidence)
    return interval, detectable_mean_difference(values.std(), len(values), paired=True, alpha=1 - confidence)


def _gain(evidence: Evidence, data: str, change: str, epochs: int) -> pd.Series:
    """What the 2018 network gains on a row of the grid, seed by seed."""
    values, baseline = (over_seeds(evidence.ablations, data, name, epochs) for name in (change, baseline_of(change)))
    return (baseline - values).dropna()


def tanh(claim: str, evidence: Evidence) -> list[Verdict]:
    """With a tanh against without, over seeds; little means that the interval lies within 2 points."""
    measured = measure_rows(evidence, "tanh", "2018 LSTM", "with minus without", LITTLE, MINOR_EPOCHS)
    return [settle(claim, "LSTM, with a tanh before the output layer minus without", measured)]


def plain_rnn(claim: str, evidence: Evidence) -> list[Verdict]:
    """The accuracy of plain recurrent cells, over seeds; hardly learning means less than 5 points above guessing."""
    measured = [_accuracy(evidence, data, "plain RNN", MINOR_EPOCHS) for data in DATA_TITLES]
    return [settle(claim, "test accuracy of a plain RNN", measured)]


def _accuracy(evidence: Evidence, data: str, change: str, epochs: int) -> Measurement | None:
    values = over_seeds(evidence.ablations, data, change, epochs)
    if len(values) < FEWEST_VALUES:
        return None
    _, share = ALWAYS[data]
    limit = share + HARDLY
    wanted = Wanted(-INFINITY, limit, f"below {100 * limit:.1f} %, {100 * HARDLY:.0f} points above guessing")
    trained = over_seeds(evidence.ablations, data, change, epochs, "train_accuracy").mean()
    return Measurement(
        DATA_TITLES[data],
        _describe(evidence, data, change, epochs),
        (Finding("test accuracy", *_mean_of(values), wanted, "accuracy"),),
        remark=f"On train it reaches {percent(trained)}.",
    )


def overfitting(claim: str, evidence: Evidence) -> list[Verdict]:
    """The valid loss rises after its lowest epoch, and that epoch is one of the first three."""
    reading = "{}, rise of the valid loss from its lowest epoch to the last, and that lowest epoch"
    return [
        settle(claim, reading.format(name), [_published_overfitting(network), _own_overfitting(evidence, name)])
        for network, name in RECURRENT.items()
    ]


def _published_overfitting(network: str) -> Measurement:
    history, error = published.history(network), READING_ERROR[network]
    lowest = best_epoch(history)
    rise = history["valid_loss"].iloc[-1] - lowest["valid_loss"]
    interval = Interval(rise, rise - 2 * error, rise + 2 * error, 1.0)
    on = f"{PUBLISHED}, one training, its curve known to {error} nats"
    return Measurement(PUBLISHED, on, _overfits(interval, 4 * error, lowest["epoch"]))


def _own_overfitting(evidence: Evidence, name: str) -> Measurement | None:
    if not evidence.has(name):
        return None
    network = evidence.networks[name]
    last, best = (outcomes.sort_values("note_str") for outcomes in (network.valid, network.valid_best))
    if last["instrument"].nunique() < FEWEST_VALUES:
        return None
    interval = clustered_t_interval(note_losses(last) - note_losses(best), last["instrument"])
    on = f"{evidence.data}, {len(last):,} valid notes, one training on {network.trained_on}"
    findings = _overfits(interval, detectable_from_interval(interval), network.best_epoch)
    return Measurement(evidence.label(name), on, findings)


def _overfits(rise: Interval, detectable: float, lowest: float) -> tuple[Finding, Finding]:
    epoch = Finding("lowest in epoch", certain(float(lowest)), float("nan"), ABOUT_EPOCH_TWO, "epoch")
    return Finding("rise", rise, detectable, A_GAIN, "nats"), epoch


def last_beats_best(claim: str, evidence: Evidence) -> list[Verdict]:
    """The last epoch against that of the lowest valid loss, on test; and by the original's rule on published curves."""
    verdicts = [
        settle(
            claim,
            f"{name}, test accuracy of the last epoch minus that of the lowest valid loss",
            [*(_last_minus_best(evidence, data, f"2018 {name}") for data in DATA_TITLES), _own_last(evidence, name)],
            f"{NO_GRID_OR_RUNS} A training whose last epoch has the lowest valid loss does not count.",
        )
        for name in RECURRENT.values()
    ]
    on = f"{PUBLISHED}, {OFFICIAL_NOTES['valid']:,} valid notes taken as independent"
    curves = Measurement(PUBLISHED, on, tuple(_published_last(network) for network in RECURRENT))
    reading = "published curves, valid accuracy of the last epoch minus that before the valid loss first rises"
    return [*verdicts, settle(claim, reading, [curves])]


def _last_minus_best(evidence: Evidence, data: str, change: str) -> Measurement | None:
    last, best = (
        over_seeds(evidence.ablations, data, change, CORE_EPOCHS, column)
        for column in ("test_accuracy", "best_test_accuracy")
    )
    # Where every seed's last epoch is its best one, the two rules name one model, and there is nothing to compare.
    if len(last) < FEWEST_VALUES or last.equals(best):
        return None
    finding = Finding("last minus best", *_mean_of(last - best), A_GAIN)
    return Measurement(DATA_TITLES[data], _describe(evidence, data, change, CORE_EPOCHS), (finding,))


def _own_last(evidence: Evidence, name: str) -> Measurement | None:
    if not evidence.has(name) or evidence.networks[name].best_epoch == len(evidence.networks[name].history):
        return None
    network = evidence.networks[name]
    finding = compare_on_same_notes("last minus best", network.test, network.test_best, A_GAIN)
    return Measurement(evidence.label(name), evidence.on(name), (finding,))


def _published_last(network: str) -> Finding:
    rules = checkpoint_rules(published.history(network)).set_index("rule")["valid_accuracy"]
    notes = OFFICIAL_NOTES["valid"]
    last, first = (round(rules[rule] * notes) for rule in ("last", "before first rise"))
    return compare_shares(RECURRENT[network], last, notes, first, notes, A_GAIN, len(RECURRENT))


def training_time(claim: str, evidence: Evidence) -> list[Verdict]:
    """The ratio of training times, over seeds or over the epochs of our runs; much longer means a fifth longer."""
    lstm, blstm = (published.training_seconds(network) / 3600 for network in RECURRENT)
    reading = f"training time of the BLSTM over the LSTM's (in 2018, once, {blstm:.1f} hours over {lstm:.1f})"
    measured = [_time_over_seeds(evidence, data) for data in DATA_TITLES]
    if evidence.has(*RECURRENT.values()):
        seconds = (evidence.networks[name].history["seconds"] for name in RECURRENT.values())
        trained_on = evidence.networks["LSTM"].trained_on
        train_data = evidence.networks["LSTM"].train_data
        measured.append(_time_ratio(*seconds, train_data, f"our runs on {trained_on}, epoch by epoch"))
    return [settle(claim, reading, measured, NO_GRID_OR_RUNS)]


def _time_over_seeds(evidence: Evidence, data: str) -> Measurement | None:
    seconds = (
        over_seeds(evidence.ablations, data, f"2018 {name}", CORE_EPOCHS, "seconds") for name in RECURRENT.values()
    )
    return _time_ratio(*seconds, DATA_TITLES[data], _describe(evidence, data, "2018 LSTM", CORE_EPOCHS, "2018 BLSTM"))


def _time_ratio(lstm: pd.Series, blstm: pd.Series, data: str, on: str) -> Measurement | None:
    """The interval of a ratio is that of a difference of logarithms."""
    if min(len(lstm), len(blstm)) < FEWEST_VALUES:
        return None
    difference, detectable = compare_seeds(np.log(blstm), np.log(lstm))
    estimate, low, high, factor = map(float, np.exp([difference.estimate, difference.low, difference.high, detectable]))
    finding = Finding("BLSTM over LSTM", Interval(estimate, low, high, difference.confidence), factor, LONGER, "times")
    return Measurement(data, on, (finding,))


def remedies(claim: str, evidence: Evidence) -> list[Verdict]:
    """Each hoped-for change against the 2018 configuration, over seeds; of several sizes, one that helps is enough."""
    return [
        settle(
            claim,
            f"LSTM, {name} minus the 2018 configuration" + (", at one size at least" if len(sizes) > 1 else ""),
            [_any_helps(evidence, data, sizes) for data in DATA_TITLES],
        )
        for name, sizes in REMEDIES.items()
    ]


def _any_helps(evidence: Evidence, data: str, sizes: Mapping[str, str]) -> Measurement | None:
    confidence = 1 - 0.05 / len(sizes)
    measured = [
        _difference(evidence, data, change, "2018 LSTM", words, A_GAIN, MINOR_EPOCHS, confidence)
        for change, words in sizes.items()
    ]
    findings = tuple(finding for finding in measured if finding is not None)
    if not findings:
        return None
    on = _describe(evidence, data, "2018 LSTM", MINOR_EPOCHS, *sizes)
    remark = _learnt_nothing(evidence, data, sizes, MINOR_EPOCHS, sizes)
    return Measurement(DATA_TITLES[data], on, findings, needs_all=False, remark=remark)


def measure_rows(
    evidence: Evidence, a: str, b: str, what: str, wanted: Wanted, epochs: int = CORE_EPOCHS
) -> list[Measurement | None]:
    """Test accuracy of row a of the grid minus that of row b, on real notes and on nsynth-mini; None if not measured.

    Parameters
    ----------
    evidence : Evidence
        Holds the grid's table.
    a, b : str
        Names of the rows.
    what : str
        What the difference is.
    wanted : Wanted
        Where the claim puts it.
    epochs : int
        Of both rows.

    Notes
    -----
    Used in: 05_ablations.
    """
    findings = {data: _difference(evidence, data, a, b, what, wanted, epochs) for data in DATA_TITLES}
    return [
        finding
        and Measurement(
            DATA_TITLES[data],
            _describe(evidence, data, a, epochs, b),
            (finding,),
            remark=_learnt_nothing(evidence, data, (a, b), epochs),
        )
        for data, finding in findings.items()
    ]


def _learnt_nothing(
    evidence: Evidence, data: str, changes: Iterable[str], epochs: int, words: Mapping[str, str] | None = None
) -> str:
    """Which rows guess even on train: what they lose says little of what they could do with more epochs."""
    trained = {
        (words or {}).get(change, change): over_seeds(evidence.ablations, data, change, epochs, "train_accuracy").mean()
        for change in changes
    }
    named = [f"“{name}” reaches {percent(mean)}" for name, mean in trained.items() if mean < LEARNT_NOTHING]
    return f"On train {' and '.join(named)}, about what guessing gives." if named else ""


def _difference(
    evidence: Evidence, data: str, a: str, b: str, what: str, wanted: Wanted, epochs: int, confidence: float = 0.95
) -> Finding | None:
    values = [over_seeds(evidence.ablations, data, change, epochs) for change in (a, b)]
    if min(map(len, values)) < FEWEST_VALUES:
        return None
    return Finding(what, *compare_seeds(*values, confidence), wanted)


def _describe(evidence: Evidence, data: str, change: str, epochs: int, *others: str) -> str:
    """The data of a row of the grid, with its notes, epochs and seeds, and the seeds of the rows it is set against."""
    train, test = (
        over_seeds(evidence.ablations, data, change, epochs, column) for column in ("train_notes", "test_notes")
    )
    if train.empty:
        return DATA_TITLES[data]
    notes = f"{train.iloc[0]:,.0f} train and {test.iloc[0]:,.0f} test notes"
    seeds = dict.fromkeys(len(over_seeds(evidence.ablations, data, row, epochs)) for row in (change, *others))
    return f"{DATA_TITLES[data]}, {notes}, {epochs} epochs, {' and '.join(map(str, seeds))} seeds"
