"""What a search has found: the result of each trial, the best one, the front of score and cost.

Figures in, figures out; the search writes them, the page and the tables show them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Objective = Literal["accuracy", "log_loss"]
Status = Literal["running", "completed", "stopped early", "failed", "out of bounds"]


class TrialFailed(Exception):
    """A trial has no figure.

    Args:
        reason: why, for people.
        status: failed: a net cannot be trained; out of bounds: it costs more than it may.
    """

    def __init__(self, reason: str, status: Status = "failed") -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class TrialResult:
    """One trial: what it tried, how far it came, what it reached and what it cost.

    Attributes:
        trial: its id, as KerasTuner numbers it.
        candidate: digest of its settings; promoted trials of one candidate share their fits.
        settings: config key -> value of every setting that was searched and is in force.
        status: stopped early: it could not catch up any more; failed: a net could not be trained;
            out of bounds: too many parameters, or too slow.
        reason: of the status, for people; None where it says all.
        folds: folds that are done.
        folds_planned: folds that it was to do.
        rows: held-out rows in the folds that are done.
        errors: of them, predicted wrongly; None before the first fold.
        accuracy: share predicted rightly.
        log_loss: mean negative logarithm of the true class's probability, nats.
        objective: what its oracle was told: the figure of the folds that are done, of a trial
            stopped early forecast for all folds.
        seconds_per_fit: mean training time of one fit.
        seconds: training and prediction time of all its fits, also those that another trial of the
            candidate has made.
        images_per_second: training speed.
        parameters: of all members' nets together.
        flops: of one image's forward pass through all members' nets, convolutions and dense layers,
            a multiplication and an addition counted as two.
        peak_memory_bytes: the process's largest memory seen after a training step.
    """

    trial: str
    candidate: str
    settings: dict[str, Any]
    status: Status = "running"
    reason: str | None = None
    folds: int = 0
    folds_planned: int = 0
    rows: int = 0
    errors: int | None = None
    accuracy: float | None = None
    log_loss: float | None = None
    objective: float | None = None
    seconds_per_fit: float | None = None
    seconds: float = 0.0
    images_per_second: float | None = None
    parameters: int | None = None
    flops: int | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class HoldoutScore:
    """One of the two configs in the check on untouched folds.

    Attributes:
        rows: held-out rows.
        errors: of them, predicted wrongly.
        accuracy: share predicted rightly.
        interval: its 95 % interval.
        seconds_per_fit: mean training time of one fit.
    """

    rows: int
    errors: int
    accuracy: float
    interval: tuple[float, float]
    seconds_per_fit: float


@dataclass(frozen=True)
class HoldoutComparison:
    """The best config against the one that the search began with, on folds it never touched.

    Attributes:
        folds: numbers of the folds, from 1.
        start: the config that the search began with.
        best: the best one found.
        only_start_wrong: rows that only the start predicts wrongly.
        only_best_wrong: rows that only the best predicts wrongly.
        p_value: two-sided, of McNemar's exact test.
    """

    folds: tuple[int, ...]
    start: HoldoutScore
    best: HoldoutScore
    only_start_wrong: int
    only_best_wrong: int
    p_value: float


@dataclass(frozen=True)
class Findings:
    """All that a search has found so far.

    Attributes:
        objective: what was searched for: the highest accuracy or the lowest log loss.
        keys: the config keys that were searched.
        start: config key -> value that the search began with.
        trials: in the order in which they were begun.
        check: None while it is not made.
        against: the same with other configs, by their names, in the place of `start`.
        facts: further facts for people, title -> text.
    """

    objective: Objective
    keys: tuple[str, ...]
    start: dict[str, Any]
    trials: tuple[TrialResult, ...]
    check: HoldoutComparison | None = None
    against: dict[str, HoldoutComparison] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def loss(self, trial: TrialResult) -> float:
        """Return the objective of a trial as something that is to be small."""
        figure = trial.accuracy if self.objective == "accuracy" else trial.log_loss
        return 1 - figure if self.objective == "accuracy" else figure

    def of(self, status: Status) -> list[TrialResult]:
        """List the trials that have a status."""
        return [trial for trial in self.trials if trial.status == status]

    def statuses(self) -> list[Status]:
        """List the statuses that trials have."""
        return [status for status in get_args(Status) if self.of(status)]

    def comparable(self) -> list[TrialResult]:
        """List the whole trials that have as many folds as any, one a candidate, in order."""
        whole = [trial for trial in self.trials if trial.status == "completed" and trial.folds]
        most = max((trial.folds for trial in whole), default=0)
        return list({t.candidate: t for t in whole if t.folds == most}.values())

    def best(self) -> TrialResult | None:
        """Return the best comparable trial; of equals the one that costs less."""
        return min(
            self.comparable(),
            # Of equals, what is cheaper by its sums: its seconds are not the same twice.
            key=lambda trial: (self.loss(trial), trial.flops or 0, len(trial.trial), trial.trial),
            default=None,
        )

    def front(self) -> list[TrialResult]:
        """List the comparable trials that none beats in both objective and seconds a fit.

        Returns:
            The Pareto front, cheapest first.
        """
        ordered = sorted(self.comparable(), key=lambda t: (t.seconds_per_fit, self.loss(t)))
        front: list[TrialResult] = []
        for trial in ordered:
            if not front or self.loss(trial) < self.loss(front[-1]):
                front.append(trial)
        return front
