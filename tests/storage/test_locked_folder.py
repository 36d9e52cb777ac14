import errno
import json
import os
import subprocess
import sys

import pytest
from filelock import FileLock
from folders import names

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files, locked_folder
from kaggle_digits.storage.locked_folder import LockedFolder, next_folder
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.tuning.search_folder import SearchFolder

OWNER = """
import sys
from pathlib import Path
from kaggle_digits.storage.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "new" / "folder")


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
    with folder.locked():
        pass
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
        kind, format, earlier_keys = "place", 1, frozenset(("key",))

        def places(self):
            return [self.folder / "mine", self.folder / "absent"]

    place = Place(tmp_path, tmp_path / "place.json")
    with place.locked():
        pass
    remains = [tmp_path / place / f"{files.TEMP_PREFIX}77-x" for place in ("mine", "others")]
    for path in remains:
        path.parent.mkdir()
        path.write_bytes(b"half")
    with place.locked():
        assert [path.exists() for path in remains] == [False, True]


def test_lock_leaves_other_hidden_files_alone(folder):
    with folder.locked():
        pass
    note = folder.folder / ".2024-notes" / "important.txt"
    note.parent.mkdir(parents=True)
    note.write_text("mine")
    with folder.locked():
        assert note.read_text() == "mine"


# Whose folder it is

KINDS = {"run": RunFolder, "search": SearchFolder}
RECORDS = {"run": "manifest.json", "search": "search.json"}
# What the first versions, which wrote no marker, had in these files.
EARLIER = {
    "run": {"complete": True, "hashes": "BLAKE2b", "fits": {}, "artefacts": {}},
    "search": {"config": {}, "data": {}, "backend": "tensorflow", "packages": {}},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def lock_and_leave(folder):
    with folder.locked():
        pass


def refusal(folder):
    """Return why a folder is not used; nothing in it may change."""
    path = folder.folder
    before = {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
    assert not folder.may_be_used()
    with pytest.raises(UserError) as caught:
        folder.check_usable()
    with pytest.raises(UserError) as caught_again, folder.locked():
        pass
    assert str(caught_again.value) == str(caught.value)
    assert {each: each.read_bytes() for each in path.rglob("*") if each.is_file()} == before
    return str(caught.value)


@kinds
def test_first_of_all_a_folder_says_what_it_is(tmp_path, kind, monkeypatch):
    moved = []
    monkeypatch.setattr(files, "move", lambda source, target: moved.append(target.name))
    with KINDS[kind](tmp_path).locked():
        assert moved == [".kaggle-digits", ".owner"]
    monkeypatch.undo()
    lock_and_leave(KINDS[kind](tmp_path))
    assert json.loads((tmp_path / ".kaggle-digits").read_text()) == {"kind": kind, "format": 1}


@kinds
def test_new_and_empty_folders_and_its_own_may_be_used(tmp_path, kind):
    folder = KINDS[kind](tmp_path / "new")
    assert folder.may_be_used()
    folder.folder.mkdir()
    assert folder.may_be_used()
    lock_and_leave(folder)
    (folder.folder / "notes.txt").write_text("mine, beside the others")
    assert folder.may_be_used()
    lock_and_leave(folder)


@kinds
@pytest.mark.parametrize(
    "left",
    [
        [".lock"],
        [".lock", f"{files.TEMP_PREFIX}0a1b2c3d.77-.kaggle-digits"],
        [".lock", ".kaggle-digits"],
        [".lock", ".kaggle-digits", f"{files.TEMP_PREFIX}0a1b2c3d.77-.owner"],
        [".lock", ".owner"],  # an earlier version was killed
    ],
)
def test_a_folder_that_a_killed_process_was_taking_can_be_taken(tmp_path, kind, left):
    folder = KINDS[kind](tmp_path)
    for name in left:
        (tmp_path / name).write_text(json.dumps(folder.stamp) if name == ".kaggle-digits" else "")
    lock_and_leave(folder)
    # Some versions of filelock leave their file, others delete it.
    left = {path.name for path in tmp_path.iterdir()}
    assert left - {".lock"} == {".kaggle-digits", ".owner"}


@kinds
@pytest.mark.parametrize("name", ["thesis.tex", ".hidden", ".2024-notes/x.txt", "fits/trees.txt"])
def test_a_folder_with_other_files_is_refused(tmp_path, kind, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    assert refusal(KINDS[kind](tmp_path)) == (
        f"--out {tmp_path}: expected a new or empty folder, or that of a {kind}, found other "
        "files, which might be overwritten; give another path"
    )


@kinds
@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"name": "an extension", "fits": 1}', '{"kind": "module", "format": 1}'],
)
def test_another_programs_file_of_the_same_name_is_refused(tmp_path, kind, content):
    (tmp_path / RECORDS[kind]).write_text(content)
    assert "found other files" in refusal(KINDS[kind](tmp_path))


@kinds
def test_a_file_is_refused(tmp_path, kind):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    expected = f"--out {path}: expected a folder, found a file; give another path"
    assert refusal(KINDS[kind](path)) == expected


@pytest.mark.parametrize(("kind", "other"), [("run", "search"), ("search", "run")])
def test_neither_a_run_nor_a_search_starts_in_a_folder_of_the_other(tmp_path, kind, other):
    lock_and_leave(KINDS[other](tmp_path))  # not a file more than a new folder of its own has
    assert refusal(KINDS[kind](tmp_path)) == (
        f"--out {tmp_path}: expected a new or empty folder, or that of a {kind}, found that of a "
        f"{other}, which might be overwritten; give another path"
    )


def test_a_folder_that_has_become_a_runs_while_a_search_waited_is_refused(tmp_path):
    lock = FileLock(tmp_path / ".lock")
    lock.acquire()

    def wait():
        files.write_json(tmp_path / ".kaggle-digits", RunFolder(tmp_path).stamp)
        lock.release()

    search = SearchFolder(tmp_path)
    with pytest.raises(UserError, match="found that of a run"), search.locked(wait):
        pass
    assert search.owner() is None
    assert RunFolder(tmp_path).may_be_used()


@kinds
def test_a_folder_of_an_earlier_version_is_refused_in_one_line(tmp_path, kind):
    (tmp_path / RECORDS[kind]).write_text(json.dumps(EARLIER[kind]))
    expected = (
        f"{tmp_path}: made by an earlier version of kaggle-digits; give another --out (its "
        "submission.csv and model files can still be used)"
    )
    assert refusal(KINDS[kind](tmp_path)) == expected
    # Killed before it wrote the record.
    (tmp_path / RECORDS[kind]).rename(tmp_path / "config.yaml")
    assert "found other files" in refusal(KINDS[kind](tmp_path))
    for name in (".lock", ".owner"):
        (tmp_path / name).touch()
    assert refusal(KINDS[kind](tmp_path)) == expected


@kinds
@pytest.mark.parametrize("where", ["marker", "record"])
@pytest.mark.parametrize(("number", "version"), [(2, "a newer"), (0, "an earlier"), (None, "an e")])
def test_another_format_is_refused(tmp_path, kind, where, number, version):
    folder = KINDS[kind](tmp_path)
    name = ".kaggle-digits" if where == "marker" else RECORDS[kind]
    (tmp_path / name).write_text(json.dumps({"kind": kind, "format": number}))
    reason = refusal(folder)
    assert reason.startswith(f"{tmp_path}: made by {version}")
    assert ("update kaggle-digits" in reason) == (number == 2)


@kinds
def test_without_hidden_files_the_record_says_what_a_folder_is(tmp_path, kind):
    folder = KINDS[kind](tmp_path)
    (tmp_path / RECORDS[kind]).write_text(json.dumps(folder.stamp | EARLIER[kind]))
    lock_and_leave(folder)
    # And when the marker is damaged, it is written again.
    (tmp_path / ".kaggle-digits").write_text("{")
    lock_and_leave(folder)
    assert json.loads((tmp_path / ".kaggle-digits").read_text()) == folder.stamp


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder_is_refused_in_one_line(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
            lock_and_leave(RunFolder(tmp_path))
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_folder_in_a_read_only_place_is_to_be_copied(folder, monkeypatch, number):
    lock_and_leave(folder)

    def refuse(self, *args, **options):
        raise OSError(number, os.strerror(number), str(folder.folder / ".lock"))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(UserError) as caught:
        lock_and_leave(folder)
    assert str(caught.value) == (
        f"{folder.folder / '.lock'}: cannot be written ({os.strerror(number)}); copy the folder to "
        "where it can be written, and give the copy (--out)"
    )
    assert folder.owner() is None  # so that the doctor can look at it
    # There is nothing to copy yet.
    monkeypatch.setattr(locked_folder.Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"give a folder that can be written \(--out, --cache\)$"):
        lock_and_leave(RunFolder(folder.folder / "new"))


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ([], "quick-1"),
        (["quick-1"], "quick-2"),
        (["quick-9"], "quick-10"),
        (["quick-9", "quick-10"], "quick-11"),
        (["quick-2"], "quick-3"),
        (["standard-4", "quick-x", "quick-3-old", "very-quick-7", "quick"], "quick-1"),
    ],
)
def test_next_folder_takes_the_next_number(tmp_path, present, expected):
    for name in present:
        (tmp_path / name).mkdir()
    chosen = next_folder(tmp_path, "quick", lambda folder: False)
    assert chosen == tmp_path / expected
    assert names(tmp_path) == sorted(present)


def test_next_folder_without_any_folder(tmp_path):
    chosen = next_folder(tmp_path / "absent", "quick", lambda folder: True)
    assert chosen == tmp_path / "absent" / "quick-1"


def test_next_folder_goes_on_in_the_newest_that_may(tmp_path):
    for number in (1, 2, 9, 10, 11):
        (tmp_path / f"quick-{number}").mkdir()
    asked = []

    def goes_on(folder):
        asked.append(folder.name)
        return folder.name in ("quick-2", "quick-10")

    assert next_folder(tmp_path, "quick", goes_on).name == "quick-10"
    assert asked == ["quick-11", "quick-10"]


def test_next_folder_takes_a_config_name_as_it_is(tmp_path):
    for name in ("my[1]-1", "my1-5", "my.a-1", "myxa-8"):
        (tmp_path / name).mkdir()
    chosen = [next_folder(tmp_path, n, lambda _: False) for n in ("my[1]", "my.a")]
    assert [path.name for path in chosen] == ["my[1]-2", "my.a-2"]
