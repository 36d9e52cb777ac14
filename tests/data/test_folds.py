import numpy as np
import pytest

from kaggle_digits.data import folds

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 0, 1, 0, 0, 2], np.uint8)  # 7, 5 and 3 rows


@pytest.mark.parametrize("seed", range(8))  # a split by chance alone passes one seed in seven
def test_every_fold_gets_its_share_of_each_class(seed):
    split = folds.stratified(LABELS, 3, seed)
    counts = [np.bincount(LABELS[held_out], minlength=3).tolist() for held_out in split]
    zeros, ones, twos = zip(*counts, strict=True)
    assert sorted(zeros) == [2, 2, 3]
    assert sorted(ones) == [1, 2, 2]
    assert twos == (1, 1, 1)


@pytest.mark.parametrize("count", [2, 3])
def test_every_row_is_held_out_once(count):
    split = folds.stratified(LABELS, count, seed=1)
    assert len(split) == count
    assert sorted(np.concatenate(split).tolist()) == list(range(15))
    for held_out in split:
        assert held_out.dtype == np.int64
        assert (np.diff(held_out) > 0).all()


def test_split_follows_from_the_seed():
    def rows(seed):
        return [held_out.tolist() for held_out in folds.stratified(LABELS, 3, seed)]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_rows_are_shuffled():
    labels = np.zeros(1000, np.uint8)
    first = folds.stratified(labels, 2, seed=1)[0]
    # Half of the 500 are expected above row 499, give or take 11; all or none without a shuffle.
    assert 200 < (first >= 500).sum() < 300


def test_assignment_by_hand():
    split = [np.array([1, 4]), np.array([0, 2])]
    assigned = folds.assignment(split, 6)
    assert assigned.tolist() == [1, 0, 1, -1, 0, -1]
    assert assigned.dtype == np.int16


def test_from_assignment_is_the_inverse():
    split = folds.stratified(LABELS, 3, seed=1)
    back = folds.from_assignment(folds.assignment(split, len(LABELS)))
    assert len(back) == 3
    for held_out, again in zip(split, back, strict=True):
        np.testing.assert_array_equal(held_out, again)
    partial = folds.from_assignment(np.array([1, 0, 1, -1, 0, -1], np.int16))
    assert [held_out.tolist() for held_out in partial] == [[1, 4], [0, 2]]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ([[0, 1], [1, 2]], "fold 1: a row is held out twice"),
        ([[0, 1], [2, 2]], "fold 1: a row is held out twice"),
        ([[0, 1], [2, 4]], r"fold 1: rows must be in 0\.\.3"),
        ([[-1, 1], [2, 3]], r"fold 0: rows must be in 0\.\.3"),
    ],
)
def test_assignment_refuses_doubled_and_foreign_rows(split, message):
    with pytest.raises(ValueError, match=message):
        folds.assignment([np.array(rows) for rows in split], 4)
