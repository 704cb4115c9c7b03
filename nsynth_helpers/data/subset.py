"""Cut a small subset of real notes out of a user's own copy of NSynth, in the layout of nsynth-mini."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from nsynth_helpers.data.archives import EXAMPLES, NoteStream, SplitSource, find_split, write_archive
from nsynth_helpers.data.metadata import DROPPED_FAMILY, OFFICIAL_FAMILIES, SPLITS, parse_examples
from nsynth_helpers.settings import InputError, one_sentence, progress_is_off, shown

# The proportions of nsynth-mini: 160 train, 20 valid and 40 test notes a family.
SHARE_OF_SPLIT = {"train": 1.0, "valid": 1 / 8, "test": 1 / 4}
# As in nsynth-mini: enough to notice a loader that forgets to drop the family.
SHARE_OF_DROPPED_FAMILY = 1 / 4


def cut_subset(folder: Path, per_family: int, out: Path, seed: int = 2018) -> pd.DataFrame:
    """Cut a subset, stratified by family and instrument, into three archives ``nsynth-{train,valid,test}.tar``.

    Each family gets `per_family` train notes, an eighth as many valid notes and a quarter as many test notes (at least
    one of each), drawn evenly from its instruments: no instrument gives a second note before all have given their
    first. The dropped family ``synth_lead`` gets a quarter of that, where the split has it. A family with fewer notes
    gives what it has. Audio files and records are copied as they are. An archive is streamed, never extracted: once if
    its ``examples.json`` comes before the audio, twice if it comes last (the choice needs all names).

    The folder `out` must be new or empty; it appears under its name only once it is whole. The same `seed`, notes and
    number give the same choice.

    The table has one row a split and family: ``asked`` and ``notes``, and the number of ``instruments`` they come from.
    An `InputError` is raised if `per_family` is below 1, `out` is not new or empty, a split is missing or bad, a file
    of it is a link that leads out of its folder, or the disk is full.
    """
    if per_family < 1:
        raise InputError(f"--per-family is {per_family}; set it to a whole number of at least 1.")
    with one_sentence():
        out = out.absolute()
        if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
            raise InputError(f"{out} is not a new or empty folder; choose another one for the subset.")
        sources = [find_split(folder, split) for split in SPLITS]
        partial = out.with_name(f"{out.name}.{os.getpid()}.partial")
        partial.mkdir(parents=True)
        try:
            counts = [_cut_split(source, per_family, partial, seed) for source in sources]
            if out.exists():
                out.rmdir()
            partial.replace(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return pd.concat(counts, ignore_index=True)


def _cut_split(source: SplitSource, per_family: int, out: Path, seed: int) -> pd.DataFrame:
    stream = NoteStream(source)
    for _ in stream:
        if stream.examples is not None:
            break
    _refuse_link(source, source.path / EXAMPLES)
    shares = dict.fromkeys(OFFICIAL_FAMILIES, SHARE_OF_SPLIT[source.split])
    shares[DROPPED_FAMILY] *= SHARE_OF_DROPPED_FAMILY
    asked = {family: max(1, round(per_family * share)) for family, share in shares.items()}
    chosen = choose_notes(parse_examples(stream.examples, stream.examples_name), asked, seed)
    records, names = json.loads(stream.examples), sorted(chosen["note_str"])
    path = out / f"nsynth-{source.split}.tar"
    write_archive(path, source.split, {name: records[name] for name in names}, _audio(source, names))
    families = chosen.groupby("family")["instrument"]
    counts = pd.DataFrame({"asked": asked, "notes": families.size(), "instruments": families.nunique()})
    # No split but train has synth_lead: nothing is missing there.
    counts = counts.fillna(0).astype(int).loc[list(OFFICIAL_FAMILIES)].rename_axis("family").reset_index()
    counts = counts[(counts["family"] != DROPPED_FAMILY) | (counts["notes"] > 0)]
    counts.insert(0, "split", source.split)
    return counts


def choose_notes(table: pd.DataFrame, asked: dict[str, int], seed: int) -> pd.DataFrame:
    """Draw so many notes of each family, evenly from its instruments; the order of the table does not matter."""
    shuffled = table.sort_values("note_str").sample(frac=1, random_state=seed)
    turn = shuffled.groupby("instrument").cumcount()
    in_turns = shuffled.loc[turn.sort_values(kind="stable").index]
    place = in_turns.groupby("family").cumcount()
    return in_turns[place < in_turns["family"].map(asked)]


def _audio(source: SplitSource, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """The audio files of the chosen notes, in the order of the source."""
    missing = set(names)
    bar = tqdm(total=len(names), unit="note", desc=f"copying {source.split}", leave=False, disable=progress_is_off())
    with bar:
        for audio in NoteStream(source):
            if audio.note_str in missing:
                missing.remove(audio.note_str)
                content = audio.content
                if isinstance(content, Path):
                    _refuse_link(source, content)
                    content = content.read_bytes()
                yield audio.note_str + Path(audio.name).suffix, content
                bar.update()
            if not missing:
                return
    raise InputError(
        f"{source.path} lists {sorted(missing)[0]} in its {EXAMPLES}, but its audio file is missing; "
        "fetch the split again."
    )


def _refuse_link(source: SplitSource, path: Path) -> None:
    """What is copied must lie in the split's folder: a link could lead to anything that the user may read."""
    if not path.resolve().is_relative_to(source.path.resolve()):
        raise InputError(f"{shown(str(path))} is a link out of its folder; put the file itself there.")
