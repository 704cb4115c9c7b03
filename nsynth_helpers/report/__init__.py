"""Execute the notebooks in their order and export them as an HTML report."""

import asyncio
import os
import subprocess
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from tqdm.auto import tqdm

from nsynth_helpers.analysis.tables import epochs
from nsynth_helpers.report.pages import Pages, title_of
from nsynth_helpers.settings import MINI, PROJECT_ROOT, InputError, Settings, shown, write_text
from nsynth_helpers.training.runs import Run, keep_run, read_manifest

NOTEBOOKS = PROJECT_ROOT / "notebooks"
# In the order of the book; a reader's own notebooks beside them are left alone.
CHAPTERS = ("[0-9]*.ipynb", "your_own_sound.ipynb")
CELL_SECONDS = 24 * 3600
KEPT_NETWORKS = ("lstm", "blstm")


def make_report(settings: Settings, refresh: bool = False, pdf: bool = False) -> Path:
    """Execute every notebook, which read the same environment, and write the report; return its ``index.html``.

    With `refresh` also what is committed is overwritten: notebooks, ``figures/`` and ``results/mini-*``. With `pdf`
    the chapters are printed in the end. If a cell fails, an `InputError` says so; the executed part of its notebook is
    kept beside the report.
    """
    if refresh:
        _refuse_to_refresh(settings)
    settings.report.mkdir(parents=True, exist_ok=True)
    figures = PROJECT_ROOT / "figures" if refresh else settings.figures
    environment = {**os.environ, "NSYNTH_FIGURES": str(figures), "TQDM_DISABLE": "1"}
    paths = notebook_paths()
    pages = Pages(settings.report, {path.stem: title_of(nbformat.read(path, as_version=4)) for path in paths})
    for path in paths:
        started, before = time.perf_counter(), path.read_bytes()
        notebook = execute(path, settings.report, environment)
        pages.write(path.stem, notebook, f"ran in {time.perf_counter() - started:.0f} s")
        if refresh:
            if path.read_bytes() != before:
                raise InputError(f"{path} was edited while it ran and is left as it is; commit it, then refresh again.")
            write_text(path, nbformat.writes(notebook) + "\n")
    if refresh:
        newest = {entry["network"]: settings.runs / entry["run"] for entry in read_manifest(settings.runs)}
        for network in KEPT_NETWORKS:
            keep_run(Run(newest[network]), settings.results / f"mini-{network}")
    mini = "\n\nnsynth-mini is a small stand-in for trying the workbook out: its numbers say nothing about NSynth."
    told = f"Every notebook, run in order on `{settings.data_name}` with {epochs(settings.epochs)} of training."
    index = pages.write_index(told + mini * (settings.data == MINI))
    if pdf:
        pages.print_chapters()
    return index


def notebook_paths() -> list[Path]:
    """The notebooks of the book, in their order."""
    return [path for pattern in CHAPTERS for path in sorted(NOTEBOOKS.glob(pattern))]


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
