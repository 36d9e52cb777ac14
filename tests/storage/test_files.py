import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from folders import names

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files

# Digests


def test_digest_by_hand():
    parts = (2).to_bytes(8, "little") + b"ab" + (3).to_bytes(8, "little") + b"cde"
    expected = hashlib.blake2b(parts, digest_size=16).hexdigest()
    assert files.digest("ab", "cde") == files.digest(b"ab", b"cde") == expected
    assert len(expected) == 32


def test_digest_tells_where_parts_end():
    digests = [
        files.digest("abc"),
        files.digest("ab", "c"),
        files.digest("a", "bc"),
        files.digest("a", "b", "c"),
        files.digest("", "abc"),
        files.digest("abc", ""),
        files.digest("c", "ab"),
        files.digest(),
    ]
    assert len(set(digests)) == len(digests)


def test_digest_of_arrays_sees_every_element(tiny_images):
    changed = tiny_images.copy()
    changed[-1, -1, -1] ^= 1
    assert files.digest(tiny_images) == files.digest(tiny_images.tobytes())
    assert files.digest(changed) != files.digest(tiny_images)


def test_digest_of_nothing():
    # An array without elements, whatever its shape, is a part without bytes.
    expected = hashlib.blake2b(bytes(8), digest_size=16).hexdigest()
    for part in (b"", "", np.zeros(0), np.zeros((0, 28, 28), np.uint8), np.zeros((3, 0))):
        assert files.digest(part) == expected
    assert files.digest(b"") != files.digest()
    assert files.digest(np.zeros((0, 28, 28)), "a") != files.digest("a")


def test_digest_json_ignores_the_order_of_keys_only():
    assert files.digest_json({"a": 1, "b": [1, 2]}) == files.digest_json({"b": (1, 2), "a": 1})
    assert files.digest_json({"a": [1, 2]}) != files.digest_json({"a": [2, 1]})
    assert files.digest_json({"a": 1}) != files.digest_json({"a": "1"})


def test_checksum_by_hand(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    expected = hashlib.blake2b(b"content", digest_size=16).hexdigest()
    assert files.checksum(tmp_path / "file") == expected
    assert files.checksum_of(b"content") == expected


# Whole or not at all


def test_atomic_write_appears_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "new" / "folder" / "model.keras"
    with files.atomic_write(path) as beside:
        assert beside.suffix == ".keras"
        beside.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert names(path.parent) == ["model.keras"]


def test_atomic_write_leaves_nothing_of_a_failed_block(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def write_half():
        with files.atomic_write(path) as beside:
            beside.write_text("half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_half()
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file.txt"]


def test_full_disk_is_reported_and_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError) as caught:
        files.write_bytes(path, b"after")
    assert str(caught.value).startswith(f"{path}: cannot be written (No space left on device)")
    assert "make space or choose another folder (--out, --cache)" in str(caught.value)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("place", ["file/x.json", "file/folder/x.json"])
def test_a_folder_that_cannot_be_made_is_reported(tmp_path, place):
    (tmp_path / "file").write_text("a file where the folder should be")
    message = (
        r"file.*: cannot be written \((File exists|Not a directory)\); a file is in the place of"
    )
    with pytest.raises(UserError, match=message):
        files.write_json(tmp_path / place, {})
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_where_nothing_may_be_written_another_folder_is_advised(tmp_path, monkeypatch, number):
    def refuse(*args, **options):
        raise OSError(number, os.strerror(number), str(tmp_path / "x"))

    monkeypatch.setattr(files.Path, "mkdir", refuse)
    with pytest.raises(UserError) as caught:
        files.write_json(tmp_path / "x" / "y.json", {})
    assert str(caught.value) == (
        f"{tmp_path / 'x'}: cannot be written ({os.strerror(number)}); give a folder that can be "
        "written (--out, --cache)"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder_is_reported(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match=r"x\.json: cannot be written \(Permission denied\)"):
            files.write_json(tmp_path / "x.json", {})
    finally:
        tmp_path.chmod(0o700)


def test_content_is_on_the_disk_before_it_has_its_name_and_then_the_name_too(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    flushed, modes = [], []

    def fsync(descriptor):
        flushed.append((os.fstat(descriptor).st_ino, path.exists()))
        modes.append(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE)

    monkeypatch.setattr(files.os, "fsync", fsync)
    files.write_bytes(path, b"content")
    assert flushed == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]
    # Some systems flush nothing through a file that is open for reading only.
    assert modes[0] == os.O_RDWR


# Temporary files: whose, and whether they are left behind

WRITER = """
import os, socket, sys
from pathlib import Path
from kaggle_digits.storage import files
if sys.argv[2:]:  # on another host, where this process has another id
    socket.gethostname = lambda: "elsewhere"
    os.getpid = lambda: int(sys.argv[2])
with files.atomic_write(Path(sys.argv[1])) as beside:
    beside.write_text("half")
    print(beside, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def begin(tmp_path, process_env):
    """Start a process that writes a file; return it and the file's temporary path."""
    started = []

    def start(*words, before=()):
        command = [*before, sys.executable, "-c", WRITER, str(tmp_path / "x.npz"), *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        writer = subprocess.Popen(command, env=process_env, text=True, **pipes)
        started.append(writer)
        return writer, Path(writer.stdout.readline().rstrip())

    yield start
    for writer in started:
        writer.kill()
        writer.wait()


def test_temporary_file_is_abandoned_when_its_writer_has_ended(begin, tmp_path):
    writer, path = begin()
    assert path.parent == tmp_path
    assert path == files.temporary_path(tmp_path / "x.npz", writer.pid)
    assert path.name.startswith(files.TEMP_PREFIX)
    assert path.name.endswith("-x.npz")
    assert not files.is_abandoned(path)
    writer.kill()
    writer.wait()
    assert files.is_abandoned(path)
    assert path.read_text() == "half"


def ended_process():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


def days_old(path, days):
    then = time.time() - days * 86_400
    os.utime(path, (then, then))


def test_temporary_file_of_another_host_is_abandoned_after_a_day(begin):
    # No process has this id here; there it has one.
    writer, path = begin(str(ended_process()))
    assert writer.poll() is None
    assert not files.is_abandoned(path)
    days_old(path, 0.9)
    assert not files.is_abandoned(path)
    days_old(path, 1.1)
    assert files.is_abandoned(path)


def can_unshare():
    command = ["unshare", "--pid", "--fork", "true"]
    return shutil.which("unshare") and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="no other process table can be made here")
def test_temporary_file_of_a_container_is_not_judged_by_its_process_id(begin):
    # The first process of a table of its own, on the same host: its id is another one's here.
    _, path = begin(before=["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
    assert re.search(r"\.1-x\.npz$", path.name)
    own = files.temporary_path(path.with_name("x.npz"), 1)
    assert path.name != own.name
    assert not files.is_abandoned(path)
    days_old(path, 1.1)  # process 1 lives here forever
    assert files.is_abandoned(path)


@pytest.mark.parametrize("name", ["notes.txt", "77-x.npz", "x.77-y.npz", "0a1b2c3d.x-y.npz", ""])
def test_temporary_file_of_an_unknown_writer_is_abandoned_after_a_day(tmp_path, name):
    path = tmp_path / f"{files.TEMP_PREFIX}{name}"
    path.touch()
    assert not files.is_abandoned(path)
    days_old(path, 1.1)
    assert files.is_abandoned(path)


def test_another_users_process_is_alive(tmp_path, monkeypatch):
    def refuse(process, number):
        assert (process, number) == (77, 0)
        raise PermissionError

    monkeypatch.setattr(files.os, "kill", refuse)
    assert not files.is_abandoned(files.temporary_path(tmp_path / "x.npz", 77))


def test_older_and_newer_formats_are_told_apart(tmp_path):
    files.check_format(tmp_path, 3, 3)
    for found, version in ((2, "an earlier"), (None, "an earlier"), ("4", "an ea"), (4, "a newer")):
        with pytest.raises(UserError, match=f": made by {version}"):
            files.check_format(tmp_path, found, 3)


def test_seconds_spent_on_safety_count_once(tmp_path, monkeypatch):
    before = files.io_seconds()
    now = iter(range(100))
    monkeypatch.setattr(files.time, "monotonic", lambda: next(now))
    with files.timed_io():  # looks at the clock when it begins and when it ends
        files.write_json(tmp_path / "x.json", {})
    files.checksum(tmp_path / "x.json")
    assert files.io_seconds() - before == 2
    with pytest.raises(KeyError), files.timed_io():
        raise KeyError
    files.digest("x")
    assert files.io_seconds() - before == 4


def test_write_json_is_for_people(tmp_path):
    files.write_json(tmp_path / "x.json", {"b": [1], "a": "c"})
    assert (tmp_path / "x.json").read_text() == '{\n  "b": [\n    1\n  ],\n  "a": "c"\n}\n'


def test_arrays_come_back_and_equal_arrays_give_equal_bytes(tmp_path, monkeypatch):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.uint8([7])}
    files.write_arrays(tmp_path / "1.npz", arrays)
    with monkeypatch.context() as later:
        year_on = time.time() + 365 * 86400
        later.setattr(time, "time", lambda: year_on)
        later.setattr(time, "localtime", lambda *seconds: time.gmtime(year_on))
        files.write_arrays(tmp_path / "2.npz", {name: a.copy() for name, a in arrays.items()})
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    back = files.read_arrays(tmp_path / "1.npz")
    assert list(back) == ["a", "b"]
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def test_read_arrays_runs_no_code(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{"an": "object"}]))
    with pytest.raises(ValueError, match="allow_pickle"):
        files.read_arrays(tmp_path / "x.npz")
