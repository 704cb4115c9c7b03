"""The command line: results in one last line, bad input in one sentence with exit code 2."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import nbformat
import numpy as np
import pytest
import soundfile
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from nsynth_helpers import cli
from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE, SPLITS
from nsynth_helpers.models import NETWORKS
from nsynth_helpers.settings import PROJECT_ROOT
from nsynth_helpers.training.runs import CHECKPOINTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three notes a family and split, in the official layout."""
    random = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("data")
    for index, split in enumerate(SPLITS):
        audio = root / f"nsynth-{split}" / "audio"
        audio.mkdir(parents=True)
        names = [
            f"{family}_acoustic_{index:03d}-060-{velocity:03d}" for family in FAMILIES for velocity in (25, 50, 75)
        ]
        for name in names:
            soundfile.write(audio / f"{name}.flac", random.uniform(-0.5, 0.5, SAMPLE_RATE), SAMPLE_RATE)
        records = ", ".join(f'"{name}": {{}}' for name in names)
        (audio.parent / "examples.json").write_text(f"{{{records}}}")
    return root


@pytest.fixture(scope="module")
def command(folder, tmp_path_factory):
    """Run a command on the tiny data, in this process, from a folder that is not the project's."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    own = {key: value for key, value in os.environ.items() if not key.startswith("NSYNTH_")}
    own |= {
        "PYTHONPATH": str(PROJECT_ROOT),
        "NSYNTH_CACHE": str(elsewhere / "cache"),
        "NSYNTH_DATA": str(folder),
        "NSYNTH_DEVICE": "cpu",
    }

    def run(*arguments, **variables):
        out, errors = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
            patch.setattr(sys, "argv", ["nsynth_helpers", *map(str, arguments)])
            patch.setattr(os, "environ", own | variables)
            patch.chdir(elsewhere)
            with pytest.raises(SystemExit) as end:
                cli.main()
        return subprocess.CompletedProcess(arguments, end.value.code, out.getvalue(), errors.getvalue())

    run.folder, run.variables = elsewhere, own
    return run


def test_help_comes_within_a_second_and_loads_no_torch():
    script = """
import sys, time
started = time.perf_counter()
from nsynth_helpers import cli
sys.argv = ["nsynth_helpers", "--help"]
try:
    cli.main()
finally:
    print("loaded", sorted({"torch", "pandas", "lightning"} & set(sys.modules)), time.perf_counter() - started)
"""
    # By the clock, so that waiting counts, too; tests beside this one make most tries slower.
    line = [sys.executable, "-c", script]
    done = [subprocess.run(line, capture_output=True, text=True, check=True) for _ in range(10)]
    loaded, seconds = zip(*(one.stdout.splitlines()[-1].rsplit(" ", 1) for one in done), strict=True)
    assert set(loaded) == {"loaded []"} and "Commands" in done[0].stdout
    assert min(map(float, seconds)) < 1


def test_the_names_of_the_commands_are_those_of_the_rooms():
    assert [name.value for name in cli.Network] == list(NETWORKS)
    assert [name.value for name in cli.Split] == list(SPLITS)
    assert [name.value for name in cli.Checkpoint] == list(CHECKPOINTS)


class SilentHandler(SimpleHTTPRequestHandler):
    """A server without logs; whatever is asked for is not there."""

    def log_message(self, *_):
        """Say nothing."""


def refused(done, *words):
    """Exit code 2, one sentence with these words, no traceback."""
    assert done.returncode == 2, done.stderr
    sentence = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert all(word in sentence for word in words), sentence
    assert sentence.startswith("nsynth_helpers: ")


def test_train_then_evaluate(command):
    run = command.folder / "x"
    done = command("train", "lstm", "--epochs", 2, "--out", run)
    assert done.returncode == 0, done.stderr
    pattern = r"accuracy \d+\.\d{3} % \(\d+ of 30\)"
    assert re.fullmatch(pattern, done.stdout.splitlines()[-1])
    last = command("evaluate", "--run", run, "--split", "test")
    assert last.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
    for options in (["--checkpoint", "best"], ["--split", "train"]):
        assert re.fullmatch(pattern, command("evaluate", "--run", run, *options).stdout.splitlines()[-1])
    refused(command("train", "blstm", "--epochs", 2, "--out", run), str(run), "another configuration")


def test_evaluate_refuses_bad_weights_and_bad_arguments(command):
    (command.folder / "bad.safetensors").write_bytes(b"no weights")
    refused(command("evaluate", "--weights", "bad.safetensors"), "bad.safetensors", "is no safetensors file")
    refused(command("evaluate", "--weights", "none.safetensors"), "none.safetensors", "No such file")
    refused(command("evaluate"), "--run or --weights")
    refused(command("evaluate", "--run", "nowhere"), "nowhere", "choose a finished run")


def test_bad_settings_and_bad_data_end_in_one_sentence(command):
    refused(command("prepare", NSYNTH_SECONDS="many"), "NSYNTH_SECONDS", "many")
    refused(command("prepare", "--data", "nowhere"), "nowhere", "folder")
    refused(command("prepare", "--seconds", 2), "too short", "NSYNTH_SECONDS")


def test_prepare_check_and_subset(command):
    done = command("prepare", "--seconds", 0.5)
    assert done.stdout.splitlines() == [f"{split}: 30 notes of 0.5 s, 0 left out" for split in SPLITS]
    assert any("instruments" in line for line in command("check").stdout.splitlines())
    cut = command("subset", "--per-family", 2, "--out", command.folder / "cut")
    assert cut.returncode == 0, cut.stderr
    assert command("prepare", "--data", command.folder / "cut").returncode == 0


def test_download_refuses_an_unknown_split_and_tells_of_a_missing_file(command):
    assert command("download", "somewhere", "--to", command.folder).returncode == 2
    with ThreadingHTTPServer(("127.0.0.1", 0), SilentHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/nothing/"
        refused(command("download", "test", "--to", command.folder, "--base-url", address), "nsynth-test", "404")
        server.shutdown()


# What the machine refuses: one sentence with path and remedy, whatever the command


def test_folders_and_files_in_the_way(command):
    own = command.folder / "own"
    own.mkdir()
    (own / "thesis.txt").write_text("mine")
    (command.folder / "file").write_text("mine")
    for out in (own, command.folder / "file", command.folder / "file" / "run", "."):
        refused(command("train", "lstm", "--epochs", 1, "--out", out), "choose")
        refused(command("subset", "--per-family", 1, "--out", out), "choose")
    refused(command("ablations", "--out", own), str(own), "choose")
    refused(command("ablations", "--out", command.folder / "file"), str(command.folder / "file"), "choose")
    refused(command("keep", own, own), str(own))
    refused(command("download", "test", "--to", command.folder / "file"), "file cannot be used (File exists)")
    refused(command("prepare", NSYNTH_CACHE=str(command.folder / "file" / "cache")), "NSYNTH_CACHE", "is a file")
    assert [path.name for path in own.iterdir()] == ["thesis.txt"]
    assert (command.folder / "file").read_text() == "mine"


def test_settings_and_options_that_cannot_be_used(command):
    for device in ("cuda", "mps"):
        refused(command("train", "lstm", "--epochs", 1, "--device", device), f"'{device}'", "set it to auto or cpu")
    refused(command("train", "lstm", "--epochs", 1, NSYNTH_NODES="2"), "NSYNTH_NODES is 2", "torchrun")
    refused(command("train", "lstm", "--epochs", 10**30), "NSYNTH_EPOCHS", "less than or equal to 100000")
    refused(command("check", "--data", "~nosuchuser/nsynth"), "no folder")
    refused(command("check", "--data", "x" * 5000), "NSYNTH_DATA", "set it to")
    refused(command("ablations", "--real", "mistyped", "--out", "new.csv"), f"{command.folder}/mistyped holds no train")
    refused(command("ablations", "--out", "new.csv", NSYNTH_REAL="mistyped"), f"{PROJECT_ROOT}/mistyped holds no train")
    assert not (command.folder / "new.csv").exists()
    loop = command.folder / "loop"
    loop.symlink_to(loop)
    refused(command("check", "--data", loop), "NSYNTH_DATA")


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may read and write everything")
def test_what_may_not_be_read_or_written(command, folder):
    closed = command.folder / "closed"
    shutil.copytree(folder, closed)
    out = command.folder / "unwritable"
    out.mkdir()
    for path in (closed / "nsynth-train" / "examples.json", closed / "nsynth-valid", out):
        path.chmod(0)
    cache = command.folder / "cache of somebody"
    cache.mkdir()
    cache.chmod(0o777)
    try:
        for tried, place in ((closed, "examples.json"), (folder, str(out))):
            line = [sys.executable, "-m", "nsynth_helpers", "train", "lstm", "--data", tried, "--out", out / "run"]
            if os.geteuid() == 0:
                line = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *line]
            own = command.variables | {"NSYNTH_EPOCHS": "1", "NSYNTH_CACHE": str(cache)}
            refused(subprocess.run(line, capture_output=True, text=True, env=own, check=False), place)
    finally:
        out.chmod(0o700)


def interrupt(line, file: Path, **options) -> tuple[int, str]:
    """Start a command, press Ctrl-C once it has written a file, and return exit code and stderr."""
    with subprocess.Popen([sys.executable, *line], stderr=subprocess.PIPE, text=True, **options) as process:
        deadline = time.monotonic() + 120
        while not file.exists() or not file.stat().st_size:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            errors = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert "Traceback" not in errors
    return process.returncode, errors.strip().splitlines()[-1]


def test_an_interrupt_is_one_sentence_and_130(command):
    line = ["-m", "nsynth_helpers", "train", "lstm", "--epochs", "1000", "--out", "stopped"]
    code, last = interrupt(line, command.folder / "stopped" / "history.csv", cwd=command.folder, env=command.variables)
    assert code == 130
    assert re.fullmatch(r"nsynth_helpers: stopped after epoch \d+ of 1000; run it again to go on\.", last)


def test_an_interrupted_report_leaves_no_kernel(command, tmp_path):
    cell = "import os, time\nopen('kernel', 'w').write(str(os.getpid()))\ntime.sleep(600)"
    notebook = new_notebook(cells=[new_markdown_cell("# A title"), new_code_cell(cell)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "01_tiny.ipynb")
    script = f"""
import pathlib, sys
from nsynth_helpers import cli, report
report.NOTEBOOKS = pathlib.Path({str(tmp_path)!r})
sys.argv = ["nsynth_helpers", "report"]
cli.main()
"""
    own = command.variables | {"NSYNTH_REPORT": str(tmp_path / "report")}
    code, last = interrupt(["-c", script], tmp_path / "kernel", cwd=PROJECT_ROOT, env=own)
    assert (code, last) == (130, "nsynth_helpers: interrupted; run the same command again to go on.")
    kernel = Path("/proc") / (tmp_path / "kernel").read_text()
    deadline = time.monotonic() + 30
    while kernel.exists():
        assert time.monotonic() < deadline, "the kernel runs on"
        time.sleep(0.1)


def test_clean_spares_what_took_hours(tmp_path):
    for name in ("runs/lstm-1", "cache/mini", "published-2018", "report", "figures", "test"):
        (tmp_path / "build" / name).mkdir(parents=True)
    make = ["make", "-f", str(PROJECT_ROOT / "Makefile"), "clean"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == ["cache", "published-2018", "runs"]
    subprocess.run([*make, "RUNS=1"], cwd=tmp_path, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []
