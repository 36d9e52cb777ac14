"""A picture in grey -> where the ink is on it and how dark: uneven light, polarity, ruled paper.

The first half of reading a photograph; `photographs` makes digits from it.
"""

from __future__ import annotations

import numpy as np

COARSE_SIDE = 400  # pixels of the longer side where the paper is looked at: light changes slowly
STROKE = 0.3  # of the shorter side: what is narrower may be a stroke, what is wider is paper
FAINTEST = 0.07  # contrast; below are shadows and stains
STRONG, WEAK = 0.45, 0.2  # of the contrast that ink usually has; half is the middle of an edge
BLUR = 3  # pixels at most, of a stroke's edge
NOISE = 5.0  # ink stands out by so many standard deviations of the paper's grain
RULING_THICKNESS = 1 / 150  # of the picture's longer side, at most
RULING_LENGTH = 0.45  # of the picture's width, at least, without what is written across it
RULING_SPAN = 0.8  # of the picture's width, at least, with it
RULING_SLOPE = 12  # degrees either way, at most
DARKEST_SHADOW = 0.3  # of the light beside it; a table or a scanner's lid may be darker
PAPER_FILL, PAPER_AREA = 0.85, 0.3  # how rectangular a sheet is, and how much of the picture


def contrast(grey: np.ndarray) -> np.ndarray:
    """Even out the light and say how much each pixel differs from the paper around it.

    Args:
        grey: (h, w) uint8, dark on light or light on dark.

    Returns:
        (h, w) float32: 0 is paper, 1 the blackest ink there can be. Where a whole sheet is on a
        darker (or lighter) table, the table counts as paper.
    """
    import cv2

    grey = cv2.medianBlur(grey, 3) if min(grey.shape) >= 100 else grey
    sheet = _sheet(grey)
    if sheet is not None:
        grey = np.where(sheet, grey, np.uint8(np.median(grey[sheet])))
    if not ink_is_dark(grey):
        grey = 255 - grey
    coarse = reduced(grey, COARSE_SIDE)
    side = max(3, round(STROKE * min(coarse.shape))) | 1
    # The lightest grey that a disc of that width finds everywhere near: strokes vanish, and the
    # edge of a shadow, which is wider, stays where it is.
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    paper = cv2.morphologyEx(cv2.GaussianBlur(coarse, (0, 0), 1), cv2.MORPH_CLOSE, disc)
    paper = cv2.GaussianBlur(paper.astype(np.float32), (0, 0), side / 8)
    paper = cv2.resize(paper, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip(1 - grey / np.maximum(paper, 1), 0, 1).astype(np.float32)


def ink_is_dark(grey: np.ndarray) -> bool:
    """Return whether a picture is dark on light: ink is what stands out from most around it."""
    import cv2

    coarse = reduced(grey, COARSE_SIDE)
    around = cv2.medianBlur(coarse, max(3, round(0.5 * min(coarse.shape))) | 1)
    # Beyond the edge nothing is known of what is around.
    inner = tuple(slice(side // 10, side - side // 10) for side in coarse.shape)
    local = (coarse.astype(np.float64) - around)[inner]
    return bool((local**3).sum() <= 0)


def mask_of(contrast: np.ndarray) -> np.ndarray:
    """Return where there is ink; the lines of ruled and squared paper are left out.

    Args:
        contrast: (h, w) as `contrast` returns it.

    Returns:
        (h, w) bool; nowhere on an empty page.
    """
    import cv2

    spread = 1.4826 * np.median(np.abs(contrast - np.median(contrast)))
    floor = max(FAINTEST, float(np.median(contrast) + NOISE * spread))
    inked = contrast[contrast > floor]
    if not inked.size:
        return np.zeros(contrast.shape, bool)
    levels = np.rint(255 * inked).astype(np.uint8)
    split, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
    ink = np.median(levels[levels > split] if levels.max() > split else levels) / 255
    strong, weak = (contrast > max(floor, level * ink) for level in (STRONG, WEAK))
    printed = ruling(strong) | ruling(weak)
    strong, weak = strong & ~printed, weak & ~printed
    # Where a stroke is thin or light it goes on in what is weak. Around a strong stroke, that is
    # only its blurred edge.
    around = np.ones((2 * BLUR + 1, 2 * BLUR + 1), np.uint8)
    thin = weak & (cv2.dilate(strong.astype(np.uint8), around) == 0)
    mask = strong | weak & (cv2.dilate(thin.astype(np.uint8), around) > 0)
    _, labels = cv2.connectedComponents(mask.astype(np.uint8))
    is_ink = np.zeros(labels.max() + 1, bool)
    is_ink[labels[strong]] = True
    is_ink[0] = False
    return is_ink[labels]


def ruling(mask: np.ndarray) -> np.ndarray:
    """Find printed lines, level or upright: thin, straight and long.

    Args:
        mask: (h, w) bool, ink or what is as dark.

    Returns:
        (h, w) bool: their pixels, without the strokes that cross them.
    """
    return _level_ruling(mask) | _level_ruling(mask.T).T


def _level_ruling(mask: np.ndarray) -> np.ndarray:
    """Return (h, w) bool: the pixels of lines that run from left to right."""
    import cv2

    thickness = max(2, round(RULING_THICKNESS * max(mask.shape)))
    inked = mask.astype(np.uint8)
    # A line is low wherever nothing crosses it; strokes are higher, or short.
    low = inked - cv2.morphologyEx(inked, cv2.MORPH_OPEN, np.ones((thickness | 1, 1), np.uint8))
    upper = low.copy()
    upper[1:] &= ~low[:-1] & 1  # one vote a column
    length = RULING_LENGTH * mask.shape[1]
    lines = cv2.HoughLines(
        upper,
        rho=thickness,
        theta=np.radians(0.2),
        threshold=round(length),
        min_theta=np.radians(90 - RULING_SLOPE),
        max_theta=np.radians(90 + RULING_SLOPE),
    )
    ruling = np.zeros(mask.shape, bool)
    rows, columns = np.nonzero(low)
    votes = upper[rows, columns]
    for distance, turn in [] if lines is None else lines.reshape(-1, 2):
        near = np.abs(columns * np.cos(turn) + rows * np.sin(turn) - distance) <= thickness
        if votes[near].sum() < length / 2:  # a line that was found before
            continue
        if np.ptp(columns[near]) >= RULING_SPAN * mask.shape[1]:
            ruling[rows[near], columns[near]] = True
            rows, columns, votes = rows[~near], columns[~near], votes[~near]
    return ruling


def reduced(pixels: np.ndarray, longest: int) -> np.ndarray:
    """Bring (h, w) or (h, w, 3) pixels to at most `longest` in each direction, by their means."""
    import cv2

    height, width = pixels.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return pixels
    size = [max(1, round(side * factor)) for side in (width, height)]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _sheet(grey: np.ndarray) -> np.ndarray | None:
    """Return where a sheet is that lies whole on something of another grey; None: no such."""
    import cv2

    coarse = cv2.GaussianBlur(reduced(grey, COARSE_SIDE), (0, 0), 2)
    split, _ = cv2.threshold(coarse, 0, 255, cv2.THRESH_OTSU)
    ring = np.concatenate([coarse[0], coarse[-1], coarse[:, 0], coarse[:, -1]])
    table_is_dark = (ring <= split).mean() > 0.5
    sheet = (coarse > split) if table_is_dark else (coarse <= split)
    contours, _ = cv2.findContours(sheet.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    outline = max(contours, key=cv2.contourArea)
    area = cv2.contourArea(outline)
    _, (width, height), _ = cv2.minAreaRect(outline)
    if area < PAPER_AREA * coarse.size or area < PAPER_FILL * width * height:
        return None
    filled = cv2.drawContours(np.zeros_like(coarse), [outline], -1, 255, cv2.FILLED)
    inside, outside = np.median(coarse[filled > 0]), np.median(coarse[filled == 0])
    at_edge = np.concatenate([filled[0], filled[-1], filled[:, 0], filled[:, -1]]) > 0
    if at_edge.mean() > 0.1 and min(inside, outside) > DARKEST_SHADOW * max(inside, outside):
        return None  # light that falls on a part of the paper
    # Ink on a sheet covers little of it; a thick stroke would be all "sheet" and nothing on it.
    written = (~sheet[filled > 0]).mean()
    if not 0.002 < written < 0.3:
        return None
    margin = max(2, round(0.02 * max(coarse.shape)))
    inner = cv2.erode(filled, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    return cv2.resize(inner, grey.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
