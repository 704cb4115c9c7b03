"""What decides a claim: a number with its interval, the range that the claim puts it in, and the rule between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nsynth_helpers.analysis.comparisons import run_outcomes
from nsynth_helpers.analysis.outcomes import agreement, make_outcomes
from nsynth_helpers.analysis.statistics import (
    Interval,
    clustered_difference,
    detectable_difference,
    detectable_from_interval,
    two_proportion_test,
)
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.settings import Settings
from nsynth_helpers.training.predict import predict
from nsynth_helpers.training.runs import Run, best_epoch

HOLDS, FAILS, UNDECIDED, NOT_TESTABLE = "holds", "fails", "undecided", "not testable"
NO_DATA = "–"
NO_GRID = "Not measured yet: run `make ablations`."
NO_RUNS = "Not measured yet: run notebooks 02, 03 and 04."
NO_GRID_OR_RUNS = "Not measured yet: run `make ablations`, or notebooks 02, 03 and 04."
# How a number is written, its unit, and how a difference that the data could have detected is told.
UNITS = {
    "points": (lambda value: f"{100 * value:+.1f}", " points", lambda size: f"a difference of {100 * size:.1f} points"),
    "accuracy": (lambda value: f"{100 * value:.1f}", " %", lambda size: f"a difference of {100 * size:.1f} points"),
    "nats": (lambda value: f"{value:+.2f}", " nats", lambda size: f"a difference of {size:.2f} nats"),
    "times": (lambda value: f"{value:.2f}", " times", lambda size: f"a factor of {size:.2f}"),
    "epoch": (lambda value: f"{value:.0f}", "", lambda size: f"a difference of {size:.0f} epochs"),
    "correlation": (lambda value: f"{value:+.2f}", "", lambda size: f"a correlation of {size:.2f}"),
    "p": (lambda value: f"{value:.3f}", "", lambda size: f"a p-value of {size:.3f}"),
}
# What the 2018 report published; its notes of one instrument cannot be told apart, so they count as independent.
PUBLISHED = "NSynth (2018)"
ON_PUBLISHED = f"{PUBLISHED}, 4,096 test notes taken as independent"


@dataclass(frozen=True)
class Wanted:
    """The range that a claim puts a number in, strictly between ``low`` and ``high``, and how a sentence says so."""

    low: float
    high: float
    words: str


@dataclass(frozen=True)
class Finding:
    """One number with its interval, and what the claim wants of it.

    Attributes
    ----------
    what : str
        What the number is, such as ``3 layers minus 2 layers``.
    interval : Interval
        The estimate and its interval; both ends equal the estimate where the number is certain.
    detectable : float
        The difference that these data could have detected (80 % power); NaN where the number is certain.
    wanted : Wanted
        The claim.
    unit : str
        A key of `UNITS`.
    """

    what: str
    interval: Interval
    detectable: float
    wanted: Wanted
    unit: str = "points"

    @property
    def verdict(self) -> str:
        """``holds`` if the whole interval is inside what is wanted, ``fails`` if all of it is outside."""
        low, high = self.interval.low, self.interval.high
        if self.wanted.low < low and high < self.wanted.high:
            return HOLDS
        if high <= self.wanted.low or low >= self.wanted.high:
            return FAILS
        return UNDECIDED

    @property
    def text(self) -> str:
        """The number with its interval, in words."""
        write, unit, _ = UNITS[self.unit]
        estimate, low, high = (
            write(value).replace("-", "−") for value in (self.interval.estimate, self.interval.low, self.interval.high)
        )
        if self.interval.low == self.interval.high:
            return f"{self.what} {estimate}{unit}"
        sure = "between" if self.interval.confidence == 1 else f"{100 * self.interval.confidence:.3g} %:"
        return f"{self.what} {estimate}{unit} ({sure} {low} {'and' if sure == 'between' else 'to'} {high})"

    @property
    def detectable_text(self) -> str:
        """The difference that could have been detected, in words."""
        if np.isnan(self.detectable):
            return "no difference at all"
        return UNITS[self.unit][2](self.detectable)


@dataclass(frozen=True)
class Measurement:
    """Findings on one set of data that decide a claim together.

    Attributes
    ----------
    data : str
        The data's short name.
    on : str
        The data again, with their numbers of notes, epochs and seeds.
    findings : tuple of Finding
        At least one.
    needs_all : bool
        Whether every finding must hold, or a single one is enough.
    remark : str
        A sentence to add.
    """

    data: str
    on: str
    findings: tuple[Finding, ...]
    needs_all: bool = True
    remark: str = ""

    @property
    def verdict(self) -> str:
        """Of "all": fails with one that fails; of "any": holds with one that holds; else undecided or unanimous."""
        verdicts = {finding.verdict for finding in self.findings}
        decisive, other = (FAILS, HOLDS) if self.needs_all else (HOLDS, FAILS)
        if decisive in verdicts:
            return decisive
        return UNDECIDED if UNDECIDED in verdicts else other

    @property
    def undecided(self) -> tuple[Finding, ...]:
        """The findings that leave the claim open."""
        return tuple(finding for finding in self.findings if finding.verdict == UNDECIDED)

    @property
    def detectable(self) -> float:
        """The difference that the data could have detected in every finding that is undecided; NaN if none is."""
        return self._least_sensitive.detectable if self.verdict == UNDECIDED else float("nan")

    @property
    def _least_sensitive(self) -> Finding:
        return max(self.undecided, key=lambda finding: finding.detectable)

    @property
    def text(self) -> str:
        """The findings, the data, and what could have been detected where the claim stays open."""
        sentence = f"{self.on}: {'; '.join(finding.text for finding in self.findings)}."
        if self.verdict == UNDECIDED:
            which = f" ({self._least_sensitive.what})" if len(self.findings) > 1 else ""
            sentence += f" These data could have detected {self._least_sensitive.detectable_text}{which}."
        return f"{sentence} {self.remark}".strip()


@dataclass(frozen=True)
class Verdict:
    """One row of the verdict table: a claim in one reading, what was measured, and what follows.

    Attributes
    ----------
    claim : str
        The text in the report's facts.
    reading : str
        What the claim is taken to mean, with the range that the number must lie in.
    data : str
        The data that decide; those that are told apart stand in the evidence alone.
    evidence : str
        Numbers with intervals, and the data they were measured on.
    verdict : str
        ``holds``, ``fails``, ``undecided`` or ``not testable``.
    detectable : float
        The largest difference that the data of an undecided row could have detected, as a fraction, in nats or as a
        factor; NaN otherwise.
    """

    claim: str
    reading: str
    data: str
    evidence: str
    verdict: str
    detectable: float = float("nan")


def settle(claim: str, reading: str, measurements: Iterable[Measurement | None], missing: str = NO_GRID) -> Verdict:
    """Let the first measurement that is there decide; the others are told beside it, with their own verdicts.

    Parameters
    ----------
    claim, reading : str
        As in `Verdict`; the wanted range is added to the reading.
    measurements : iterable of Measurement or None
        In the order of their weight: real NSynth before nsynth-mini. None has not been measured.
    missing : str
        What to do if there is none.

    Notes
    -----
    Used in: 05_ablations.
    """
    there = [measurement for measurement in measurements if measurement is not None]
    if not there:
        return Verdict(claim, reading, NO_DATA, missing, UNDECIDED)
    first, *others = there
    wanted = dict.fromkeys(finding.wanted.words for finding in first.findings)
    aside = [f"Not counted: {other.text} (Alone: {other.verdict}.)" for other in others]
    return Verdict(
        claim,
        f"{reading}: {' and '.join(wanted)}",
        first.data,
        " ".join([first.text, *aside]),
        first.verdict,
        first.detectable,
    )


def not_testable(claim: str, reading: str, reason: str) -> Verdict:
    """A row that no data here can settle, with the reason.

    Notes
    -----
    Used in: 05_ablations.
    """
    return Verdict(claim, reading, NO_DATA, reason, NOT_TESTABLE)


def certain(value: float) -> Interval:
    """A number without uncertainty, such as the epoch of the lowest valid loss of one training."""
    return Interval(value, value, value, 1.0)


A_GAIN = Wanted(0, float("inf"), "above 0")


@dataclass(frozen=True)
class NetworkEvidence:
    """What one trained network of ours says.

    Attributes
    ----------
    train_data : str
        The data that it was trained on.
    history : pandas.DataFrame
        `Run.history`.
    test, test_best, test_reversed : pandas.DataFrame
        Judged test notes of the last model, of the one with the lowest valid loss, and of the last one when the notes
        are played backwards.
    valid, valid_best : pandas.DataFrame
        Judged valid notes of the last and the best model.
    """

    train_data: str
    history: pd.DataFrame
    test: pd.DataFrame
    test_best: pd.DataFrame
    test_reversed: pd.DataFrame
    valid: pd.DataFrame
    valid_best: pd.DataFrame

    @property
    def trained_on(self) -> str:
        """The data and the epochs."""
        epochs = len(self.history)
        return f"{self.train_data}, {epochs} epoch{'' if epochs == 1 else 's'}"

    @property
    def best_epoch(self) -> int:
        """The epoch of the lowest valid loss."""
        return int(best_epoch(self.history)["epoch"])


@dataclass(frozen=True)
class Evidence:
    """All that the verdicts are computed from; what the 2018 report published is read by `published`.

    Attributes
    ----------
    ablations : pandas.DataFrame
        What `ablations.read_results` returns, with as many rows as there are yet.
    data : str
        The data whose test notes our networks were outcomes on.
    networks : mapping of str to NetworkEvidence
        By the names of `comparisons.NETWORK_NAMES`, as far as they are trained.
    train_instruments : frozenset of str
        The instruments of the train split.
    """

    ablations: pd.DataFrame
    data: str
    networks: Mapping[str, NetworkEvidence]
    train_instruments: frozenset[str]

    def label(self, *names: str) -> str:
        """The data in short; a network that was trained on other data says so."""
        others = dict.fromkeys(self.networks[name].train_data for name in names)
        others.pop(self.data, None)
        return f"{self.data} (trained on {' and '.join(others)})" if others else self.data

    def on(self, *names: str) -> str:
        """The data and the training of some networks, for a sentence."""
        trained = dict.fromkeys(self.networks[name].trained_on for name in names)
        notes = len(self.networks[names[0]].test)
        each = " each" if len(names) > 1 else ""
        return f"{self.data}, {notes:,} test notes, one training{each} on {' and '.join(trained)}"

    def has(self, *names: str) -> bool:
        """Whether all the named networks are trained."""
        return all(name in self.networks for name in names)


def gather_evidence(
    ablations: pd.DataFrame, runs: Mapping[str, Run], splits: Mapping[str, NSynthSplit], settings: Settings
) -> Evidence:
    """Judge the notes at hand with our networks, forwards and backwards, and put it beside the grid's table.

    Parameters
    ----------
    ablations : pandas.DataFrame
        What `ablations.read_results` returns.
    runs : mapping of str to Run
        Finished runs, by the names of `Evidence`.
    splits : mapping of str to NSynthSplit
        The data at hand.
    settings : Settings
        The device, and the data's name.

    Notes
    -----
    Used in: 05_ablations.
    """
    networks = {name: _judge_network(run, splits, settings) for name, run in runs.items()}
    instruments = frozenset(splits["train"].notes["instrument"])
    return Evidence(ablations, settings.data_name, networks, instruments)


def _judge_network(run: Run, splits: Mapping[str, NSynthSplit], settings: Settings) -> NetworkEvidence:
    backwards = predict(run.load_network(), run.config.frames(splits["test"], reverse=True), settings.device)
    outcomes = {
        name: run_outcomes(run, splits, settings, split, checkpoint)
        for name, split, checkpoint in (
            ("test", "test", "last"),
            ("test_best", "test", "best"),
            ("valid", "valid", "last"),
            ("valid_best", "valid", "best"),
        )
    }
    return NetworkEvidence(run.record["data"]["name"], run.history, test_reversed=make_outcomes(backwards), **outcomes)


def compare_shares(
    what: str, correct_a: int, notes_a: int, correct_b: int, notes_b: int, wanted: Wanted, among: int = 1
) -> Finding:
    """One share of notes minus another, the notes taken as independent; among several, Bonferroni's intervals.

    Notes
    -----
    Used in: 05_ablations.
    """
    alpha = 0.05 / among
    interval = two_proportion_test(correct_a, notes_a, correct_b, notes_b, 1 - alpha)
    return Finding(what, interval, detectable_difference(notes_a, notes_b, correct_a / notes_a, alpha=alpha), wanted)


def compare_on_same_notes(what: str, a: pd.DataFrame, b: pd.DataFrame, wanted: Wanted) -> Finding:
    """Accuracy of a minus that of b on the same outcomes notes, whole instruments resampled.

    Notes
    -----
    Used in: 05_ablations.
    """
    notes = agreement(a, b)
    interval = clustered_difference(notes["correct_a"], notes["correct_b"], notes["instrument"])
    return Finding(what, interval, detectable_from_interval(interval), wanted)


def note_losses(outcomes: pd.DataFrame) -> np.ndarray:
    """The cross-entropy of each outcomes note, in nats; a probability of 0 counts as the smallest float32."""
    return -np.log(outcomes["true_probability"].clip(lower=np.finfo(np.float32).tiny).to_numpy())
