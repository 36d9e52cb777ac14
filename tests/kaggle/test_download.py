"""Fetching the competition's files: the real client against the stand-in, whole processes too."""

import errno
import gzip
import io
import os
import shutil
import signal
import threading
import time
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock
from stand_in import Plan

from kaggle_digits.data import competition, demo, sources
from kaggle_digits.data.digits import read_digits
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle import download
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache

CSV = {f"{part}.csv": content for part, content in demo.csv_files().items()}
CHUNK = 2**20  # bytes that the client asks for at once


def zipped(members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ARCHIVE = zipped({"sample_submission.csv": b"ImageId,Label\r\n", **CSV})
assert len(ARCHIVE) > 3 * CHUNK


@pytest.fixture
def _own(monkeypatch):
    """Take the demo data for the competition's own."""
    digits = read_digits(sources.Source("demo", demo=True))
    train = files.digest(digits.train_images, digits.train_labels)
    monkeypatch.setitem(competition.CONTENT, "train.csv", train)
    test = files.digest(digits.test_images, digits.test_labels)
    monkeypatch.setitem(competition.CONTENT, "test.csv", test)


@pytest.fixture
def fetch(_own, client, stand_in, tmp_path):
    """Fetch into tmp_path/data; return the description. What was said is in `fetch.said`."""
    stand_in.archive = ARCHIVE
    cached = Cache(tmp_path / "cache").arrays

    def call(folder="data", kaggle_root="absent"):
        stand_in.calls.clear()
        call.said.clear()
        return download.fetch(
            tmp_path / folder, cached, call.said.append, kaggle_root=tmp_path / kaggle_root
        )

    call.said = []
    return call


def content(folder):
    """What is in a folder: path -> bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def problem_of(fetch):
    with pytest.raises(UserError) as refused:
        fetch()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_both_files_are_fetched_where_run_finds_them(fetch, stand_in, tmp_path, capsys):
    data = fetch()
    assert content(tmp_path / "data") == CSV
    assert list((tmp_path / "data").glob(".*")) == []
    assert data.train.is_competitions
    assert data.test.is_competitions
    assert data.source == str(tmp_path / "data")
    found = sources.find_source(
        None, environ={}, working_directory=tmp_path, kaggle_root=tmp_path / "absent"
    )
    assert found.train == tmp_path / "data" / "train.csv"
    assert stand_in.calls[-2:] == ["DownloadDataFiles", "GET"]
    assert fetch.said == [f"downloading digit-recognizer into {tmp_path / 'data'}"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("has_zip", [False, True], ids=["csv", "zip"])
def test_what_is_there_already_is_not_fetched_again(fetch, stand_in, tmp_path, has_zip):
    if has_zip:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "digit-recognizer.zip").write_bytes(ARCHIVE)
    else:
        fetch()
    before = content(tmp_path / "data")
    data = fetch()
    assert stand_in.calls == []
    assert "the competition's files are there already, nothing to fetch" in fetch.said[0]
    assert data.train.rows == 1_400
    assert content(tmp_path / "data") == before


@pytest.mark.parametrize("mount", ["competitions/digit-recognizer", "digit-recognizer"])
def test_in_a_kernel_the_mounted_files_are_enough(fetch, stand_in, tmp_path, mount):
    folder = tmp_path / "input" / mount
    folder.mkdir(parents=True)
    for name, each in CSV.items():
        (folder / name).write_bytes(each)
    assert fetch(kaggle_root="input").source == str(folder)
    assert stand_in.calls == []
    assert fetch.said == [f"{folder}: mounted by Kaggle, nothing to fetch"]
    assert not (tmp_path / "data").exists()


def test_a_single_file_is_completed_and_stays_as_it_is(fetch, tmp_path):
    packed = gzip.compress(CSV["train.csv"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv.gz").write_bytes(packed)
    assert fetch().train.is_competitions
    expected = {"train.csv.gz": packed, "test.csv": CSV["test.csv"]}
    assert content(tmp_path / "data") == expected


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_single_file_of_other_data_is_not_completed(fetch, tmp_path, part):
    fewer = b"".join(CSV[f"{part}.csv"].splitlines(keepends=True)[:-1])
    before = {f"{part}.csv": fewer}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / f"{part}.csv").write_bytes(fewer)
    problem = problem_of(fetch)
    assert f"data: expected the competition's files, found another {part}.csv; " in problem
    assert "move these away, or give another --to" in problem
    assert content(tmp_path / "data") == before
    (tmp_path / "data" / f"{part}.csv").write_bytes(b"label\n1\n")
    assert f"{part}.csv line 1: expected " in (problem := problem_of(fetch))
    assert problem.endswith("move these away, or give another --to)")
    assert content(tmp_path / "data") == {f"{part}.csv": b"label\n1\n"}


def test_a_damaged_zip_is_never_written_over(fetch, stand_in, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "digit-recognizer.zip").write_bytes(b"PK half of it")
    problem = problem_of(fetch)
    assert "digit-recognizer.zip: cannot be unpacked" in problem
    assert problem.endswith("move these away, or give another --to)")
    assert content(tmp_path / "data") == {"digit-recognizer.zip": b"PK half of it"}
    assert stand_in.calls == []


def test_other_files_are_never_written_over(fetch, stand_in, tmp_path):
    fewer = b"".join(CSV["train.csv"].splitlines(keepends=True)[:-1])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_bytes(fewer)
    (tmp_path / "data" / "test.csv").write_bytes(CSV["test.csv"])
    problem = problem_of(fetch)
    assert "expected the competition's files, found another train.csv; " in problem
    assert "move these away, or give another --to" in problem
    assert content(tmp_path / "data") == {"train.csv": fewer, "test.csv": CSV["test.csv"]}
    (tmp_path / "data" / "train.csv").write_bytes(b"label\n1\n")
    assert "train.csv line 1: expected the columns label" in (problem := problem_of(fetch))
    assert problem.endswith("move these away, or give another --to)")
    assert stand_in.calls == []


@pytest.mark.parametrize(
    "members",
    [
        {f"{name}.zip": zipped({name: each}) for name, each in CSV.items()},
        {f"digit-recognizer/{name}": each for name, each in CSV.items()},
    ],
    ids=["zips in the zip", "a folder in the zip"],
)
def test_however_kaggle_packs_them(fetch, stand_in, tmp_path, members):
    stand_in.archive = zipped(members, zipfile.ZIP_DEFLATED)
    fetch()
    assert content(tmp_path / "data") == CSV


def test_other_files_from_kaggle_are_taken_and_described(fetch, stand_in, tmp_path):
    fewer = b"".join(CSV["train.csv"].splitlines(keepends=True)[:-1])
    stand_in.archive = zipped(CSV | {"train.csv": fewer})
    data = fetch()
    assert (data.train.is_competitions, data.train.rows) == (False, 1_399)
    assert (tmp_path / "data" / "train.csv").read_bytes() == fewer


# What goes wrong


def test_a_broken_connection_is_continued(fetch, stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    stand_in.plan("GET", Plan(cut=2 * CHUNK + 5))
    fetch()
    assert content(tmp_path / "data") == CSV
    assert stand_in.calls.count("GET") == 2
    assert stand_in.downloaded == 2 * len(ARCHIVE) - 2 * CHUNK  # two chunks were not sent again


@pytest.fixture
def interrupted(begin, stand_in, tmp_path):
    """Begin a fetch that gets a signal when two chunks are on the disk; return it at its end."""

    def interrupted(number):
        is_over = threading.Event()

        def interrupt():
            packed = tmp_path / "data" / download.UNFINISHED / "digit-recognizer.zip"
            while life.poll() is None and not (
                packed.exists() and packed.stat().st_size >= 2 * CHUNK
            ):
                time.sleep(0.001)
            life.send_signal(number)
            is_over.wait(300)  # or the client would ask for the rest

        stand_in.archive = ARCHIVE
        stand_in.plan("GET", Plan(cut=2 * CHUNK + 5, action=interrupt))
        life = begin("data", "fetch")
        output, error = life.communicate(timeout=300)
        is_over.set()
        return life.returncode, output, error

    return interrupted


def test_ctrl_c_ends_in_one_line(interrupted, tmp_path):
    status, _, error = interrupted(signal.SIGINT)
    assert status == 130
    assert error == "kaggle-digits: stopped by Ctrl-C; repeat the command to continue\n"
    assert sources.in_folder(tmp_path / "data") is None  # no run would take it for the data


def test_killed_while_downloading_the_next_continues(interrupted, command, stand_in, tmp_path):
    assert interrupted(signal.SIGKILL)[0] == -signal.SIGKILL
    assert sources.in_folder(tmp_path / "data") is None
    status, output, error = command("data", "fetch")
    assert (status, error) == (0, "")
    assert content(tmp_path / "data") == CSV
    # The client asks for the whole, leaves it unread, and asks for what is missing.
    assert stand_in.downloaded == 3 * len(ARCHIVE) - 2 * CHUNK
    assert "downloading digit-recognizer into data" in output
    assert "train.csv       1,400 rows" in output
    assert "kaggle-digits run trains on them" in output


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    ("module", "name"),
    [(download, "_write"), (files, "move"), (download, "read_digits"), (download, "_clear")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_killed_in_any_step_the_next_ends_with_the_same_files(
    fetch, tmp_path, monkeypatch, module, name, number
):
    calls = []
    original = getattr(module, name)

    def strike(*arguments, **others):
        calls.append(arguments)
        if len(calls) == number:
            raise Killed
        return original(*arguments, **others)

    with monkeypatch.context() as patches:
        patches.setattr(module, name, strike)
        try:
            fetch()
        except Killed:
            # Each file that is there is whole.
            visible = {path.name for path in (tmp_path / "data").glob("[!.]*")}
            assert all((tmp_path / "data" / each).read_bytes() == CSV[each] for each in visible)
        else:
            assert len(calls) < number
    fetch()
    assert content(tmp_path / "data") == CSV


# Newer than the real one and as long, so the client takes it for complete; or a part, which the
# client before 2.1 continues.
@pytest.mark.parametrize("size", [len(ARCHIVE), 2 * CHUNK])
def test_what_belongs_to_another_file_is_downloaded_again(fetch, tmp_path, size):
    unfinished = tmp_path / "data" / download.UNFINISHED
    unfinished.mkdir(parents=True)
    (unfinished / "digit-recognizer.zip").write_bytes(bytes(size))
    fetch()
    assert content(tmp_path / "data") == CSV


def test_damage_at_kaggle_is_an_error_that_leaves_nothing(fetch, stand_in, tmp_path):
    damaged = bytearray(ARCHIVE)
    damaged[CHUNK] ^= 1
    stand_in.archive = bytes(damaged)
    assert "cannot be unpacked (Bad CRC-32" in problem_of(fetch)
    assert stand_in.calls.count("DownloadDataFiles") == 2
    assert list((tmp_path / "data").iterdir()) == []


def test_a_csv_that_is_not_in_the_format_is_an_error(fetch, stand_in, tmp_path):
    lines = CSV["test.csv"].split(b"\r\n")
    lines[2] = lines[2].replace(b",0,", b",-1,", 1)
    stand_in.archive = zipped(CSV | {"test.csv": b"\r\n".join(lines)})
    assert 'test.csv line 3, column pixel0: expected an integer from 0 to 255, found "-1"' in (
        problem_of(fetch)
    )
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (403, "You must accept this competition's rules", "accept the competition's rules on http"),
        (404, "Competition not found", "what it names may be gone or private"),
    ],
)
def test_kaggles_refusals_leave_nothing(fetch, stand_in, tmp_path, status, message, expected):
    stand_in.plan("DownloadDataFiles", Plan(status=status, message=message, times=9))
    problem = problem_of(fetch)
    assert f"HTTP {status} ({message})" in problem
    assert "download the competition's files" in problem
    assert expected in problem
    assert list((tmp_path / "data").iterdir()) == []


def test_a_full_disk_is_refused_before_the_download(fetch, stand_in, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=12_345_678)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert "data: expected 200 MB of free space, found 12 MB; make space" in problem_of(fetch)
    assert "DownloadDataFiles" not in stand_in.calls
    assert list((tmp_path / "data").iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_loses_no_download(fetch, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patches:
        patches.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            fetch()
    assert content(tmp_path / "data" / download.UNFINISHED)["digit-recognizer.zip"] == ARCHIVE
    fetch()
    assert content(tmp_path / "data") == CSV


def test_two_processes_never_download_into_one_folder(fetch, stand_in, tmp_path):
    unfinished = tmp_path / "data" / download.UNFINISHED
    unfinished.mkdir(parents=True)
    with FileLock(unfinished / download.LOCK):
        assert "data: another process is downloading into this folder; wait" in problem_of(fetch)
    assert "DownloadDataFiles" not in stand_in.calls
    fetch()
    assert content(tmp_path / "data") == CSV


def test_without_credentials_it_is_one_line(command, stand_in, tmp_path):
    status, output, error = command("data", "fetch", KAGGLE_API_TOKEN="")
    assert (status, output) == (2, "")
    assert error.startswith("kaggle-digits: no credentials for Kaggle were found; sign in to")
    assert error.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_another_folder_is_named_for_run(command, stand_in, tmp_path):
    stand_in.archive = ARCHIVE
    status, output, error = command("data", "fetch", "--to", "my files", "--progress", "rich")
    assert (status, error) == (0, "")
    assert content(tmp_path / "my files") == CSV
    assert "kaggle-digits run --data 'my files' trains on them" in output
    assert "100%" in output  # the client's bar


def test_the_competitions_own_zip(command, stand_in, tmp_path):
    place = Path(os.environ.get("KAGGLE_DIGITS_DATA", ""))
    if place.suffix != ".zip":
        pytest.skip("KAGGLE_DIGITS_DATA names no zip with the competition's files")
    stand_in.archive = place.read_bytes()
    for expected in ("downloading", "the competition's files are there already"):
        status, output, error = command("data", "fetch")
        assert (status, error) == (0, "")
        assert expected in output
        assert "42,000 rows, a label and 784 pixels each; the competition's own" in output
    sizes = {name: len(each) for name, each in content(tmp_path / "data").items()}
    assert sizes == {"train.csv": 76_775_041, "test.csv": 51_118_296}
