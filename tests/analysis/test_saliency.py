"""What the last step depends on: layers by hand, and the paths that a bidirectional network has and has not."""

import pytest
import torch
from torch import nn

from nsynth_helpers.analysis.saliency import layer_outputs, saliency
from nsynth_helpers.models import RecurrentClassifier

STEPS = 6


@pytest.fixture
def frames():
    return torch.randn(3, STEPS, 4, generator=torch.Generator().manual_seed(0))


def network(**arguments):
    torch.manual_seed(1)
    return RecurrentClassifier(input_size=4, hidden_size=5, **arguments).eval()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_top_layers_outputs_are_those_of_torch(frames, cell, bidirectional):
    rnn = network(cell=cell, bidirectional=bidirectional).rnn
    outputs = layer_outputs(rnn, frames)
    assert [tuple(layer.shape) for layer in outputs] == [(3, STEPS, 10 if bidirectional else 5)] * 3
    torch.testing.assert_close(outputs[-1], rnn(frames)[0])


def test_the_lowest_layers_outputs_are_those_of_a_network_of_one_layer(frames):
    rnn, lowest = network(bidirectional=True).rnn, nn.LSTM(4, 5, batch_first=True, bidirectional=True)
    lowest.load_state_dict({name: weights for name, weights in rnn.state_dict().items() if "_l0" in name})
    torch.testing.assert_close(layer_outputs(rnn, frames)[0], lowest(frames)[0])


def test_the_lowest_backward_half_has_met_the_last_frame_alone(frames):
    influence = saliency(network(bidirectional=True).rnn, frames)
    assert influence.index.tolist() == [f"layer {layer} {arrow}" for layer in (1, 2, 3) for arrow in "→←"]
    assert influence.columns.tolist() == list(range(1, STEPS + 1))
    assert (influence.loc["layer 1 ←", : STEPS - 1] == 0).all()
    assert influence.loc["layer 1 ←", STEPS] > 0
    assert (influence.drop(index="layer 1 ←") > 0).all(axis=None)


def test_influence_is_the_derivative_of_the_last_output(frames):
    rnn = network(num_layers=1).rnn.double()
    projection = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step, size = 1e-6, 4
    slopes = torch.zeros(3, STEPS, size, dtype=torch.float64)
    with torch.no_grad():
        for frame in range(STEPS):
            for sample in range(size):
                nudge = torch.zeros(3, STEPS, size, dtype=torch.float64)
                nudge[:, frame, sample] = step
                change = rnn(frames.double() + nudge)[0] - rnn(frames.double() - nudge)[0]
                slopes[:, frame, sample] = change[:, -1] @ projection / (2 * step)
    expected = slopes.square().sum(dim=2).mean(dim=0).sqrt()
    assert saliency(rnn, frames).loc["layer 1 →"].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_a_one_way_network_has_one_row_a_layer_and_its_weights_stay_as_they_are(frames):
    rnn = network().rnn
    before = {name: weights.clone() for name, weights in rnn.state_dict().items()}
    influence = saliency(rnn, frames)
    assert influence.index.tolist() == ["layer 1 →", "layer 2 →", "layer 3 →"]
    assert all(torch.equal(weights, before[name]) for name, weights in rnn.state_dict().items())
    assert all(parameter.grad is None for parameter in rnn.parameters())
    assert rnn.weight_ih_l0.dtype == torch.float32
