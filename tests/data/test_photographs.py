import cv2
import numpy as np
import pytest

from kaggle_digits.data import photographs
from kaggle_digits.data.photographs import Box, find_digits, is_mnist_like


def page(*boxes, height=400, width=600):
    """White paper with dark frames, each as (left, top, width, height)."""
    grey = np.full((height, width), 220, np.uint8)
    for left, top, across, down in boxes:
        grey[top : top + down, left : left + across] = 30
        grey[top + 12 : top + down - 12, left + 12 : left + across - 12] = 220
    return grey


def boxes_of(grey, size=None):
    return [tuple(vars(found.box).values()) for found in find_digits(grey, size)]


def centre_of(image):
    rows, columns = np.indices(image.shape)
    mass = image.astype(float)
    return (rows * mass).sum() / mass.sum(), (columns * mass).sum() / mass.sum()


def test_a_digit_is_brought_to_mnists_conventions():
    grey = page((200, 100, 80, 160))
    [found] = find_digits(grey)
    assert found.box == Box(200, 100, 80, 160)
    assert (found.image.shape, found.image.dtype, found.line) == ((28, 28), np.uint8, 0)
    # 160 pixels become 20, 80 become 10. Their centre is between two pixels, 14 is as near to both.
    rows, columns = np.flatnonzero(found.image.any(1)), np.flatnonzero(found.image.any(0))
    assert (rows[0], rows[-1]) in {(4, 23), (5, 24)}
    assert (columns[0], columns[-1]) in {(9, 18), (10, 19)}
    assert found.image[rows[0] + 10, columns[0]] == 255
    assert found.image[14, 14] == 0


@pytest.mark.parametrize("shape", [(60, 160), (140, 100), (30, 200)])
def test_centre_of_mass(shape):
    grey = page((100, 80, *shape))
    grey[80:120, 100 : 100 + shape[0]] = 30  # heavy at the top
    [found] = find_digits(grey)
    assert centre_of(found.image) == pytest.approx((14, 14), abs=0.51)


def test_dark_on_light_and_light_on_dark_are_the_same():
    grey = page((200, 100, 80, 160), (400, 120, 90, 150))
    assert boxes_of(255 - grey) == boxes_of(grey) == [(200, 100, 80, 160), (400, 120, 90, 150)]


def test_reading_order_of_lines_that_slope():
    places = [(50, 40), (230, 60), (420, 80), (60, 220), (240, 245), (430, 265)]
    grey = page(*((left, top, 70, 110) for left, top in reversed(places)))
    found = find_digits(grey)
    assert [(each.box.left, each.box.top) for each in found] == places
    assert [each.line for each in found] == [0, 0, 0, 1, 1, 1]


def test_boxes_are_those_of_the_picture_in_the_file():
    assert boxes_of(page((200, 100, 80, 160)), size=(6000, 4000)) == [(2000, 1000, 800, 1600)]


def test_pieces_of_one_digit_are_joined_and_specks_left_out():
    grey = page((200, 120, 80, 140), (400, 120, 80, 140))
    grey[98:108, 210:290] = 30  # the bar of a five, 12 pixels above
    grey[350:354, 100:104] = 30
    assert boxes_of(grey) == [(200, 98, 90, 162), (400, 120, 80, 140)]


def test_two_lines_near_each_other_are_not_joined():
    grey = page(*((left, top, 70, 110) for top in (60, 185) for left in (60, 200, 340)))
    assert [found.line for found in find_digits(grey)] == [0, 0, 0, 1, 1, 1]


def test_digits_that_touch_are_cut_apart():
    grey = page((420, 60, 80, 120))
    for middle in (140, 229):  # two zeros side by side, one stroke into the other
        cv2.ellipse(grey, (middle, 120), (40, 55), 0, 0, 360, 30, 12)
    left = [found.box.left for found in find_digits(grey)]
    assert left == pytest.approx([94, 184, 420], abs=8)


def test_a_table_at_the_edge_is_no_digit():
    grey = page((250, 120, 80, 150))
    grey[:, :30] = 40
    assert boxes_of(grey) == [(250, 120, 80, 150)]


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (28, 28), (300, 400)])
def test_nothing_is_found_on_empty_paper(shape):
    for light in (0, 128, 255):
        assert find_digits(np.full(shape, light, np.uint8)) == []


def test_noise_alone_ends():
    grey = np.random.default_rng(1).integers(0, 256, (800, 900), dtype=np.uint8)
    assert all(found.image.shape == (28, 28) for found in find_digits(grey))


@pytest.fixture
def mnist_like():
    image = np.zeros((28, 28), np.uint8)
    image[4:25, 10:19] = 250
    image[7:22, 13:16] = 0
    return image


def test_images_as_mnists_pass_unchanged(mnist_like):
    assert is_mnist_like(mnist_like)
    for grey in (mnist_like, 255 - mnist_like):
        [found] = find_digits(grey)
        np.testing.assert_array_equal(found.image, mnist_like)
        assert found.box == Box(0, 0, 28, 28)


def test_images_that_are_not_centred_are_brought_there(mnist_like):
    moved = np.roll(mnist_like, (-3, -6), axis=(0, 1))
    assert not is_mnist_like(moved)
    [found] = find_digits(moved)
    assert centre_of(found.image) == pytest.approx((14, 14), abs=0.51)
    assert found.box.left == pytest.approx(4, abs=1)


def test_a_thin_pen_is_widened():
    thin = np.full((400, 400), 230, np.uint8)
    thin[100:300, 199:201] = 30
    thin[299:301, 150:250] = 30
    [found] = find_digits(thin)
    assert (found.image[14] > 100).sum() >= 2
    assert photographs.THINNEST_STROKE < 3
