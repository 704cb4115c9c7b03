"""What the last step of a recurrent network depends on: each layer's outputs, and the influence of each frame."""

from __future__ import annotations

import pandas as pd
import torch
from torch import nn


def layer_outputs(rnn: nn.RNNBase, frames: torch.Tensor) -> list[torch.Tensor]:
    """What each layer of a stacked recurrent network hands to the one above, which torch keeps to itself.

    Parameters
    ----------
    rnn : torch.nn.RNNBase
        Batch first; dropout between its layers is left out, as in evaluation.
    frames : torch.Tensor [shape=(batch, steps, input_size)]
        The input of the first layer.

    Returns
    -------
    list of torch.Tensor [shape=(batch, steps, directions * hidden_size)]
        One for each layer; the last is what `rnn` itself gives. In a bidirectional one the forward half comes first.

    Notes
    -----
    Used in: 03_blstm_training.
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

    Parameters
    ----------
    rnn : torch.nn.RNNBase
        Batch first.
    frames : torch.Tensor [shape=(batch, steps, input_size)]
        The notes to average over.

    Returns
    -------
    pandas.DataFrame
        One row for each layer and direction (``layer 1 →``), from the first layer to the last, and one column for
        each frame, 1 to steps. An exact 0 means that no path leads from the frame to that output.

    Notes
    -----
    The size of the derivative of the output, projected on one random direction, by the frame's samples: root mean
    square over notes. It is computed in float64, since in float32 the faintest influences would round to 0.

    Used in: 03_blstm_training.
    """
    frames = frames.detach().cpu().double().requires_grad_()
    projection = torch.randn(rnn.hidden_size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = {}
    for layer, outputs in enumerate(layer_outputs(rnn, frames), start=1):
        for arrow, half in zip("→←", outputs[:, -1].split(rnn.hidden_size, dim=1), strict=False):
            (slope,) = torch.autograd.grad((half @ projection).sum(), frames, retain_graph=True)
            rows[f"layer {layer} {arrow}"] = slope.square().sum(dim=2).mean(dim=0).sqrt().numpy()
    return pd.DataFrame.from_dict(rows, orient="index", columns=range(1, frames.shape[1] + 1))
