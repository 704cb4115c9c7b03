"""Belief over time: what a recurrent network would answer after each step of a note, and when it makes up its mind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from nsynth_helpers.data.dataset import NSynthDataset, batches
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.settings import InputError
from nsynth_helpers.training.predict import choose_device

# The outputs of every step of every layer are kept while a batch is read, so batches are smaller than for predicting.
BELIEF_BATCH = 128


@torch.inference_mode()
def belief_over_time(
    network: nn.Module, notes: NSynthDataset, rows: Sequence[int] | None = None, device: str = "auto"
) -> np.ndarray:
    """The probability of each family after each step, by applying the output layer to every step's output.

    Parameters
    ----------
    network : nsynth_helpers.models.RecurrentClassifier
        Read at its last step.
    notes : NSynthDataset
        The notes.
    rows : sequence of int, optional
        Which of the notes; all of them by default.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Returns
    -------
    beliefs : np.ndarray [shape=(rows, steps, families)], float32
        Probabilities; those of the last step are the network's answer.

    Raises
    ------
    InputError
        If the network has no steps or does not read its last one.

    Notes
    -----
    In a bidirectional network the backward half of step t has read the note from its end down to step t: such a
    belief is what the network holds at that place of the note, not what it could know by then; for that, see
    `belief_of_prefixes`. Used in: 04_result_analysis.
    """
    _refuse_without_steps(network)
    place = choose_device(device)
    network = network.to(place).eval()
    parts = [network.logits_per_step(frames.to(place)).softmax(dim=2).cpu() for frames in _frames(notes, rows)]
    return torch.cat(parts).numpy()


@torch.inference_mode()
def belief_of_prefixes(
    network: nn.Module,
    notes: NSynthDataset,
    lengths: Sequence[int],
    rows: Sequence[int] | None = None,
    device: str = "auto",
) -> np.ndarray:
    """The probability of each family when the note is cut off after some steps: what can be known by then.

    Parameters
    ----------
    network, notes, rows, device
        As for `belief_over_time`.
    lengths : sequence of int
        The numbers of steps after which the note is cut, 1 to its steps.

    Returns
    -------
    beliefs : np.ndarray [shape=(rows, lengths, families)], float32
        For a network of one direction these are the steps of `belief_over_time`.

    Raises
    ------
    InputError
        If a length is out of range, or as in `belief_over_time`.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    _refuse_without_steps(network)
    if not all(1 <= length <= notes.steps for length in lengths):
        raise InputError(f"A note has {notes.steps} steps; cut it after 1 to {notes.steps}, not after {list(lengths)}.")
    place = choose_device(device)
    network = network.to(place).eval()
    parts = []
    for frames in _frames(notes, rows):
        frames = frames.to(place)
        parts.append(torch.stack([network(frames[:, :length]).softmax(dim=1) for length in lengths], dim=1).cpu())
    return torch.cat(parts).numpy()


def _frames(notes: NSynthDataset, rows: Sequence[int] | None):
    """The frames of the chosen notes, batch by batch."""
    chosen = range(len(notes)) if rows is None else [int(row) for row in rows]
    if not len(chosen):
        raise InputError("No note was chosen; choose at least one to follow its belief.")
    return (frames for frames, _ in batches(torch.utils.data.Subset(notes, chosen), BELIEF_BATCH))


def _refuse_without_steps(network: nn.Module) -> None:
    if getattr(network, "readout", None) != "last":
        raise InputError(
            f"A {type(network).__name__} that does not read its last step has no belief after each step; "
            "use a recurrent network with readout='last'."
        )


def spread_rows(labels, per_family: int) -> np.ndarray:
    """Choose notes of each family, evenly spread over the table, so that a large split is followed by a sample.

    Parameters
    ----------
    labels : array of int, shape (notes,)
        The family of each note, 0 to 9.
    per_family : int
        How many notes of each family at most.

    Returns
    -------
    rows : np.ndarray of int
        In rising order.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    labels = np.asarray(labels)
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen.append(rows[np.linspace(0, len(rows) - 1, min(per_family, len(rows))).round().astype(int)])
    return np.sort(np.concatenate(chosen))


def decision_step(beliefs: np.ndarray) -> np.ndarray:
    """The first step, counted from 1, from which the most probable family no longer changes.

    Parameters
    ----------
    beliefs : np.ndarray [shape=(notes, steps, families)]
        What `belief_over_time` returns.

    Returns
    -------
    steps : np.ndarray of int, shape (notes,)
        1 when the first frame decides; the number of steps when the last one does.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    predicted = beliefs.argmax(axis=2)
    differs = predicted != predicted[:, -1:]
    steps = predicted.shape[1]
    # The last step that still differs from the answer, found from the end; its successor decides.
    last_differing = steps - differs[:, ::-1].argmax(axis=1)
    return np.where(differs.any(axis=1), last_differing + 1, 1)


def accuracy_per_step(beliefs: np.ndarray, labels) -> np.ndarray:
    """The share of notes whose most probable family is the true one, after each step, shape (steps,).

    Notes
    -----
    Used in: 04_result_analysis.
    """
    return (beliefs.argmax(axis=2) == np.asarray(labels)[:, None]).mean(axis=0)


def average_belief(beliefs: np.ndarray, labels) -> pd.DataFrame:
    """The mean probability that notes of each family give to their own family, after each step.

    Parameters
    ----------
    beliefs : np.ndarray [shape=(notes, steps, families)]
        What `belief_over_time` returns.
    labels : array of int, shape (notes,)
        The true families, 0 to 9.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``step`` (from 1), one column a family; NaN for a family without notes.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    labels = np.asarray(labels)
    true = beliefs[np.arange(len(labels)), :, labels]  # (notes, steps)
    steps = pd.RangeIndex(1, beliefs.shape[1] + 1, name="step")
    columns = {
        family: true[labels == label].mean(axis=0) if (labels == label).any() else np.nan
        for label, family in enumerate(FAMILIES)
    }
    return pd.DataFrame(columns, index=steps)


def decision_times(beliefs: dict[str, np.ndarray], labels, step_milliseconds: float = 10.0) -> pd.DataFrame:
    """The median time at which each network makes up its mind, by family and over all notes.

    Parameters
    ----------
    beliefs : dict of str to np.ndarray
        What `belief_over_time` returned for each network, on the same notes.
    labels : array of int, shape (notes,)
        The true families, 0 to 9.
    step_milliseconds : float
        Length of a step.

    Returns
    -------
    pandas.DataFrame
        Indexed by family, and ``all``; one column a network, in milliseconds.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    families = pd.Series(np.array(FAMILIES)[np.asarray(labels)], name="family")
    times = pd.DataFrame({network: decision_step(belief) for network, belief in beliefs.items()}) * step_milliseconds
    medians = times.groupby(families).median().reindex([family for family in FAMILIES if family in set(families)])
    medians.loc["all"] = times.median()
    return medians


def telling_notes(agreed: pd.DataFrame) -> list[str]:
    """One note for each way in which two networks can be right or wrong about it, as far as there is one.

    Parameters
    ----------
    agreed : pandas.DataFrame
        What `analysis.agreement` returns.

    Returns
    -------
    list of str
        Note names: both right, only the first, only the second, neither; the middle one of each kind.

    Notes
    -----
    Used in: 04_result_analysis.
    """
    kinds = (agreed.loc[agreed["right"] == kind, "note_str"] for kind in ("both", "only a", "only b", "neither"))
    return [notes.iloc[len(notes) // 2] for notes in kinds if len(notes)]
