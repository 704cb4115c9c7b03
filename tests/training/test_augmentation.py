"""What a training does to waveforms, against what it says."""

import torch

from nsynth_helpers.training.augmentation import mix_notes, vary_waveforms

TIMES = torch.arange(16_000) / 16_000


def test_waveforms_vary_in_level_polarity_pitch_and_start_by_what_is_said():
    torch.manual_seed(0)
    tones = torch.cos(2 * torch.pi * 1000 * TIMES).repeat(500, 1)
    found = vary_waveforms(tones.view(500, 100, 160), 1.0)
    assert found.shape == (500, 100, 160)
    waves = found.flatten(1)
    levels = 20 * waves.abs().amax(dim=1).log10()
    assert abs(levels.std() - 6) < 0.7 and abs(levels.mean()) < 1
    spectrum = torch.fft.rfft(waves[:, 2000:10_000] * torch.hann_window(8000)).abs()
    semitones = 12 * (spectrum[:, 100:].argmax(dim=1).add(100) / 500).log2()
    assert abs(semitones.std() - 0.5) < 0.06 and abs(semitones.mean()) < 0.1
    silent = (waves[:, :500] == 0).sum(dim=1)  # of those that start late, 20 ms or a little more where they are slowed
    assert 0.4 < (silent > 1).float().mean() < 0.6 and 300 < silent.max() < 360


def test_a_faint_variation_leaves_a_note_as_it_is_but_for_its_polarity():
    torch.manual_seed(0)
    frames = torch.randn(20, 10, 160)
    found = vary_waveforms(frames, 1e-6)
    signs = (found * frames).sum(dim=(1, 2), keepdim=True).sign()
    assert {*signs.flatten().tolist()} == {-1.0, 1.0}
    torch.testing.assert_close(signs * found, frames, rtol=0, atol=1e-2)


def test_a_mixed_note_is_mostly_itself():
    torch.manual_seed(0)
    frames = torch.randn(64, 10, 160)
    mixed, shares, others = mix_notes(frames, 0.4)
    assert sorted(others.tolist()) == list(range(64))
    assert shares.min() >= 0.5 and shares.max() <= 1 and shares.unique().numel() > 60
    for note, (share, other) in enumerate(zip(shares, others, strict=True)):
        torch.testing.assert_close(mixed[note], share * frames[note] + (1 - share) * frames[other])
