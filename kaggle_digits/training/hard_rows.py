"""Which rows a short epoch trains on: half of them are those that the net finds hardest.

Most digits are learned in the first epochs, and seeing them as often as the others changes little.
Related: A. Katharopoulos and F. Fleuret (2018), not all samples are created equal; Z. Qin et al.
(2024), InfoBatch.
"""

from __future__ import annotations

import keras
import numpy as np

HARD_SHARE = 0.5  # of a short epoch; the rest is drawn from all other rows


class BatchLosses(keras.metrics.Metric):
    """Keeps the cross-entropy of each image of an epoch; its result is their mean.

    Args:
        steps: batches in an epoch.
        batch_size: images a batch.
    """

    def __init__(self, steps: int, batch_size: int) -> None:
        super().__init__(name="cross_entropy")
        self._losses = self.add_variable((steps, batch_size), "zeros", name="losses")
        self._step = self.add_variable((), "zeros", dtype="int32", name="step")

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        """Keep those of a batch, without label smoothing."""
        losses = keras.ops.categorical_crossentropy(y_true, y_pred, from_logits=True)
        place = keras.ops.reshape(self._step, (1, 1))
        self._losses.assign(keras.ops.scatter_update(self._losses, place, losses[None]))
        self._step.assign(self._step + 1)

    def result(self):
        """Return the mean of the epoch's batches so far."""
        steps = keras.ops.cast(keras.ops.maximum(self._step, 1), self._losses.dtype)
        return keras.ops.sum(self._losses) / (steps * self._losses.shape[1])

    @property
    def of_images(self) -> np.ndarray:
        """The losses of a whole epoch, in the order of its images, float32."""
        return np.ravel(keras.ops.convert_to_numpy(self._losses))


def pick(losses: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Pick the rows of a short epoch.

    Args:
        losses: (n,) of each row, NaN where it was never trained on.
        count: rows to pick, at most n.
        generator: draws what the losses leave open.

    Returns:
        (count,) indices, none twice: first rows that were never trained on, then, up to half of
        the epoch, those with the largest losses, then any others.
    """
    order = generator.permutation(len(losses))
    unseen = np.isnan(losses[order])
    new, seen = order[unseen][:count], order[~unseen]
    seen = seen[np.argsort(-losses[seen], kind="stable")]
    hard = max(0, round(HARD_SHARE * count) - len(new))
    others = generator.permutation(seen[hard:])[: max(0, count - len(new) - hard)]
    return np.concatenate([new, seen[:hard], others])


def remembered(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Return losses to remember: the mean of what was remembered, if anything, and of now."""
    return np.where(np.isnan(before), now, (before + now) / 2).astype(np.float32)
