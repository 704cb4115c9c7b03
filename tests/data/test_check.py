"""The data report, on a made-up split with one fault of each kind, and on real NSynth where it is at hand."""

import os

import numpy as np
import pytest

from conftest import cached_split
from nsynth_helpers.data import check
from nsynth_helpers.data.cache import load_splits
from nsynth_helpers.data.check import check_data, doubtful_notes
from nsynth_helpers.data.metadata import OFFICIAL_FAMILY_NOTES
from nsynth_helpers.settings import Settings

SAMPLES = 1_000
TRAIN = ["bass_acoustic_001-060-100", "bass_acoustic_001-061-100", "synth_lead_synthetic_000-050-100"]
TEST = [
    "bass_acoustic_002-060-100",
    "bass_acoustic_002-009-100",
    "brass_acoustic_046-084-025",
    "brass_acoustic_046-083-025",
    "flute_synthetic_000-110-025",
    "vocal_electronic_000-060-025",
]


def noise(notes: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-30_000, 30_000, (notes, SAMPLES), dtype=np.int16)


@pytest.fixture
def waveforms():
    """Waveforms of train and test without any fault."""
    return {"train": noise(len(TRAIN), 1), "test": noise(len(TEST), 2)}


def report_of(waveforms, **options):
    test = cached_split("test", TEST, waveforms["test"], **options)
    return check_data({"train": cached_split("train", TRAIN, waveforms["train"]), "test": test})


def notes_of(report, finding: str, split: str) -> int:
    """How many notes the findings count; 0 where they have no such row."""
    findings = report.findings()
    return findings.loc[(findings["finding"] == finding) & (findings["split"] == split), "notes"].sum()


def test_nothing_wrong(waveforms):
    report = report_of(waveforms)
    assert not report.levels["silent"].any() and not report.levels["clipped"].any()
    assert report.duplicates.empty and report.left_out.empty
    assert set(report.findings()["finding"]) == {"notes", "instruments", "outside a piano's range", "known to be noise"}
    assert doubtful_notes(report, "test")["note_str"].tolist() == ["brass_acoustic_046-084-025"]


def test_silent_is_below_a_thousandth_of_full_scale(waveforms):
    waveforms["test"][0] = 0
    waveforms["test"][1] = np.arange(SAMPLES) % 33 * np.where(np.arange(SAMPLES) % 2, 1, -1)
    waveforms["test"][3] = np.arange(SAMPLES) % 34
    report = report_of(waveforms)
    assert report.levels.loc[report.levels["silent"], "note_str"].tolist() == TEST[:2]
    assert notes_of(report, "silent", "test") == 2 and notes_of(report, "silent", "train") == 0
    assert doubtful_notes(report, "test").query("reason == 'silent'")["note_str"].tolist() == TEST[:2]


def test_clipped_is_a_run_of_three_samples_at_full_scale(waveforms):
    waveforms["test"][0, 10:12] = 32_767
    waveforms["test"][1, 10:13] = 32_767
    waveforms["test"][2, -3:] = -32_768
    waveforms["test"][3, [5, 7, 9]] = 32_767
    report = report_of(waveforms)
    assert report.levels.loc[report.levels["clipped"], "note_str"].tolist() == TEST[1:3]
    assert notes_of(report, "clipped", "test") == 2


def test_peaks_are_shares_of_full_scale(waveforms):
    waveforms["train"][0] = np.where(np.arange(SAMPLES) % 2, 16_384, -16_384)
    waveforms["train"][1, 0] = -32_768
    levels = report_of(waveforms).levels
    assert levels["peak"][:2].tolist() == pytest.approx([0.5, 1.0], abs=1e-4)


@pytest.mark.parametrize("chunk_bytes", [1, 2 * SAMPLES * 2, 1 << 23])
def test_duplicates_are_found_across_splits_and_chunks(waveforms, monkeypatch, chunk_bytes):
    monkeypatch.setattr(check, "CHUNK_BYTES", chunk_bytes)
    waveforms["test"][5] = waveforms["train"][1]
    waveforms["test"][3] = waveforms["test"][0]
    report = report_of(waveforms)
    groups = report.duplicates.groupby("group")["note_str"].apply(list).tolist()
    assert groups == [[TRAIN[1], TEST[5]], [TEST[0], TEST[3]]]
    assert report.duplicates["split"].tolist() == ["train", "test", "test", "test"]
    assert notes_of(report, "share a waveform", "train and test") == 2
    reasons = doubtful_notes(report, "test").set_index("note_str")["reason"]
    assert reasons[TEST[5]] == f"same waveform as {TRAIN[1]} of train"
    assert reasons[TEST[3]] == f"same waveform as {TEST[0]} of test"
    assert TEST[0] not in reasons and doubtful_notes(report, "train").empty


def test_pitches_outside_the_piano(waveforms):
    report = report_of(waveforms)
    assert report.levels.loc[report.levels["outside_piano"], "pitch"].tolist() == [9, 110]
    assert notes_of(report, "outside a piano's range", "test") == 2


def test_families_by_split_come_first_and_then_the_findings(waveforms):
    report = report_of(waveforms)
    assert report.families.loc["bass"].tolist() == [2, 2]
    assert report.families.loc["synth_lead"].tolist() == [1, 0]
    assert report.families.loc["all"].tolist() == [len(TRAIN), len(TEST)]
    lines = report.lines()
    assert lines[0].split() == ["train", "test"]
    assert lines[1].split() == ["bass", "2", "2"] and lines[12].split() == ["all", "3", "6"]
    assert len(lines) == 14 + len(report.findings())
    assert any(line.startswith("test") and "outside a piano's range" in line and " 2 " in line for line in lines[14:])
    detail = report.findings().set_index(["finding", "split"])["detail"]
    assert detail["notes", "test"] == "official NSynth has 4,096"
    assert report.sources.loc[("test", "bass"), "acoustic"] == 2


def test_what_was_left_out_is_listed(waveforms):
    report = report_of(waveforms, skipped=("a.wav is too short.", "b.wav has 2 channels."))
    assert report.left_out.to_numpy().tolist() == [["test", "a.wav is too short."], ["test", "b.wav has 2 channels."]]
    assert notes_of(report, "files left out", "test") == 2


REAL = os.environ.get("NSYNTH_REAL")


@pytest.mark.skipif(not REAL, reason="NSYNTH_REAL names no copy of the real notes")
def test_facts_of_real_nsynth(tmp_path):
    """What the README of the real notes states; its 8 mallet notes are the train side of 7 test notes."""
    settings = Settings.from_environment({"NSYNTH_DATA": REAL, "NSYNTH_CACHE": str(tmp_path)})
    report = check_data(load_splits(settings))
    duplicates = report.duplicates
    in_test = duplicates[duplicates["split"] == "test"].groupby("group")["instrument"].agg(["first", "size"])
    alone = in_test[in_test["size"] > 1].set_index("first")["size"]
    assert alone.to_dict() == {"brass_acoustic_046": 41, "mallet_acoustic_047": 2}
    shared = duplicates.groupby("group").filter(lambda group: {"train", "test"} <= set(group["split"]))
    assert shared.groupby(["split", "instrument"]).size().to_dict() == {
        ("test", "mallet_acoustic_047"): 7,
        ("test", "string_acoustic_012"): 2,
        ("train", "mallet_acoustic_000"): 8,
        ("train", "string_acoustic_073"): 2,
    }
    assert report.families.loc["bass", "test"] == 843
    outside = report.levels[report.levels["outside_piano"] & (report.levels["split"] == "test")]
    assert (len(outside), outside["pitch"].min(), outside["pitch"].max()) == (36, 9, 119)
    assert report.overlap.loc[["train", "valid", "test"]].to_numpy().tolist() == [[63, 0, 0], [0, 31, 31], [0, 31, 53]]
    assert report.sources.loc["test"].sum().to_dict() == {"acoustic": 1_689, "electronic": 1_372, "synthetic": 1_035}
    assert report.families["test"].tolist()[:-1] == list(OFFICIAL_FAMILY_NOTES["test"])
    assert len(doubtful_notes(report, "test")) == 41 + 7 + 2 + 1
