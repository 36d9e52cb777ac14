import errno
import hashlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from kaggle_digits import store
from kaggle_digits.errors import UserError


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


# Digests


def test_digest_by_hand():
    parts = (2).to_bytes(8, "little") + b"ab" + (3).to_bytes(8, "little") + b"cde"
    expected = hashlib.blake2b(parts, digest_size=16).hexdigest()
    assert store.digest("ab", "cde") == store.digest(b"ab", b"cde") == expected
    assert len(expected) == 32


def test_digest_tells_where_parts_end():
    digests = [
        store.digest("abc"),
        store.digest("ab", "c"),
        store.digest("a", "bc"),
        store.digest("a", "b", "c"),
        store.digest("", "abc"),
        store.digest("abc", ""),
        store.digest("c", "ab"),
        store.digest(),
    ]
    assert len(set(digests)) == len(digests)


def test_digest_of_arrays_sees_every_element(tiny_images):
    changed = tiny_images.copy()
    changed[-1, -1, -1] ^= 1
    assert store.digest(tiny_images) == store.digest(tiny_images.tobytes())
    assert store.digest(changed) != store.digest(tiny_images)


def test_digest_json_ignores_the_order_of_keys_only():
    assert store.digest_json({"a": 1, "b": [1, 2]}) == store.digest_json({"b": (1, 2), "a": 1})
    assert store.digest_json({"a": [1, 2]}) != store.digest_json({"a": [2, 1]})
    assert store.digest_json({"a": 1}) != store.digest_json({"a": "1"})


def test_checksum_by_hand(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    expected = hashlib.blake2b(b"content", digest_size=16).hexdigest()
    assert store.checksum(tmp_path / "file") == expected


# Whole or not at all


def test_whole_file_appears_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "new" / "folder" / "model.keras"
    with store.whole_file(path) as beside:
        assert beside.suffix == ".keras"
        beside.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert names(path.parent) == ["model.keras"]


def test_whole_file_leaves_nothing_of_a_failed_block(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def write_half():
        with store.whole_file(path) as beside:
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
        store.write_bytes(path, b"after")
    assert str(caught.value).startswith(f"{path}: cannot be written (No space left on device)")
    assert "make space or choose another folder (--out, --cache)" in str(caught.value)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("place", ["file/x.json", "file/folder/x.json"])
def test_a_folder_that_cannot_be_made_is_told(tmp_path, place):
    (tmp_path / "file").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"file.*: cannot be written \((File exists|Not a dir)"):
        store.write_json(tmp_path / place, {})
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder_is_told(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match=r"x\.json: cannot be written \(Permission denied\)"):
            store.write_json(tmp_path / "x.json", {})
    finally:
        tmp_path.chmod(0o700)


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    flushed = []

    def fsync(descriptor):
        flushed.append(os.fstat(descriptor).st_ino)
        assert not path.exists()

    monkeypatch.setattr(store.os, "fsync", fsync)
    store.write_bytes(path, b"content")
    assert flushed == [path.stat().st_ino]


def test_write_json_is_for_people(tmp_path):
    store.write_json(tmp_path / "x.json", {"b": [1], "a": "c"})
    assert (tmp_path / "x.json").read_text() == '{\n  "b": [\n    1\n  ],\n  "a": "c"\n}\n'


def test_arrays_come_back_and_equal_arrays_give_equal_bytes(tmp_path, monkeypatch):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.uint8([7])}
    store.write_arrays(tmp_path / "1.npz", arrays)
    with monkeypatch.context() as later:
        year_on = time.time() + 365 * 86400
        later.setattr(time, "time", lambda: year_on)
        later.setattr(time, "localtime", lambda *seconds: time.gmtime(year_on))
        store.write_arrays(tmp_path / "2.npz", {name: a.copy() for name, a in arrays.items()})
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    back = store.read_arrays(tmp_path / "1.npz")
    assert list(back) == ["a", "b"]
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def test_read_arrays_runs_no_code(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{"an": "object"}]))
    with pytest.raises(ValueError, match="allow_pickle"):
        store.read_arrays(tmp_path / "x.npz")


# The cache


def make_counted(calls):
    def make():
        calls.append(1)
        return {"a": np.arange(5, dtype=np.uint8)}

    return make


def test_arrays_are_made_once(tmp_path):
    calls = []
    for cache in (store.Cache(tmp_path), store.Cache(tmp_path)):
        for _ in range(2):
            assert cache.arrays("key", make_counted(calls))["a"].tolist() == [0, 1, 2, 3, 4]
    assert len(calls) == 1
    cache.arrays("other", make_counted(calls))
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["flipped byte", "cut", "empty", "no checksum"])
def test_damaged_arrays_are_made_again(tmp_path, damage):
    calls = []
    cache = store.Cache(tmp_path)
    cache.arrays("key", make_counted(calls))
    path = cache.arrays_path("key")
    sound = path.read_bytes()
    if damage == "flipped byte":
        flip_last_byte(path)
    elif damage == "no checksum":
        path.write_bytes(sound[: -store.SEAL_BYTES])
    else:
        path.write_bytes(sound[: 40 if damage == "cut" else 0])
    noticed = []
    again = store.Cache(tmp_path, noticed.append).arrays("key", make_counted(calls))
    assert noticed == [f"damaged: {path}: its checksum differs; it is made again"]
    assert again["a"].tolist() == [0, 1, 2, 3, 4]
    assert len(calls) == 2
    assert path.read_bytes() == sound
    store.Cache(tmp_path).arrays("key", make_counted(calls))
    assert len(calls) == 2


def test_nothing_is_stored_when_making_fails(tmp_path):
    def fail():
        raise UserError("no data")

    with pytest.raises(UserError, match="no data"):
        store.Cache(tmp_path / "cache").arrays("key", fail)
    assert names(tmp_path) == []


# Run folders


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
def test_next_run_folder_takes_the_next_number(tmp_path, present, expected):
    for name in present:
        (tmp_path / name).mkdir()
    chosen = store.next_run_folder(tmp_path, "quick", lambda folder: False)
    assert chosen.folder == tmp_path / expected
    assert names(tmp_path) == sorted(present)


def test_next_run_folder_without_any_folder(tmp_path):
    chosen = store.next_run_folder(tmp_path / "absent", "quick", lambda folder: True)
    assert chosen.folder == tmp_path / "absent" / "quick-1"


def test_next_run_folder_goes_on_in_the_newest_that_may(tmp_path):
    for number in (1, 2, 9, 10, 11):
        (tmp_path / f"quick-{number}").mkdir()
    asked = []

    def goes_on(folder):
        asked.append(folder.folder.name)
        return folder.folder.name in ("quick-2", "quick-10")

    assert store.next_run_folder(tmp_path, "quick", goes_on).folder.name == "quick-10"
    assert asked == ["quick-11", "quick-10"]


def test_next_run_folder_takes_a_config_name_as_it_is(tmp_path):
    for name in ("my[1]-1", "my1-5", "my.a-1", "myxa-8"):
        (tmp_path / name).mkdir()
    chosen = [store.next_run_folder(tmp_path, n, lambda _: False) for n in ("my[1]", "my.a")]
    assert [run.folder.name for run in chosen] == ["my[1]-2", "my.a-2"]


FILES = {
    "model.keras": lambda path: path.write_bytes(b"a net"),
    "predictions.npz": lambda path: store.write_arrays(path, {"test": np.arange(4)}),
}


@pytest.fixture
def run(tmp_path):
    return store.RunFolder(tmp_path / "run")


def test_fit_is_written_with_checksums_and_read_back(run):
    run.write_fit("cnn", 0, FILES, {"digest": "d"})
    folder = run.folder / "fits" / "cnn-fold1"
    assert names(run.fits) == [
        "cnn-fold1",
        "cnn-fold1/fit.json",
        "cnn-fold1/model.keras",
        "cnn-fold1/predictions.npz",
    ]
    facts = run.read_fit("cnn", 0)
    assert facts == {
        "digest": "d",
        "checksums": {name: store.checksum(folder / name) for name in FILES},
    }
    assert run.read_fit_arrays("cnn", 0)["test"].tolist() == [0, 1, 2, 3]
    assert run.read_fit("cnn", 1) is None


@pytest.mark.parametrize("error", [RuntimeError("no net"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_fit_that_cannot_be_written(run, error):
    def fail(path):
        path.write_bytes(b"half")
        raise error

    with pytest.raises(type(error)):
        run.write_fit("cnn", 0, FILES | {"history.csv": fail}, {})
    assert names(run.fits) == []
    assert run.read_fit("cnn", 0) is None
    run.write_fit("cnn", 0, FILES, {})
    assert run.read_fit("cnn", 0) is not None


def test_a_fit_takes_the_place_of_remains_without_a_fit_json(run):
    folder = run.fit_folder("cnn", 0)
    folder.mkdir(parents=True)
    (folder / "model.keras").write_bytes(b"of a fit whose fit.json was deleted")
    run.write_fit("cnn", 0, FILES, {})
    assert (folder / "model.keras").read_bytes() == b"a net"
    assert run.read_fit_arrays("cnn", 0)["test"].tolist() == [0, 1, 2, 3]
    assert [path.name for path in run.fits.iterdir()] == ["cnn-fold1"]


@pytest.mark.parametrize("content", [b"", b'{"identity": {', b"\xff\xfe"])
def test_damaged_fit_json_is_told(run, content):
    run.write_fit("cnn", 2, FILES, {})
    path = run.fit_folder("cnn", 2) / "fit.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        run.read_fit("cnn", 2)
    assert str(caught.value).startswith(f"{path}: it cannot be read")
    assert str(caught.value).endswith("repeat the command that made it")
    assert caught.value.path == path


def test_changed_fact_in_fit_json_is_told(run):
    run.write_fit("cnn", 2, FILES, {"train_images": 1234})
    assert run.read_fit("cnn", 2)["train_images"] == 1234
    path = run.fit_folder("cnn", 2) / "fit.json"
    path.write_text(path.read_text().replace("1234", "1235"))
    with pytest.raises(store.DamagedError, match=r"fit\.json: its checksum differs"):
        run.read_fit("cnn", 2)


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize("damage", [flip_last_byte, lambda path: path.unlink()])
def test_damaged_file_of_a_fit_is_named(run, name, damage):
    run.write_fit("cnn", 0, FILES, {})
    path = run.fit_folder("cnn", 0) / name
    damage(path)
    with pytest.raises(UserError) as caught:
        run.read_fit_arrays("cnn", 0)
    reason = "its checksum in fit.json differs" if path.is_file() else "it is missing"
    assert str(caught.value) == f"{path}: {reason}; repeat the command that made it"


def test_state_of_an_unfinished_fit(run):
    assert run.read_state("cnn", 1) is None
    for value in (1.5, 2.5):
        run.write_state("cnn", 1, {"a": np.array([value])})
    assert run.read_state("cnn", 1)["a"].tolist() == [2.5]
    assert run.read_state("cnn", 0) is None
    path = run.fits / "cnn-fold2.state"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(store.DamagedError, match=r"cnn-fold2\.state: its checksum differs"):
        run.read_state("cnn", 1)
    run.remove_state("cnn", 1)
    run.remove_state("cnn", 1)
    assert run.read_state("cnn", 1) is None


def test_folds_are_kept_and_damage_is_told(run):
    assert run.read_folds() is None
    run.write_folds({"folds": np.arange(3), "seed": np.int64(4)})
    assert run.read_folds()["folds"].tolist() == [0, 1, 2]
    assert np.load(run.folds)["seed"] == 4  # any reader of .npz can open it
    content = bytearray(run.folds.read_bytes())
    content[60] ^= 1
    run.folds.write_bytes(content)
    with pytest.raises(store.DamagedError, match=r"folds\.npz"):
        run.read_folds()


def test_one_process_a_folder(run, process_env):

    script = f"""
import sys
from pathlib import Path
from kaggle_digits.store import RunFolder
with RunFolder(Path({str(run.folder)!r})).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        env=process_env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout.readline() == "locked\n"
    with pytest.raises(UserError, match=f"process {owner.pid} is at work"), run.locked():
        pass
    owner.kill()  # SIGKILL: nothing of it can clean up
    owner.wait()
    with run.locked():
        pass


def test_lock_clears_away_what_a_killed_process_left(run):
    half_fit = run.fits / f"{store.HALF}77-cnn-fold1"
    half_fit.mkdir(parents=True)
    (half_fit / "model.keras").write_bytes(b"half")
    half_file = run.folder / f"{store.HALF}77-metrics.json"
    half_file.write_bytes(b"half")
    run.submission.write_bytes(b"whole")
    with run.locked():
        assert not half_fit.exists()
        assert not half_file.exists()
        assert run.submission.read_bytes() == b"whole"


def test_lock_leaves_other_hidden_files_alone(run):
    note = run.folder / ".2024-notes" / "important.txt"
    note.parent.mkdir(parents=True)
    note.write_text("mine")
    assert not run.is_ours()
    with run.locked():
        assert note.read_text() == "mine"


def test_new_empty_and_run_folders_are_ours(run):
    assert run.is_ours()
    run.folder.mkdir(parents=True, exist_ok=True)
    assert run.is_ours()
    (run.folder / "thesis.tex").write_text("mine")
    assert not run.is_ours()
    run.manifest.write_text("{}")
    assert run.is_ours()


def test_changed_artefacts_are_named(run):
    run.folder.mkdir(parents=True, exist_ok=True)
    assert run.changed_artefacts() == []
    for path in (run.submission, run.config, run.metrics):
        path.write_bytes(b"content")
    store.write_json(run.manifest, {"artefacts": run.checksums()})
    assert run.changed_artefacts() == []
    flip_last_byte(run.submission)
    run.metrics.unlink()
    assert sorted(run.changed_artefacts()) == ["metrics.json", "submission.csv"]
    run.manifest.write_text("[]")
    assert run.changed_artefacts() == []


def test_checksums_name_every_artefact_but_manifest_and_log(run):
    run.write_fit("cnn", 0, FILES, {})
    for path in (
        run.submission,
        run.manifest,
        run.log,
        run.folder / f"{store.HALF}77-metrics.json",
    ):
        path.write_text(path.name)
    sums = run.checksums()
    assert list(sums) == [
        "fits/cnn-fold1/fit.json",
        "fits/cnn-fold1/model.keras",
        "fits/cnn-fold1/predictions.npz",
        "submission.csv",
    ]
    assert sums["submission.csv"] == store.checksum(run.submission)


def test_checksums_leave_out_what_a_killed_process_left(run):
    left = run.fits / f"{store.HALF}77-cnn-fold1"
    left.mkdir(parents=True)
    (left / "model.keras").write_bytes(b"half")
    assert run.checksums() == {}


def test_expected_rows_of_a_submission_in_and_outside_a_run_folder(run):
    assert store.expected_rows(run.submission) == 28_000
    store.write_json(run.manifest, {"test_rows": 540})
    assert store.expected_rows(run.submission) == 540
    assert store.expected_rows(run.folder / "other.csv") == 540


@pytest.mark.parametrize("manifest", ["", "{", "[]", "{}", '{"test_rows": null}', '"text"'])
def test_expected_rows_beside_another_programs_manifest(run, manifest):
    run.folder.mkdir()
    run.manifest.write_text(manifest)
    assert store.expected_rows(run.submission) == 28_000


def test_default_cache_is_the_users(monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name, **options: f"/caches/{name}")
    assert store.default_cache().as_posix() == "/caches/kaggle-digits"
