"""What computes: the device, its precision, and the cores, each with a share of a batch."""

import ctypes
import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from nsynth_helpers.models import RecurrentClassifier, SpectrumAugmentation
from nsynth_helpers.settings import InputError

# Notes in a share: fewer leave a core's arithmetic idle, more fall out of its cache.
SMALLEST, LARGEST = 4, 32
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, KEPT_BYTES = -1, -3, 1 << 28  # of glibc's malloc.h; it keeps 32 MB by itself


def choose_device(device: str) -> torch.device:
    """The device of a setting: ``auto`` takes CUDA, then MPS, then the CPU; `InputError` if it is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in available.items() if there)
    if not available.get(device):
        raise InputError(f"NSYNTH_DEVICE is '{device}', which this machine does not have; set it to auto or cpu.")
    return torch.device(device)


def choose_precision(precision: str, device: str) -> str:
    """Lightning's precision of a setting: ``auto`` is ``bf16-mixed`` where the device has instructions for bfloat16.

    `InputError` if it is ``bf16-mixed``, and this processor has no LSTM in bfloat16.
    """
    kind = choose_device(device).type
    if precision == "bf16-mixed" and kind == "cpu" and not has_bfloat16_lstm():
        raise InputError(
            "This processor cannot compute an LSTM in bfloat16 (bf16-mixed); set NSYNTH_PRECISION to auto or 32-true."
        )
    if precision != "auto":
        return precision
    cpu = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch cannot tell
    found = {
        "cpu": cpu.get("avx512_bf16") or cpu.get("amx_bf16"),
        "cuda": kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False),
    }
    return "bf16-mixed" if found.get(kind) else "32-true"


def has_bfloat16_lstm() -> bool:
    """Whether torch computes an LSTM in bfloat16 here: only a try tells, and without AVX-512 it fails."""
    try:
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            nn.LSTM(8, 8)(torch.zeros(1, 1, 8))
    except RuntimeError:
        return False
    return True


@contextmanager
def in_shares(network: nn.Module, processes: int = 1) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """A function that gives ``network(frames)``, computed in shares side by side, with torch's threads for the CPU.

    So many `processes` on this machine have the threads between them. The products of a recurrent step are so small
    that OpenMP's threads wait for one another most of the time, and beside other work nearly all of it. Notes do not
    know of one another: a thread can take some of them through all steps alone.

    Gradients reach the weights alone. They are summed in the order of the shares: the same number of threads gives the
    same bits, and one thread, up to 32 notes, those of the whole batch. A network that draws random numbers or lets the
    notes of a batch meet, as batch normalisation does, is trained on whole batches by OpenMP's threads.
    """
    _keep_freed_memory()
    threads = torch.get_num_threads()
    workers = max(1, threads // processes)
    alone = isinstance(network, RecurrentClassifier) and network.dropout.p == 0 and network.stem is None
    alone &= not any(isinstance(module, SpectrumAugmentation) for module in network.modules())
    whole = network.training and not alone
    torch.set_num_threads(workers if whole else 1)
    try:
        with ThreadPoolExecutor(workers, "share", torch.set_num_threads, (1,)) as pool:
            yield network.forward if whole else partial(_compute, network, pool, workers)
    finally:
        torch.set_num_threads(threads)


def _compute(network: nn.Module, pool: ThreadPoolExecutor, workers: int, frames: torch.Tensor) -> torch.Tensor:
    size = max(SMALLEST, min(LARGEST, -(-len(frames) // workers)))
    if len(frames) <= size or frames.device.type != "cpu":
        return network(frames)
    if torch.is_grad_enabled():
        return _Shares.apply(network, pool, frames.split(size), *network.parameters())
    return torch.cat(_forward(network, pool, frames.split(size), torch.inference_mode))


class _Shares(torch.autograd.Function):
    @staticmethod
    def forward(ctx, network, pool, shares, *weights):
        ctx.outputs = _forward(network, pool, shares, torch.enable_grad)
        ctx.pool, ctx.weights = pool, weights
        return torch.cat([output.detach() for output in ctx.outputs])

    @staticmethod
    def backward(ctx, gradient):
        def of_weights(output: torch.Tensor, part: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return torch.autograd.grad(output, ctx.weights, part)

        parts = gradient.split([len(output) for output in ctx.outputs])
        gradients = zip(*ctx.pool.map(of_weights, ctx.outputs, parts), strict=True)
        return None, None, None, *(sum(shares[1:], shares[0]) for shares in gradients)


def _forward(network: nn.Module, pool: ThreadPoolExecutor, shares, mode: Callable) -> list[torch.Tensor]:
    # Threads begin without the modes of the one that asks; a cache of cast weights would be shared by all of them.
    half, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def forward(share: torch.Tensor) -> torch.Tensor:
        with mode(), torch.autocast("cpu", dtype, half, cache_enabled=False):
            return network(share)

    return list(pool.map(forward, shares))


def _keep_freed_memory() -> None:
    """Let glibc reuse a layer's workspace: to map it and fault it in anew takes a third of a float32 step."""
    if platform.libc_ver()[0] == "glibc" and not any(name.startswith(("MALLOC_", "GLIBC_")) for name in os.environ):
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            ctypes.CDLL(None).mallopt(option, KEPT_BYTES)
