"""What every second buys: the record behind `kaggle-digits bench --frontier`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FORMAT = 1  # of frontier.json; raise it when a key changes its meaning


@dataclass(frozen=True)
class FrontierPoint:
    """What a run of a config has reached out of fold, and what it has cost.

    Attributes:
        name: of the point.
        system: whose recipe it is.
        config: name of the config.
        overrides: settings changed in it, as `--set` takes them.
        complete: all its folds are finished; only then its costs are those of a submission.
        folds: folds with a prediction.
        accuracy: mean of the folds' accuracies, 0..1; each fold's is that of its members' mean.
        accuracy_std: their standard deviation (divided by the number of folds less one).
        errors: wrong rows, out of fold.
        rows: rows predicted out of fold.
        seconds: wall time of the whole run, from an empty cache to the submission, without reports.
        image_passes: images that went forward and backward, each time counted.
        training_flops: floating-point operations of the convolutions and dense layers in them,
            three times those of the forward pass.
    """

    name: str
    system: str
    config: str
    overrides: tuple[str, ...]
    complete: bool
    folds: int
    accuracy: float
    accuracy_std: float
    errors: int
    rows: int
    seconds: float
    image_passes: int
    training_flops: float


@dataclass(frozen=True)
class Frontier:
    """Points measured on one machine.

    Attributes:
        points: in the order in which they were run.
        machine: title -> text, what they were measured on.
        data: where the digits came from.
        date: of the last measurement, ISO 8601.
        demo_data: the digits are the demo data's, and the figures mean nothing.
    """

    points: tuple[FrontierPoint, ...]
    machine: Mapping[str, str]
    data: str
    date: str
    demo_data: bool = False

    def cheapest(self, system: str, level: float) -> FrontierPoint | None:
        """Return a system's point that reaches an accuracy in the least time; None: none does.

        Args:
            system: whose points.
            level: mean accuracy of the folds, 0..1.
        """
        reaching = [
            point
            for point in self.points
            if point.system == system and point.complete and point.accuracy >= level
        ]
        return min(reaching, key=lambda point: point.seconds, default=None)

    def systems(self) -> list[str]:
        """List the systems, in the order of their first points."""
        return list(dict.fromkeys(point.system for point in self.points))
