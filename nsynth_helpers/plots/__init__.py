"""Figures from tidy tables and arrays: ``fig, ax``; those of one axes draw into a given ``ax``."""

# ruff: noqa: I001
# fmt: off
from nsynth_helpers.plots.beliefs import plot_average_beliefs, plot_decisions, plot_note_beliefs, plot_saliency
from nsynth_helpers.plots.data import plot_note_counts, plot_pitches, plot_shared_instruments
from nsynth_helpers.plots.notes import (
    log_mel_spectrogram, plot_family_spectrograms, plot_family_waveforms, plot_frames, plot_gallery,
    plot_log_mel_spectrogram, plot_waveform,
)
from nsynth_helpers.plots.results import (
    plot_confusion_matrices, plot_confusion_matrix, plot_intervals, plot_logits_and_probabilities, plot_note_map,
    plot_reliability,
)
from nsynth_helpers.plots.style import FAMILY_COLOURS, PAGE, WIDE, new_axes, save_figure, use_style
from nsynth_helpers.plots.training import plot_learning_curves, plot_model_selection
