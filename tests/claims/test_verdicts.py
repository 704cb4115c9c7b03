"""The rule between a number and a claim, the table of readings, and the one verdict on each claim."""

import re
from dataclasses import replace

import nbformat
import numpy as np
import pandas as pd
import pytest
from test_measures import evidence, outcomes, report, trials  # noqa: F401 (report is a fixture)

from nsynth_helpers.claims import measures, published, verdicts
from nsynth_helpers.claims.measures import Estimate
from nsynth_helpers.claims.verdicts import (
    FAILS,
    GAIN,
    HOLDS,
    LITTLE,
    NOT_TESTABLE,
    NOT_TESTED,
    READINGS,
    UNDECIDED,
    Range,
    Reading,
    judge,
    verdict_table,
    verdicts_by_claim,
    ways_by_claim,
)
from nsynth_helpers.settings import PROJECT_ROOT, Settings
from nsynth_helpers.training.grid import CORE_EPOCHS, GRID, MINI_DATA, MINOR_EPOCHS, REAL_DATA, read_results

NAN = float("nan")
COLUMNS = ["number", "claim", "reading", "data", "estimate", "low", "high", "unit", "n", "of", "balanced", "wanted"]
COLUMNS += ["verdict", "reason", "learnt_nothing"]


def number(low: float, high: float, trainings=6, **learnt) -> Estimate:
    return Estimate("nsynth-mini", (low + high) / 2, low, high, "points", 6, "seeds", trainings, learnt)


def reading(wanted: Range = GAIN, **more) -> Reading:
    return Reading(1, "a minus b", measures.variant_difference, (), wanted, **more)


# The rule


@pytest.mark.parametrize(
    ("low", "high", "gain", "little"),
    [
        (1.0, 3.0, HOLDS, UNDECIDED),
        (-3.0, -1.0, FAILS, UNDECIDED),
        (-1.0, 1.0, UNDECIDED, HOLDS),
        (-3.0, 3.0, UNDECIDED, UNDECIDED),
        (2.0, 3.0, HOLDS, FAILS),
        (-5.0, -2.0, FAILS, FAILS),
        (0.0, 0.0, FAILS, HOLDS),  # no difference at all is no gain
    ],
)
def test_a_claim_holds_inside_its_range_and_fails_outside(low, high, gain, little):
    assert judge(reading(), number(low, high, a=True, b=True))[0] == gain
    assert judge(reading(LITTLE), number(low, high, a=True, b=True))[0] == little
    assert judge(reading(LITTLE), number(low, high, trainings=None))[0] == little


@pytest.mark.parametrize(("trainings", "reason"), [(1, "1 seed"), (3, "3 seeds"), (5, "5 seeds")])
def test_fewer_than_six_trainings_decide_nothing_however_narrow_the_interval(trainings, reason):
    assert judge(reading(), number(20, 21, trainings, a=True, b=True)) == (UNDECIDED, reason)
    assert judge(reading(), number(NAN, NAN, trainings, a=True, b=True)) == (UNDECIDED, reason)


@pytest.mark.parametrize("trainings", [3, 6])
@pytest.mark.parametrize(("low", "high"), [(1, 3), (-3, -1), (-1, 1)])
def test_where_no_arm_learnt_nothing_is_tested(low, high, trainings):
    judged = judge(reading(), number(low, high, trainings, a=False, b=False))
    assert judged == (NOT_TESTED, "nothing was learnt")


def test_where_one_arm_learnt_that_is_the_effect():
    assert judge(reading(), number(20, 30, a=True, b=False)) == (HOLDS, "one arm learnt nothing")
    assert judge(reading(), number(-30, -20, a=False, b=True)) == (FAILS, "one arm learnt nothing")
    assert judge(reading(), number(20, 30, 3, a=True, b=False)) == (UNDECIDED, "3 seeds; one arm learnt nothing")


def test_a_hope_that_never_began_to_learn_was_not_tested():
    hope = reading(first_must_learn=True)
    assert judge(hope, number(-30, -20, a=False, b=True)) == (NOT_TESTED, "nothing was learnt")
    assert judge(hope, number(20, 30, a=True, b=False)) == (HOLDS, "one arm learnt nothing")
    assert judge(hope, number(-30, -20, a=True, b=True)) == (FAILS, "")


def test_without_a_measure_a_number_or_an_interval():
    assert judge(Reading(1, "as stated", note="no number"), None) == (NOT_TESTABLE, "")
    assert judge(reading(), None) == (NOT_TESTED, "not measured")
    assert judge(reading(), number(NAN, NAN, None)) == (NOT_TESTED, "no interval")


@pytest.mark.parametrize(
    ("wanted", "text"), [(GAIN, "above 0"), (Range(-float("inf"), 5), "below 5"), (LITTLE, "-2 to 2")]
)
def test_a_range_names_its_ends(wanted, text):
    assert str(wanted) == text


# The table


def test_every_claim_is_read_and_nothing_crashes_without_measurements():
    table = verdict_table(evidence())
    assert list(table.columns) == COLUMNS
    assert table["claim"].drop_duplicates().tolist() == published.claims()
    assert set(table["number"]) == set(range(1, 15))
    assert not table.duplicated(["number", "reading", "data"]).any()
    unmeasured = table[table["data"].isna() & (table["verdict"] == NOT_TESTED)]
    assert len(unmeasured) > 10 and (unmeasured["reason"].str.split(";").str[0] == "not measured").all()
    untestable = table[table["verdict"] == NOT_TESTABLE]
    assert len(untestable) == 4 and untestable["reason"].str.len().gt(20).all()


def test_every_variant_that_a_reading_asks_for_is_in_the_grid():
    grid = {(variant.name, variant.epochs) for variant in GRID}
    asked = set()
    for given in READINGS:
        if given.measure is measures.variant_difference:
            variants, baseline, epochs = given.arguments
            asked |= {(variant, epochs) for variant in (*variants, baseline)}
        elif given.measure is measures.gain_lead:
            gain, rivals = given.arguments
            asked |= {(name, change[2]) for change in (gain, *rivals.values()) for name in change[:2]}
        elif given.measure is measures.accuracy_above_floor:
            asked |= {(variant, given.arguments[2]) for variant in given.arguments[:2]}
        elif given.measure is measures.last_minus_best:
            asked.add(given.arguments)
    assert len(asked) > 12 and asked <= grid


def layers(data: str, three: float, two: float, seeds: int = 6):
    return trials(data, "2018 LSTM", CORE_EPOCHS, three, seeds), trials(data, "LSTM, 2 layers", CORE_EPOCHS, two, seeds)


def rows_of(table: pd.DataFrame, text: str) -> pd.DataFrame:
    return table[table["reading"] == text].set_index("data")


def test_a_row_shows_its_number_and_the_arms_that_learnt_nothing():
    given = evidence(*layers(REAL_DATA, 0.19, 0.21), *layers(MINI_DATA, 0.5, 0.1))
    real, mini = rows_of(verdict_table(given), "LSTM, 3 layers minus 2").loc[["NSynth (subset)", MINI_DATA]].iloc
    assert (real["verdict"], real["learnt_nothing"]) == (NOT_TESTED, "2018 LSTM; LSTM, 2 layers")
    assert np.isnan([real["estimate"], real["low"], real["high"]]).all(), "no number where nothing was learnt"
    assert (mini["verdict"], mini["learnt_nothing"]) == (FAILS, "LSTM, 2 layers")
    assert (mini["estimate"], mini["n"], mini["of"], mini["wanted"]) == (pytest.approx(40), 6, "seeds", "1 to 5")


@pytest.mark.parametrize(
    ("variant", "text", "accuracy", "verdict"),
    [
        ("tanh", "LSTM, with tanh minus without", 0.505, HOLDS),
        ("tanh", "LSTM, with tanh minus without", 0.45, FAILS),
        ("plain RNN", "plain RNN minus the floor", 0.1, HOLDS),  # it alone learnt nothing: that is what is claimed
        ("plain RNN", "plain RNN minus the floor", 0.4, FAILS),
        ("4 s", "four seconds minus one", 0.6, HOLDS),
        ("4 s", "four seconds minus one", 0.4, FAILS),
        ("4 s", "four seconds minus one", 0.1, NOT_TESTED),
        ("1e-3", "weight decay minus none: 1e-3", 0.1, FAILS),
    ],
)
def test_readings_of_the_minor_rows(variant, text, accuracy, verdict):
    given = evidence(
        trials(MINI_DATA, variant, MINOR_EPOCHS, accuracy), trials(MINI_DATA, "2018 LSTM", MINOR_EPOCHS, 0.5)
    )
    assert rows_of(verdict_table(given), text).loc[MINI_DATA, "verdict"] == verdict


@pytest.mark.parametrize(("sgd", "verdict"), [(0.3, HOLDS), (0.48, FAILS), (0.1, HOLDS)])
def test_adam_against_sgd(sgd, verdict):
    given = evidence(trials(MINI_DATA, "LSTM, SGD", CORE_EPOCHS, sgd), trials(MINI_DATA, "2018 LSTM", CORE_EPOCHS, 0.5))
    text = "LSTM, Adam minus SGD at the same rate"
    assert rows_of(verdict_table(given), text).loc[MINI_DATA, "verdict"] == verdict


# One verdict on each claim


def claim(number: int, given) -> pd.Series:
    return verdicts_by_claim(verdict_table(given)).set_index("number").loc[number]


def test_each_claim_has_one_row_in_the_reports_order():
    table = verdicts_by_claim(verdict_table(evidence()))
    assert table["claim"].tolist() == published.claims()
    assert list(table.columns) == [*COLUMNS, "readings"]


def test_what_was_published_and_what_was_trained_anew_are_told_apart():
    blstm = trials(MINI_DATA, "2018 BLSTM", CORE_EPOCHS, 0.3, seeds=3)
    given = evidence(*layers(REAL_DATA, 0.19, 0.19), *layers(MINI_DATA, 0.5, 0.47), blstm)
    ways = ways_by_claim(verdict_table(given)).set_index("number")
    assert ways.loc[1, ["replication", "data", "runs", "verdict"]].tolist() == [HOLDS, MINI_DATA, "6 seeds", HOLDS]
    assert ways.loc[7, ["re-analysis", "replication", "runs"]].tolist() == [HOLDS, UNDECIDED, "3 seeds"]
    assert ways.loc[[1, 13], "re-analysis"].isna().all()
    assert ways.loc[[12, 13], ["replication", "data", "runs"]].isna().all(axis=None)
    assert ways["claim"].tolist() == published.claims()


def test_real_notes_come_before_the_mini_subset_and_untested_ones_are_passed_over():
    mini = layers(MINI_DATA, 0.5, 0.47)
    both = claim(1, evidence(*layers(REAL_DATA, 0.5, 0.5), *mini))
    assert (both["verdict"], both["data"], both["readings"]) == (FAILS, "NSynth (subset)", 1)
    unlearnt = claim(1, evidence(*layers(REAL_DATA, 0.19, 0.19), *mini))
    assert (unlearnt["verdict"], unlearnt["data"], unlearnt["readings"]) == (HOLDS, MINI_DATA, 1)
    assert claim(1, evidence(*layers(REAL_DATA, 0.19, 0.19)))["verdict"] == NOT_TESTED
    assert claim(1, evidence(*layers(MINI_DATA, 0.5, 0.47, seeds=3)))["verdict"] == UNDECIDED


def test_one_reading_that_fails_fails_a_claim_and_one_that_is_open_leaves_it_open():
    blstm = [trials(MINI_DATA, name, CORE_EPOCHS, 0.5) for name in ("2018 BLSTM", "BLSTM, 2 layers")]
    found = claim(1, evidence(*layers(MINI_DATA, 0.5, 0.47), *blstm))
    assert (found["verdict"], found["reading"], found["readings"]) == (FAILS, "BLSTM, 3 layers minus 2", 2)
    blstm[1] = blstm[1][:3]
    assert claim(1, evidence(*layers(MINI_DATA, 0.5, 0.47), *blstm))["verdict"] == UNDECIDED


@pytest.mark.parametrize(("batch", "verdict"), [(0.6, HOLDS), (0.4, FAILS)])
def test_of_what_might_help_one_is_enough(batch, verdict):
    rows = [trials(MINI_DATA, "2018 LSTM", MINOR_EPOCHS, 0.5), trials(MINI_DATA, "64", MINOR_EPOCHS, 0.4)]
    found = claim(11, evidence(*rows, trials(MINI_DATA, "256", MINOR_EPOCHS, batch)))
    assert (found["verdict"], found["readings"]) == (verdict, 2)


def test_a_claim_that_is_not_testable_as_stated_stays_so():
    known = outcomes(0.5)
    given = evidence(data=MINI_DATA, outcomes={"lstm": known}, train_instruments=frozenset(known["instrument"][::2]))
    table = verdict_table(given)
    assert table.loc[table["number"] == 13, "verdict"].tolist() == [NOT_TESTABLE, UNDECIDED]
    assert claim(13, given)["verdict"] == NOT_TESTABLE


def test_a_time_is_not_tested_until_it_was_measured_in_pairs():
    """The published ratio is above what is wanted, but it was timed once."""
    assert (claim(8, evidence())["verdict"], claim(8, evidence())["reason"]) == (NOT_TESTED, "no interval")
    lstm = np.array([10.0, 11.0, 12.0, 10.0, 11.0, 12.0])
    for factor, verdict in ((1.5, HOLDS), (1.0, FAILS)):
        pairs = pd.DataFrame({"lstm": lstm, "blstm": factor * lstm + np.arange(6) / 100})
        found = claim(8, replace(evidence(), epoch_pairs=pairs))
        assert (found["verdict"], found["data"]) == (verdict, "bench")


def test_what_the_published_figures_alone_settle():
    """What the report printed does not change: neither may these verdicts."""
    table = verdicts_by_claim(verdict_table(evidence())).set_index("number")
    expected = {5: HOLDS, 6: HOLDS, 7: HOLDS, 9: FAILS, 10: UNDECIDED, 12: FAILS, 14: HOLDS}
    assert table.loc[list(expected), "verdict"].to_dict() == expected


def test_fewer_than_six_seeds_of_the_committed_grid_settle_nothing():
    grid = read_results(Settings().results / "ablations.csv")
    table = verdict_table(evidence(grid))
    rows = table[table["of"] == "seeds"]
    few = rows[rows["n"] < verdicts.FEWEST_TRAININGS]
    assert len(rows) > 20 and set(few["verdict"]) <= {UNDECIDED, NOT_TESTED}


def test_the_list_of_readings_in_the_notebook_is_that_of_the_committed_grid():
    """Its cell trains networks, so no test runs it again to compare what it shows."""
    notebook = nbformat.read(PROJECT_ROOT / "notebooks" / "08_discussion.ipynb", as_version=4)
    (shown,) = [cell.outputs[-1].data["text/html"] for cell in notebook.cells if "All {len(readings)}" in cell.source]
    rows = [re.findall("<td>(.*?)</td>", row) for row in shown.split("<tr>")]
    table = verdict_table(evidence(read_results(Settings().results / "ablations.csv")))
    for row in table[(table["of"] == "seeds") & table["estimate"].notna()].itertuples():
        (estimate,) = [found[2] for found in rows if found[:2] == [row.reading, row.data]]
        assert estimate.startswith(f"{row.estimate:.3g} {row.unit} ({row.low:.3g} to {row.high:.3g})".replace("-", "−"))
