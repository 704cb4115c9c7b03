"""A real JupyterLab on loopback and Debian's Chromium, for tests that touch the widgets as a reader does."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import requests

from conftest import PATIENCE
from nsynth_helpers.report.pages import BROWSERS

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "browser"


@pytest.fixture(scope="module")
def chromium():
    """A headless browser; tests are skipped where none is installed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)}): apt-get install chromium")
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shots():
    """Where screenshots and times are kept, to be looked at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS


class Lab:
    """A JupyterLab server, and pages of its notebooks."""

    def __init__(self, browser, folder: Path):
        self.browser, self.folder, self.token = browser, folder, secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{free.getsockname()[1]}"
        options = [
            "--no-browser",
            "--allow-root",
            f"--port={self.address.rpartition(':')[2]}",
            f"--ServerApp.root_dir={folder}",
            f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True",
        ]
        environment = {
            # Unless `make test` says otherwise; what one notebook trains is found by the next.
            "NSYNTH_EPOCHS": "1",
            "NSYNTH_RUNS": str(folder / "runs"),
            "NSYNTH_FIGURES": str(folder / "drawn"),
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "TQDM_DISABLE": "1",
            "OMP_NUM_THREADS": "1",
        }
        # No question of news on the page, and no saving but the tests' own: a save gives up where another is under way.
        for plugin, chosen in (
            ("apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False}),
            ("docmanager-extension/plugin", {"autosave": False}),
        ):
            path = folder / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(chosen))
        self.log = (folder / "lab.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=self.log, stderr=subprocess.STDOUT
        )

    def wait(self) -> None:
        """Until the server answers."""
        for _ in range(2 * PATIENCE):
            assert self.process.poll() is None, (self.folder / "lab.log").read_text()
            try:
                if requests.get(f"{self.address}/api", timeout=1).ok:
                    return
            except (requests.ConnectionError, requests.Timeout):
                time.sleep(0.5)
        raise AssertionError("JupyterLab does not answer:\n" + (self.folder / "lab.log").read_text())

    def open(self, name: str, sources, width: int = 1400, theme: str = "light"):
        """A page with a notebook of these code cells, all of them run; fails if one raised."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in sources],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        nbformat.write(notebook, self.folder / f"{name}.ipynb")
        page = self.show(f"{name}.ipynb", width, theme)
        self.run_all(page)
        return page

    def show(self, path: str, width: int = 1400, theme: str = "light"):
        """A page with the notebook at a path below the server's folder, as it is."""
        page = self.browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=theme)
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(f"{self.address}/lab/tree/{path}?token={self.token}&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        if theme == "dark":
            page.evaluate("jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
        return page

    def run_all(self, page) -> None:
        """Run every cell and wait for the last one."""
        page.evaluate("jupyterapp.shell.currentWidget.sessionContext.ready")
        page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
        errors = [
            output
            for cell in self.cells(page)
            for output in cell.get("outputs", [])
            if output["output_type"] == "error"
        ]
        assert not errors, "\n".join(errors[0]["traceback"])

    def reload(self, page, path: str) -> None:
        """Save the notebook and load the page again; fails if the file lacks an output that is shown."""
        page.evaluate("jupyterapp.commands.execute('docmanager:save')")
        both = self.cells(page), nbformat.read(self.folder / path, 4).cells
        shown, saved = ([len(cell.get("outputs", [])) for cell in cells] for cells in both)
        assert saved == shown, "the notebook is not saved"
        page.reload()
        page.wait_for_selector(".jp-Notebook .jp-Cell")

    @staticmethod
    def cells(page) -> list[dict]:
        """The notebook's cells as they would be saved."""
        return page.evaluate("jupyterapp.shell.currentWidget.content.model.sharedModel.cells.map(c => c.toJSON())")

    def close(self) -> None:
        """End the server and its kernels."""
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.log.close()


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """One server for the tests of a file."""
    server = Lab(chromium, tmp_path_factory.mktemp("lab"))
    try:
        server.wait()
        yield server
    finally:
        server.close()
