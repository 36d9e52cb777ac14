import cv2
import numpy as np
import pytest

from kaggle_digits.data.photographs import Box, FoundDigit
from kaggle_digits.report.classify_picture import seen_picture
from kaggle_digits.results.classification import ReadDigit, ReadPicture

RED = np.array([250, 10, 10], np.uint8)  # RGB


def read_picture(count):
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 10:18] = 255
    digit = ReadDigit(FoundDigit(Box(20, 10, 40, 60), 0, image), np.eye(10, dtype=np.float32)[7])
    return ReadPicture("a.png", (200, 100), (digit,) * count)


def drawn(photo, read):
    png = seen_picture(photo, read)
    assert png == seen_picture(photo, read)
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


@pytest.mark.parametrize("count", [0, 1, 12])
def test_photograph_and_each_image_are_there(count):
    shown = drawn(np.broadcast_to(RED, (50, 100, 3)), read_picture(count)).astype(int)
    red = (np.abs(shown - RED).max(axis=2) < 20).mean()
    assert red > 0.3
    # The images are the only black areas.
    black = (shown.max(axis=2) < 20).astype(np.uint8)
    areas = cv2.connectedComponentsWithStats(black)[2][1:, cv2.CC_STAT_AREA]
    assert (areas > 1_000).sum() == count


def test_box_is_scaled_with_the_photograph():
    photo = np.full((50, 100, 3), 255, np.uint8)
    blue = drawn(photo, read_picture(1)).astype(int)
    is_frame = (blue[:, :, 2] > 200) & (blue[:, :, 0] < 80)
    height = is_frame.shape[0]
    rows, columns = np.nonzero(is_frame[: height * 3 // 4])
    # 40 of 200 pixels in width, on a photograph nearly as wide as the picture.
    assert np.ptp(columns) / blue.shape[1] == pytest.approx(0.2, abs=0.02)
    assert np.ptp(rows) > 0
