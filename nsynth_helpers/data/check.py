"""Look at the data before any training: what is there, what is missing, and which notes are not what they seem."""

from __future__ import annotations

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
    OFFICIAL_FAMILY_NOTES,
    OFFICIAL_NOTES,
    PIANO_PITCHES,
    SOURCES,
    instrument_overlap,
)
from nsynth_helpers.settings import progress_is_off

SILENT_DBFS = -60.0
CLIPPED_RUN = 3
# Reported in magenta issue 2092: all of these are one waveform, a noise.
NOISE_INSTRUMENT, NOISE_PITCHES = "brass_acoustic_046", (84, 108)
CHUNK_BYTES = 1 << 23
EXAMPLES_SHOWN = 3


@dataclass(frozen=True)
class DataReport:
    """What `check_data` found.

    Attributes
    ----------
    counts : pandas.DataFrame
        One row a split and family: ``notes`` here and ``official`` ones (``<NA>`` where no official count of the
        family is known: the valid split).
    sources : pandas.DataFrame
        Notes by split and family (index) and source (columns).
    overlap : pandas.DataFrame
        Instruments that each pair of splits shares; the diagonal holds the instruments of each split.
    left_out : pandas.DataFrame
        One row for each missing, surplus or unusable file that ``--skip-bad`` left out: ``split``, ``reason``.
    levels : pandas.DataFrame
        One row a note, split after split: ``split``, ``note_str``, ``family``, ``instrument``, ``pitch``, ``peak`` and
        ``rms`` (of full scale, 0 to 1), ``silent``, ``clipped``, and ``fingerprint``, a hash of the waveform.
    duplicates : pandas.DataFrame
        The notes that share their waveform with another: ``group``, ``split``, ``note_str``, ``family``,
        ``instrument``.
    outside_piano : pandas.DataFrame
        The notes whose pitch no piano has (MIDI below 21 or above 108): ``split``, ``note_str``, ``pitch``.

    Notes
    -----
    Used in: 01_data_exploration, 04_result_analysis.
    """

    counts: pd.DataFrame
    sources: pd.DataFrame
    overlap: pd.DataFrame
    left_out: pd.DataFrame
    levels: pd.DataFrame
    duplicates: pd.DataFrame
    outside_piano: pd.DataFrame

    def summary(self) -> pd.DataFrame:
        """One row a fact: ``fact``, ``split`` (or several), ``notes`` (how many notes or files), ``detail``."""
        rows = [*self._size_rows(), *self._instrument_rows(), *self._note_rows(), *self._duplicate_rows()]
        return pd.DataFrame(rows, columns=["fact", "split", "notes", "detail"])

    def lines(self) -> list[str]:
        """The summary as lines for a terminal, one a fact."""
        return [
            f"{row.split:<15} {row.fact:<27} {row.notes:>7,}  {row.detail}".rstrip()
            for row in self.summary().itertuples()
        ]

    def _splits(self) -> list[str]:
        return list(self.overlap)

    def _size_rows(self) -> Iterator[tuple]:
        for split in self._splits():
            counts = self.counts[self.counts["split"] == split]
            notes = counts["notes"].sum()
            yield "notes", split, notes, _against_official(split, notes, counts)
            sources = self.sources.loc[split]
            yield "families", split, (sources.sum(axis=1) > 0).sum(), _single_sources(sources)
            for source, number in sources.sum().items():
                yield f"{source} notes", split, number, ""

    def _instrument_rows(self) -> Iterator[tuple]:
        splits = self._splits()
        for split in splits:
            shared = (f"{self.overlap.loc[split, other]:,} also in {other}" for other in splits if other != split)
            yield "instruments", split, self.overlap.loc[split, split], ", ".join(shared)

    def _note_rows(self) -> Iterator[tuple]:
        piano = "a piano has {} to {}".format(*PIANO_PITCHES)
        for split in self._splits():
            levels = self.levels[self.levels["split"] == split]
            left_out = self.left_out.loc[self.left_out["split"] == split, "reason"]
            outside = self.outside_piano[self.outside_piano["split"] == split]
            pitches = f"pitches {levels['pitch'].min()} to {levels['pitch'].max()}; {piano}"
            yield "files left out", split, len(left_out), " ".join(left_out.head(EXAMPLES_SHOWN))
            yield "silent waveforms", split, levels["silent"].sum(), _examples(levels[levels["silent"]])
            yield "clipped waveforms", split, levels["clipped"].sum(), _examples(levels[levels["clipped"]])
            yield "pitches outside the piano", split, len(outside), pitches

    def _duplicate_rows(self) -> Iterator[tuple]:
        """One row for each set of instruments, in each set of splits, that share waveforms."""
        if self.duplicates.empty:
            yield "notes that share a waveform", ", ".join(self._splits()), 0, ""
            return
        who = self.duplicates["instrument"] + " (" + self.duplicates["split"] + ")"
        groups = who.groupby(self.duplicates["group"]).transform(lambda column: " and ".join(column.unique()))
        for _, part in self.duplicates.groupby(groups, sort=False):
            numbers = part.groupby(who[part.index], sort=False).size()
            shares = _first([f"{number} of {one}" for one, number in numbers.items()])
            waveforms = part["group"].nunique()
            detail = f"{waveforms} waveform{'s' * (waveforms > 1)}: {shares}"
            yield "notes that share a waveform", " and ".join(part["split"].unique()), len(part), detail


def check_data(splits: dict[str, NSynthSplit]) -> DataReport:
    """Look through the decoded splits for what would mislead a training or its evaluation.

    Parameters
    ----------
    splits : dict of str to NSynthSplit
        What `waveforms.load_splits` returns. Bad files have been refused by then; those that ``--skip-bad`` left out
        are listed.

    Returns
    -------
    DataReport

    Notes
    -----
    Used in: 01_data_exploration, 04_result_analysis.

    Only the cached seconds are looked at. A waveform is silent if its peak stays below -60 dBFS (a thousandth of full
    scale, 32767); it is clipped if at least 3 consecutive samples are at full scale, as a clipping converter leaves
    them, while a normalised waveform touches full scale in single samples. Duplicates are found by a 64-bit BLAKE2b
    hash of the samples: among 300,000 different waveforms two would agree by chance once in 400 million datasets.
    """
    tables = {split: cached.notes for split, cached in splits.items()}
    levels = pd.concat([_levels(cached) for cached in splits.values()], ignore_index=True)
    low, high = PIANO_PITCHES
    return DataReport(
        counts=pd.concat([_counts(split, table) for split, table in tables.items()], ignore_index=True),
        sources=pd.concat({split: _sources(table) for split, table in tables.items()}, names=["split"]),
        overlap=instrument_overlap(tables),
        left_out=pd.DataFrame(
            [(split, reason) for split, cached in splits.items() for reason in cached.skipped],
            columns=["split", "reason"],
        ),
        levels=levels,
        duplicates=_duplicates(levels),
        outside_piano=levels.loc[~levels["pitch"].between(low, high), ["split", "note_str", "pitch"]],
    )


def doubtful_notes(report: DataReport, split: str) -> pd.DataFrame:
    """The notes of a split that an accuracy had better do without.

    Parameters
    ----------
    report : DataReport
        What `check_data` found.
    split : str
        Usually ``test``.

    Returns
    -------
    pandas.DataFrame
        ``note_str`` and ``reason``, one row a note: the noise of ``brass_acoustic_046`` (pitches 84 to 108, magenta
        issue 2092), silent waveforms, and waveforms met before: in a split that the report names earlier (a network
        may know them by heart), or in the same split (they would count twice; the first is kept).

    Notes
    -----
    Used in: 04_result_analysis.
    """
    levels = report.levels
    first = levels.groupby("fingerprint", sort=False)[["split", "note_str"]].transform("first")
    reason = pd.Series("", index=levels.index)
    reason[levels.duplicated("fingerprint")] = "same waveform as " + first["note_str"] + " of " + first["split"]
    reason[levels["silent"]] = "silent"
    reason[(levels["instrument"] == NOISE_INSTRUMENT) & levels["pitch"].between(*NOISE_PITCHES)] = "noise"
    chosen = (levels["split"] == split) & (reason != "")
    return pd.DataFrame({"note_str": levels["note_str"], "reason": reason})[chosen].reset_index(drop=True)


def _counts(split: str, table: pd.DataFrame) -> pd.DataFrame:
    notes = table["family"].value_counts().reindex(OFFICIAL_FAMILIES, fill_value=0)
    official = pd.array(OFFICIAL_FAMILY_NOTES.get(split, [pd.NA] * len(OFFICIAL_FAMILIES)), dtype="Int64")
    return pd.DataFrame(
        {"split": split, "family": OFFICIAL_FAMILIES, "notes": notes.to_numpy(), "official": official},
    )


def _sources(table: pd.DataFrame) -> pd.DataFrame:
    counts = pd.crosstab(table["family"], table["source"])
    return counts.reindex(index=OFFICIAL_FAMILIES, columns=SOURCES, fill_value=0).rename_axis(index="family")


def _levels(cached: NSynthSplit) -> pd.DataFrame:
    """Measure each waveform; a few megabytes of them are in memory at a time."""
    measured = [_measure(chunk) for chunk in _chunks(cached)]
    peak, rms, clipped, fingerprint = (np.concatenate(column) for column in zip(*measured, strict=True))
    levels = cached.notes[["note_str", "family", "instrument", "pitch"]].copy()
    levels.insert(0, "split", cached.name)
    return levels.assign(
        peak=peak, rms=rms, silent=peak < 10 ** (SILENT_DBFS / 20), clipped=clipped, fingerprint=fingerprint
    )


def _chunks(cached: NSynthSplit) -> Iterator[np.ndarray]:
    notes, samples = cached.waveforms.shape
    step = max(1, CHUNK_BYTES // (2 * samples))
    off = progress_is_off()
    with tqdm(total=notes, unit="note", desc=f"checking {cached.name}", leave=False, disable=off) as progress:
        for start in range(0, notes, step):
            chunk = np.array(cached.waveforms[start : start + step])
            yield chunk
            progress.update(len(chunk))


def _measure(chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Peak, root mean square, whether clipped, and hash of each waveform of a chunk ``(notes, samples)``."""
    # Not abs(): the int16 -32768 has no positive counterpart.
    peak = np.maximum(chunk.max(axis=1).astype(np.int32), -chunk.min(axis=1).astype(np.int32))
    wide = chunk.astype(np.float32)
    rms = np.sqrt(np.einsum("ij,ij->i", wide, wide) / chunk.shape[1])
    clipped = peak >= FULL_SCALE
    clipped[clipped] = _has_full_scale_run(chunk[clipped])
    hashes = b"".join(hashlib.blake2b(waveform, digest_size=8).digest() for waveform in chunk)
    return (
        (peak / FULL_SCALE).astype(np.float32),
        rms / np.float32(FULL_SCALE),
        clipped,
        np.frombuffer(hashes, dtype=np.uint64),
    )


def _has_full_scale_run(waveforms: np.ndarray) -> np.ndarray:
    at_full_scale = (waveforms >= FULL_SCALE) | (waveforms <= -FULL_SCALE)
    windows = np.lib.stride_tricks.sliding_window_view(at_full_scale, CLIPPED_RUN, axis=1)
    return windows.all(axis=2).any(axis=1)


def _duplicates(levels: pd.DataFrame) -> pd.DataFrame:
    shared = levels[levels.duplicated("fingerprint", keep=False)]
    groups = shared.groupby("fingerprint", sort=False).ngroup()
    table = shared[["split", "note_str", "family", "instrument"]].assign(group=groups)
    return table.sort_values("group", kind="stable")[["group", "split", "note_str", "family", "instrument"]]


def _against_official(split: str, notes: int, counts: pd.DataFrame) -> str:
    official = OFFICIAL_NOTES[split]
    if notes != official:
        return f"official NSynth has {official:,}"
    differing = counts[(counts["notes"] != counts["official"]).fillna(False)]
    if differing.empty:
        return f"complete: the official {official:,}"
    found = ", ".join(f"{row.family} {row.notes:,} (official {row.official:,})" for row in differing.itertuples())
    return f"the official {official:,}, but other families: {found}"


def _single_sources(sources: pd.DataFrame) -> str:
    """Name the families that come from one source alone."""
    single = sources[(sources > 0).sum(axis=1) == 1]
    named = {source: [family for family in single.index if single.loc[family, source]] for source in SOURCES}
    return "; ".join(f"only {source}: {', '.join(families)}" for source, families in named.items() if families)


def _examples(notes: pd.DataFrame) -> str:
    return _first(notes["note_str"].tolist())


def _first(items: list[str]) -> str:
    return ", ".join(items[:EXAMPLES_SHOWN] + ["..."] * (len(items) > EXAMPLES_SHOWN))
