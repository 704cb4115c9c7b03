"""Look at the data before any training: what is there, what is missing, and which notes are not what they seem."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import (
    FULL_SCALE,
    OFFICIAL_FAMILIES,
    OFFICIAL_NOTES,
    PIANO_PITCHES,
    SOURCES,
    instrument_overlap,
    is_known_noise,
    scale,
)
from nsynth_helpers.settings import progress_is_off

SILENT_DBFS = -60.0
CLIPPED_RUN = 3
CHUNK_BYTES = 1 << 23
EXAMPLES_SHOWN = 3


@dataclass(frozen=True)
class DataReport:
    """What `check_data` found, as tables.

    `levels` has one row a note, split after split: ``split``, ``note_str``, ``family``, ``instrument``, ``pitch``,
    ``peak`` (of full scale, 0 to 1), the flags ``silent``, ``clipped``, ``outside_piano`` and ``known_noise``, and
    ``fingerprint``, a hash of the waveform.
    """

    families: pd.DataFrame  # notes by family (the last row is their sum, "all") and split (columns)
    sources: pd.DataFrame  # notes by split and family, and source (columns)
    overlap: pd.DataFrame  # instruments that each pair of splits shares; the diagonal: those of each split
    left_out: pd.DataFrame  # "split" and "reason" of each missing, surplus or unusable file that was left out
    levels: pd.DataFrame
    duplicates: pd.DataFrame  # rows of `levels` that share their waveform with another, with "group", in its order

    def findings(self) -> pd.DataFrame:
        """What deserves a look, one row each: ``finding``, ``split`` (or several), ``notes``, ``detail``."""
        rows = [*self._split_rows(), *self._duplicate_rows()]
        table = pd.DataFrame(rows, columns=["finding", "split", "notes", "detail"])
        return table[table["notes"] > 0].reset_index(drop=True)

    def lines(self) -> list[str]:
        """For a terminal: the table of families by split, then the findings."""
        table = self.families.rename_axis(None).to_string(
            formatters=[f"{{:>{len(split)},}}".format for split in self.families]
        )
        findings = self.findings().itertuples()
        return [
            *table.splitlines(),
            "",
            *(f"{row.split:<15} {row.finding:<24} {row.notes:>7,}  {row.detail}".rstrip() for row in findings),
        ]

    def _split_rows(self) -> Iterator[tuple]:
        for split in self.families:
            levels = self.levels[self.levels["split"] == split]
            left_out = self.left_out.loc[self.left_out["split"] == split, "reason"]
            yield "notes", split, len(levels), f"official NSynth has {OFFICIAL_NOTES[split]:,}"
            shared = (
                f"{self.overlap.loc[split, other]:,} also in {other}" for other in self.families if other != split
            )
            yield "instruments", split, self.overlap.loc[split, split], ", ".join(shared)
            yield "files left out", split, len(left_out), " ".join(left_out.head(EXAMPLES_SHOWN))
            for flag, finding in FLAGS.items():
                notes = levels.loc[levels[flag], "note_str"]
                yield finding, split, len(notes), _first(notes.tolist())

    def _duplicate_rows(self) -> Iterator[tuple]:
        """One row for each set of splits that share waveforms."""
        splits = self.duplicates.groupby("group")["split"].transform(lambda column: " and ".join(column.unique()))
        for names, part in self.duplicates.groupby(splits, sort=False):
            instruments = [f"{number} of {name}" for name, number in part["instrument"].value_counts().items()]
            detail = f"{part['group'].nunique()} waveforms: {_first(instruments)}"
            yield "share a waveform", names, len(part), detail


# The flags of a note and what they say of it.
FLAGS = {
    "silent": "silent",
    "clipped": "clipped",
    "outside_piano": "outside a piano's range",
    "known_noise": "known to be noise",
}


def check_data(splits: dict[str, NSynthSplit]) -> DataReport:
    """Look through the decoded splits for what would mislead a training or its evaluation.

    Only the cached seconds are looked at. A waveform is silent if its peak stays below -60 dBFS (a thousandth of full
    scale); it is clipped if at least 3 consecutive samples are at full scale, as a clipping converter leaves them,
    while a normalised waveform touches full scale in single samples. Duplicates are found by a 64-bit BLAKE2b hash of
    the samples: among 300,000 different waveforms two would agree by chance once in 400 million datasets.

    Examples
    --------
    >>> import nsynth_helpers as ns
    >>> report = check_data(ns.load_splits(ns.Settings(), ["test"]))
    >>> int(report.families.loc["bass", "test"])
    40
    """
    tables = {split: cached.notes for split, cached in splits.items()}
    families = pd.DataFrame({split: table["family"].value_counts() for split, table in tables.items()})
    families = families.reindex(OFFICIAL_FAMILIES).fillna(0).astype(int)
    families.loc["all"] = families.sum()
    left_out = [(split, reason) for split, cached in splits.items() for reason in cached.skipped]
    levels = pd.concat([_levels(cached) for cached in splits.values()], ignore_index=True)
    duplicates = levels[levels.duplicated("fingerprint", keep=False)]
    duplicates = duplicates.assign(group=duplicates.groupby("fingerprint", sort=False).ngroup())
    sources = {
        split: pd.crosstab(table["family"], table["source"]).reindex(OFFICIAL_FAMILIES, columns=SOURCES, fill_value=0)
        for split, table in tables.items()
    }
    return DataReport(
        families,
        pd.concat(sources, names=["split", "family"]),
        instrument_overlap(tables),
        pd.DataFrame(left_out, columns=["split", "reason"]),
        levels,
        duplicates.sort_values("group", kind="stable"),
    )


def doubtful_notes(report: DataReport, split: str) -> pd.DataFrame:
    """The notes of a split that an accuracy had better do without: ``note_str`` and ``reason``, one row a note.

    They are the known noise, silent waveforms, and waveforms met before: in a split that the report names earlier (a
    network may know them by heart), or in the same split (they would count twice; the first is kept).
    """
    levels = report.levels
    first = levels.groupby("fingerprint", sort=False)[["split", "note_str"]].transform("first")
    reason = pd.Series("", index=levels.index)
    reason[levels.duplicated("fingerprint")] = "same waveform as " + first["note_str"] + " of " + first["split"]
    reason[levels["silent"]] = "silent"
    reason[levels["known_noise"]] = "noise"
    chosen = (levels["split"] == split) & (reason != "")
    return pd.DataFrame({"note_str": levels["note_str"], "reason": reason})[chosen].reset_index(drop=True)


def _levels(cached: NSynthSplit) -> pd.DataFrame:
    """Measure each waveform; a few megabytes of them are in memory at a time."""
    count, samples = cached.waveforms.shape
    step, measured = max(1, CHUNK_BYTES // (2 * samples)), []
    with tqdm(total=count, unit="note", desc="checking", leave=False, disable=progress_is_off()) as progress:
        for start in range(0, count, step):
            chunk = np.array(cached.waveforms[start : start + step])
            measured.append(_measure(chunk))
            progress.update(len(chunk))
    notes = cached.notes[["note_str", "family", "instrument", "pitch"]]
    levels = pd.concat([notes, pd.concat(measured, ignore_index=True)], axis="columns")
    levels.insert(0, "split", cached.name)
    return levels.assign(
        silent=levels["peak"] < 10 ** (SILENT_DBFS / 20),
        outside_piano=~levels["pitch"].between(*PIANO_PITCHES),
        known_noise=is_known_noise(levels),
    )


def _measure(chunk: np.ndarray) -> pd.DataFrame:
    """Peak, whether clipped, and hash of each waveform of a chunk ``(notes, samples)``."""
    # Not abs(): the int16 -32768 has no positive counterpart.
    peak = np.maximum(chunk.max(axis=1).astype(np.int32), -chunk.min(axis=1).astype(np.int32))
    clipped = peak >= FULL_SCALE
    at_full_scale = (chunk[clipped] >= FULL_SCALE) | (chunk[clipped] <= -FULL_SCALE)
    runs = np.lib.stride_tricks.sliding_window_view(at_full_scale, CLIPPED_RUN, axis=1)
    clipped[clipped] = runs.all(axis=2).any(axis=1)
    hashes = b"".join(hashlib.blake2b(waveform, digest_size=8).digest() for waveform in chunk)
    return pd.DataFrame(
        {
            "peak": scale(peak).astype(np.float32),
            "clipped": clipped,
            "fingerprint": np.frombuffer(hashes, dtype=np.uint64),
        }
    )


def _first(items: list[str]) -> str:
    return ", ".join(items[:EXAMPLES_SHOWN] + ["..."] * (len(items) > EXAMPLES_SHOWN))
