import numpy as np
import pytest

from kaggle_digits.config.folds_section import Folds
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


# Other kinds


MANY = np.repeat(np.arange(10, dtype=np.uint8), [40, 60, 20, 20, 20, 20, 20, 20, 20, 60])  # 300
KINDS = {
    "kfold": Folds(kind="kfold", count=4),
    "repeated": Folds(count=3, repeats=2),
    "repeated kfold": Folds(kind="kfold", count=3, repeats=3),
    "holdout": Folds(kind="holdout", count=4, holdout=0.1),
    "none": Folds(kind="none"),
}


def sets_of(settings, seed=7):
    return [held_out.tolist() for held_out in folds.split(settings, MANY, seed)]


def test_the_usual_kind_is_split_as_ever():
    expected = [rows.tolist() for rows in folds.stratified(MANY, 3, 7)]
    assert sets_of(Folds()) == expected


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_rows_are_held_out_as_often_as_promised(settings):
    split = folds.split(settings, MANY, 7)
    assert len(split) == settings.fits
    for held_out in split:
        assert held_out.dtype == np.int64
        assert (np.diff(held_out) > 0).all()
        assert len(held_out) == round(300 * settings.heldout_fraction)
    if settings.times_held_out is not None:
        assert (folds.times_held_out(split, 300) == settings.times_held_out).all()
    assert sets_of(settings) == sets_of(settings)
    assert (sets_of(settings) == sets_of(settings, seed=8)) == (settings.kind == "none")


def test_plain_folds_do_not_look_at_classes():
    counts = [np.bincount(MANY[held_out])[0] for held_out in folds.split(KINDS["kfold"], MANY, 7)]
    assert sum(counts) == 40
    assert max(counts) > min(counts) + 1  # stratified ones have ten each


def test_repeats_are_other_folds_of_every_row():
    first, second = sets_of(KINDS["repeated"])[:3], sets_of(KINDS["repeated"])[3:]
    assert first == sets_of(Folds(count=3))
    assert not any(rows in first for rows in second)
    for repeat in (first, second):
        assert sorted(row for rows in repeat for row in rows) == list(range(300))


def test_random_holdouts_have_all_classes_alike():
    for held_out in folds.split(KINDS["holdout"], MANY, 7):
        assert np.bincount(MANY[held_out]).tolist() == [4, 6, 2, 2, 2, 2, 2, 2, 2, 6]
    covered = folds.times_held_out(folds.split(KINDS["holdout"], MANY, 7), 300)
    assert covered.max() > 1
    assert covered.min() == 0


@pytest.mark.parametrize(
    ("few", "more"),
    [
        (Folds(kind="holdout", count=2), Folds(kind="holdout", count=5)),
        (Folds(count=3, repeats=2), Folds(count=3, repeats=3)),
        (Folds(kind="kfold", count=3), Folds(kind="kfold", count=3, repeats=2)),
    ],
)
def test_what_is_trained_can_be_used_by_a_larger_number(few, more):
    assert sets_of(more)[: few.fits] == sets_of(few)


@pytest.mark.parametrize("settings", [Folds(), *KINDS.values()])
def test_what_is_stored_comes_back(settings):
    split = folds.split(settings, MANY, 7)
    arrays = folds.to_arrays(split, 300)
    back = folds.from_arrays(arrays)
    assert [rows.tolist() for rows in back] == [rows.tolist() for rows in split]
    usual = settings.times_held_out == 1
    assert {name: array.shape for name, array in arrays.items()} == (
        {"folds": (300,)} if usual else {"held_out": (settings.fits, 300)}
    )


def test_stored_sets_by_hand():
    arrays = folds.to_arrays([np.array([0, 2]), np.array([2])], 4)
    assert arrays["held_out"].dtype == bool
    assert arrays["held_out"].tolist() == [[True, False, True, False], [False, False, True, False]]


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
