"""The claims of the 2018 report as a table of readings, and the one rule that judges them.

A reading puts a number in a range. Vague words were given a size before anything was judged: *about 3 points* is 1 to
5, *changes little* is within 2 points, *much better* is above 5, *hardly learns* is less than 5 above the floor, *much
longer* is above 1.2 times, *from about epoch 2* is by epoch 3, and errors spread evenly would mix two families up in a
ninth of the cases.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from nsynth_helpers.claims import measures as m
from nsynth_helpers.claims import published
from nsynth_helpers.training.grid import CORE_EPOCHS, MINI_DATA, MINOR_EPOCHS

HOLDS, FAILS, UNDECIDED, NOT_TESTED, NOT_TESTABLE = "holds", "fails", "undecided", "not tested", "not testable"
NOTHING_LEARNT, ONE_LEARNT = "nothing was learnt", "one arm learnt nothing"
NOT_MEASURED, NO_INTERVAL, TOO_WIDE = "not measured", "no interval", "interval too wide"
# In a two-sided sign-flip test, five pairs cannot reach 5 %; six can.
FEWEST_TRAININGS = 6
INFINITY = float("inf")
CORE, MINOR = CORE_EPOCHS, MINOR_EPOCHS


@dataclass(frozen=True)
class Range:
    """Where a claim puts a number, in the measure's unit: strictly between two ends."""

    low: float
    high: float

    def __str__(self) -> str:
        if self.low == -INFINITY:
            return f"below {self.high:.3g}"
        return f"above {self.low:.3g}" if self.high == INFINITY else f"{self.low:.3g} to {self.high:.3g}"


@dataclass(frozen=True)
class Reading:
    """One way to read a claim, known by its number in the report's list.

    The measure (of `measures`) is called with the evidence and the arguments; it is None where no number could speak
    for or against the claim, and the note says why. Where the ``first_must_learn``, a first arm that learnt nothing
    leaves the claim untested; else that is an effect like any other.
    """

    claim: int
    text: str
    measure: Callable | None = None
    arguments: tuple = ()
    wanted: Range | None = None
    note: str = ""
    first_must_learn: bool = False


GAIN, LOSS, LITTLE = Range(0, INFINITY), Range(-INFINITY, 0), Range(-2, 2)
ABOUT_THREE, MUCH = Range(1, 5), Range(5, INFINITY)
LSTM, BLSTM, RNN, TANH = "2018 LSTM", "2018 BLSTM", "plain RNN", "tanh"
ADAM = (LSTM, "LSTM, SGD", CORE)
# By the grid's search on valid; the BLSTM's best rate of Adam is that of 2018.
ADAM_BEST, SGD_BEST = "LSTM, Adam at 0.00025", "LSTM, SGD at 0.8"
RIVALS = {
    "third layer": (LSTM, "LSTM, 2 layers", CORE),
    "LSTM cells": (LSTM, RNN, MINOR),
    "tanh": (TANH, LSTM, MINOR),
}
# The report's own lists of families.
WELL, WELL_BLSTM, PROBLEMS = ("string", "organ", "bass"), ("guitar", "vocal"), ("bass", "flute", "guitar", "keyboard")
LITTLE_VARIETY, SIMILAR, TAKEN = ("string", "vocal"), ("keyboard", "brass"), ("keyboard", "bass")
REST, MIXED_UP = "recall minus that of the families not named", "errors on keyboard and brass that mix the two up"

READINGS: tuple[Reading, ...] = (
    Reading(1, "LSTM, 3 layers minus 2", m.variant_difference, ((LSTM,), "LSTM, 2 layers", CORE), ABOUT_THREE),
    Reading(1, "BLSTM, 3 layers minus 2", m.variant_difference, ((BLSTM,), "BLSTM, 2 layers", CORE), ABOUT_THREE),
    Reading(2, "LSTM, Adam minus SGD at the same rate", m.variant_difference, ((LSTM,), "LSTM, SGD", CORE), MUCH),
    Reading(2, "BLSTM, Adam minus SGD at the same rate", m.variant_difference, ((BLSTM,), "BLSTM, SGD", CORE), MUCH),
    Reading(
        2, "LSTM, Adam minus SGD, each at its best rate", m.variant_difference, ((ADAM_BEST,), SGD_BEST, CORE), MUCH
    ),
    Reading(
        2, "BLSTM, Adam minus SGD, each at its best rate", m.variant_difference, ((BLSTM,), f"B{SGD_BEST}", CORE), MUCH
    ),
    Reading(2, "gain by Adam minus gain by", m.gain_lead, (ADAM, RIVALS), GAIN),
    Reading(2, "steep valleys in the loss", note="accuracies do not show the shape of the loss"),
    Reading(3, "LSTM, with tanh minus without", m.variant_difference, ((TANH,), LSTM, MINOR), LITTLE),
    Reading(4, "plain RNN minus the floor", m.accuracy_above_floor, (RNN, LSTM, MINOR), Range(-INFINITY, 5)),
    Reading(5, "LSTM, lowest valid loss after epoch 3 minus up to it", m.late_minus_early_loss, ("lstm", 3), GAIN),
    Reading(5, "BLSTM, lowest valid loss after epoch 3 minus up to it", m.late_minus_early_loss, ("blstm", 3), GAIN),
    Reading(6, "LSTM, last epoch minus lowest valid loss", m.last_minus_best, (LSTM, CORE), GAIN),
    Reading(6, "BLSTM, last epoch minus lowest valid loss", m.last_minus_best, (BLSTM, CORE), GAIN),
    Reading(
        6, "last epoch minus lowest valid loss, on valid", m.published_last_minus_best, (), GAIN, "valid notes alone"
    ),
    Reading(7, "published totals, two-proportion test", m.published_p_value, (), Range(0.05, INFINITY)),
    Reading(7, "LSTM minus BLSTM", m.variant_difference, ((LSTM,), BLSTM, CORE), LITTLE),
    Reading(7, "LSTM minus BLSTM, our runs on the same notes", m.run_difference, ("lstm", "blstm"), LITTLE),
    Reading(8, "time of the BLSTM over the LSTM's", m.time_ratio, (), Range(1.2, INFINITY)),
    Reading(9, f"LSTM, {REST}", m.recall_minus_rest, ("lstm", WELL), GAIN),
    Reading(9, "LSTM, recall minus the BLSTM's", m.recall_minus_other, ("lstm", "blstm", WELL), GAIN),
    Reading(9, f"BLSTM, {REST}", m.recall_minus_rest, ("blstm", WELL_BLSTM), GAIN),
    Reading(9, "BLSTM, recall minus the LSTM's", m.recall_minus_other, ("blstm", "lstm", WELL_BLSTM), GAIN),
    Reading(9, f"LSTM, problem families, {REST}", m.recall_minus_rest, ("lstm", PROBLEMS), LOSS),
    Reading(9, f"BLSTM, problem families, {REST}", m.recall_minus_rest, ("blstm", PROBLEMS), LOSS),
    Reading(10, "keyboard taken for bass, BLSTM minus LSTM", m.taken_for, ("blstm", "lstm", *TAKEN), GAIN),
    Reading(10, "keyboard taken for bass, backwards minus forwards", m.taken_for_backwards, ("blstm", *TAKEN), GAIN),
    Reading(10, "the end of a note", note="the networks hear the first second of notes that are held for three"),
    Reading(
        11,
        "four seconds minus one",
        m.variant_difference,
        (("4 s",), LSTM, MINOR),
        GAIN,
        "ten epochs are few for 400 steps",
        first_must_learn=True,
    ),
    Reading(11, "weight decay minus none", m.variant_difference, (("1e-4", "1e-3"), LSTM, MINOR), GAIN),
    Reading(11, "bigger batch minus 32", m.variant_difference, (("64", "128", "256"), LSTM, MINOR), GAIN),
    Reading(11, "four layers minus three", m.variant_difference, (("4 layers",), LSTM, MINOR), GAIN),
    Reading(12, f"LSTM, {REST}", m.recall_minus_rest, ("lstm", LITTLE_VARIETY), GAIN),
    Reading(12, f"BLSTM, {REST}", m.recall_minus_rest, ("blstm", LITTLE_VARIETY), GAIN),
    Reading(12, f"LSTM, similar families, {REST}", m.recall_minus_rest, ("lstm", SIMILAR), LOSS),
    Reading(12, f"BLSTM, similar families, {REST}", m.recall_minus_rest, ("blstm", SIMILAR), LOSS),
    Reading(12, f"LSTM, {MIXED_UP}", m.share_mixed_up, ("lstm", SIMILAR), Range(100 / 9, INFINITY)),
    Reading(12, f"BLSTM, {MIXED_UP}", m.share_mixed_up, ("blstm", SIMILAR), Range(100 / 9, INFINITY)),
    Reading(12, "recall against variety over all families", note="ten families are too few for a correlation"),
    Reading(13, "as stated", note="it names no attribute, so no number could contradict it"),
    Reading(13, "if it is few instruments: LSTM, known minus new ones", m.known_minus_new, ("lstm",), GAIN),
    Reading(14, "published accuracies", m.published_differences, (), GAIN, "one training each"),
    Reading(14, "LSTM minus a fully connected net, our runs", m.run_difference, ("lstm", "fully_connected"), GAIN),
    Reading(14, "LSTM minus a convolutional net, our runs", m.run_difference, ("lstm", "convolutional"), GAIN),
)
# The claim that something *might* help: one reading that holds is enough.
ONE_IS_ENOUGH = 11


def judge(reading: Reading, estimate: m.Estimate | None) -> tuple[str, str]:
    """The verdict on a reading, and the reason: the one rule.

    Without a measure it is not testable; where nothing was measured, no arm beat the floor, or nothing tells the
    spread, it is not tested. Below six trainings of each arm it is undecided. Else it holds where the whole interval
    lies in the range, fails where all of it lies outside, and is undecided where it reaches both sides.
    """
    if reading.measure is None:
        return NOT_TESTABLE, ""
    if estimate is None:
        return NOT_TESTED, NOT_MEASURED
    flags = list(estimate.learnt.values())
    if flags and not (flags[0] if reading.first_must_learn else any(flags)):
        return NOT_TESTED, NOTHING_LEARNT
    effect = "" if all(flags) else ONE_LEARNT
    if estimate.trainings is not None and estimate.trainings < FEWEST_TRAININGS:
        seeds = f"{estimate.trainings} seed{'s' if estimate.trainings > 1 else ''}"
        return UNDECIDED, f"{seeds}; {effect}" if effect else seeds
    if pd.isna(estimate.low):
        return NOT_TESTED, NO_INTERVAL
    if reading.wanted.low < estimate.low and estimate.high < reading.wanted.high:
        return HOLDS, effect
    if estimate.high <= reading.wanted.low or estimate.low >= reading.wanted.high:
        return FAILS, effect
    return UNDECIDED, TOO_WIDE


def verdict_table(evidence: m.Evidence) -> pd.DataFrame:
    """The verdict on every claim of the report, in each of its readings, on each set of notes.

    ``number`` and ``claim`` (the report's), ``reading``, then the fields of `Estimate`, ``wanted``, ``verdict``,
    ``reason``, ``learnt_nothing`` (arms that do not beat the floor).
    """
    words, rows = published.claims(), []
    for reading in READINGS:
        found = list(reading.measure(evidence, *reading.arguments)) if reading.measure else []
        for estimate in found or [None]:
            verdict, reason = judge(reading, estimate)
            row = vars(estimate).copy() if estimate else {}
            row |= {"number": reading.claim, "claim": words[reading.claim - 1], "verdict": verdict}
            row["reading"] = ": ".join(filter(None, (reading.text, row.get("part"))))
            row["reason"] = "; ".join(filter(None, (reason, reading.note)))
            if reason == NOTHING_LEARNT:  # what networks that learnt nothing differ by is no estimate
                row |= dict.fromkeys(("estimate", "low", "high", "balanced"), float("nan"))
            row["wanted"] = str(reading.wanted or "")
            row["learnt_nothing"] = "; ".join(arm for arm, flag in row.get("learnt", {}).items() if not flag)
            rows.append(row)
    columns = "number claim reading data estimate low high unit n of balanced wanted verdict reason learnt_nothing"
    return pd.DataFrame(rows).reindex(columns=columns.split()).astype({"n": "Int64"})


def verdicts_by_claim(table: pd.DataFrame) -> pd.DataFrame:
    """One row and one verdict for each claim: the row of `verdict_table` that settles it.

    A claim whose first reading is not testable is not; readings that were not tested are passed over; published and
    real notes come before nsynth-mini. Of the ``readings`` that remain, one that fails fails the claim, else one that
    is undecided leaves it open; where something *might* help, one that holds is enough.
    """
    return pd.DataFrame([_settling(rows) for _, rows in table.groupby("number")]).reset_index(drop=True)


def ways_by_claim(table: pd.DataFrame) -> pd.DataFrame:
    """How each claim was tested, one row a claim of a `verdict_table`.

    ``number`` and ``claim``; the verdict by what 2018 published (``re-analysis``) and by what was trained or timed anew
    (``replication``), missing where there is no such reading; ``data`` and ``runs`` of the reading that settles the
    replication; the claim's ``verdict``.
    """
    rows = verdicts_by_claim(table)[["number", "claim", "verdict"]].to_dict("records")
    for row in rows:
        measured = table[(table["number"] == row["number"]) & table["data"].notna()]
        published_one = measured["data"] == m.PUBLISHED
        readings = {"re-analysis": measured[published_one], "replication": measured[~published_one]}
        settling = {way: _settling(of_way) for way, of_way in readings.items() if len(of_way)}
        row |= {way: reading["verdict"] for way, reading in settling.items()}
        if "replication" in settling:
            anew = settling["replication"]
            row |= {"data": anew["data"], "runs": f"{anew['n']} {anew['of']}"}
    return pd.DataFrame(rows, columns=["number", "claim", "re-analysis", "replication", "data", "runs", "verdict"])


def _settling(rows: pd.DataFrame) -> pd.Series:
    """The first row with the claim's verdict."""
    first, tested = rows.iloc[0], rows[rows["verdict"].isin([HOLDS, FAILS, UNDECIDED])]
    if first["verdict"] == NOT_TESTABLE or tested.empty:
        return pd.concat([first, pd.Series({"readings": 0})])
    real = tested[tested["data"] != MINI_DATA]
    counted = tested if real.empty else real
    order = (HOLDS, UNDECIDED, FAILS) if first["number"] == ONE_IS_ENOUGH else (FAILS, UNDECIDED, HOLDS)
    verdict = next(verdict for verdict in order if verdict in set(counted["verdict"]))
    return pd.concat([counted[counted["verdict"] == verdict].iloc[0], pd.Series({"readings": len(counted)})])
