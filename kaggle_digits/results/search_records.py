"""What a search has found: the result of each trial, the best one, the front of score and cost.

The search writes these records to its folder; the report and the tables show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, get_args

import numpy as np

from kaggle_digits.scoring import significance

FORMAT = 1  # of all records here, see `record.to_json`
LEVEL = 0.05  # of tests: a difference that luck brings more often than this is none

Status = Literal["running", "completed", "stopped early", "failed", "out of bounds"]


class Objective(StrEnum):
    """What a search makes best: the figure, which way is better, how two trials are compared.

    The value is written in configs and JSON.
    """

    ACCURACY = "accuracy"
    LOG_LOSS = "log_loss"

    @property
    def label(self) -> str:
        """The name for people."""
        return self.replace("_", " ")

    @property
    def direction(self) -> Literal["max", "min"]:
        """Which way is better, as KerasTuner calls it."""
        return "max" if self is Objective.ACCURACY else "min"

    def of(self, trial: TrialResult) -> float | None:
        """Return a trial's figure on the folds that are done, None before the first one."""
        return trial.accuracy if self is Objective.ACCURACY else trial.log_loss

    def loss(self, trial: TrialResult) -> float:
        """Return the figure of a trial with a fold as one that is better the smaller it is."""
        return 1 - trial.accuracy if self is Objective.ACCURACY else trial.log_loss

    def text(self, trial: TrialResult) -> str:
        """Write a trial's figure so far."""
        if trial.errors is None:
            return "-"
        if self is Objective.ACCURACY:
            return f"{trial.accuracy:.5f} ({trial.errors:,} of {trial.rows:,} wrong)"
        return f"log loss {trial.log_loss:.5f}"

    def row_losses(self, rows: dict[str, np.ndarray]) -> np.ndarray:
        """Return what each row costs.

        Args:
            rows: `wrong` and `loss`, (n,) bool and float, as a search keeps them.

        Returns:
            (n,); their mean is a trial's `loss`.
        """
        return rows["wrong" if self is Objective.ACCURACY else "loss"]

    def p_value_worse(self, own: np.ndarray, other: np.ndarray) -> float:
        """Test whether the first of two is worse.

        Args:
            own: (n,) `row_losses` of the first.
            other: (n,) those of the second on the same rows.

        Returns:
            One-sided p-value of McNemar's exact test, or of Student's paired t-test of losses.
        """
        if self is Objective.ACCURACY:
            return significance.more_mistakes(own, other)
        return significance.higher_loss(own, other)

    def worsened(self, figure: float, by: float) -> float:
        """Return a figure that is worse by a difference of mean `row_losses`."""
        return figure - by if self is Objective.ACCURACY else figure + by


@dataclass(frozen=True)
class TrialResult:
    """One trial: what it tried, how far it is, what it reached and what it cost.

    Attributes:
        trial: its id, as KerasTuner numbers it.
        candidate: digest of its settings; promoted trials of one candidate share their fits.
        settings: config key -> value of every searched setting that is in force.
        status: stopped early: it could not become the best any more; failed: a net could not be
            trained; out of bounds: too many parameters, or too slow.
        reason: why it has this status, for people; None where the status says it all.
        folds: number of folds that are done.
        folds_planned: number of folds to do.
        rows: held-out rows in the folds that are done.
        errors: of these rows, the number predicted wrongly; None before the first fold.
        accuracy: fraction predicted correctly.
        log_loss: mean negative logarithm of the true class's probability, nats.
        objective: what its oracle was given: the figure of the folds that are done, of a trial
            stopped early a forecast for all folds.
        seconds_per_fit: mean training time of one fit.
        seconds: training and prediction time of all its fits, including those that another trial
            of the candidate has trained.
        images_per_second: training speed.
        parameters: number of weights of all members' nets together.
        flops: of one image's forward pass through all members' nets, convolutions and dense layers,
            a multiplication and an addition counted as two.
        peak_memory_bytes: largest memory of the process after any training step.
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
    """One of the two configs in the comparison on the holdout folds.

    Attributes:
        rows: held-out rows.
        errors: of these rows, the number predicted wrongly.
        accuracy: fraction predicted correctly.
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
    """The best config and a reference, on folds that no trial has seen.

    Attributes:
        folds: numbers of the folds, from 1.
        reference: the config that the search began with, or one given with --against.
        best: the best one found.
        only_reference_wrong: number of rows that only the reference predicts wrongly.
        only_best_wrong: number of rows that only the best predicts wrongly.
        p_value: two-sided, of McNemar's exact test. It is about these trained nets on these rows;
            with one seed a fold, the noise between seeds counts as a difference.
    """

    folds: tuple[int, ...]
    reference: HoldoutScore
    best: HoldoutScore
    only_reference_wrong: int
    only_best_wrong: int
    p_value: float


@dataclass(frozen=True)
class Resolution:
    """Whether the rows that trials are judged on are enough to tell the trials apart.

    The best trial is tested against the typical one, the middle of the others, on the rows that
    both have predicted: by McNemar's exact test of mistakes or Student's paired t-test of losses,
    one-sided (`Objective.p_value_worse`). At p >= 0.05 the rows are too few: on as many other rows
    another trial may well be the best. The test is lenient, as the best was picked by these rows.

    Attributes:
        trial: id of the typical trial.
        rows: that both have predicted.
        p_value: of the test whether the typical trial is worse.
    """

    trial: str
    rows: int
    p_value: float

    @property
    def is_too_coarse(self) -> bool:
        """Whether the typical trial may as well be the best."""
        return self.p_value >= LEVEL


@dataclass(frozen=True)
class LearningCurve:
    """How one fit has learned: a value for each epoch, on the augmented training images.

    Attributes:
        loss: mean loss.
        accuracy: fraction predicted correctly.
    """

    loss: tuple[float, ...]
    accuracy: tuple[float, ...]


@dataclass(frozen=True)
class SearchRecord:
    """All that a search has found so far.

    Attributes:
        objective: what is made best.
        keys: the config keys that are searched.
        start: config key -> value in the config that the search began with.
        trials: in the order in which they began.
        check: the best against the start on the holdout folds; None before it was made.
        against: the same against further configs, by their names.
        facts: further facts for people, title -> text.
        complete: whether the search has nothing left to do.
        demo_data: whether it was made on the demo data, so that its settings mean nothing.
        log_keys: the keys that are sampled evenly in their logarithm.
        resolution: whether the rows tell the trials apart; None where that is not known.
        curves: name of each of the best trial's fits -> how it learned.
        machine: backend, hardware and versions for people, title -> text.
        not_for_upload: why a submission of its data must not be uploaded; None: it may.
    """

    objective: Objective
    keys: tuple[str, ...]
    start: dict[str, Any]
    trials: tuple[TrialResult, ...]
    check: HoldoutComparison | None = None
    against: dict[str, HoldoutComparison] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    complete: bool = False
    demo_data: bool = False
    log_keys: tuple[str, ...] = ()
    resolution: Resolution | None = None
    curves: dict[str, LearningCurve] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    not_for_upload: str | None = None

    def with_status(self, status: Status) -> list[TrialResult]:
        """List the trials that have a status."""
        return [trial for trial in self.trials if trial.status == status]

    def counts(self) -> str:
        """Write how many trials have each status, for example "3 completed, 1 failed"."""
        numbers = {status: len(self.with_status(status)) for status in get_args(Status)}
        return ", ".join(f"{number} {status}" for status, number in numbers.items() if number)

    def comparable(self) -> list[TrialResult]:
        """List the completed trials that have as many folds as any, one a candidate, in order."""
        return comparable(self.trials)

    def best(self) -> TrialResult | None:
        """Return the best comparable trial; of equals the one that costs less."""
        return best(self.trials, self.objective)

    def scored(self) -> list[TrialResult]:
        """List the trials with an objective that have ended, one a candidate, in order.

        Of several trials of one candidate the one with the most folds counts.
        """
        ended = self.with_status("completed") + self.with_status("stopped early")
        usable = [trial for trial in ended if trial.objective is not None]
        kept = {t.candidate: t for t in sorted(usable, key=lambda t: t.folds)}
        return [trial for trial in self.trials if trial is kept.get(trial.candidate)]

    def typical(self) -> TrialResult | None:
        """Return the middle one of the scored trials beside the best, of two the better one."""
        best = self.best()
        sign = -1 if self.objective.direction == "max" else 1
        others = [t for t in self.scored() if best and t.candidate != best.candidate]
        others.sort(key=lambda trial: sign * trial.objective)
        return others[(len(others) - 1) // 2] if others else None

    def comparisons(self) -> Iterator[tuple[str, HoldoutComparison]]:
        """Yield (what the best is compared with, the comparison)."""
        if self.check:
            yield "the start", self.check
        yield from self.against.items()

    def seconds(self) -> float:
        """Return how long all fits of all trials took; trials of a candidate share theirs."""
        ordered = sorted(self.trials, key=lambda trial: trial.seconds)
        return sum({trial.candidate: trial.seconds for trial in ordered}.values())

    def front(self) -> list[TrialResult]:
        """List the comparable trials that no other beats in both objective and seconds a fit.

        Returns:
            The Pareto front, fastest first.
        """
        loss = self.objective.loss
        front: list[TrialResult] = []
        for trial in sorted(self.comparable(), key=lambda t: (t.seconds_per_fit, loss(t))):
            if not front or loss(trial) < loss(front[-1]):
                front.append(trial)
        return front


def comparable(trials: Iterable[TrialResult]) -> list[TrialResult]:
    """List the completed trials that have as many folds as any, one a candidate, in order."""
    completed = [trial for trial in trials if trial.status == "completed" and trial.folds]
    most = max((trial.folds for trial in completed), default=0)
    return list({t.candidate: t for t in completed if t.folds == most}.values())


def best(trials: Iterable[TrialResult], objective: Objective) -> TrialResult | None:
    """Return the best comparable trial; of equals the one that costs less."""
    return min(
        comparable(trials),
        # Cost in FLOPs: seconds differ from one run to the next.
        key=lambda t: (objective.loss(t), t.flops or 0, len(t.trial), t.trial),
        default=None,
    )
