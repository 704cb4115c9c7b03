"""The grid of ablations: killed and resumed, side by side, in order, and one variant at a time."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import soundfile

from nsynth_helpers.data.cache import load_splits
from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE
from nsynth_helpers.settings import PROJECT_ROOT, InputError, Settings
from nsynth_helpers.training import grid as ablations
from nsynth_helpers.training.grid import (
    CORE_EPOCHS,
    ENVIRONMENT,
    GRID,
    MINI_DATA,
    MINOR_EPOCHS,
    OUTCOMES,
    REAL_DATA,
    Variant,
    read_outcomes,
    read_results,
    run_grid,
    trials,
)
from nsynth_helpers.training.runs import Run, RunConfig, run_folder

# Seconds after which a process that should have got somewhere is given up; a start takes long on a busy machine.
RETRY_POLICY = 300
TINY = {"hidden_size": 4, "num_layers": 1}
SHORT = {"seconds": 0.1}
NUMBERS = ["test_accuracy", "valid_accuracy", "seen_accuracy", "unseen_accuracy", "train_accuracy"]


def tiny_variant(name: str, epochs: int = 2, **changes) -> Variant:
    changes = SHORT | changes
    return Variant("live", name, network_arguments=TINY, changes=changes, epochs=epochs, seeds={REAL_DATA: 1})


TWO = (tiny_variant("16", batch_size=16), tiny_variant("8", batch_size=8))
# The grid as a process of its own, which can be killed: folders and the number of jobs are its arguments.
SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from test_grid import TWO, tiny_variant
from nsynth_helpers.training.grid import trials, run_grid
from nsynth_helpers.settings import Settings

if __name__ == "__main__":
    torch.set_num_threads(1)
    results, notes, work, jobs, epochs = *map(Path, sys.argv[1:4]), *map(int, sys.argv[4:])
    settings = replace(Settings.from_environment({"NSYNTH_DEVICE": "cpu"}), cache=work / "cache", runs=work / "runs")
    grid = [replace(variant, epochs=epochs) for variant in TWO]
    run_grid(trials(grid), results, settings, notes, jobs)
"""


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    """A folder in the official layout: a tenth of a second of each family; half of the test instruments are new."""
    folder = tmp_path_factory.mktemp("nsynth")
    random = np.random.default_rng(0)
    for number, (split, count) in enumerate({"train": 4, "valid": 2, "test": 2}.items()):
        audio = folder / f"nsynth-{split}" / "audio"
        audio.mkdir(parents=True)
        names = [
            f"{family}_acoustic_{7 * (split == 'test' and note):03d}-{40 + note:03d}-{number:03d}"
            for family, note in itertools.product(FAMILIES, range(count))
        ]
        for name in names:
            wave = random.uniform(-0.5, 0.5, SAMPLE_RATE // 10)
            soundfile.write(audio / f"{name}.flac", wave, SAMPLE_RATE)
        (audio.parent / "examples.json").write_text(json.dumps({name: {} for name in names}))
    return folder


@pytest.fixture
def settings(tmp_path):
    given = Settings.from_environment({"NSYNTH_DEVICE": "cpu"})
    return replace(given, cache=tmp_path / "cache", runs=tmp_path / "runs")


def numbers(table: pd.DataFrame) -> pd.DataFrame:
    """What does not depend on the clock or on which trial ended first."""
    return table.drop(columns="seconds").sort_values(["variant", "seed"], ignore_index=True)


@contextmanager
def running(folder, notes, results, jobs: int, epochs: int) -> Iterator[subprocess.Popen]:
    """Run the grid in another process, which is killed at the end at the latest."""
    script = folder / "grid.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    command = [sys.executable, script, results, notes, folder, str(jobs), str(epochs)]
    with subprocess.Popen(list(map(str, command)), env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def wait_for(condition, process: subprocess.Popen | None = None) -> None:
    """Wait until something has happened, for as long as the process runs."""
    ends = time.monotonic() + RETRY_POLICY
    while not condition():
        assert process is None or process.poll() is None, "the grid ended before it could be killed"
        assert time.monotonic() < ends, f"nothing of the kind in {RETRY_POLICY} s"
        time.sleep(0.01)


def children(process: subprocess.Popen) -> set[int]:
    """Processes whose parent is this one."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return {int(pid) for pid in found.stdout.split()}


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state) and not state.startswith("Z")


# So many that a kill comes before the last, also where the machine is busy.
EPOCHS = 60
LONG = tuple(replace(variant, epochs=EPOCHS) for variant in TWO)


@pytest.fixture(scope="module")
def uninterrupted(notes, tmp_path_factory):
    """The two-trial grid in one go, the measure of all others."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    given = replace(Settings.from_environment({"NSYNTH_DEVICE": "cpu"}), cache=folder / "cache", runs=folder / "runs")
    return run_grid(trials(LONG), folder / "ablations.csv", given, notes)


def test_a_grid_killed_in_its_second_cell_is_resumed_and_ends_as_an_uninterrupted_one(
    notes, settings, uninterrupted, tmp_path
):
    results, runs = tmp_path / "ablations.csv", settings.runs / "ablations"
    # Of the second trial alone: the run of the first is deleted as soon as its row is kept.
    trial = trials(LONG)[1]
    given = replace(settings, data=str(notes), seconds=SHORT["seconds"], runs=runs)
    second = run_folder(given, trial.variant.config(trial.seed), load_splits(given))
    with running(tmp_path, notes, results, 1, EPOCHS) as process:
        wait_for(lambda: len(Run(second).history), process)
    assert read_results(results)["variant"].tolist() == ["16"]
    assert list(runs.iterdir()) == [second]
    assert 0 < len(Run(second).history) < EPOCHS
    table = run_grid(trials(LONG), results, settings, notes)
    pd.testing.assert_frame_equal(numbers(table), numbers(uninterrupted))
    assert not any(runs.iterdir()), "a run was left behind although its row is kept"
    assert json.loads(results.with_suffix(ENVIRONMENT).read_text())["jobs"] == 1


def test_jobs_side_by_side_give_the_same_rows_and_die_with_their_parent(notes, settings, uninterrupted, tmp_path):
    results, runs = tmp_path / "ablations.csv", settings.runs / "ablations"
    with running(tmp_path, notes, results, 2, EPOCHS) as process:
        wait_for(lambda: any(runs.glob("*/history.csv")), process)
        workers = children(process)
        assert len(workers) >= 2
        wait_for(lambda: len(read_results(results)), process)
    # Nobody takes the rows of workers that train on.
    wait_for(lambda: not any(map(alive, workers)))
    table = run_grid(trials(LONG), results, settings, notes)
    pd.testing.assert_frame_equal(numbers(table), numbers(uninterrupted))


def test_a_second_process_waits_and_trains_nothing_twice(notes, settings, uninterrupted, tmp_path, monkeypatch, capsys):
    """Two grids at once would delete each other's runs."""
    results = tmp_path / "ablations.csv"
    with running(tmp_path, notes, results, 1, EPOCHS) as process:
        wait_for((settings.runs / "ablations").is_dir, process)
        with monkeypatch.context() as patch:
            patch.setattr(ablations, "train_trial", lambda *_: pytest.fail("trained what the other process trains"))
            table = run_grid(trials(LONG), results, settings, notes)
        process.wait(RETRY_POLICY)
    assert process.returncode == 0
    assert f"runs a grid of ablations in {settings.runs}; waiting for it" in capsys.readouterr().err
    pd.testing.assert_frame_equal(numbers(table), numbers(uninterrupted))


def test_what_is_done_is_skipped(notes, settings, tmp_path, monkeypatch):
    """Also where every variant's name is a number, which csv would give back as one."""
    results = tmp_path / "ablations.csv"
    grid = trials(TWO)
    first = run_grid(grid[:1], results, settings, notes)
    assert json.loads((tmp_path / "ablations.environment.json").read_text())["torch"]
    trained = []
    train = ablations.train_trial
    monkeypatch.setattr(ablations, "train_trial", lambda trial, *rest: trained.append(trial) or train(trial, *rest))
    whole = run_grid(grid, results, settings, notes)
    assert trained == grid[1:]
    pd.testing.assert_frame_equal(whole[:1], first)
    pd.testing.assert_frame_equal(run_grid(grid, results, settings, notes), whole)
    assert trained == grid[1:]
    assert whole["variant"].tolist() == ["16", "8"]


def test_a_row_tells_what_was_trained_and_how_it_scored(notes, settings, tmp_path):
    (trial,) = trials((tiny_variant("tiny"),))
    row = run_grid([trial], tmp_path / "ablations.csv", settings, notes).iloc[0]
    assert row[ablations.KEY].to_dict() == trial.key
    assert (row["train_notes"], row["test_notes"]) == (40, 20)
    # Half of the test notes are of instruments that train has.
    assert row["test_accuracy"] == pytest.approx((row["seen_accuracy"] + row["unseen_accuracy"]) / 2)
    assert row["parameters"] == sum(p.numel() for p in trial.variant.config(1).build_network().parameters())
    assert row["seconds"] > 0
    assert row[NUMBERS].between(0, 1).all()


def shares_of_right(answers: pd.DataFrame) -> pd.DataFrame:
    """Of each training the share of right answers (mean) and how many answers there are (size)."""
    answers = answers.astype({"note_str": str, "predicted": str})
    right = answers["predicted"] == answers["note_str"].str.split("_").str[0]
    return answers.assign(right=right).groupby(ablations.KEY, observed=True)["right"].agg(["mean", "size"])


def test_what_each_network_answered_is_kept_once_also_after_a_kill_before_its_row(notes, settings, tmp_path):
    results, grid = tmp_path / "ablations.csv", trials(TWO)
    table = run_grid(grid, results, settings, notes)
    answers = read_outcomes(results)
    shares = shares_of_right(answers)
    assert shares["size"].tolist() == [20, 20]
    assert shares["mean"].to_dict() == pytest.approx(table.set_index(ablations.KEY)["test_accuracy"].to_dict())
    assert set(answers["data"]) == {REAL_DATA} and set(answers["seed"]) == {1}
    table[:1].to_csv(results, index=False)  # as if killed between the two files
    run_grid(grid, results, settings, notes)
    assert len(read_outcomes(results)) == 40


@pytest.mark.parametrize("name", ["ablations.csv", "studio/steps.csv"])
def test_each_committed_row_has_the_answers_that_make_its_accuracy(name):
    results = PROJECT_ROOT / "results" / name
    committed = read_results(results).set_index(ablations.KEY)[["test_accuracy", "test_notes"]]
    found = shares_of_right(read_outcomes(results)).to_dict("index")
    assert found == committed.set_axis(["mean", "size"], axis=1).to_dict("index")


def test_a_damaged_table_of_answers_is_refused_before_the_training(notes, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "train_trial", lambda *_: pytest.fail("trained for a table that is not one"))
    (tmp_path / "ablations.csv").with_suffix(OUTCOMES).write_text("a list")
    with pytest.raises(InputError, match=r"outcomes\.parquet cannot be used"):
        run_grid(trials(TWO), tmp_path / "ablations.csv", settings, notes)


def test_real_cells_wait_for_a_folder_of_real_notes(settings, tmp_path):
    table = run_grid(trials(TWO), tmp_path / "ablations.csv", settings, None)
    assert table.empty
    assert not list(tmp_path.iterdir()), "nothing was trained, so nothing should be written"


def test_a_failing_cell_leaves_the_finished_rows_and_its_sentence(notes, settings, tmp_path):
    grid = trials((TWO[0], tiny_variant("nonsense", optimizer="nonsense")))
    with pytest.raises(InputError, match=r"cannot be used \(optimizer: "):
        run_grid(grid, tmp_path / "ablations.csv", settings, notes)
    assert read_results(tmp_path / "ablations.csv")["variant"].tolist() == ["16"]


def test_after_a_failing_cell_no_waiting_one_is_begun(notes, settings, tmp_path, monkeypatch):
    begun = []

    def train(trial, *_):
        begun.append(trial)
        if len(begun) == 1:
            raise InputError("It fails.")
        time.sleep(0.2)

    monkeypatch.setattr(ablations, "train_trial", train)
    # Threads take the place of the processes, which are slow to start.
    monkeypatch.setattr(ablations, "ProcessPoolExecutor", lambda jobs, *_, **__: ThreadPoolExecutor(jobs))
    with pytest.raises(InputError, match="It fails"):
        run_grid(trials([replace(TWO[0], seeds={REAL_DATA: 40})]), tmp_path / "ablations.csv", settings, notes, jobs=2)
    assert len(begun) < 10


def test_the_run_is_kept_until_its_row_is(notes, settings, tmp_path, monkeypatch):
    """A kill between the training and the table must not cost the training."""
    grid = trials(TWO[:1])
    with monkeypatch.context() as patch:
        patch.setattr(ablations, "write_table", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_grid(grid, tmp_path / "ablations.csv", settings, notes)
    (folder,) = (settings.runs / "ablations").iterdir()
    assert Run(folder).finished


# The grid itself


def test_the_most_important_rows_come_first_and_all_seeds_of_a_row_together():
    grid = trials()
    rows = itertools.groupby(grid, lambda trial: (trial.variant, trial.data))
    rows = [(variant, data, [trial.seed for trial in same]) for (variant, data), same in rows]
    wanted = [(variant, data, count) for variant in GRID for data, count in variant.seeds.items()]
    assert rows == [(variant, data, list(range(1, count + 1))) for variant, data, count in wanted]
    groups = [trial.variant.group for trial in grid]
    assert groups[: groups.count("core")] == ["core"] * groups.count("core")


def test_core_rows_and_the_rates_that_were_chosen_have_eight_seeds_others_six():
    for variant in GRID:
        if variant.group == "rate":
            assert variant.seeds in ({MINI_DATA: 2}, {MINI_DATA: 8}), variant.name
        elif variant.group == "log-mel":
            assert variant.seeds == {REAL_DATA: 6}, variant.name
        else:
            assert variant.seeds[MINI_DATA] == (8 if variant.group == "core" else 6), variant.name
    eight = {v.name for v in GRID if v.group == "rate" and v.seeds[MINI_DATA] == 8}
    assert eight == {"LSTM, SGD at 0.8", "BLSTM, SGD at 0.8", "LSTM, Adam at 0.00025"}


def test_no_two_cells_are_the_same_by_key_or_by_what_they_train():
    grid = trials()
    keys = {tuple(trial.key.values()) for trial in grid}
    trained = {json.dumps([trial.data, asdict(trial.variant.config(trial.seed))]) for trial in grid}
    assert len(keys) == len(trained) == len(grid)


BASELINES = {variant.baseline for variant in GRID} | {"log-mel BLSTM"}


def test_each_row_changes_one_thing_of_the_2018_network():
    for variant in GRID:
        start_from = "blstm" if "BLSTM" in variant.name else "lstm"
        assert variant.network in (start_from, "gru", "rnn")
        baseline = asdict(RunConfig(start_from, epochs=variant.epochs, seed=1))
        config = asdict(variant.config(1))
        arguments = config.pop("network_arguments")
        assert arguments.pop("front_end", "frames") == ("log_mel" if variant.group == "log-mel" else "frames")
        changed = {name for name, value in config.items() if value != baseline[name]} | set(arguments)
        # AdamW without weight decay is Adam: the two go together.
        expected = {"optimizer", "weight_decay"} if variant.name == "AdamW" else changed
        if variant.group == "rate":
            expected = changed - {"optimizer"}
            changed -= {"optimizer"}
        assert changed == expected
        assert len(changed) == (0 if variant.name in BASELINES else len(expected)), variant.name
        assert len(expected) <= 1 or variant.name == "AdamW", variant.name


def test_every_row_has_its_baseline_with_the_same_data_and_epochs():
    there = {(variant.name, variant.epochs, data) for variant in GRID for data in variant.seeds}
    for variant in GRID:
        for data in variant.seeds:
            assert (variant.baseline, variant.epochs, data) in there, variant.name
    assert {variant.epochs for variant in GRID} == {CORE_EPOCHS, MINOR_EPOCHS}


def test_core_and_log_mel_rows_alone_are_trained_on_real_notes():
    assert all((REAL_DATA in variant.seeds) == (variant.group in ("core", "log-mel")) for variant in GRID)
    assert all(MINI_DATA in variant.seeds or variant.group == "log-mel" for variant in GRID)


# Files of another kind


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "name,grade\nAda,1\n"),
        ("a.csv", ""),
        ("a.csv", "\0\1"),
        ("a.csv", ",".join(ablations.KEY + ablations.MEASURES) + "\n" + ",".join(["x"] * 16)),
        ("a.csv", None),
        ("a.txt", "a list"),
        ("a.parquet", None),
        ("a.environment.json", '{"editor": "vim"}'),
        ("a.environment.json", "a list"),
    ],
)
def test_a_table_of_another_kind_is_refused_before_the_training(settings, notes, tmp_path, name, content, monkeypatch):
    monkeypatch.setattr(ablations, "train_trial", lambda *_: pytest.fail("trained for a table that is not one"))
    path = tmp_path / name
    path.mkdir() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=r"choose another|choose a name"):
        run_grid(trials(TWO), tmp_path / name.replace(".environment.json", ".csv"), settings, notes)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert content is None or path.read_text() == content


def test_a_mistyped_folder_of_real_notes_is_told_before_the_training(settings, tmp_path):
    with pytest.raises(InputError, match="nsynth-gone holds no train split"):
        run_grid(trials(), tmp_path / "ablations.csv", settings, tmp_path / "nsynth-gone")
    assert not list(tmp_path.iterdir())


def test_what_the_user_put_into_a_trials_run_stays(notes, settings, tmp_path, monkeypatch):
    write = ablations.write_table

    def write_a_note(path, table):
        (folder,) = (settings.runs / "ablations").iterdir()
        (folder / "notes.txt").write_text("odd")
        write(path, table)

    monkeypatch.setattr(ablations, "write_table", write_a_note)
    run_grid(trials(TWO[:1]), tmp_path / "ablations.csv", settings, notes)
    assert [path.name for path in (settings.runs / "ablations").glob("*/*")] == ["notes.txt"]


def test_the_committed_table_is_read_with_the_name_of_its_column_before_2026_11():
    table = read_results(PROJECT_ROOT / "results" / "ablations.csv")
    assert list(table.columns) == ablations.KEY + ablations.MEASURES
    assert set(table["variant"]) <= {variant.name for variant in GRID}
    assert len(table) > 100
