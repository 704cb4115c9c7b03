"""A batch in shares gives what the whole batch gives, and the precision of ``auto`` is one that the machine has."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from nsynth_helpers.models import build_network
from nsynth_helpers.settings import InputError, Settings
from nsynth_helpers.training import devices
from nsynth_helpers.training.devices import choose_precision, in_shares
from nsynth_helpers.training.runs import RunConfig


@pytest.fixture
def threads():
    """Set torch's threads, and put them back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def step(network, compute, notes: int, half: bool = False) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits and gradients of one training step."""
    generator = torch.Generator().manual_seed(notes)
    frames = torch.randn(notes, 6, 160, generator=generator)
    labels = torch.randint(10, (notes,), generator=generator)
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, half):
        logits = compute(frames)
    functional.cross_entropy(logits.float(), labels).backward()
    return logits.detach(), [weight.grad.clone() for weight in network.parameters()]


@pytest.mark.parametrize("name", ["lstm", "blstm", "gru", "rnn"])
@pytest.mark.parametrize("notes", [2, 11, 32, 100])
def test_shares_give_the_logits_and_gradients_of_the_whole_batch(name, notes, threads):
    threads(3)
    network = build_network(name, hidden_size=9)
    logits, gradients = step(network, network, notes)
    with in_shares(network) as compute:
        first, again = step(network, compute, notes), step(network, compute, notes)
    torch.testing.assert_close(first[0], logits, rtol=0, atol=1e-5)
    for shared, whole, repeated in zip(first[1], gradients, again[1], strict=True):
        torch.testing.assert_close(shared, whole, rtol=0, atol=1e-5)
        assert torch.equal(shared, repeated)


def test_evaluation_in_shares_keeps_the_order_of_the_notes(threads):
    threads(2)
    network, frames = build_network("convolutional").eval(), torch.randn(150, 100, 160)
    with torch.inference_mode(), in_shares(network) as compute:
        torch.testing.assert_close(compute(frames), network(frames), rtol=0, atol=1e-5)


@pytest.mark.skipif(not devices.has_bfloat16_lstm(), reason="this processor has no LSTM in bfloat16")
def test_shares_compute_in_the_precision_of_who_asks(threads):
    threads(2)
    network = build_network("lstm", hidden_size=16)
    logits, gradients = step(network, network, 32, half=True)
    with in_shares(network) as compute:
        shared, of_shares = step(network, compute, 32, half=True)
    assert shared.dtype == logits.dtype == torch.bfloat16
    torch.testing.assert_close(shared, logits)
    for one, other in zip(of_shares, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=1e-3)


def test_each_thread_takes_a_share_alone(threads):
    threads(4)
    seen = []

    class Spy(torch.nn.Linear):
        def forward(self, frames):
            seen.append((len(frames), torch.get_num_threads()))
            return super().forward(frames)

    with torch.no_grad(), in_shares(Spy(3, 1).eval()) as compute:
        compute(torch.ones(30, 3))
        assert torch.get_num_threads() == 1
    assert sorted(seen) == [(6, 1), (8, 1), (8, 1), (8, 1)]
    assert torch.get_num_threads() == 4


OPENMP = """
import ctypes, sys, torch
from nsynth_helpers.training.devices import in_shares
openmp = ctypes.CDLL(sys.argv[1])
class Spy(torch.nn.Linear):
    def forward(self, frames):
        seen.append(openmp.omp_get_max_threads())
        return super().forward(frames)
seen = []  # printed at the end: lines that threads print at the same time run into one another
with torch.no_grad(), in_shares(Spy(3, 1).eval()) as compute:
    compute(torch.ones(30, 3))
print(*seen)
"""


def test_openmp_gives_a_share_no_further_threads():
    """Not every library that computes asks torch how many threads it has: oneDNN takes what OpenMP would give."""
    libraries = [*Path(torch.__file__).parent.glob("lib/libgomp*")]
    if not libraries:
        pytest.skip("torch brings no OpenMP of GNU's here")
    command = [sys.executable, "-c", OPENMP, libraries[0]]
    environment = os.environ | {"OMP_NUM_THREADS": "3"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) == {"1"}


def test_one_thread_computes_a_batch_of_32_as_a_whole(threads):
    threads(1)
    network = build_network("blstm", hidden_size=9)
    whole = step(network, network, 32)
    with in_shares(network) as compute:
        shared = step(network, compute, 32)
    assert all(torch.equal(one, other) for one, other in zip(whole[1], shared[1], strict=True))


def test_networks_whose_notes_meet_or_that_draw_numbers_train_on_whole_batches(threads):
    threads(2)
    for network in (
        build_network("convolutional"),
        build_network("fully_connected"),
        build_network("lstm", dropout=0.5),
        build_network("lstm", front_end="log_mel", stem=[4]),
        build_network("lstm", front_end="log_mel", spectrum_augmentation=1.0),
    ):
        with in_shares(network) as compute:
            assert compute == network.forward
            assert torch.get_num_threads() == 2


def test_what_goes_wrong_in_a_share_is_raised_and_the_threads_come_back(threads):
    threads(2)
    network = build_network("lstm")
    with pytest.raises(RuntimeError, match="must be equal to input_size"), in_shares(network) as compute:
        compute(torch.ones(32, 100, 3))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("instructions", "precision"), [({"avx512_bf16": True}, "bf16-mixed"), ({}, "32-true")])
def test_auto_precision_is_resolved_before_the_digest(instructions, precision, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    settings = Settings.from_environment({"NSYNTH_PRECISION": "auto", "NSYNTH_DEVICE": "cpu"})
    config = RunConfig.from_settings("lstm", settings)
    assert config.precision == precision
    assert config.digest({}) == replace(RunConfig(), precision=precision).digest({})
    assert choose_precision("16-mixed", "cpu") == "16-mixed"


def test_bfloat16_is_refused_where_the_processor_has_no_such_lstm(monkeypatch):
    monkeypatch.setattr(devices, "has_bfloat16_lstm", lambda: False)
    with pytest.raises(InputError, match=r"cannot compute an LSTM in bfloat16 .*; set NSYNTH_PRECISION to auto"):
        choose_precision("bf16-mixed", "cpu")
    assert choose_precision("32-true", "cpu") == "32-true"


@pytest.mark.parametrize("fails", [True, False])
def test_only_a_try_tells_of_an_lstm_in_bfloat16(fails, monkeypatch):
    def forward(self, inputs):
        if fails and torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(nn.LSTM, "forward", forward)
    assert devices.has_bfloat16_lstm() is not fails


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, "10000 1 None"),
        ({"GOMP_SPINCOUNT": "7"}, "7 1 None"),
        ({"OMP_WAIT_POLICY": "active"}, "None None active"),
    ],
)
def test_openmp_waits_a_short_while_unless_the_user_says_otherwise(own, expected):
    names = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")
    script = f"import os, sys, nsynth_helpers; assert 'torch' not in sys.modules; print(*map(os.environ.get, {names}))"
    environment = {name: value for name, value in os.environ.items() if name not in names} | own
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split() == expected.split()
