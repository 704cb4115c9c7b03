"""Execute the notebooks in their order and export them as an HTML report."""

import asyncio
import copy
import html
import os
import re
import subprocess
import time
from pathlib import Path

import nbformat
from jinja2 import pass_context
from latex2mathml.converter import convert as latex_to_mathml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from tqdm.auto import tqdm

from nsynth_helpers import view
from nsynth_helpers.settings import MINI, PROJECT_ROOT, InputError, Settings, shown, write_text
from nsynth_helpers.training.runs import Run, keep_run, read_manifest

NOTEBOOKS = PROJECT_ROOT / "notebooks"
CELL_SECONDS = 24 * 3600
KEPT_NETWORKS = ("lstm", "blstm")
STYLE = """
body { font: 17px/1.6 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #222 }
a { color: #0b62a4 }
ul { list-style: none; padding: 0 } li { margin: .8rem 0 } small { color: #666 } img { max-width: 100% }
"""
# Browsers centre the columns of an array whatever its own attributes say.
FORMULA_STYLE = "mtd[columnalign=left] { text-align: left; padding: .2em 1em .2em 0 }"


def make_report(settings: Settings, refresh: bool = False) -> Path:
    """Execute every notebook, which read the same environment, and write the report; return its ``index.html``.

    With `refresh` also what is committed is overwritten: notebooks, ``figures/`` and ``results/mini-*``. If a cell
    fails, an `InputError` says so; the executed part of its notebook is kept beside the report.
    """
    if refresh:
        _refuse_to_refresh(settings)
    settings.report.mkdir(parents=True, exist_ok=True)
    figures = PROJECT_ROOT / "figures" if refresh else settings.figures
    environment = {**os.environ, "NSYNTH_FIGURES": str(figures), "TQDM_DISABLE": "1"}
    items = []
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        started, before = time.perf_counter(), path.read_bytes()
        notebook = execute(path, settings.report, environment)
        _export(notebook, settings.report / f"{path.stem}.html")
        if refresh:
            if path.read_bytes() != before:
                raise InputError(f"{path} was edited while it ran and is left as it is; commit it, then refresh again.")
            write_text(path, nbformat.writes(notebook) + "\n")
        first = next(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        title = html.escape(first.splitlines()[0].lstrip("# "))
        seconds = f"{path.stem}, ran in {time.perf_counter() - started:.0f} s"
        items.append(f'<li><a href="{path.stem}.html">{title}</a><br><small>{seconds}</small></li>')
    if refresh:
        newest = {entry["network"]: settings.runs / entry["run"] for entry in read_manifest(settings.runs)}
        for network in KEPT_NETWORKS:
            keep_run(Run(newest[network]), settings.results / f"mini-{network}")
    index = settings.report / "index.html"
    write_text(index, _index(items, settings))
    return index


def _refuse_to_refresh(settings: Settings) -> None:
    """Refuse to overwrite what a user made: anything beside nsynth-mini, and anything that git could not bring back."""
    if settings.data != MINI:
        raise InputError("Committed notebooks are made on nsynth-mini alone; unset NSYNTH_DATA to refresh them.")
    places = [str(place) for place in (NOTEBOOKS, PROJECT_ROOT / "figures", PROJECT_ROOT / "results")]
    command = ["git", "status", "--porcelain", "--", *places]
    git = subprocess.run(command, cwd=NOTEBOOKS, capture_output=True, text=True, check=False)
    if git.returncode:
        raise InputError(
            f"{NOTEBOOKS} is not under git ({shown(git.stderr)}), which refreshing needs; run make report."
        )
    if changed := git.stdout.splitlines():
        raise InputError(
            f"{shown(changed[0][3:])} has changes that refreshing would overwrite; commit them, or set them aside with "
            "git stash."
        )


def execute(path: Path, report: Path, environment: dict[str, str]) -> nbformat.NotebookNode:
    """Run a notebook from a fresh kernel, with one progress bar over its cells."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        record_timing=False,
        # A progress bar's carriage returns and the pieces of one stream become one text.
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    with tqdm(total=cells, desc=path.stem, unit="cell") as progress:
        client.on_cell_executed = lambda **_: progress.update()
        try:
            with (report / "kernels.log").open("ab") as log, asyncio.Runner(loop_factory=_InterruptibleLoop) as runner:
                return runner.run(_run(client, env=environment, stderr=log))
        except (CellExecutionError, DeadKernelError) as error:
            failed = report / f"{path.stem}.failed.ipynb"
            write_text(failed, nbformat.writes(notebook))
            what = (
                f"The kernel of {path.name} was killed, as systems do when memory is full; close other programs or "
                "make NSYNTH_BATCH_SIZE or NSYNTH_SECONDS smaller"
                if isinstance(error, DeadKernelError)
                else f"{path.name} stopped at a cell that raised {error.ename} ({shown(error.evalue, 600)})"
            )
            raise InputError(f"{what}; see {failed} for the pages up to there.") from None


class _InterruptibleLoop(asyncio.SelectorEventLoop):
    """Leaves Ctrl-C to asyncio, which ends the kernel on its way out; nbclient's own handler ends in a traceback."""

    def add_signal_handler(self, *_):
        raise NotImplementedError


async def _run(client: NotebookClient, **options) -> nbformat.NotebookNode:
    try:
        return await client.async_execute(**options)
    except DeadKernelError:
        if asyncio.current_task().cancelling():  # by Ctrl-C, which nbclient takes for the kernel's death
            raise asyncio.CancelledError from None
        raise


class _FormulaRenderer(IPythonRenderer):
    """Writes formulas as MathML, which browsers show by themselves; nbconvert's own need MathJax from the network."""

    def block_math(self, body: str) -> str:
        return latex_to_mathml(body, display="block")

    def inline_math(self, body: str) -> str:
        return latex_to_mathml(body)


class _Exporter(HTMLExporter):
    @pass_context
    def markdown2html(self, context, source: str) -> str:
        """Markdown of cells and outputs to HTML; nbconvert looks this filter up by its name."""
        # Pictures are embedded from a folder and those below it; notebooks name them from a folder beside theirs.
        renderer = _FormulaRenderer(escape=False, embed_images=True, path=str(PROJECT_ROOT))
        return MarkdownWithMath(renderer=renderer).render(source.replace("](../figures/", "](figures/"))


def _export(notebook: nbformat.NotebookNode, path: Path) -> None:
    notebook = copy.deepcopy(notebook)
    alive = view.without_kernel(notebook)
    notebook.metadata.pop("widgets", None)  # other widgets need a kernel, and their manager a network
    page, _ = _Exporter(template_name="lab").from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    page = re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="\1.html', page)  # the next notebook's page lies beside this one
    page = page.replace("</head>", f"<style>{FORMULA_STYLE}</style></head>", 1)
    if alive:
        page = f"{view.script()}</body>".join(page.rsplit("</body>", 1))
    write_text(path, page)


def _index(items: list[str], settings: Settings) -> str:
    mini = "<p>nsynth-mini is a small stand-in for trying the workbook out: its numbers say nothing about NSynth.</p>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Learning NSynth: report</title>'
        f"<style>{STYLE}</style></head><body><h1>Learning NSynth with LSTM and BLSTM</h1>"
        f"<p>Every notebook, run in order on <b>{html.escape(settings.data_name)}</b> with {settings.epochs} epochs of "
        f"training.</p>{mini * (settings.data == MINI)}<ul>{''.join(items)}</ul></body></html>\n"
    )
