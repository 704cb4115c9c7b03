"""Belief over time and saliency, on networks small enough to reason about."""

import numpy as np
import pytest
import torch
from torch import nn

from conftest import cached_split
from nsynth_helpers.analysis import beliefs
from nsynth_helpers.data.dataset import NSynthDataset
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.models import FullyConnected, RecurrentClassifier
from nsynth_helpers.settings import InputError
from nsynth_helpers.training.predict import LOGITS, predict

NAMES = [f"{family}_acoustic_000-0{pitch}-100" for family in ("bass", "flute", "vocal") for pitch in (40, 50)]
STEPS, SHORT = 12, 6


@pytest.fixture
def notes() -> NSynthDataset:
    waveforms = np.random.default_rng(0).integers(-20_000, 20_000, (len(NAMES), STEPS * 160)).astype(np.int16)
    return NSynthDataset(cached_split("test", NAMES, waveforms))


def network(**arguments) -> RecurrentClassifier:
    torch.manual_seed(0)
    return RecurrentClassifier(hidden_size=8, num_layers=2, **arguments)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("readout", ["last", "mean", "max", "mean_max", "attention"])
def test_the_last_step_is_the_answer(notes, readout, bidirectional):
    net = network(readout=readout, bidirectional=bidirectional)
    belief = beliefs.belief_over_time(net, notes, device="cpu")
    logits = torch.tensor(predict(net, notes, "cpu")[LOGITS].to_numpy())
    assert belief.shape == (len(NAMES), STEPS, len(FAMILIES)) and belief.dtype == np.float32
    np.testing.assert_allclose(belief.sum(axis=2), 1, atol=1e-5)
    np.testing.assert_allclose(belief[:, -1], logits.softmax(dim=1).numpy(), atol=1e-6)


def test_rows_are_followed_in_the_order_asked(notes, monkeypatch):
    monkeypatch.setattr(beliefs, "BELIEF_BATCH", 2)
    every = beliefs.belief_over_time(network(), notes, device="cpu")
    some = beliefs.belief_over_time(network(), notes, np.array([4, 0, 2]), device="cpu")
    np.testing.assert_allclose(some, every[[4, 0, 2]], atol=1e-6)


@pytest.mark.parametrize("net", [RecurrentClassifier(hidden_size=4, readout="final"), FullyConnected(STEPS * 160)])
def test_networks_without_a_last_step_are_refused(notes, net):
    with pytest.raises(InputError, match="readout='last'"):
        beliefs.belief_over_time(net, notes, device="cpu")


def test_no_notes_are_refused(notes):
    with pytest.raises(InputError, match="at least one"):
        beliefs.belief_over_time(network(), notes, [], device="cpu")


@pytest.fixture
def frames():
    return torch.randn(3, SHORT, 4, generator=torch.Generator().manual_seed(0))


def small_network(**arguments):
    torch.manual_seed(1)
    return RecurrentClassifier(input_size=4, hidden_size=5, **arguments).eval()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_top_layers_outputs_are_those_of_torch(frames, cell, bidirectional):
    rnn = small_network(cell=cell, bidirectional=bidirectional).rnn
    outputs = beliefs.layer_outputs(rnn, frames)
    assert [tuple(layer.shape) for layer in outputs] == [(3, SHORT, 10 if bidirectional else 5)] * 3
    torch.testing.assert_close(outputs[-1], rnn(frames)[0])


def test_the_lowest_layers_outputs_are_those_of_a_network_of_one_layer(frames):
    rnn, lowest = small_network(bidirectional=True).rnn, nn.LSTM(4, 5, batch_first=True, bidirectional=True)
    lowest.load_state_dict({name: weights for name, weights in rnn.state_dict().items() if "_l0" in name})
    torch.testing.assert_close(beliefs.layer_outputs(rnn, frames)[0], lowest(frames)[0])


def test_the_lowest_backward_half_has_met_the_last_frame_alone(frames):
    influence = beliefs.saliency(small_network(bidirectional=True).rnn, frames)
    assert influence.index.tolist() == [f"layer {layer} {arrow}" for layer in (1, 2, 3) for arrow in "→←"]
    assert influence.columns.tolist() == list(range(1, SHORT + 1))
    assert (influence.loc["layer 1 ←", : SHORT - 1] == 0).all()
    assert influence.loc["layer 1 ←", SHORT] > 0
    assert (influence.drop(index="layer 1 ←") > 0).all(axis=None)


def test_influence_is_the_derivative_of_the_last_output(frames):
    rnn = small_network(num_layers=1).rnn.double()
    projection = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step, size = 1e-6, 4
    slopes = torch.zeros(3, SHORT, size, dtype=torch.float64)
    with torch.no_grad():
        for frame in range(SHORT):
            for sample in range(size):
                nudge = torch.zeros(3, SHORT, size, dtype=torch.float64)
                nudge[:, frame, sample] = step
                change = rnn(frames.double() + nudge)[0] - rnn(frames.double() - nudge)[0]
                slopes[:, frame, sample] = change[:, -1] @ projection / (2 * step)
    expected = slopes.square().sum(dim=2).mean(dim=0).sqrt()
    assert beliefs.saliency(rnn, frames).loc["layer 1 →"].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_a_one_way_network_has_one_row_a_layer_and_its_weights_stay_as_they_are(frames):
    rnn = small_network().rnn
    before = {name: weights.clone() for name, weights in rnn.state_dict().items()}
    influence = beliefs.saliency(rnn, frames)
    assert influence.index.tolist() == ["layer 1 →", "layer 2 →", "layer 3 →"]
    assert all(torch.equal(weights, before[name]) for name, weights in rnn.state_dict().items())
    assert all(parameter.grad is None for parameter in rnn.parameters())
    assert rnn.weight_ih_l0.dtype == torch.float32


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("readout", ["last", "final", "mean", "max", "mean_max", "attention"])
def test_the_output_layer_answers_from_the_states(notes, readout, bidirectional):
    net = network(readout=readout, bidirectional=bidirectional)
    states = beliefs.note_states(net, notes, [3, 1], device="cpu")
    logits = net.out(torch.tensor(states)).detach().numpy()
    np.testing.assert_allclose(logits, predict(net, notes, "cpu")[LOGITS].to_numpy()[[3, 1]], atol=1e-6)
