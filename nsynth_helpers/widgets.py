"""Players and browsers: thin ipywidgets shells over tables of notes and `plots`. Nothing imports this module."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Hashable, Mapping, Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import soundfile
from IPython.display import HTML, Audio
from matplotlib.figure import Figure
from scipy.special import softmax

from nsynth_helpers.analysis.outcomes import confusion_matrix, logits_of
from nsynth_helpers.data.cache import NSynthSplit
from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE
from nsynth_helpers.plots import beliefs as belief_plots
from nsynth_helpers.plots import style as plots

# What an open menu holds: ipywidgets would show a menu with the value None as blank.
ALL = "all"
NOTE_COLUMNS = ("split", "family", "source", "instrument", "pitch", "velocity")


def encode_mp3(waveform: np.ndarray) -> bytes:
    """Compress a waveform as MP3, which every browser plays (Safari plays no Ogg Vorbis).

    Parameters
    ----------
    waveform : np.ndarray [shape=(samples,)], int16, 16 kHz
        The note.

    Returns
    -------
    bytes
        A few kilobytes for each second; the same waveform always gives the same bytes.
    """
    content = io.BytesIO()
    soundfile.write(content, np.asarray(waveform), SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III")
    return content.getvalue()


def player(waveform: np.ndarray) -> Audio:
    """An audio player of the cached seconds of a note, small enough to be stored in a notebook.

    Parameters
    ----------
    waveform : np.ndarray [shape=(samples,)], int16, 16 kHz
        The note.

    Notes
    -----
    Used in: 01_data_exploration, 04_result_analysis.
    """
    audio = Audio(data=encode_mp3(waveform))
    # IPython takes any bytes for WAV.
    audio.mimetype = "audio/mpeg"
    return audio


def player_table(waveforms: Mapping[str, np.ndarray], columns: int = 2) -> HTML:
    """Players in a grid, each below its title; needs no running kernel.

    Parameters
    ----------
    waveforms : mapping of str to np.ndarray [shape=(samples,)], int16, 16 kHz
        Waveform by title, such as a ``note_str``.
    columns : int
        Players side by side.

    Notes
    -----
    Used in: 01_data_exploration, 04_result_analysis.
    """
    cells = (
        f"<figure style='margin:0'><figcaption>{html.escape(title)}</figcaption>{player(note)._repr_html_()}</figure>"
        for title, note in waveforms.items()
    )
    style = f"display:grid;grid-template-columns:repeat({columns},minmax(0,1fr));gap:0.5em"
    return HTML(f"<div style='{style}'>{''.join(cells)}</div>")


def figure_png(fig: Figure) -> bytes:
    """Draw a figure as PNG and close it, so that no cell shows it a second time."""
    content = io.BytesIO()
    # As in `plots.save_figure`: the same figure gives the same bytes.
    fig.savefig(content, format="png", metadata={"Software": None})
    plt.close(fig)
    return content.getvalue()


class Narrowing:
    """Which rows of a table agree with a choice in its columns, and which choices are left. No widget in it.

    Parameters
    ----------
    table : pandas.DataFrame
        Any table.
    columns : sequence of str
        The columns to choose in.

    Notes
    -----
    A choice is a mapping from column to value; a column that it lacks may have any value.
    """

    def __init__(self, table: pd.DataFrame, columns: Sequence[str]):
        self.table, self.columns = table, tuple(columns)

    def matching(self, choice: Mapping[str, Hashable]) -> pd.DataFrame:
        """The rows that agree with the whole choice; there may be none."""
        return self.table[self._agrees(choice)]

    def options(self, column: str, choice: Mapping[str, Hashable]) -> list:
        """The values of a column, in order, that go with what is chosen in the other columns."""
        others = {other: value for other, value in choice.items() if other != column}
        return self.table.loc[self._agrees(others), column].drop_duplicates().sort_values().tolist()

    def _agrees(self, choice: Mapping[str, Hashable]) -> np.ndarray:
        agrees = np.ones(len(self.table), dtype=bool)
        for column, value in choice.items():
            agrees &= (self.table[column] == value).to_numpy()
        return agrees


class NarrowingMenus(ipywidgets.GridBox):
    """Dropdown menus over the columns of a table that narrow one another, and a button to start again.

    Parameters
    ----------
    table : pandas.DataFrame
        The rows to choose from.
    columns : sequence of str
        One menu for each.
    show : callable
        Called with the rows that agree with the menus, now and after every change.

    Attributes
    ----------
    menus : dict of str to ipywidgets.Dropdown
        By column; `ALL` is the value of a menu that leaves its column open.
    """

    def __init__(self, table: pd.DataFrame, columns: Sequence[str], show: Callable[[pd.DataFrame], None]):
        self.narrowing, self.show = Narrowing(table, columns), show
        self.menus = {column: ipywidgets.Dropdown(description=column) for column in columns}
        self.start_again = ipywidgets.Button(description="start again", tooltip="Open all menus again.")
        # Beside one another as far as the page is wide enough.
        layout = ipywidgets.Layout(grid_template_columns="repeat(auto-fill, minmax(310px, 1fr))")
        super().__init__([*self.menus.values(), self.start_again], layout=layout)
        self._refresh({})
        for menu in self.menus.values():
            menu.observe(self._on_choice, names="value")
        self.start_again.on_click(lambda _: self._refresh({}))

    @property
    def choice(self) -> dict[str, Hashable]:
        """What is chosen now, by column; open columns are left out."""
        return {column: menu.value for column, menu in self.menus.items() if menu.value != ALL}

    def _on_choice(self, _change) -> None:
        # New options reset a menu for a moment; that is no choice of the reader's.
        if not self._refreshing:
            self._refresh(self.choice)

    def _refresh(self, choice: Mapping[str, Hashable]) -> None:
        """Offer what goes with the choice, then show the rows that agree with it."""
        self._refreshing = True
        for column, menu in self.menus.items():
            options = self.narrowing.options(column, choice)
            menu.options = [(f"{ALL} ({len(options)})", ALL), *((str(value), value) for value in options)]
            menu.value = choice.get(column, ALL)
        self._refreshing = False
        self.show(self.narrowing.matching(choice))


class NoteView(ipywidgets.VBox):
    """One note: a caption, its waveform and log-mel spectrogram, and a player.

    Attributes
    ----------
    caption : ipywidgets.HTML
    picture : ipywidgets.Image
        PNG.
    sound : ipywidgets.Audio
        MP3.
    """

    def __init__(self):
        self.caption = ipywidgets.HTML()
        self.picture = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))
        self.sound = ipywidgets.Audio(format="mp3", autoplay=False, loop=False)
        super().__init__([self.caption, self.picture, self.sound])

    def show(self, note_str: str, waveform: np.ndarray, caption: str) -> None:
        """Show a note instead of the one before.

        Parameters
        ----------
        note_str : str
            Its name.
        waveform : np.ndarray [shape=(samples,)], int16, 16 kHz
            Its cached seconds.
        caption : str
            A sentence about it, in HTML.
        """
        fig, _ = plots.plot_note(waveform, note_str)
        self.picture.value, self.sound.value = figure_png(fig), encode_mp3(waveform)
        self._tell(caption, visible=True)

    def clear(self, caption: str) -> None:
        """Show no note, only a sentence."""
        self.picture.value, self.sound.value = b"", b""
        self._tell(caption, visible=False)

    def _tell(self, caption: str, visible: bool) -> None:
        self.caption.value = caption
        for part in (self.picture, self.sound):
            part.layout.display = None if visible else "none"


class NoteExplorer(ipywidgets.VBox):
    """Choose a note by split, family, source, instrument, pitch and velocity; see it and hear it.

    The menus narrow one another: each offers only what goes with the choices in all the others. The first note that
    agrees with the menus is shown.

    Parameters
    ----------
    splits : dict of str to NSynthSplit
        What `waveforms.load_splits` returns.

    Attributes
    ----------
    chooser : NarrowingMenus
    view : NoteView

    Notes
    -----
    Used in: 01_data_exploration. ``synth_lead`` is offered, too: it belongs to NSynth, though not to the networks.
    """

    def __init__(self, splits: Mapping[str, NSynthSplit]):
        self.splits = splits
        notes = pd.concat({split: cached.notes for split, cached in splits.items()}, names=["split", "row"])
        # Comparing categories is quick enough for a menu even among 300,000 notes.
        notes = notes.reset_index().astype(dict.fromkeys(("family", "source", "instrument"), "category"))
        notes["split"] = pd.Categorical(notes["split"], categories=list(splits))
        self.view = NoteView()
        self.chooser = NarrowingMenus(notes, NOTE_COLUMNS, self._show)
        super().__init__([self.chooser, self.view])

    def _show(self, notes: pd.DataFrame) -> None:
        if notes.empty:
            self.view.clear("No note agrees with the menus; press <b>start again</b>.")
            return
        note = notes.iloc[0]
        others = f", the first of {len(notes):,} notes that agree with the menus" if len(notes) > 1 else ""
        self.view.show(
            note["note_str"],
            self.splits[note["split"]].waveforms[note["row"]],
            f"<b>{note['note_str']}</b> of the {note['split']} split{others}.",
        )


class AnswerView(NoteView):
    """One note and a network's answer: a caption, waveform and probabilities, and a player where there is audio."""

    def show_answer(self, note: pd.Series, waveform: np.ndarray | None) -> None:
        """Show a note instead of the one before.

        Parameters
        ----------
        note : pandas.Series
            A row of `analysis.make_outcomes`.
        waveform : np.ndarray [shape=(samples,)], int16, 16 kHz, or None
            Its cached seconds; without them there is no player.
        """
        probabilities = softmax(logits_of(note.to_frame().T)[0])
        fig, _ = belief_plots.plot_answer(probabilities, note["family"], waveform)
        self.picture.value = figure_png(fig)
        self.sound.value = b"" if waveform is None else encode_mp3(waveform)
        rank = "right" if note["correct"] else f"wrong by a margin of {note['margin']:.2f}"
        self._tell(f"<b>{note['note_str']}</b>: {note['predicted']} ({note['probability']:.1%}), {rank}.", visible=True)
        self.sound.layout.display = "none" if waveform is None else None


class ConfusionBrowser(ipywidgets.VBox):
    """Walk through a confusion matrix: choose a cell, then one of its notes; see it, hear it, and see the answer.

    It opens at the largest confusion of the first network. The notes of a cell stand in order of the probability of
    the answer, surest first.

    Parameters
    ----------
    outcomes : mapping of str to pandas.DataFrame
        From network to what `analysis.make_outcomes` returns.
    cached : NSynthSplit, optional
        The split that the notes come from; without it there are no waveforms and no players.

    Attributes
    ----------
    network, actual, predicted, note : ipywidgets.Dropdown
        The menus; those of families tell how many notes each choice has.
    view : AnswerView

    Notes
    -----
    Used in: 04_result_analysis.
    """

    def __init__(self, outcomes: Mapping[str, pd.DataFrame], cached: NSynthSplit | None = None):
        self.outcomes, self.cached = outcomes, cached
        self.confusions = {network: confusion_matrix(notes) for network, notes in outcomes.items()}
        self.network, self.actual, self.predicted, self.note = (
            ipywidgets.Dropdown(description=name) for name in ("network", "actual", "predicted", "note")
        )
        self.network.options = list(outcomes)
        self.network.value = next(iter(outcomes))
        self.view = AnswerView()
        layout = ipywidgets.Layout(grid_template_columns="repeat(auto-fill, minmax(310px, 1fr))")
        super().__init__([ipywidgets.GridBox(self._menus, layout=layout), self.view])
        self._refresh(*largest_confusion(self.confusions[self.network.value]))
        for menu in self._menus[:3]:
            menu.observe(self._on_cell, names="value")
        self.note.observe(self._on_note, names="value")

    @property
    def _menus(self) -> list[ipywidgets.Dropdown]:
        return [self.network, self.actual, self.predicted, self.note]

    @property
    def cell(self) -> pd.DataFrame:
        """The notes of the chosen cell, surest first; there may be none."""
        notes = self.outcomes[self.network.value]
        chosen = notes[(notes["family"] == self.actual.value) & (notes["predicted"] == self.predicted.value)]
        return chosen.sort_values(["probability", "note_str"], ascending=[False, True])

    def _on_cell(self, _change) -> None:
        if not self._refreshing:
            self._refresh(self.actual.value, self.predicted.value)

    def _on_note(self, _change) -> None:
        if not self._refreshing:
            self._show()

    def _refresh(self, actual: str, predicted: str) -> None:
        """Count the notes of every choice anew, then show the first note of the chosen cell."""
        confusion = self.confusions[self.network.value]
        self._refreshing = True
        for menu, counts, value in (
            (self.actual, confusion.sum(axis=1), actual),
            (self.predicted, confusion.loc[actual], predicted),
        ):
            menu.options = [(f"{family} ({counts[family]:,})", family) for family in FAMILIES]
            menu.value = value
        names = self.cell["note_str"].tolist()
        self.note.options = names
        self.note.value = names[0] if names else None
        self.note.disabled = self.cell.empty
        self._refreshing = False
        self._show()

    def _show(self) -> None:
        if self.note.value is None:
            self.view.clear(f"The {self.network.value} takes no {self.actual.value} note for {self.predicted.value}.")
            return
        note = self.cell.set_index("note_str", drop=False).loc[self.note.value]
        self.view.show_answer(note, self.cached[self.note.value].audio if self.cached else None)


def largest_confusion(confusion: pd.DataFrame) -> tuple[str, str]:
    """The actual and the predicted family of the most frequent error; of the largest cell if there is no error.

    Used in: 04_result_analysis.
    """
    errors = confusion.where(~np.eye(len(confusion), dtype=bool), 0)
    return (errors if errors.to_numpy().any() else confusion).stack().idxmax()
