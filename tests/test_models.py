"""The networks: shapes, names and numbers of weights, readouts against hand computation, and refused arguments."""

import librosa
import numpy as np
import pytest
import torch
from torch import nn

from nsynth_helpers.data.metadata import SAMPLE_RATE
from nsynth_helpers.models import (
    NETWORKS,
    READOUTS,
    LogMel,
    RecurrentClassifier,
    SpectrumAugmentation,
    build_network,
    count_parameters,
)
from nsynth_helpers.settings import InputError
from nsynth_helpers.training.runs import load_weights, save_weights

NOTES, STEPS, STEP_SIZE = 3, 7, 4


@pytest.fixture
def frames():
    return torch.randn(NOTES, STEPS, STEP_SIZE, generator=torch.Generator().manual_seed(0))


def small(**arguments):
    """A recurrent network for the small frames, always with the same weights."""
    torch.manual_seed(1)
    return RecurrentClassifier(**({"input_size": STEP_SIZE, "hidden_size": 5, "num_layers": 2} | arguments)).eval()


def recurrent_keys(directions):
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [f"rnn.{part}_l{layer}{end}" for layer in range(3) for end in directions for part in parts]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_turns_frames_into_ten_logits(name):
    logits = build_network(name).eval()(torch.zeros(2, 100, 160))
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()


def test_every_network_is_judged_by_cross_entropy_near_ln_ten_before_training():
    torch.manual_seed(0)
    frames, labels = torch.rand(32, 100, 160) - 0.5, torch.arange(32) % 10
    for name in NETWORKS:
        loss = nn.functional.cross_entropy(build_network(name).eval()(frames), labels).item()
        assert loss == pytest.approx(2.3026, abs=0.1), name


@pytest.mark.parametrize(("name", "directions"), [("lstm", [""]), ("blstm", ["", "_reverse"])])
def test_state_dict_keys_are_those_of_the_published_weights(name, directions):
    assert list(build_network(name).state_dict()) == [*recurrent_keys(directions), "out.weight", "out.bias"]


@pytest.mark.parametrize(("name", "inputs", "width"), [("lstm", (160, 128, 128), 128), ("blstm", (160, 256, 256), 256)])
def test_shapes_of_the_weights(name, inputs, width):
    weights = build_network(name).state_dict()
    assert [tuple(weights[f"rnn.weight_ih_l{layer}"].shape) for layer in range(3)] == [(512, size) for size in inputs]
    assert weights["rnn.weight_hh_l0"].shape == (512, 128)
    assert weights["out.weight"].shape == (10, width)


@pytest.mark.parametrize(("name", "parameters"), [("lstm", 413_962), ("blstm", 1_090_058)])
def test_parameter_counts(name, parameters):
    assert count_parameters(build_network(name)) == parameters


def test_frozen_parameters_are_not_counted():
    network = small()
    before = count_parameters(network)
    network.out.requires_grad_(False)
    assert before - count_parameters(network) == 5 * 10 + 10


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("readout", READOUTS)
def test_readouts_by_hand(frames, cell, bidirectional, readout):
    network = small(cell=cell, bidirectional=bidirectional, readout=readout)
    outputs, _ = network.rnn(frames)
    # The forward direction ends at the last step, the backward one at the first.
    ends = [outputs[:, -1, :5], outputs[:, 0, 5:]] if bidirectional else [outputs[:, -1]]
    mean, most = sum(outputs[:, step] for step in range(STEPS)) / STEPS, outputs.max(dim=1).values
    shares = network.attention(outputs).exp() if readout == "attention" else torch.ones(NOTES, STEPS, 1)
    features = {
        "last": outputs[:, STEPS - 1],
        "final": torch.cat(ends, dim=1),
        "mean": mean,
        "max": most,
        "mean_max": torch.cat([mean, most], dim=1),
        "attention": sum(shares[:, step] * outputs[:, step] for step in range(STEPS)) / shares.sum(dim=1),
    }[readout]
    torch.testing.assert_close(network(frames), features @ network.out.weight.T + network.out.bias)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_both_directions_at_the_last_step_are_those_of_all_steps(frames, cell, layers, dropout):
    """Logits, and gradients of weights and frames, also of the weights that a single step does not use."""
    network = small(cell=cell, bidirectional=True, num_layers=layers, dropout=dropout).train()

    def gradients(compute):
        torch.manual_seed(2)
        inputs = frames.clone().requires_grad_()
        logits = network._classify(compute(inputs))
        return logits, torch.autograd.grad(logits.square().sum(), [inputs, *network.parameters()])

    whole, expected = gradients(lambda inputs: network.rnn(inputs)[0][:, -1])
    logits, found = gradients(network._last_outputs)
    torch.testing.assert_close(logits, whole, rtol=0, atol=1e-6)
    torch.manual_seed(2)
    assert torch.equal(network(frames), logits)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_the_lstm_follows_its_equations_from_zero_states(frames):
    network = small(num_layers=1)
    weights = {name.removeprefix("rnn."): value for name, value in network.state_dict().items()}
    hidden = memory = torch.zeros(NOTES, 5)
    for step in range(STEPS):
        gates = frames[:, step] @ weights["weight_ih_l0"].T + hidden @ weights["weight_hh_l0"].T
        admit, keep, offer, show = (gates + weights["bias_ih_l0"] + weights["bias_hh_l0"]).chunk(4, dim=1)
        memory = keep.sigmoid() * memory + admit.sigmoid() * offer.tanh()
        hidden = show.sigmoid() * memory.tanh()
    torch.testing.assert_close(network(frames), hidden @ weights["out.weight"].T + weights["out.bias"])


def test_a_note_is_classified_alike_alone_and_in_a_batch(frames):
    network = small(bidirectional=True)
    torch.testing.assert_close(network(frames)[1:2], network(frames[1:2]))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("readout", [readout for readout in READOUTS if readout != "final"])
def test_logits_per_step_end_with_those_of_forward(frames, readout, bidirectional):
    network = small(readout=readout, bidirectional=bidirectional)
    logits = network.logits_per_step(frames)
    assert logits.shape == (NOTES, STEPS, 10)
    torch.testing.assert_close(logits[:, -1], network(frames))


@pytest.mark.parametrize("readout", READOUTS)
def test_logits_per_step_are_those_of_the_note_cut_there(frames, readout):
    network = small(readout=readout)
    torch.testing.assert_close(network.logits_per_step(frames)[:, 3], network(frames[:, :4]))


def test_tanh_squashes_what_the_linear_layer_sees(frames):
    plain, squashed = small(), small(tanh=True)
    features = plain.rnn(frames)[0][:, -1].tanh()
    torch.testing.assert_close(squashed(frames), plain.out(features))
    assert not torch.allclose(squashed(frames), plain(frames), atol=1e-6)


def test_dropout_changes_training_alone(frames):
    network = small(dropout=0.5)
    torch.testing.assert_close(network(frames), small()(frames))
    network.train()
    assert network.rnn.dropout == 0.5
    assert not torch.equal(network(frames), network(frames))


def test_dropout_of_a_single_layer_acts_before_the_linear_layer_alone(frames, recwarn):
    network = small(num_layers=1, dropout=0.5).train()
    assert network.rnn.dropout == 0
    assert not recwarn.list  # torch warns where dropout between layers has no second layer
    assert not torch.equal(network(frames), network(frames))


@pytest.mark.parametrize(
    ("argument", "value", "there"),
    [
        ("cell", "transformer", "lstm, gru, rnn"),
        ("readout", "first", "last, final, mean, max, mean_max, attention"),
        ("front_end", "mfcc", "frames, log_mel"),
    ],
)
def test_bad_arguments_name_what_there_is(argument, value, there):
    with pytest.raises(InputError, match=f"{argument} is '{value}'; use one of {there}"):
        RecurrentClassifier(**{argument: value})


@pytest.mark.parametrize("level", [1.0, 1e-3])
def test_the_log_mel_front_end_equals_librosa(level):
    waveforms = torch.randn(3, SAMPLE_RATE) * torch.linspace(1, 0, SAMPLE_RATE) ** 4 * level
    ours = LogMel()(waveforms.view(3, 100, 160))
    for columns, waveform in zip(ours, waveforms.numpy(), strict=True):
        power = librosa.feature.melspectrogram(y=waveform, sr=SAMPLE_RATE, n_fft=1024, hop_length=512, n_mels=80)
        expected = librosa.power_to_db(power, ref=np.max)
        np.testing.assert_allclose(40 * (columns.numpy().T - 1), expected, atol=1e-4)


def test_a_silent_note_has_a_finite_log_mel():
    assert torch.isfinite(LogMel()(torch.zeros(2, 100, 160))).all()


def test_a_network_with_the_log_mel_front_end_hears_32_columns_and_keeps_its_names():
    network = build_network("blstm", front_end="log_mel")
    assert network.logits_per_step(torch.randn(2, 100, 160)).shape == (2, 32, 10)
    assert network.state_dict().keys() == build_network("blstm").state_dict().keys()
    assert network.rnn.input_size == 80


# Beyond 2018


@pytest.mark.parametrize(("hop", "stem", "stem_hop", "steps"), [(512, [2, 3], 1, 32), (256, [4, 6, 8], 4, 16)])
def test_a_stem_halves_the_bands_in_each_block_and_the_steps_in_the_first_ones(hop, stem, stem_hop, steps):
    network = small(front_end="log_mel", bands=40, hop=hop, stem=stem, stem_hop=stem_hop)
    waveforms = torch.randn(2, 100, 160)
    picture = network.front_end(waveforms).transpose(1, 2).unsqueeze(1)
    for block, halved in enumerate([2, 2, 1] if stem_hop == 4 else [1, 1]):
        convolution, normalisation = network.stem[3 * block : 3 * block + 2]
        whole = nn.functional.conv2d(picture, convolution.weight, padding=1)
        picture = normalisation(whole[:, :, ::2, ::halved]).relu()
    assert picture.shape == (2, stem[-1], 40 >> len(stem), steps)
    outputs, _ = network.rnn(picture.permute(0, 3, 1, 2).flatten(2))
    torch.testing.assert_close(network(waveforms), network.out(outputs[:, -1]))
    assert network.logits_per_step(waveforms).shape == (2, steps, 10)


def test_bands_that_cannot_be_halved_evenly_count_up():
    network = small(front_end="log_mel", bands=45, stem=[4, 4, 4])
    assert network.rnn.input_size == 4 * 6
    assert network(torch.randn(2, 100, 160)).shape == (2, 10)


def test_samples_per_step():
    assert RecurrentClassifier().samples_per_step == 160 == build_network("lstm", input_size=160).samples_per_step
    assert build_network("lstm", front_end="log_mel", hop=200).samples_per_step == 200
    assert build_network("lstm", front_end="log_mel", hop=200, stem=[2, 2], stem_hop=4).samples_per_step == 800


@pytest.mark.parametrize(
    "arguments",
    [
        {"readout": "attention"},
        {"front_end": "log_mel", "stem": [2]},
        {"front_end": "log_mel", "spectrum_augmentation": 1.0},
        {"dropout": 0.5},
    ],
)
def test_what_is_random_in_training_is_off_in_evaluation(arguments):
    network = small(input_size=160, **arguments)
    waveforms = torch.randn(4, 100, 160)
    assert torch.equal(network(waveforms), network(waveforms))
    is_random = "dropout" in arguments or "spectrum_augmentation" in arguments
    network.train()
    assert torch.equal(network(waveforms), network(waveforms)) != is_random


def test_an_augmented_spectrum_is_another_one_of_the_same_note():
    torch.manual_seed(0)
    flat = torch.zeros(400, 80, 32)
    for strength in (0.5, 1.0):
        found = SpectrumAugmentation(strength)(flat)
        assert found.shape == flat.shape and found.isfinite().all()
        curves = found.amax(dim=2).masked_fill(found.amax(dim=2) < -28, torch.nan)
        spread = (curves - curves.nanmean(dim=1, keepdim=True)).square().nanmean().sqrt()
        assert spread == pytest.approx(6 * strength, abs=1)
        # Up to a fifth of the bands and of the steps, if it does not begin at their end.
        assert (found < -28).float().mean() == pytest.approx(0.18 * strength, abs=0.03)
        lowest = found.flatten(1).amin(dim=1)
        assert lowest.min() == pytest.approx(-80, abs=6)
        assert lowest.median() == pytest.approx(-80 + 25 * strength, abs=8)
    assert torch.equal(SpectrumAugmentation(1.0).eval()(flat), flat)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"stem": [8]}, "use front_end 'log_mel'"),
        ({"spectrum_augmentation": 1.0}, "use front_end 'log_mel'"),
        ({"front_end": "log_mel", "stem": [4] * 7}, "do not fit together"),
        ({"front_end": "log_mel", "stem": [4, 0]}, "do not fit together"),
        ({"front_end": "log_mel", "stem": [4], "stem_hop": 0}, "do not fit together"),
        ({"front_end": "log_mel", "stem": [4], "stem_hop": 4}, "do not fit together"),
        ({"front_end": "log_mel", "stem_hop": 2}, "do not fit together"),
        ({"front_end": "log_mel", "hop": 0}, "do not fit together"),
        ({"front_end": "log_mel", "hop": 2048}, "do not fit together"),
        ({"front_end": "log_mel", "spectrum_augmentation": -1}, "do not fit together"),
        ({"front_end": "log_mel", "stem": "large"}, "cannot be built with"),
        ({"front_end": "log_mel", "stem": 8}, "cannot be built with"),
        ({"front_end": "log_mel", "bands": 80.5}, "cannot be built with"),
        ({"front_end": "log_mel", "spectrum_augmentation": "much"}, "cannot be built with"),
    ],
)
def test_arguments_that_do_not_fit_end_in_one_sentence(arguments, told):
    with pytest.raises(InputError, match=told):
        build_network("lstm", **arguments)


def test_an_unknown_network_names_those_there_are():
    with pytest.raises(InputError, match="no network 'resnet'; use one of lstm, blstm"):
        build_network("resnet")


def test_arguments_override_the_named_networks():
    assert build_network("gru", hidden_size=16).rnn.hidden_size == 16
    assert not build_network("blstm", bidirectional=False).rnn.bidirectional


def test_weights_come_back_as_they_were_written(tmp_path, frames):
    network = small()
    save_weights(network, tmp_path / "last.safetensors")
    other = RecurrentClassifier(input_size=STEP_SIZE, hidden_size=5, num_layers=2)
    loaded = load_weights(other, tmp_path / "last.safetensors")
    assert not loaded.training
    assert torch.equal(loaded(frames), network(frames))


@pytest.mark.parametrize("arguments", [{"bidirectional": True}, {"cell": "gru"}, {"num_layers": 1}, {"input_size": 8}])
def test_weights_of_another_network_are_refused(tmp_path, arguments):
    save_weights(small(), tmp_path / "last.safetensors")
    with pytest.raises(InputError, match=r"last\.safetensors holds the weights of another network"):
        load_weights(small(**arguments), tmp_path / "last.safetensors")


def test_the_fully_connected_net_hears_a_waveform_and_its_negative_alike():
    torch.manual_seed(3)
    network = build_network("fully_connected").eval()
    # Without biases, which shift both the same way, only the activation can tell the two apart.
    nn.init.zeros_(network.layers[1].bias)
    frames = torch.randn(4, 100, 160)
    torch.testing.assert_close(network(frames), network(-frames))
    assert not torch.allclose(network(frames), network(frames.flip(1)))
