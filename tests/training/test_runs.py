"""Runs on disk: their names, what is kept of them, damaged files, and folders that are not a run's."""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import TINY
from nsynth_helpers import models
from nsynth_helpers.settings import PROJECT_ROOT, InputError, Settings
from nsynth_helpers.training.fit import fit
from nsynth_helpers.training.predict import evaluate_network
from nsynth_helpers.training.runs import (
    HISTORY_COLUMNS,
    LOCK_FILE,
    MANIFEST,
    Run,
    RunConfig,
    best_epoch,
    keep_run,
    note_run,
    read_history,
    read_manifest,
    save_weights,
)


@pytest.mark.parametrize("network", models.NETWORKS)
def test_the_name_of_a_run_draws_no_random_numbers(network):
    """Else the training after it would begin from other weights."""
    before = torch.get_rng_state()
    assert len(RunConfig(network).digest({"train": "notes"})) == 8
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("config", "digest"),
    [
        (RunConfig(), "bf91d4f0"),
        (RunConfig("blstm", {"front_end": "log_mel"}, epochs=3, optimizer="sgd"), "03ac694a"),
    ],
)
def test_what_is_not_done_beyond_2018_leaves_the_name_of_a_run(config, digest):
    assert config.digest({"train": "notes"}) == digest
    others = [{"mixup": 0.2}, {"notes_per_epoch": 8}, {"schedule": "one_cycle"}, {"rendered_weight": 2.0}]
    assert len({digest, *(replace(config, **change).digest({"train": "notes"}) for change in others)}) == 5


def test_a_setting_that_is_changed_goes_over_a_recipe():
    given = Settings.from_environment({"NSYNTH_EPOCHS": "3", "NSYNTH_DEVICE": "cpu"})
    recipe = models.RECIPES["studio"]
    config = RunConfig.from_settings("studio", given)
    assert asdict(config).items() >= (recipe | {"epochs": 3}).items()
    assert RunConfig.from_settings("studio", given, epochs=20, mixup=0.0).epochs == 20
    assert RunConfig.from_settings("lstm", replace(given, epochs=20)) == RunConfig()


def test_the_best_epoch_is_that_of_the_lowest_valid_loss():
    history = pd.DataFrame({"epoch": [1, 2, 3, 4], "valid_loss": [2.0, np.nan, 1.5, 1.5]})
    assert best_epoch(history)["epoch"] == 3


def test_a_training_that_diverged_is_told():
    with pytest.raises(InputError, match="the training diverged; lower its learning rate"):
        best_epoch(pd.DataFrame({"epoch": [1, 2], "valid_loss": [np.nan, np.nan]}))


@pytest.mark.parametrize("name", ["mini-lstm", "mini-blstm", "lstm-2018"])
def test_committed_runs_are_read(name):
    run = Run(PROJECT_ROOT / "results" / name)
    assert run.metrics["last"]["test"]["correct"] > 0
    assert len(run.predictions("test")) == run.metrics["last"]["test"]["notes"]
    assert run.environment["torch"]
    assert len(run.history) == (0 if name == "lstm-2018" else run.config.epochs)


# Damaged files

CONFIG = {"config": asdict(TINY), "data": {"train": "a", "valid": "b", "name": "made up"}}


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("config.json", "", "invalid json"),
        ("config.json", "\0\xff", "invalid json"),
        ("config.json", json.dumps(CONFIG)[:-20], "invalid json"),
        ("config.json", "[" * 100_000, "invalid json"),
        ("config.json", "[1]", "content"),
        ("config.json", json.dumps({"data": {}}), r"\(config:"),
        ("config.json", json.dumps({"config": asdict(TINY) | {"epochs": "4"}}), r"\(config\.epochs"),
        ("config.json", json.dumps({"config": asdict(TINY) | {"epochs": 0}}), r"\(config\.epochs"),
        ("config.json", json.dumps({"config": asdict(TINY) | {"shuffle": 1}}), r"\(config\.shuffle"),
        ("config.json", json.dumps({"config": asdict(TINY) | {"later": 1}}), r"\(config\.later"),
        ("metrics.json", "{}", r"\(training_seconds:"),
        ("metrics.json", '{"last": null}', r"\(training_seconds:"),
        ("metrics.json", '{"training_seconds": 1, "last": {"epoch": "x"}}', r"\(last\.epoch:"),
        ("metrics.json", None, "No such file"),
        ("environment.json", '{"torch": [1]}', r"\(torch\."),
    ],
)
def test_a_damaged_file_is_told_with_field_and_remedy(tiny_copy, file, content, told):
    path = tiny_copy.path / file
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=rf"{file}.*{told}.*choose a finished run, or delete this one"):
        _ = tiny_copy.config, tiny_copy.metrics, tiny_copy.environment


def damaged_history(text: str, kind: str) -> str:
    lines = text.splitlines()
    return {
        "empty": "",
        "of another kind": "a,b\n1,2\n",
        "binary": "\0\1\2",
        "of words": text.replace(lines[2].split(",")[1], "word"),
        "cut off in a row": text[: -len(lines[-1]) // 2],
        "an epoch missing": "\n".join(lines[:2] + lines[3:]),
        "an epoch twice": "\n".join([*lines, lines[-1]]),
        "a row short": "\n".join(lines[:-1]),
        "a row over": "\n".join([*lines, lines[-1].replace("4,", "5,", 1)]),
        "an absurd accuracy": text.replace(lines[2].split(",")[2], "43.5"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("empty", "of another kind", "binary", "of words", "cut off in a row", "an epoch missing", "an epoch twice"),
        *("a row short", "a row over", "an absurd accuracy"),
    ],
)
def test_a_damaged_history_is_told(tiny_copy, kind):
    path = tiny_copy.path / "history.csv"
    path.write_text(damaged_history(path.read_text(), kind))
    with pytest.raises(InputError, match=r"history\.csv .*(--retrain)"):
        _ = tiny_copy.history


def test_damaged_predictions_are_told(tiny_copy):
    path = tiny_copy.path / "predictions.parquet"
    whole, table = path.read_bytes(), pd.read_parquet(path)
    kinds = {
        "cut off": whole[: len(whole) // 2],
        "empty": b"",
        "of another kind": table.drop(columns="logit_bass").to_parquet(),
        "words": table.assign(logit_bass="loud").to_parquet(),
        "not finite": table.assign(logit_bass=np.nan).to_parquet(),
        "no family": table.assign(family="drum").to_parquet(),
        "a note twice": pd.concat([table, table[:1]]).to_parquet(),
    }
    for kind, content in kinds.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"predictions\.parquet cannot be used .*; put it back"):
            pytest.fail(f"{kind} was taken: {len(tiny_copy.predictions())}")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tiny_copy, value):
    """They would score what always guessing the first family scores, without a word."""
    network = tiny_copy.load_network()
    with torch.no_grad():
        network.out.bias[3] = value
    save_weights(network, tiny_copy.path / "last.safetensors")
    with pytest.raises(InputError, match=r"last\.safetensors holds weights that are no finite numbers"):
        tiny_copy.load_network()


# Folders


def contents(folder: Path) -> dict:
    """Everything below a folder, byte by byte."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.is_file() and path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def users(path: Path) -> Path:
    """A folder of the user's."""
    (path / "work").mkdir(parents=True)
    (path / "thesis.txt").write_text("three years")
    (path / "work" / "sound.wav").write_text("a recording")
    return path


def not_a_runs(kind: str, root: Path, run: Run) -> Path:
    """A path that no run may be written to; everything is below `root`."""
    path = root / "out"
    if kind == "the user's":
        users(path)
    elif kind == "the user's with a config.json":
        (users(path) / "config.json").write_text('{"editor": "vim"}')
    elif kind == "the user's lock alone":
        path.mkdir()
        (path / LOCK_FILE).write_text("mine")
    elif kind == "the user's empty folder in it":
        (path / "later").mkdir(parents=True)
    elif kind == "a link to the user's":
        path.symlink_to(users(root / "elsewhere"))
    elif kind == "a link to nothing":
        path.symlink_to(root / "gone")
    elif kind == "a file":
        path.write_text("a list")
    elif kind == "below a file":
        (root / "out").write_text("a list")
        path = root / "out" / "run"
    elif kind == "above runs":
        shutil.copytree(run.path, path / "run")
    elif kind == "in a run":
        path = Path(shutil.copytree(run.path, root / "run")) / "epochs"
    return path


REFUSED = r"choose another|choose a new|choose a finished run"
KINDS = [
    *("the user's", "the user's with a config.json", "the user's lock alone", "the user's empty folder in it"),
    *("a link to the user's", "a link to nothing", "a file", "below a file", "above runs", "in a run"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_is_no_runs_is_refused_and_left_as_it_is(tiny_splits, tiny_settings, tiny_run, tmp_path, kind):
    users(tmp_path / "beside")
    path = not_a_runs(kind, tmp_path, tiny_run)
    before = contents(tmp_path)
    for retrain in (False, True):
        with pytest.raises(InputError, match=REFUSED):
            fit(TINY, tiny_splits, tiny_settings, path, retrain=retrain)
        assert contents(tmp_path) == before
    with pytest.raises(InputError, match=REFUSED):
        evaluate_network(TINY.build_network(), TINY, tiny_splits["test"], "cpu", path)
    with pytest.raises(InputError, match=REFUSED):
        keep_run(tiny_run, path)
    assert contents(tmp_path) == before


def test_retraining_leaves_what_the_user_put_into_the_run(tiny_splits, tiny_settings, tiny_copy):
    users(tiny_copy.path)
    (tiny_copy.path / "epochs" / "notes.txt").write_text("epoch 2 is odd")
    (tiny_copy.path / "history.csv.4711.tmp").write_text("half")
    config = replace(TINY, epochs=1)
    run = fit(config, tiny_splits, tiny_settings, tiny_copy.path, retrain=True)
    assert (run.path / "thesis.txt").read_text() == "three years"
    assert (run.path / "work" / "sound.wav").is_file()
    assert sorted(path.name for path in (run.path / "epochs").iterdir()) == ["epoch-001.safetensors", "notes.txt"]
    assert not (run.path / "history.csv.4711.tmp").exists()
    assert len(run.history) == 1


@pytest.mark.parametrize("link", ["epochs", "last.safetensors"])
def test_a_run_with_links_in_it_is_not_retrained(tiny_splits, tiny_settings, tiny_copy, tmp_path, link):
    moved = tmp_path / "larger-disk" / link
    moved.parent.mkdir()
    shutil.move(tiny_copy.path / link, moved)
    (tiny_copy.path / link).symlink_to(moved)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="is a link or behind one"):
        fit(TINY, tiny_splits, tiny_settings, tiny_copy.path, retrain=True)
    assert contents(tmp_path) == before


def test_an_empty_folder_and_a_link_to_one_are_taken(tiny_splits, tiny_settings, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    run = fit(replace(TINY, epochs=1), tiny_splits, tiny_settings, tmp_path / "link")
    assert (tmp_path / "empty" / "metrics.json").is_file()
    assert run.finished


def test_what_is_of_use_while_training_alone_is_not_kept(tiny_copy, tmp_path):
    users(tiny_copy.path)
    (tiny_copy.path / "history.csv.123.tmp").write_text("half")
    kept = keep_run(tiny_copy, tmp_path / "kept")
    assert {path.name for path in kept.path.iterdir()} == {
        *("config.json", "environment.json", "history.csv", "best.safetensors", "last.safetensors"),
        *("predictions.parquet", "metrics.json"),
    }
    assert kept.predictions().equals(tiny_copy.predictions())
    assert {path.name for path in tmp_path.iterdir()} == {"run", "kept"}


def test_a_kept_run_is_replaced_and_what_lies_in_and_beside_it_stays(tiny_copy, tmp_path):
    kept = keep_run(tiny_copy, tmp_path / "kept")
    (kept.path / "test_by_epoch.csv").write_text("of the old run")
    (kept.path / "README").write_text("our best")
    users(tmp_path / "kept.tmp")
    beside = contents(tmp_path / "kept.tmp")
    (tiny_copy.path / "environment.json").write_text('{"torch": "3"}')
    assert keep_run(tiny_copy, tmp_path / "kept").environment == {"torch": "3"}
    assert not (kept.path / "test_by_epoch.csv").exists()
    assert (kept.path / "README").read_text() == "our best"
    assert contents(tmp_path / "kept.tmp") == beside


@pytest.mark.parametrize("place", ["run", "link", "other"])
def test_keeping_a_run_never_costs_the_epochs_of_one(tiny_copy, tmp_path, place):
    """Neither its own, also by another name, nor those of another training."""
    (tmp_path / "link").symlink_to(tiny_copy.path)
    shutil.copytree(tiny_copy.path, tmp_path / "other")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="is a run with all its epochs, not a kept one; choose another folder"):
        keep_run(tiny_copy, tmp_path / place)
    assert contents(tmp_path) == before


def test_a_kept_run_is_not_kept_over_itself(tiny_copy, tmp_path):
    kept = keep_run(tiny_copy, tmp_path / "kept")
    before = contents(kept.path)
    with pytest.raises(InputError, match="is the run itself"):
        keep_run(kept, kept.path)
    assert contents(kept.path) == before


def test_an_unfinished_run_is_not_kept(tiny_copy, tmp_path):
    (tiny_copy.path / "metrics.json").unlink()
    with pytest.raises(InputError, match="is no finished run; train it first"):
        keep_run(tiny_copy, tmp_path / "kept")


# The manifest


def test_the_manifest_tells_what_was_trained_or_found_last(tiny_copy, tmp_path):
    runs = tmp_path / "runs"
    assert read_manifest(runs) == []
    mine = Run(shutil.copytree(tiny_copy.path, runs / "lstm-1"))
    for run in (tiny_copy, mine, tiny_copy):
        note_run(run, runs)
    entries = read_manifest(runs)
    assert [(runs / entry["run"]).resolve() for entry in entries] == [mine.path, tiny_copy.path]
    assert [(entry["run"], entry["network"]) for entry in entries] == [("lstm-1", "lstm"), ("../run", "lstm")]
    times = [datetime.fromisoformat(entry["time"]) for entry in entries]
    assert times == sorted(times)
    assert all(time.utcoffset() == timedelta(0) for time in times)


@pytest.mark.parametrize("text", ["", "{}", '[{"run": "x"}]', '[{"run": 1, "network": "lstm", "time": "now"}]'])
def test_a_damaged_manifest_is_told(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json cannot be used .*; delete it"):
        read_manifest(tmp_path)


WHOLE = f"{','.join(HISTORY_COLUMNS)}\n1,2.3,0.1,2.2,0.2,1.5\n2,1.9,0.3,2.0,0.25,1.4\n"


def table(rows) -> bytes:
    return "\n".join([",".join(HISTORY_COLUMNS), *(",".join(map(repr, row)) for row in rows)]).encode()


# Bytes, a sound file with a piece exchanged, and a table of numbers that need not be those of epochs.
SHARES = st.floats(-0.5, 1.5)
HISTORIES = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda start, cut, filling: (WHOLE[:start] + filling + WHOLE[start + cut :]).encode(),
        st.integers(0, len(WHOLE)),
        st.integers(0, 40),
        st.text('0123456789.,-\nnaie "', max_size=12),
    ),
    st.builds(table, st.lists(st.tuples(st.integers(0, 3), *[SHARES | st.just(float("nan"))] * 5), max_size=3)),
)


@settings(max_examples=200, deadline=None)
@given(HISTORIES)
def test_any_history_file_is_whole_epochs_or_one_sentence(content):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "history.csv").write_bytes(content)
        try:
            history = read_history(Path(folder))
        except InputError as error:
            assert "history.csv" in str(error) and "\n" not in str(error)
            return
    assert history["epoch"].tolist() == list(range(1, len(history) + 1))
    assert history[["train_accuracy", "valid_accuracy"]].stack().between(0, 1).all()
