"""Render nsynth-mini, a small stand-in for NSynth, from the FluidR3 GM SoundFont.

A maintainers' script: the archives it writes are committed, so users never run it. It needs the FluidSynth library and
the SoundFont (Debian: ``apt install libfluidsynth3 fluid-soundfont-gm``), and some Python packages:
``pip install pyfluidsynth soundfile soxr numpy tqdm``.

    python tools/render_mini.py --out data/nsynth-mini --seed 2018 --soundfont /usr/share/sounds/sf2/FluidR3_GM.sf2
"""

import argparse
import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

# family: {General MIDI program (from 0): (source, name of the preset in FluidR3)}, and the pitches that suit it
TRAINED = {
    "bass": {
        32: ("acoustic", "Acoustic Bass"),
        33: ("electronic", "Fingered Bass"),
        36: ("electronic", "Slap Bass"),
        38: ("synthetic", "Synth Bass 1"),
    },
    "brass": {
        56: ("acoustic", "Trumpet"),
        57: ("acoustic", "Trombone"),
        60: ("acoustic", "French Horns"),
        61: ("acoustic", "Brass Section"),
    },
    "flute": {
        73: ("acoustic", "Flute"),
        74: ("acoustic", "Recorder"),
        75: ("acoustic", "Pan Flute"),
        79: ("acoustic", "Ocarina"),
    },
    "guitar": {
        24: ("acoustic", "Nylon String Guitar"),
        25: ("acoustic", "Steel String Guitar"),
        27: ("electronic", "Clean Guitar"),
        30: ("electronic", "Distortion Guitar"),
    },
    "keyboard": {
        0: ("acoustic", "Yamaha Grand Piano"),
        2: ("electronic", "Electric Piano"),
        4: ("electronic", "Rhodes EP"),
        6: ("acoustic", "Harpsichord"),
    },
    "mallet": {
        8: ("acoustic", "Celesta"),
        11: ("acoustic", "Vibraphone"),
        12: ("acoustic", "Marimba"),
        14: ("acoustic", "Tubular Bells"),
    },
    "organ": {
        16: ("electronic", "DrawbarOrgan"),
        19: ("acoustic", "Church Organ"),
        20: ("acoustic", "Reed Organ"),
    },
    "reed": {
        66: ("acoustic", "Tenor Sax"),
        68: ("acoustic", "Oboe"),
        70: ("acoustic", "Bassoon"),
        71: ("acoustic", "Clarinet"),
    },
    "string": {
        40: ("acoustic", "Violin"),
        42: ("acoustic", "Cello"),
        46: ("acoustic", "Harp"),
        48: ("acoustic", "Strings"),
    },
    "synth_lead": {
        80: ("synthetic", "Square Lead"),
        81: ("synthetic", "Saw Wave"),
        86: ("synthetic", "Fifth Sawtooth Wave"),
        87: ("synthetic", "Bass & Lead"),
    },
    "vocal": {
        52: ("acoustic", "Ahh Choir"),
        53: ("acoustic", "Ohh Voices"),
        54: ("synthetic", "Synth Voice"),
    },
}
# none of these shares samples with a trained one, so no Honky Tonk (it is the grand piano, detuned)
TEST_ONLY = {
    "bass": {35: ("electronic", "Fretless Bass"), 39: ("synthetic", "Synth Bass 2")},
    "brass": {59: ("acoustic", "Muted Trumpet"), 62: ("synthetic", "Synth Brass 1")},
    "flute": {72: ("acoustic", "Piccolo"), 78: ("acoustic", "Whistle")},
    "guitar": {26: ("electronic", "Jazz Guitar"), 29: ("electronic", "Overdrive Guitar")},
    "keyboard": {5: ("electronic", "Legend EP 2"), 7: ("electronic", "Clavinet")},
    "mallet": {9: ("acoustic", "Glockenspiel"), 10: ("acoustic", "Music Box")},
    "organ": {17: ("electronic", "Percussive Organ"), 18: ("electronic", "Rock Organ")},
    "reed": {64: ("acoustic", "Soprano Sax"), 69: ("acoustic", "English Horn")},
    "string": {41: ("acoustic", "Viola"), 50: ("synthetic", "Synth Strings 1")},
    "synth_lead": {},
    "vocal": {85: ("synthetic", "Solo Vox"), 91: ("synthetic", "Space Voice")},
}
LOWEST_PITCH = {  # each family plays the two octaves upwards of this one
    "bass": 28,
    "brass": 48,
    "flute": 60,
    "guitar": 45,
    "keyboard": 48,
    "mallet": 60,
    "organ": 48,
    "reed": 48,
    "string": 48,
    "synth_lead": 48,
    "vocal": 48,
}
FAMILIES = list(TRAINED)  # NSynth's own order: bass is 0, vocal is 10
SOURCES = ["acoustic", "electronic", "synthetic"]  # NSynth's own order
SPLITS = ["train", "valid", "test"]
VELOCITIES = [25, 50, 75, 100, 127]
TWO_OCTAVES = 25

# notes of one family on its trained instruments; test adds as many on instruments that were never trained on
NOTES_A_FAMILY = {"train": 160, "valid": 20, "test": 20}
SYNTH_LEAD_NOTES = {"train": 40, "valid": 0, "test": 0}  # as in NSynth, only train has synth_lead

SAMPLE_RATE = 16_000
SAMPLES = 4 * SAMPLE_RATE
RENDER_RATE = 44_100
HELD_SECONDS, RELEASED_SECONDS = 3.0, 1.2  # 0.2 s to spare: what leads up to the onset is cut off
OGG_COMPRESSION = 0.9  # libsndfile's scale: 0 is the best quality, 1 the smallest file


@dataclass(frozen=True)
class Instrument:
    """One General MIDI program in its NSynth family."""

    family: str
    program: int
    source: str
    preset: str

    @property
    def name(self) -> str:
        """NSynth's ``instrument_str``, with the program as its index."""
        return f"{self.family}_{self.source}_{self.program:03d}"


@dataclass(frozen=True)
class Note:
    """One note to render."""

    instrument: Instrument
    pitch: int
    velocity: int

    @property
    def name(self) -> str:
        """NSynth's ``note_str``."""
        return f"{self.instrument.name}-{self.pitch:03d}-{self.velocity:03d}"


def instruments_of(table: dict, family: str) -> list[Instrument]:
    """List the instruments that a table (`TRAINED` or `TEST_ONLY`) holds for a family."""
    return [Instrument(family, program, source, preset) for program, (source, preset) in table[family].items()]


def shares(total: int, parts: int) -> list[int]:
    """Divide a number of notes among instruments as evenly as it goes."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def spread_out(pitches: list[int], count: int, rng: np.random.Generator) -> list[int]:
    """Draw one pitch from each of `count` equal stretches of a range."""
    return [int(rng.choice(stretch)) for stretch in np.array_split(pitches, count)] if count else []


def balanced_notes(instrument: Instrument, pitches: list[int], count: int, rng: np.random.Generator) -> list[Note]:
    """Draw different notes that use all pitches, and all velocities, about equally often."""
    pitches, velocities = rng.permutation(pitches), rng.permutation(VELOCITIES)
    laps = [divmod(position, len(pitches)) for position in range(count)]
    # each lap through the pitches starts one velocity further, so no pair comes twice
    return [Note(instrument, int(pitches[i]), int(velocities[(i + lap) % len(velocities)])) for lap, i in laps]


def pitches_of(family: str) -> list[int]:
    """List the two octaves that a family plays."""
    return list(range(LOWEST_PITCH[family], LOWEST_PITCH[family] + TWO_OCTAVES))


def plan_trained(instrument: Instrument, counts: dict[str, int], rng: np.random.Generator) -> dict[str, list[Note]]:
    """Plan the notes of an instrument that all splits share.

    Each split gets pitches of its own: in FluidR3 velocity mostly changes the level, so two velocities of one pitch are
    almost the same waveform, and a test note must not be a training note in disguise.
    """
    left, plan = pitches_of(instrument.family), {}
    for split in ("test", "valid"):
        pitches = spread_out(left, counts[split], rng)
        plan[split] = balanced_notes(instrument, pitches, counts[split], rng)
        left = [pitch for pitch in left if pitch not in pitches]
    return plan | {"train": balanced_notes(instrument, left, counts["train"], rng)}


def plan_test_only(instrument: Instrument, count: int, rng: np.random.Generator) -> dict[str, list[Note]]:
    """Plan the notes of an instrument that only test has."""
    pitches = spread_out(pitches_of(instrument.family), count, rng)
    return {"test": balanced_notes(instrument, pitches, count, rng)}


def plan_family(family: str, seed: int) -> list[dict[str, list[Note]]]:
    """Plan the notes of each instrument of a family."""
    totals = SYNTH_LEAD_NOTES if family == "synth_lead" else NOTES_A_FAMILY
    trained, test_only = instruments_of(TRAINED, family), instruments_of(TEST_ONLY, family)
    counts = {split: shares(totals[split], len(trained)) for split in SPLITS}
    plans = []
    for position, instrument in enumerate(trained):
        own = {split: counts[split][position] for split in SPLITS}
        plans.append(plan_trained(instrument, own, np.random.default_rng([seed, instrument.program])))
    for instrument, count in zip(test_only, shares(totals["test"], len(test_only)), strict=True):
        plans.append(plan_test_only(instrument, count, np.random.default_rng([seed, instrument.program])))
    return plans


def plan_notes(seed: int) -> dict[str, list[Note]]:
    """Plan the notes of every split, sorted by name.

    Parameters
    ----------
    seed : int
        The same seed gives the same notes.

    Returns
    -------
    dict
        The notes of each split.
    """
    plans = [plan for family in FAMILIES for plan in plan_family(family, seed)]
    return {
        split: sorted((note for plan in plans for note in plan.get(split, [])), key=lambda note: note.name)
        for split in SPLITS
    }


def describe(plan: dict[str, list[Note]]) -> dict[str, dict[str, dict]]:
    """Make the records of each split's ``examples.json``, with NSynth's official keys.

    Parameters
    ----------
    plan : dict
        The notes of each split.

    Returns
    -------
    dict
        For each split, the record of each note by its name; ids count through all splits.
    """
    everything = sorted((note for notes in plan.values() for note in notes), key=lambda note: note.name)
    note_ids = {note: number for number, note in enumerate(everything)}
    instruments = sorted({note.instrument for note in everything}, key=lambda instrument: instrument.name)
    instrument_ids = {instrument: number for number, instrument in enumerate(instruments)}

    def record(note: Note) -> dict:
        instrument = note.instrument
        return {
            "note": note_ids[note],
            "note_str": note.name,
            "instrument": instrument_ids[instrument],
            "instrument_str": instrument.name,
            "pitch": note.pitch,
            "velocity": note.velocity,
            "sample_rate": SAMPLE_RATE,
            "qualities": [0] * 10,
            "qualities_str": [],
            "instrument_family": FAMILIES.index(instrument.family),
            "instrument_family_str": instrument.family,
            "instrument_source": SOURCES.index(instrument.source),
            "instrument_source_str": instrument.source,
        }

    return {split: {note.name: record(note) for note in notes} for split, notes in plan.items()}


class Sampler:
    """A dry FluidSynth that plays one note at a time.

    Parameters
    ----------
    soundfont : Path
        The SoundFont to play from.
    """

    def __init__(self, soundfont: Path):
        try:
            import fluidsynth  # here, so that planning needs no FluidSynth
        except ImportError as error:
            raise SystemExit("FluidSynth is missing: apt install libfluidsynth3 && pip install pyfluidsynth") from error
        if not soundfont.is_file():
            raise SystemExit(f"SoundFont {soundfont} is missing: apt install fluid-soundfont-gm, or give --soundfont")
        dry = {"synth.reverb.active": 0, "synth.chorus.active": 0}
        self.synth = fluidsynth.Synth(samplerate=RENDER_RATE, channels=16, **dry)
        self.font = self.synth.sfload(str(soundfont))

    def select(self, instrument: Instrument) -> None:
        """Choose the instrument, and make sure that it is the one we mean."""
        preset = self.synth.sfpreset_name(self.font, 0, instrument.program)
        if preset != instrument.preset:
            raise SystemExit(f"Program {instrument.program} is {preset}, not {instrument.preset}: use FluidR3_GM.sf2")
        self.synth.program_select(0, self.font, 0, instrument.program)

    def play(self, note: Note) -> np.ndarray:
        """Hold a note and release it.

        Parameters
        ----------
        note : Note
            The note to play.

        Returns
        -------
        np.ndarray [shape=(samples,)], float64, 44.1 kHz
            Both channels mixed, not normalised.
        """
        # velocity v plays at (v / 127)^2 of full level, in 16 bits: undo that, or soft notes turn grainy
        self.synth.setting("synth.gain", min(10.0, 0.6 * (127 / note.velocity) ** 2))
        self.select(note.instrument)
        self.synth.noteon(0, note.pitch, note.velocity)
        held = self.synth.get_samples(int(HELD_SECONDS * RENDER_RATE))
        self.synth.noteoff(0, note.pitch)
        released = self.synth.get_samples(int(RELEASED_SECONDS * RENDER_RATE))
        self.synth.all_sounds_off(0)
        self.synth.get_samples(RENDER_RATE // 10)  # lets the voice die before the next note
        stereo = np.concatenate([held, released]).reshape(-1, 2)
        if np.abs(stereo.astype(int)).max() >= 32767:
            raise RuntimeError(f"{note.name} clips in FluidSynth: lower the gain")
        return stereo.mean(axis=1) / 32768


def from_onset(waveform: np.ndarray) -> np.ndarray:
    """Cut a waveform so that it starts where its sound does (at 1 % of its peak)."""
    return waveform[np.argmax(np.abs(waveform) > 0.01 * np.abs(waveform).max()) :]


def loudness(velocity: int) -> float:
    """Give the peak of a note: all are loud, as in NSynth, and harder ones a little louder.

    There is room above because Vorbis keeps the sound, not the peak: it moves by up to a fifth.
    """
    return 0.66 + 0.12 * velocity / 127


def finish(waveform: np.ndarray, velocity: int) -> np.ndarray:
    """Bring a rendered note to NSynth's rate and length, and to its level."""
    waveform = soxr.resample(from_onset(waveform), RENDER_RATE, SAMPLE_RATE)[:SAMPLES]
    return loudness(velocity) * waveform / np.abs(waveform).max()


def ogg_checksum_table() -> list[int]:
    """Tabulate the checksum of Ogg pages (CRC-32 with polynomial 0x04C11DB7, not reflected)."""
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


OGG_CHECKSUMS = ogg_checksum_table()


def ogg_checksum(page: bytes) -> int:
    """Compute the checksum of an Ogg page whose own checksum field is zero."""
    checksum = 0
    for byte in page:
        checksum = ((checksum << 8) & 0xFFFFFFFF) ^ OGG_CHECKSUMS[(checksum >> 24) ^ byte]
    return checksum


def with_fixed_serial(ogg: bytes) -> bytes:
    """Give an Ogg stream the serial number 0; libsndfile draws one from the clock, so no two files would be equal."""
    pages, start = [], 0
    while start < len(ogg):
        segments = ogg[start + 26]
        end = start + 27 + segments + sum(ogg[start + 27 : start + 27 + segments])
        page = bytearray(ogg[start:end])
        page[14:18] = page[22:26] = bytes(4)  # the serial number, and the checksum
        page[22:26] = ogg_checksum(page).to_bytes(4, "little")
        pages.append(bytes(page))
        start = end
    return b"".join(pages)


def encode(waveform: np.ndarray) -> bytes:
    """Encode a waveform as Ogg Vorbis, always to the same bytes."""
    file = io.BytesIO()
    soundfile.write(file, waveform, SAMPLE_RATE, "VORBIS", format="OGG", compression_level=OGG_COMPRESSION)
    return with_fixed_serial(file.getvalue())


def check(name: str, ogg: bytes) -> str:
    """Decode a note, make sure that a network can hear it, and return the hash of its samples.

    Parameters
    ----------
    name : str
        The note, for messages.
    ogg : bytes
        The encoded note.

    Returns
    -------
    str
        SHA-256 of the decoded int16 samples.
    """
    samples, rate = soundfile.read(io.BytesIO(ogg), dtype="int16")
    if samples.shape != (SAMPLES,) or rate != SAMPLE_RATE:
        raise RuntimeError(f"{name} decodes to shape {samples.shape} at {rate} Hz")
    level = np.abs(samples / 32768)
    if not 0.5 <= level.max() <= 0.95:
        raise RuntimeError(f"{name} peaks at {level.max():.2f}, not within 0.5 to 0.95")
    # the networks read the first second: it must come near the peak, and hold more than a click
    first = level[:SAMPLE_RATE]
    if first.max() < 0.4 or np.sqrt(np.mean(first**2)) < 0.02:
        raise RuntimeError(f"{name} is nearly silent in its first second")
    return hashlib.sha256(samples.tobytes()).hexdigest()


def render(plan: dict[str, list[Note]], soundfont: Path) -> dict[str, bytes]:
    """Render and check every note of a plan.

    Parameters
    ----------
    plan : dict
        The notes of each split.
    soundfont : Path
        The SoundFont to play from.

    Returns
    -------
    dict
        The Ogg Vorbis file of each note by its name.
    """
    sampler, oggs, heard = Sampler(soundfont), {}, {}
    for note in tqdm([note for split in SPLITS for note in plan[split]], unit="note"):
        oggs[note.name] = encode(finish(sampler.play(note), note.velocity))
        twin = heard.setdefault(check(note.name, oggs[note.name]), note.name)
        if twin != note.name:
            raise RuntimeError(f"{note.name} and {twin} are the same waveform")
    return oggs


def write_archive(path: Path, records: dict[str, dict], oggs: dict[str, bytes]) -> None:
    """Write one split as a tar archive in the official layout, whole or not at all.

    Parameters
    ----------
    path : Path
        The archive; its stem names the folder inside.
    records : dict
        The split's ``examples.json``.
    oggs : dict
        Ogg Vorbis files by note; those of `records` are written.
    """
    members = {"examples.json": json.dumps(records, indent=1).encode()}  # first, so that a reader can stream
    members |= {f"audio/{name}.ogg": oggs[name] for name in sorted(records)}
    unfinished = path.with_suffix(".tar.part")
    with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"{path.stem}/{name}")  # no time, no owner: the same notes give the same archive
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    os.replace(unfinished, path)


def main() -> None:
    """Read the command line, render, and write the three archives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/nsynth-mini"), help="folder for the three archives")
    parser.add_argument("--seed", type=int, default=2018, help="draws pitches and velocities")
    parser.add_argument("--soundfont", type=Path, default=Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"))
    arguments = parser.parse_args()

    plan = plan_notes(arguments.seed)
    records = describe(plan)
    oggs = render(plan, arguments.soundfont)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        path = arguments.out / f"nsynth-{split}.tar"
        write_archive(path, records[split], oggs)
        print(f"{path}: {len(records[split]):,} notes, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
