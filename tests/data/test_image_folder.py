"""Folders of images: what they are read as, and which files are refused."""

import re

import cv2
import numpy as np
import pytest
from drawn import images, write

from kaggle_digits.data import image_folder
from kaggle_digits.errors import UserError

ONE, TWO, THREE = images(3)


def test_a_folder_for_each_digit(tmp_path):
    write(tmp_path / "7" / "b.png", ONE)
    write(tmp_path / "7" / "a.PNG", TWO)
    write(tmp_path / "0" / "z.bmp", THREE)
    (tmp_path / ".DS_Store").write_bytes(b"1")
    (tmp_path / "7" / ".hidden").write_bytes(b"1")
    assert image_folder.parts(tmp_path) == {"train": tmp_path}
    found, labels = image_folder.read(tmp_path, "train")
    assert (found.dtype, labels.dtype) == (np.uint8, np.uint8)
    assert labels.tolist() == [0, 7, 7]
    assert np.array_equal(found, [THREE, TWO, ONE])  # by folder and name


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["train/1/a.png", "test/2/a.png"], {"train": "train", "test": "test"}),
        (["train/1/a.png", "test/a.png"], {"train": "train", "test": "test"}),
        (["1/a.png", "test/a.png"], {"train": ".", "test": "test"}),
        (["1/a.png"], {"train": "."}),
        (["a.png"], {"test": "."}),
        (["train/1/a.png"], {"train": "train"}),
        (["test/1/a.png"], {"test": "test"}),
        (["other/1/a.png"], {}),
        (["train/notes.txt", "10/a.txt"], {}),
        ([], {}),
    ],
)
def test_parts(tmp_path, files, expected):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = image_folder.parts(tmp_path)
    assert found == {part: tmp_path / name for part, name in expected.items()}


def test_images_without_labels(tmp_path):
    write(tmp_path / "2.png", ONE)
    write(tmp_path / "10.png", TWO)
    found, labels = image_folder.read(tmp_path, "test")
    assert labels is None
    assert np.array_equal(found, [TWO, ONE])
    with pytest.raises(UserError, match="expected a folder for each digit, 0 to 9"):
        image_folder.read(tmp_path, "train")


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.jpg", "a.jpeg", "a.bmp"])
def test_grey_in_three_channels_is_grey(tmp_path, name):
    flat = np.full((28, 28), 90, np.uint8)  # nothing that JPEG would change
    write(tmp_path / "3" / name, cv2.cvtColor(flat, cv2.COLOR_GRAY2BGR))
    found, labels = image_folder.read(tmp_path, "train")
    assert labels.tolist() == [3]
    assert np.abs(found[0].astype(int) - 90).max() <= 1


def colours():
    image = cv2.cvtColor(ONE, cv2.COLOR_GRAY2BGR)
    image[5, 5] = (0, 0, 255)
    return image


def transparent():
    image = cv2.cvtColor(ONE, cv2.COLOR_GRAY2BGRA)
    image[5, 5, 3] = 0
    return image


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((20, 30), np.uint8), "30x20"),
        (np.zeros((28, 28), np.uint16), "16 bits a pixel"),
        (colours(), "colours"),
        (transparent(), "transparency"),
    ],
)
def test_another_image_is_named_and_says_what_to_do(tmp_path, image, found):
    path = write(tmp_path / "3" / "a.png", image)
    with pytest.raises(UserError) as caught:
        image_folder.read(tmp_path, "train")
    assert str(caught.value) == (
        f"{path}: expected an image of 28x28 pixels in grey, white on black, found {found}; "
        "convert it, or give photographs to kaggle-digits classify"
    )


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_file_that_is_no_image(tmp_path, content):
    write(tmp_path / "3" / "a.png", ONE)
    (tmp_path / "3" / "b.png").write_bytes(content)
    with pytest.raises(UserError, match=r"3/b\.png: expected an image .*, found no image"):
        image_folder.read(tmp_path, "train")


def test_dark_on_light_is_refused(tmp_path):
    write(tmp_path / "3" / "a.png", 255 - ONE)
    message = "expected white digits on black .* found one of 2[0-9][0-9]; invert the images"
    with pytest.raises(UserError, match=message):
        image_folder.read(tmp_path, "train")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("3/notes.txt", "3/notes.txt: expected an image (.png, .jpg, .jpeg, .webp, .bmp), found"),
        ("3/more/a.png", "3/more: expected an image"),
        ("a.png", "a.png: expected nothing but the folders 0 to 9 beside it"),
        ("10/a.png", "10: expected nothing but the folders 0 to 9 beside it"),
    ],
)
def test_what_does_not_belong_there_is_named(tmp_path, name, message):
    write(tmp_path / "3" / "a.png", ONE)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"1")
    with pytest.raises(UserError, match=re.escape(message)):
        image_folder.read(tmp_path, "train")


def test_empty_folders(tmp_path):
    (tmp_path / "3").mkdir()
    with pytest.raises(UserError, match="expected images in the folders 0 to 9, found none"):
        image_folder.read(tmp_path, "train")


def test_fingerprint_follows_names_and_content(tmp_path):
    def fingerprint():
        return image_folder.fingerprint(tmp_path, "train")

    path = write(tmp_path / "3" / "a.png", ONE)
    first = fingerprint()
    assert re.fullmatch("[0-9a-f]{128}", first)
    assert fingerprint() == first
    moved = path.rename(path.with_name("b.png"))
    assert fingerprint() != first
    moved.rename(path)
    assert fingerprint() == first
    write(path, TWO)
    assert fingerprint() != first
