"""What a net is trained on: the batches of each epoch, shuffled, changed cheaply and mixed.

Everything random follows from a fit's seed and the epoch alone, so that a training that resumes
sees the same batches. All images of an epoch are in memory, 33 MB of 42,000.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np

from kaggle_digits.config.schema import MemberSettings
from kaggle_digits.training import hard_rows

# Behind (seed, epoch): each purpose has random numbers of its own. The order has none behind them.
MOVES, MIXES, PICKS, STROKES, CUTOUTS, CLEAN = 1, 2, 3, 4, 5, 6
MIDDLE = slice(4, 24)  # rows and columns that cutouts are in; most of a digit's ink is there
CLEAN_SHARE = 0.5  # of the images of the last epochs, where `augment.clean_epochs` wants any
CHUNK = 1024  # images that are changed at a time, so that what that takes in between is small
DIRECTIONS = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])  # of moves by a pixel: down, right


@dataclass(frozen=True)
class TrainingData:
    """What a net is trained on.

    Attributes:
        images: epoch (from 0) -> (n, 28, 28) uint8, all rows, augmented for that epoch.
        labels: (n,) integers 0..9.
        rows: the fit's training rows, indices into `labels`.
        clean: (n, 28, 28) uint8, all rows as they came; the batch-norm statistics come from its
            training rows, and so do images of `augment.clean_epochs`.
        heldout: rows that are evaluated after each epoch, clean, where the settings look at them;
            no row but these and the training rows is read.
    """

    images: Callable[[int], np.ndarray]
    labels: np.ndarray
    rows: np.ndarray
    clean: np.ndarray
    heldout: np.ndarray = field(default_factory=lambda: np.arange(0))


class Batches(keras.utils.PyDataset):
    """Serves shuffled batches of one epoch; `begin` moves it to the next.

    Args:
        data: what the net is trained on.
        settings: the member's resolved settings.
        seed: start of everything random.

    Attributes:
        size: images in a batch.
        losses: (n,) float32, what is remembered of each training row's loss, NaN before it was
            trained on; none where an epoch trains on all rows.
    """

    def __init__(self, data: TrainingData, settings: MemberSettings, seed: int) -> None:
        super().__init__(workers=0)
        self._data, self._seed = data, seed
        self._rows = settings.train.rows_an_epoch(len(data.rows))
        self.size = min(settings.train.batch_size, self._rows)
        is_short = self._rows < len(data.rows)
        self.losses = np.full(len(data.rows) if is_short else 0, np.nan, np.float32)
        self._shift, self._stroke = settings.augment.shift, settings.augment.stroke
        self._cutout = settings.augment.cutout
        self._clean_from = settings.train.epochs - settings.augment.clean_epochs
        self._mixup = settings.train.mixup
        self._targets = np.eye(10, dtype=np.float32)[data.labels]
        self._epoch: int | None = None
        self._images: np.ndarray | None = None  # of the epoch, made when the first is asked for

    def begin(self, epoch: int) -> None:
        """Open the epoch's variant and draw its rows and their order.

        They follow from (seed, epoch), and in a short epoch from the losses of those before it.
        """
        if epoch == self._epoch:
            return
        self._epoch, self._images = epoch, None
        self._variant = self._data.images(epoch)
        places = np.arange(len(self._data.rows))
        if len(self.losses):
            places = hard_rows.pick(self.losses, self._rows, self._generator(PICKS))
        self._places = self._generator().permutation(places)
        self._order = self._data.rows[self._places]
        if self._mixup:
            self._shares = self._generator(MIXES).beta(self._mixup, self._mixup, len(self))

    def _changed(self) -> np.ndarray:
        """Make the images of the epoch, in its order, with all changes but mixing."""
        images, count = self._variant[self._order], len(self._order)
        if self._shift:
            size = (count, 2)
            moves = self._generator(MOVES).integers(-self._shift, self._shift, size, endpoint=True)
        if self._stroke:
            strokes = self._generator(STROKES).uniform(-self._stroke, self._stroke, count)
        if self._cutout:
            bounds = MIDDLE.start, MIDDLE.stop - self._cutout
            corners = self._generator(CUTOUTS).integers(*bounds, (count, 2), endpoint=True)
        for start in range(0, count, CHUNK):
            chunk = slice(start, start + CHUNK)
            if self._shift:
                images[chunk] = moved(images[chunk], moves[chunk], self._shift)
            if self._stroke:
                images[chunk] = thickened(images[chunk], strokes[chunk])
            if self._cutout:
                images[chunk] = cut_out(images[chunk], corners[chunk], self._cutout)
        if self._epoch >= self._clean_from:
            clean = self._generator(CLEAN).random(count) < CLEAN_SHARE
            images[clean] = self._data.clean[self._order[clean]]
        return images

    def _generator(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._epoch, *purpose])

    def remember(self, losses: np.ndarray) -> None:
        """Take note of the losses of the images of the epoch, in their order."""
        places = self._places[: len(losses)]
        self.losses[places] = hard_rows.remembered(self.losses[places], losses)

    @property
    def images(self) -> int:
        """Images in an epoch."""
        return len(self) * self.size

    def __len__(self) -> int:
        # The rest of the order is left out: a smaller batch would be noise, and other rows are
        # left out in the next epoch.
        return self._rows // self.size

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        if self._images is None:
            # All at once: between steps it would take several times as long beside the threads of
            # TensorFlow, which are busy waiting.
            self._images = self._changed()
        places = slice(step * self.size, (step + 1) * self.size)
        images, targets = self._images[places], self._targets[self._order[places]]
        if self._mixup:
            # The net takes bytes, as everywhere: a rounding of less than half a gray level.
            images = np.rint(mixed(images, self._shares[step])).astype(np.uint8)
            targets = mixed(targets, self._shares[step])
        return images, targets


def moved(images: np.ndarray, moves: np.ndarray, largest: int) -> np.ndarray:
    """Move each image by whole pixels; what comes in is background.

    Args:
        images: (n, height, width).
        moves: (n, 2) integers, pixels down and to the right; (2,): of all images alike.
        largest: of all moves, either way.

    Returns:
        The moved images, of the same shape and dtype.
    """
    border = (largest, largest)
    padded = np.pad(images, ((0, 0), border, border))
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[1:], axis=(1, 2))
    tops, lefts = largest - moves.T
    return windows[np.arange(len(images)), tops, lefts]


def thickened(images: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Make strokes thicker or thinner.

    1 gives every pixel the largest value among itself and its four neighbours, -1 the smallest
    (gray-scale dilation and erosion, with background around the image); between them and 0, which
    leaves an image as it is, values are interpolated.

    Args:
        images: (n, height, width) uint8.
        amounts: (n,) -1..1.

    Returns:
        The changed images, of the same shape and dtype.
    """
    neighbours = [images, *(moved(images, move, 1) for move in DIRECTIONS)]
    shares = amounts.astype(np.float32)[:, None, None]
    extremes = np.where(
        shares > 0, np.maximum.reduce(neighbours), np.minimum.reduce(neighbours)
    ).astype(np.float32)
    return np.rint(images + np.abs(shares) * (extremes - images)).astype(np.uint8)


def cut_out(images: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
    """Make a square of each image background.

    Source: T. DeVries and G. W. Taylor (2017), improved regularization of convolutional neural
    networks with cutout; here the square is never partly outside.

    Args:
        images: (n, height, width).
        corners: (n, 2) integers, row and column of each square's first pixel.
        side: of the squares, pixels.

    Returns:
        The changed images, of the same shape and dtype.
    """
    down = np.arange(images.shape[1]) - corners[:, :1]
    right = np.arange(images.shape[2]) - corners[:, 1:]
    inside = ((down >= 0) & (down < side))[:, :, None] & ((right >= 0) & (right < side))[:, None]
    return np.where(inside, 0, images)


def mixed(values: np.ndarray, share: float) -> np.ndarray:
    """Mix each row of a shuffled batch with the row before it, the first one with the last.

    Source: H. Zhang et al. (2018), mixup: beyond empirical risk minimization; as in their program,
    one share for a batch.

    Args:
        values: (n, ...) images or labels.
        share: of a row itself, 0..1.

    Returns:
        The mixed rows, float32, of the same shape.
    """
    share = np.float32(share)
    return share * values + (1 - share) * np.roll(values, 1, axis=0)
