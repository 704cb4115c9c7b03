"""What a recurrent network holds at each step of a note, and what its answer depends on."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from nsynth_helpers.data.dataset import NSynthDataset, batches
from nsynth_helpers.models import RecurrentClassifier
from nsynth_helpers.settings import InputError
from nsynth_helpers.training.devices import choose_device

# The outputs of every step of every layer are kept while a batch is read, so batches are smaller than for predicting.
BELIEF_BATCH = 128


def belief_over_time(
    network: RecurrentClassifier, notes: NSynthDataset, rows: Sequence[int] | None = None, device: str = "auto"
) -> np.ndarray:
    """The probability of each family after each step: what the output layer says of the steps up to there.

    In a bidirectional network the backward half of step t has read the note from its end down to step t: such a
    belief is what the network holds at that place of the note, not what it could know by then.

    Of the notes in `rows`, or of all, an array of shape (rows, steps, families), float32; the last step is the
    network's answer. `InputError` if the network has no steps or reads final states, or no note was chosen.
    """
    if getattr(network, "readout", "final") == "final":
        raise InputError(
            f"A {type(network).__name__} without steps, or that reads final states, has no belief after each step; "
            "use a recurrent network with readout='last'."
        )
    return _of_notes(lambda frames: network.logits_per_step(frames).softmax(dim=2), network, notes, rows, device)


def note_states(
    network: RecurrentClassifier, notes: NSynthDataset, rows: Sequence[int] | None = None, device: str = "auto"
) -> np.ndarray:
    """What the output layer sees of each note in `rows`, or of all: (rows, directions * hidden_size), float32."""
    return _of_notes(network.states, network, notes, rows, device)


def _of_notes(compute, network: nn.Module, notes: NSynthDataset, rows, device: str) -> np.ndarray:
    chosen = range(len(notes)) if rows is None else [int(row) for row in rows]
    if not len(chosen):
        raise InputError("No note was chosen; choose at least one to follow its belief.")
    place = choose_device(device)
    network.to(place).eval()
    with torch.inference_mode():
        parts = batches(torch.utils.data.Subset(notes, chosen), BELIEF_BATCH)
        return torch.cat([compute(frames.to(place)).cpu() for frames, _ in parts]).numpy()


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
    frames = frames.detach().cpu().double().requires_grad_()
    projection = torch.randn(rnn.hidden_size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = {}
    for layer, outputs in enumerate(layer_outputs(rnn, frames), start=1):
        for arrow, half in zip("→←", outputs[:, -1].split(rnn.hidden_size, dim=1), strict=False):
            (slope,) = torch.autograd.grad((half @ projection).sum(), frames, retain_graph=True)
            rows[f"layer {layer} {arrow}"] = slope.square().sum(dim=2).mean(dim=0).sqrt().numpy()
    return pd.DataFrame.from_dict(rows, orient="index", columns=range(1, frames.shape[1] + 1))
