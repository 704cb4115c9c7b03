"""Make training data for the studio network: notes of free synthesizers, in NSynth's layout, and real notes.

A maintainers' script; what it writes is not committed. It needs the Debian packages of `PACKAGES` and
``pip install soundfile soxr scipy tqdm``, and takes about half an hour of one core.

    python tools/render_studio.py STUDIO --real REAL_NSYNTH --real MORE_REAL_NSYNTH --hold-out 1/3

renders into STUDIO/rendered what is not there yet, then makes STUDIO/nsynth-{train,valid,test}. ZynAddSubFX draws its
phases from the clock, so its notes differ a little each time; all others follow the seed.
"""

import argparse
import hashlib
import itertools
import json
import os
import re
import shutil
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from render_mini import VELOCITIES, from_onset, spread_out
from studio_models import MAKERS, RATE
from studio_synths import FluidSynth, Plugin, encoded_voices
from tqdm import tqdm

from nsynth_helpers.data.metadata import DROPPED_FAMILY, FULL_SCALE, PIANO_PITCHES, SAMPLE_RATE, parse_note_str
from nsynth_helpers.settings import InputError

PACKAGES = (
    "libfluidsynth3 fluid-soundfont-gm musescore-general-soundfont timgm6mb-soundfont csound-soundfont opl3-soundfont "
    "zynaddsubfx-dssi zynaddsubfx-data hexter whysynth"
)
SHARE = Path("/usr/share")
SOUNDFONTS = [
    "sf2/FluidR3_GM.sf2",
    "sf3/MuseScore_General_Full.sf3",
    "sf2/TimGM6mb.sf2",
    "sf2/sf_GMbank.sf2",
    "sf2/OPL-3_FM_128M.sf2",
]
# General MIDI programs, from 0; a bank's variation of a program is of its family. Left out are leads, most pads,
# effects, drums, and what NSynth may count to either of two families, such as the harp.
PROGRAMS = {
    "bass": {"acoustic": [32], "electronic": range(33, 38), "synthetic": [38, 39]},
    "brass": {"acoustic": range(56, 62), "synthetic": [62, 63]},
    "flute": {"acoustic": range(72, 80)},
    "guitar": {"acoustic": [24, 25, 104, 105, 106, 107], "electronic": range(26, 32)},
    "keyboard": {"acoustic": [0, 1, 3, 6], "electronic": [2, 4, 5, 7]},
    "mallet": {"acoustic": [*range(8, 16), 108, 112, 113, 114], "synthetic": [98]},
    "organ": {"acoustic": [19, 20], "electronic": [16, 17, 18]},
    "reed": {"acoustic": [21, 22, 23, *range(64, 72), 109, 111]},
    "string": {"acoustic": [*range(40, 46), 48, 49, 110], "synthetic": [50, 51]},
    "vocal": {"acoustic": [52, 53], "synthetic": [54, 85, 91, 94]},
}
# The others hold effects, drums, or the same sound under other controllers.
BANKS = [0, 8, 16, 20, 25, 30, 40, 50]
# Words (regular expressions) in a patch's name that tell its family, and in its bank's (ZynAddSubFX) or category's
# (WhySynth) where the name has none.
WORDS = {
    "bass": r"(\b|\w\w)bass?\b(?! guitar)|\bbass? ?\d|bass (?=\d)|bass(?=es?\b)|synbass?|\bbass guitar",
    "brass": r"brass|bras\b|brazz|\bbrs\b|\bhorns?\b|horn\d|englhorn|tru?mp|thrump|tromb|tuba\b|fanf|flugel",
    "flute": r"flute|\bflt|piccolo|recorder|ocari|whist|whisl|pan ?pipe|bottle|zufolo|pinkollo|caliope",
    "guitar": r"(?<!bass )guita?r|guit\b|\bgt\b|gtr\b|gritar|banjo|\blute|sitar|koto\b|zither|plucked str",
    "keyboard": r"piano|rhod|rhds|roads|\be[ .]?p\b|newep|pno|clav|harpsi|hightin|hardtin|pf\b|grand\b|sui?tcas"
    r"|honkey|electric keys",
    "mallet": r"ste[ea]l ?dr|vibrap|\bvibes?|marimb|xylo|glock|gloken|celest|music ?box|tub\w* ?be|k[ai][lr]imba|mallet"
    r"|chime|\bbells?\b|\w{3}bells?\b|campane",
    "organ": r"organ(?!etto)|\borgn?\b|orgn|orgel|ham+ond|clonewheel|fafisa|\bpipes\b|\w{3}pipe\b|rotor|jo[hn]+ lord",
    "reed": r"reed(?!.?organ)|bassoon|fagotto|clarin|oboe|\bsax|monosax|harmoni(ca)?\b|harmon\d|hrmnca|a[ck]+ord"
    r"|squeeze|concertina|organetto|bag ?pipe|shanai|english ?h|armonica",
    "string": r"stri?n?g|strin\d|\bstr\b|lostr|richst|violin|viola|cello|fiddle|pizz|solovio|double ?bass",
    "vocal": r"choir|voice|\bvox|voc[so]?\b|ahh|\booh|\bohh|ehh|\booo|ahs\b|soprano$|\bchor\b|synvoi|prayer|hymn"
    r"|eooo|aooww|eeoow|yiee|woman",
}
BANK_WORDS = {
    "bass": "bass",
    "brass": "brass",
    "flute": "wind",
    "guitar": "guitar|plucked",
    "keyboard": "piano|rhodes|synthpiano",
    "mallet": "bells",
    "organ": "organ",
    "reed": "reed and wind",
    "string": "strings",
    "vocal": "vocal|choir and voice",
}
# Patches of no family, or of one that their name does not tell.
NO_FAMILY = (
    r"lead|\barp|\bfx|drum ?kit|kick|snare|hithat|5th|fif?th|\bchord|sweep|laser|timp|orchest|\bharp( ?\d)?\b|\binit\b"
    r"|stab|grand prix|ohhbe|schmooh|\bep(brass|strng)|& br|bass-oon"
)
# What a bank does not tell the family of.
UNCLEAR = r"pad|bell|noise|\bwah|short"
# Of a collection's instruments in a family and source: real ones have lower numbers, and no two collections meet.
FIRST_NUMBERS = {"soundfonts": 500, "synthesizers": 600, "models": 850}
NOTES_EACH = {"soundfonts": 14, "synthesizers": 12, "models": 12}


class Instrument(NamedTuple):
    """A sound source; ``play(pitch, velocity, rng)`` gives `SECONDS` of a held note at `RATE`."""

    origin: str
    family: str
    source: str
    play: Callable[[int, int, np.random.Generator], np.ndarray]


def soundfont_instruments(seed: int) -> Iterator[Instrument]:
    """The programs of Debian's SoundFonts."""
    for font in SOUNDFONTS:
        synth = FluidSynth(SHARE / "sounds" / font)
        for family, sources in PROGRAMS.items():
            for source, programs in sources.items():
                for bank, program in itertools.product(BANKS, programs):
                    if synth.has(bank, program):
                        play = partial(synth.play, bank, program)
                        yield Instrument(f"{Path(font).name} {bank}:{program}", family, source, play)


def synthesizer_instruments(seed: int) -> Iterator[Instrument]:
    """The patches of ZynAddSubFX, hexter (a DX7) and WhySynth whose family their name or bank tells."""
    for origin, plugin, bank, program, name, bank_name in patches():
        if family := family_of(name, bank_name):
            play = partial(plugin.play, bank, program)
            yield Instrument(f"{origin} {bank}:{program} {name}", family, "synthetic", play)


def patches() -> Iterator[tuple[str, Plugin, int, int, str, str]]:
    """Origin, plugin, bank, program, name and bank's name of each patch, to be played before the next is asked for."""
    plugin = Plugin("libzynaddsubfx_dssi")
    banks = sorted(folder.name for folder in (SHARE / "zynaddsubfx/banks").iterdir())
    for bank, program, name in plugin.patches():
        yield "zyn", plugin, bank, program, name, banks[bank]
    plugin = Plugin("hexter")
    for path in sorted((SHARE / "hexter").glob("*.dx7")):
        voices = path.read_bytes()
        for start in range(0, len(voices), 4096):
            part = voices[start : start + 4096]
            plugin.configure("patches0", encoded_voices(part.ljust(4096, b"\0")))
            for bank, program, name in itertools.islice(plugin.patches(), len(part) // 128):
                yield f"hexter {path.stem} {start}", plugin, bank, program, name.replace("FB:", ""), ""
    for path in sorted((SHARE / "whysynth").glob("[cm]*.WhySynth")):  # the current ones, and more
        plugin = Plugin("whysynth")
        plugin.configure("load", str(path))
        categories = re.findall(
            r"^name .*\n(?:comment .*\n)?(?:category (.*))?", path.read_text(errors="replace"), re.M
        )
        for (bank, program, name), category in zip(plugin.patches(), categories, strict=False):
            yield f"whysynth {path.stem[:4]}", plugin, bank, program, name.split(":")[-1].strip(), category


def family_of(name: str, bank: str = "") -> str | None:
    """The family that a patch's name tells, or else its bank's; None if they tell none, or more than one.

    Examples
    --------
    >>> family_of("FM Rhodes 2"), family_of("Organ Choir"), family_of("Fat Saw", "Strings")
    ('keyboard', None, 'string')
    """
    name = name.lower().replace("_", " ")
    if re.search(NO_FAMILY, name):
        return None
    families = [family for family, words in WORDS.items() if re.search(words, name)]
    if not families and not re.search(UNCLEAR, name):
        families = [family for family, words in BANK_WORDS.items() if re.fullmatch(words, bank.lower())]
    return families[0] if len(families) == 1 else None


def model_instruments(seed: int) -> Iterator[Instrument]:
    """Instruments of `studio_models`, drawn at random."""
    for kind, (maker, family, source, count) in MAKERS.items():
        for number in range(count):
            yield Instrument(f"{kind} {number}", family, source, maker(np.random.default_rng([seed, number])))


COLLECTIONS = {
    "soundfonts": soundfont_instruments,
    "synthesizers": synthesizer_instruments,
    "models": model_instruments,
}


def finish(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Cut a rendered note to one second from its onset, int16 at 16 kHz; None if it is silent or begins too late.

    Its peak is drawn from 0.4 to 0.95 of full scale: real notes of NSynth are as loud at any velocity.
    """
    wave = from_onset(soxr.resample(wave, RATE, SAMPLE_RATE))[:SAMPLE_RATE]
    peak = np.abs(wave).max(initial=0)
    if len(wave) < SAMPLE_RATE or peak < 1e-4 or np.abs(wave[: SAMPLE_RATE // 4]).max() < 0.02 * peak:
        return None
    return np.rint(wave * (rng.uniform(0.4, 0.95) / peak * FULL_SCALE)).astype(np.int16)


def render(collection: str, folder: Path, seed: int) -> None:
    """Render a collection of instruments into ``nsynth-train`` of a folder that is not there yet."""
    unfinished = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    audio = unfinished / "nsynth-train" / "audio"
    audio.mkdir(parents=True)
    records, numbers = {}, Counter()
    pitches = list(range(PIANO_PITCHES[0], PIANO_PITCHES[1] + 1))
    for instrument in tqdm(COLLECTIONS[collection](seed), unit="instrument", desc=collection):
        kind = f"{instrument.family}_{instrument.source}"
        name = f"{kind}_{FIRST_NUMBERS[collection] + numbers[kind]}"
        numbers[kind] += 1
        rng = np.random.default_rng([seed, zlib.crc32(instrument.origin.encode())])
        for pitch in spread_out(pitches, NOTES_EACH[collection], rng):
            velocity = int(rng.choice(VELOCITIES))
            wave = finish(instrument.play(pitch, velocity, rng), rng)
            if wave is not None:
                note_str = f"{name}-{pitch:03d}-{velocity:03d}"
                soundfile.write(audio / f"{note_str}.flac", wave, SAMPLE_RATE)
                records[note_str] = record(note_str) | {"origin": instrument.origin}
    write_examples(unfinished / "nsynth-train", records)
    unfinished.replace(folder)


def record(note_str: str) -> dict:
    """The record of ``examples.json`` that a note's name tells."""
    note = parse_note_str(note_str)
    return {
        "note_str": note_str,
        "instrument_str": note["instrument"],
        "instrument_family_str": note["family"],
        "instrument_source_str": note["source"],
        "pitch": note["pitch"],
        "velocity": note["velocity"],
    }


def write_examples(split: Path, records: dict[str, dict]) -> None:
    """Write the ``examples.json`` of a split."""
    (split / "examples.json").write_text(json.dumps(records, indent=1))


def split_notes(folder: Path, split: str) -> Iterator[tuple[str, Path, dict]]:
    """Names, files and records of the notes of a split."""
    place = folder / f"nsynth-{split}"
    try:
        records = json.loads((place / "examples.json").read_text())
    except OSError:
        raise InputError(f"{place} holds no examples.json; give a folder in NSynth's layout.") from None
    files = {path.stem: path for path in (place / "audio").iterdir()}
    for note_str in sorted(records):
        yield note_str, files[note_str], records[note_str]


def waveform_digest(path: Path) -> str:
    """SHA-256 of the first second of a note's samples."""
    return hashlib.sha256(soundfile.read(path, frames=SAMPLE_RATE, dtype="int16")[0].tobytes()).hexdigest()


def real_notes(folders: list[Path]) -> dict[str, tuple[Path, dict]]:
    """The train notes of the ten families in some folders, but those whose waveform is a test note's in one of them."""
    tested = {
        waveform_digest(path)
        for folder in folders
        if (folder / "nsynth-test").is_dir()
        for _, path, _ in split_notes(folder, "test")
    }
    return {
        note_str: (path, record)
        for folder in folders
        for note_str, path, record in split_notes(folder, "train")
        if not note_str.startswith(DROPPED_FAMILY) and waveform_digest(path) not in tested
    }


def parts_of(instruments: list[str], seed: int) -> list[set[str]]:
    """Divide the notes' instruments into three parts, each with its share of every family and of its notes."""
    notes = Counter(instruments)
    shuffled = np.random.default_rng(seed).permutation(sorted(notes)).tolist()
    dealt = sorted(shuffled, key=lambda instrument: (instrument.split("_")[0], notes[instrument]))
    return [set(dealt[part::3]) for part in range(3)]


def mix(folder: Path, rendered: list[Path], real: list[Path], hold_out: int | None, seed: int) -> dict[str, int]:
    """Make the three splits of a folder, of hard links where the disk allows, and return their numbers of notes.

    Parameters
    ----------
    folder : Path
        Where ``nsynth-{train,valid,test}`` will be; they must not be there yet.
    rendered, real : list of Path
        Folders in NSynth's layout; of `real`, nsynth-test is only compared with.
    hold_out : int or None
        Which part of the real instruments (1 to 3) valid and test hold, and train does not. With None all are in train;
        valid and test, which a training must have, then repeat those of the first part.
    seed : int
        Divides the real instruments into parts.
    """
    notes = real_notes(real)
    instrument = {note_str: parse_note_str(note_str)["instrument"] for note_str in notes}
    held_out = parts_of(list(instrument.values()), seed)[(hold_out or 1) - 1]
    valid = {note_str: note for note_str, note in notes.items() if instrument[note_str] in held_out}
    train = {note_str: note for note_str, note in notes.items() if hold_out is None or note_str not in valid}
    for source in rendered:
        train |= {note_str: (path, record) for note_str, path, record in split_notes(source, "train")}
    for split, chosen in {"train": train, "valid": valid, "test": valid}.items():
        place = folder / f"nsynth-{split}"
        if place.exists():
            raise InputError(f"{place} is there already; delete it or choose another folder.")
        (place / "audio").mkdir(parents=True)
        for path, _ in chosen.values():
            try:
                os.link(path, place / "audio" / path.name)
            except OSError:  # on another disk
                shutil.copyfile(path, place / "audio" / path.name)
        write_examples(place, {note_str: record for note_str, (_, record) in chosen.items()})
    return {"train": len(train), "valid": len(valid)}


def main() -> None:
    """Read the command line, render what is missing, and mix."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for the data that a training reads")
    parser.add_argument("--rendered", type=Path, help="folder for the rendered notes; default: rendered/ in the first")
    parser.add_argument("--real", type=Path, action="append", default=[], help="folder of real notes; may come again")
    parser.add_argument(
        "--hold-out",
        choices=["1/3", "2/3", "3/3"],
        help="the part of the real instruments that is valid and test, not train; without it all real notes are in "
        "train, and valid and test repeat those of the first part, so that they say nothing about new instruments",
    )
    parser.add_argument("--seed", type=int, default=2018)
    arguments = parser.parse_args()
    rendered = [(arguments.rendered or arguments.folder / "rendered") / collection for collection in COLLECTIONS]
    try:
        for place in rendered:
            if not place.exists():
                render(place.name, place, arguments.seed)
        if arguments.real:
            hold_out = arguments.hold_out and int(arguments.hold_out[0])
            counts = mix(arguments.folder, rendered, arguments.real, hold_out, arguments.seed)
            print(f"{arguments.folder}: {counts['train']:,} train notes, {counts['valid']:,} valid notes")
    except InputError as error:
        sys.exit(str(error))
    except OSError as error:  # a library or a file that is not there
        sys.exit(f"{error}: install Debian's packages (apt install {PACKAGES}).")


if __name__ == "__main__":
    main()
