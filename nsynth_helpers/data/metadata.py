"""The table of notes: what a note's name says, the ten families, the splits, and checks of the records."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from nsynth_helpers.settings import InputError

SAMPLE_RATE = 16_000
# Samples in one step of the 2018 networks: 10 ms.
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
    """Read family, source, instrument, pitch and velocity out of a note's name.

    Parameters
    ----------
    note_str : str
        ``{family}_{source}_{index:03d}-{pitch:03d}-{velocity:03d}``, for example ``bass_electronic_018-022-100``.

    Returns
    -------
    dict
        ``note_str``, ``family``, ``label`` (0 to 9, or -1 for the dropped ``synth_lead``), ``source``,
        ``instrument`` (``bass_electronic_018``), ``pitch`` (MIDI number), ``velocity`` (0 to 127).

    Raises
    ------
    InputError
        If the name does not parse or its family is none of NSynth's eleven.

    Examples
    --------
    >>> parse_note_str("bass_electronic_018-022-100")["pitch"]
    22
    """
    match = NOTE_STR.fullmatch(note_str)
    if not match:
        raise InputError(
            f"The note name '{note_str}' is not of the form family_source_000-pitch-velocity with a family of NSynth "
            f"({', '.join(OFFICIAL_FAMILIES)}); rename the note or remove it."
        )
    return {
        "note_str": note_str,
        "family": match["family"],
        "label": family_label(match["family"]),
        "source": match["source"],
        "instrument": match["instrument"],
        "pitch": int(match["pitch"]),
        "velocity": int(match["velocity"]),
    }


def family_label(family: str) -> int:
    """The label of a family: its place in `FAMILIES`, or -1 for the dropped ``synth_lead``.

    The order is fixed here and the same for every split: an encoder fitted to each split would move ``vocal``
    from 9 to 10 wherever ``synth_lead`` occurs.
    """
    return FAMILIES.index(family) if family in FAMILIES else -1


def parse_examples(text: bytes, origin: Path | str) -> pd.DataFrame:
    """Turn the content of an ``examples.json`` into the table of notes.

    Parameters
    ----------
    text : bytes
        The file's content: a JSON object from ``note_str`` to a record. Records may lack ``qualities``, ``note``
        and ``instrument``; what they do state must agree with the note's name.
    origin : pathlib.Path or str
        Where the text came from, for messages.

    Returns
    -------
    pandas.DataFrame
        One row a note, in the file's order: the columns of `parse_note_str` and ``qualities`` (comma-separated).

    Raises
    ------
    InputError
        If the JSON is broken, holds no notes, or a record contradicts its name.

    Notes
    -----
    Used in: 01_data_exploration.
    """
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin} is not valid JSON ({error}); fetch or unpack it again.") from None
    if not isinstance(records, dict) or not all(isinstance(record, dict) for record in records.values()):
        raise InputError(f"{origin} is not an object of note records; fetch or unpack it again.")
    if not records:
        raise InputError(f"{origin} lists no notes: the split is empty; fetch or unpack it again.")
    return pd.DataFrame([_row(note_str, record, origin) for note_str, record in records.items()])


def _row(note_str: str, record: dict, origin) -> dict:
    row = parse_note_str(note_str)
    for field, column in RECORD_FIELDS.items():
        if field in record and record[field] != row[column]:
            raise InputError(
                f"{origin} says {field} {record[field]!r} for {note_str}, whose name says {row[column]!r}; "
                "correct the record or fetch the file again."
            )
    qualities = record.get("qualities_str", [])
    if not isinstance(qualities, list) or not all(isinstance(quality, str) for quality in qualities):
        raise InputError(f"{origin} gives {note_str} qualities_str {qualities!r}, not a list of words; correct it.")
    return row | {"qualities": ",".join(qualities)}


def keep_families(notes: pd.DataFrame) -> pd.DataFrame:
    """Drop the notes of ``synth_lead``; the index keeps the row in the waveform cache."""
    return notes[notes["label"] >= 0]


def seen_in(instruments, train: pd.DataFrame) -> pd.Series:
    """Whether each instrument also has notes in the train split.

    Parameters
    ----------
    instruments : pandas.Series of str
        Names such as ``bass_electronic_018``.
    train : pandas.DataFrame
        The table of the train split.

    Notes
    -----
    Membership decides, not a flag in the data, so the same rule works on nsynth-mini and on NSynth (where no
    instrument of valid or test was seen in training).
    """
    return instruments.isin(train["instrument"].unique())


def instrument_overlap(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Count the instruments that each pair of splits shares (the diagonal: instruments of the split).

    Notes
    -----
    Used in: 01_data_exploration.
    """
    instruments = {split: set(table["instrument"]) for split, table in tables.items()}
    counts = {a: {b: len(instruments[a] & instruments[b]) for b in instruments} for a in instruments}
    return pd.DataFrame(counts).loc[list(tables), list(tables)]
