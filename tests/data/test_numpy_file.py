"""NumPy files: which arrays are which part, and which arrays are refused, by their keys."""

import hashlib
import io
import re
import zipfile

import numpy as np
import pytest
from drawn import images

from kaggle_digits.data import numpy_file, packed
from kaggle_digits.errors import UserError

TRAIN, TEST = images(3), images(2, first=3)
LABELS = np.uint8([5, 0, 9])
KERAS = {"x_train": TRAIN, "y_train": LABELS, "x_test": TEST, "y_test": LABELS[:2]}


@pytest.fixture
def saved(tmp_path):
    """A function that saves arrays and returns the file."""

    def save(**arrays):
        np.savez(tmp_path / "digits.npz", **arrays)
        return tmp_path / "digits.npz"

    return save


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ("x_train y_train x_test y_test", ("train", "test")),
        ("x_train y_train x_test", ("train", "test")),
        ("x_train y_train", ("train",)),
        ("x_test y_test", ("test",)),
        ("images labels", ("train",)),
        ("images", ("test",)),
    ],
)
def test_parts(saved, keys, parts):
    assert numpy_file.parts(saved(**dict.fromkeys(keys.split(), TRAIN))) == parts


def test_keras_names(saved):
    path = saved(**KERAS)
    found, labels = numpy_file.read(path, "train")
    assert np.array_equal(found, TRAIN)
    assert labels.tolist() == [5, 0, 9]
    found, labels = numpy_file.read(path, "test")
    assert np.array_equal(found, TEST)
    assert labels.tolist() == [5, 0]


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 784), (3, 28, 28, 1)])
@pytest.mark.parametrize("kind", [np.uint8, np.int64, ">i2"])
def test_shapes_and_kinds(saved, part, shape, kind):
    path = saved(images=TRAIN.reshape(shape).astype(kind), labels=LABELS.astype(kind)[:, None])
    found, labels = numpy_file.read(path, part)
    assert (found.dtype, labels.dtype) == (np.uint8, np.uint8)
    assert np.array_equal(found, TRAIN)
    assert labels.tolist() == [5, 0, 9]


def test_images_alone(tmp_path):
    path = tmp_path / "digits.npy"
    np.save(path, TRAIN)
    assert numpy_file.parts(path) == ("test",)
    found, labels = numpy_file.read(path, "test")
    assert labels is None
    assert np.array_equal(found, TRAIN)


def test_rows_to_learn_from_may_be_predicted(saved):
    path = saved(x_train=TRAIN, y_train=LABELS)
    assert np.array_equal(numpy_file.read(path, "test")[0], TRAIN)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": TRAIN[:, :20]}, "x_train: expected the shape (n, 28, 28), (n, 28, 28, 1) or"),
        ({"x_train": TRAIN[0]}, "x_train: expected the shape"),
        ({"x_train": TRAIN[:0]}, "x_train: expected the shape"),
        ({"x_train": TRAIN / 255}, "x_train: expected integers from 0 to 255, found float64;"),
        ({"x_train": TRAIN.astype(int) - 1}, "x_train: expected integers from 0 to 255, found -1"),
        ({"x_train": TRAIN.astype(int) * 2}, "from 0 to 255, found 0 to 510; scale them"),
        ({"y_train": LABELS[:2]}, "y_train: expected the shape (3,), a label for each image, fo"),
        ({"y_train": np.eye(10)[LABELS]}, "found (3, 10); give the digits themselves"),
        ({"y_train": LABELS / 1}, "y_train: expected integers from 0 to 9, found float64;"),
        ({"y_train": LABELS + 1}, "y_train: expected integers from 0 to 9, found 10 in row 2 (c"),
        ({"y_train": np.array(list("123"))}, "y_train: expected integers from 0 to 9, found <U1"),
    ],
)
def test_wrong_arrays_are_named_by_their_keys(saved, arrays, message):
    path = saved(**KERAS | arrays)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        numpy_file.read(path, "train")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_labels_are_needed_to_learn_from(saved):
    with pytest.raises(UserError, match="expected the labels of x_train as y_train, found none"):
        numpy_file.read(saved(x_train=TRAIN, x_test=TEST), "train")


def test_other_arrays(saved):
    with pytest.raises(UserError, match=r"expected the arrays x_train, .* found a, b; save it"):
        numpy_file.parts(saved(b=TRAIN, a=LABELS))


def test_pickles_stay_packed(saved, tmp_path):
    class Bad:
        def __reduce__(self):
            return (tmp_path / "unpickled").mkdir, ()

    path = saved(x_train=np.array([Bad()], object))
    with pytest.raises(UserError, match="expected a NumPy file of plain arrays"):
        numpy_file.read(path, "train")
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("name", ["digits.npz", "digits.npy"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", bytes(500)])
def test_damaged_files(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: expected a NumPy file of plain arrays") as caught:
        numpy_file.parts(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        numpy_file.parts(tmp_path / "absent.npz")


def test_a_small_file_of_endless_zeros_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "UNPACKED_LIMIT", 10**6)
    path = tmp_path / "digits.npz"
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2000, 784), np.uint8))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", buffer.getvalue())
    assert path.stat().st_size < 10**4
    with pytest.raises(UserError, match="more than 1000000 bytes unpacked"):
        numpy_file.parts(path)


def test_fingerprint_is_the_files(saved):
    path = saved(**KERAS)
    expected = hashlib.blake2b(path.read_bytes()).hexdigest()
    assert numpy_file.fingerprint(path, "train") == expected
    assert numpy_file.fingerprint(path, "test") == expected
