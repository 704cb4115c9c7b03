"""The command line: results in one last line, bad input in one sentence with exit code 2."""

import os
import re
import subprocess
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import soundfile

from nsynth_helpers import cli
from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE, SPLITS
from nsynth_helpers.models import NETWORKS
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
    """Run a command on the tiny data, from a folder that is not the project's."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    own = {key: value for key, value in os.environ.items() if not key.startswith("NSYNTH_")}
    own |= {"NSYNTH_CACHE": str(elsewhere / "cache"), "NSYNTH_DATA": str(folder), "NSYNTH_DEVICE": "cpu"}

    def run(*arguments, **variables):
        line = [sys.executable, "-m", "nsynth_helpers", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, cwd=elsewhere, env=own | variables, check=False)

    run.folder = elsewhere
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
    done = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in "123"]
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
    refused(command("evaluate", "--weights", "bad.safetensors"), "bad.safetensors", "not a safetensors file")
    refused(command("evaluate", "--weights", "none.safetensors"), "none.safetensors", "does not exist")
    refused(command("evaluate"), "--run or --weights")
    refused(command("evaluate", "--run", "nowhere"), "nowhere", "train it first")


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
