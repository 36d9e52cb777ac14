import errno
import hashlib
import os
import time

import numpy as np
import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.storage import cache as store
from kaggle_digits.storage import files


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


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


# Whole or not at all


def test_whole_file_appears_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "new" / "folder" / "model.keras"
    with files.atomic_write(path) as beside:
        assert beside.suffix == ".keras"
        beside.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert names(path.parent) == ["model.keras"]


def test_whole_file_leaves_nothing_of_a_failed_block(tmp_path):
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


def test_full_disk_is_told_and_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(UserError) as caught:
        files.write_bytes(path, b"after")
    assert str(caught.value).startswith(f"{path}: cannot be written (No space left on device)")
    assert "make space or choose another folder (--out, --cache)" in str(caught.value)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("place", ["file/x.json", "file/folder/x.json"])
def test_a_folder_that_cannot_be_made_is_told(tmp_path, place):
    (tmp_path / "file").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"file.*: cannot be written \((File exists|Not a dir)"):
        files.write_json(tmp_path / place, {})
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder_is_told(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match=r"x\.json: cannot be written \(Permission denied\)"):
            files.write_json(tmp_path / "x.json", {})
    finally:
        tmp_path.chmod(0o700)


def test_content_is_on_the_disk_before_it_has_its_name_and_then_the_name_too(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    flushed = []

    def fsync(descriptor):
        flushed.append((os.fstat(descriptor).st_ino, path.exists()))

    monkeypatch.setattr(files.os, "fsync", fsync)
    files.write_bytes(path, b"content")
    assert flushed == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


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
