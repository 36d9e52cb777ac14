"""Members' predictions -> what each method of joining gives out of fold, each judged honestly.

The weights of `greedy` are fitted on out-of-fold rows; its own figure is therefore from weights
that were fitted without the fold that is scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kaggle_digits.config.averaging import Ensemble
from kaggle_digits.errors import UserError
from kaggle_digits.results.joined import GREEDY, BlendRecord, MemberWeight, MethodScore
from kaggle_digits.runs.figures import Predictions
from kaggle_digits.scoring import ensemble, significance, weights
from kaggle_digits.scoring.ensemble import FitPredictions
from kaggle_digits.scoring.weights import Nested

MEAN = "mean"
# What a person types -> the ensemble.method of the config.
METHODS: dict[str, ensemble.Method] = {
    MEAN: "arithmetic",
    "geometric": "geometric",
    "vote": "vote",
    GREEDY: "arithmetic",
}


@dataclass(frozen=True, eq=False)
class Blend:
    """The members of several runs, to be combined.

    Attributes:
        fits: of all members.
        labels: (n,) integers 0..9.
        fold_of_row: (n,) integers.
        source_of: member -> name of the run that trained it, sorted by member.
        averaging_of: that run -> how it averages its members itself, by their names here.
    """

    fits: Sequence[FitPredictions]
    labels: np.ndarray
    fold_of_row: np.ndarray
    source_of: Mapping[str, str]
    averaging_of: Mapping[str, Ensemble]

    @cached_property
    def rows(self) -> np.ndarray:
        """The rows that all members predict out of fold.

        Raises:
            UserError: there is none.
        """
        found = [~np.isnan(each[:, 0]) for each in self._out_of_fold.values()]
        rows = np.flatnonzero(np.logical_and.reduce(found))
        if not len(rows):
            raise UserError(
                "ensemble: expected training rows that all members predict out of fold, found "
                "none; join runs whose fits are finished on the same folds"
            )
        return rows

    @cached_property
    def greedy_weights(self) -> dict[str, int]:
        """Members that greedy selection takes, fitted on all rows -> how often it takes them."""
        fitted = weights.greedy(self._candidates, self.labels[self.rows])
        pairs = zip(self.source_of, fitted, strict=True)
        return {member: count for member, count in pairs if count}

    def judged_by_nested(self, predictions: Predictions) -> Predictions:
        """Put what nested weights predict out of fold in the place of what the final ones do.

        The final weights have seen the labels of all rows, so their figure would be optimistic.

        Raises:
            UserError: there is only one fold.
        """
        if self._nested is None:
            raise UserError(
                "--method greedy: expected rows of at least two folds, found one; its weights "
                "could not be judged, take another method"
            )
        oof, count = np.full_like(predictions.oof, np.nan), np.zeros_like(predictions.oof_count)
        oof[self.rows] = self._nested.probabilities
        count[self.rows] = predictions.oof_count[self.rows]
        return replace(predictions, oof=oof, oof_count=count)

    def record(self, method: str) -> BlendRecord:
        """Return what each method, and each source alone, gives out of fold.

        A source alone averages its members by its own method and weights, as it reports them.

        Args:
            method: that was chosen.
        """
        methods = {
            name: self._combined(self.fits, own) for name, own in METHODS.items() if name != GREEDY
        }
        if self._nested:
            methods[GREEDY] = self._nested.probabilities
        alone = {source: self._alone(source) for source in dict.fromkeys(self.source_of.values())}
        methods, alone = (
            tuple(self._score(name, each, methods[MEAN]) for name, each in found.items())
            for found in (methods, alone)
        )
        return BlendRecord(method, methods, alone, tuple(self._weights()))

    @cached_property
    def _out_of_fold(self) -> dict[str, np.ndarray]:
        """Each member's own predictions, (n, 10)."""
        return {
            member: ensemble.out_of_fold(
                [fit for fit in self.fits if fit.member == member],
                len(self.labels),
                METHODS[MEAN],
            )[0]
            for member in self.source_of
        }

    @cached_property
    def _candidates(self) -> list[np.ndarray]:
        return [each[self.rows] for each in self._out_of_fold.values()]

    @cached_property
    def _nested(self) -> Nested | None:
        folds = self.fold_of_row[self.rows]
        if len(np.unique(folds)) < 2:
            return None
        return weights.nested(self._candidates, self.labels[self.rows], folds)

    def _combined(self, fits: Sequence[FitPredictions], method: ensemble.Method) -> np.ndarray:
        return ensemble.out_of_fold(fits, len(self.labels), method)[0][self.rows]

    def _alone(self, source: str) -> np.ndarray:
        own = [fit for fit in self.fits if self.source_of[fit.member] == source]
        averaging = self.averaging_of[source]
        return self._combined(ensemble.weighted(own, averaging.weights), averaging.method)

    def _score(self, name: str, found: np.ndarray, mean: np.ndarray) -> MethodScore:
        labels = self.labels[self.rows]
        of_mean, own = (significance.mistakes(each, labels) for each in (mean, found))
        return MethodScore(
            name,
            ensemble.accuracy(found, labels),
            *significance.discordant(of_mean, own),
            significance.mcnemar(of_mean, own),
        )

    def _weights(self) -> Iterator[MemberWeight]:
        equal = 1 / len(self.source_of)
        final = sum(self.greedy_weights.values())
        for place, (member, source) in enumerate(self.source_of.items()):
            if self._nested is None:
                yield MemberWeight(member, source, equal)
                continue
            own = [each[place] / sum(each) for each in self._nested.weights.values()]
            greedy = self.greedy_weights.get(member, 0) / final
            yield MemberWeight(member, source, equal, greedy, min(own), max(own))
