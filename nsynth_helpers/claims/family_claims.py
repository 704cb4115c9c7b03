"""The report's claims about families: which are classified well, which are confused, and whether variety matters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from nsynth_helpers.analysis.comparisons import NETWORK_NAMES
from nsynth_helpers.analysis.outcomes import confusion_changes, confusion_matrix
from nsynth_helpers.analysis.statistics import Interval, detectable_from_interval, wilson_interval
from nsynth_helpers.claims import published
from nsynth_helpers.claims.evidence import (
    A_GAIN,
    NO_RUNS,
    ON_PUBLISHED,
    PUBLISHED,
    Evidence,
    Finding,
    Measurement,
    Verdict,
    Wanted,
    compare_shares,
    not_testable,
    settle,
)
from nsynth_helpers.data.metadata import FAMILIES, OFFICIAL_FAMILIES, OFFICIAL_FAMILY_NOTES

LOWER = Wanted(-float("inf"), 0, "below 0")
MIXED_UP = Wanted(1 / 9, float("inf"), "above a ninth, where errors that fall evenly on nine families would put it")
# In how many ways a family can be taken for another one.
CELLS = len(FAMILIES) * (len(FAMILIES) - 1)
# The report's own lists.
WELL = {"lstm": ("string", "organ", "bass"), "blstm": ("guitar", "vocal")}
OTHER = {"lstm": "blstm", "blstm": "lstm"}
PROBLEMS = ("bass", "flute", "guitar", "keyboard")
OF_LITTLE_VARIETY, SIMILAR = ("string", "vocal"), ("keyboard", "brass")


def families(claim: str, evidence: Evidence) -> list[Verdict]:
    """Recall of each named family, minus that of the families that are not named, and minus the other network's."""
    verdicts = []
    for network, named in WELL.items():
        start = f"{NETWORK_NAMES[network]}, recall of {_listed(named)}, each minus"
        rest = _against_the_rest(evidence, network, named, A_GAIN)
        verdicts.append(settle(claim, f"{start} its other families'", rest))
        between = _against_another(evidence, network, OTHER[network], named)
        verdicts.append(settle(claim, f"{start} the {NETWORK_NAMES[OTHER[network]]}'s", between))
    for network in WELL:
        reading = f"{NETWORK_NAMES[network]}, recall of {_listed(PROBLEMS)}, each minus its other families'"
        verdicts.append(settle(claim, reading, _against_the_rest(evidence, network, PROBLEMS, LOWER)))
    return verdicts


def variety(claim: str, evidence: Evidence) -> list[Verdict]:
    """Recall of string and vocal; recall and variety over all families; keyboard and brass, alone and mixed up."""
    verdicts = []
    for network in WELL:
        name = NETWORK_NAMES[network]
        confusions = _confusions(evidence, network)
        readings = {
            f"recall of {_listed(OF_LITTLE_VARIETY)}, each minus its other families'": _against_the_rest(
                evidence, network, OF_LITTLE_VARIETY, A_GAIN
            ),
            "rank correlation of the families' recall with their notes in NSynth's train split, which stand for their "
            "variety: an instrument has about 440 notes at most, so more notes mean more instruments": [
                _recall_by_variety(network)
            ],
            f"recall of {_listed(SIMILAR)}, each minus its other families'": _against_the_rest(
                evidence, network, SIMILAR, LOWER
            ),
            f"share of the errors on {_listed(SIMILAR)} that mix the two up": [
                _mixed_up(confusion, data, on) for (data, on), confusion in confusions.items()
            ],
        }
        verdicts += [settle(claim, f"{name}, {reading}", measured) for reading, measured in readings.items()]
    return verdicts


def keyboard_as_bass(claim: str, evidence: Evidence) -> list[Verdict]:
    """Keyboard taken for bass: by the BLSTM against the LSTM, and backwards, with the end first, against forwards."""
    pairs = zip(_confusions(evidence, "blstm").items(), _confusions(evidence, "lstm").values(), strict=False)
    return [
        settle(
            claim,
            "the premise: keyboard notes taken for bass, the BLSTM's share minus the LSTM's (the report saw it in these"
            f" very matrices, as one of {CELLS} cells: hence a wide interval)",
            [_taken_for_bass(blstm, lstm, data, on) for ((data, on), blstm), lstm in pairs],
        ),
        settle(
            claim,
            "keyboard notes that the BLSTM takes for bass, share backwards (the end first) minus share forwards",
            [_backwards_as_bass(evidence)],
            NO_RUNS,
        ),
        not_testable(
            claim,
            "the end of a note",
            "The networks hear the first second of notes that are held for three: they never meet a note's end. What "
            "can be tested is the end of that second, as above.",
        ),
    ]


def _confusions(evidence: Evidence, network: str) -> dict[tuple[str, str], pd.DataFrame]:
    """The published confusion matrix of a network, then ours, each by its data, short and in full."""
    confusions, name = {(PUBLISHED, ON_PUBLISHED): published.confusion_matrix(network)}, NETWORK_NAMES[network]
    if evidence.has(name):
        on = f"{evidence.on(name)}, notes taken as independent"
        confusions[evidence.label(name), on] = confusion_matrix(evidence.networks[name].test)
    return confusions


def _against_the_rest(
    evidence: Evidence, network: str, named: Sequence[str], wanted: Wanted
) -> list[Measurement | None]:
    """Each named family's recall minus that of all families that are not named."""
    rest = [family for family in FAMILIES if family not in named]
    measured = []
    for (data, on), confusion in _confusions(evidence, network).items():
        correct, notes = _recalls(confusion)
        against = dict.fromkeys(named, (int(correct[rest].sum()), int(notes[rest].sum())))
        measured.append(_compare_recalls(correct, notes, against, wanted, data, on))
    return measured


def _against_another(evidence: Evidence, a: str, b: str, named: Sequence[str]) -> list[Measurement | None]:
    """Each named family's recall by one network minus that by the other."""
    measured = []
    pairs = zip(_confusions(evidence, a).items(), _confusions(evidence, b).values(), strict=False)
    for ((data, on), confusion), other in pairs:
        others, all_notes = _recalls(other)
        against = {family: (int(others[family]), int(all_notes[family])) for family in named}
        measured.append(_compare_recalls(*_recalls(confusion), against, A_GAIN, data, on))
    return measured


def _recalls(confusion: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Correct notes and all notes of each family."""
    return pd.Series(np.diag(confusion), confusion.index), confusion.sum(axis=1)


def _compare_recalls(
    correct: pd.Series, notes: pd.Series, against: dict[str, tuple[int, int]], wanted: Wanted, data: str, on: str
) -> Measurement | None:
    if not all(notes[family] and other[1] for family, other in against.items()):
        return None
    findings = (
        compare_shares(family, int(correct[family]), int(notes[family]), *other, wanted, len(against))
        for family, other in against.items()
    )
    return Measurement(data, on, tuple(findings))


def _recall_by_variety(network: str) -> Measurement:
    correct, notes = _recalls(published.confusion_matrix(network))
    variety_of = pd.Series(OFFICIAL_FAMILY_NOTES["train"], OFFICIAL_FAMILIES)[notes.index]
    correlation = stats.spearmanr(correct / notes, variety_of).statistic
    # Standard error of Fisher's z of a rank correlation: Bonett and Wright (2000).
    error = np.sqrt((1 + correlation**2 / 2) / (len(notes) - 3))
    low, high = np.tanh(np.arctanh(correlation) + stats.norm.ppf([0.025, 0.975]) * error)
    detectable = float(np.tanh(stats.norm.ppf([0.975, 0.8]).sum() * error))
    interval = Interval(float(correlation), float(low), float(high), 0.95)
    finding = Finding("correlation", interval, detectable, LOWER, "correlation")
    return Measurement(PUBLISHED, f"{PUBLISHED}, ten families", (finding,))


def _mixed_up(confusion: pd.DataFrame, data: str, on: str) -> Measurement | None:
    (a, b), pair = SIMILAR, list(SIMILAR)
    each_other = int(confusion.loc[a, b] + confusion.loc[b, a])
    wrong = int(confusion.loc[pair].to_numpy().sum() - confusion.loc[a, a] - confusion.loc[b, b])
    if not wrong:
        return None
    interval = wilson_interval(each_other, wrong)
    detectable = detectable_from_interval(interval)
    return Measurement(
        data, on, (Finding(f"{each_other} of {wrong} errors,", interval, detectable, MIXED_UP, "accuracy"),)
    )


def _taken_for_bass(blstm: pd.DataFrame, lstm: pd.DataFrame, data: str, on: str) -> Measurement | None:
    shares = [(int(table.loc["keyboard", "bass"]), int(table.loc["keyboard"].sum())) for table in (blstm, lstm)]
    if not all(notes for _, notes in shares):
        return None
    return Measurement(data, on, (compare_shares("BLSTM minus LSTM", *shares[0], *shares[1], A_GAIN, CELLS),))


def _backwards_as_bass(evidence: Evidence) -> Measurement | None:
    if not evidence.has("BLSTM"):
        return None
    network, pair = evidence.networks["BLSTM"], ("keyboard", "bass")
    changes = confusion_changes(network.test, network.test_reversed).set_index(["actual", "predicted"])
    if pair not in changes.index or np.isnan(changes.loc[pair, "low"]):
        return None
    interval = Interval(*changes.loc[pair, ["difference", "low", "high"]], 0.95)
    if np.isclose(interval.low, interval.high):
        # Every instrument changed alike, or none at all: no spread to judge by, and so few may lack one that differs.
        reach = proportion_confint(0, int(changes.loc[pair, "instruments"]), method="beta")[1]
        low, high = max(interval.estimate - reach, -1.0), min(interval.estimate + reach, 1.0)
        interval = Interval(interval.estimate, low, high, 0.95)
    finding = Finding("backwards minus forwards", interval, detectable_from_interval(interval), A_GAIN)
    return Measurement(evidence.label("BLSTM"), evidence.on("BLSTM"), (finding,))


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
