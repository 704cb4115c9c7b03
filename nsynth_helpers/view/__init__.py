"""The note view: one ES module that draws notes, for live widgets and for pages without a kernel.

Its ``data`` is one JSON object: ``kind`` (``explorer``, ``confusion``, ``gallery``, ``map``, ``sound`` or
``training``); for notes, ``families``, ``rate`` (Hz), ``step`` and ``samples`` (of a note); ``notes``, the table
(``instruments`` and ``splits`` are names; ``instrument``, ``split``, ``pitch`` and ``velocity`` their columns);
``networks`` (``name``, and where known ``logits``, ``bidirectional``); ``stored``, by row what needs no kernel:
``sound`` (MP3) and ``beliefs``, one a network, a row after every step (65535 is a probability of 1). Columns of
numbers and sounds are base64, little-endian. With ``sound``, the first row is the reader's own: its ``name``,
``seconds``, ``onset`` and ``padding`` (s), and the ``distances`` of the others.
"""

import json
from pathlib import Path

import anywidget
import traitlets

MODULE = (Path(__file__).parent / "note_view.js").read_text(encoding="utf-8")
WIDGET_VIEW, WIDGET_STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
PLACE = "nsynth-note-view-data"


class View(anywidget.AnyWidget):
    """The module as a live widget; `data` is all that the browser is told."""

    _esm = MODULE
    data = traitlets.Dict().tag(sync=True)

    def __repr__(self) -> str:
        """What a page shows that can only show text, the same in every run."""
        return f"{type(self).__name__}: alive in JupyterLab and on the pages of the report"


def embed(data: dict) -> str:
    """A view as HTML that lives without a kernel, once `script` stands below it on the page."""
    # A "</script>" in a name would end the element.
    content = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    return f'<div class="{PLACE}"><script type="application/json">{content}</script></div>'


def script() -> str:
    """The module, and the call that brings every `embed` of the page to life; once a page, after the last of them.

    Where pages share their sounds (``nsynthSounds``, from key to base64), a view's ``sound`` may be a key.
    """
    mounting = f"""const heard = (name, value) => (name === "sound" && globalThis.nsynthSounds?.[value]) || value;
for (const el of document.querySelectorAll(".{PLACE}")) mount(el, JSON.parse(el.textContent, heard));"""
    return f'<script type="module">\n{MODULE}\n{mounting}\n</script>'


def without_kernel(notebook) -> bool:
    """Turn the note views among the outputs of an nbformat notebook into HTML (`embed`); whether there were any.

    The notebook is changed. Its page then needs `script`.
    """
    states = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    found = False
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            bundle = output.get("data", {})
            state = states.get(bundle.get(WIDGET_VIEW, {}).get("model_id"), {}).get("state", {})
            if state.get("_esm") == MODULE:
                del bundle[WIDGET_VIEW]
                bundle["text/html"] = embed(state["data"])
                found = True
    return found
