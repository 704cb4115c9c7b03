"""Settings: defaults, paths, and the sentence for each bad value."""

from dataclasses import fields
from pathlib import Path

import pytest

from nsynth_helpers.settings import PROJECT_ROOT, InputError, Settings

BAD_VALUES = [
    ("NSYNTH_DATA", "no/such/folder"),
    ("NSYNTH_SECONDS", "one"),
    ("NSYNTH_SECONDS", "0"),
    ("NSYNTH_SECONDS", "0.001"),
    ("NSYNTH_SECONDS", "nan"),
    ("NSYNTH_SECONDS", "10"),
    ("NSYNTH_EPOCHS", "2.5"),
    ("NSYNTH_EPOCHS", "0"),
    ("NSYNTH_BATCH_SIZE", "-1"),
    ("NSYNTH_LEARNING_RATE", "inf"),
    ("NSYNTH_LEARNING_RATE", "fast"),
    ("NSYNTH_SEED", "-1"),
    ("NSYNTH_SEED", str(2**32)),
    ("NSYNTH_WORKERS", "-2"),
    ("NSYNTH_WORKERS", "100000"),
    ("NSYNTH_DEVICE", "gpu"),
    ("NSYNTH_PRECISION", "8"),
    ("NSYNTH_DEVICES", "0"),
    ("NSYNTH_NODES", "none"),
    ("NSYNTH_RETRAIN", "maybe"),
    ("NSYNTH_CACHE", "README.md/cache"),
    ("NSYNTH_RUNS", "README.md"),
    ("NSYNTH_FIGURES", "README.md"),
    ("NSYNTH_REPORT", "README.md"),
    ("NSYNTH_RESULTS", "README.md"),
]


@pytest.mark.parametrize(("variable", "value"), BAD_VALUES)
def test_bad_value_ends_in_one_sentence(variable, value):
    with pytest.raises(InputError) as caught:
        Settings.from_environment({variable: value})
    sentence = str(caught.value)
    assert sentence.startswith(f"{variable} is '{value}'")
    assert "set it to" in sentence and sentence.endswith(".") and "\n" not in sentence


def test_every_variable_has_a_bad_value():
    assert {variable for variable, _ in BAD_VALUES} == {f"NSYNTH_{field.name.upper()}" for field in fields(Settings)}


def test_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"NSYNTH_CACHE .* cannot be written to"):
        Settings.from_environment({"NSYNTH_CACHE": str(tmp_path / "cache")})
    assert Settings.from_environment({"NSYNTH_RESULTS": str(tmp_path)}).results == tmp_path


def test_nothing_set_gives_the_2018_configuration():
    settings = Settings.from_environment({"NSYNTH_EPOCHS": "  "})
    assert (settings.epochs, settings.batch_size, settings.learning_rate, settings.seconds) == (20, 32, 0.0008, 1.0)
    assert settings.data_folder == PROJECT_ROOT / "data" / "nsynth-mini"
    assert settings.data_name == "nsynth-mini"


def test_relative_paths_start_at_the_project_wherever_a_kernel_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment(
        {"NSYNTH_DATA": "data", "NSYNTH_CACHE": "build/other", "NSYNTH_RUNS": "~/runs"}
    )
    assert settings.data_folder == PROJECT_ROOT / "data"
    assert settings.cache == PROJECT_ROOT / "build" / "other"
    assert settings.runs == Path.home() / "runs"
    assert settings.figures == PROJECT_ROOT / "build" / "figures"


@pytest.mark.parametrize(("text", "value"), [("1", True), ("YES", True), ("0", False), ("false", False)])
def test_truth(text, value):
    assert Settings.from_environment({"NSYNTH_RETRAIN": text}).retrain is value
