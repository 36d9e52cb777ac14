import hashlib

import numpy as np

from kaggle_digits.data import demo


def test_demo_data_are_the_same_everywhere():
    train, test = demo.csv_files().values()
    assert train.count(b"\r\n") == 1 + 1400
    assert test.count(b"\r\n") == 1 + 397
    assert train.startswith(b"label,pixel0,pixel1,")
    assert hashlib.blake2b(train + test, digest_size=8).hexdigest() == "3c141a6d55fa77ec"


def test_enlarge_fills_twenty_by_twenty_in_the_middle():
    expected = np.zeros((28, 28))
    expected[4:24, 4:24] = 255
    np.testing.assert_array_equal(demo._enlarge(np.full((1, 8, 8), 16.0))[0], expected)


def test_enlarge_interpolates_and_moves_towards_the_centre_of_mass():
    # Along an axis the corner pixel weighs 1, .9, .5, .1 in the first four of the 20 pixels; the
    # centre of mass is then at 4.88 of 28, and the frame leaves 4 of the 9 pixels to 13.5.
    image = np.zeros((1, 8, 8))
    image[0, 0, 0] = 16
    found = demo._enlarge(image)[0]
    expected = [[255, 230, 128, 26], [230, 207, 115, 23], [128, 115, 64, 13], [26, 23, 13, 3]]
    np.testing.assert_array_equal(found[8:12, 8:12], expected)
    assert found.sum() == np.sum(expected)
