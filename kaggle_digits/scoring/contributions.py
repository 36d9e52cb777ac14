"""Finished fits -> what averaging has gained, and what each member adds to it, out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kaggle_digits.scoring import ensemble
from kaggle_digits.scoring.ensemble import FitPredictions, Method, Score
from kaggle_digits.scoring.significance import discordant, mcnemar, mistakes


@dataclass(frozen=True)
class Contribution:
    """One member beside the ensemble that is left without it.

    Attributes:
        member: its name.
        alone: its own score.
        without: the score of the ensemble of all others.
        repaired: rows that the ensemble predicts rightly, and without the member wrongly.
        spoilt: rows that the ensemble predicts wrongly, and without the member rightly.
        p_value: McNemar's exact test of these two counts, two-sided.
    """

    member: str
    alone: Score
    without: Score
    repaired: int
    spoilt: int
    p_value: float


@dataclass(frozen=True)
class Ensembling:
    """What averaging has gained on the rows that all members have predicted out of fold.

    Attributes:
        single: mean accuracy of a single net, weighted by the rows that each net predicts.
        ensemble: score of the average of all members.
        members: each one's contribution; () where there is only one member.
    """

    single: float
    ensemble: Score
    members: tuple[Contribution, ...]


def ensembling(
    fits: Sequence[FitPredictions], labels: np.ndarray, method: Method
) -> Ensembling | None:
    """Compare the ensemble with its nets and with itself without each member.

    Only rows that all members have predicted out of fold count, so that all figures are of the
    same rows. Nothing is chosen by them.

    Args:
        fits: the finished fits, in any order.
        labels: (n,) integers 0..9, of the training rows.
        method: as in `ensemble.test_probabilities`.

    Returns:
        The comparison; None where no row is predicted by all members.
    """
    members = sorted({fit.member for fit in fits})

    def averaged(names: Sequence[str]) -> np.ndarray:
        chosen = [fit for fit in fits if fit.member in names]
        return ensemble.out_of_fold(chosen, len(labels), method, times=None)[0]

    alone = {member: averaged([member]) for member in members}
    common = np.all([~np.isnan(oof[:, 0]) for oof in alone.values()], axis=0)
    if not fits or not common.any():
        return None
    known, whole = labels[common], averaged(members)[common]
    wrong = mistakes(whole, known)
    found = []
    for member in members if len(members) > 1 else ():
        rest = averaged([name for name in members if name != member])[common]
        wrong_without = mistakes(rest, known)
        spoilt, repaired = discordant(wrong, wrong_without)
        found.append(
            Contribution(
                member,
                alone=ensemble.accuracy(alone[member][common], known),
                without=ensemble.accuracy(rest, known),
                repaired=repaired,
                spoilt=spoilt,
                p_value=mcnemar(wrong, wrong_without),
            )
        )
    single = _accuracy_of_single_nets(fits, labels, common)
    return Ensembling(single, ensemble.accuracy(whole, known), tuple(found))


def _accuracy_of_single_nets(
    fits: Sequence[FitPredictions], labels: np.ndarray, common: np.ndarray
) -> float:
    """Return the fraction of all nets' predictions of common rows, (n,) bool, that is right."""
    wrong = []
    for fit in fits:
        counted = common[fit.heldout_rows]
        wrong.append(mistakes(fit.heldout[counted], labels[fit.heldout_rows[counted]]))
    return 1 - float(np.concatenate(wrong).mean())
