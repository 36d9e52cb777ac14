"""Picture files -> upright pixels, whatever a camera or a scanner wrote; used by `photographs`.

Pillow decodes here, not OpenCV: it knows a picture's size before it unpacks it, turns it by EXIF
also where it has an alpha channel, notices files that are cut off, and writes nothing to standard
error.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kaggle_digits.data.ink import reduced
from kaggle_digits.errors import UserError, explained

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"))
# Others of Pillow's formats are never tried: some start programs (EPS), none is a photograph's.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
EXPECTED = "expected a picture (PNG, JPEG, WebP, BMP, GIF or TIFF)"
# Boxes of ISO media files: what phones write where they are not asked for JPEG.
PHONE_FORMATS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"avif": "AVIF"}
MAX_PIXELS = 200_000_000  # the largest phones have 200 megapixels; unpacked that is 0.6 GB
MAX_BYTES = 200 * 2**20
WORKING_SIDE = 1600  # pixels; a digit 5 mm high on a sheet of A4 still has 27
QUARTER_TURNS = range(5, 9)  # EXIF orientations that swap width and height
SHOWN_CHARACTERS = 120  # of a decoder's words, in an error message
SEE_THROUGH = 0.5  # fraction of a picture: with more of it transparent, the rest is ink alone


def find_pictures(given: Iterable[Path]) -> list[Path]:
    """List the pictures that paths mean.

    Args:
        given: files, taken whatever they are called, and folders, of which the files with a
            picture's ending are taken, in the order of their names (2.png before 10.png). Folders
            in folders and hidden files are left out.

    Returns:
        The files; there may be none of that name. Each once.

    Raises:
        UserError: a folder has no pictures or cannot be listed.
    """
    found: dict[Path, None] = {}
    for path in given:
        if not path.is_dir():
            found[path] = None
            continue
        try:
            inside = [each for each in path.iterdir() if _is_picture(each)]
        except OSError as error:
            raise explained(error) from error
        if not inside:
            endings = ", ".join(sorted(ENDINGS))
            raise UserError(
                f"{path}: expected pictures in this folder ({endings}), found none; give another "
                "folder, or the files themselves"
            )
        found |= dict.fromkeys(sorted(inside, key=_natural))
    return list(found)


def _is_picture(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in ENDINGS and not hidden and path.is_file()


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort numbers in names by their value."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def read_grey(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """Read a picture in grey, as it is looked at.

    Args:
        path: a file of one of `FORMATS`; of an animation the first picture is taken.

    Returns:
        ((h, w) uint8, at most `WORKING_SIDE` in each direction; (width, height) of the picture in
        the file, turned as its EXIF orientation says). What is transparent becomes paper.

    Raises:
        UserError: it is no such file, damaged, or too large; in one line with its name.
    """
    picture, size = _decoded(path, "L")
    if picture.has_transparency_data:
        grey = _on_paper(np.asarray(picture.convert("RGBA").convert("LA")))
    elif picture.mode.startswith("I") or picture.mode == "F":
        grey = _grey_of_numbers(np.asarray(picture))
    else:
        grey = np.asarray(picture.convert("L"))
    return reduced(grey, WORKING_SIDE), size


def read_colour(path: Path) -> np.ndarray:
    """Read a picture in colour, to show it; where it has no colours, see `read_grey`.

    Args:
        path: as in `read_grey`.

    Returns:
        (h, w, 3) uint8 RGB, of the size of what `read_grey` returns.

    Raises:
        UserError: see `read_grey`.
    """
    picture, _ = _decoded(path, "RGB")
    if picture.mode in ("RGB", "CMYK", "YCbCr", "P") and not picture.has_transparency_data:
        return reduced(np.asarray(picture.convert("RGB")), WORKING_SIDE)
    return np.repeat(read_grey(path)[0][:, :, None], 3, axis=2)


def _decoded(path: Path, mode: str) -> tuple[Image.Image, tuple[int, int]]:
    """Decode a picture and turn it upright; return it and its full size, upright too."""
    content = _content(path)
    from PIL import ExifTags, Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and odd metadata
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
            size = picture.size
            if size[0] * size[1] > MAX_PIXELS:
                raise Image.DecompressionBombError
            factor = WORKING_SIDE / max(size)
            # Of JPEG, an eighth, a quarter or half of the pixels can be decoded alone.
            picture.draft(mode, tuple(max(1, int(side * factor)) for side in size))
            picture.load()
            if picture.getexif().get(ExifTags.Base.Orientation, 1) in QUARTER_TURNS:
                size = size[::-1]
            return ImageOps.exif_transpose(picture), size
    except Image.DecompressionBombError:
        raise UserError(
            f"{path}: expected at most {MAX_PIXELS // 10**6} megapixels, found more; make the "
            "picture smaller"
        ) from None
    # Damaged bytes make the decoders raise almost anything, by format and version.
    except Exception as error:
        raise UserError(f"{path}: {EXPECTED}, found {_found(content, error)}") from error


def _content(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise UserError(f"{path}: {EXPECTED}, found a folder")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(
                f"{path}: expected at most {MAX_BYTES // 2**20} MiB, found more; make the picture "
                "smaller"
            )
        content = path.read_bytes()
    except OSError as error:
        raise explained(error) from error
    if not content:
        raise UserError(f"{path}: {EXPECTED}, found an empty file; copy it again")
    return content


def _found(content: bytes, error: Exception) -> str:
    """Say what a file is that cannot be decoded, and what to do."""
    from PIL import UnidentifiedImageError

    if name := content[4:8] == b"ftyp" and PHONE_FORMATS.get(content[8:12]):
        return f"{name}; save it as JPEG"
    if isinstance(error, UnidentifiedImageError):
        return "another kind of file; save the picture as PNG or JPEG"
    reason = " ".join(str(error).split())[:SHOWN_CHARACTERS] or type(error).__name__
    return f"a damaged one ({reason}); copy it again"


def _on_paper(pixels: np.ndarray) -> np.ndarray:
    """Put (h, w, 2) grey and opacity on paper: (h, w) uint8."""
    grey, opacity = pixels[:, :, 0].astype(np.float32), pixels[:, :, 1].astype(np.float32) / 255
    seen = grey[opacity > 0.5]
    if not seen.size:
        return np.full(grey.shape, 255, np.uint8)
    if seen.size < SEE_THROUGH * grey.size:  # ink alone, as drawing programs save it
        paper = 255.0 if np.median(seen) < 128 else 0.0
    else:
        paper = np.median(seen)
    return np.rint(grey * opacity + paper * (1 - opacity)).astype(np.uint8)


def _grey_of_numbers(pixels: np.ndarray) -> np.ndarray:
    """Bring grey levels of 16 bits, or of any range, to (h, w) uint8."""
    numbers = np.nan_to_num(pixels.astype(np.float64))
    low, high = (0, 65535) if pixels.dtype.kind in "iu" else (numbers.min(), numbers.max())
    scaled = (numbers - low) / max(high - low, np.finfo(np.float64).tiny)
    return np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)


def grey_of_array(pixels: np.ndarray, name: str) -> tuple[np.ndarray, tuple[int, int]]:
    """Bring a picture that is in memory to what `read_grey` returns.

    Args:
        pixels: (h, w) grey or (h, w, 3) RGB, uint8.
        name: for the error message.

    Raises:
        UserError: it has another shape or type.
    """
    import cv2

    shape = pixels.shape
    if (
        pixels.dtype != np.uint8
        or not pixels.size
        or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3))
    ):
        raise UserError(
            f"{name}: expected a picture as (h, w) or (h, w, 3) uint8, found {shape} "
            f"{pixels.dtype}; convert it, or give its path"
        )
    grey = pixels if len(shape) == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return reduced(grey, WORKING_SIDE), (shape[1], shape[0])
