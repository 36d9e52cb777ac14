import dataclasses
from pathlib import Path

import numpy as np
import pytest

from kaggle_digits.data import sources
from kaggle_digits.data.competition import CONTENT
from kaggle_digits.data.description import describe
from kaggle_digits.data.digits import Digits, read_digits
from kaggle_digits.storage import files


def images(*values):
    """One image for each value, all its pixels alike."""
    return np.uint8(values)[:, None, None].repeat(28, axis=1).repeat(28, axis=2)


def digits(train=(1,), labels=(0,), test=(2,), test_labels=None):
    return Digits(
        train_images=images(*train),
        train_labels=np.uint8(labels),
        test_images=images(*test),
        test_labels=None if test_labels is None else np.uint8(test_labels),
        hashes={"train.csv": "ab", "test.csv": "cd"},
        source="here",
        demo=False,
        leaked_rows=3,
    )


def test_figures_by_hand():
    data = describe(digits(train=(0, 10, 10, 20, 20, 20, 4), labels=(1, 2, 2, 3, 3, 4, 9)))
    train = data.train
    assert (train.name, train.rows, train.blake2b) == ("train.csv", 7, "ab")
    assert train.class_counts == (0, 1, 2, 2, 1, 0, 0, 0, 0, 1)
    assert train.mean_pixel == pytest.approx(84 / 7)
    assert train.zero_fraction == pytest.approx(1 / 7)
    assert train.blank_rows == 1
    assert train.duplicate_rows == 3  # a second 10, a second and a third 20
    assert train.contradicting_rows == 3  # the 20s are 3, 3 and 4
    assert (data.source, data.demo, data.leaked_rows) == ("here", False, 3)


def test_without_labels_nothing_contradicts():
    test = describe(digits(test=(5, 5, 0, 0))).test
    assert (test.name, test.blake2b, test.class_counts) == ("test.csv", "cd", None)
    assert (test.rows, test.duplicate_rows, test.contradicting_rows) == (4, 2, 0)
    assert test.blank_rows == 2


def test_an_image_with_one_pixel_is_neither_blank_nor_equal():
    found = digits(train=(0, 0), labels=(0, 1))
    found.train_images[1, 27, 27] = 1
    train = describe(found).train
    assert (train.blank_rows, train.duplicate_rows, train.contradicting_rows) == (1, 0, 0)


def test_the_competitions_own_are_known_by_pixels_labels_and_order(monkeypatch):
    own = digits(train=(1, 2), labels=(5, 6), test=(3, 4))
    known = {
        "train.csv": files.digest(own.train_images, own.train_labels),
        "test.csv": files.digest(own.test_images),
    }
    for name, value in known.items():
        monkeypatch.setitem(CONTENT, name, value)

    def whose(**changed):
        data = describe(digits(**({"train": (1, 2), "labels": (5, 6), "test": (3, 4)} | changed)))
        return data.train.is_competitions, data.test.is_competitions

    assert whose() == (True, True)
    assert whose(labels=(6, 5)) == (False, True)
    assert whose(train=(2, 1), labels=(6, 5)) == (False, True)
    assert whose(test=(4, 3)) == (True, False)
    assert whose(test=(3, 4, 4)) == (True, False)
    assert whose(test_labels=(0, 0)) == (True, False)


def test_it_is_ready_for_json():
    values = dataclasses.asdict(describe(digits(test_labels=(3,))))
    assert {type(each) for each in values["test"].values()} == {str, int, bool, tuple, float}
    assert {type(each) for each in values["train"]["class_counts"]} == {int}


def test_the_demo_data():
    data = describe(read_digits(sources.Source("demo data", demo=True)))
    assert data.demo
    assert not data.train.is_competitions
    assert not data.test.is_competitions
    assert (data.train.rows, data.test.rows) == (1_400, 397)
    assert sum(data.test.class_counts) == 397


def test_the_competitions_files():
    root = Path(__file__).parents[2]
    source = sources.find_source(None, working_directory=root, kaggle_root=root / "absent")
    if source.demo:
        pytest.skip("the competition's files are in neither KAGGLE_DIGITS_DATA nor data/")
    data = describe(read_digits(source))
    assert data.train.is_competitions
    assert data.test.is_competitions
    counts = (4132, 4684, 4177, 4351, 4072, 3795, 4137, 4401, 4063, 4188)
    assert data.train.class_counts == counts
    for file in (data.train, data.test):
        assert (file.blank_rows, file.duplicate_rows, file.contradicting_rows) == (0, 0, 0)
    assert round(data.train.mean_pixel, 2) == 33.41
    assert round(data.train.zero_fraction, 4) == 0.8085
