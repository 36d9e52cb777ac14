"""What a run has found: the record that `metrics.json` is the dump of.

Every key, its unit and its meaning: README.md in this folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kaggle_digits.config.train_section import FLOAT32, Precision
from kaggle_digits.scoring.ensemble import Score

FORMAT = 1  # of metrics.json; raise it when a key changes its meaning


@dataclass(frozen=True)
class MemberScore:
    """The out-of-fold score of one member, and of each of its finished fits.

    Where no rows are held out there is no accuracy, nor an interval, a mean or a deviation.

    Attributes:
        errors: wrong rows.
        rows: rows predicted.
        accuracy: 0..1.
        interval: its 95 % interval.
        fits: score by fold, `fold1` and so on; None of a fit that holds no rows out.
        fold_mean: mean of its fits' accuracies, 0..1.
        fold_std: their standard deviation, that of a population (`numpy.std`: divided by the number
            of fits, not by one less); 0 where there is one fit.
        precision: what the fits were trained in; they predict in float32.
    """

    errors: int
    rows: int
    accuracy: float | None
    interval: tuple[float, float] | None
    fits: dict[str, Score | None]
    fold_mean: float | None = None
    fold_std: float | None = None
    precision: Precision = FLOAT32


@dataclass(frozen=True)
class RunMetrics:
    """The figures of a run so far; those that are not known yet are None.

    Attributes:
        complete: every planned fit is finished or skipped.
        provisional: no fit is finished, the submission is of an unfinished one.
        fits_finished: number of finished fits.
        fits_planned: number of planned fits.
        skipped: why fits were given up, by their names.
        oof_accuracy: out-of-fold accuracy, 0..1.
        oof_errors: wrong rows among those predicted out of fold.
        oof_rows: rows predicted out of fold.
        oof_interval: 95 % interval of the accuracy.
        train_rows: training rows; those that no fit holds out are not predicted out of fold.
        holds_rows_out: fits hold rows out; else there never is an out-of-fold figure.
        optimistic: choices were made by rows that the accuracy counts.
        optimistic_because: who made them: a search the settings, perhaps by some of the rows; the
            training of each fit, which looked at the rows that it holds out.
        holdout: the score on rows that neither saw, if there are such.
        expected_leaderboard: 95 % band of the score on the test rows; None also of data that
            is neither the competition's nor the demo data.
        members: score by member.
        test: the score on test.csv, where it has labels.
        provisional_fit: name of the unfinished fit that made the submission.
        provisional_identity: its digest.
        provisional_epochs: epochs behind it, as a fraction.
        test_rows: rows of the submission.
        demo_data: trained on the demo data; the submission is not for upload.
        not_for_upload: why the data makes no submission for upload; None: it may.
        test_rows_also_in_train: test rows whose pixels are also in train.csv.
        duplicates_across_folds: training rows with the pixels of a row in another fold.
        callbacks: names of a user's own Keras callbacks that took part.
        images_per_second: training speed.
        wall_seconds: wall time of all invocations.
        saving_seconds: of it for saving, hashing and syncing.
        drawing_seconds: of it for drawing augmented images before the first fit.
        reporting_seconds: of it for reports, up to the last fit.
        peak_memory_bytes: largest memory of the main process.
    """

    complete: bool
    provisional: bool
    fits_finished: int
    fits_planned: int
    skipped: dict[str, str] = field(default_factory=dict)
    oof_accuracy: float | None = None
    oof_errors: int | None = None
    oof_rows: int | None = None
    oof_interval: tuple[float, float] | None = None
    train_rows: int = 0
    holds_rows_out: bool = True
    optimistic: bool = False
    optimistic_because: tuple[Literal["search", "training"], ...] = ()
    holdout: Score | None = None
    expected_leaderboard: tuple[float, float] | None = None
    members: dict[str, MemberScore] = field(default_factory=dict)
    test: Score | None = None
    provisional_fit: str | None = None
    provisional_identity: str | None = None
    provisional_epochs: float = 0.0
    test_rows: int = 0
    demo_data: bool = False
    not_for_upload: str | None = None
    test_rows_also_in_train: int = 0
    duplicates_across_folds: int = 0
    callbacks: tuple[str, ...] = ()
    images_per_second: float | None = None
    wall_seconds: float = 0.0
    saving_seconds: float = 0.0
    drawing_seconds: float = 0.0
    reporting_seconds: float = 0.0
    peak_memory_bytes: int = 0

    @property
    def oof(self) -> Score | None:
        """The out-of-fold score."""
        if self.oof_accuracy is None:
            return None
        return Score(self.oof_errors, self.oof_rows, self.oof_accuracy, self.oof_interval)

    @property
    def has_leaderboard(self) -> bool:
        """Whether Kaggle scores its submission; of other data there is no leaderboard."""
        return not (self.demo_data or self.not_for_upload)

    @property
    def is_forecast_optimistic(self) -> bool:
        """Whether the band begins at a score on rows that choices were made by."""
        return self.optimistic and self.holdout is None

    @property
    def rows_covered(self) -> str | None:
        """How many of the training rows are predicted out of fold, None where all are."""
        if self.oof_rows is None or self.oof_rows >= self.train_rows:
            return None
        return f"{self.oof_rows:,} of {self.train_rows:,} rows covered"

    @property
    def saving_fraction(self) -> float:
        """Fraction of the wall time that saving, hashing and syncing took."""
        return self.saving_seconds / self.wall_seconds if self.wall_seconds else 0.0
