"""The table of notes: what a note's name says, the ten families, the splits, and checks of the records."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from nsynth_helpers.settings import InputError, reading, shown

SAMPLE_RATE = 16_000
# The samples of one step, 10 ms.
STEP_SIZE = 160
# The largest 16-bit number, by which the 2018 code divided, rather than by 32768.
FULL_SCALE = 32_767
SPLITS = ("train", "valid", "test")
SOURCES = ("acoustic", "electronic", "synthetic")
FAMILIES = ("bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "vocal")
# Where a table of predictions has the logits.
LOGITS = [f"logit_{family}" for family in FAMILIES]
DROPPED_FAMILY = "synth_lead"
OFFICIAL_FAMILIES = (*FAMILIES[:9], DROPPED_FAMILY, FAMILIES[9])
PIANO_PITCHES = (21, 108)
# Of the official dataset, from https://magenta.tensorflow.org/datasets/nsynth and its examples.json.
OFFICIAL_NOTES = {"train": 289_205, "valid": 12_678, "test": 4_096}
OFFICIAL_FAMILY_NOTES = {
    "train": (65_474, 12_675, 8_773, 32_690, 51_821, 34_201, 34_477, 13_911, 19_474, 5_501, 10_208),
    "test": (843, 269, 180, 652, 766, 202, 502, 235, 306, 0, 141),
}
NOTE_STR = re.compile(
    rf"(?P<instrument>(?P<family>{'|'.join(OFFICIAL_FAMILIES)})_(?P<source>{'|'.join(SOURCES)})_\d{{3}})"
    r"-(?P<pitch>\d{3})-(?P<velocity>\d{3})",
    re.ASCII,
)
# Instruments of rendered training notes are numbered from here; NSynth's own numbers end below 200.
FIRST_RENDERED = 500
# What examples.json may state a second time about a note, and the column that it must agree with.
RECORD_FIELDS = {
    "note_str": "note_str",
    "instrument_str": "instrument",
    "instrument_family_str": "family",
    "instrument_source_str": "source",
    "pitch": "pitch",
    "velocity": "velocity",
}


def parse_note_str(note_str: str) -> dict:
    """Read a note's name, ``{family}_{source}_{index:03d}-{pitch:03d}-{velocity:03d}``.

    It gives ``note_str``, ``family``, ``label`` (0 to 9, or -1 for the dropped ``synth_lead``), ``source``,
    ``instrument``, ``pitch`` (MIDI number) and ``velocity`` (0 to 127), or an `InputError` if the name does not parse.

    Examples
    --------
    >>> note = parse_note_str("bass_electronic_018-022-100")
    >>> note["instrument"], note["label"], note["pitch"]
    ('bass_electronic_018', 0, 22)
    """
    match = NOTE_STR.fullmatch(note_str)
    if not match:
        raise InputError(
            f"The note name '{shown(note_str)}' is not of the form family_source_000-pitch-velocity with a family of "
            f"NSynth ({', '.join(OFFICIAL_FAMILIES)}); rename the note or remove it."
        )
    family = match["family"]
    return {
        "note_str": note_str,
        "family": family,
        # Fixed here for every split: an encoder fitted to each would move vocal from 9 to 10 where synth_lead occurs.
        "label": FAMILIES.index(family) if family in FAMILIES else -1,
        "source": match["source"],
        "instrument": match["instrument"],
        "pitch": int(match["pitch"]),
        "velocity": int(match["velocity"]),
    }


def parse_examples(text: bytes, origin: Path | str) -> pd.DataFrame:
    """Turn the content of an ``examples.json``, a JSON object from ``note_str`` to a record, into the table of notes.

    It has one row a note, in the file's order: the columns of `parse_note_str` and ``qualities`` (comma-separated).
    Records may lack ``qualities``, ``note`` and ``instrument``. An `InputError`, which names the `origin` of the text,
    is raised if the JSON is broken, holds no notes, or a record contradicts its name.
    """
    with reading(origin, "fetch or unpack it again"):
        records = json.loads(text)
        if not isinstance(records, dict) or not all(isinstance(record, dict) for record in records.values()):
            raise ValueError("it is not an object of note records")
        if not records:
            raise ValueError("it lists no notes: the split is empty")
    return pd.DataFrame([_row(note_str, record, origin) for note_str, record in records.items()])


def _row(note_str: str, record: dict, origin) -> dict:
    row = parse_note_str(note_str)
    for field, column in RECORD_FIELDS.items():
        if field in record and record[field] != row[column]:
            raise InputError(
                f"{origin} says {field} {shown(record[field])} for {note_str}, whose name says {row[column]}; "
                "correct the record or fetch the file again."
            )
    qualities = record.get("qualities_str", [])
    if not isinstance(qualities, list) or not all(isinstance(quality, str) for quality in qualities):
        raise InputError(
            f"{origin} gives {note_str} qualities_str {shown(qualities)}, not a list of words; correct it."
        )
    return row | {"qualities": ",".join(qualities)}


def scale(waveform):
    """Divide 16-bit samples, an array or a tensor, by full scale: int16 to float32, in [-1, 1] but for -32768."""
    return waveform / np.float32(FULL_SCALE)


def keep_families(notes: pd.DataFrame) -> pd.DataFrame:
    """Drop the notes of ``synth_lead``; the index keeps the row in the waveform cache."""
    return notes[notes["label"] >= 0]


def is_known_noise(notes: pd.DataFrame) -> pd.Series:
    """Whether each note is one of those that magenta issue 2092 reports as noise: ``brass_acoustic_046``, 84 to 108."""
    return (notes["instrument"] == "brass_acoustic_046") & notes["pitch"].between(84, 108)


def is_rendered(notes: pd.DataFrame) -> pd.Series:
    """Whether each note is of a rendered instrument, by its number."""
    return notes["instrument"].str[-3:].astype(int) >= FIRST_RENDERED


def seen_in(instruments: pd.Series, train: pd.DataFrame) -> pd.Series:
    """Whether each instrument also has notes in the train split; no flag in the data decides, so any subset may ask."""
    return instruments.isin(train["instrument"].unique())


def instrument_overlap(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Count the instruments that each pair of splits shares (the diagonal: instruments of the split)."""
    instruments = {split: set(table["instrument"]) for split, table in tables.items()}
    counts = {a: {b: len(instruments[a] & instruments[b]) for b in instruments} for a in instruments}
    return pd.DataFrame(counts).loc[list(tables), list(tables)]
