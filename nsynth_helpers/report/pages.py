"""The report's HTML: an index and a page a chapter, which need one another and ``sounds.js``, and nothing else."""

import copy
import html
import json
import os
import re
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

from jinja2 import pass_context
from latex2mathml.converter import convert as latex_to_mathml
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from nsynth_helpers import view
from nsynth_helpers.settings import PROJECT_ROOT, InputError, shown, write_text

HOME = "index"
PICTURES = {"image/png", "image/svg+xml", "image/jpeg"}
# Of a player, and of a note that a view stores.
SOUND = re.compile(r'(?:(src)="data:audio/mpeg;base64,|"sound":")([\w+/=]+)"')
HEADING = re.compile(r'<h([23])[^>]* id="([^"]+)"[^>]*>(.*?)<a class="anchor-link"', re.DOTALL)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# For a page's views to be drawn, which a browser without a window skips through; and for all of a page's printing.
DRAWING_SECONDS, PRINT_SECONDS = 20, 300


class Pages:
    """The pages of one folder, with links back and on, and their sounds, each stored once.

    `titles` go from the name of each page, in their order, to its title; ``index`` comes before them.
    """

    def __init__(self, folder: Path, titles: dict[str, str]):
        self.folder, self.titles = folder, {HOME: "Learning NSynth with LSTM and BLSTM"} | titles
        self.sounds: dict[str, str] = {}
        self.contents: list[str] = []
        self.exporter = _Exporter(
            template_name="lab",
            template_file=str(Path(__file__).parent / "page.html.j2"),
            exclude_input_prompt=True,
            exclude_output_prompt=True,
        )

    def write(self, name: str, notebook: NotebookNode, remark: str = "") -> Path:
        """Write a notebook as a page; the index will list it, its sections and the remark."""
        notebook = copy.deepcopy(notebook)
        alive = view.without_kernel(notebook)
        notebook.metadata.pop("widgets", None)  # other widgets need a kernel, and their manager a network
        describe_pictures(notebook)
        sounds = self._take_sounds(notebook)
        names = [None, *self.titles, None]
        place = names.index(name)
        resources = {
            "titles": self.titles,
            "page": {"name": name, "back": names[place - 1], "on": names[place + 1]},
            "scripts": ('<script src="sounds.js"></script>' if sounds else "") + (view.script() if alive else ""),
        }
        page, _ = self.exporter.from_notebook_node(notebook, resources)
        page = re.sub(r'href="(\w+)\.ipynb', r'href="\1.html', page)  # the other notebooks lie beside this one
        project = Path(os.path.relpath(PROJECT_ROOT, self.folder)).as_posix()
        page = page.replace('href="../', f'href="{project}/')  # other files of the project, from where the page lies
        path = self.folder / f"{name}.html"
        write_text(path, page)
        links = [
            f'<li><a href="{path.name}#{to}">{text}</a></li>'
            for level, to, text in HEADING.findall(page)
            if level == "2"
        ]
        title = f'<a href="{path.name}">{html.escape(self.titles[name])}</a> <small>{remark}</small>'
        self.contents.append(f"<li>{title}<ul>{''.join(links)}</ul></li>")
        return path

    def write_index(self, text: str) -> Path:
        """Write the first page: a text (Markdown), and the contents of all pages that were written."""
        source = f"# {self.titles[HOME]}\n\n{text}\n\n<ul class='book'>{''.join(self.contents)}</ul>"
        return self.write(HOME, new_notebook(cells=[new_markdown_cell(source)]))

    def print_chapters(self) -> None:
        """Print each chapter's page to a PDF beside it, by the Chromium that is installed."""
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if not browser:
            raise InputError(
                f"The report is in {self.folder / HOME}.html, but no browser prints it ({', '.join(BROWSERS)}); "
                "install chromium, then run make report PDF=1 again."
            )
        root = getattr(os, "geteuid", lambda: None)() == 0
        for name in [*self.titles][1:]:
            page = self.folder / f"{name}.html"
            options = ["--headless", "--no-pdf-header-footer", f"--virtual-time-budget={1000 * DRAWING_SECONDS}"]
            options += ["--no-sandbox"] * root  # Chromium refuses to run as root with it
            command = [browser, *options, f"--print-to-pdf={page.with_suffix('.pdf')}", page.as_uri()]
            try:
                subprocess.run(command, capture_output=True, check=True, text=True, timeout=PRINT_SECONDS)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                raise InputError(
                    f"{browser} could not print {page} ({shown(error.stderr or error)}); open it and print."
                ) from None

    def _take_sounds(self, notebook: NotebookNode) -> bool:
        """Put a key in the place of each sound of the outputs; whether there were any."""

        def take(match: re.Match) -> str:
            key = sha256(match[2].encode()).hexdigest()[:16]
            self.sounds[key] = match[2]
            return f'data-sound="{key}"' if match[1] else f'"sound":"{key}"'

        found = 0
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                if "text/html" in output.get("data", {}):
                    output.data["text/html"], count = SOUND.subn(take, output.data["text/html"])
                    found += count
        if found:
            # A page from the file system may run a script beside it, but read no other file.
            write_text(self.folder / "sounds.js", f"globalThis.nsynthSounds = {json.dumps(self.sounds)};\n")
        return bool(found)


def title_of(notebook: NotebookNode) -> str:
    """The first line of its first text."""
    return next(cell.source for cell in notebook.cells if cell.cell_type == "markdown").splitlines()[0].lstrip("# ")


def describe_pictures(notebook: NotebookNode) -> None:
    """Give each picture of the outputs an alternative text: its caption, the first words in italics below its cell.

    Without one, its section's heading and the first sentence below it or, where nothing is below, above it.
    """
    heading = above = ""
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            *before, above = re.split(r"^#+ (.*)", cell.source, flags=re.MULTILINE)
            heading = before[-1] if before else heading
        pictures = [output for output in cell.get("outputs", []) if PICTURES & output.get("data", {}).keys()]
        below = next((other.source for other in notebook.cells[place + 1 :] if other.cell_type == "markdown"), "#")
        caption = re.match(r"\*([^*].*?[.?])\*", below, re.DOTALL)
        first = re.match(r".*?[.?!](?=\s|$)|.*", _plain(above if below.startswith("#") else below))
        words = _plain(caption[1]) if caption else " – ".join(filter(None, [heading, first[0]]))
        for number, output in enumerate(pictures, 1):
            output.metadata.alt = words + (f" ({number} of {len(pictures)})" if len(pictures) > 1 else "")


def _plain(markdown: str) -> str:
    return " ".join(re.sub(r"[*`$]|!?\[([^]]*)\]\([^)]*\)", r"\1", markdown).split())


class _FormulaRenderer(IPythonRenderer):
    """Writes formulas as MathML, which browsers show by themselves; nbconvert's own need MathJax from the network."""

    def block_math(self, body: str) -> str:
        return latex_to_mathml(body, display="block")

    def inline_math(self, body: str) -> str:
        return latex_to_mathml(body)


class _Exporter(HTMLExporter):
    def default_filters(self):
        yield from super().default_filters()
        yield "headings", HEADING.findall

    @pass_context
    def markdown2html(self, context, source: str) -> str:
        """Markdown of cells and outputs to HTML; nbconvert looks this filter up by its name."""
        # Pictures are embedded from a folder and those below it; notebooks name them from a folder beside theirs.
        renderer = _FormulaRenderer(escape=False, embed_images=True, path=str(PROJECT_ROOT))
        return MarkdownWithMath(renderer=renderer).render(source.replace("](../figures/", "](figures/"))
