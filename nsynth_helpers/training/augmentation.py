"""What a training may do to a batch of waveforms: it varies each note, and mixes notes."""

import torch

from nsynth_helpers.data.metadata import SAMPLE_RATE

# At strength 1: standard deviations of level and pitch, and the latest start.
DECIBEL, SEMITONES, LATEST = 6, 0.5, 0.02


def vary_waveforms(frames: torch.Tensor, strength: float) -> torch.Tensor:
    """Each note of ``frames (batch, steps, step_size)`` at another level, polarity, pitch (and speed) and start.

    At strength 1, level varies by 6 dB and pitch by half a semitone (standard deviations), and up to 20 ms of the start
    are cut off or put before it as silence. Samples between two of the note's are interpolated linearly.
    """
    waveforms, draw = frames.flatten(1), {"device": frames.device}
    batch, samples = waveforms.shape
    semitones, decibel = strength * torch.randn(2, batch, 1, **draw)
    start = strength * LATEST * SAMPLE_RATE * (2 * torch.rand(batch, 1, **draw) - 1)
    places = start + torch.arange(samples, **draw) * 2 ** (SEMITONES * semitones / 12)
    before = places.floor()
    share = places - before
    # Silence lies around the note.
    padded = torch.nn.functional.pad(waveforms, (1, 1))
    first, second = (padded.gather(1, (before.long() + k).clamp(0, samples + 1)) for k in (1, 2))
    sign = torch.randint(0, 2, (batch, 1), **draw) * 2 - 1
    gain = sign * 10 ** (DECIBEL * decibel / 20)
    return (gain * torch.lerp(first, second, share)).view_as(frames)


def mix_notes(frames: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Add to each note a smaller share of another of the batch (mixup, https://arxiv.org/abs/1710.09412).

    Returns ``frames (batch, steps, step_size)``, the share of each note itself, ``(batch,)``, at least a half, which is
    drawn from a beta distribution, and the other note's place in the batch, ``(batch,)``, int64.
    """
    concentration = torch.full((len(frames),), alpha, device=frames.device)
    shares = torch.distributions.Beta(concentration, concentration).sample()
    shares = torch.maximum(shares, 1 - shares)
    others = torch.randperm(len(frames), device=frames.device)
    mixed = shares.view(-1, 1, 1) * frames + (1 - shares).view(-1, 1, 1) * frames[others]
    return mixed, shares, others
