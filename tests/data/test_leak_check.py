import os

import numpy as np
import pytest

from kaggle_digits.data import leak_check, sources
from kaggle_digits.data.digits import read_digits
from kaggle_digits.errors import UserError


def images(*names):
    """One image for each letter: equal letters, equal images, which differ by a single pixel."""
    made = np.zeros((len(names), 28, 28), np.uint8)
    made[:, 27, 27] = [ord(name) for name in names]
    return made


@pytest.mark.parametrize(
    ("train", "test", "leaked"),
    [("abc", "xyz", 0), ("abc", "xcz", 1), ("abc", "ccb", 3), ("aab", "a", 1), ("", "ab", 0)],
)
def test_leaked_rows_by_hand(train, test, leaked):
    assert leak_check.count_leaked_rows(images(*train), images(*test)) == leaked


def test_which_rows_are_leaked():
    found = leak_check.leaked_rows(images(*"abc"), images(*"xcyb"))
    assert found.dtype == bool
    assert found.tolist() == [False, True, False, True]
    assert leak_check.leaked_rows(images(*"a"), images()).shape == (0,)


def test_an_image_of_the_same_pixels_in_another_order_is_no_leak():
    train = np.zeros((1, 28, 28), np.uint8)
    train[0, 3, 5] = 9
    assert leak_check.count_leaked_rows(train, train.transpose(0, 2, 1)) == 0


def test_rows_that_are_no_contiguous_array_are_compared_by_their_pixels():
    both = images(*"abab")
    assert leak_check.count_leaked_rows(both[::2], both[1::2]) == 0
    assert leak_check.count_leaked_rows(both[:, ::-1][:2], both[:, ::-1][2:]) == 2


@pytest.mark.parametrize(
    ("rows", "folds", "found"),
    [
        ("abcd", [0, 0, 1, 1], 0),
        ("aabb", [0, 0, 1, 1], 0),  # within a fold they are held out together
        ("abab", [0, 0, 1, 1], 4),
        ("aaab", [0, 0, 1, 1], 3),
        ("aaa", [0, 1, 2], 3),
        ("aab", [0, -1, 1], 1),  # no fold holds out the second row, so that all train on it
        ("aab", [-1, -1, 0], 0),
    ],
)
def test_rows_across_folds_by_hand(rows, folds, found):
    split = [np.flatnonzero(np.array(folds) == fold) for fold in range(3)]
    assert leak_check.count_rows_across_folds(images(*rows), split) == found


@pytest.mark.parametrize(
    ("split", "found"),
    [
        ([[]], 0),  # nothing is held out
        ([[0, 1]], 0),  # both copies of a
        ([[0]], 1),
        ([[0, 1], [0, 2]], 1),  # row 0 has its copy in training once
        ([[0], [0], [1]], 2),
    ],
)
def test_rows_across_overlapping_folds_by_hand(split, found):
    split = [np.array(rows, int) for rows in split]
    assert leak_check.count_rows_across_folds(images(*"aab"), split) == found


@pytest.mark.parametrize(("found", "allowed"), [(0, False), (10, False), (11, True)])
def test_a_handful_or_what_is_allowed_passes(found, allowed):
    leak_check.refuse_leak(found, "somewhere", train_rows=99, allowed=allowed)


def test_more_than_a_handful_is_refused_in_one_line():
    with pytest.raises(UserError) as caught:
        leak_check.refuse_leak(27_950, "mine.zip", train_rows=42_000, allowed=False)
    message = str(caught.value)
    assert message.startswith("mine.zip: expected at most 10 test rows whose pixels are also ")
    for part in ("found 27,950", "memory, not reading", "full MNIST", "--allow-leak"):
        assert part in message
    assert "\n" not in message
    with pytest.raises(UserError, match="found 11;"):
        leak_check.refuse_leak(11, "mine.zip", train_rows=42_000, allowed=False)


def test_mnist_under_other_names_is_called_so():
    with pytest.raises(UserError, match=r"60,000 training rows are as many as MNIST's, and full"):
        leak_check.refuse_leak(24_000, "mine", train_rows=60_000, allowed=False)


def test_the_demo_data_have_no_leak():
    demo = read_digits(sources.Source("demo data", demo=True))
    assert demo.leaked_rows == 0
    rows = np.arange(len(demo.train_images))
    split = [rows[::3], rows[1::3], rows[2::3]]
    assert leak_check.count_rows_across_folds(demo.train_images, split) == 0


@pytest.mark.skipif(
    not os.environ.get("KAGGLE_DIGITS_DATA"), reason="needs the competition's files"
)
def test_the_competitions_files_have_no_leak():
    digits = read_digits(sources.find_source(None))
    assert digits.leaked_rows == 0
    assert len({image.tobytes() for image in digits.train_images}) == len(digits.train_images)
    both = np.concatenate([digits.train_images, digits.test_images[:11]])
    assert leak_check.count_leaked_rows(both, digits.test_images) == 11
