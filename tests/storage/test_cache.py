import numpy as np
import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache, default_cache


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


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
    (tmp_path / "bank" / "key" / "variant-003.npy").unlink()
    assert not cache.has_variant("key", 3)


def test_a_damaged_variant_is_not_there_until_it_is_drawn_again(tmp_path):
    noticed = []
    cache = Cache(tmp_path, noticed.append)
    cache.write_variant("key", 0, np.zeros((2, 28, 28), np.uint8))
    path = tmp_path / "bank" / "key" / "variant-000.npy"
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


def test_default_cache_is_the_users(monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name, **options: f"/caches/{name}")
    assert default_cache().as_posix() == "/caches/kaggle-digits"
