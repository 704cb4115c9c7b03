"""Small models of instruments in numpy, for the families that SoundFonts and synthesizers bring too few sources of.

Each maker (`MAKERS`) draws one instrument from a random generator and returns ``play(pitch, velocity, rng)``, which
gives 1.25 s of a held note: float, at `RATE`, not normalised.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.signal import butter, lfilter

RATE = 48_000
# A quarter of a second more than a note has: what leads up to its onset is cut off.
SECONDS = 1.25
TIME = np.arange(int(SECONDS * RATE)) / RATE
Play = Callable[[int, int, np.random.Generator], np.ndarray]
# The first three formants (Hz) of ten American English vowels: G. Peterson, H. Barney, "Control methods used in a study
# of the vowels", J. Acoust. Soc. Am. 24 (1952), table II: heed, hid, head, had, hod, hawed, hood, who'd, hud, heard.
FORMANTS = {
    "man": "270 2290 3010 390 1990 2550 530 1840 2480 660 1720 2410 730 1090 2440 570 840 2410 440 1020 2240 300 870 "
    "2240 640 1190 2390 490 1350 1690",
    "woman": "310 2790 3310 430 2480 3070 610 2330 2990 860 2050 2850 850 1220 2810 590 920 2710 470 1160 2680 "
    "370 950 2670 760 1400 2780 500 1640 1960",
    "child": "370 3200 3730 530 2730 3600 690 2610 3570 1010 2320 3320 1030 1370 3170 680 1060 3180 560 1410 3310 "
    "430 1170 3260 850 1590 3360 560 1820 2160",
}
FORMANTS = {speaker: np.array(table.split(), float).reshape(10, 3) for speaker, table in FORMANTS.items()}
# Length of the vocal tract, as the fourth and fifth formant show it, and their bandwidths with those of the first three
# (after D. Klatt, "Software for a cascade/parallel formant synthesizer", J. Acoust. Soc. Am. 67, 1980).
UPPER = {"man": (3500, 4500), "woman": (4000, 5200), "child": (4700, 5900)}
BANDWIDTHS = (70, 100, 140, 220, 300)
# Drawbars of a Hammond organ as harmonics of the 16' pipe, an octave below the key.
DRAWBARS = np.array([1, 3, 2, 4, 6, 8, 10, 12, 16])
# Partials of a free bar, a tuned marimba and vibraphone bar, a stiff tube and a bell, as multiples of the lowest:
# T. Rossing, N. Fletcher, "The Physics of Musical Instruments", chapters 19 and 21.
PARTIALS = [
    (1, 2.756, 5.404, 8.933),
    (1, 3.93, 9.2, 16.2),
    (1, 3, 6.2, 10),
    (1, 1.5, 2, 2.66, 3.4, 4.2, 5.1),
    (0.5, 1, 1.19, 1.56, 2, 2.51, 2.66, 3.01, 4.17),
]


def hertz(pitch: float) -> float:
    """Frequency of a MIDI pitch."""
    return 440 * 2 ** ((pitch - 69) / 12)


def wander(rng: np.random.Generator, knots: int) -> np.ndarray:
    """A smooth random curve over the note, about -1 to 1."""
    return np.interp(TIME, np.linspace(0, TIME[-1], knots), rng.normal(0, 0.5, knots))


def decay(seconds: float) -> np.ndarray:
    """An exponential that falls by 60 dB in so many seconds."""
    return 10 ** (-3 * TIME / seconds)


def oscillate(amplitudes: np.ndarray, frequency: float | np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A periodic wave with harmonics of these amplitudes, at random phases, those above 8 kHz left out."""
    amplitudes = amplitudes[: int(8000 / np.max(frequency))]
    spectrum = np.zeros(2049, complex)
    spectrum[1 : len(amplitudes) + 1] = amplitudes * np.exp(2j * np.pi * rng.random(len(amplitudes)))
    phase = rng.random() + np.cumsum(np.broadcast_to(frequency, TIME.shape)) / RATE
    return np.interp(phase % 1, np.arange(4097) / 4096, np.append(wave := 2048 * np.fft.irfft(spectrum), wave[0]))


def resonate(wave: np.ndarray, frequency: float, bandwidth: float) -> np.ndarray:
    """Klatt's resonator, of gain 1 at 0 Hz."""
    radius = np.exp(-np.pi * bandwidth / RATE)
    b, c = 2 * radius * np.cos(2 * np.pi * min(frequency, 20_000) / RATE), -(radius**2)
    return lfilter([1 - b - c], [1, -b, -c], wave)


def soften(wave: np.ndarray, cutoff: float, kind: str = "low", order: int = 1) -> np.ndarray:
    """A Butterworth filter."""
    return lfilter(*butter(order, min(cutoff, 20_000), kind, fs=RATE), wave)


def sweep(wave: np.ndarray, cutoff: np.ndarray, peak: float) -> np.ndarray:
    """A resonant low-pass filter with a moving cutoff (Hz): the biquad of R. Bristow-Johnson's cookbook, in blocks."""
    swept, state, block = np.empty_like(wave), np.zeros(2), 256
    for start in range(0, len(wave), block):
        angle = 2 * np.pi * np.clip(cutoff[start], 30, 7500) / RATE
        slope = np.sin(angle) / (2 * peak)
        b = np.array([0.5, 1, 0.5]) * (1 - np.cos(angle)) / (1 + slope)
        a = [1, -2 * np.cos(angle) / (1 + slope), (1 - slope) / (1 + slope)]
        swept[start : start + block], state = lfilter(b, a, wave[start : start + block], zi=state)
    return swept


def singer(rng: np.random.Generator) -> Play:
    """One voice or a choir on a vowel or between two: pulses and breath through five formants.

    Half of them are like a sampler's voice, recorded every few keys and transposed with its formants.
    """
    speaker = rng.choice(list(FORMANTS), p=[0.4, 0.4, 0.2])
    vowels = FORMANTS[speaker][rng.choice(10, 2)]
    if rng.random() < 0.6:
        vowels[1] = vowels[0]
    size, voices, recorded = (
        rng.uniform(0.88, 1.14),
        int(rng.choice([1, 1, 2, 4, 8])),
        int(rng.choice([0, 0, 3, 12, 60])),
    )
    open_share, tilt, breath = rng.uniform(0.35, 0.8), rng.uniform(500, 5000), 10 ** rng.uniform(-3, -0.5)
    rate, depth, attack = rng.uniform(4.3, 6.7), rng.choice([0, 1]) * rng.uniform(5, 70), 10 ** rng.uniform(-2, -0.7)

    def play(pitch, velocity, rng):
        transposed = 2 ** ((pitch - recorded * round(pitch / recorded)) / 12) if recorded else 1
        morph, total = np.clip(TIME * rng.uniform(0.5, 4), 0, 1), 0
        for _ in range(voices):
            vibrato = depth * np.sin(2 * np.pi * (rate * TIME * rng.uniform(0.95, 1.05) + rng.random()))
            cents = vibrato * np.clip(4 * TIME, 0, 1) + 12 * wander(rng, 40) + (voices > 1) * rng.normal(0, 12)
            opened = np.cumsum(hertz(pitch) * 2 ** (cents / 1200)) / RATE % 1 / open_share
            pulse = np.where(opened < 1, opened * (2 - 3 * opened), 0)  # D. Klatt, L. Klatt (1990)
            source = soften(pulse, tilt * (0.4 + velocity / 90))
            source = source + breath * rng.normal(0, 1, TIME.shape) * (0.3 + (opened < 1))
            own = size * transposed * rng.uniform(0.97, 1.03)
            sung = []
            for vowel in vowels:
                voice = source
                for formant, bandwidth in zip((*vowel, *UPPER[speaker]), BANDWIDTHS, strict=True):
                    voice = resonate(voice, own * formant, own * bandwidth)
                sung.append(voice)
            total = total + (1 - morph) * sung[0] + morph * sung[1]
        return total * (1 - np.exp(-TIME / attack))

    return play


def organ(rng: np.random.Generator) -> Play:
    """Tone wheels or pipes: ranks in the ratios of nine drawbars, with click, percussion, chorus, rotor and drive."""
    drawn = rng.integers(0, 9, 9) * (rng.random(9) < rng.uniform(0.25, 0.9))
    drawn[rng.choice([0, 2, 3])] = 8
    slope, only_odd = (9, False) if rng.random() < 0.5 else (rng.uniform(0.8, 3), rng.random() < 0.3)
    amplitudes = np.zeros(300)
    for ratio, bar in zip(DRAWBARS, drawn, strict=True):
        for harmonic in range(1, 300 // ratio, 1 + only_odd):
            amplitudes[ratio * harmonic - 1] += (bar > 0) * 10 ** (0.15 * (bar - 8)) * harmonic**-slope
    click, percussion, attack = (
        rng.choice([0, 1]) * rng.uniform(0, 0.4),
        rng.choice([0, 0, 1]),
        10 ** rng.uniform(-3, -1.3),
    )
    rotor, depth = rng.choice([0, 0.8, 6.5]) * rng.uniform(0.8, 1.2), rng.uniform(0.1, 0.6)
    chorus, drive = rng.choice([0, 1]) * rng.uniform(2, 15), rng.choice([0, 0, 1]) * rng.uniform(1, 6)

    def play(pitch, velocity, rng):
        turn = np.sin(2 * np.pi * (rotor * TIME + rng.random()))
        frequency = hertz(pitch) / 2 * 2 ** (6 * depth * turn / 1200)
        wave = oscillate(amplitudes, frequency, rng) + (chorus > 0) * oscillate(
            amplitudes, frequency * 2 ** (chorus / 1200), rng
        )
        wave = wave / np.abs(wave).max() * (1 - depth * (rotor > 0) * (0.5 + 0.5 * turn)) * (1 - np.exp(-TIME / attack))
        wave += percussion * 0.5 * np.sin(2 * np.pi * rng.choice([2, 3]) * hertz(pitch) * TIME) * decay(0.5)
        wave += click * soften(rng.normal(0, 1, TIME.shape), 3 * hertz(pitch), order=2) * decay(0.03)
        return np.tanh(drive * wave) if drive else wave

    return play


def string(rng: np.random.Generator, bass: bool) -> Play:
    """A plucked string after Karplus and Strong, with its body, or with pickup, drive and loudspeaker.

    K. Karplus, A. Strong, "Digital synthesis of plucked-string and drum timbres", Computer Music Journal 7 (1983).
    """
    electric, plucked_at, damping = (
        rng.random() < (0.7 if bass else 0.5),
        rng.uniform(0.06, 0.45),
        rng.uniform(0.05, 0.5),
    )
    ringing = 10 ** rng.uniform(-0.6, 0.9)
    brightness, pickup = rng.uniform(0.1, 1), rng.uniform(0.05, 0.3)
    body = [(rng.uniform(80, 900), rng.uniform(10, 60), rng.uniform(0.1, 0.6)) for _ in range(rng.integers(2, 7))]
    drive, speaker = rng.choice([0, 0, 1]) * 10 ** rng.uniform(0, 2), rng.uniform(2500, 6000)
    strings = int(rng.choice([1, 1, 1, 2])) if not bass else 1

    def play(pitch, velocity, rng):
        total = 0
        for _ in range(strings):
            period = RATE / hertz(pitch + rng.normal(0, 0.04))
            burst = soften(rng.normal(0, 1, TIME.shape), 300 + 12_000 * brightness * (velocity / 127) ** 1.5)
            burst[int(period) :] = 0
            delay = int(period - damping - 0.2)
            taps = np.convolve([1 - (left := period - damping - delay), left], [1 - damping, damping])
            loop = np.zeros(delay + 3)
            loop[0], loop[delay:] = 1, -taps * 10 ** (-3 * period / RATE / ringing)
            comb = np.zeros(int(period * plucked_at) + 2)
            comb[0], comb[-1] = 1, -0.9
            total = total + lfilter([1], loop, lfilter(comb, [1], burst))
        total /= np.abs(total).max()
        if not electric:
            return total + sum(gain * resonate(total, *place) for *place, gain in body) * 0.5
        heard = total - np.roll(total, int(period * pickup))
        return soften(np.tanh(drive * heard) if drive else heard, speaker, order=2)

    return play


def electric_piano(rng: np.random.Generator) -> Play:
    """Tine or reed as frequency modulation (J. Chowning, 1973), before a pickup that bends the wave, with tremolo."""
    ratio, bell, index = rng.choice([1, 1, 2, 3]), rng.choice([0, 7, 11, 14, 15.4]), rng.uniform(0.3, 3)
    ringing, bend, tremolo, rate = (
        rng.uniform(1.5, 8),
        rng.uniform(0, 0.9),
        rng.choice([0, 1]) * rng.uniform(0.1, 0.6),
        rng.uniform(3, 7),
    )
    bell_level, drive = rng.uniform(0.05, 0.4), rng.choice([0, 0, 1]) * rng.uniform(1, 4)

    def play(pitch, velocity, rng):
        turn, hard = 2 * np.pi * hertz(pitch) * TIME, (velocity / 127) ** 1.2
        wave = np.sin(turn + index * hard * decay(ringing / 3) * np.sin(ratio * turn)) * decay(
            ringing * (80 / (pitch + 20))
        )
        wave += bell_level * hard * np.sin(bell * turn) * decay(ringing / 8) * (bell * hertz(pitch) < 8000)
        wave += 0.05 * soften(rng.normal(0, 1, TIME.shape), 600, order=2) * decay(0.06)
        wave = (
            wave
            / (1 + bend * wave * 0.6)
            * (1 - tremolo * (0.5 + 0.5 * np.sin(2 * np.pi * (rate * TIME + rng.random()))))
        )
        return np.tanh(drive * wave) if drive else wave

    return play


def synth_bass(rng: np.random.Generator) -> Play:
    """Two oscillators and one below, through a resonant low-pass filter with an envelope, and drive."""
    harmonics = np.arange(1, 300)
    waves = {"saw": 1 / harmonics, "square": harmonics % 2 / harmonics, "triangle": harmonics % 2 / harmonics**2.0}
    waves["pulse"] = np.abs(np.sin(np.pi * harmonics * rng.uniform(0.05, 0.4))) / harmonics
    shapes = rng.choice(list(waves), 3)
    detuned, mixed, below = (
        rng.choice([0, 1]) * rng.uniform(0, 0.3),
        rng.uniform(0, 1),
        rng.choice([0, 1]) * rng.uniform(0.2, 1),
    )
    cutoff, tracking, opening = 10 ** rng.uniform(1.9, 3.5), rng.uniform(0, 1), rng.uniform(0, 5)
    closing, peak, drive = 10 ** rng.uniform(-1.3, 0.3), rng.uniform(0.5, 8), rng.choice([0, 0, 1]) * rng.uniform(1, 8)
    ringing, attack = rng.choice([0.3, 0.8, 2, 20]), rng.choice([0.001, 0.005, 0.03])

    def play(pitch, velocity, rng):
        pitches = pitch, pitch + detuned, pitch - 12
        wave = sum(
            level * oscillate(waves[shape], hertz(key), rng)
            for shape, key, level in zip(shapes, pitches, (1, mixed, below), strict=True)
        )
        octaves = opening * (velocity / 127) * decay(2 * closing) + tracking * (pitch - 40) / 12
        wave = sweep(wave, cutoff * 2**octaves, peak)
        wave *= decay(ringing) * (1 - np.exp(-TIME / attack)) / np.abs(wave).max()
        return np.tanh(drive * wave) if drive else wave

    return play


def struck(rng: np.random.Generator) -> Play:
    """A bar, tube, plate or bell: partials that die away, the higher the sooner, and the blow."""
    partials = np.array(PARTIALS[rng.integers(len(PARTIALS))])
    partials = partials * (1 + rng.normal(0, 0.02, len(partials)) * (partials != 1))
    levels, ringing = rng.uniform(0.1, 1, len(partials)) * partials ** -rng.uniform(0, 1.5), 10 ** rng.uniform(-0.7, 1)
    fall, blow, motor = rng.uniform(0.2, 1.2), rng.uniform(0, 0.4), rng.choice([0, 0, 1]) * rng.uniform(3, 7)

    def play(pitch, velocity, rng):
        wave = blow * soften(rng.normal(0, 1, TIME.shape), 400 + 40 * velocity) * decay(0.04)
        for ratio, level in zip(partials, levels, strict=True):
            if ratio * hertz(pitch) < 7900:
                tone = np.sin(2 * np.pi * (ratio * hertz(pitch) * TIME + rng.random()))
                wave += level * (velocity / 127) ** (0.3 * ratio) * tone * decay(ringing * ratio**-fall * 60 / pitch)
        return wave * (1 - 0.3 * np.sin(2 * np.pi * motor * TIME))

    return play


# Maker, family, source and number of instruments of each kind.
MAKERS = {
    "singer": (singer, "vocal", "synthetic", 140),
    "organ": (organ, "organ", "electronic", 60),
    "guitar": (partial(string, bass=False), "guitar", "acoustic", 90),
    "bass string": (partial(string, bass=True), "bass", "electronic", 50),
    "electric piano": (electric_piano, "keyboard", "electronic", 70),
    "synth bass": (synth_bass, "bass", "synthetic", 90),
    "struck": (struck, "mallet", "acoustic", 60),
}
