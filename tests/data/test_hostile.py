"""What people and attackers really put into a data folder: each fault is made to happen and ends in one sentence."""

import errno
import io
import json
import os
import random
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings, strategies
from pydantic import ValidationError

from conftest import NOTE_STRS, SECONDS, audio_of, record_of, waveform_of, write_tar
from nsynth_helpers.data import cache
from nsynth_helpers.data.archives import AudioFile, NoteStream, SplitSource
from nsynth_helpers.data.cache import CacheRecord, load_split, read_waveform
from nsynth_helpers.data.metadata import OFFICIAL_FAMILIES, SOURCES, parse_examples, parse_note_str
from nsynth_helpers.data.subset import cut_subset
from nsynth_helpers.settings import PROJECT_ROOT, InputError, Settings

NOTE = NOTE_STRS[3]
SAMPLES = round(SECONDS * 16_000)
# A sentence on a terminal: this long at most, and of printable letters alone.
LONGEST = 1_500


@pytest.fixture
def options(tmp_path) -> Settings:
    """Settings whose data is the test's own folder."""
    return Settings(data=str(tmp_path), seconds=SECONDS, workers=2, cache=tmp_path / "cache")


def sentence_of(call, *arguments) -> str:
    """The one sentence, fit for a terminal, with which something is refused."""
    with pytest.raises(InputError) as caught:
        call(*arguments)
    sentence = str(caught.value)
    assert sentence.isprintable() and sentence.endswith(".") and len(sentence) < LONGEST
    return sentence


# Bad notes that an earlier command left out


def test_bad_note_left_out_by_an_earlier_command_is_refused(make_folder, options, capsys):
    bad = make_folder().path / "audio" / f"{NOTE}.wav"
    bad.write_bytes(b"bad")
    refusal = sentence_of(load_split, options, "test")
    with_bad = replace(options, skip_bad=True)
    assert len(load_split(with_bad, "test").notes) == len(NOTE_STRS) - 1
    assert sentence_of(load_split, options, "test") == refusal and str(bad) in refusal
    assert "NSYNTH_SKIP_BAD=1" in refusal
    capsys.readouterr()
    assert len(load_split(with_bad, "test").skipped) == 1
    assert f"Left out of the test split: 1 bad or missing; the first: {refusal}" in capsys.readouterr().err


# Formats of audio


def file_of(samples, subtype: str, suffix: str = "WAV") -> AudioFile:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, subtype=subtype, format=suffix)
    return AudioFile(NOTE, f"{NOTE}.{suffix.lower()}", file.getvalue())


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_float_wav_gives_the_samples_it_was_made_from(subtype):
    whole = np.arange(-32_768, 32_768, dtype=np.int16)
    assert np.array_equal(read_waveform(file_of(whole / 32_768, subtype), len(whole)), whole)
    loud = np.array([0.5, 1.0, 1.5, -1.0, -7.25])
    assert read_waveform(file_of(loud, subtype), 5).tolist() == [16_384, 32_767, 32_767, -32_768, -32_768]


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize(("sample", "complaint"), [
    (np.nan, "samples that are no numbers"), (np.inf, "samples that are no numbers"),
    (-np.inf, "samples that are no numbers"), (20_000.0, "float samples up to 20000, where full scale is 1"),
])  # fmt: skip
def test_float_wav_without_samples_is_refused_by_name(subtype, sample, complaint):
    audio = file_of(np.array([0.0, sample, 0.5]), subtype)
    sentence = sentence_of(read_waveform, audio, 3)
    assert complaint in sentence and sentence.startswith(f"{NOTE}.wav")
    # What lies behind the samples that are read is not looked at.
    assert len(read_waveform(file_of(np.array([0.0, sample, 0.5]), subtype), 1)) == 1


def test_ogg_beyond_full_scale_does_not_wrap_around():
    square = np.where(np.arange(16_000) // 320 % 2, 32_767, -32_767).astype(np.int16)
    audio = file_of(square, "VORBIS", "OGG")
    exact, _ = soundfile.read(io.BytesIO(audio.content), dtype="float64")
    assert np.abs(exact).max() > 1.1
    decoded = read_waveform(audio, 16_000).astype(int)
    assert np.abs(decoded - np.clip(exact * 32_767, -32_768, 32_767)).max() <= 1


# Damaged caches


def change_record(folder: Path, **changes) -> None:
    record = json.loads((folder / cache.RECORD).read_text()) | changes
    (folder / cache.RECORD).write_text(json.dumps({key: value for key, value in record.items() if value != "gone"}))


def change_notes(folder: Path, change) -> None:
    change(pd.read_parquet(folder / cache.NOTES)).to_parquet(folder / cache.NOTES)


DAMAGE = {
    "an empty record": (lambda folder: (folder / cache.RECORD).write_text(""), "cache.json"),
    "half a record": (lambda folder: os.truncate(folder / cache.RECORD, 50), "cache.json"),
    "a list": (lambda folder: (folder / cache.RECORD).write_text("[]"), "cache.json"),
    "no text": (lambda folder: (folder / cache.RECORD).write_bytes(b"\xff\xfe"), "cache.json"),
    "another version": (lambda folder: change_record(folder, version=2), "cache.json cannot be used (version: "),
    "another field": (lambda folder: change_record(folder, colour="red"), "cache.json cannot be used (colour: "),
    "a field short": (lambda folder: change_record(folder, digest="gone"), "cache.json cannot be used (digest: "),
    "a word for a number": (lambda folder: change_record(folder, seconds="1"), "cache.json cannot be used (seconds: "),
    "no notes": (lambda folder: change_record(folder, shape=[0, 800]), "cache.json cannot be used (shape.0: "),
    "an absurd size": (lambda folder: change_record(folder, shape=[10**30, 800]), "cannot be used"),
    "other seconds": (lambda folder: change_record(folder, shape=[5, 1600]), "cannot be used (shape: 1600 samples"),
    "a number for a list": (lambda folder: change_record(folder, skipped=1), "cache.json cannot be used (skipped: "),
    "an empty table": (lambda folder: (folder / cache.NOTES).write_bytes(b""), "cannot be used"),
    "half a table": (lambda folder: os.truncate(folder / cache.NOTES, 900), "cannot be used"),
    "no table": (lambda folder: (folder / cache.NOTES).unlink(), "cannot be used"),
    "a column short": (lambda folder: change_notes(folder, lambda notes: notes.drop(columns="pitch")), "pitch"),
    "words for pitches": (
        lambda folder: change_notes(folder, lambda notes: notes.assign(pitch="high")), "column pitch is of another type"
    ),
    "numbers for names": (
        lambda folder: change_notes(folder, lambda notes: notes.assign(note_str=1)), "note_str is of another type"
    ),
    "a row short": (lambda folder: change_notes(folder, lambda notes: notes[1:]), "it has 9 rows for 10 notes"),
    "no waveforms": (lambda folder: (folder / cache.WAVEFORMS).write_bytes(b""), "waveforms.int16 cannot be used"),
    "half a waveform": (lambda folder: os.truncate(folder / cache.WAVEFORMS, 7_001), "waveforms.int16 cannot be used"),
    "waveforms gone": (lambda folder: (folder / cache.WAVEFORMS).unlink(), "cannot be used"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_cache_is_told_with_file_and_remedy(make_folder, options, damage):
    make_folder()
    digest = load_split(options, "test").digest
    folder = next(options.cache.rglob("test"))
    change, complaint = DAMAGE[damage]
    change(folder)
    sentence = sentence_of(load_split, options, "test")
    assert complaint in sentence and str(folder) in sentence
    assert "run prepare again with --rebuild, or delete the folder of the cache" in sentence
    assert load_split(options, "test", rebuild=True).digest == digest


def test_what_is_in_the_way_of_a_cache_is_kept(make_folder, options, tmp_path):
    make_folder()
    load_split(options, "test")
    folder = next(options.cache.rglob("test"))
    mine = folder / "thesis.txt"
    mine.write_text("mine")
    assert f"{mine} is in the way of a cache; move it away" in sentence_of(load_split, options, "test", True)
    assert load_split(options, "test").waveforms.shape == (len(NOTE_STRS), SAMPLES)
    mine.unlink()
    partial = folder.with_name("test.partial")
    partial.mkdir()
    (partial / "thesis.txt").write_text("mine")
    assert "thesis.txt is in the way" in sentence_of(load_split, options, "test", True)
    assert (partial / "thesis.txt").read_text() == "mine"
    (partial / "thesis.txt").rename(tmp_path / "thesis.txt")
    partial.rmdir()
    partial.symlink_to(folder)
    assert "test.partial is in the way" in sentence_of(load_split, options, "test", True)
    assert (folder / cache.RECORD).exists() and partial.is_symlink()


# Permissions


def test_complete_cache_on_a_disk_that_nobody_writes_to(make_archive, options, monkeypatch):
    source = make_archive()
    digest = load_split(options, "test").digest
    os.utime(source.path, (1, 1))

    def read_only(path, *_):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(cache, "file_lock", read_only)
    monkeypatch.setattr(cache, "write_text", read_only)
    assert load_split(options, "test").digest == digest
    for other in (replace(options, seconds=SECONDS / 2), replace(options, cache=options.cache / "other")):
        assert "cannot be" in sentence_of(load_split, other, "test")
    assert "cannot be" in sentence_of(load_split, options, "test", True)
    assert load_split(options, "test").digest == digest


UNPRIVILEGED = """
    import os, sys
    from dataclasses import replace
    from pathlib import Path
    from nsynth_helpers.data.archives import SplitSource
    from nsynth_helpers.data.cache import load_split
    from nsynth_helpers.settings import InputError, Settings
    folder = Path(sys.argv[1])
    options = Settings(data=str(folder), seconds=0.05, cache=folder / "cache")
    def told(path, **changes):
        mode = path.stat().st_mode
        path.chmod(0)
        try:
            load_split(replace(options, **changes), "test")
        except InputError as error:
            assert str(path) in str(error) and "\\n" not in str(error), error
            assert "check its permissions" in str(error) or "change its permissions" in str(error), error
        else:
            raise SystemExit(f"{path} was read")
        finally:
            path.chmod(mode)
    split = folder / "nsynth-test"
    for path in (split / "examples.json", split / "audio", split, *sorted((split / "audio").iterdir())[:1]):
        told(path)
    load_split(options, "test")
    cache = next((folder / "cache").rglob("test"))
    for path in (cache, cache.parent, folder / "cache"):
        path.chmod(0o555)
    assert len(load_split(options, "test").notes) == 10
    for changes in ({"seconds": 0.04}, {"cache": folder / "cache" / "deeper"}):
        try:
            load_split(replace(options, **changes), "test")
        except InputError as error:
            assert "cannot be" in str(error) and str(folder / "cache") in str(error), error
        else:
            raise SystemExit("a cache was written")
    for path in (folder / "cache", cache.parent, cache):
        path.chmod(0o755)
    split.rename(folder / "away")
    told(folder / "nsynth-test.tar")
    print("told")
"""


def test_what_may_not_be_read_is_told_by_name(make_folder, make_archive, tmp_path):
    """For root everything may be read: there the test runs in a namespace without that right."""
    make_folder()
    make_archive(packed=False)
    namespace = ["unshare", "--user"] if os.geteuid() == 0 else []
    command = [*namespace, sys.executable, "-c", textwrap.dedent(UNPRIVILEGED), tmp_path]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True)
    if "unshare" in done.stderr:
        pytest.skip("this system gives no namespaces")
    assert done.stdout == "told\n", done.stderr


# Absurd examples.json


ABSURD = 8_000_000
ABSURDITIES = {
    "a key": '{"' + "a" * ABSURD + '": {}}',
    "a value": json.dumps({NOTE: {"note_str": "b" * ABSURD}}),
    "a list": json.dumps({NOTE: {"pitch": list(range(ABSURD // 8))}}),
    "records in a record": json.dumps({NOTE: {"velocity": {str(i): i for i in range(ABSURD // 16)}}}),
    "qualities": json.dumps({NOTE: {"qualities_str": [1] * (ABSURD // 2)}}),
    "a string": '"' + "c" * ABSURD + '"',
    "brackets": "[" * ABSURD,
    "a number": json.dumps({NOTE: {}})[:-2] + '"pitch": ' + "9" * ABSURD + "}}",
    "escapes": json.dumps({"\x1b]0;owned\x07" * 1000: {}}),
    "a broken end": json.dumps({NOTE: {"x": "d" * ABSURD}})[:-2],
}


@pytest.mark.parametrize("absurdity", ABSURDITIES)
def test_absurd_examples_come_back_as_a_short_sentence_soon(absurdity):
    text = ABSURDITIES[absurdity].encode()
    started = time.process_time()
    sentence_of(parse_examples, text, "examples.json")
    # 8 MB; the 56 s were those of 240 MB.
    assert time.process_time() - started < 2


# Archives as people make them


@pytest.mark.parametrize("inside", [".", "nsynth-test"])
def test_archive_packed_from_inside_its_folder(make_folder, options, tmp_path, inside):
    folder = make_folder(root=tmp_path / "folder").path
    start = folder if inside == "." else folder.parent
    (start / ".DS_Store").write_bytes(b"x")
    subprocess.run(["tar", "-C", start, "-cf", tmp_path / "nsynth-test.tar", "."], check=True)
    cached = load_split(options, "test")
    assert sorted(cached.notes["note_str"]) == sorted(NOTE_STRS)
    assert np.array_equal(cached[NOTE].audio, waveform_of(NOTE))


def test_hidden_files_of_macos_are_no_notes(make_folder, options, tmp_path):
    members = [("._nsynth-test", b"mac"), ("./nsynth-test/._audio", b"mac")]
    records = {note_str: record_of(note_str) for note_str in NOTE_STRS}
    members += [
        ("./nsynth-test/._examples.json", b"mac"),
        ("./nsynth-test/examples.json", json.dumps(records).encode()),
    ]
    for note_str in NOTE_STRS:
        members += [(f"./nsynth-test/audio/._{note_str}.wav", b"mac")]
        members += [(f"./nsynth-test/audio/{note_str}.wav", audio_of(note_str))]
    write_tar(tmp_path / "nsynth-test.tar.gz", members)
    digest = load_split(options, "test").digest
    folder = make_folder(note_strs=NOTE_STRS, root=tmp_path / "folder")
    (folder.path / "audio" / f"._{NOTE}.wav").write_bytes(b"mac")
    from_folder = load_split(replace(options, data=str(tmp_path / "folder")), "test")
    assert len(from_folder.notes) == len(NOTE_STRS) and digest


def test_names_that_write_to_the_terminal_are_shown_without(tmp_path):
    for name in (f"nsynth-test/../\x1b[2J{NOTE}.wav", "other\x1b]0;owned\x07/x.wav", "nsynth-test/audio/\x1b[31m.wav"):
        path = write_tar(tmp_path / "nsynth-test.tar", [(name, b"x"), ("nsynth-test/examples.json", b"{}")], "w")
        sentence_of(lambda path=path: [read_waveform(audio, 1) for audio in NoteStream(SplitSource("test", path))])


# A subset takes and leaves only what is its own


@pytest.fixture
def whole(make_folder, tmp_path) -> Path:
    """The three splits of a small NSynth."""
    for split in ("train", "valid", "test"):
        make_folder(split, root=tmp_path / "whole")
    return tmp_path / "whole"


def contents(folder: Path) -> dict:
    """Everything below a folder."""
    return {
        path: os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("out", ["link", "dangling", "file", "full", "whole", ".", "whole/nsynth-test", "link/../full"])
def test_subset_writes_into_a_new_or_empty_folder_alone(whole, tmp_path, out):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("mine")
    before = contents(tmp_path)
    assert "is not a new or empty folder; choose another one" in sentence_of(cut_subset, whole, 2, tmp_path / out)
    assert contents(tmp_path) == before


def test_subset_keeps_a_partial_folder_of_the_user(whole, tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis.txt").write_text("mine")
    (tmp_path / f"taken.{os.getpid()}.partial").symlink_to(tmp_path / "out.partial")
    before = contents(tmp_path)
    assert "taken" in sentence_of(cut_subset, whole, 2, tmp_path / "taken")
    assert contents(tmp_path) == before
    cut_subset(whole, 2, tmp_path / "out")
    new = {path.name for path in set(contents(tmp_path)) - set(before)}
    assert new == {"out", "nsynth-train.tar", "nsynth-valid.tar", "nsynth-test.tar"}
    assert (tmp_path / "out.partial" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("linked", ["audio", "note", "examples.json"])
def test_subset_does_not_copy_what_a_link_leads_to(whole, tmp_path, linked):
    secret = tmp_path / "secret"
    split = whole / "nsynth-train"
    target = {"audio": split / "audio", "note": split / "audio" / f"{NOTE}.wav"}.get(linked, split / linked)
    target.rename(secret)
    target.symlink_to(secret)
    before = contents(tmp_path)
    assert "is a link out of its folder; put the file itself there" in sentence_of(cut_subset, whole, 8, tmp_path / "o")
    assert contents(tmp_path) == before


def test_subset_of_a_linked_split_is_cut(whole, tmp_path):
    (whole / "nsynth-train").rename(tmp_path / "elsewhere")
    (whole / "nsynth-train").symlink_to(tmp_path / "elsewhere")
    assert cut_subset(whole, 2, tmp_path / "out")["notes"].sum() > 0


# Properties and fuzzing, with fixed seeds

steady = settings(derandomize=True, database=None, deadline=None, max_examples=200)


@steady
@given(
    strategies.sampled_from(OFFICIAL_FAMILIES), strategies.sampled_from(SOURCES), *[strategies.integers(0, 999)] * 3
)  # fmt: skip
def test_every_name_says_what_it_was_made_of(family, source, index, pitch, velocity):
    note = parse_note_str(f"{family}_{source}_{index:03d}-{pitch:03d}-{velocity:03d}")
    instrument = f"{family}_{source}_{index:03d}"
    assert (note["family"], note["source"], note["instrument"]) == (family, source, instrument)
    assert (note["pitch"], note["velocity"]) == (pitch, velocity)
    assert note["note_str"] == f"{note['instrument']}-{note['pitch']:03d}-{note['velocity']:03d}"


@steady
@given(strategies.text() | strategies.from_regex(r"[a-z_]+_[a-z]+_\d{3}-\d{3}-\d{3}\Z"))
def test_any_other_name_is_refused_in_a_sentence(name):
    try:
        note = parse_note_str(name)
    except InputError:
        sentence_of(parse_note_str, name)
    else:
        assert name == f"{note['instrument']}-{note['pitch']:03d}-{note['velocity']:03d}"


scalars = strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text()
documents = strategies.recursive(
    scalars, lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner), max_leaves=8
)
fields = strategies.sampled_from([*record_of(NOTE), "qualities", "x"])
records = strategies.dictionaries(fields, documents, max_size=4)
told = strategies.sampled_from(list(record_of(NOTE))).map(lambda field: {field: record_of(NOTE)[field]})
examples = strategies.dictionaries(strategies.sampled_from(NOTE_STRS) | strategies.text(), records, max_size=3)


@steady
@given(documents | examples | strategies.dictionaries(strategies.just(NOTE), told))
def test_any_json_is_a_table_or_a_sentence(document):
    text = json.dumps(document).encode()
    try:
        table = parse_examples(text, "examples.json")
    except InputError:
        sentence_of(parse_examples, text, "examples.json")
    else:
        assert table["note_str"].tolist() == list(document)
        assert table["pitch"].tolist() == [parse_note_str(name)["pitch"] for name in document]


@steady
@given(strategies.binary())
def test_any_bytes_are_no_record_of_a_cache(content):
    with pytest.raises(ValidationError):
        CacheRecord.model_validate_json(content)


FUZZ_SECONDS = 3


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content with some of its bytes changed, taken away, repeated or put in."""
    result = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        place, length = chance.randrange(len(result) + 1), chance.choice((1, 1, 2, 4, 40, 512))
        piece = chance.choice((b"", bytes(length), b"\xff" * length, chance.randbytes(length), bytes(result[:length])))
        result[place : place + (0 if chance.random() < 0.2 else length)] = piece
    return bytes(result)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_fuzzed_archives_end_in_notes_or_a_sentence(make_archive, suffix, seed):
    source = make_archive(note_strs=NOTE_STRS[:3], packed=suffix == ".tar.gz")
    content, chance, ends = source.path.read_bytes(), random.Random(seed), time.monotonic() + FUZZ_SECONDS
    refused = 0
    for _ in range(400):
        source.path.write_bytes(damaged(content, chance))
        try:
            for audio in NoteStream(source):
                assert audio.name.isprintable()
        except InputError as error:
            refused += 1
            assert str(error).isprintable() and len(str(error)) < LONGEST
        if time.monotonic() > ends:
            break
    assert refused


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "FLOAT", "DOUBLE", "AIFF"])
def test_fuzzed_audio_ends_in_samples_or_a_sentence(kind, capfd):
    if kind in ("FLOAT", "DOUBLE"):
        content = file_of(waveform_of(NOTE) / 32_768, kind).content
    elif kind == "AIFF":
        content = file_of(waveform_of(NOTE), "PCM_16", kind).content
    else:
        content = audio_of(NOTE, f".{kind.lower()}")
    chance, ends, refused = random.Random(kind), time.monotonic() + FUZZ_SECONDS, 0
    for _ in range(1_500):
        name = f"{NOTE}{chance.choice(('.wav', '.flac', '.ogg'))}"
        try:
            waveform = read_waveform(AudioFile(NOTE, name, damaged(content, chance)), SAMPLES)
            assert waveform.shape == (SAMPLES,) and waveform.dtype == np.int16
        except InputError as error:
            refused += 1
            assert str(error).isprintable() and len(str(error)) < LONGEST
        if time.monotonic() > ends:
            break
    # Neither Python nor libsndfile writes anything on its own.
    assert refused and capfd.readouterr() == ("", "")
