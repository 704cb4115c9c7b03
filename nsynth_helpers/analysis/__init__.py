"""Outcomes, statistics, calibration, beliefs and tables: DataFrames in, DataFrames out."""

# ruff: noqa: I001, RUF022
# fmt: off
from nsynth_helpers.analysis.beliefs import (
    accuracy_per_step, average_belief, belief_over_time, decision_step, decision_times,
    layer_outputs, note_states, saliency, spread_rows, telling_notes,
)
from nsynth_helpers.analysis.calibration import (
    calibration_table, expected_calibration_error, fit_temperature, reliability_table, with_temperature,
)
from nsynth_helpers.analysis.outcomes import (
    accuracy_by, accuracy_without, agreement,
    confusion_matrix, extremes, logits_of, majority_accuracy, make_outcomes, name_confusion_matrix,
    nearest_and_farthest, pitch_band, scores_of_confusion, scores_table,
)
from nsynth_helpers.analysis.statistics import (
    Difference, Interval, McNemar, clustered_bootstrap, clustered_difference, clustered_t_interval,
    detectable_difference, detectable_from_interval, detectable_mean_difference, mcnemar_test, mean_difference,
    two_proportion_test, wilson_interval,
)
from nsynth_helpers.analysis.tables import (
    NETWORK_NAMES, VariantComparison, compare_variants, differences_from_baseline, duration,
    grid_progress, hyperparameter_table, in_percent, interval_text, learnt, majority_share, model_selection,
    networks_table, over_seeds, p_value, percent, points, run_outcomes, runs_table, summarise_seeds,
)

__all__ = [
    "accuracy_per_step", "average_belief", "belief_over_time", "decision_step",
    "decision_times", "layer_outputs", "note_states", "saliency", "spread_rows", "telling_notes",
    "calibration_table", "expected_calibration_error", "fit_temperature", "reliability_table", "with_temperature",
    "accuracy_by", "accuracy_without", "agreement",
    "confusion_matrix", "extremes", "logits_of", "majority_accuracy", "make_outcomes",
    "name_confusion_matrix", "nearest_and_farthest", "pitch_band", "scores_of_confusion",
    "scores_table",
    "Difference", "Interval", "McNemar", "clustered_bootstrap", "clustered_difference", "clustered_t_interval",
    "detectable_difference", "detectable_from_interval", "detectable_mean_difference", "mcnemar_test",
    "mean_difference", "two_proportion_test", "wilson_interval",
    "NETWORK_NAMES", "VariantComparison", "compare_variants", "differences_from_baseline",
    "duration", "grid_progress", "hyperparameter_table", "in_percent", "interval_text", "learnt", "majority_share",
    "model_selection", "networks_table", "over_seeds", "p_value", "percent", "points", "run_outcomes", "runs_table",
    "summarise_seeds",
]
