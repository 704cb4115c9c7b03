"""Notes to touch: thin shells that hand tables, sounds and beliefs to the front end in `nsynth_helpers.view`."""

from base64 import b64encode
from collections.abc import Mapping

import numpy as np
import pandas as pd

from nsynth_helpers import view
from nsynth_helpers.analysis.beliefs import belief_over_time
from nsynth_helpers.analysis.outcomes import logits_of
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE, STEP_SIZE, keep_families
from nsynth_helpers.plots.style import FAMILY_COLOURS
from nsynth_helpers.settings import InputError
from nsynth_helpers.training.runs import Run
from nsynth_helpers.widgets.players import encode_mp3

# What the front end takes for a probability of 1.
CERTAIN = np.iinfo(np.uint16).max


class Believer:
    """A trained network, and what it believes after each step of any note of the splits."""

    def __init__(self, run: Run, splits: Mapping[str, NSynthSplit]):
        self.network = run.load_network()
        self.frames = {split: run.config.frames(notes) for split, notes in splits.items()}

    def beliefs(self, split: str, note_strs: list[str]) -> list[bytes | None]:
        """Probabilities of each note after every 10 ms, uint16 of shape (frames, families); None for ``synth_lead``."""
        frames = self.frames[split]
        rows = pd.Index(frames.notes["note_str"]).get_indexer(note_strs)
        known = rows >= 0
        if not known.any():
            return [None] * len(rows)
        found = belief_over_time(self.network, frames, rows[known], device="cpu")
        # The view has one time axis, whatever the steps of this network are.
        step = self.network.samples_per_step
        ends = np.arange(STEP_SIZE - 1, min(found.shape[1] * step, frames.waveforms.shape[1]), STEP_SIZE)
        found = iter(np.round(found[:, ends // step] * CERTAIN).astype("<u2"))
        return [next(found).tobytes() if here else None for here in known]


class NoteView(view.View):
    """What every widget of notes shares: the table goes to the browser at once, sounds when they are asked for.

    Some notes are whole in the table, and need no kernel.
    """

    def __init__(self, notes: pd.DataFrame, splits, runs, stored, networks: Mapping[str, dict], **data):
        """`notes` has ``split`` and ``row`` beside the columns of a split's table; `stored` are places in it."""
        super().__init__()
        self.splits = splits
        self.believers = {name: Believer(run, splits) for name, run in (runs or {}).items()}
        self.networks = {name: networks.get(name, {}) for name in [*networks, *self.believers]}
        for name, believer in self.believers.items():
            self.networks[name]["bidirectional"] = believer.network.rnn.bidirectional
        self.data = {
            "families": list(FAMILIES),
            "rate": SAMPLE_RATE,
            "step": STEP_SIZE,
            "samples": max(split.waveforms.shape[1] for split in splits.values()),
            "networks": [{"name": name, **known} for name, known in self.networks.items()],
            **self.table(notes, stored),
            **data,
        }
        self.on_msg(self._answer)

    def table(self, notes: pd.DataFrame, stored) -> dict:
        """Take up a table of notes, and return what the browser is told of it."""
        self.notes = notes
        return {"notes": _columns(notes), "stored": self._store(stored)}

    def _store(self, places: np.ndarray) -> dict[int, dict]:
        """Sound and beliefs of some notes, as the front end finds them without a kernel."""
        kept = {int(place): {"sound": _text(self._sound(place))} for place in places}
        for split, chosen in self.notes.iloc[list(kept)].groupby("split", observed=True)["note_str"]:
            for place, *given in zip(chosen.index, *self._beliefs(split, chosen.tolist()), strict=True):
                kept[place]["beliefs"] = [belief and _text(belief) for belief in given]
        return kept

    def _beliefs(self, split: str, note_strs: list[str]) -> list[list[bytes | None]]:
        """Of each network in turn; None for one that has predictions alone."""
        known = (self.believers.get(name) for name in self.networks)
        return [each.beliefs(split, note_strs) if each else [None] * len(note_strs) for each in known]

    def _sound(self, place: int) -> bytes:
        note = self.notes.iloc[place]
        return encode_mp3(self.splits[note["split"]].waveforms[note["row"]])

    def _answer(self, _, message: dict, __) -> None:
        """Send what the browser asks for: the sound of a note, and what each network believes."""
        place = message["note"]
        try:
            note = self.notes.iloc[place]
            sound = self._sound(place)
            beliefs = [belief for [belief] in self._beliefs(note["split"], [note["note_str"]])]
        except Exception as error:
            self.send({"note": place, "error": str(error)})
            raise
        self.send(
            {"note": place, "networks": [belief is not None for belief in beliefs]}, [sound, *filter(None, beliefs)]
        )


class NoteExplorer(NoteView):
    """Choose a note by split, family, source, instrument, pitch and velocity; see it, hear it, walk on from it.

    The menus narrow one another. Two notes can stand side by side, and the family can be hidden until it is guessed.

    Parameters
    ----------
    splits : mapping of str to NSynthSplit
        What `load_splits` returns. ``synth_lead`` is offered, too: it belongs to NSynth, though not to the networks.
    runs : mapping of str to Run, optional
        Trained networks whose beliefs are drawn below the note; none that reads final states.
    ask : bool
        Open with the family hidden.
    stored : int
        How many notes, spread over the families, the notebook and the report hold; a kernel plays all of them.
    """

    def __init__(self, splits, runs: Mapping[str, Run] | None = None, ask: bool = False, stored: int = 60):
        notes = pd.concat({name: split.notes for name, split in splits.items()}, names=["split", "row"]).reset_index()
        places = _spread(notes.sort_values(["family", "note_str"]).index, stored)
        super().__init__(notes, splits, runs, places, {}, kind="explorer", ask=ask)


class ConfusionExplorer(NoteView):
    """A confusion matrix whose cells are entered: their notes by margin, and each network's answer to the same note.

    Parameters
    ----------
    outcomes : mapping of str to pandas.DataFrame
        From network to what `analysis.make_outcomes` returns, all of the same notes.
    split : NSynthSplit
        Where the notes come from.
    runs : mapping of str to Run, optional
        Of the same names: trained networks whose beliefs are drawn below the note.
    stored : int
        How many notes, the first ones of every cell, the notebook and the report hold whole.

    Raises
    ------
    InputError
        If the tables are not of the same notes, or the split lacks one of them.
    """

    def __init__(
        self,
        outcomes: Mapping[str, pd.DataFrame],
        split: NSynthSplit,
        runs: Mapping[str, Run] | None = None,
        stored: int = 100,
    ):
        tables = {name: table.sort_values("note_str", ignore_index=True) for name, table in outcomes.items()}
        first, *others = tables.values()
        if not all(table["note_str"].equals(first["note_str"]) for table in others):
            raise InputError("The networks were not tested on the same notes; evaluate them on the same split.")
        networks = {name: _answers(table) for name, table in tables.items()}
        places = _first_of_cells(tables.values())[:stored]
        super().__init__(_placed(first, split), {split.name: split}, runs, places, networks, kind="confusion")


class ExtremesGallery(NoteView):
    """The surest and the least sure notes of each family, or those nearest to and farthest from a right answer.

    Parameters
    ----------
    chosen : pandas.DataFrame
        What `analysis.extremes` or `analysis.nearest_and_farthest` returns for one network; all its notes are stored.
    split : NSynthSplit
        Where the notes come from.
    network : str
        The network's name.
    run : Run, optional
        The trained network, whose beliefs are then drawn below the note.
    """

    def __init__(self, chosen: pd.DataFrame, split: NSynthSplit, network: str, run: Run | None = None):
        if chosen.empty:
            raise InputError("There is no extreme note to show; pass a table with notes.")
        column, columns = pd.factorize(chosen["extreme"])
        notes, networks = _placed(chosen, split), {network: _answers(chosen)}
        told = {"kind": "gallery", "columns": list(columns), "cells": column.tolist()}
        super().__init__(notes, {split.name: split}, run and {network: run}, notes.index, networks, **told)


class NoteMap(NoteView):
    """A map of notes by what a network holds of them: heard under the pointer, opened by a click.

    Colour and shape are the family's; a right answer's mark is filled, a wrong one's hollow.

    Parameters
    ----------
    notes : pandas.DataFrame
        The columns of `analysis.make_outcomes`, and the places ``x`` and ``y``.
    shares : sequence of float
        The shares of the variance that the two axes show (fractions).
    split, network
        As for `ExtremesGallery`.
    stored : int
        How many notes, evenly spread over the table, the notebook and the report hold; a kernel plays all of them.
    """

    def __init__(self, notes: pd.DataFrame, shares, split: NSynthSplit, network: str, stored: int = 400):
        told = {
            "kind": "map",
            **{axis: _text(notes[axis].to_numpy("<f4").tobytes()) for axis in "xy"},
            "shares": [float(share) for share in shares],
            "colours": [FAMILY_COLOURS[family] for family in FAMILIES],
            "total": len(keep_families(split.notes)),
        }
        placed, networks = _placed(notes, split), {network: _answers(notes)}
        super().__init__(placed, {split.name: split}, {}, _spread(placed.index, stored), networks, **told)


def _spread(places: pd.Index, most: int) -> pd.Index:
    """At most so many of them, evenly spread."""
    return places[np.linspace(0, len(places) - 1, min(most, len(places))).astype(int)].unique()


def _placed(table: pd.DataFrame, split: NSynthSplit) -> pd.DataFrame:
    """What `NoteView` asks of notes that were tested; `InputError` if the split lacks one of them."""
    notes = table[["note_str", "instrument", "pitch", "velocity"]].reset_index(drop=True)
    rows = pd.Index(split.notes["note_str"]).get_indexer(notes["note_str"])
    if (rows < 0).any():
        missing = notes["note_str"][rows < 0].iloc[0]
        raise InputError(f"The {split.name} split holds no note '{missing}'; pass the split that was tested.")
    return notes.assign(split=split.name, row=rows)


def _answers(table: pd.DataFrame) -> dict:
    """What the front end must know of a network's answers."""
    return {"logits": _text(logits_of(table).astype("<f4").tobytes())}


def _first_of_cells(tables) -> pd.Index:
    """Places of notes: the first of every cell in the order shown, confusions and large cells first; the second ..."""
    ranked = []
    for table in tables:
        cells = table.sort_values(["margin", "probability"], ascending=False).groupby(["family", "predicted"])
        size = -cells["margin"].transform("size")
        ranked.append(pd.DataFrame({"rank": cells.cumcount(), "correct": table["correct"], "size": size}))
    return pd.concat(ranked).sort_values(["rank", "correct", "size"], kind="stable").index.unique()


def _columns(notes: pd.DataFrame) -> dict:
    """The table of notes as the front end reads it: four small numbers a note."""
    instrument, instruments = pd.factorize(notes["instrument"])
    split, splits = pd.factorize(notes["split"])
    columns = {"instrument": (instrument, "<u2"), "split": (split, "u1")}
    columns |= {column: (notes[column].to_numpy(), "u1") for column in ("pitch", "velocity")}
    texts = {column: _text(values.astype(kind).tobytes()) for column, (values, kind) in columns.items()}
    return {"instruments": list(instruments), "splits": list(splits), **texts}


def _text(content: bytes) -> str:
    return b64encode(content).decode("ascii")
