"""Figures of a data set show the notes that they were given."""

import numpy as np
import pandas as pd
from test_figures import COUNTS, TABLES

from nsynth_helpers import plots
from nsynth_helpers.data.metadata import FAMILIES


def test_note_counts_stack_the_sources_to_the_number_of_notes():
    _, ax = plots.plot_note_counts(COUNTS)
    assert [panel.get_title() for panel in ax] == ["train: 11 notes", "valid: 2 notes", "test: 3 notes"]
    ends = [bar.get_x() + bar.get_width() for bar in ax[2].patches]
    assert max(ends) == 2, "two bass notes, one acoustic and one electronic"
    assert [label.get_text() for label in ax[0].get_yticklabels()] == [*FAMILIES[:9], "synth_lead", "vocal"]


def test_pitch_whiskers_reach_the_extremes():
    pitches = [20, *range(58, 66), 110]
    _, ax = plots.plot_pitches(pd.DataFrame({"pitch": pitches, "family": "bass", "split": "train"}))
    # Points beyond the whiskers would be drawn without a line.
    whiskers = np.concatenate([line.get_xdata() for line in ax.lines if line.get_linestyle() == "-"])
    assert (whiskers.min(), whiskers.max()) == (20, 110)


def test_shared_instruments_tell_heard_from_new():
    _, ax = plots.plot_shared_instruments(TABLES)
    assert [text.get_text() for text in ax[0].texts] == ["11", "0", "1", "0", "2", "2", "1", "2", "3"]
    heard, new = ([bar.get_width() for bar in container] for container in ax[1].containers)
    assert (heard[:3], new[:3]) == ([1, 0, 0], [1, 0, 1]) and sum(heard + new) == 3
