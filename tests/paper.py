"""Photographs of digits on paper, made by numpy and OpenCV's warps from images of digits.

None of the code under test has a part in it.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np


@dataclass(frozen=True)
class Kind:
    """How a photograph is made.

    Attributes:
        size: of the picture, (width, height) in pixels.
        height: of the 28 pixels of a digit's image, in pixels of the picture.
        rotation: of each digit, degrees either way at most.
        pen: pixels of MNIST's 28 by which strokes become wider (or thinner, below 0).
        darkness: of the ink, 0..1.
        grain: standard deviation of the noise, grey levels of 255.
        gradient: how much darker the darkest corner is, 0..1.
        shadow: how much darker one side of an edge is, 0..1.
        inverted: chalk on a board.
        tilt: by how much of its size the picture's corners are moved, as a camera held askew does.
        quality: of the JPEG; None: no losses.
        off_centre: how far a single digit may be from the middle, of the room there is.
        lines: digits in each line of a sheet.
        ruled: printed lines on the paper.
        squared: printed squares on the paper.
        ruling: how dark these are, 0..1.
        wedges: outside of the moved corners all is black, as scanners leave it.
        table: the sheet is on something dark, all of it in the picture.
        salt: fraction of the pixels that are black or white.
        pitch: from one digit's middle to the next, of `height`; None: over the whole line.
        slope: of the lines of writing, degrees.
    """

    size: tuple[int, int] = (320, 320)
    height: float = 200
    rotation: float = 0
    pen: float = 0
    darkness: float = 0.8
    grain: float = 3
    gradient: float = 0
    shadow: float = 0
    inverted: bool = False
    tilt: float = 0
    quality: int | None = None
    off_centre: float = 0
    lines: tuple[int, ...] = (1,)
    ruled: bool = False
    squared: bool = False
    ruling: float = 0.25
    wedges: bool = False
    table: bool = False
    salt: float = 0
    slope: float = 0
    pitch: float | None = None


SHEET = Kind(size=(1200, 900), height=170, lines=(5, 4, 5), rotation=5, off_centre=0.3)
KINDS = {
    "plain": Kind(),
    "small": Kind(size=(60, 60), height=40),
    "large": Kind(size=(3000, 4000), height=1800),
    "rotated": Kind(rotation=14),
    "noisy": Kind(grain=22),
    "salt and pepper": Kind(salt=0.03),
    "uneven light": Kind(gradient=0.7),
    "shadow": Kind(shadow=0.45, gradient=0.2),
    "inverted": Kind(inverted=True, gradient=0.3),
    "off-centre": Kind(size=(500, 400), height=110, off_centre=1),
    "thick pen": Kind(pen=1.6),
    "thin pen": Kind(pen=-1.3),
    "pencil": Kind(pen=-0.8, darkness=0.3),
    "askew": Kind(tilt=0.12),
    "scanned askew": Kind(tilt=0.1, wedges=True),
    "JPEG": Kind(quality=12, grain=6),
    "tight": Kind(size=(210, 210), height=280, grain=2),
    "on a table": Kind(size=(500, 500), table=True),
    "ruled": Kind(size=(700, 500), height=150, ruled=True, off_centre=0.5),
    "squared": Kind(size=(700, 500), height=150, squared=True, off_centre=0.5),
    "sheet": SHEET,
    "sheet, uneven light": replace(SHEET, gradient=0.5, shadow=0.3, quality=40),
    "touching": Kind(size=(500, 300), lines=(4,), height=150, pitch=0.56),
    "sheet, sloping lines": replace(SHEET, size=(1200, 1000), slope=7),
    "sheet, thin pen": replace(SHEET, pen=-1),
    "sheet, inverted": replace(SHEET, inverted=True, tilt=0.05),
    "sheet, ruled": replace(SHEET, ruled=True),
    "sheet, dark rules": replace(SHEET, ruled=True, ruling=0.5, tilt=0.03),
    "sheet, squared": replace(SHEET, squared=True),
    "sheet on a table": replace(SHEET, table=True, size=(1600, 1200), tilt=0.05),
}


def photograph(images: np.ndarray, kind: Kind, seed: int) -> np.ndarray:
    """Make a photograph.

    Args:
        images: (n, 28, 28) uint8 white on black, in reading order; as many as `kind.lines` has.
        kind: how.
        seed: of all that is drawn.

    Returns:
        (h, w) uint8.
    """
    rng = np.random.default_rng(seed)
    width, height = kind.size
    ink = np.zeros((height, width), np.float32)
    for image, (x, y) in zip(images, _places(kind, rng), strict=True):
        ink = np.maximum(ink, _drawn(image, x, y, kind, rng))
    grey = _paper(kind, rng) * (1 - kind.darkness * ink)
    if kind.table:
        sheet = np.zeros_like(grey)
        edge = round(0.12 * min(kind.size))
        sheet[edge:-edge, edge:-edge] = 1
        grey = np.where(sheet > 0, grey, 0.25 * _grains(kind, rng, 0.1))
    if kind.inverted:
        grey = 1 - 0.9 * grey
    grey = grey * _light(kind, rng)
    if kind.tilt:
        grey = _askew(grey, kind, rng)
    grey = 255 * grey + rng.normal(0, kind.grain, grey.shape)
    salted = rng.random(grey.shape) < kind.salt
    grey[salted] = 255 * rng.integers(0, 2, salted.sum())
    grey = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    if kind.quality is not None:
        jpeg = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, kind.quality])[1]
        grey = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
    return grey


def _places(kind: Kind, rng: np.random.Generator):
    """Yield the centre of each digit."""
    width, height = kind.size
    edge = 0.15 * min(kind.size) if kind.table else 0
    for row, count in enumerate(kind.lines):
        for column in range(count):
            cell = (width - 2 * edge) / count, (height - 2 * edge) / len(kind.lines)
            room = [max(0, (each - 0.85 * kind.height) / 2) for each in cell]
            shift = rng.uniform(-1, 1, 2) * kind.off_centre * room
            if len(kind.lines) > 1:
                shift[1] *= 0.5
            x, y = edge + (column + 0.5) * cell[0], edge + (row + 0.5) * cell[1]
            if kind.pitch is not None:
                x = width / 2 + (column - (count - 1) / 2) * kind.pitch * kind.height
            y += np.tan(np.radians(kind.slope)) * (x - width / 2)
            yield x + shift[0], y + shift[1]


def _drawn(image: np.ndarray, x: float, y: float, kind: Kind, rng: np.random.Generator):
    scale = kind.height / 28
    turn = np.radians(rng.uniform(-kind.rotation, kind.rotation))
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    place = np.column_stack([matrix, np.array([x, y]) - matrix @ (13.5, 13.5)])
    ink = cv2.warpAffine(image / np.float32(255), place, kind.size, flags=cv2.INTER_CUBIC)
    if kind.pen:
        side = max(1, round(abs(kind.pen) * scale)) | 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        ink = (cv2.dilate if kind.pen > 0 else cv2.erode)(ink, disc)
    return np.clip(3 * (ink - 0.5) + 0.5, 0, 1)


def _grains(kind: Kind, rng: np.random.Generator, depth: float) -> np.ndarray:
    """Return (h, w) about 1, which changes slowly, as fibres and stains do."""
    coarse = rng.normal(1, depth, (12, 12)).astype(np.float32)
    return cv2.resize(coarse, kind.size, interpolation=cv2.INTER_CUBIC)


def _paper(kind: Kind, rng: np.random.Generator) -> np.ndarray:
    paper = np.clip(0.88 * _grains(kind, rng, 0.015), 0, 1)
    spacing = round(0.42 * kind.height)
    thickness = max(1, round(0.012 * kind.height))
    width, height = kind.size
    if kind.ruled or kind.squared:
        for y in range(spacing // 2, height, spacing):
            paper[y : y + thickness] *= 1 - kind.ruling
    if kind.squared:
        for x in range(spacing // 3, width, spacing):
            paper[:, x : x + thickness] *= 1 - kind.ruling
    return paper


def _light(kind: Kind, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[0 : 1 : 1j * kind.size[1], 0 : 1 : 1j * kind.size[0]]
    turn = rng.uniform(0, 2 * np.pi)
    along = np.cos(turn) * (columns - 0.5) + np.sin(turn) * (rows - 0.5)
    light = 1 - kind.gradient * (along - along.min()) / np.ptp(along)
    edge = 1 / (1 + np.exp(-(along - rng.uniform(-0.2, 0.2)) / 0.01))
    return light * (1 - kind.shadow * edge)


def _askew(grey: np.ndarray, kind: Kind, rng: np.random.Generator) -> np.ndarray:
    width, height = kind.size
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    moved = corners + np.float32(rng.uniform(-1, 1, (4, 2)) * kind.tilt * np.array(kind.size))
    matrix = cv2.getPerspectiveTransform(corners, moved)
    around = cv2.BORDER_CONSTANT if kind.wedges else cv2.BORDER_REPLICATE
    grey = grey.astype(np.float32)
    return cv2.warpPerspective(grey, matrix, kind.size, flags=cv2.INTER_LINEAR, borderMode=around)
