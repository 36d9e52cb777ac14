import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from folders import flip_last_byte, names

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache, cache_folder


def make_counted(calls):
    def make():
        calls.append(1)
        return {"a": np.arange(5, dtype=np.uint8)}

    return make


def test_arrays_are_made_once(tmp_path):
    calls = []
    for cache in (Cache(tmp_path), Cache(tmp_path)):
        for _ in range(2):
            assert cache.arrays("key", make_counted(calls))["a"].tolist() == [0, 1, 2, 3, 4]
    assert len(calls) == 1
    cache.arrays("other", make_counted(calls))
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["flipped byte", "cut", "empty", "no checksum"])
def test_damaged_arrays_are_made_again(tmp_path, damage):
    calls = []
    cache = Cache(tmp_path)
    cache.arrays("key", make_counted(calls))
    path = cache.arrays_path("key")
    sound = path.read_bytes()
    if damage == "flipped byte":
        flip_last_byte(path)
    elif damage == "no checksum":
        path.write_bytes(sound[: -files.CHECKSUM_BYTES])
    else:
        path.write_bytes(sound[: 40 if damage == "cut" else 0])
    noticed = []
    again = Cache(tmp_path, noticed.append).arrays("key", make_counted(calls))
    assert noticed == [f"damaged: {path}: its checksum differs; it is made again"]
    assert again["a"].tolist() == [0, 1, 2, 3, 4]
    assert len(calls) == 2
    assert path.read_bytes() == sound
    Cache(tmp_path).arrays("key", make_counted(calls))
    assert len(calls) == 2


@pytest.fixture
def read(monkeypatch):
    """The files that were read to compare them with their checksums."""
    paths, read_checksummed = [], files.read_checksummed

    def recorded(path):
        paths.append(path.name)
        return read_checksummed(path)

    monkeypatch.setattr(files, "read_checksummed", recorded)
    return paths


def test_a_variant_is_compared_with_its_checksum_once(tmp_path, read):
    cache = Cache(tmp_path)
    assert not cache.has_variant("key", 3)
    cache.write_variant("key", 3, np.zeros((2, 28, 28), np.uint8))
    del read[:]
    assert [cache.has_variant("key", 3) for _ in range(4)] == [True] * 4
    assert not cache.has_variant("other", 3)
    assert read == ["variant-003.npy"] * 2  # each of two banks
    # Another process looks for itself.
    assert Cache(tmp_path).has_variant("key", 3)
    assert read == ["variant-003.npy"] * 3
    # That it is gone is noticed all the same: the cache may be deleted at any time.
    (tmp_path / "bank" / "v1-key" / "variant-003.npy").unlink()
    assert not cache.has_variant("key", 3)


def test_a_damaged_variant_is_not_there_until_it_is_drawn_again(tmp_path):
    noticed = []
    cache = Cache(tmp_path, noticed.append)
    cache.write_variant("key", 0, np.zeros((2, 28, 28), np.uint8))
    path = tmp_path / "bank" / "v1-key" / "variant-000.npy"
    flip_last_byte(path)
    assert not cache.has_variant("key", 0)
    assert noticed == [f"damaged: {path}: its checksum differs; it is made again"]
    cache.write_variant("key", 0, np.zeros((2, 28, 28), np.uint8))
    assert cache.has_variant("key", 0)


def test_nothing_is_stored_when_making_fails(tmp_path):
    def fail():
        raise UserError("no data")

    with pytest.raises(UserError, match="no data"):
        Cache(tmp_path / "cache").arrays("key", fail)
    assert names(tmp_path) == []


def test_another_format_finds_nothing_and_takes_nothing_away(tmp_path, monkeypatch):
    calls = []
    cache = Cache(tmp_path)
    cache.arrays("key", make_counted(calls))
    cache.write_variant("key", 3, np.zeros((2, 28, 28), np.uint8))
    before = names(tmp_path)
    assert before == [
        *("arrays", "arrays/v1-key.npz"),
        *("bank", "bank/v1-key", "bank/v1-key/variant-003.npy"),
    ]
    monkeypatch.setattr("kaggle_digits.storage.cache.FORMAT", 2)
    later = Cache(tmp_path)
    assert not later.has_variant("key", 3)
    later.arrays("key", make_counted(calls))
    assert len(calls) == 2
    assert set(names(tmp_path)) == {*before, "arrays/v2-key.npz"}


def test_only_abandoned_temporary_files_are_cleared(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, kept = [], []
    for folder in (tmp_path / "arrays", tmp_path / "bank" / "v1-key", tmp_path / "bank" / "older"):
        folder.mkdir(parents=True)
        left.append(files.temporary_path(folder / "x.npz", gone.pid))
        # Another run of this machine is at work on the same; the next two are other machines'.
        kept.append(files.temporary_path(folder / "x.npz", os.getpid()))
        kept.append(folder / f"{files.TEMP_PREFIX}0a1b2c3d.{gone.pid}-x.npz")
        kept.append(folder / f"{files.TEMP_PREFIX}{gone.pid}-x.npz")
        kept.append(folder / f"{files.TEMP_PREFIX}not-a-number.npz")
        kept.append(folder / "whole.npz")
        left.append(folder / f"{files.TEMP_PREFIX}{gone.pid}-of-last-week.npz")
    for path in (*left, *kept):
        path.write_bytes(b"half")
    for path in left[1::2]:
        os.utime(path, (0, 0))
    Cache(tmp_path).clear_temporary_files()
    assert [path for path in left if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


def test_spilled_images_of_a_killed_process_are_cleared(tmp_path, process_env):
    script = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from kaggle_digits.storage.cache import Cache\n"
        "with Cache(Path(sys.argv[1])).spill('key', np.zeros((2, 28, 28), np.uint8)) as path:\n"
        "    print(path, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=process_env, text=True, **pipes)
    path = Path(process.stdout.readline().rstrip())
    try:
        Cache(tmp_path).clear_temporary_files()
        assert np.load(path).shape == (2, 28, 28)
    finally:
        process.kill()
        process.wait()
    Cache(tmp_path).clear_temporary_files()
    assert names(tmp_path / "bank" / "v1-key") == []


def test_without_a_choice_the_cache_is_the_users(monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name, **options: f"/caches/{name}")
    assert cache_folder().as_posix() == "/caches/kaggle-digits"


def test_a_cache_can_be_pickled_whoever_hears_of_damage(tmp_path):
    noticed = []
    cache = Cache(tmp_path, lambda text: noticed.append(text))
    cache.write_variant("bank", 0, np.arange(3))
    back = pickle.loads(pickle.dumps(cache))
    assert back.folder == tmp_path
    assert back.read_variant("bank", 0).tolist() == [0, 1, 2]
    (path,) = tmp_path.rglob("variant-000.npy")
    path.write_bytes(b"x")
    assert not back.has_variant("bank", 0)
    assert noticed == []


def test_a_file_is_no_cache_folder(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for given, setting in ((tmp_path / "file", "--cache"), (None, "KAGGLE_DIGITS_CACHE")):
        monkeypatch.setenv("KAGGLE_DIGITS_CACHE", str(tmp_path / "file"))
        with pytest.raises(UserError) as caught:
            cache_folder(given)
        found = f"{setting} {tmp_path / 'file'}: expected a folder, found a file; give another path"
        assert str(caught.value) == found
    assert cache_folder(tmp_path) == tmp_path
    assert cache_folder(tmp_path / "new") == tmp_path / "new"
