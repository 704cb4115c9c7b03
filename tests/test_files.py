"""Files are written whole or not at all, also by two processes at once."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from nsynth_helpers.settings import InputError, atomic_write, one_sentence, write_text

OTHER = """
import sys
from pathlib import Path
from nsynth_helpers.settings import write_text

write_text(Path(sys.argv[1]), "the other")
"""


def test_two_processes_that_write_one_file_do_not_take_each_others_half(tmp_path):
    path = tmp_path / "table.csv"

    def write(temporary: Path) -> None:
        temporary.write_text("the first half, ")
        subprocess.run([sys.executable, "-c", OTHER, path], check=True)
        assert path.read_text() == "the other"
        with temporary.open("a") as file:
            file.write("the second half")

    atomic_write(path, write)
    assert path.read_text() == "the first half, the second half"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half of the new")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=f"The disk of {path} is full"), one_sentence():
        atomic_write(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
