import struct
import zlib

import cv2
import numpy as np
import pytest

from kaggle_digits.data import picture_files
from kaggle_digits.data.picture_files import find_pictures, grey_of_array, read_colour, read_grey
from kaggle_digits.errors import UserError

# Light, with a dark corner at the upper left: 48 wide, 32 high, in JPEG's blocks of 16.
PICTURE = np.full((32, 48), 200, np.uint8)
PICTURE[:16, :16] = 40
NOISE = np.random.default_rng(1).integers(0, 256, (99, 99), dtype=np.uint8)


def written(path, pixels=PICTURE, *options):
    path.write_bytes(cv2.imencode(path.suffix, pixels, list(options))[1].tobytes())
    return path


def with_orientation(content, orientation):
    """Put an EXIF header with nothing but the orientation into a JPEG."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    exif = b"Exif\0\0" + tiff
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]


def test_a_long_strip_is_reduced_to_one_that_still_has_a_width(tmp_path):
    grey, size = read_grey(written(tmp_path / "receipt.jpg", np.full((30_000, 12), 200, np.uint8)))
    assert size == (12, 30_000)
    assert min(grey.shape) >= 1


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
def test_formats_in_grey_and_colour(tmp_path, ending):
    path = written(tmp_path / f"a{ending}")
    grey, size = read_grey(path)
    assert (grey.dtype, grey.shape, size) == (np.uint8, (32, 48), (48, 32))
    np.testing.assert_allclose(grey, PICTURE, atol=8)
    np.testing.assert_allclose(read_colour(path), PICTURE[:, :, None].repeat(3, 2), atol=8)


def test_colours(tmp_path):
    path = written(tmp_path / "red.png", np.full((20, 20, 3), (0, 0, 255), np.uint8))  # BGR
    assert set(read_grey(path)[0].flat) == {76}  # 0.299 of 255
    assert read_colour(path)[3, 3].tolist() == [255, 0, 0]


# Where EXIF's eight orientations bring the corner that is stored at the upper left.
CORNERS = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}


@pytest.mark.parametrize("orientation", CORNERS)
def test_exif_orientation(tmp_path, orientation):
    path = written(tmp_path / "a.jpg")
    path.write_bytes(with_orientation(path.read_bytes(), orientation))
    grey, size = read_grey(path)
    turned = orientation >= 5
    assert size == ((32, 48) if turned else (48, 32))
    assert grey.shape == size[::-1]
    corners = {"tl": grey[4, 4], "tr": grey[4, -5], "bl": grey[-5, 4], "br": grey[-5, -5]}
    assert [name for name, value in corners.items() if value < 100] == [CORNERS[orientation]]
    assert read_colour(path).shape[:2] == grey.shape


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0)])
def test_ink_on_nothing_gets_paper_of_the_other_kind(tmp_path, ink, paper):
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[10:20, 10:20] = (ink, ink, ink, 255)
    grey, _ = read_grey(written(tmp_path / "a.png", pixels))
    assert grey[15, 15] == ink
    assert grey[0, 0] == paper


def test_what_is_cut_out_of_a_picture_becomes_paper(tmp_path):
    pixels = np.full((40, 40, 4), 230, np.uint8)
    pixels[:, :, 3] = 255
    pixels[:10, :10] = 0
    assert read_grey(written(tmp_path / "a.png", pixels))[0][5, 5] == 230


def test_sixteen_bits(tmp_path):
    pixels = np.full((20, 20), 65535, np.uint16)
    pixels[5:9] = 257 * 100
    grey, _ = read_grey(written(tmp_path / "a.png", pixels))
    assert (grey[0, 0], grey[6, 6]) == (255, 100)


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_large_pictures_are_reduced(tmp_path, ending):
    grey, size = read_grey(written(tmp_path / f"a{ending}", np.full((2400, 4000), 9, np.uint8)))
    assert size == (4000, 2400)
    assert grey.shape == (960, 1600)


def damaged(kind, whole):
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + whole[24:29]
    return {
        "empty": b"",
        "text": b"not a picture",
        "cut": whole[: len(whole) // 2],
        "iphone": b"\0\0\0\x18ftypheic" + bytes(40),
        "bomb": whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "found an empty file; copy it again"),
        ("text", "found another kind of file; save the picture as PNG or JPEG"),
        ("cut", "found a damaged one"),
        ("iphone", "found HEIC; save it as JPEG"),
        ("bomb", "expected at most 200 megapixels, found more"),
    ],
)
def test_a_file_that_is_none_is_named_in_one_line(tmp_path, capfd, kind, message):
    path = written(tmp_path / "a.png", NOISE)
    path.write_bytes(damaged(kind, path.read_bytes()))
    with pytest.raises(UserError, match=message) as refused:
        read_grey(path)
    assert str(refused.value).startswith(f"{path}: expected ")
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


def test_absent_files_folders_and_too_large_ones(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"absent.png: No such file or directory; check the path"):
        read_grey(tmp_path / "absent.png")
    with pytest.raises(UserError, match="found a folder"):
        read_grey(tmp_path)
    monkeypatch.setattr(picture_files, "MAX_BYTES", 10)
    with pytest.raises(UserError, match=r"a.png: expected at most 0 MiB"):
        read_grey(written(tmp_path / "a.png"))


def test_folder_in_the_order_of_its_numbers(tmp_path):
    for name in ("10.png", "2.JPG", "notes.txt", ".hidden.png", "b.webp"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = find_pictures([tmp_path / "b.webp", tmp_path, tmp_path / "any.name"])
    assert [path.name for path in found] == ["b.webp", "2.JPG", "10.png", "any.name"]


def test_folder_without_pictures(tmp_path):
    with pytest.raises(UserError, match=r"expected pictures in this folder .*found none"):
        find_pictures([tmp_path])


def test_arrays():
    colour = np.zeros((20, 30, 3), np.uint8)
    colour[:, :, 0] = 255  # red
    grey, size = grey_of_array(colour, "array 1")
    assert (grey.shape, size, grey[0, 0]) == ((20, 30), (30, 20), 76)
    for wrong in (colour.astype(float), colour[0, 0], colour[:0], np.zeros((2, 3, 4), np.uint8)):
        with pytest.raises(UserError, match=r"array 1: expected a picture as \(h, w\)"):
            grey_of_array(wrong, "array 1")
