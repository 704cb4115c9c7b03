"""Settings: defaults, paths, and the sentence for each bad value."""

import re
from dataclasses import fields
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsynth_helpers.settings import PROJECT_ROOT, InputError, Settings, one_sentence, shown

BAD_VALUES = [
    ("NSYNTH_DATA", "no/such/folder"),
    ("NSYNTH_DATA", "~nosuchuser/nsynth"),
    ("NSYNTH_DATA", "x" * 190),
    ("NSYNTH_CACHE", "~nosuchuser/cache"),
    ("NSYNTH_RUNS", "long/" * 30 + "x" * 300),
    ("NSYNTH_EPOCHS", "1" + "0" * 30),
    ("NSYNTH_BATCH_SIZE", "100000000000"),
    ("NSYNTH_LEARNING_RATE", "1e300"),
    ("NSYNTH_LEARNING_RATE", "1e-300"),
    ("NSYNTH_DEVICES", "1000000"),
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
    ("NSYNTH_SKIP_BAD", "maybe"),
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
    assert sentence.startswith(f"{variable} is '{shown(value)}'")
    assert re.search("set it to|it should be", sentence) and sentence.endswith(".") and "\n" not in sentence


def test_every_variable_has_a_bad_value():
    assert {variable for variable, _ in BAD_VALUES} == {f"NSYNTH_{field.name.upper()}" for field in fields(Settings)}


def test_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"NSYNTH_CACHE .* cannot be written to"):
        Settings.from_environment({"NSYNTH_CACHE": str(tmp_path / "cache")})
    assert Settings.from_environment({"NSYNTH_RESULTS": str(tmp_path)}).results == tmp_path


def test_a_cache_that_is_there_may_be_on_a_disk_that_takes_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert Settings.from_environment({"NSYNTH_CACHE": str(tmp_path)}).cache == tmp_path
    with pytest.raises(InputError, match=r"NSYNTH_RUNS .* cannot be written to"):
        Settings.from_environment({"NSYNTH_RUNS": str(tmp_path)})


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


def test_a_text_from_outside_is_cut_and_steers_no_terminal():
    assert shown("a\x1b[2Jb\nc\u202ed") == "a\ufffd[2Jb\ufffdc\ufffdd"
    assert shown("x" * 10_000_000 + "the end") == f"{'x' * 100} ... {'x' * 93}the end"
    sentence = str(InputError("\x1b[31m" + "y" * 10_000_000 + "; do this."))
    assert "\x1b" not in sentence and len(sentence) < 2_000 and sentence.endswith("; do this.")


def test_the_data_has_a_name_that_no_page_runs(tmp_path):
    folder = tmp_path / ("<img src=x onerror=alert(1)>" + "x" * 200)
    folder.mkdir()
    name = Settings.from_environment({"NSYNTH_DATA": str(folder)}).data_name
    assert name.startswith("_img src_x onerror_alert_1__xxx") and len(name) <= 60


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "/a/b"), "/a/b cannot be used (Permission denied); check"),
        (IsADirectoryError(21, "Is a directory", "/a\x1b"), "/a\ufffd cannot be used (Is a directory); check"),
        (OSError(28, "No space left on device", "/a/b"), "The disk of /a/b is full; free some space"),
        (RuntimeError("writing: No space left on device (os error 28)"), "The disk is full; free some space"),
        (OSError(122, "Disk quota exceeded"), "The disk is full; free some space"),
        (MemoryError(), "The memory is full; make NSYNTH_BATCH_SIZE"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "The memory is full; make NSYNTH_BATCH_SIZE"),
    ],
)
def test_what_the_machine_refuses_is_one_sentence(error, told):
    with pytest.raises(InputError) as caught, one_sentence():
        raise error
    assert str(caught.value).startswith(told) and str(caught.value).endswith(".")


@pytest.mark.parametrize("error", [ValueError("ours"), OSError("without a file"), InputError("told already.")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, one_sentence():
        raise error
    assert caught.value is error


# Whatever the environment holds: settings that can be used, or one sentence

NAMES = [f"NSYNTH_{field.name.upper()}" for field in fields(Settings)]
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=400)
NUMBERS = st.one_of(st.integers().map(str), st.floats().map(str), st.sampled_from(["1e9999", "0x10", "1_0", "٣", "-0"]))
PATHS = st.lists(
    st.sampled_from(["~", "..", ".", "/", "~root", "~nosuchuser", "data", "README.md", "x" * 300, "\x1b[2J"])
)


@hypothesis.settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), TEXTS | NUMBERS | PATHS.map("/".join), max_size=4))
def test_any_environment_gives_settings_or_one_sentence(environment):
    try:
        settings = Settings.from_environment(environment)
    except InputError as error:
        sentence = str(error)
        assert re.match(r"NSYNTH_[A-Z_]+ is '.*(set it to|it should be) .*\.$", sentence)
        assert sentence.isprintable() and len(sentence) < 1_600
    else:
        assert settings.data_folder.is_dir() and re.fullmatch(r"[\w .+-]{0,60}", settings.data_name)
        assert 0.01 <= settings.seconds <= 4 and settings.batch_size >= 1 and 0 < settings.learning_rate <= 1_000
        assert all(getattr(settings, name).is_absolute() for name in ("cache", "runs", "figures", "report", "results"))


@given(st.text(max_size=3_000), st.integers(10, 500))
def test_what_is_shown_is_printable_and_no_longer_than_asked(text, limit):
    told = shown(text, limit)
    assert told.isprintable() and len(told) <= limit + len(" ... ")
    assert told == text or not text.isprintable() or len(text) > limit


@hypothesis.settings(deadline=None)
@given(
    st.builds(
        Settings,
        seconds=st.floats(0.01, 4),
        epochs=st.integers(1, 100_000),
        learning_rate=st.floats(1e-9, 1_000),
        seed=st.integers(0, 2**32 - 1),
        device=st.sampled_from(["auto", "cpu", "cuda", "mps"]),
        retrain=st.booleans(),
    )
)
def test_settings_survive_the_environment(settings):
    names = ("seconds", "epochs", "learning_rate", "seed", "device", "retrain")
    variables = {f"NSYNTH_{name.upper()}": str(getattr(settings, name)) for name in names}
    again = Settings.from_environment(variables)
    assert [getattr(again, name) for name in names] == [getattr(settings, name) for name in names]
