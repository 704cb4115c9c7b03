"""The studio network's data: rendered notes are in NSynth's layout, real instruments held apart, test left out.

No synthesizer of Debian is needed: only the models in numpy sound here.
"""

import json

import numpy as np
import pytest
import soundfile

from nsynth_helpers.data.archives import find_split
from nsynth_helpers.data.cache import load_splits
from nsynth_helpers.data.metadata import FAMILIES, SAMPLE_RATE
from nsynth_helpers.settings import PROJECT_ROOT, InputError, Settings


@pytest.fixture
def tool(monkeypatch):
    """The script, imported as when it runs."""
    monkeypatch.syspath_prepend(PROJECT_ROOT / "tools")
    import render_studio

    return render_studio


def write_split(folder, split, waveforms):
    """Notes in NSynth's layout."""
    audio = folder / f"nsynth-{split}" / "audio"
    audio.mkdir(parents=True)
    for note_str, waveform in waveforms.items():
        soundfile.write(audio / f"{note_str}.flac", waveform, SAMPLE_RATE)
    records = {note_str: {"note_str": note_str} for note_str in waveforms}
    (audio.parent / "examples.json").write_text(json.dumps(records))


def noise(seed):
    """A second that no other seed gives."""
    return np.random.default_rng(seed).integers(-9000, 9000, SAMPLE_RATE, dtype=np.int16)


@pytest.fixture
def folders(tmp_path):
    """Rendered notes, and real ones: two of each of three instruments a family, one of them a test note's twin."""
    names = [
        f"{family}_acoustic_{number:03d}-06{note}-100" for family in FAMILIES for number in range(3) for note in "01"
    ]
    real = {name: noise(seed) for seed, name in enumerate(names)}
    write_split(tmp_path / "real", "train", real | {"synth_lead_synthetic_000-060-100": noise(97)})
    write_split(tmp_path / "real", "test", {"bass_acoustic_009-060-100": real["bass_acoustic_001-060-100"]})
    write_split(tmp_path / "rendered", "train", {"bass_acoustic_500-060-100": noise(98)})
    return tmp_path


def mixed(folders, tool, hold_out, name):
    """The splits that a mixing makes, as the package reads them."""
    out = folders / name
    tool.mix(out, [folders / "rendered"], [folders / "real"], hold_out, seed=1)
    return load_splits(
        Settings.from_environment({"NSYNTH_DATA": str(out), "NSYNTH_CACHE": str(folders / "cache" / name)})
    )


def test_each_real_instrument_is_held_out_once(folders, tool):
    held_out = []
    for part in (1, 2, 3):
        splits = mixed(folders, tool, part, f"part{part}")
        train, valid = (splits[split].notes for split in ("train", "valid"))
        assert not set(valid["instrument"]) & set(train["instrument"])
        assert set(valid["family"]) == set(FAMILIES)
        assert len(train) + len(valid) == 59 + 1
        assert "bass_acoustic_500-060-100" in set(train["note_str"])
        held_out += valid["instrument"].unique().tolist()
        assert splits["test"].digest == splits["valid"].digest
    assert sorted(held_out) == sorted({f"{family}_acoustic_{number:03d}" for family in FAMILIES for number in range(3)})


def test_no_note_of_test_gets_in(folders, tool):
    for part in (None, 1):
        for split in mixed(folders, tool, part, f"mix{part}").values():
            names = set(split.notes["note_str"])
            assert "bass_acoustic_001-060-100" not in names  # its waveform is a test note's
            assert not {name for name in names if name.startswith(("bass_acoustic_009", "synth_lead"))}


def test_without_holding_out_all_real_notes_are_in_train(folders, tool):
    splits = mixed(folders, tool, None, "all")
    assert len(splits["train"].notes) == 59 + 1
    assert set(splits["valid"].notes["note_str"]) < set(splits["train"].notes["note_str"])
    with pytest.raises(InputError, match="is there already"):
        mixed(folders, tool, None, "all")


def test_models_render_the_same_notes_from_the_same_seed(tmp_path, tool, monkeypatch):
    monkeypatch.setattr(tool, "MAKERS", {kind: (*maker[:3], 1) for kind, maker in tool.MAKERS.items()})
    monkeypatch.setitem(tool.NOTES_EACH, "models", 1)
    for name in "ab":
        tool.render("models", tmp_path / name, seed=3)
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "nsynth-train" / "audio").iterdir()}
        for name in "ab"
    ]
    assert contents[0] == contents[1]
    split = load_split_of(tmp_path / "a", tmp_path / "cache")
    assert len(split.notes) == len(tool.MAKERS)
    assert set(split.notes["family"]) == {family for _, family, *_ in tool.MAKERS.values()}
    assert (split.notes["instrument"].str[-3:].astype(int) >= 850).all()
    assert (np.abs(split.waveforms.astype(int)).max(axis=1) > 0.39 * 32767).all()


def load_split_of(folder, cache):
    """The train split of a folder."""
    assert find_split(folder, "train").path == folder / "nsynth-train"
    return load_splits(Settings.from_environment({"NSYNTH_DATA": str(folder), "NSYNTH_CACHE": str(cache)}), ["train"])[
        "train"
    ]


def test_a_missing_soundfont_names_the_packages(tmp_path, tool, monkeypatch, capsys):
    monkeypatch.setattr(tool, "SHARE", tmp_path)
    monkeypatch.setattr("sys.argv", ["render_studio.py", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="apt install libfluidsynth3"):
        tool.main()
