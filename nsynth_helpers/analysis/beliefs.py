"""What a recurrent network holds at each step of a note, when it makes up its mind, and what its answer depends on.

torch is loaded by the functions that run a network, so that the tables of this room come without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE, STEP_SIZE
from nsynth_helpers.settings import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nsynth_helpers.data.dataset import NSynthDataset
    from nsynth_helpers.models import RecurrentClassifier

# The outputs of every step of every layer are kept while a batch is read, so batches are smaller than for predicting.
BELIEF_BATCH = 128
STEP_MILLISECONDS = 1000 * STEP_SIZE / SAMPLE_RATE


def belief_over_time(
    network: RecurrentClassifier, notes: NSynthDataset, rows: Sequence[int] | None = None, device: str = "auto"
) -> np.ndarray:
    """The probability of each family after each step, by applying the output layer to every step's output.

    In a bidirectional network the backward half of step t has read the note from its end down to step t: such a
    belief is what the network holds at that place of the note, not what it could know by then.

    Of the notes in `rows`, or of all, an array of shape (rows, steps, families), float32; the last step is the
    network's answer. `InputError` if the network has no steps or does not read its last one, or no note was chosen.
    """
    if getattr(network, "readout", None) != "last":
        raise InputError(
            f"A {type(network).__name__} that does not read its last step has no belief after each step; "
            "use a recurrent network with readout='last'."
        )
    return _of_notes(lambda frames: network.logits_per_step(frames).softmax(dim=2), network, notes, rows, device)


def note_states(
    network: RecurrentClassifier, notes: NSynthDataset, rows: Sequence[int] | None = None, device: str = "auto"
) -> np.ndarray:
    """What the output layer sees of each note in `rows`, or of all: (rows, directions * hidden_size), float32."""
    return _of_notes(network.states, network, notes, rows, device)


def _of_notes(compute, network: nn.Module, notes: NSynthDataset, rows, device: str) -> np.ndarray:
    import torch

    from nsynth_helpers.data.dataset import batches
    from nsynth_helpers.training.devices import choose_device

    chosen = range(len(notes)) if rows is None else [int(row) for row in rows]
    if not len(chosen):
        raise InputError("No note was chosen; choose at least one to follow its belief.")
    place = choose_device(device)
    network.to(place).eval()
    with torch.inference_mode():
        parts = batches(torch.utils.data.Subset(notes, chosen), BELIEF_BATCH)
        return torch.cat([compute(frames.to(place)).cpu() for frames, _ in parts]).numpy()


def spread_rows(labels, per_family: int) -> np.ndarray:
    """Rows of at most so many notes of each family (labels 0 to 9), evenly spread over the table, in rising order."""
    labels = np.asarray(labels)
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen.append(rows[np.linspace(0, len(rows) - 1, min(per_family, len(rows))).round().astype(int)])
    return np.sort(np.concatenate(chosen))


def decision_step(beliefs: np.ndarray) -> np.ndarray:
    """The first step, counted from 1, from which the most probable family of each note no longer changes.

    From beliefs of shape (notes, steps, families); int of shape (notes,).
    """
    predicted = beliefs.argmax(axis=2)
    differs = predicted != predicted[:, -1:]
    steps = predicted.shape[1]
    # The last step that still differs from the answer, found from the end; its successor decides.
    last_differing = steps - differs[:, ::-1].argmax(axis=1)
    return np.where(differs.any(axis=1), last_differing + 1, 1)


def accuracy_per_step(beliefs: np.ndarray, labels) -> np.ndarray:
    """The share of notes whose most probable family is the true one (labels 0 to 9), after each step."""
    return (beliefs.argmax(axis=2) == np.asarray(labels)[:, None]).mean(axis=0)


def average_belief(beliefs: np.ndarray, labels) -> pd.DataFrame:
    """The mean probability that notes of each family give to their own family (labels 0 to 9), after each step.

    Indexed by ``step`` (from 1), one column a family; NaN for a family without notes.
    """
    true = pd.DataFrame(beliefs[np.arange(len(labels)), :, labels], dtype=float)  # (notes, steps)
    average = true.groupby(np.asarray(FAMILIES)[labels]).mean().reindex(FAMILIES).T
    return average.set_axis(pd.RangeIndex(1, beliefs.shape[1] + 1, name="step"))


def decision_times(beliefs: Mapping[str, np.ndarray], labels) -> pd.DataFrame:
    """The median time at which each network makes up its mind about the same notes, in milliseconds.

    Indexed by the families that have notes, and ``all``; one column a network.
    """
    families = pd.Series(np.array(FAMILIES)[np.asarray(labels)], name="family")
    times = pd.DataFrame({network: decision_step(belief) for network, belief in beliefs.items()}) * STEP_MILLISECONDS
    medians = times.groupby(families).median()  # groupby sorts by name, which is the order of FAMILIES
    medians.loc["all"] = times.median()
    return medians


def telling_notes(agreed: pd.DataFrame) -> list[str]:
    """One note for each way in which two networks can be right or wrong about it, as far as there is one.

    From the table of `agreement`: both right, only the first, only the second, neither; the middle one of each kind.
    """
    kinds = (agreed.loc[agreed["right"] == kind, "note_str"] for kind in ("both", "only a", "only b", "neither"))
    return [notes.iloc[len(notes) // 2] for notes in kinds if len(notes)]


def layer_outputs(rnn: nn.RNNBase, frames: torch.Tensor) -> list[torch.Tensor]:
    """What each layer of a stacked recurrent network hands to the one above, which torch keeps to itself.

    From a batch-first network and frames of shape (batch, steps, input_size), one tensor for each layer, of shape
    (batch, steps, directions * hidden_size); the last is what `rnn` itself gives. In a bidirectional one the forward
    half comes first. Dropout between layers is left out, as in evaluation.
    """
    outputs = []
    for layer in range(rnn.num_layers):
        single = type(rnn)(frames.shape[-1], rnn.hidden_size, batch_first=True, bidirectional=rnn.bidirectional)
        weights = {name: value for name, value in rnn.state_dict().items() if f"_l{layer}" in name}
        single.load_state_dict({name.replace(f"_l{layer}", "_l0"): value for name, value in weights.items()})
        frames, _ = single.to(frames)(frames)
        outputs.append(frames)
    return outputs


def saliency(rnn: nn.RNNBase, frames: torch.Tensor) -> pd.DataFrame:
    """How strongly each frame moves the last step's output of each layer and direction.

    The size of the derivative of the output, projected on one random direction, by the frame's samples: root mean
    square over notes. It is computed in float64, since in float32 the faintest would round to 0.

    From what `layer_outputs` takes: one row for each layer and direction (``layer 1 →``), from the first layer to the
    last, and one column for each frame, 1 to steps. An exact 0 means that no path leads from the frame to that output.
    """
    import torch

    frames = frames.detach().cpu().double().requires_grad_()
    projection = torch.randn(rnn.hidden_size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = {}
    for layer, outputs in enumerate(layer_outputs(rnn, frames), start=1):
        for arrow, half in zip("→←", outputs[:, -1].split(rnn.hidden_size, dim=1), strict=False):
            (slope,) = torch.autograd.grad((half @ projection).sum(), frames, retain_graph=True)
            rows[f"layer {layer} {arrow}"] = slope.square().sum(dim=2).mean(dim=0).sqrt().numpy()
    return pd.DataFrame.from_dict(rows, orient="index", columns=range(1, frames.shape[1] + 1))
