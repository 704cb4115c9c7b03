"""Outcomes, statistics, calibration, beliefs and tables: DataFrames in, DataFrames out."""

# ruff: noqa: I001
# fmt: off
from nsynth_helpers.analysis.beliefs import belief_over_time, layer_outputs, note_states, saliency
from nsynth_helpers.analysis.calibration import (
    expected_calibration_error, fit_temperature, reliability_table, with_temperature,
)
from nsynth_helpers.analysis.outcomes import (
    accuracy_by, agreement, confusion_matrix, extremes, logits_of, make_outcomes, name_confusion_matrix,
    nearest_and_farthest, scores_of_confusion, scores_table,
)
from nsynth_helpers.analysis.statistics import (
    Difference, Interval, clustered_bootstrap, clustered_difference, clustered_t_interval,
    detectable_mean_difference, mcnemar_test, mean_difference, two_proportion_test, wilson_interval,
)
from nsynth_helpers.analysis.tables import (
    NETWORK_NAMES, VariantComparison, compare_variants, differences_from_baseline, duration, epochs, epochs_of,
    hyperparameter_table, in_percent, interval_text, learnt, majority_share, over_seeds, p_value,
    percent, points, run_outcomes, runs_table, summarise_seeds,
)
