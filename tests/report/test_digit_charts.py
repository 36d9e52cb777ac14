"""Charts and galleries of digits, from a few rows counted by hand."""

import base64
import re

import cv2
import numpy as np
import pytest

from kaggle_digits.report import digit_charts
from kaggle_digits.scoring.calibration import Calibration

# Two right rows of class 0, a 4 that is taken for a 9 twice, a 9 for a 4 once.
LABELS = np.array([0, 0, 4, 4, 9])
PREDICTED = np.array([0, 0, 9, 9, 4])
CONFIDENCE = np.array([0.9, 0.8, 0.6, 0.7, 0.7])
MATRIX = digit_charts.confusion_matrix(LABELS, PREDICTED)


def description(svg):
    return re.match(r'<svg role="img" aria-label="([^"]*)"', svg)[1]


def test_confusion_matrix_by_hand():
    assert {tuple(cell): int(MATRIX[tuple(cell)]) for cell in np.argwhere(MATRIX)} == {
        (0, 0): 2,
        (4, 9): 2,
        (9, 4): 1,
    }
    labels = np.uint8([9, 9])  # 9 * 10 + 9 is no problem for uint8, 29 * 10 would be
    assert digit_charts.confusion_matrix(labels, labels)[9, 9] == 2


def test_confusion_chart_says_what_it_shows():
    svg = digit_charts.confusion_chart(MATRIX)
    assert description(svg) == (
        "Confusion matrix of 5 rows, 3 of them wrong; most often 4 taken for 9 (2 rows), "
        "9 taken for 4 (1 row)"
    )
    assert "<title>4 taken for 9: 2 of 2 rows</title>" in svg
    assert "<title>0 taken for 0: 2 of 2 rows</title>" in svg
    assert svg.count("<title>") == 3  # none for what is empty


def test_mistakes_are_shaded_and_right_rows_are_not():
    svg = digit_charts.confusion_chart(MATRIX)

    def color(cell):
        return re.search(rf'id="confusion-cell{cell}".*?fill: (\S+?);? ?"?[;"]', svg, re.S)[1]

    assert color("00") == "var(--grid)"
    assert color("49") == "var(--fifth5)"
    assert color("94") == "var(--fifth2)"
    assert color("12") == "none"


def test_charts_without_a_mistake():
    right = np.diag(np.full(10, 3))
    confusion = digit_charts.confusion_chart(right)
    assert description(confusion) == "Confusion matrix of 30 rows, 0 of them wrong"
    assert "0 0 and 0, 1 0 and 0" in description(digit_charts.mistakes_chart(right))


def test_mistakes_of_each_digit():
    text = description(digit_charts.mistakes_chart(MATRIX))
    assert text.startswith("Mistakes by digit, missed and wrongly seen: 0 0 and 0, ")
    assert "4 2 and 1" in text
    assert text.endswith("9 1 and 2")


def test_calibration_chart():
    before = Calibration(np.array([1, 3]), np.array([0.5, 0.9]), np.array([1.0, 2 / 3]))
    svg = digit_charts.calibration_chart(before)
    # (0.5 + 3 * (0.9 - 2/3)) / 4 = 0.3
    assert description(svg) == (
        "Calibration of 4 rows. as predicted: expected calibration error 0.30000"
    )
    assert "as predicted: 3 rows, mean confidence 0.900, accuracy 0.667" in svg
    after = Calibration(np.array([4]), np.array([0.75]), np.array([0.75]))
    both = digit_charts.calibration_chart(before, after)
    assert "after the temperature: expected calibration error 0.00000" in description(both)


@pytest.mark.parametrize(("most", "rows"), [(9, [3, 4, 2]), (2, [3, 4]), (0, [])])
def test_surest_mistakes_come_first(most, rows):
    found = digit_charts.surest_mistakes(LABELS, PREDICTED, CONFIDENCE, most)
    assert found.tolist() == rows


def test_gallery_has_the_pixels():
    images = np.random.default_rng(1).integers(0, 256, (2, 28, 28), np.uint8)
    one, other = digit_charts.gallery(
        images, LABELS[[0, 2]], PREDICTED[[0, 2]], CONFIDENCE[[0, 2]], ["row 1", "row 3"]
    )
    assert (one.title, one.notes) == ("read as 0", ("90.0 % sure", "row 1"))
    assert (other.title, other.notes) == ("4 taken for 9", ("60.0 % sure", "row 3"))
    start = "data:image/png;base64,"
    assert other.image.startswith(start)
    png = np.frombuffer(base64.b64decode(other.image.removeprefix(start)), np.uint8)
    picture = cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
    assert np.array_equal(picture, 255 - images[1])


def test_gallery_without_labels_and_names():
    tiles = digit_charts.gallery(
        np.zeros((1, 28, 28), np.uint8), None, np.array([5]), np.array([0.4567])
    )
    assert (tiles[0].title, tiles[0].notes) == ("read as 5", ("45.7 % sure",))


def test_picture_of_misclassified_digits():
    images = np.full((12, 28, 28), 255, np.uint8)
    labels = np.arange(12) % 10
    png = digit_charts.gallery_picture(images, labels, (labels + 1) % 10)
    assert png == digit_charts.gallery_picture(images, labels, (labels + 1) % 10)
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    upper, lower = np.split(picture < 10, [len(picture) // 2])
    # Ten in the first line, two in the second.
    assert 4.5 < upper.sum() / lower.sum() < 5.5
