"""What tests of images from elsewhere share: a few images that differ, and files of them."""

import cv2
import numpy as np


def images(count, first=0):
    """Return (count, 28, 28) uint8, dark, no two of any call alike: the number is in the pixels."""
    found = np.zeros((count, 28, 28), np.uint8)
    for number, image in enumerate(found, start=first):
        image[10:18, 12:16] = 200
        image[0, :8] = [255 * (number >> bit & 1) for bit in range(8)]
    return found


def write(path, image):
    """Write an image file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path
