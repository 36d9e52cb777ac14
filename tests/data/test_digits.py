"""The data set of a run: what `read_digits` and `load_digits` make of the files."""

import dataclasses
import functools
import gzip
import hashlib
import io
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import drawn
import numpy as np
import pandas
import pytest
from test_digits_csv import (
    GOOD,
    ROWS,
    UNLABELLED,
    assert_good,
    change,
    fill,
    row,
    to_csv,
)

from kaggle_digits.config.folds_section import Folds
from kaggle_digits.data import demo, digits_csv, sources
from kaggle_digits.data.digits import (
    DEMO_WARNING,
    Digits,
    check_enough_rows,
    load_digits,
    read_digits,
    read_labelled_rows,
    read_test_images,
)
from kaggle_digits.data.folds import split
from kaggle_digits.errors import UserError
from kaggle_digits.storage.cache import Cache

SIZE = 48_000_000  # bytes
HEADER = to_csv([])
LOAD = r"""
import pathlib, re, sys
from kaggle_digits.data import sources
from kaggle_digits.data.digits import read_digits
from kaggle_digits.storage.cache import Cache
from kaggle_digits.errors import UserError

cache = Cache(pathlib.Path(sys.argv[2]))
try:
    digits = read_digits(sources.find_source(sys.argv[1]), cache.arrays)
    print("loaded", len(digits.train_images))
except UserError as error:
    print(error)
# Unlike getrusage's peak, this one leaves out what the parent had before the fork.
print(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
"""


def many_rows():
    """SIZE bytes of different rows, all cells of one digit: the most cells that fit."""
    rest = ",0" * 768 + "\n"
    rows = (f"{number % 10},{','.join(f'{number:016b}')}{rest}" for number in range(SIZE // 1570))
    return HEADER + "".join(rows).encode()


def write_packed(folder, ending, content):
    """Write a folder or a zip with the content as train.csv, and say where it is."""
    if ending == ".zip":
        path = folder / "digits.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("train.csv", content)
            archive.writestr("test.csv", UNLABELLED)
        return path
    packed = gzip.compress(content, 1) if ending == ".csv.gz" else content
    (folder / f"train{ending}").write_bytes(packed)
    (folder / "test.csv").write_bytes(UNLABELLED)
    return folder


def load_in_a_process(path, cache, environment):
    """Load with a cache, as a run does: (what came of it, peak of resident memory in bytes)."""
    command = [sys.executable, "-c", LOAD, str(path), str(cache)]
    # Work in the square of the file's size would take hours.
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50)
    assert process.stderr == ""
    outcome, peak = process.stdout.splitlines()
    return outcome, int(peak) * 1024


@pytest.fixture
def folder(tmp_path):
    """A folder whose big files do not stay, as pytest keeps those of its last three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


tells_peak = pytest.mark.skipif(
    sys.platform != "linux" or "VmHWM" not in Path("/proc/self/status").read_text(),
    reason="the peak of resident memory is read from Linux's /proc/self/status",
)


@tells_peak
@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".zip"])
def test_memory_of_a_process_that_loads_a_big_file(folder, process_env, ending):
    content = many_rows()
    path = write_packed(folder, ending, content)
    for _ in ("parsed", "from the cache"):
        outcome, peak = load_in_a_process(path, folder / "cache", process_env)
        assert outcome == f"loaded {SIZE // 1570}"
        assert peak < 6 * len(content) + 300e6


@tells_peak
@pytest.mark.parametrize(
    ("make", "ending", "message"),
    [
        (lambda: b"7" * SIZE, ".zip", "line 1: expected a header .* found no line end"),
        (lambda: bytes(SIZE), ".csv.gz", "line 1: expected a header .* found no line end"),
        (lambda: HEADER + b"7" * SIZE, ".csv", "line 2: the last line ends within cell 1 of 785"),
        (lambda: HEADER + b"7," * (SIZE // 2), ".csv", "line 2: .* within cell 24000001 of 785"),
        (lambda: HEADER + b"," * SIZE, ".zip", "line 2: .* within cell 48000001 of 785"),
        (lambda: HEADER + b"," * SIZE + b"\n", ".csv", "line 2: .* found 48000001"),
        (lambda: HEADER + b"\n" * SIZE, ".csv", "line 2: expected 785 cells, found an empty line"),
        (lambda: HEADER + b"7\n" * (SIZE // 2), ".zip", "line 2: expected 785 cells, found 1"),
        (lambda: HEADER + b'"' * SIZE, ".csv", "line 2: the last line ends within cell 1 of 785"),
        (
            lambda: HEADER + b",".join([b"0" * (SIZE // 785)] * 785) + b"\n",
            ".csv",
            "line 2, column label: expected an integer from 0 to 9",
        ),
        (
            lambda: many_rows()[:-2] + b"x\n",
            ".csv",
            'line 30574, column pixel783: expected an integer from 0 to 255, found "x"',
        ),
    ],
    ids=[
        *("digits", "zeros", "one-cell", "cells", "commas", "commas-ended", "line-ends"),
        *("short-lines", "quotes", "long-cells", "last-cell"),
    ],
)
def test_memory_of_a_process_that_refuses_a_big_file(folder, process_env, make, ending, message):
    content = make()
    path = write_packed(folder, ending, content)
    outcome, peak = load_in_a_process(path, folder / "cache", process_env)
    assert re.search(rf"train\.csv(\.gz)? {message}", outcome)
    assert peak < 6 * len(content) + 300e6


def test_load_assembles_train_and_test(tmp_path):
    source = fill(tmp_path)
    digits = read_digits(source)
    assert_good((digits.train_images, digits.train_labels))
    np.testing.assert_array_equal(digits.test_images, digits.train_images)
    assert digits.test_labels is None
    assert digits.source == str(tmp_path)
    assert not digits.demo
    digests = {name: hashlib.blake2b((tmp_path / name).read_bytes()) for name in digits.hashes}
    assert list(digests) == ["train.csv", "test.csv"]
    assert digits.hashes == {name: digest.hexdigest() for name, digest in digests.items()}


def test_load_counts_rows_in_train_and_test_alike(tmp_path):
    source = fill(tmp_path)
    assert read_digits(source).leaked_rows == 3
    new = row(0, pixel5=1)
    source.test.write_bytes(to_csv([ROWS[0], new, ROWS[0], ROWS[1]]))
    digits = read_digits(source)
    assert digits.leaked_rows == 3
    assert digits.test_labels.tolist() == [7, 0, 7, 0]
    source.test.write_bytes(to_csv([new]))
    assert read_digits(source).leaked_rows == 0


def test_load_names_the_file_that_is_wrong(tmp_path):
    source = fill(tmp_path)
    source.test.write_bytes(change(2, "pixel3", "3.0"))
    message = f'{source.test} line 2, column pixel3: expected an integer from 0 to 255, found "3.0"'
    with pytest.raises(UserError, match=re.escape(message)):
        read_digits(source)
    path = tmp_path / "digits.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.csv", change(4, "label", "x"))
        archive.writestr("test.csv", GOOD)
    with pytest.raises(UserError, match=r"digits\.zip:train\.csv line 4, column label"):
        read_digits(sources.find_source(path))


def test_load_parses_once_for_each_content(tmp_path):
    stored, made = {}, []

    def cached(key, make):
        if key not in stored:
            stored[key] = make()
            made.append(key)
        return stored[key]

    source = fill(tmp_path)
    first = read_digits(source, cached)
    assert len(made) == 2
    again = read_digits(source, cached)
    assert len(made) == 2
    assert again.train_images is first.train_images
    assert again.hashes == first.hashes
    source.train.write_bytes(to_csv(ROWS[:2]))
    changed = read_digits(source, cached)
    assert len(made) == 3
    assert changed.hashes["train.csv"] != first.hashes["train.csv"]
    assert changed.hashes["test.csv"] == first.hashes["test.csv"]


def test_cache_key_follows_the_parser_and_the_part(tmp_path, monkeypatch):
    keys = []

    def cached(key, make):
        keys.append(key)
        return make()

    source = fill(tmp_path)
    source.test.write_bytes(GOOD)
    read_digits(source, cached)
    monkeypatch.setattr(digits_csv, "PARSER_VERSION", digits_csv.PARSER_VERSION + 1)
    read_digits(source, cached)
    assert len(set(keys)) == 4
    assert all(re.fullmatch("[0-9a-z-]+", key) for key in keys)  # fit to be a file's name


def test_hashes_are_of_the_unpacked_content(tmp_path):
    plain = read_digits(fill(tmp_path / "plain"))
    packed = tmp_path / "packed"
    packed.mkdir()
    for name in ("train.csv", "test.csv"):
        content = (tmp_path / "plain" / name).read_bytes()
        (packed / f"{name}.gz").write_bytes(gzip.compress(content))
    found = read_digits(sources.find_source(packed))
    assert found.hashes == plain.hashes


def test_demo_data_go_through_the_same_parser():
    digits = read_digits(sources.Source(demo.NAME, demo=True))
    assert digits.demo
    assert digits.train_images.shape == (1400, 28, 28)
    assert digits.test_images.shape == (397, 28, 28)
    # scikit-learn's documentation gives the classes of all 1,797 rows.
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    expected = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(labels).tolist() == expected
    assert not digits.train_images[:, [0, 27]].any()
    assert digits.train_images.max() == 255
    check_enough_rows(digits.train_labels, Folds(count=10), digits.source)


def test_too_few_rows_of_other_formats_are_named_by_their_source(tmp_path):
    images, labels = np.zeros((9, 28, 28), np.uint8), np.arange(9)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    cache = Cache(tmp_path / "cache")
    with pytest.raises(UserError, match=r"a\.npz: labels of train: expected at least 5 rows of ea"):
        load_digits(tmp_path / "a.npz", Folds(count=5), cache, lambda line: None)


given = functools.partial(sources.Source, demo=False)


@pytest.mark.parametrize(
    ("source", "place"),
    [
        (given("data", train=Path("data/train.csv")), "train.csv, column label"),
        (given("d.zip", train=Path("d.zip")), "train.csv, column label"),
        (given("m", train=Path("m/mnist_train.csv.gz")), "mnist_train.csv.gz, column label"),
        (given("a.npz", train=Path("a.npz"), format="numpy"), "labels of train"),
        (sources.Source("demo", demo=True), "train.csv, column label"),
    ],
)
def test_the_place_of_the_labels_is_that_of_the_data(source, place):
    assert source.labels_place == f"{source.description}: {place}"


TEN_LABELS = list(range(10))


def test_class_with_fewer_rows_than_folds():
    labels = np.array([*range(10)] * 2 + [0, 1, 2, 3, 5, 6, 7, 8, 9], np.uint8)
    check_enough_rows(labels, Folds(count=2), "data")
    with pytest.raises(UserError, match="found 0 of class 9"):
        check_enough_rows(labels[labels < 9], Folds(count=2), "data")
    message = r"^data: expected at least 3 rows .* found 2 of class 4;"
    with pytest.raises(UserError, match=message):
        check_enough_rows(labels, Folds(count=3), "data")


@pytest.mark.parametrize(
    ("rows", "folds", "message"),
    [
        (
            [*TEN_LABELS, 0],
            {"kind": "holdout"},
            "at least 2 rows of each class, found 1 of class 1; g",
        ),
        (
            [*TEN_LABELS, 0],
            {"kind": "kfold"},
            "at least 2 rows of each class, found 1 of class 1; g",
        ),
        (
            TEN_LABELS * 2,
            {"kind": "kfold", "count": 21},
            "at least 21 rows, one for each fold, found 20",
        ),
        (
            TEN_LABELS * 9,
            {"kind": "holdout"},
            "at least 10 rows to hold out and 10 to train on, found 9 and 81; change folds.holdout",
        ),
        (
            TEN_LABELS * 9,
            {"kind": "holdout", "holdout": 0.9},
            "found 81 and 9; change folds.holdout",
        ),
        (
            TEN_LABELS[1:],
            {"kind": "none"},
            "at least 1 row of each class, found 0 of class 0; give",
        ),
    ],
)
def test_too_few_rows_for_other_kinds_of_splits(rows, folds, message):
    with pytest.raises(UserError) as caught:
        check_enough_rows(np.array(rows), Folds(**folds), "data")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("times", "folds"),
    [
        (10, {"kind": "holdout"}),
        (10, {"kind": "holdout", "holdout": 0.9}),
        (2, {"kind": "kfold", "count": 20}),
        (1, {"kind": "none"}),
    ],
)
def test_just_enough_rows_can_be_split(times, folds):
    labels = np.array(TEN_LABELS * times)
    check_enough_rows(labels, Folds(**folds), "data")
    assert split(Folds(**folds), labels, seed=3)


def test_digits_cannot_be_changed(tmp_path):
    digits = read_digits(fill(tmp_path))
    with pytest.raises(dataclasses.FrozenInstanceError):
        digits.source = ""


@pytest.fixture
def said(tmp_path, monkeypatch):
    """A function that loads digits where nothing else is found; returns (digits, lines said)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KAGGLE_DIGITS_DATA", raising=False)
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)

    def load(path, folds=ONE_NET):
        lines = []
        digits = load_digits(path, folds, Cache(tmp_path / "cache"), lines.append)
        assert lines == [f"reading {digits.source}"]
        return digits, [digits.warning] if digits.warning else []

    return load


@pytest.mark.skipif(Path("/kaggle/input").exists(), reason="a Kaggle kernel has no demo data")
def test_demo_data_are_no_secret(said, tmp_path):
    digits, lines = said(None)
    assert digits.demo
    assert lines == [DEMO_WARNING]  # and nothing on their 1,400 and 397 rows
    assert len(list((tmp_path / "cache").rglob("v1-csv1-*.npz"))) == 2


ONE_NET = Folds(kind="none")
TEN = [row(digit, pixel0=digit) for digit in range(10)]


def test_other_numbers_of_rows_are_said_in_one_line(said, tmp_path):
    fill(tmp_path / "mine", to_csv(TEN * 130), UNLABELLED)
    _, lines = said(tmp_path / "mine")
    assert lines == [
        f"WARNING: {tmp_path / 'mine'}: train.csv has 1,300 rows, the competition's has 42,000; "
        "test.csv has 3 rows, the competition's has 28,000; the submission is not fit for upload"
    ]


def test_only_the_file_that_differs_is_named(said, tmp_path, monkeypatch):
    monkeypatch.setattr("kaggle_digits.data.digits.TEST_ROWS", 3)
    fill(tmp_path / "mine", to_csv(TEN), UNLABELLED)
    digits, lines = said(tmp_path / "mine")
    assert digits.has_upload_size
    assert lines == [
        f"WARNING: {tmp_path / 'mine'}: train.csv has 10 rows, the competition's has 42,000"
    ]
    monkeypatch.setattr("kaggle_digits.data.digits.TRAIN_ROWS", 10)
    assert said(tmp_path / "mine")[1] == []


def test_load_refuses_more_folds_than_rows_of_a_class(said, tmp_path):
    fill(tmp_path / "mine", to_csv(TEN))
    with pytest.raises(UserError, match="expected at least 2 rows of each class"):
        said(tmp_path / "mine", Folds(count=2))


@pytest.mark.parametrize(
    ("train_rows", "test_rows", "differing", "upload"),
    [
        (42_000, 28_000, [], True),
        (41_990, 28_000, ["train.csv has 41,990 rows, the competition's has 42,000"], True),
        (42_000, 27_999, ["test.csv has 27,999 rows, the competition's has 28,000"], False),
    ],
)
def test_sizes_against_the_competitions(train_rows, test_rows, differing, upload):
    digits = Digits(
        train_images=np.zeros((train_rows, 28, 28), np.uint8),
        train_labels=np.zeros(train_rows, np.uint8),
        test_images=np.zeros((test_rows, 28, 28), np.uint8),
        test_labels=None,
        hashes={},
        source="somewhere",
        demo=False,
        leaked_rows=0,
    )
    assert digits.unusual_sizes == differing
    assert digits.has_upload_size is upload


def test_the_competitions_files():
    root = Path(__file__).parents[2]
    source = sources.find_source(None, working_directory=root, kaggle_root=root / "absent")
    if source.demo:
        pytest.skip("the competition's files are in neither KAGGLE_DIGITS_DATA nor data/")
    digits = read_digits(source)
    counts = [4132, 4684, 4177, 4351, 4072, 3795, 4137, 4401, 4063, 4188]
    assert np.bincount(digits.train_labels).tolist() == counts
    assert digits.train_images.shape == (42_000, 28, 28)
    assert digits.test_images.shape == (28_000, 28, 28)
    assert digits.test_labels is None
    assert digits.leaked_rows == 0
    assert digits.unusual_sizes == []
    assert digits.has_upload_size
    content = sources.read(source, "train")[1]
    assert len(content) == 76_775_041
    table = pandas.read_csv(io.BytesIO(content))  # another reader must see the same
    np.testing.assert_array_equal(digits.train_labels, table["label"])
    images = digits.train_images.reshape(-1, 784)
    np.testing.assert_array_equal(images, table[[f"pixel{index}" for index in range(784)]])


def test_rows_to_predict_may_be_any_number(tmp_path):
    train, test = (content.splitlines(keepends=True) for content in demo.csv_files().values())
    path = tmp_path / "new.csv"
    path.write_bytes(b"".join([test[0], *train[1:4]]))
    images = read_test_images(path)
    assert (images.shape, images.dtype) == ((3, 28, 28), np.uint8)
    expected = read_digits(sources.find_source(demo.NAME)).train_images[:3]
    np.testing.assert_array_equal(images, expected)


def test_bad_cell_of_rows_to_predict_is_named(tmp_path):
    [header, row] = demo.csv_files()["test"].splitlines(keepends=True)[:2]
    (tmp_path / "new.csv").write_bytes(header + row.replace(b",0,", b",x,", 1))
    with pytest.raises(UserError, match=r"new\.csv line 2, column .* found \"x\""):
        read_test_images(tmp_path / "new.csv")


# Other data sets


MNIST_NAMES = ["label", *(f"{y}x{x}" for y in range(1, 29) for x in range(1, 29))]
OTHER_TEN = [row(digit, pixel1=digit + 1) for digit in range(10)]


def mnist_in_csv(folder):
    folder.mkdir()
    (folder / "mnist_train.csv").write_bytes(to_csv(TEN, MNIST_NAMES))
    (folder / "mnist_test.csv").write_bytes(to_csv(OTHER_TEN, MNIST_NAMES))
    return folder


def numpy_file(path):
    train, test = drawn.images(10), drawn.images(5, first=10)
    np.savez(path, x_train=train, y_train=range(10), x_test=test, y_test=[7, 3, 0, 0, 1])
    return path


def image_folder(folder):
    for number, image in enumerate(drawn.images(15)):
        part = "train" if number < 10 else "test"
        drawn.write(folder / part / f"{number % 10}" / "a.png", image)
    return folder


def keras_mnist(home, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(home))
    (home / "datasets").mkdir(parents=True)
    numpy_file(home / "datasets" / "mnist.npz")
    return "mnist"


@pytest.fixture(params=["mnist in csv", "numpy", "images", "keras"])
def other(request, tmp_path, monkeypatch):
    """Another data set with ten rows to learn from: (kind, path)."""
    path = tmp_path / "other"
    make = {
        "mnist in csv": lambda: mnist_in_csv(path),
        "numpy": lambda: numpy_file(path.with_suffix(".npz")),
        "images": lambda: image_folder(path),
        "keras": lambda: keras_mnist(path, monkeypatch),
    }
    return request.param, make[request.param]()


def test_other_data_sets_come_the_same_way(other, said, tmp_path):
    kind, path = other
    digits, lines = said(path)
    assert digits.train_labels.tolist() == list(range(10))
    assert digits.test_labels is not None
    assert (digits.train_images.dtype, digits.test_labels.dtype) == (np.uint8, np.uint8)
    reason = {
        "mnist in csv": "trained on MNIST, whose images are the competition's",
        "keras": "trained on MNIST, whose images are the competition's",
        "numpy": "trained on a NumPy file, not on the competition's train.csv",
        "images": "trained on image files, not on the competition's train.csv",
    }
    assert digits.not_for_upload == reason[kind]
    assert lines == [f"WARNING: {path}: not for upload: {reason[kind]}"]
    assert all(re.fullmatch("[0-9a-f]{128}", each) for each in digits.hashes.values())
    # Again, from the cache.
    stored = {each: each.stat().st_mtime_ns for each in (tmp_path / "cache").rglob("*.npz")}
    assert len(stored) == 2
    cached, lines = said(path)
    assert lines == [f"WARNING: {path}: not for upload: {reason[kind]}"]
    assert np.array_equal(cached.test_images, digits.test_images)
    assert cached.hashes == digits.hashes
    assert {each: each.stat().st_mtime_ns for each in (tmp_path / "cache").rglob("*.npz")} == stored


def test_labels_of_other_data_sets(tmp_path):
    digits = read_digits(sources.find_source(numpy_file(tmp_path / "a.npz")))
    assert digits.test_labels.tolist() == [7, 3, 0, 0, 1]
    assert np.array_equal(digits.test_images, drawn.images(5, first=10))
    assert list(digits.hashes) == ["train", "test"]
    digits = read_digits(sources.find_source(image_folder(tmp_path / "images")))
    assert digits.test_labels.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(digits.train_images, drawn.images(10))


def test_mnist_with_kaggles_names_is_known_by_its_header(tmp_path):
    source = fill(tmp_path / "mine", to_csv(TEN, MNIST_NAMES), UNLABELLED)
    assert "MNIST" in read_digits(source).not_for_upload
    source = fill(tmp_path / "mine", to_csv(TEN), UNLABELLED)
    assert read_digits(source).not_for_upload is None


def test_too_few_rows_of_another_data_set(said, tmp_path):
    with pytest.raises(UserError, match="expected at least 2 rows of each class"):
        said(numpy_file(tmp_path / "a.npz"), folds=Folds(count=2))


def test_a_leak_in_another_data_set_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=drawn.images(20), y_train=[1] * 20, x_test=drawn.images(11))
    digits = read_digits(sources.find_source(path))
    with pytest.raises(UserError, match="found 11;"):
        digits.refuse_leak(allowed=False)
    digits.refuse_leak(allowed=True)


# Labelled rows


def test_labelled_rows_are_those_of_test_where_it_has_labels(tmp_path):
    fill(tmp_path / "both", to_csv(TEN), to_csv(OTHER_TEN[:3]))
    rows = read_labelled_rows(tmp_path / "both")
    assert (rows.labels.tolist(), rows.part) == ([0, 1, 2], "test.csv")
    assert rows.source == str(tmp_path / "both")
    fill(tmp_path / "one", to_csv(TEN), UNLABELLED)
    rows = read_labelled_rows(tmp_path / "one")
    assert (rows.labels.tolist(), rows.part) == (list(range(10)), "train.csv")
    assert rows.images[3, 0, 0] == 3


def test_labelled_rows_may_be_alone(tmp_path):
    (tmp_path / "mine.csv").write_bytes(to_csv(TEN))
    assert read_labelled_rows(tmp_path / "mine.csv").labels.tolist() == list(range(10))
    np.savez(tmp_path / "a.npz", images=drawn.images(2), labels=[4, 2])
    rows = read_labelled_rows(tmp_path / "a.npz", Cache(tmp_path / "cache").arrays)
    assert (rows.labels.tolist(), rows.part) == ([4, 2], "train")


def test_labelled_rows_of_the_demo_data():
    assert len(read_labelled_rows(demo.NAME).labels) == 397


def test_rows_without_labels_are_refused(tmp_path):
    (tmp_path / "mine.csv").write_bytes(UNLABELLED)
    np.save(tmp_path / "a.npy", drawn.images(2))
    for name in ("mine.csv", "a.npy"):
        with pytest.raises(UserError, match=f"{name}: expected rows with labels, found only image"):
            read_labelled_rows(tmp_path / name)


def test_rows_to_predict_may_be_of_another_format(tmp_path):
    np.save(tmp_path / "a.npy", drawn.images(2))
    assert np.array_equal(read_test_images(tmp_path / "a.npy"), drawn.images(2))
