"""Every measure on made-up evidence whose answer is known, on both sides of what the report claims."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from conftest import TINY, tones
from nsynth_helpers.analysis import (
    confusion_matrix,
    make_outcomes,
    run_outcomes,
    scores_of_confusion,
    two_proportion_test,
)
from nsynth_helpers.claims import measures, published
from nsynth_helpers.claims.measures import Evidence, gather_evidence
from nsynth_helpers.data.metadata import FAMILIES, LOGITS
from nsynth_helpers.settings import Settings
from nsynth_helpers.training.fit import fit
from nsynth_helpers.training.grid import CORE_EPOCHS, KEY, MINI_DATA, MINOR_EPOCHS, REAL_DATA
from nsynth_helpers.training.predict import predict

NOISE = np.array([-0.004, 0.003, 0.001, -0.002, 0.004, -0.002])  # of six seeds; its mean is zero
FLOORS = {MINI_DATA: 0.1, REAL_DATA: 843 / 4096}


def trials(data: str, variant: str, epochs: int, accuracy, seeds: int = 6, **columns) -> pd.DataFrame:
    """Rows of the grid's table: a mean accuracy with some noise, or one accuracy a seed."""
    values = accuracy + NOISE[:seeds] if np.isscalar(accuracy) else np.asarray(accuracy)
    row = {"data": data, "variant": variant, "epochs": epochs, "seed": 1 + np.arange(len(values))}
    row |= {"test_accuracy": values, "best_test_accuracy": values, "test_notes": 4096, "group": "core"}
    row |= {"train_accuracy": values, "train_notes": 1836}
    return pd.DataFrame(row | columns)


def evidence(*tables: pd.DataFrame, **more) -> Evidence:
    return Evidence(pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=KEY), **more)


def one(estimates):
    (estimate,) = estimates
    return estimate


def outcomes(share, instruments: int = 4, taken_for: dict | None = None) -> pd.DataFrame:
    """Forty notes of each family; ``share`` of them, for all families or for each, is right."""
    shares = share if isinstance(share, dict) else dict.fromkeys(FAMILIES, share)
    names, logits = [], []
    for label, family in enumerate(FAMILIES):
        for number in range(40):
            names.append(f"{family}_acoustic_{number % instruments:03d}-{30 + number:03d}-100")
            wrong = FAMILIES.index((taken_for or {}).get(family, FAMILIES[(label + 3) % 10]))
            logits.append(3.0 * np.eye(10)[label if number < round(40 * shares[family]) else wrong])
    table = pd.DataFrame(np.array(logits), columns=LOGITS)
    table.insert(0, "note_str", names)
    table.insert(1, "family", [name.split("_")[0] for name in names])
    return make_outcomes(table)


@pytest.fixture
def report(monkeypatch):
    """The report's facts, to change; the functions of `published` read the change."""
    facts = json.loads(json.dumps(published.read_report()))
    monkeypatch.setattr(published, "read_report", lambda: facts)
    return facts


def confusion(right: dict, notes: int = 400, taken_for: dict | None = None) -> list[list[int]]:
    """A published matrix with these shares of right answers, 0.6 where none is given."""
    table = np.zeros((10, 10), dtype=int)
    for label, family in enumerate(FAMILIES):
        correct = round(notes * right.get(family, 0.6))
        table[label, label] = correct
        table[label, FAMILIES.index((taken_for or {}).get(family, FAMILIES[(label + 3) % 10]))] += notes - correct
    return table.tolist()


# The grid


@pytest.mark.parametrize("gain", [0.06, -0.06])
def test_variants_are_compared_seed_by_seed(gain):
    """Both arms share the noise of their seeds, so that nothing is left of it in the difference."""
    tables = (trials(MINI_DATA, "tanh", MINOR_EPOCHS, 0.5 + gain), trials(MINI_DATA, "2018 LSTM", MINOR_EPOCHS, 0.5))
    found = one(measures.variant_difference(evidence(*tables), ("tanh",), "2018 LSTM", MINOR_EPOCHS))
    assert [found.estimate, found.low, found.high] == pytest.approx([100 * gain] * 3)
    assert (found.data, found.unit, found.n, found.of, found.trainings) == (MINI_DATA, "points", 6, "seeds", 6)
    assert found.learnt == {"tanh": True, "2018 LSTM": True} and np.isnan(found.balanced)


def test_only_seeds_that_both_variants_have_count_and_other_epochs_do_not():
    tables = (
        trials(MINI_DATA, "tanh", MINOR_EPOCHS, [0.5, 0.6, 0.7, 0.1], seed=[1, 2, 3, 9]),
        trials(MINI_DATA, "2018 LSTM", MINOR_EPOCHS, [0.5, 0.5, 0.5]),
        trials(MINI_DATA, "2018 LSTM", CORE_EPOCHS, 0.9),
    )
    found = one(measures.variant_difference(evidence(*tables), ("tanh",), "2018 LSTM", MINOR_EPOCHS))
    assert (found.n, found.estimate) == (3, pytest.approx(10))


def test_several_variants_have_wider_intervals_and_their_names():
    names = ("64", "128", "256")
    tables = [trials(MINI_DATA, name, MINOR_EPOCHS, [0.5, 0.52, 0.47]) for name in names]
    given = evidence(*tables, trials(MINI_DATA, "2018 LSTM", MINOR_EPOCHS, [0.4, 0.4, 0.4]))
    alone = one(measures.variant_difference(given, names[:1], "2018 LSTM", MINOR_EPOCHS))
    together = list(measures.variant_difference(given, names, "2018 LSTM", MINOR_EPOCHS))
    assert [found.part for found in together] == list(names) and alone.part == ""
    assert together[0].estimate == alone.estimate and together[0].low < alone.low


@pytest.mark.parametrize(("data", "floor"), FLOORS.items())
def test_an_arm_has_learnt_above_the_most_frequent_family_of_its_data(data, floor):
    tables = (trials(data, "tanh", MINOR_EPOCHS, floor + 0.05), trials(data, "2018 LSTM", MINOR_EPOCHS, floor))
    found = one(measures.variant_difference(evidence(*tables), ("tanh",), "2018 LSTM", MINOR_EPOCHS))
    assert found.learnt == {"tanh": True, "2018 LSTM": False}


@pytest.mark.parametrize(("layers", "lead"), [(0.45, 15), (0.25, -5)])
def test_lead_of_a_gain_over_another(layers, lead):
    """Adam gains 20 points on SGD; the third layer gains what is left to 50 %."""
    rows = {"2018 LSTM": 0.5, "LSTM, SGD": 0.3, "LSTM, 2 layers": layers}
    given = evidence(*(trials(MINI_DATA, name, CORE_EPOCHS, accuracy) for name, accuracy in rows.items()))
    gain, rival = (("2018 LSTM", name, CORE_EPOCHS) for name in ("LSTM, SGD", "LSTM, 2 layers"))
    found = one(measures.gain_lead(given, gain, {"third layer": rival}))
    assert (found.estimate, found.part) == (pytest.approx(lead), "third layer")
    assert all(found.learnt.values()) and set(found.learnt) == set(rows)
    assert not list(measures.gain_lead(given, gain, {"tanh": ("tanh", "2018 LSTM", MINOR_EPOCHS)}))


@pytest.mark.parametrize(("data", "floor"), FLOORS.items())
def test_accuracy_is_counted_from_the_floor(data, floor):
    reference = trials(data, "2018 LSTM", MINOR_EPOCHS, 0.5)
    for above, learnt in ((0.15, True), (0.0, False)):
        given = evidence(trials(data, "plain RNN", MINOR_EPOCHS, floor + above), reference)
        found = one(measures.accuracy_above_floor(given, "plain RNN", "2018 LSTM", MINOR_EPOCHS))
        assert found.estimate == pytest.approx(100 * above, abs=1e-9)
        assert found.low < found.estimate < found.high
        assert found.learnt == {"plain RNN": learnt, "2018 LSTM": True}


@pytest.mark.parametrize("gain", [0.05, -0.05])
def test_last_epoch_against_the_lowest_valid_loss(gain):
    table = trials(REAL_DATA, "2018 BLSTM", CORE_EPOCHS, 0.5, best_test_accuracy=0.5 - gain)
    found = one(measures.last_minus_best(evidence(table), "2018 BLSTM", CORE_EPOCHS))
    assert (found.estimate, found.learnt) == (pytest.approx(100 * gain), {"2018 BLSTM": True})
    assert found.low < found.estimate < found.high


def test_a_last_epoch_that_is_the_best_one_of_every_seed_is_no_comparison():
    given = evidence(trials(REAL_DATA, "2018 LSTM", CORE_EPOCHS, 0.5))
    assert not list(measures.last_minus_best(given, "2018 LSTM", CORE_EPOCHS))


def test_one_seed_gives_an_estimate_without_an_interval():
    tables = (trials(MINI_DATA, "tanh", 10, [0.6]), trials(MINI_DATA, "2018 LSTM", 10, [0.5]))
    found = one(measures.variant_difference(evidence(*tables), ("tanh",), "2018 LSTM", 10))
    above = one(measures.accuracy_above_floor(evidence(*tables), "tanh", "2018 LSTM", 10))
    assert (found.estimate, above.estimate) == (pytest.approx(10), pytest.approx(50))
    assert np.isnan([found.low, found.high, above.low, above.high]).all()


# Our runs


@pytest.mark.parametrize(("other", "difference"), [(0.2, 30), (0.9, -40)])
def test_two_runs_on_the_same_notes(other, difference):
    heard = {"lstm": outcomes(0.5, instruments=7), "convolutional": outcomes(other, instruments=7)}
    given = evidence(data=MINI_DATA, outcomes=heard)
    found = one(measures.run_difference(given, "lstm", "convolutional"))
    assert [found.estimate, found.balanced] == pytest.approx([difference] * 2)
    assert found.low < found.estimate < found.high
    assert (found.data, found.n, found.of, found.trainings) == (MINI_DATA, 400, "notes", 1)
    assert found.learnt == {"lstm": True, "convolutional": True}
    assert not list(measures.run_difference(given, "lstm", "blstm"))


def test_balanced_accuracy_stands_beside_accuracy_where_families_differ_in_size():
    """All bass is right, the rest is wrong, and bass is most of the notes."""
    both = [outcomes(dict.fromkeys(FAMILIES, share) | {"bass": 1.0}) for share in (0.0, 0.5)]
    both = [table[(table["family"] == "bass") | (table["pitch"] % 20 == 0)] for table in both]
    found = one(
        measures.run_difference(evidence(outcomes=dict(zip(("lstm", "blstm"), both, strict=True))), "lstm", "blstm")
    )
    recalls = [scores_of_confusion(confusion_matrix(table))["recall"].mean() for table in both]
    assert found.balanced == pytest.approx(100 * (recalls[0] - recalls[1]))
    assert abs(found.balanced) > 1.2 * abs(found.estimate)
    assert found.learnt["lstm"] is False, "no better than always bass"


@pytest.mark.parametrize(("known", "gap"), [((0, 1), 100), ((2, 3), -100)])
def test_known_against_new_instruments(known, gap):
    """Of each family's four instruments, the first two are always right and the others never."""
    notes = outcomes(0.5)
    label = np.where(notes["instrument"].str[-1].isin(["0", "1"]), notes["label"], (notes["label"] + 3) % 10)
    heard = notes[["note_str", "family"]].assign(**dict(zip(LOGITS, 3 * np.eye(10)[label].T, strict=True)))
    train = frozenset(notes.loc[notes["instrument"].str[-1].astype(int).isin(known), "instrument"])
    given = evidence(outcomes={"lstm": make_outcomes(heard)}, train_instruments=train)
    found = one(measures.known_minus_new(given, "lstm"))
    assert (found.estimate, found.n, found.of, found.trainings) == (pytest.approx(gap), 40, "instruments", 1)
    assert not list(measures.known_minus_new(replace(given, train_instruments=frozenset()), "lstm"))


@pytest.mark.parametrize(("forwards", "backwards", "more"), [(0.9, 0.3, 60), (0.3, 0.9, -60)])
def test_keyboard_taken_for_bass_backwards(forwards, backwards, more):
    both = [
        outcomes(dict.fromkeys(FAMILIES, 0.8) | {"keyboard": share}, instruments=7, taken_for={"keyboard": "bass"})
        for share in (forwards, backwards)
    ]
    given = evidence(outcomes={"blstm": both[0]}, backwards={"blstm": both[1]})
    found = one(measures.taken_for_backwards(given, "blstm", "keyboard", "bass"))
    assert (found.estimate, found.n, found.trainings) == (pytest.approx(more), 7, 1)
    assert found.low < found.estimate < found.high and found.learnt == {"blstm": True}
    assert not list(measures.taken_for_backwards(evidence(), "blstm", "keyboard", "bass"))


def test_instruments_that_all_change_alike_tell_no_spread():
    same = outcomes(0.8)
    given = evidence(outcomes={"blstm": same}, backwards={"blstm": same})
    found = one(measures.taken_for_backwards(given, "blstm", "keyboard", "bass"))
    assert found.estimate == 0 and np.isnan(found.low) and np.isnan(found.high)


@pytest.mark.parametrize(("instruments", "ends"), [(2, (-100, 100)), (1, (np.nan, np.nan))])
def test_few_instruments_stay_undecided_within_possible_shares(instruments, ends):
    forwards = outcomes(1.0, instruments=instruments)
    turned = forwards["instrument"] == "keyboard_acoustic_000"
    backwards = forwards.assign(predicted=forwards["predicted"].mask(turned, "bass"))
    given = evidence(outcomes={"blstm": forwards}, backwards={"blstm": backwards})
    found = one(measures.taken_for_backwards(given, "blstm", "keyboard", "bass"))
    assert found.estimate == pytest.approx(100 / instruments)
    assert (found.low, found.high) == pytest.approx(ends, nan_ok=True)


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_the_ratio_of_times_is_measured_in_pairs(factor):
    lstm = np.array([10.0, 20.0, 40.0, 10.0, 20.0, 40.0])  # a disturbed machine, on which each pair is disturbed alike
    pairs = pd.DataFrame({"lstm": lstm, "blstm": factor * lstm * np.exp(NOISE)})
    in_2018, bench = measures.time_ratio(evidence(epoch_pairs=pairs))
    assert bench.estimate == pytest.approx(factor)
    assert 0.99 * factor < bench.low < factor < bench.high < 1.01 * factor
    assert (bench.n, bench.of, bench.trainings, bench.unit) == (6, "pairs", 6, "times")
    assert in_2018.estimate == pytest.approx((16 * 60 + 56) / (13 * 60 + 53)) and np.isnan(in_2018.low)
    assert len(list(measures.time_ratio(evidence()))) == 1


# What was published


@pytest.mark.parametrize(("losses", "rise"), [([1.5, 1.4, 1.6, 1.9, 1.7], 0.3), ([1.5, 1.4, 1.6, 1.0, 1.7], -0.4)])
def test_the_valid_loss_after_an_epoch_against_up_to_it(report, losses, rise):
    for network, error in (("lstm", 0.1), ("blstm", 0.01)):
        columns = ("train_loss", "valid_loss", "train_accuracy", "valid_accuracy")
        report[network]["curves"] = dict.fromkeys(columns, losses)
        found = one(measures.late_minus_early_loss(evidence(), network, 3))
        assert [found.estimate, found.low, found.high] == pytest.approx([rise, rise - error, rise + error])
        assert (found.data, found.unit, found.trainings) == ("2018 report", "nats", None)


@pytest.mark.parametrize(("accuracy", "gain"), [([40, 50, 64], 14), ([64, 50, 40], -10)])
def test_last_epoch_on_the_published_curves(report, accuracy, gain):
    for network in ("lstm", "blstm"):
        report[network]["curves"]["valid_loss"] = [1.6, 1.5, 1.7]
        report[network]["curves"] |= dict.fromkeys(("train_loss", "train_accuracy", "valid_accuracy"), accuracy)
    lstm, blstm = measures.published_last_minus_best(evidence())
    assert lstm.estimate == pytest.approx(gain, abs=0.01)
    assert (lstm.part, blstm.part, lstm.n) == ("LSTM", "BLSTM", 12678)


@pytest.mark.parametrize(("correct", "significant"), [(2609, False), (2400, True)])
def test_p_value_of_the_published_totals(report, correct, significant):
    report["blstm"]["correct"] = correct
    found = one(measures.published_p_value(evidence()))
    assert found.estimate == found.low == found.high == two_proportion_test(2656, 4096, correct, 4096).p_value
    assert (found.estimate < 0.05) == significant


@pytest.mark.parametrize("percent", [45.0, 70.0])
def test_published_accuracies_against_the_earlier_networks(report, percent):
    report["earlier_models"]["convolutional"]["accuracy_percent"] = percent
    found = {estimate.part: estimate for estimate in measures.published_differences(evidence())}
    assert list(found)[1] == "LSTM minus convolutional" and len(found) == 4
    interval = two_proportion_test(2656, 4096, round(percent / 100 * 4096), 4096, 1 - 0.05 / 4)
    assert found["LSTM minus convolutional"].low == pytest.approx(100 * interval.low)
    assert found["LSTM minus convolutional"].estimate == pytest.approx(64.844 - percent, abs=0.02)


@pytest.mark.parametrize(("share", "difference"), [(0.9, 30), (0.3, -30)])
def test_recall_of_named_families(report, share, difference):
    """Against the families that are not named, which are right on 60 %, and against the other network, as well."""
    report["lstm"]["confusion_matrix"] = confusion({"string": share, "vocal": 0.6})
    report["blstm"]["confusion_matrix"] = confusion({})
    rest = list(measures.recall_minus_rest(evidence(), "lstm", ("string", "vocal")))
    other = list(measures.recall_minus_other(evidence(), "lstm", "blstm", ("string", "vocal")))
    for string, vocal in (rest, other):
        assert [string.estimate, vocal.estimate] == pytest.approx([difference, 0], abs=1e-9)
        assert (string.part, vocal.part, string.n, string.of) == ("string", "vocal", 400, "independent notes")
        assert string.low < string.estimate < string.high
    correct = round(400 * share)
    interval = two_proportion_test(correct, 400, 240 * 8, 400 * 8, 1 - 0.05 / 2)
    assert [rest[0].low, rest[0].high] == pytest.approx([100 * interval.low, 100 * interval.high])
    interval = two_proportion_test(correct, 400, 240, 400, 1 - 0.05 / 2)
    assert [other[0].low, other[0].high] == pytest.approx([100 * interval.low, 100 * interval.high])


@pytest.mark.parametrize(("blstm", "more"), [(0.5, 10), (0.9, -30)])
def test_keyboard_taken_for_bass_more_often_than_by_the_other_network(report, blstm, more):
    for network, share in (("lstm", 0.6), ("blstm", blstm)):
        report[network]["confusion_matrix"] = confusion({"keyboard": share}, taken_for={"keyboard": "bass"})
    found = one(measures.taken_for(evidence(), "blstm", "lstm", "keyboard", "bass"))
    assert found.estimate == pytest.approx(more)
    taken = round(400 * (1 - blstm))
    assert found.low == pytest.approx(100 * two_proportion_test(taken, 400, 160, 400, 1 - 0.05 / 90).low)


@pytest.mark.parametrize(("brass", "share"), [("keyboard", 100), ("reed", 50)])
def test_share_of_errors_that_mix_two_families_up(report, brass, share):
    report["lstm"]["confusion_matrix"] = confusion({}, taken_for={"keyboard": "brass", "brass": brass})
    found = one(measures.share_mixed_up(evidence(), "lstm", ("keyboard", "brass")))
    assert (found.estimate, found.n, found.unit) == (pytest.approx(share), 320, "%")
    assert found.low < share <= found.high + 1e-9


# The evidence itself


def test_evidence_is_gathered_from_runs_of_the_data_at_hand(tmp_path):
    splits = {"train": tones("train", 4, 1), "valid": tones("valid", 2, 2), "test": tones("test", 2, 3)}
    settings = replace(Settings.from_environment({"NSYNTH_DEVICE": "cpu"}), runs=tmp_path, results=tmp_path / "results")
    run = fit(replace(TINY, network="blstm", epochs=2, learning_rate=0.01), splits, settings)
    grid = pd.DataFrame(columns=KEY)
    given = gather_evidence(grid, {"any name": run}, splits, settings)
    pd.testing.assert_frame_equal(given.outcomes["blstm"], run_outcomes(run, splits, settings))
    backwards = predict(run.load_network(), run.config.frames(splits["test"], reverse=True))
    np.testing.assert_allclose(given.backwards["blstm"][LOGITS], backwards[LOGITS], atol=1e-6)
    assert not np.allclose(given.backwards["blstm"][LOGITS], given.outcomes["blstm"][LOGITS])
    assert given.train_instruments == set(splits["train"].notes["instrument"])
    assert (given.data, given.epoch_pairs) == (MINI_DATA, None)

    elsewhere = replace(settings, data=str(tmp_path / "other"))
    assert gather_evidence(grid, {"any name": run}, splits, elsewhere).outcomes == {}

    (settings.results / "bench").mkdir(parents=True)
    (settings.results / "bench" / "epoch_pairs.csv").write_text("lstm,blstm\n10,21\n11,22\n")
    assert gather_evidence(grid, {}, splits, settings).epoch_pairs["blstm"].tolist() == [21, 22]
