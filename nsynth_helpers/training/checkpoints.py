"""Which epoch each rule of choosing a model picks from a history."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nsynth_helpers.settings import InputError
from nsynth_helpers.training.runs import best_epoch


def checkpoint_rules(history: pd.DataFrame) -> pd.DataFrame:
    """The epoch that each rule of choosing a model picks.

    Parameters
    ----------
    history : pandas.DataFrame
        One row an epoch, in order: ``epoch`` (from 1), ``valid_loss``, ``valid_accuracy`` (fraction).

    Returns
    -------
    pandas.DataFrame
        ``rule``, ``epoch``, ``valid_loss``, ``valid_accuracy``; ties go to the earliest epoch. The rules: ``before
        first rise`` (of the valid loss; what the 2018 code did; the last epoch if it never rises), ``lowest valid
        loss``, ``highest valid accuracy``, ``last``.

    Notes
    -----
    Raises `InputError` if there are no epochs or a valid figure is not a finite number. Used in: 04_result_analysis,
    05_ablations.
    """
    curves = history[["epoch", "valid_loss", "valid_accuracy"]].reset_index(drop=True)
    if curves.empty or not np.isfinite(curves).all(axis=None):
        raise InputError("The history has no epochs or a valid figure that is not a number; train the run again.")
    rises = np.flatnonzero(curves["valid_loss"].diff() > 0)
    last = len(curves) - 1
    picks = {
        "before first rise": rises[0] - 1 if len(rises) else last,
        "lowest valid loss": best_epoch(curves).name,
        "highest valid accuracy": curves["valid_accuracy"].idxmax(),
        "last": last,
    }
    table = curves.loc[list(picks.values())].reset_index(drop=True)
    table.insert(0, "rule", list(picks))
    return table
