"""A finished run on labelled rows -> how well it reads them: `kaggle-digits evaluate`.

Comes after `runs`: nets predict rows that they never saw, or the run's own out-of-fold predictions
are looked at. `report` shows what is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_digits.data import leak_check
from kaggle_digits.data.digits import Digits, read_labelled_rows
from kaggle_digits.errors import UserError
from kaggle_digits.report import digit_charts, evaluation_page
from kaggle_digits.results import evaluation, record
from kaggle_digits.results.evaluation import CalibrationBins, ClassScore, Evaluation, Mistake
from kaggle_digits.runs import reporting
from kaggle_digits.runs.run import CLASSES, Run
from kaggle_digits.scoring import calibration, ensemble
from kaggle_digits.scoring.significance import losses
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.evaluation_folder import EvaluationFolder
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import Reporter, count_of

if TYPE_CHECKING:
    import pandas as pd

OUT_OF_FOLD = "its own training rows"
GROUPS = 5  # of rows that share a temperature, where the run's folds make none


@dataclass(frozen=True, eq=False)
class Predicted:
    """Labelled rows and what a run takes them for.

    Attributes:
        labels: (n,) integers 0..9.
        probabilities: (n, 10).
        calibrated: (n, 10), the same after a temperature; None: there is none.
        numbers: (n,) of the rows within their part, from 0.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    calibrated: np.ndarray | None
    numbers: np.ndarray


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What an evaluation has found.

    Attributes:
        record: the figures.
        images: (n, 28, 28) uint8 of the evaluated part; None: they are not there any more.
    """

    record: Evaluation
    images: np.ndarray | None

    def write(self, folder: EvaluationFolder) -> None:
        """Write the record and the page; a kill leaves no page of an earlier evaluation beside it.

        Raises:
            UserError: they cannot be written.
        """
        with files.writing(folder.page):
            folder.page.unlink(missing_ok=True)
        files.write_json(folder.record, record.to_json(self.record, evaluation.FORMAT))
        page = evaluation_page.page(self.record, self.images)
        files.write_bytes(folder.page, page.encode())


def evaluate(
    folder: str | Path, data: str | Path | None, cache: Cache, reporter: Reporter
) -> Evaluated:
    """Evaluate a run on labelled rows, or on its own, out of fold.

    Rows that the run was trained on are left out of all figures but one, which says what they
    would have been with these rows.

    Args:
        folder: the run's folder.
        data: where labelled rows are, see `data.digits.read_labelled_rows`; None: its own.
        cache: where parsed rows are stored.
        reporter: where progress goes.

    Returns:
        The figures.

    Raises:
        UserError: it is no run's folder, nothing is finished, there are no labels, or all rows are
            ones that the run was trained on.
    """
    run = Run(folder)
    oof = run.oof  # refuses a run without a finished fit
    known = oof[oof["predicted"] >= 0]
    if data is None:
        return _out_of_fold(run, known, cache)
    rows = read_labelled_rows(data, cache.arrays)
    trained_on = _training_data(run, cache)
    seen = np.zeros(len(rows.labels), bool)
    if trained_on is not None:
        seen = leak_check.leaked_rows(trained_on.train_images, rows.images)
    if seen.all():
        raise UserError(
            f"{data}: expected rows that {folder} was not trained on, found that all "
            f"{len(seen):,} of {rows.part} were; leave out --data for out-of-fold figures"
        )
    probabilities = _predict(run, rows.images, reporter)
    temperature, calibrated = None, None
    if len(known):
        temperature = calibration.fit_temperature(
            known[CLASSES].to_numpy(), known["label"].to_numpy()
        )
        calibrated = calibration.with_temperature(probabilities, temperature)
    new = np.flatnonzero(~seen)
    predicted = Predicted(
        rows.labels[new],
        probabilities[new],
        None if calibrated is None else calibrated[new],
        new,
    )
    found = figures(
        predicted,
        run=run.folder.resolve().name,
        source=rows.source,
        part=rows.part,
        out_of_fold=False,
        nets=_nets(run),
        temperature=temperature,
        rows_in_training=None if trained_on is None else int(seen.sum()),
        with_training_rows=ensemble.accuracy(probabilities, rows.labels) if seen.any() else None,
        demo_data=run.metrics.demo_data,
        data=files.digest(rows.images, rows.labels),
    )
    return Evaluated(found, rows.images)


def _out_of_fold(run: Run, known: pd.DataFrame, cache: Cache) -> Evaluated:
    """Evaluate what a run has predicted out of fold: the rows of `Run.oof` that it has."""
    if not len(known):
        raise UserError(
            f"{run.folder}: expected out-of-fold predictions, found none; give labelled rows with "
            "--data"
        )
    labels, probabilities = known["label"].to_numpy(), known[CLASSES].to_numpy()
    trained_on = _training_data(run, cache)
    numbers = known.index.to_numpy()
    # Any groups do: a row has no part in its own temperature.
    folds = known["fold"].to_numpy() if "fold" in known else numbers % GROUPS
    found = figures(
        Predicted(
            labels, probabilities, calibration.cross_fitted(probabilities, labels, folds), numbers
        ),
        run=run.folder.resolve().name,
        source=OUT_OF_FOLD,
        part="out of fold",
        out_of_fold=True,
        nets=_nets(run),
        optimistic=run.metrics.optimistic,
        optimistic_because=run.metrics.optimistic_because,
        demo_data=run.metrics.demo_data,
        data=files.digest(run.oof["label"].to_numpy()),
    )
    return Evaluated(found, None if trained_on is None else trained_on.train_images)


def figures(predicted: Predicted, **facts: Any) -> Evaluation:
    """Compute the figures of predictions.

    Args:
        predicted: at least one row.
        facts: what else the record holds, see `Evaluation`.

    Returns:
        The record.
    """
    labels, probabilities = predicted.labels, predicted.probabilities
    given, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = digit_charts.surest_mistakes(labels, given, confidence, most=len(labels))
    calibrated = predicted.calibrated
    return Evaluation(
        score=ensemble.accuracy(probabilities, labels),
        log_loss=float(losses(probabilities, labels).mean()),
        classes=class_scores(labels, given),
        confusion=tuple(map(tuple, digit_charts.confusion_matrix(labels, given).tolist())),
        calibration=_bins(probabilities, labels),
        calibrated=None if calibrated is None else _bins(calibrated, labels),
        calibrated_log_loss=None
        if calibrated is None
        else float(losses(calibrated, labels).mean()),
        mistakes=tuple(
            Mistake(*of_row)
            for of_row in zip(
                *(column[wrong].tolist() for column in (predicted.numbers, labels, given)),
                confidence[wrong].tolist(),
                strict=True,
            )
        ),
        **facts,
    )


def class_scores(labels: np.ndarray, predicted: np.ndarray) -> tuple[ClassScore, ...]:
    """Compute precision, recall and F1 of each digit.

    Args:
        labels: (n,) integers 0..9.
        predicted: (n,) integers 0..9.

    Returns:
        One for each digit, in order.
    """
    from sklearn.metrics import precision_recall_fscore_support

    digits = np.arange(ensemble.CLASSES)
    *scores, support = precision_recall_fscore_support(
        labels, predicted, labels=digits, zero_division=np.nan
    )
    figures = np.where(np.isnan(scores), None, scores).T.tolist()
    return tuple(
        ClassScore(digit, *of_digit, rows)
        for digit, (of_digit, rows) in enumerate(zip(figures, support.tolist(), strict=True))
    )


def _bins(probabilities: np.ndarray, labels: np.ndarray) -> CalibrationBins:
    return CalibrationBins.of(calibration.calibration(probabilities, labels))


def _nets(run: Run) -> int:
    return len(RunFolder(run.folder).finished_fits())


def _training_data(run: Run, cache: Cache) -> Digits | None:
    """Return what a run was trained on; None where that is gone or has changed."""
    try:
        return reporting.find_data(RunFolder(run.folder), None, cache, say=lambda line: None)
    except UserError:
        return None


def _predict(run: Run, images: np.ndarray, reporter: Reporter) -> np.ndarray:
    nets = _nets(run)
    reporter.say(f"predicting {count_of(len(images), 'row')} with {count_of(nets, 'net')}")
    with reporter.bar(nets, "predicting") as show:
        return run.predict(images, lambda done: show(done, f"predicting, {count_of(nets, 'net')}"))
