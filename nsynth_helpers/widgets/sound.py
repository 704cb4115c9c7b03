"""A sound of the reader's own, from a file or the microphone, and what networks answer to it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from nsynth_helpers.analysis.beliefs import note_states
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import SAMPLE_RATE
from nsynth_helpers.data.sound import Sound, check_size, prepare_sound
from nsynth_helpers.settings import InputError, shown
from nsynth_helpers.training.runs import Run
from nsynth_helpers.widgets.notes import NoteView

YOURS = "yours"
# Of more train notes, so many are compared, evenly spread; so many are shown.
COMPARED, NEAREST = 4_000, 5


class SoundExplorer(NoteView):
    """Upload or record a sound; see what each network answers over time, and the train notes nearest to it.

    Near is what the first network takes for alike: the distance (Euclidean) between what its output layer sees of the
    sound and of each train note. Only the chosen notes go to the browser; nothing is written to disk.

    A `sound` from `prepare_sound` is shown first, and by the report, under its `name`; none of the trained networks
    (`runs`, by name) may read final states.
    """

    def __init__(self, sound: Sound, train: NSynthSplit, runs: Mapping[str, Run], name: str = "your sound"):
        none = train.notes.iloc[:0].assign(split=train.name, row=0)
        super().__init__(none, {train.name: train}, runs, none.index, {}, kind="sound")
        self.train, self.runs, self.content = train, runs, b""
        self.first = next(iter(self.believers.values()))
        notes = self.first.frames[train.name]
        rows = np.linspace(0, len(notes) - 1, min(COMPARED, len(notes))).astype(int)
        self.states, self.rows = note_states(self.first.network, notes, rows, device="cpu"), notes.rows[rows]
        self.show(sound, name)

    def show(self, sound: Sound, name: str) -> None:
        yours = pd.DataFrame({"note_str": [name], "instrument": name, "pitch": 0, "velocity": 0, "label": 0})
        self.splits[YOURS] = NSynthSplit(YOURS, yours, sound.waveform[None], "")
        for network, believer in self.believers.items():
            believer.frames[YOURS] = self.runs[network].config.frames(self.splits[YOURS])
        state = note_states(self.first.network, self.first.frames[YOURS], device="cpu")
        distances = np.linalg.norm(self.states - state, axis=1)
        order = distances.argsort()[:NEAREST]
        near = self.train.notes.iloc[self.rows[order]].assign(split=self.train.name, row=self.rows[order])
        notes = pd.concat([yours.assign(split=YOURS, row=0), near], ignore_index=True)
        told = {"name": name, "seconds": len(sound.whole) / SAMPLE_RATE, "onset": sound.onset, "padding": sound.padding}
        told["distances"] = distances[order].round(3).tolist()
        self.data = {**self.data, **self.table(notes, notes.index), "sound": told}

    def _answer(self, _, message: dict, buffers: list) -> None:
        """Take a file piece by piece, asking for the next; a new name without a piece begins anew."""
        self.content = self.content + bytes(buffers[0]) if buffers else b""
        try:
            check_size(message["size"])
            if len(self.content) < message["size"]:
                self.send({"id": message["id"], "wanted": len(self.content)})
                return
            seconds = self.data["samples"] / SAMPLE_RATE
            self.show(prepare_sound(self.content, seconds=seconds), shown(message["name"], 60))
            self.send({"id": message["id"]})
        except Exception as error:
            self.send({"id": message["id"], "error": str(error)})
            if not isinstance(error, InputError):
                raise
