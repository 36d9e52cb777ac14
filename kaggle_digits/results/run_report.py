"""What the report of a run shows: its figures, its predictions, its curves and what made it.

`runs.reporting` reads it from a run's folder, `report.run_page` shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.scoring.ensemble import FitPredictions, Method
from kaggle_digits.system.console import Fact

NET_FORMAT = 1  # of `NetSummary` in fit.json; raise it when a key changes its meaning


@dataclass(frozen=True)
class Layer:
    """A layer of a net.

    Attributes:
        name: its name in the saved net.
        kind: its Keras class.
        output: shape of what it returns for one image.
        parameters: trained or not.
    """

    name: str
    kind: str
    output: tuple[int | None, ...]
    parameters: int


@dataclass(frozen=True)
class NetSummary:
    """What a net is made of.

    Attributes:
        layers: in the order of the data.
        parameters: trained or not.
        flops: operations of one image's forward pass, a multiplication and an addition counted as
            two.
    """

    layers: tuple[Layer, ...]
    parameters: int
    flops: int


@dataclass(frozen=True)
class FitReport:
    """A finished fit, without its predictions.

    Attributes:
        member: the member's name.
        fold: from 0.
        history: column of history.csv -> a value for each epoch.
        train_seconds: wall time of its training.
        predict_seconds: wall time of its predictions.
        train_images: images that it was trained on, each pass counted.
        net: what it is made of; None: not noted, as in earlier versions.
        kept_epoch: the epoch, from 1, whose weights early stopping has kept; None: the last.
    """

    member: str
    fold: int
    history: Mapping[str, tuple[float, ...]]
    train_seconds: float
    predict_seconds: float
    train_images: int
    net: NetSummary | None = None
    kept_epoch: int | None = None

    @property
    def name(self) -> str:
        """The fit's name for people, folds counted from 1."""
        return f"{self.member} fold {self.fold + 1}"

    def kept(self, column: str) -> float | None:
        """Return a column's value in the epoch whose weights the net has; None: not noted."""
        values = self.history.get(column)
        return values[(self.kept_epoch or 0) - 1] if values else None


@dataclass(frozen=True, eq=False)
class RunReport:
    """All that the report of a run shows.

    Attributes:
        name: the run's name.
        metrics: its figures.
        method: how predictions are averaged.
        fits: the finished fits, by member and fold.
        predictions: what they predict, in the same order.
        labels: (n,) integers 0..9, of the training rows.
        folds: (n,) integers, the fold that holds each row out; None: not each row has one.
        oof: (n, 10) out-of-fold probabilities, NaN where there are none.
        test: (m, 10) probabilities of the test rows.
        is_selected: members were selected by the labels of the training rows, so that figures of
            them on these rows are optimistic, but for `metrics`.
        submitted: (m,) integers 0..9, the labels of the submission; None: there is none.
        train_images: (n, 28, 28) uint8; None: the data is not there any more.
        test_images: (m, 28, 28) uint8; None: the data is not there any more.
        augmentation: PNG of augmented samples; None: there is none.
        config: the resolved config as YAML.
        changes: dotted key -> (value here, value in quick) of all settings that differ.
        kaggle_scores: Kaggle's scores of the submission, 0..1, the newest last.
        facts: title -> text: data, seeds, machine and versions.
        next_step: what to do next; None: nothing.
    """

    name: str
    metrics: RunMetrics
    method: Method
    fits: tuple[FitReport, ...]
    predictions: tuple[FitPredictions, ...]
    labels: np.ndarray
    folds: np.ndarray | None
    oof: np.ndarray
    test: np.ndarray
    is_selected: bool = False
    submitted: np.ndarray | None = None
    train_images: np.ndarray | None = None
    test_images: np.ndarray | None = None
    augmentation: bytes | None = None
    config: str = ""
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    kaggle_scores: tuple[float, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    next_step: Fact | None = None

    def nets(self) -> dict[str, NetSummary | None]:
        """Return what each member's net is made of; None where that was not noted."""
        found: dict[str, NetSummary | None] = {}
        for fit in self.fits:
            found[fit.member] = found.get(fit.member) or fit.net
        return found
