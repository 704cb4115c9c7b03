"""Statistics against textbook answers, other libraries, and simulated data whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from nsynth_helpers.analysis import statistics
from nsynth_helpers.settings import InputError


def booleans(both, only_a, only_b, neither):
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


def test_wilson_interval_of_eight_in_ten():
    interval = statistics.wilson_interval(8, 10)
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=5e-5)


def test_wilson_interval_takes_columns_and_leaves_empty_groups_empty():
    interval = statistics.wilson_interval([8, 0, 0], [10, 10, 0])
    assert interval.high == pytest.approx([0.9433, 0.2775, np.nan], abs=5e-5, nan_ok=True)
    assert np.isnan(interval.estimate[2])


def test_instruments_all_or_nothing_make_the_clustered_interval_wider():
    correct = np.repeat(np.arange(50) % 2 == 0, 80)
    clustered = statistics.clustered_bootstrap(correct, np.repeat(np.arange(50), 80))
    alone = statistics.wilson_interval(correct.sum(), len(correct))
    # 50 independent coins: about as wide as the interval of 25 in 50, far from that of 2,000 in 4,000.
    coins = statistics.wilson_interval(25, 50)
    assert clustered.high - clustered.low == pytest.approx(coins.high - coins.low, rel=0.1)
    assert clustered.high - clustered.low > 8 * (alone.high - alone.low)
    assert clustered.estimate == 0.5


def test_one_note_an_instrument_gives_nearly_the_wilson_interval():
    correct = np.random.default_rng(0).random(1000) < 0.65
    clustered = statistics.clustered_bootstrap(correct, np.arange(1000))
    alone = statistics.wilson_interval(correct.sum(), 1000)
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high), abs=0.004)


def test_clustered_bootstrap_agrees_with_scipy():
    generator = np.random.default_rng(6)
    sizes = generator.integers(5, 150, 53)
    correct_of = generator.binomial(sizes, generator.beta(2, 1, 53))
    correct = np.concatenate([np.arange(size) < right for size, right in zip(sizes, correct_of, strict=True)])
    ours = statistics.clustered_bootstrap(correct, np.repeat(np.arange(53), sizes), draws=20_000)
    theirs = stats.bootstrap(
        (correct_of, sizes),
        lambda right, size, axis: right.sum(axis) / size.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        random_state=np.random.default_rng(1),
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)
    assert ours.high - ours.low > 0.1


def test_clustered_bootstrap_weighs_instruments_by_their_notes():
    values = np.r_[np.ones(300), np.zeros(100), np.ones(50)]
    interval = statistics.clustered_bootstrap(values, np.repeat(["a", "b", "c"], [300, 100, 50]))
    assert interval.estimate == pytest.approx(350 / 450)
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_clustered_bootstrap_repeats_with_its_seed():
    values = np.random.default_rng(1).random(200)
    intervals = [statistics.clustered_bootstrap(values, np.arange(200) // 10, seed=seed) for seed in (4, 4, 5)]
    assert intervals[0] == intervals[1]
    assert intervals[0].low != intervals[2].low


def test_clustered_t_interval_of_equal_instruments_is_the_t_interval_of_their_means():
    generator = np.random.default_rng(1)
    values = generator.normal(generator.normal(0, 1, (6, 1)), 1, (6, 30))
    interval = statistics.clustered_t_interval(values.ravel(), np.repeat(np.arange(6), 30))
    expected = stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_only_the_t_interval_covers_as_promised_when_instruments_are_few():
    generator = np.random.default_rng(7)
    clusters = np.repeat(np.arange(3), 10)
    covered = {"bootstrap": 0, "t": 0}
    for _ in range(300):
        values = np.repeat(generator.normal(0, 1, 3), 10)
        by_bootstrap = statistics.clustered_bootstrap(values, clusters, draws=200)
        by_t = statistics.clustered_t_interval(values, clusters)
        covered["bootstrap"] += by_bootstrap.low <= 0 <= by_bootstrap.high
        covered["t"] += by_t.low <= 0 <= by_t.high
    assert covered["t"] / 300 == pytest.approx(0.95, abs=0.03)
    assert covered["bootstrap"] / 300 < 0.85


def test_clustered_bootstrap_refuses_a_single_instrument():
    for interval in (statistics.clustered_bootstrap, statistics.clustered_t_interval):
        with pytest.raises(InputError, match="two or more"):
            interval([True, False], ["a", "a"])


def test_clustered_difference_is_paired():
    generator = np.random.default_rng(2)
    correct_a = np.repeat(generator.random(40) < 0.5, 25)
    correct_b = correct_a & (generator.random(1000) > 0.1)
    clusters = np.repeat(np.arange(40), 25)
    difference = statistics.clustered_difference(correct_a, correct_b, clusters)
    one_alone = statistics.clustered_bootstrap(correct_a, clusters)
    assert difference.estimate == pytest.approx(correct_a.mean() - correct_b.mean())
    assert 0 < difference.low < difference.high
    # Paired notes cancel what the instruments have in common.
    assert difference.high - difference.low < (one_alone.high - one_alone.low) / 3


def test_mcnemar_on_the_approval_ratings_of_agresti():
    # Agresti, Categorical Data Analysis, table 10.1: 794, 150, 86, 570; exact, of 236 coins 150 heads or more, twice.
    test = statistics.mcnemar_test(*booleans(794, 150, 86, 570))
    assert test == pytest.approx(2 * stats.binom.sf(149, 236, 0.5))


def test_mcnemar_is_exact_when_few_notes_are_discordant():
    test = statistics.mcnemar_test(*booleans(20, 8, 1, 20))
    assert test == pytest.approx(2 * (1 + 9) / 2**9)
    assert statistics.mcnemar_test(*booleans(20, 42, 42, 5)) == 1, "equal counts speak against nothing"
    assert statistics.mcnemar_test(*booleans(20, 0, 0, 5)) == 1


def test_the_published_pair_does_not_differ_significantly():
    test = statistics.two_proportion_test(2656, 4096, 2609, 4096)
    assert test.estimate == pytest.approx(47 / 4096)
    # z by hand: difference / sqrt(2 p (1 - p) / n) with the pooled p = 5265 / 8192.
    assert test.statistic == pytest.approx(1.0836, abs=1e-4)
    assert test.p_value == pytest.approx(0.2785, abs=1e-4)
    assert (test.low, test.high) == pytest.approx((-0.0093, 0.0322), abs=1e-4)


def test_two_proportions_newcombe_example_and_degenerate_totals():
    # Newcombe (1998), "Interval estimation for the difference", example (a): 56/70 against 48/80, method 10.
    test = statistics.two_proportion_test(56, 70, 48, 80)
    assert (test.low, test.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert statistics.two_proportion_test(0, 10, 0, 10).p_value == 1


def test_welch_on_a_textbook_example_and_paired_on_student_sleep():
    # Student's sleep data (1908): t = -1.8608, df = 17.776, p = 0.07939 unpaired; t = -4.0621, p = 0.002833 paired.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    welch = statistics.mean_difference(first, second)
    assert (welch.statistic, welch.p_value) == pytest.approx((-1.8608, 0.07939), rel=1e-4)
    assert (welch.low, welch.high) == pytest.approx((-3.3654832, 0.2054832), rel=1e-6)
    paired = statistics.mean_difference(first, second, paired=True)
    assert (paired.statistic, paired.p_value) == pytest.approx((-4.0621, 0.002833), rel=1e-4)
    assert (paired.low, paired.high) == pytest.approx((-2.4598858, -0.7001142), rel=1e-6)


def test_equal_constants_differ_by_nothing():
    for paired in (True, False):
        difference = statistics.mean_difference([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], paired)
        assert (difference.estimate, difference.low, difference.high, difference.p_value) == (0, 0, 0, 1)


def test_detectable_mean_difference_agrees_with_cohen():
    # Cohen (1988): a paired d = 0.5 needs 34 pairs (80 %, two-sided 5 %).
    assert statistics.detectable_mean_difference(2.0, 34) == pytest.approx(2 * 0.5, rel=0.02)


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_detectable_mean_difference_is_found_four_times_in_five(seeds):
    distance = statistics.detectable_mean_difference(1.0, seeds) * np.sqrt(seeds)
    generator = np.random.default_rng(0)
    spread = np.sqrt(generator.chisquare(seeds - 1, 400_000) / (seeds - 1))
    t = (distance + generator.normal(size=400_000)) / spread
    assert (np.abs(t) > stats.t.isf(0.025, seeds - 1)).mean() == pytest.approx(0.8, abs=0.003)
