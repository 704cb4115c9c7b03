"""A verdict on each claim of the 2018 report, computed from what was published, the grid of ablations and our runs.

Each claim, in each of its readings, puts a number in a range. It **holds** if the whole interval of the number lies
inside the range, it **fails** if all of the interval lies outside, and else it is **undecided**. Real NSynth decides
where it was measured; nsynth-mini is told apart.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from pandas.io.formats.style import Styler

from nsynth_helpers.analysis.comparisons import NETWORK_NAMES
from nsynth_helpers.analysis.outcomes import accuracy_by_instrument, agreement
from nsynth_helpers.analysis.statistics import (
    FEWEST_VALUES,
    Interval,
    detectable_difference,
    mcnemar_test,
    two_proportion_test,
)
from nsynth_helpers.analysis.tables import compare_seeds
from nsynth_helpers.claims import published
from nsynth_helpers.claims.evidence import (
    A_GAIN,
    FAILS,
    HOLDS,
    NO_RUNS,
    NOT_TESTABLE,
    ON_PUBLISHED,
    PUBLISHED,
    UNDECIDED,
    Evidence,
    Finding,
    Measurement,
    Verdict,
    Wanted,
    certain,
    compare_on_same_notes,
    compare_shares,
    not_testable,
    settle,
)
from nsynth_helpers.claims.family_claims import families, keyboard_as_bass, variety
from nsynth_helpers.claims.sentences import p_value, points
from nsynth_helpers.claims.training_claims import (
    LITTLE,
    RECURRENT,
    adam,
    last_beats_best,
    measure_rows,
    overfitting,
    plain_rnn,
    remedies,
    tanh,
    third_layer,
    training_time,
)
from nsynth_helpers.training.grid import MINI_DATA

# The verdicts in the order of a table's columns; their words, not only their colours, tell them apart.
TINTS = {HOLDS: "#d5ecd9", FAILS: "#f6d5cc", UNDECIDED: "#f3ecc8", NOT_TESTABLE: "#e6e6e6"}
NOT_SIGNIFICANT = Wanted(0.05, float("inf"), "p above 0.05")
# The networks of our own that stand for those of the group's earlier reports.
EARLIER = tuple(NETWORK_NAMES[network] for network in published.EARLIER_NETWORKS)


def verdict_table(evidence: Evidence) -> pd.DataFrame:
    """The verdict on every claim of the 2018 report, in each of its readings.

    Parameters
    ----------
    evidence : Evidence
        What `evidence.gather_evidence` returns; what is not measured yet leaves rows undecided, and says so.

    Returns
    -------
    pandas.DataFrame
        ``claim`` (its text in the report's facts), ``reading``, ``data`` (what decides), ``evidence``, ``verdict``
        (``holds``, ``fails``, ``undecided`` or ``not testable``), ``detectable`` (of undecided rows).

    Notes
    -----
    Used in: 05_ablations.
    """
    claims = published.read_report()["claims"]
    return pd.DataFrame([vars(verdict) for claim in claims for verdict in judge_claim(claim, evidence)])


def count_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """How many readings of each claim hold, fail, are undecided or not testable.

    Parameters
    ----------
    table : pandas.DataFrame
        What `verdict_table` returns.

    Notes
    -----
    Used in: 05_ablations.
    """
    counts = pd.crosstab(table["claim"], table["verdict"])
    return counts.reindex(index=table["claim"].drop_duplicates(), columns=list(TINTS), fill_value=0)


def describe_verdicts(table: pd.DataFrame) -> str:
    """Sum the verdict table up in a few sentences.

    Parameters
    ----------
    table : pandas.DataFrame
        What `verdict_table` returns.

    Notes
    -----
    Used in: 05_ablations.
    """
    counts = table["verdict"].value_counts().reindex(list(TINTS), fill_value=0)
    table = _as_claimed(table)
    verdicts_of = table.groupby("claim", sort=False)["verdict"].agg(set)
    whole = {verdict: [claim for claim, found in verdicts_of.items() if found == {verdict}] for verdict in TINTS}
    rest = len(verdicts_of) - sum(map(len, whole.values()))
    on_mini = table["data"].str.startswith(MINI_DATA)
    only_mini = on_mini.groupby(table["claim"]).all()
    listed = "; ".join(
        f"{verdict} in every reading: "
        f"{', '.join(f'“{claim}”' + (f' ({MINI_DATA} only)' if only_mini[claim] else '') for claim in claims)}"
        for verdict, claims in whole.items()
        if claims
    )
    return (
        f"Of {len(table)} readings of {len(verdicts_of)} claims, {counts[HOLDS]} hold, {counts[FAILS]} fail, "
        f"{counts[UNDECIDED]} are undecided and {counts[NOT_TESTABLE]} not testable. The readings of {rest} claims "
        f"differ. {listed[:1].upper()}{listed[1:]}. {_told_by_mini(table.loc[on_mini, 'verdict'])}"
    )


def _told_by_mini(verdicts: pd.Series) -> str:
    counts = verdicts.value_counts().reindex([HOLDS, FAILS, UNDECIDED], fill_value=0)
    return (
        f"{len(verdicts)} of the readings are decided on {MINI_DATA} alone and say nothing about NSynth: "
        f"{counts[HOLDS]} hold, {counts[FAILS]} fail, {counts[UNDECIDED]} are undecided."
    )


def style_verdicts(table: pd.DataFrame) -> Styler:
    """The verdict table for reading: each claim once, its readings below one another, text wrapped.

    Parameters
    ----------
    table : pandas.DataFrame
        What `verdict_table` returns.

    Notes
    -----
    Used in: 05_ablations.
    """
    shown = _as_claimed(table).rename(columns={"data": "decided on"}).set_index(["claim", "reading"])
    styler = _wrapped(shown[["evidence", "decided on", "verdict"]], "verdicts", (15, 20, 44, 10, 11))
    return styler.map(lambda verdict: f"background-color: {TINTS[verdict]}; color: black", subset=["verdict"])


def style_counts(table: pd.DataFrame) -> Styler:
    """What `count_verdicts` makes of the verdict table, with the claims in full.

    Notes
    -----
    Used in: 05_ablations.
    """
    return _wrapped(count_verdicts(_as_claimed(table)), "counts", (60, 10, 10, 10, 10))


def _as_claimed(table: pd.DataFrame) -> pd.DataFrame:
    """The claims as the report makes them, without our remarks in brackets on how to test them."""
    return table.assign(claim=table["claim"].str.replace(r" \([^)]*\)", "", regex=True))


def _wrapped(shown: pd.DataFrame, name: str, widths: tuple[int, ...]) -> Styler:
    """A table for reading, with wrapped text and columns of these widths in percent, index levels first."""
    styles = [
        {"selector": "", "props": "table-layout: fixed; width: 100%"},
        {"selector": "th, td", "props": "white-space: normal; text-align: left; vertical-align: top"},
        {"selector": "th.row_heading", "props": "font-weight: normal"},
    ]
    # The first row of the head settles the widths of a fixed table: above the index it holds blank cells.
    styles += [
        {"selector": f"thead tr:first-child th:nth-child({place})", "props": f"width: {width}%"}
        for place, width in enumerate(widths, start=1)
    ]
    # With a fixed name the same table gives the same page.
    return Styler(shown, uuid=name, cell_ids=False).set_table_styles(styles)


def judge_claim(claim: str, evidence: Evidence) -> list[Verdict]:
    """The verdicts on one claim, which is known by words of its text.

    Notes
    -----
    Used in: 05_ablations.
    """
    (make_outcomes,) = [judge for words, judge in CLAIMS.items() if words in claim]
    return make_outcomes(claim, evidence)


def not_significant(claim: str, evidence: Evidence) -> list[Verdict]:
    """The published totals, the two networks over seeds (equal means within 2 points), and our runs note by note."""
    over_seeds = measure_rows(evidence, "2018 LSTM", "2018 BLSTM", "LSTM minus BLSTM", LITTLE)
    return [
        settle(claim, "the published totals, two-proportion test", [_published_totals()]),
        settle(claim, "the two networks as such, LSTM minus BLSTM", over_seeds),
        settle(claim, "our two runs on the same notes, LSTM minus BLSTM", [_same_notes(evidence)], NO_RUNS),
    ]


def _published_totals() -> Measurement:
    notes = published.read_report()["test_notes"]
    lstm, blstm = (published.correct_notes(network) for network in RECURRENT)
    test = two_proportion_test(lstm, notes, blstm, notes)
    remark = _remark(test, detectable_difference(notes, notes, lstm / notes))
    finding = Finding("p =", certain(test.p_value), float("nan"), NOT_SIGNIFICANT, "p")
    return Measurement(PUBLISHED, ON_PUBLISHED, (finding,), remark=remark)


def _same_notes(evidence: Evidence) -> Measurement | None:
    if not evidence.has(*RECURRENT.values()):
        return None
    lstm, blstm = (evidence.networks[name].test for name in RECURRENT.values())
    finding = compare_on_same_notes("LSTM minus BLSTM", lstm, blstm, LITTLE)
    notes = agreement(lstm, blstm)
    remark = f"McNemar's test: {p_value(mcnemar_test(notes['correct_a'], notes['correct_b']).p_value)}."
    return Measurement(evidence.label(*RECURRENT.values()), evidence.on(*RECURRENT.values()), (finding,), remark=remark)


def _remark(interval: Interval, detectable: float) -> str:
    """No significant difference is not the same as none: what the interval still allows."""
    return (
        f"LSTM minus BLSTM {points(interval.estimate)} (95 %: {points(interval.low)} to {points(interval.high)}); "
        f"a difference of {100 * detectable:.1f} points could have been detected."
    )


def prone_to_overfitting(claim: str, evidence: Evidence) -> list[Verdict]:
    """Not testable as stated; but whether a network knows its instruments better than new ones is."""
    reading = "LSTM, accuracy on instruments that train has minus accuracy on those that it lacks"
    as_stated = not_testable(
        claim,
        "as stated",
        "The claim names no attribute, so no data could contradict it. One candidate is tested below: few instruments "
        "with many notes each, which a network can learn by heart.",
    )
    if evidence.has("LSTM") and not _both_kinds(evidence):
        reason = f"The test split of {evidence.data} has no two instruments of each kind: known from train, and new."
        return [as_stated, not_testable(claim, reading, reason)]
    return [as_stated, settle(claim, reading, [_known_minus_new(evidence)], NO_RUNS)]


def _accuracy_by_instrument(evidence: Evidence) -> tuple[pd.Series, pd.Series]:
    """The LSTM's accuracy on each test instrument: those that train has, and those that it lacks."""
    return accuracy_by_instrument(evidence.networks["LSTM"].test, evidence.train_instruments)


def _both_kinds(evidence: Evidence) -> bool:
    return min(map(len, _accuracy_by_instrument(evidence))) >= FEWEST_VALUES


def _known_minus_new(evidence: Evidence) -> Measurement | None:
    """Instruments, not notes, are compared: the notes of one instrument stand or fall together."""
    if not evidence.has("LSTM"):
        return None
    known, new = _accuracy_by_instrument(evidence)
    what = f"{len(known)} known minus {len(new)} new instruments"
    finding = Finding(what, *compare_seeds(known, new), A_GAIN)
    return Measurement(evidence.label("LSTM"), evidence.on("LSTM"), (finding,))


def recurrent_suits(claim: str, evidence: Evidence) -> list[Verdict]:
    """Each recurrent network against the two earlier ones: the published accuracies, and ours note by note."""
    reading = "the published accuracies, each recurrent network minus each earlier one"
    return [
        settle(claim, reading, [_published_accuracies()]),
        *(
            settle(
                claim,
                f"here, the LSTM minus a {earlier} of its size",
                [_against_earlier(evidence, earlier)],
                NO_RUNS,
            )
            for earlier in EARLIER
        ),
    ]


def _published_accuracies() -> Measurement:
    notes = published.read_report()["test_notes"]
    pairs = [(network, earlier) for network in RECURRENT for earlier in published.EARLIER_NETWORKS]
    findings = (
        compare_shares(
            f"{RECURRENT[network]} minus {NETWORK_NAMES[earlier]}",
            published.correct_notes(network),
            notes,
            round(published.accuracy(earlier) * notes),
            notes,
            A_GAIN,
            len(pairs),
        )
        for network, earlier in pairs
    )
    return Measurement(PUBLISHED, ON_PUBLISHED, tuple(findings))


def _against_earlier(evidence: Evidence, earlier: str) -> Measurement | None:
    if not evidence.has("LSTM", earlier):
        return None
    finding = compare_on_same_notes(
        f"LSTM minus {earlier}", evidence.networks["LSTM"].test, evidence.networks[earlier].test, A_GAIN
    )
    return Measurement(evidence.label("LSTM", earlier), evidence.on("LSTM", earlier), (finding,))


# By words of the claim's text, so that no order of the claims is relied on.
CLAIMS: dict[str, Callable[[str, Evidence], list[Verdict]]] = {
    "third layer": third_layer,
    "Adam": adam,
    "tanh": tanh,
    "plain RNN": plain_rnn,
    "overfit from": overfitting,
    "last model": last_beats_best,
    "significant": not_significant,
    "longer to train": training_time,
    "problem families": families,
    "end of a keyboard": keyboard_as_bass,
    "might help": remedies,
    "lesser variety": variety,
    "certain attribute": prone_to_overfitting,
    "recurrent network": recurrent_suits,
}
