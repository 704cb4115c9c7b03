"""Archives and folders as sources of notes, friendly and hostile."""

import gzip
import hashlib
import json
import resource
import tarfile

import pytest

from conftest import NOTE_STRS, audio_of, record_of, write_tar
from nsynth_helpers.data import archives
from nsynth_helpers.data.archives import NoteStream, SplitSource, find_split, fingerprint, open_members, write_archive
from nsynth_helpers.settings import InputError

NOTE = NOTE_STRS[0]
MEMBER = f"nsynth-test/audio/{NOTE}.wav"


def contents(source: SplitSource) -> dict[str, bytes]:
    """Note names and audio bytes that a source gives."""
    return {
        audio.note_str: audio.content if source.is_archive else audio.content.read_bytes()
        for audio in NoteStream(source)
    }


def refusal(path) -> str:
    """The sentence with which an archive is refused."""
    with pytest.raises(InputError) as caught:
        list(open_members(path))
    sentence = str(caught.value)
    assert str(path) in sentence and "fetch the archive again" in sentence and "\n" not in sentence
    return sentence


def link(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A member that is no file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_folder_and_archive_give_the_same_notes(make_folder, make_archive):
    expected = {note_str: audio_of(note_str) for note_str in NOTE_STRS}
    assert contents(make_folder()) == expected
    assert contents(make_archive()) == expected
    assert contents(make_archive(packed=False)) == expected


def test_examples_may_come_last(make_archive):
    stream = NoteStream(make_archive(examples_last=True))
    assert [audio.note_str for audio in stream] == list(NOTE_STRS)
    assert json.loads(stream.examples)[NOTE] == record_of(NOTE)


def test_missing_examples(make_folder, tmp_path):
    source = make_folder()
    (source.path / "examples.json").unlink()
    with pytest.raises(InputError, match=r"holds no examples.json; fetch or unpack"):
        list(NoteStream(source))
    archive = SplitSource("test", write_tar(tmp_path / "nsynth-test.tar.gz", [(MEMBER, b"")]))
    with pytest.raises(InputError, match=r"holds no examples.json; fetch or unpack"):
        list(NoteStream(archive))


def test_missing_audio_folder(make_folder):
    source = make_folder(note_strs=())
    (source.path / "audio").rmdir()
    with pytest.raises(InputError, match="audio is missing; unpack the split again"):
        list(NoteStream(source))


def test_missing_split_names_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"holds no valid split; put .* download valid --to"):
        find_split(tmp_path, "valid")
    with pytest.raises(InputError, match="no split 'validation'; use one of train, valid, test"):
        find_split(tmp_path, "validation")


def test_archive_of_another_split(make_archive):
    archive = make_archive("train").path
    with pytest.raises(InputError, match="not of the test split; give the archive its own name back"):
        list(NoteStream(SplitSource("test", archive)))


@pytest.mark.parametrize("name", [f"/{MEMBER}", f"nsynth-test/../../{NOTE}.wav", "..", "nsynth-test\\..\\x.wav"])
def test_unsafe_path(tmp_path, name):
    assert "unsafe path" in refusal(write_tar(tmp_path / "nsynth-test.tar.gz", [(name, b"x")]))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_link_or_device(tmp_path, kind):
    path = write_tar(tmp_path / "nsynth-test.tar", [link(MEMBER, kind, "/etc/passwd")], "w")
    assert f"'{MEMBER}', a link or a device" in refusal(path)


@pytest.mark.parametrize("size", [10**12, archives.MAX_AUDIO_BYTES + 1, -512])
def test_absurd_declared_size(tmp_path, size):
    info = tarfile.TarInfo(MEMBER)
    info.size = size
    path = tmp_path / "nsynth-test.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    assert str(path) in refusal(path)


def bomb(path, head: bytes, megabytes: int):
    """A small gzip file that unpacks to a head and endless zeros."""
    zeros = gzip.compress(bytes(10 << 20), compresslevel=1)
    path.write_bytes(gzip.compress(head) + zeros * (megabytes // 10))
    return path


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(header(MEMBER, 512) + bytes(512 + 1024), id="data behind the last member"),
        pytest.param(header("pax", 2**33, tarfile.XHDTYPE), id="a pax header of 8 GB"),
        pytest.param(header("name", 2**33, tarfile.GNUTYPE_LONGNAME), id="a name of 8 GB"),
        pytest.param(header("nsynth-test", 2**33, tarfile.DIRTYPE), id="a folder of 8 GB"),
    ],
)
def test_gzip_bomb_is_not_unpacked(tmp_path, head):
    path = bomb(tmp_path / "nsynth-test.tar.gz", head, megabytes=300)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(path)
    # What is read ahead is a few MB; the bomb would be 300.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_endless_chain_of_headers(tmp_path):
    path = tmp_path / "nsynth-test.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(header("pax", 0, tarfile.XHDTYPE) * 5_000)
    refusal(path)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_archive(make_archive, packed, share):
    source = make_archive(packed=packed, examples_last=True)
    content = source.path.read_bytes()
    source.path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"again|holds no examples.json"):
        list(NoteStream(source))


def test_damaged_gzip_fails_its_checksum(make_archive):
    source = make_archive()
    content = bytearray(source.path.read_bytes())
    content[-8] ^= 1
    source.path.write_bytes(content)
    assert "damaged or unsafe" in refusal(source.path)


@pytest.mark.parametrize("place", [12, 200, 2000])
def test_damage_inside_a_gzip_is_told(make_archive, place):
    source = make_archive()
    content = bytearray(source.path.read_bytes())
    content[place : place + 40] = bytes(40)
    source.path.write_bytes(content)
    assert "damaged or unsafe" in refusal(source.path)


def test_not_an_archive_or_not_there(tmp_path):
    (tmp_path / "nsynth-test.tar").write_bytes(b"no tar" * 1000)
    assert "damaged or unsafe" in refusal(tmp_path / "nsynth-test.tar")
    assert "No such file" in refusal(tmp_path / "nowhere.tar")


def test_members_are_not_remembered(tmp_path, monkeypatch):
    """Tarfile keeps each member it has met: 300 MB for the train split."""
    kept = []
    original = tarfile.TarFile.next
    monkeypatch.setattr(tarfile.TarFile, "next", lambda self: kept.append(len(self.members)) or original(self))
    path = write_tar(tmp_path / "nsynth-test.tar", [(f"nsynth-test/audio/{i}.wav", b"") for i in range(50)], "w")
    assert len(list(open_members(path))) == 50
    assert max(kept) <= 1


def test_fingerprint_notices_a_changed_file(make_folder):
    source = make_folder()
    before = fingerprint(source)
    (source.path / "audio" / f"{NOTE}.wav").write_bytes(b"")
    assert fingerprint(source) != before


def test_written_archive_is_official_and_deterministic(tmp_path):
    def write(name):
        path = tmp_path / name
        audio = ((f"{note_str}.ogg", b"audio of " + note_str.encode()) for note_str in NOTE_STRS)
        write_archive(path, "test", {note_str: record_of(note_str) for note_str in NOTE_STRS}, audio)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    assert write("nsynth-test.tar") == write("again.tar")
    with tarfile.open(tmp_path / "nsynth-test.tar") as archive:
        members = archive.getmembers()
    assert members[0].name == "nsynth-test/examples.json"
    assert [member.name for member in members[1:]] == [f"nsynth-test/audio/{note_str}.ogg" for note_str in NOTE_STRS]
    assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} == {(0, 0, 0, "")}
    read = contents(SplitSource("test", tmp_path / "nsynth-test.tar"))
    assert read == {note_str: b"audio of " + note_str.encode() for note_str in NOTE_STRS}


def test_failed_archive_leaves_nothing(tmp_path):
    def audio():
        yield f"{NOTE}.wav", b"x"
        raise InputError("the source is bad.")

    with pytest.raises(InputError):
        write_archive(tmp_path / "nsynth-test.tar", "test", {}, audio())
    assert list(tmp_path.iterdir()) == []


def test_a_gzip_of_several_streams_with_padding_is_read_whole(tmp_path):
    plain = write_tar(tmp_path / "plain.tar", [("a", b"one" * 400), ("b", bytes(5000))], "w").read_bytes()
    packed = gzip.compress(plain[:900]) + bytes(30) + gzip.compress(plain[900:]) + bytes(2000)
    (tmp_path / "two.tar.gz").write_bytes(packed)
    assert dict(open_members(tmp_path / "two.tar.gz")) == {"a": b"one" * 400, "b": bytes(5000)}
    (tmp_path / "cut.tar.gz").write_bytes(packed[:-2012])
    with pytest.raises(InputError, match="damaged or unsafe"):
        list(open_members(tmp_path / "cut.tar.gz"))
