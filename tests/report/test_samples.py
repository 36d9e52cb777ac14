from base64 import b64decode

import cv2
import numpy as np

from kaggle_digits.report import samples

LABELS = np.uint8([1, 0, 1, 2])
IMAGES = np.zeros((4, 28, 28), np.uint8)
IMAGES += np.uint8([10, 20, 30, 40])[:, None, None]


def pixels(picture):
    """The picture as an array, one pixel for each one of an image."""
    shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
    blocks = shown.reshape(shown.shape[0] // 2, 2, shown.shape[1] // 2, 2)
    assert (blocks == blocks[:, :1, :, :1]).all()  # each pixel is enlarged to 2 x 2
    return blocks[:, 0, :, 0]


def test_a_line_for_each_digit_and_a_column_for_each_variant():
    variants = [IMAGES + 100, IMAGES + 200]
    shown = pixels(samples.augmentation_picture(IMAGES, LABELS, variants))
    # The first rows of the digits 0, 1 and 2 are 1, 0 and 3; dark on white.
    expected = 255 - np.uint8([[20, 120, 220], [10, 110, 210], [40, 140, 240]])
    assert shown.shape == (3 * 28, 3 * 28)
    np.testing.assert_array_equal(shown, expected.repeat(28, axis=0).repeat(28, axis=1))


def test_digits_stand_upright():
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 3, 20] = 255  # in the fourth line, right of the middle
    shown = pixels(samples.augmentation_picture(image, np.uint8([7]), [image]))
    assert np.argwhere(shown == 0).tolist() == [[3, 20], [3, 48]]
    assert (shown == 255).sum() == 28 * 56 - 2


def test_without_variants_the_digits_are_shown_as_they_came():
    shown = pixels(samples.augmentation_picture(IMAGES, LABELS, []))
    assert shown[::28, 0].tolist() == [235, 245, 215]


def test_it_is_a_png():
    picture = samples.augmentation_picture(IMAGES, LABELS, [])
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")


def test_samples_are_the_first_of_each_class_in_their_order():
    # Class 3 has two rows more than are drawn, class 9 has one, the others none.
    count = samples.SAMPLES + 2
    values = np.arange(1, count + 2)
    images = np.zeros((count + 1, 28, 28), np.uint8) + np.uint8(values)[:, None, None]
    labels = np.uint8([3, 9, *[3] * (count - 1)])
    shown = pixels(samples.samples_picture(images, labels))
    assert shown.shape == (10 * 28, samples.SAMPLES * 28)
    lines = shown.reshape(10, 28, samples.SAMPLES, 28)
    assert (lines == lines[:, :1, :, :1]).all()
    expected = np.full((10, samples.SAMPLES), 255)
    expected[3] = [254, *range(252, 252 - samples.SAMPLES + 1, -1)]
    expected[9, 0] = 253
    np.testing.assert_array_equal(lines[:, 0, :, 0], expected)


def test_samples_stand_upright():
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 3, 20] = 255
    shown = pixels(samples.samples_picture(image, np.uint8([7])))
    assert np.argwhere(shown == 0).tolist() == [[7 * 28 + 3, 20]]


def test_one_digit_for_a_page():
    image = np.zeros((28, 28), np.uint8)
    image[3, 4] = 255
    kind, _, content = samples.digit_uri(image).partition(",")
    assert kind == "data:image/png;base64"
    picture = cv2.imdecode(np.frombuffer(b64decode(content), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture.shape == (56, 56)
    assert (picture == 0).sum() == 4  # dark on white, each pixel twice as wide and high
    assert picture[6, 8] == 0
