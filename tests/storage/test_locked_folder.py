import os
import subprocess
import sys

import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.locked_folder import LockedFolder

OWNER = """
import sys
from pathlib import Path
from kaggle_digits.storage.locked_folder import LockedFolder
with LockedFolder(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return LockedFolder(tmp_path / "new" / "folder")


@pytest.fixture
def other(folder, process_env):
    """Another process that has the folder."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, folder.folder],
        env=process_env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout.readline() == "locked\n"
    yield owner
    owner.kill()
    owner.wait()


def test_nobody_has_a_folder_that_is_not_there(folder):
    assert folder.owner() is None
    assert not folder.folder.parent.exists()


def test_one_process_a_folder(folder, other):
    assert folder.owner() == str(other.pid)
    with pytest.raises(UserError) as caught, folder.locked():
        pass
    assert str(caught.value) == (
        f"{folder.folder}: process {other.pid} is at work in this folder; wait for it, or give "
        "another --out"
    )
    other.kill()  # SIGKILL: nothing of it can clean up
    other.wait()
    assert folder.owner() is None
    with folder.locked():
        assert folder.owner() == str(os.getpid())


def test_a_process_that_is_refused_touches_nothing(folder, other):
    half = folder.folder / f"{files.TEMP_PREFIX}{other.pid}-metrics.json"
    half.write_bytes(b"the other one is about to give it a name")
    with pytest.raises(UserError, match="is at work"), folder.locked():
        pass
    assert half.is_file()
    assert (folder.folder / ".owner").read_text() == str(other.pid)


def test_owner_that_has_not_said_its_name_yet(folder):
    with folder.locked():
        (folder.folder / ".owner").unlink()
        assert folder.owner() == "unknown"
        with pytest.raises(UserError, match="process unknown is at work"), folder.locked():
            pass


@pytest.mark.parametrize("error", [RuntimeError("no net"), KeyboardInterrupt()])
def test_lock_ends_with_its_block_however_it_ends(folder, error):
    with pytest.raises(type(error)), folder.locked():
        raise error
    assert folder.owner() is None
    with folder.locked():
        pass


def test_lock_clears_away_what_a_killed_process_left(folder):
    half = folder.folder / f"{files.TEMP_PREFIX}77-cnn-fold1"
    half.mkdir(parents=True)
    (half / "model.keras").write_bytes(b"half")
    half_file = folder.folder / f"{files.TEMP_PREFIX}77-metrics.json"
    half_file.write_bytes(b"half")
    whole = folder.folder / "metrics.json"
    whole.write_bytes(b"whole")
    with folder.locked():
        assert not half.exists()
        assert not half_file.exists()
        assert whole.read_bytes() == b"whole"


def test_lock_clears_only_the_places_of_the_folder(tmp_path):
    class Place(LockedFolder):
        def places(self):
            return [self.folder / "mine", self.folder / "absent"]

    remains = [tmp_path / place / f"{files.TEMP_PREFIX}77-x" for place in ("mine", "others")]
    for path in remains:
        path.parent.mkdir()
        path.write_bytes(b"half")
    with Place(tmp_path).locked():
        assert [path.exists() for path in remains] == [False, True]


def test_lock_leaves_other_hidden_files_alone(folder):
    note = folder.folder / ".2024-notes" / "important.txt"
    note.parent.mkdir(parents=True)
    note.write_text("mine")
    with folder.locked():
        assert note.read_text() == "mine"
