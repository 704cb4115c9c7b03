"""The waveform cache: bad notes, changed sources, kills, full disks."""

import errno
import json
import os
import random
import struct
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from conftest import NOTE_STRS, SECONDS, audio_of, record_of, waveform_of
from nsynth_helpers.data import cache as waveforms
from nsynth_helpers.data.archives import NoteStream
from nsynth_helpers.data.cache import Note, load_split, prepare
from nsynth_helpers.data.metadata import parse_note_str
from nsynth_helpers.settings import PROJECT_ROOT, InputError, Settings

NOTE = NOTE_STRS[3]
SAMPLES = round(SECONDS * 16_000)


@pytest.fixture
def settings(tmp_path) -> Settings:
    """Settings whose data is the test's own folder."""
    return Settings(data=str(tmp_path), seconds=SECONDS, workers=2, cache=tmp_path / "cache")


@pytest.fixture
def load(settings):
    """Load the test split, as it is, anew or without its bad notes."""
    return lambda rebuild=False, skip_bad=False: load_split(replace(settings, skip_bad=skip_bad), "test", rebuild)


def refusal(settings, skip_bad: bool = False) -> str:
    """The sentence with which the split is refused; nothing but the lock may be left."""
    with pytest.raises(InputError) as caught:
        load_split(replace(settings, skip_bad=skip_bad), "test")
    assert [path.name for path in settings.cache.rglob("*") if path.is_file()] in ([], ["test.lock"])
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


def files_of(cache: Path) -> dict[str, bytes]:
    """Every file of a cache but the record, whose fingerprint holds times."""
    return {path.name: path.read_bytes() for path in cache.iterdir() if path.name != waveforms.RECORD}


# What a note must be


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_waveforms_are_the_samples_of_the_files(make_folder, load, suffix):
    make_folder(suffix=suffix)
    cached = load()
    assert cached.waveforms.dtype == np.int16 and cached.seconds == SECONDS
    assert sorted(cached.notes["note_str"]) == sorted(NOTE_STRS)
    for row, note_str in enumerate(cached.notes["note_str"]):
        assert np.array_equal(cached.waveforms[row], waveform_of(note_str))
        assert np.array_equal(cached[note_str].audio, waveform_of(note_str))
        assert cached[note_str]._asdict() | {"audio": None} == Note(note_str, *said(note_str), None)._asdict()


def said(note_str: str) -> list:
    """What a name says: family, source, instrument, pitch and velocity."""
    return [parse_note_str(note_str)[field] for field in Note._fields[1:-1]]


def test_ogg_is_read(make_folder, load):
    make_folder(suffix=".ogg")
    assert load().waveforms.shape == (len(NOTE_STRS), SAMPLES)


@pytest.mark.parametrize("options", [{}, {"packed": False}, {"examples_last": True}])
def test_folder_and_archive_give_the_same_waveforms(make_folder, make_archive, tmp_path, options):
    (tmp_path / "packed").mkdir()
    sources = make_folder(), make_archive(root=tmp_path / "packed", note_strs=sorted(NOTE_STRS), **options)
    for number, source in enumerate(sources):
        prepare(source, tmp_path / str(number), SECONDS, workers=2)
    assert files_of(tmp_path / "0") == files_of(tmp_path / "1")


def test_note_that_is_not_there(make_folder, load):
    make_folder()
    with pytest.raises(InputError, match="holds no note 'x'; choose one of its table"):
        load()["x"]


def cut(content: bytes, share: float = 0.5) -> bytes:
    """The first part of a file."""
    return content[: int(len(content) * share)]


BAD_AUDIO = {
    "unreadable": (".wav", b"this is no audio", "cannot be read as audio"),
    "empty": (".flac", b"", "cannot be read as audio"),
    "truncated wav": (".wav", cut(audio_of(NOTE)), "is truncated"),
    "truncated flac": (".flac", cut(audio_of(NOTE, ".flac")), "truncated|cannot be read"),
    "truncated ogg": (".ogg", cut(audio_of(NOTE, ".ogg", seconds=1.0), 0.02), "truncated|cannot be read|too short"),
    "wrong rate": (".wav", audio_of(NOTE, rate=44_100), "has a sample rate of 44100 Hz, not 16000; resample it"),
    "stereo": (".wav", audio_of(NOTE, channels=2), "has 2 channels, not one; mix it to mono"),
    "too short": (".wav", audio_of(NOTE, seconds=SECONDS / 2), "is too short: 0.025 s of 0.05 s"),
}


@pytest.mark.parametrize("fault", BAD_AUDIO)
def test_bad_audio_is_refused_by_name(make_folder, settings, fault):
    suffix, content, complaint = BAD_AUDIO[fault]
    path = make_folder(suffix=suffix).path / "audio" / f"{NOTE}{suffix}"
    path.write_bytes(content)
    sentence = refusal(settings)
    assert any(words in sentence for words in complaint.split("|"))
    assert str(path) in sentence and "--skip-bad" in sentence


@pytest.mark.parametrize("fault", BAD_AUDIO)
def test_bad_audio_in_an_archive_is_left_out_and_listed(make_folder, make_archive, load, tmp_path, fault):
    suffix, content, _ = BAD_AUDIO[fault]
    folder = make_folder(suffix=suffix, root=tmp_path / "unpacked").path
    (folder / "audio" / f"{NOTE}{suffix}").write_bytes(content)
    subprocess.run(
        ["tar", "czf", tmp_path / "nsynth-test.jsonwav.tar.gz", "-C", folder.parent, folder.name], check=True
    )
    cached = load(skip_bad=True)
    assert sorted(cached.notes["note_str"]) == sorted(set(NOTE_STRS) - {NOTE})
    assert len(cached.skipped) == 1 and NOTE in cached.skipped[0]
    assert len(cached.waveforms) == len(cached.notes)


def test_wav_cut_beyond_the_first_second_is_noticed(make_folder, settings):
    """Libsndfile would read the cut file as a shorter, whole one."""
    path = make_folder().path / "audio" / f"{NOTE}.wav"
    path.write_bytes(cut(audio_of(NOTE, seconds=4 * SECONDS), 0.9))
    assert "its header promises more bytes" in refusal(settings)


def test_decoder_that_stops_early_makes_no_short_row(make_folder, settings, monkeypatch):
    make_folder()
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda file, frames, dtype: read(file, frames // 2, dtype))
    assert f"is truncated: {SAMPLES // 2} of {SAMPLES} samples" in refusal(settings)


def test_missing_audio(make_folder, settings, load):
    (make_folder().path / "audio" / f"{NOTE}.wav").unlink()
    assert f"lists {NOTE}, but its audio file is missing" in refusal(settings)
    assert load(skip_bad=True).skipped[0].startswith(f"{settings.data}/nsynth-test/examples.json lists {NOTE}")


def test_surplus_audio(make_folder, settings, load):
    surplus = "bass_acoustic_999-060-100"
    (make_folder().path / "audio" / f"{surplus}.wav").write_bytes(audio_of(surplus))
    assert f"holds audio for {surplus}, which its examples.json does not list" in refusal(settings)
    cached = load(skip_bad=True)
    assert surplus in cached.skipped[0]
    for note_str in NOTE_STRS:
        assert np.array_equal(cached[note_str].audio, waveform_of(note_str))


def test_note_twice(make_folder, settings):
    (make_folder().path / "audio" / f"{NOTE}.flac").write_bytes(audio_of(NOTE, ".flac"))
    assert "occurs twice" in refusal(settings)


@pytest.mark.parametrize("name", ["drums_acoustic_000-060-100", "notes"])
def test_audio_of_an_unknown_family_or_name(make_folder, settings, name):
    (make_folder().path / "audio" / f"{name}.wav").write_bytes(audio_of(name))
    assert f"holds audio for {name}, which its examples.json does not list" in refusal(settings)


@pytest.mark.parametrize(
    ("examples", "complaint"),
    [
        ("{", "cannot be used ("),
        (json.dumps({NOTE: record_of(NOTE) | {"pitch": 5}}), "says pitch 5"),
        (json.dumps({"drums_acoustic_000-060-100": {}}), "is not of the form"),
    ],
)
def test_broken_or_disagreeing_examples(make_folder, settings, examples, complaint):
    (make_folder().path / "examples.json").write_text(examples)
    assert complaint in refusal(settings)


def test_empty_split(make_folder, settings, tmp_path):
    make_folder(note_strs=())
    assert "lists no notes: the split is empty" in refusal(settings)


def test_split_without_one_readable_note(make_folder, settings):
    source = make_folder(note_strs=(NOTE,))
    (source.path / "audio" / f"{NOTE}.wav").write_bytes(b"x")
    assert "has no readable note: the split is empty" in refusal(settings, skip_bad=True)


# A cache and its source


def test_cache_is_kept_until_the_source_changes(make_folder, load):
    path = make_folder().path / "audio" / f"{NOTE}.wav"
    digest = load().digest
    assert load().digest == digest
    path.write_bytes(audio_of(NOTE, seconds=2 * SECONDS))
    with pytest.raises(InputError, match=r"has changed since its cache .*; run prepare again with --rebuild"):
        load()
    load(rebuild=True)
    load()


def test_archive_may_get_another_time_but_not_other_bytes(make_archive, load):
    path = make_archive().path
    digest = load().digest
    os.utime(path, (1, 1))
    assert load().digest == digest
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError, match="has changed since its cache"):
        load()


def test_damaged_cache_is_refused(make_archive, settings, load):
    make_archive()
    load()
    os.truncate(next(settings.cache.rglob(waveforms.WAVEFORMS)), 100)
    with pytest.raises(InputError, match=r"cannot be used .*; run prepare again with --rebuild"):
        load()
    assert len(load(rebuild=True).waveforms) == len(NOTE_STRS)


def test_seconds_have_caches_of_their_own(make_folder, settings, tmp_path):
    make_folder()
    short = Settings(data=settings.data, seconds=SECONDS / 2, cache=settings.cache)
    assert load_split(settings, "test").waveforms.shape[1] == 2 * load_split(short, "test").waveforms.shape[1]


def test_no_more_notes_in_flight_than_workers(make_archive, tmp_path, monkeypatch):
    lock, in_hand, most = threading.Lock(), set(), []
    original, from_archive = waveforms.read_waveform, NoteStream.__iter__

    def streamed(stream):
        for audio in from_archive(stream):
            with lock:
                in_hand.add(audio.note_str)
                most.append(len(in_hand))
            yield audio

    def slow(audio, samples):
        time.sleep(0.005)
        waveform = original(audio, samples)
        with lock:
            in_hand.discard(audio.note_str)
        return waveform

    monkeypatch.setattr(waveforms, "read_waveform", slow)
    monkeypatch.setattr(NoteStream, "__iter__", streamed)
    prepare(make_archive(packed=False), tmp_path / "cache", SECONDS, workers=3)
    # The note that the stream has just handed over is in the hand of the next free worker.
    assert max(most) == 3


# Interruptions

CHILD = """
    import sys, time
    from pathlib import Path
    from nsynth_helpers.data import cache
    from nsynth_helpers.data.archives import SplitSource
    original = cache.read_waveform
    def read_waveform(audio, samples):
        time.sleep(0.002)
        print(audio.note_str, flush=True)
        return original(audio, samples)
    cache.read_waveform = read_waveform
    cache.prepare(SplitSource("test", Path(sys.argv[1])), Path(sys.argv[2]), 0.05, workers=2)
"""


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_killed_build_leaves_nothing_and_the_next_one_is_whole(make_folder, make_archive, tmp_path, kind):
    names = sorted(f"bass_acoustic_{index:03d}-060-100" for index in range(200))
    source = (make_folder if kind == "folder" else make_archive)(note_strs=names)
    prepare(source, tmp_path / "whole", SECONDS, workers=2)
    cache, chance = tmp_path / "cache", random.Random(kind)
    command = [sys.executable, "-c", textwrap.dedent(CHILD), source.path, cache]
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=PROJECT_ROOT) as process:
            for _ in range(chance.randint(20, 190)):
                assert process.stdout.readline()
            process.kill()
        assert not cache.exists() and (tmp_path / "cache.partial").exists()
    prepare(source, cache, SECONDS, workers=2)
    assert files_of(cache) == files_of(tmp_path / "whole")
    assert (cache / waveforms.RECORD).read_text() == (tmp_path / "whole" / waveforms.RECORD).read_text()
    assert not (tmp_path / "cache.partial").exists()


@pytest.mark.parametrize("steps", range(1, 10))
def test_killed_at_any_step_of_the_ending(make_folder, load, settings, monkeypatch, steps):
    """A rebuild stopped before its n-th change of the disk: the old cache is whole, or there is none."""
    make_folder()
    old, taken = load(), []
    expected = (old.digest, np.array(old.waveforms))

    def stop(change):
        def changed(*arguments, **options):
            taken.append(change)
            if len(taken) == steps:
                os._exit(9)
            return change(*arguments, **options)

        return changed

    if (child := os.fork()) == 0:
        for name in ("unlink", "rmdir", "replace", "mkdir"):
            monkeypatch.setattr(Path, name, stop(getattr(Path, name)))
        load(rebuild=True)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == (9 if steps < 9 else 0)
    cached = load()
    assert (cached.digest, len(cached.skipped)) == (expected[0], 0)
    assert np.array_equal(cached.waveforms, expected[1])


def test_changed_source_is_not_mixed_into_a_half_built_cache(make_folder, tmp_path):
    source = make_folder()
    bad = source.path / "audio" / f"{sorted(NOTE_STRS)[-1]}.wav"
    bad.write_bytes(b"bad")
    with pytest.raises(InputError):
        prepare(source, tmp_path / "cache", SECONDS, workers=1)
    assert not list(tmp_path.glob("cache*"))
    for note_str in NOTE_STRS:
        (source.path / "audio" / f"{note_str}.wav").write_bytes(audio_of(note_str[::-1]))
    prepare(source, tmp_path / "cache", SECONDS, workers=1)
    rows = np.fromfile(tmp_path / "cache" / waveforms.WAVEFORMS, dtype=np.int16).reshape(-1, SAMPLES)
    assert np.array_equal(rows[0], waveform_of(sorted(NOTE_STRS)[0][::-1]))


def test_source_that_changes_while_it_is_decoded(make_folder, settings, monkeypatch):
    source, read = make_folder(), waveforms.read_waveform

    def changing(audio, samples):
        os.utime(source.path / "examples.json", (1, 1))
        return read(audio, samples)

    monkeypatch.setattr(waveforms, "read_waveform", changing)
    assert "changed while it was decoded; run the same command again" in refusal(settings)


def test_full_disk_ends_in_one_sentence_and_leaves_nothing(make_folder, settings, load, monkeypatch):
    make_folder()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    assert "is full; free some space" in refusal(settings)
    monkeypatch.undo()
    assert len(load().waveforms) == len(NOTE_STRS)


def test_disk_that_is_really_full(make_folder, tmp_path):
    """The same on a tmpfs of 1 MB, where the system lets a test mount one."""
    mount = "mount -t tmpfs -o size=1m tmpfs"
    disk = tmp_path / "disk"
    disk.mkdir()
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*namespace, f"{mount} {disk}"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system does not let a test mount a tmpfs")
    source = make_folder(note_strs=[f"bass_acoustic_{index:03d}-060-100" for index in range(900)])
    script = f"""
        from pathlib import Path
        from nsynth_helpers.data import cache as waveforms
        from nsynth_helpers.data.archives import SplitSource
        from nsynth_helpers.settings import InputError, one_sentence
        source, cache = SplitSource("test", Path("{source.path}")), Path("{disk}/cache")
        try:
            with one_sentence():
                waveforms.prepare(source, cache, {SECONDS})
        except InputError as error:
            assert "is full; free some space" in str(error) and not cache.exists()
        else:
            raise SystemExit("the disk was not full")
        import subprocess
        assert not list(Path("{disk}").iterdir())
        subprocess.run(["mount", "-o", "remount,size=4m", "{disk}"], check=True)
        waveforms.prepare(source, cache, {SECONDS})
        assert (cache / "cache.json").exists()
        print("finished after the disk was full")
    """
    command = f'{mount} {disk} && exec "$PYTHON" -c "$SCRIPT"'
    done = subprocess.run(
        [*namespace, command],
        env=os.environ | {"PYTHON": sys.executable, "SCRIPT": textwrap.dedent(script)},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "finished after the disk was full\n", done.stderr


def test_header_of_a_wav_may_promise_less(make_folder, load):
    """Some writers append data behind the sound; that is no truncation."""
    path = make_folder().path / "audio" / f"{NOTE}.wav"
    content = audio_of(NOTE)
    assert struct.unpack("<I", content[4:8])[0] == len(content) - 8
    path.write_bytes(content + b"LIST")
    assert np.array_equal(load()[NOTE].audio, waveform_of(NOTE))
