"""Photographs of handwritten digits -> MNIST's 28x28 images of them, in reading order.

`picture_files` reads the file and `ink` separates ink from paper; what comes out here is what a
net was trained on: 20x20 pixels at most, anti-aliased, centred by mass, white on black.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np

from kaggle_digits.data import ink

SIDE, BOX = 28, 20  # pixels of an image of MNIST's, and of the box that its digit fills
THINNEST_STROKE = 1.8  # pixels of these; thinner pens are widened to that
SMALLEST_WORKING_SIDE = 112  # pixels; what is smaller is enlarged before digits are looked for
MOST_PIECES = 500  # of a picture; a texture has thousands
JOINING_ROUNDS = 3
# Heights and sizes in heights of the picture's digits, which `_typical_height` finds.
SPECK = 0.08  # what is smaller is dirt
SMALLEST, LARGEST = 0.35, 2.2  # what is lower or higher, once joined, is no digit
FRAGMENT = 0.7  # lower pieces may belong to a taller one beside them
STACKED_GAP, SIDE_GAP = 0.22, 0.1  # between pieces of one digit, above and beside each other
TALLEST = 1.4  # a digit of several pieces, where there are others to compare with
WIDEST, WIDEST_ALONE = 1.4, 1.8  # what is wider, beside others or not, is digits that touch
PITCH = 0.75  # from one digit to the next that it touches


@dataclass(frozen=True)
class Box:
    """A rectangle in a picture, pixels from its upper left corner."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class FoundDigit:
    """A digit that was found in a picture.

    Attributes:
        box: where.
        line: in which line of writing, from 0.
        image: (28, 28) uint8 as MNIST's.
    """

    box: Box
    line: int
    image: np.ndarray


def find_digits(grey: np.ndarray, size: tuple[int, int] | None = None) -> list[FoundDigit]:
    """Find the digits in a picture.

    Args:
        grey: (h, w) uint8, dark on light or light on dark.
        size: (width, height) of the picture that the boxes shall be in; None: this one's.

    Returns:
        The digits in reading order: lines from top to bottom, each from left to right. None on an
        empty page.
    """
    import cv2

    width, height = size or grey.shape[::-1]
    for image in (grey, 255 - grey):
        if is_mnist_like(image):
            return [FoundDigit(Box(0, 0, width, height), 0, image)]
    factor = max(1.0, SMALLEST_WORKING_SIDE / min(grey.shape))
    if factor > 1:
        grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    contrast = ink.contrast(grey)
    mask = ink.mask_of(contrast)
    across, down = width / grey.shape[1], height / grey.shape[0]
    found = []
    for line, pieces in enumerate(in_lines(digit_pieces(mask))):
        for piece in pieces:
            left, top = int(piece.left * across), int(piece.top * down)
            right, bottom = np.ceil([piece.right * across, piece.bottom * down]).astype(int)
            box = Box(left, top, int(right) - left, int(bottom) - top)
            found.append(FoundDigit(box, line, as_mnist(contrast, piece)))
    return found


def is_mnist_like(grey: np.ndarray) -> bool:
    """Return whether an image is as MNIST's already: 28x28, white on black, centred by mass."""
    if grey.shape != (SIDE, SIDE):
        return False
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if np.median(edge) > 16 or grey.max() < 128 or grey.mean() > 128:
        return False
    inked = np.argwhere(grey > 32)
    height, width = inked.max(0) - inked.min(0) + 1
    centre = _centre(grey)
    return 17 <= max(height, width) <= 22 and np.abs(centre - SIDE / 2).max() <= 1


def _centre(image: np.ndarray) -> np.ndarray:
    """Return the centre of mass, (row, column); the centre of the first pixel is 0."""
    mass = image.astype(np.float64)
    rows, columns = np.indices(image.shape)
    return np.array([(rows * mass).sum(), (columns * mass).sum()]) / mass.sum()


@dataclass(frozen=True)
class Piece:
    """Connected ink, or several such pieces that make one digit.

    Attributes:
        left: of its box, pixels; `right` and `bottom` are just outside.
        top: see `left`.
        right: see `left`.
        bottom: see `left`.
        mask: (bottom - top, right - left) bool, its ink.
    """

    left: int
    top: int
    right: int
    bottom: int
    mask: np.ndarray

    @property
    def width(self) -> int:
        """Of the box, pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Of the box, pixels."""
        return self.bottom - self.top

    @property
    def size(self) -> int:
        """The longer side of the box, pixels."""
        return max(self.width, self.height)

    @cached_property
    def outline(self) -> np.ndarray:
        """(n, 2) rows and columns in the picture of the ink's edge."""
        import cv2

        inner = cv2.erode(np.pad(self.mask, 1).astype(np.uint8), np.ones((3, 3), np.uint8))
        edge = np.argwhere(self.mask & ~inner[1:-1, 1:-1].astype(bool))
        return edge + np.array([self.top, self.left])

    def joined(self, other: Piece) -> Piece:
        """Return both as one."""
        left, top = min(self.left, other.left), min(self.top, other.top)
        right, bottom = max(self.right, other.right), max(self.bottom, other.bottom)
        mask = np.zeros((bottom - top, right - left), bool)
        for each in (self, other):
            rows = slice(each.top - top, each.bottom - top)
            mask[rows, each.left - left : each.right - left] |= each.mask
        return Piece(left, top, right, bottom, mask)

    def gap(self, other: Piece) -> float:
        """Return the shortest distance between the ink of both, pixels."""
        from scipy.spatial import cKDTree

        own, others = (each.outline for each in (self, other))
        return float(cKDTree(own).query(others)[0].min()) - 1

    def cut(self, column: int) -> tuple[Piece, Piece]:
        """Return what is left of a column of the mask, and the rest."""
        parts = self.mask[:, :column], self.mask[:, column:]
        starts = self.left, self.left + column
        return tuple(
            _trimmed(start, self.top, part) for start, part in zip(starts, parts, strict=True)
        )


def _trimmed(left: int, top: int, mask: np.ndarray) -> Piece:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    up, down, before, after = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    inner = mask[up:down, before:after]
    return Piece(int(left + before), int(top + up), int(left + after), int(top + down), inner)


def digit_pieces(mask: np.ndarray) -> list[Piece]:
    """Group ink into digits: specks and lines are left out, broken strokes are joined.

    Args:
        mask: (h, w) bool.

    Returns:
        A piece for each digit, in no order.
    """
    pieces = _connected(mask)
    if not pieces:
        return []
    pieces = [each for each in pieces if not _along_edge(each, mask.shape)] or pieces
    typical, joined = _typical_height(pieces), pieces
    # Broken strokes make digits look lower than they are: joined, they show how high.
    for _ in range(JOINING_ROUNDS):
        large = [each for each in pieces if each.size >= SPECK * typical]
        joined = _joined(sorted(large, key=lambda each: each.size)[-MOST_PIECES:], typical)
        before, typical = typical, _typical_height(joined)
        if typical <= before:
            break
    digits = [each for each in joined if _is_digit(each, typical)]
    widest = WIDEST if len(digits) > 1 else WIDEST_ALONE
    return [part for digit in digits for part in _separated(digit, typical, widest)]


def _connected(mask: np.ndarray) -> list[Piece]:
    import cv2

    labelled, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    smallest = max(6, 0.01 * max(mask.shape))  # pixels; a digit is larger, and noise is not
    pieces = []
    for label in range(1, labelled):
        left, top, width, height, area = map(int, stats[label])
        if max(width, height) >= smallest or area >= smallest**2 / 4:
            part = labels[top : top + height, left : left + width] == label
            pieces.append(Piece(left, top, left + width, top + height, part))
    return pieces


def _along_edge(piece: Piece, shape: tuple[int, int]) -> bool:
    """Return whether a piece follows the edge of the picture, as a table or a shadow does."""
    height, width = shape
    edges = (
        (piece.left == 0, piece.mask[:, 0]),
        (piece.top == 0, piece.mask[0]),
        (piece.right == width, piece.mask[:, -1]),
        (piece.bottom == height, piece.mask[-1]),
    )
    return sum(along.sum() for touches, along in edges if touches) >= 0.5 * piece.size


def _typical_height(pieces: list[Piece]) -> float:
    """Return the height of the pieces that cover most, as digits do and specks do not."""
    heights = np.array([max(each.height, 0.5 * each.width) for each in pieces])
    order = np.argsort(heights)
    covered = np.cumsum([pieces[index].width * pieces[index].height for index in order])
    return float(heights[order[np.searchsorted(covered, covered[-1] / 2)]])


def _joined(pieces: list[Piece], typical: float) -> list[Piece]:
    """Join what belongs together, the nearest first."""
    full = sum(each.height >= FRAGMENT * typical for each in pieces)
    tallest = TALLEST * typical if full >= 3 else np.inf
    numbers = count()
    alive: dict[int, Piece] = {}
    near: list[tuple[float, int, int]] = []

    def add(piece: Piece) -> None:
        number = next(numbers)
        for other, earlier in alive.items():
            gap = _gap_within_digit(piece, earlier, typical, tallest)
            if gap is not None:
                heapq.heappush(near, (gap, other, number))
        alive[number] = piece

    for piece in pieces:
        add(piece)
    while near:
        _, one, two = heapq.heappop(near)
        if one in alive and two in alive:
            add(alive.pop(one).joined(alive.pop(two)))
    return list(alive.values())


def _gap_within_digit(one: Piece, two: Piece, typical: float, tallest: float) -> float | None:
    """Return the distance of two pieces that may be of one digit; None: they are not."""
    taller = max(one.height, two.height, 0.6 * typical)
    lower, narrower = min(one.height, two.height), min(one.width, two.width)
    # How far their boxes overlap, below 0 how far they are apart.
    across = min(one.right, two.right) - max(one.left, two.left)
    down = min(one.bottom, two.bottom) - max(one.top, two.top)
    reach = STACKED_GAP * max(taller, typical)
    if min(across, down) < -reach:
        return None
    if max(one.bottom, two.bottom) - min(one.top, two.top) > tallest:
        return None
    is_inside = across >= 0.8 * narrower and down >= 0.8 * lower
    is_stacked = across >= 0.4 * narrower and down <= 0.4 * lower
    is_interlocked = across >= 0.3 * narrower and down > 0
    is_fragment = lower < FRAGMENT * taller
    if not (is_stacked or is_interlocked or is_fragment):
        return None
    limit = reach if is_stacked or is_inside else SIDE_GAP * max(taller, typical)
    gap = one.gap(two)
    return gap if gap <= limit else None


def _is_digit(piece: Piece, typical: float) -> bool:
    if piece.height < 0.25 * piece.width:
        return False  # a dash or a line
    return SMALLEST * typical <= piece.height <= LARGEST * typical


def _separated(piece: Piece, typical: float, widest: float) -> list[Piece]:
    """Cut digits that touch each other apart where they are narrowest, one from the next."""
    parts = round(piece.width / (PITCH * typical))
    if piece.width <= widest * max(piece.height, typical) or parts < 2:
        return [piece]
    # The narrowest column from the highest ink to the lowest, near where a digit should end.
    highest = piece.mask.argmax(axis=0)
    lowest = piece.height - piece.mask[::-1].argmax(axis=0)
    middle = piece.width / parts
    columns = np.flatnonzero(np.abs(np.arange(piece.width) - middle) <= middle / 3)
    column = int(columns[np.argmin((lowest - highest)[columns])])
    first, rest = piece.cut(column)
    return [first, *_separated(rest, typical, widest)]


def in_lines(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Put pieces in reading order; lines of writing may slope.

    Args:
        pieces: one for each digit.

    Returns:
        Lines from top to bottom, each from left to right.
    """
    lines: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda each: each.left + each.right):
        near = [line for line in lines if _distance_to_line(piece, line) < 0.5]
        if near:
            min(near, key=lambda line: _distance_to_line(piece, line)).append(piece)
        else:
            lines.append([piece])
    return sorted(lines, key=lambda line: np.mean([each.top + each.bottom for each in line]))


def _distance_to_line(piece: Piece, line: list[Piece]) -> float:
    """Return how far a piece is above or below the end of a line, in heights of the taller."""
    last = line[-1]
    apart = abs(piece.top + piece.bottom - last.top - last.bottom) / 2
    return apart / max(piece.height, last.height)


def as_mnist(contrast: np.ndarray, piece: Piece) -> np.ndarray:
    """Bring a digit to MNIST's conventions.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database: scaled to fit a box of 20x20 with
    its aspect ratio kept, grey by anti-aliasing, then set into 28x28 by its centre of mass.

    Args:
        contrast: (h, w) as `ink.contrast` returns it.
        piece: the digit.

    Returns:
        (28, 28) uint8, white on black; its centre of mass is at most half a pixel from 14, 14.
    """
    import cv2

    edge = max(2, round(0.05 * piece.size))
    shown = np.pad(contrast, edge)[
        piece.top : piece.bottom + 2 * edge, piece.left : piece.right + 2 * edge
    ]
    mask = np.pad(piece.mask, edge)
    # Blurred edges belong to it, other digits nearby do not.
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=edge // 2 + 1)
    level = np.percentile(
        contrast[piece.top : piece.bottom, piece.left : piece.right][piece.mask], 60
    )
    grey = np.clip((shown / level - 0.15) / 0.85, 0, 1).astype(np.float32) * near
    grey = _thickened(grey, piece)
    width, height = (max(1, round(BOX * side / piece.size)) for side in (piece.width, piece.height))
    body = grey[edge : edge + piece.height, edge : edge + piece.width]
    how = cv2.INTER_AREA if piece.size > BOX else cv2.INTER_LINEAR
    small = cv2.resize(body, (width, height), interpolation=how)
    white = np.percentile(small[small >= small.max() / 4], 90)  # as MNIST's strokes are
    return _centred(np.rint(255 * np.clip(small / white, 0, 1)).astype(np.uint8))


def _thickened(grey: np.ndarray, piece: Piece) -> np.ndarray:
    """Widen the strokes of a thin pen, in the picture's pixels."""
    import cv2

    depth = cv2.distanceTransform(np.pad(piece.mask, 1).astype(np.uint8), cv2.DIST_L2, 3)
    # Across a stroke, the distance to its edge is a quarter of its width on average.
    width = 4 * depth[depth > 0].mean() - 1
    missing = round(THINNEST_STROKE * piece.size / BOX - width)
    if missing < 1:
        return grey
    return cv2.dilate(grey, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (missing + 1,) * 2))


def _centred(digit: np.ndarray) -> np.ndarray:
    """Set a digit into 28x28 pixels by its centre of mass, as far as it has room."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    starts = np.rint(SIDE / 2 - _centre(digit)).astype(int)
    top, left = (
        int(np.clip(start, 0, SIDE - side)) for start, side in zip(starts, digit.shape, strict=True)
    )
    image[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return image
