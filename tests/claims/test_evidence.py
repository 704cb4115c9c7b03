"""The rule between a number and a claim, and the evidence that is gathered from runs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from conftest import TINY, tones
from nsynth_helpers.analysis.comparisons import run_outcomes
from nsynth_helpers.analysis.statistics import Interval, detectable_difference, two_proportion_test
from nsynth_helpers.claims.evidence import (
    A_GAIN,
    FAILS,
    HOLDS,
    UNDECIDED,
    Finding,
    Measurement,
    Wanted,
    certain,
    compare_shares,
    gather_evidence,
    note_losses,
    settle,
)
from nsynth_helpers.settings import Settings
from nsynth_helpers.training.fit import fit
from nsynth_helpers.training.grid import KEY
from nsynth_helpers.training.predict import predict

LITTLE = Wanted(-0.02, 0.02, "within 2 points")
NAN = float("nan")


def finding(low: float, high: float, wanted: Wanted = A_GAIN, detectable: float = 0.05, unit="points") -> Finding:
    return Finding("a minus b", Interval((low + high) / 2, low, high, 0.95), detectable, wanted, unit)


@pytest.mark.parametrize(
    ("low", "high", "gain", "little"),
    [
        (0.01, 0.03, HOLDS, UNDECIDED),
        (-0.03, -0.01, FAILS, UNDECIDED),
        (-0.01, 0.01, UNDECIDED, HOLDS),
        (-0.03, 0.03, UNDECIDED, UNDECIDED),
        (0.02, 0.03, HOLDS, FAILS),
        (-0.05, -0.02, FAILS, FAILS),
        (0.0, 0.0, FAILS, HOLDS),  # no difference at all is no gain
        (NAN, NAN, UNDECIDED, UNDECIDED),
    ],
)
def test_a_claim_holds_inside_its_range_and_fails_outside(low, high, gain, little):
    assert finding(low, high).verdict == gain
    assert finding(low, high, LITTLE).verdict == little


GOOD, BAD, OPEN = finding(0.01, 0.02, detectable=0.9), finding(-0.02, -0.01), finding(-0.01, 0.01)


@pytest.mark.parametrize(
    ("findings", "all_of_them", "any_of_them"),
    [
        ((GOOD, GOOD), HOLDS, HOLDS),
        ((GOOD, OPEN), UNDECIDED, HOLDS),
        ((GOOD, BAD), FAILS, HOLDS),
        ((OPEN, BAD), FAILS, UNDECIDED),
        ((BAD, BAD), FAILS, FAILS),
    ],
)
def test_several_findings_decide_together(findings, all_of_them, any_of_them):
    assert Measurement("data", "data", findings).verdict == all_of_them
    assert Measurement("data", "data", findings, needs_all=False).verdict == any_of_them


def test_what_could_have_been_detected_is_that_of_the_finding_that_is_open():
    measurement = Measurement("mini", "mini, 3 seeds", (GOOD, OPEN), remark="So it is.")
    assert measurement.detectable == 0.05
    assert measurement.text == (
        "mini, 3 seeds: a minus b +1.5 points (95 %: +1.0 to +2.0); a minus b +0.0 points (95 %: −1.0 to +1.0). "
        "These data could have detected a difference of 5.0 points (a minus b). So it is."
    )
    assert np.isnan(Measurement("mini", "mini", (GOOD, BAD)).detectable)


@pytest.mark.parametrize(
    ("unit", "text", "detectable"),
    [
        ("accuracy", "25.0 % (95 %: 20.0 to 30.0)", "a difference of 5.0 points"),
        ("nats", "+0.25 nats (95 %: +0.20 to +0.30)", "a difference of 0.05 nats"),
        ("times", "0.25 times (95 %: 0.20 to 0.30)", "a factor of 0.05"),
        ("correlation", "+0.25 (95 %: +0.20 to +0.30)", "a correlation of 0.05"),
    ],
)
def test_every_unit_has_its_words(unit, text, detectable):
    number = finding(0.2, 0.3, unit=unit)
    assert number.text == f"a minus b {text}"
    assert number.detectable_text == detectable


def test_numbers_without_uncertainty_and_bounds_without_confidence_are_written_plainly():
    assert Finding("lowest in epoch", certain(2), NAN, A_GAIN, "epoch").text == "lowest in epoch 2"
    assert Finding("rise", Interval(1, 0.9, 1.1, 1.0), 0.2, A_GAIN, "nats").text.endswith("(between +0.90 and +1.10)")
    assert replace(OPEN, detectable=NAN).detectable_text == "no difference at all"


def test_the_first_measurement_decides_and_none_means_not_measured():
    first, second = Measurement("real", "real", (GOOD,)), Measurement("mini", "mini", (BAD,))
    verdict = settle("claim", "reading", [None, first, second])
    assert (verdict.verdict, verdict.data, verdict.reading) == (HOLDS, "real", "reading: above 0")
    assert verdict.evidence.endswith("Not counted: mini: a minus b −1.5 points (95 %: −2.0 to −1.0). (Alone: fails.)")
    nothing = settle("claim", "reading", [None], "Run it.")
    assert (nothing.verdict, nothing.evidence) == (UNDECIDED, "Run it.")


def test_shares_among_several_have_wider_intervals():
    alone, among = (compare_shares("a", 60, 100, 40, 100, A_GAIN, several) for several in (1, 4))
    assert alone.interval == two_proportion_test(60, 100, 40, 100)
    assert among.interval == two_proportion_test(60, 100, 40, 100, 1 - 0.05 / 4)
    assert alone.detectable == detectable_difference(100, 100, 0.6) < among.detectable


def test_evidence_is_gathered_from_runs(tmp_path):
    splits = {"train": tones("train", 4, 1), "valid": tones("valid", 2, 2), "test": tones("test", 2, 3)}
    settings = replace(Settings.from_environment({"NSYNTH_DEVICE": "cpu"}), runs=tmp_path)
    run = fit(replace(TINY, epochs=2, learning_rate=0.01), splits, settings)
    evidence = gather_evidence(pd.DataFrame(columns=KEY), {"LSTM": run}, splits, settings)
    network = evidence.networks["LSTM"]
    assert evidence.has("LSTM")
    assert not evidence.has("LSTM", "BLSTM")
    assert evidence.on("LSTM") == "nsynth-mini, 20 test notes, one training on nsynth-mini, 2 epochs"
    assert evidence.label("LSTM") == "nsynth-mini"
    assert network.best_epoch == run.metrics["best"]["epoch"]
    pd.testing.assert_frame_equal(network.test, run_outcomes(run, splits, settings))
    pd.testing.assert_frame_equal(network.valid_best, run_outcomes(run, splits, settings, "valid", "best"))
    assert note_losses(network.valid).mean() == pytest.approx(run.metrics["last"]["valid"]["loss"], rel=1e-4)
    logits = [column for column in network.test if column.startswith("logit_")]
    backwards = predict(run.load_network(), run.config.frames(splits["test"], reverse=True))
    np.testing.assert_allclose(network.test_reversed[logits], backwards[logits], atol=1e-6)
    assert not np.allclose(network.test_reversed[logits], network.test[logits])
    assert evidence.train_instruments == set(splits["train"].notes["instrument"])
