"""Training in several real processes, and on two machines, which are network namespaces here."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from conftest import LONG, audio_of, record_of
from nsynth_helpers.data.cache import load_splits
from nsynth_helpers.data.metadata import FAMILIES, LOGITS
from nsynth_helpers.settings import PROJECT_ROOT, InputError, Settings
from nsynth_helpers.training.fit import fit
from nsynth_helpers.training.predict import predict, score
from nsynth_helpers.training.runs import HISTORY_COLUMNS, Run, RunConfig

EPOCHS = 20
LONGEST = 600  # seconds that anything here may take beside other work
# Three whole batches of 32 and one too small to share; an odd number of valid notes.
NOTES = {"train": 99, "valid": 21, "test": 30}
LOST = "nsynth_helpers: Another process of this training has died, after epoch {}; run the same command again"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """The environment of the commands: tiny notes, decoded already, and one thread for each process."""
    root = tmp_path_factory.mktemp("machine")
    for number, (split, notes) in enumerate(NOTES.items()):
        audio = root / "data" / f"nsynth-{split}" / "audio"
        audio.mkdir(parents=True)
        names = [f"{FAMILIES[i % 10]}_acoustic_{number:03d}-{20 + i // 10:03d}-100" for i in range(notes)]
        (audio.parent / "examples.json").write_text(json.dumps({name: record_of(name) for name in names}))
        for name in names:
            (audio / f"{name}.wav").write_bytes(audio_of(name))
    variables = {
        **{"NSYNTH_DATA": root / "data", "NSYNTH_CACHE": root / "cache", "NSYNTH_RUNS": root / "runs"},
        **{"NSYNTH_SECONDS": "0.05", "NSYNTH_EPOCHS": EPOCHS, "NSYNTH_DEVICE": "cpu"},
        **{"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "PYTHONPATH": PROJECT_ROOT},
    }
    return {name: str(value) for name, value in variables.items()}


@pytest.fixture(scope="module")
def settings(machine):
    return Settings.from_environment(machine)


@pytest.fixture(scope="module")
def splits(settings):
    return load_splits(settings)


@pytest.fixture(scope="module")
def one(settings, splits):
    """The training of one process with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield fit(RunConfig.from_settings("lstm", settings), splits, settings)
    torch.set_num_threads(threads)


def start(machine, path: Path, launcher=(sys.executable,), **variables) -> subprocess.Popen:
    """Start ``train lstm``, as the first of a group of processes of its own, which a terminal would interrupt."""
    command = [*launcher, "-m", "nsynth_helpers", "train", "lstm", "--out", path]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(command, env=os.environ | machine | variables, cwd=PROJECT_ROOT, **pipes)


def ended(process: subprocess.Popen, others=()) -> tuple[int, str, str]:
    """Exit code, output and errors of a process; it and the others that it started have ended."""
    try:
        output, errors = process.communicate(timeout=LONGEST)
        _, alive = psutil.wait_procs(others, timeout=20)
        assert not alive
        return process.returncode, output, errors
    finally:
        with suppress(psutil.NoSuchProcess):
            others = [*others, *psutil.Process(process.pid).children(recursive=True)]
        for other in (process, *others):
            with suppress(psutil.NoSuchProcess):
                other.kill()


def started_by(process: subprocess.Popen) -> psutil.Process:
    """The one process that another has started."""
    [child] = psutil.Process(process.pid).children()
    return child


def has_trained(path: Path, epochs: int, process: subprocess.Popen) -> None:
    """Wait until a training has gone on so far."""
    deadline = time.monotonic() + LONGEST
    while len(Run(path).history) < epochs and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


@pytest.fixture(scope="module")
def two(machine, settings, splits, one) -> Run:
    """The training of two processes on one machine."""
    path = settings.runs / "two"
    code, output, errors = ended(start(machine, path, NSYNTH_DEVICES="2"))
    scores = Run(path).metrics["last"]["test"]
    assert (code, errors) == (0, "")
    assert output == f"run {path}\naccuracy {100 * scores['accuracy']:.3f} % ({scores['correct']} of 30)\n"
    return Run(path)


def test_two_processes_train_as_one_does(one, two):
    """On the same batches, with the same updates, and each note counts once: a note more or less is 0.01 or 0.05."""
    losses, accuracies = (["train_loss", "valid_loss"], ["train_accuracy", "valid_accuracy"])
    np.testing.assert_allclose(two.history[losses], one.history[losses], rtol=1e-3)
    np.testing.assert_allclose(two.history[accuracies], one.history[accuracies], atol=1e-6)


def test_two_processes_count_each_valid_note_once(two, splits):
    notes = two.config.frames(splits["valid"])
    for row in two.history.itertuples():
        scores = score(predict(two.load_network(str(row.epoch)), notes))
        assert row.valid_accuracy == pytest.approx(scores["accuracy"], abs=1e-6)
        assert row.valid_loss == pytest.approx(scores["loss"], rel=1e-5)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_predictions_are_those_of_one_process(one, two, splits, split):
    for checkpoint in ("last", "best"):
        alone = predict(two.load_network(checkpoint), two.config.frames(splits[split]), "cpu")
        pd.testing.assert_frame_equal(two.predictions(split, checkpoint)[alone.columns], alone, check_exact=True)
        assert two.metrics[checkpoint][split]["correct"] == score(alone)["correct"]
    assert len(LOGITS) == 10


def test_a_finished_run_is_not_trained_again(machine, two):
    def state():
        return {path: path.stat().st_mtime_ns for path in two.path.rglob("*") if path.name != "training.lock"}

    before = state()
    code, output, errors = ended(start(machine, two.path, NSYNTH_DEVICES="2"))
    assert (code, errors) == (0, "")
    assert output.startswith(f"run {two.path}\naccuracy ")
    assert state() == before


def same_as(run: Run, other: Run) -> bool:
    """Equal histories, but for the seconds, and weights."""
    columns = list(HISTORY_COLUMNS[:-1])
    weights = [(one.path / "last.safetensors").read_bytes() for one in (run, other)]
    return run.history[columns].equals(other.history[columns]) and weights[0] == weights[1]


@LONG
def test_a_training_of_which_any_process_ends_goes_on_after_its_last_epoch(machine, settings, two):
    """Ctrl-C in a terminal reaches all of its processes; then the second is killed, then the first."""
    path, done = settings.runs / "killed", 0
    for blow in ("interrupt", "the second", "the first"):
        process = start(machine, path, NSYNTH_DEVICES="2")
        has_trained(path, done + 3, process)
        second = started_by(process)
        if blow == "interrupt":
            os.killpg(process.pid, signal.SIGINT)
        else:
            (second if blow == "the second" else process).kill()
        code, output, errors = ended(process, [second])
        done = len(Run(path).history)
        stopped = f"nsynth_helpers: stopped after epoch {done} of {EPOCHS}; run it again to go on.\n"
        assert errors == (stopped if blow == "interrupt" else LOST.format(done) + " to go on.\n")
        assert (code, output) == ({"interrupt": 130, "the second": 2, "the first": -signal.SIGKILL}[blow], "")
        # Its own writes a killed process cannot undo; the state waits for all before it gets its name.
        assert blow == "the first" or {file.name for file in path.rglob("*.tmp")} <= {"training.tmp"}
        assert not Run(path).finished
    assert ended(start(machine, path, NSYNTH_DEVICES="2"))[0] == 0
    assert same_as(Run(path), two)


@pytest.fixture
def machines():
    """Two network namespaces with a cable between them: for each, its command prefix and its address."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need iproute2 and root")
    names = [f"nsynth{os.getpid()}{side}" for side in "ab"]
    with ExitStack() as undo:
        for name in names:
            made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"this machine makes no network namespaces ({made.stderr.strip()})")
            undo.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
        ends = [f"name veth0 netns {name}".split() for name in names]
        subprocess.run(["ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1]], check=True)
        for number, name in enumerate(names, 1):
            for change in (f"addr add 10.77.0.{number}/24 dev veth0", "link set veth0 up", "link set lo up"):
                subprocess.run(["ip", "-n", name, *change.split()], check=True)
        yield [["ip", "netns", "exec", name] for name in names]


@LONG
def test_two_machines_train_as_one_does_and_go_on_after_one_has_lost_its_process(machine, machines, settings, two):
    path = settings.runs / "machines"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    torchrun += ["--master-addr", "10.77.0.1", "--master-port", "29500", "--node-rank"]

    def begin() -> list[subprocess.Popen]:
        variables = {"NSYNTH_NODES": "2", "GLOO_SOCKET_IFNAME": "veth0"}
        return [start(machine, path, [*m, *torchrun, str(rank)], **variables) for rank, m in enumerate(machines)]

    first, second = begin()
    has_trained(path, 3, first)
    workers = [started_by(machine) for machine in (first, second)]
    workers[1].kill()
    (code, _, errors), (other, _, _) = [ended(torchrun, workers) for torchrun in (first, second)]
    assert code and other
    assert LOST.format(len(Run(path).history)) in errors
    assert {file.name for file in path.rglob("*.tmp")} <= {"training.tmp"}
    (code, output, _), (other, nothing, _) = map(ended, begin())
    assert (code, other) == (0, 0)
    assert output.startswith(f"run {path}\naccuracy ") and nothing == ""
    assert same_as(Run(path), two)


def test_a_launcher_of_another_number_of_processes_is_told(splits, settings, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(InputError, match="started 4 processes, but NSYNTH_DEVICES times NSYNTH_NODES is 2; make them"):
        fit(RunConfig(), splits, replace(settings, devices=2))
