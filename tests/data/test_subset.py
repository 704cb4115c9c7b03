"""Cutting a mini-subset: stratified, seeded, copied as it is, and never over something else."""

import errno
import json
import shutil
import tarfile

import pytest

from conftest import audio_of, record_of
from nsynth_helpers.data import subset
from nsynth_helpers.data.cache import load_splits
from nsynth_helpers.data.metadata import FAMILIES
from nsynth_helpers.data.subset import cut_subset
from nsynth_helpers.settings import InputError, Settings

SPLITS = ("train", "valid", "test")


def names_of(split: str) -> list[str]:
    """Of each family, 3 instruments of 10 notes in train; bass has one instrument with 2 notes."""
    first = SPLITS.index(split) * 10
    names = [
        f"{family}_acoustic_{first + instrument:03d}-{60 + note:03d}-100"
        for family in FAMILIES[1:]
        for instrument in range(3)
        for note in range(10)
    ]
    names += [f"bass_acoustic_{first:03d}-060-100", f"bass_acoustic_{first:03d}-061-100"]
    return names + [f"synth_lead_synthetic_000-{60 + note:03d}-100" for note in range(10)] * (split == "train")


@pytest.fixture
def whole(make_folder, make_archive, tmp_path):
    """A small NSynth: train in a folder of flac, valid and test in archives, test with its examples.json last."""
    root = tmp_path / "whole"
    root.mkdir()
    make_folder("train", names_of("train"), ".flac", root)
    make_archive("valid", names_of("valid"), root=root)
    make_archive("test", names_of("test"), examples_last=True, root=root)
    return root


def members_of(path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def test_layout_records_and_audio_are_the_official_ones(whole, tmp_path):
    cut_subset(whole, 8, tmp_path / "out")
    for split, suffix in zip(SPLITS, (".flac", ".wav", ".wav"), strict=True):
        members = members_of(tmp_path / "out" / f"nsynth-{split}.tar")
        records = json.loads(members.pop(f"nsynth-{split}/examples.json"))
        assert set(members) == {f"nsynth-{split}/audio/{note_str}{suffix}" for note_str in records}
        for note_str, record in records.items():
            assert record == record_of(note_str)
            assert members[f"nsynth-{split}/audio/{note_str}{suffix}"] == audio_of(note_str, suffix)


def test_families_and_instruments_get_even_shares(whole, tmp_path):
    counts = cut_subset(whole, 8, tmp_path / "out").set_index(["split", "family"])
    for family in FAMILIES[1:]:
        assert counts.loc[("train", family)].tolist() == [8, 8, 3]
        assert counts.loc[("valid", family)].tolist() == [1, 1, 1]
        assert counts.loc[("test", family)].tolist() == [2, 2, 2]
    records = json.loads(members_of(tmp_path / "out" / "nsynth-train.tar")["nsynth-train/examples.json"])
    for family in FAMILIES[1:]:
        instruments = [name.split("-")[0] for name in records if name.startswith(family)]
        assert sorted(instruments.count(name) for name in set(instruments)) == [2, 3, 3]


def test_short_family_gives_what_it_has_and_synth_lead_a_quarter(whole, tmp_path):
    counts = cut_subset(whole, 8, tmp_path / "out").set_index(["split", "family"])
    assert counts.loc[("train", "bass")].tolist() == [8, 2, 1]
    assert counts.loc[("train", "synth_lead")].tolist() == [2, 2, 1]
    assert ("test", "synth_lead") not in counts.index


def test_same_seed_same_bytes_other_seed_other_notes(whole, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        cut_subset(whole, 8, tmp_path / name, seed)
    for split in SPLITS:
        a, b, c = ((tmp_path / name / f"nsynth-{split}.tar").read_bytes() for name in "abc")
        assert a == b != c


def test_folder_and_archive_give_the_same_choice(make_folder, make_archive, tmp_path):
    for kind, make in (("folder", make_folder), ("archive", make_archive)):
        (tmp_path / kind).mkdir()
        for split in SPLITS:
            make(split, names_of(split)[:: 1 if kind == "folder" else -1], root=tmp_path / kind)
        cut_subset(tmp_path / kind, 4, tmp_path / f"out-{kind}")
    for split in SPLITS:
        a, b = (members_of(tmp_path / f"out-{kind}" / f"nsynth-{split}.tar") for kind in ("folder", "archive"))
        assert a == b


def test_everything_downstream_takes_it(whole, tmp_path):
    cut_subset(whole, 8, tmp_path / "out")
    loaded = load_splits(Settings(data=str(tmp_path / "out"), seconds=0.05, cache=tmp_path / "cache"))
    assert {split: len(cached.notes) for split, cached in loaded.items()} == {"train": 76, "valid": 10, "test": 20}


def test_nothing_is_overwritten(whole, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for out in (tmp_path / "out", whole, tmp_path / "out" / "notes.txt"):
        with pytest.raises(InputError, match="is not a new or empty folder; choose another one"):
            cut_subset(whole, 8, out)
    (tmp_path / "empty").mkdir()
    cut_subset(whole, 8, tmp_path / "empty")


def test_number_must_be_positive(whole, tmp_path):
    with pytest.raises(InputError, match="--per-family is 0; set it to a whole number of at least 1"):
        cut_subset(whole, 0, tmp_path / "out")


def test_missing_audio_and_missing_split_leave_nothing(whole, tmp_path):
    before = set(tmp_path.iterdir())
    for path in (whole / "nsynth-train" / "audio").glob("vocal*"):
        path.unlink()
    with pytest.raises(InputError, match=r"lists vocal_\S+ in its examples.json, but its audio file is missing"):
        cut_subset(whole, 8, tmp_path / "out")
    shutil.rmtree(whole / "nsynth-train")
    with pytest.raises(InputError, match="holds no train split"):
        cut_subset(whole, 8, tmp_path / "out")
    assert set(tmp_path.iterdir()) == before


def test_full_disk_leaves_nothing(whole, tmp_path, monkeypatch):
    before = set(tmp_path.iterdir())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(subset, "write_archive", full)
    with pytest.raises(InputError, match=r"The disk .*is full; free some space"):
        cut_subset(whole, 8, tmp_path / "out")
    assert set(tmp_path.iterdir()) == before
