"""Predictions of a run -> the galleries, tables and sentences that its page has of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kaggle_digits.report import digit_charts
from kaggle_digits.report.digit_charts import Tile
from kaggle_digits.report.pages import Cell, Table, cell_of
from kaggle_digits.results.run_report import RunReport
from kaggle_digits.scoring import calibration, contributions, forecast, label_noise
from kaggle_digits.scoring.calibration import Calibration
from kaggle_digits.scoring.contributions import Ensembling
from kaggle_digits.scoring.label_noise import Contradictions
from kaggle_digits.system.console import count_of

# Digits in a gallery, rows in a table.
MISTAKES, UNCERTAIN, LISTED = 60, 24, 100
PARTS = 5
SELECTED = (
    "What each member adds is not shown: the members' weights were selected by the labels of these "
    "very rows, which would make it look better than it is."
)
NOTHING_HELD_OUT = "Not known: no row is predicted by a net that never saw it."


@dataclass(frozen=True, eq=False)
class Found:
    """What there is to say of predictions, computed when it is first asked for."""

    report: RunReport

    @cached_property
    def rows(self) -> np.ndarray:
        """Training rows that are predicted out of fold."""
        return np.flatnonzero(~np.isnan(self.report.oof[:, 0]))

    @cached_property
    def labels(self) -> np.ndarray:
        """Their labels."""
        return self.report.labels[self.rows]

    @cached_property
    def oof(self) -> np.ndarray:
        """Their probabilities."""
        return self.report.oof[self.rows]

    @cached_property
    def predicted(self) -> np.ndarray:
        """What they are taken for."""
        return self.oof.argmax(axis=1)

    @cached_property
    def confusion(self) -> np.ndarray:
        """Their confusion matrix."""
        return digit_charts.confusion_matrix(self.labels, self.predicted)

    @cached_property
    def mistakes(self) -> np.ndarray:
        """Places in `rows` of the most confident mistakes."""
        return digit_charts.surest_mistakes(
            self.labels, self.predicted, self.oof.max(axis=1), MISTAKES
        )

    @cached_property
    def calibrations(self) -> tuple[Calibration, Calibration | None]:
        """As predicted, and after a temperature that each part of the rows has from the others.

        The parts are the folds or, where those overlap or leave rows out, `PARTS` of the rows.
        """
        before = calibration.calibration(self.oof, self.labels)
        folds = self.report.folds
        parts = self.rows % PARTS if folds is None else folds[self.rows]
        cooled = calibration.cross_fitted(self.oof, self.labels, parts)
        return before, None if cooled is None else calibration.calibration(cooled, self.labels)

    @cached_property
    def ensembling(self) -> Ensembling | None:
        """What averaging has gained; None where no row shows it.

        That is where nothing is predicted out of fold, or members were selected by these rows.
        """
        report = self.report
        if not len(self.rows) or report.is_selected:
            return None
        return contributions.ensembling(report.predictions, report.labels, report.method)

    @cached_property
    def contradictions(self) -> Contradictions:
        """Training rows that all nets contradict."""
        report = self.report
        return label_noise.contradictions(report.predictions, report.oof, report.labels)

    @cached_property
    def votes(self) -> np.ndarray:
        """How many nets give each class for each test row."""
        return label_noise.test_votes(self.report.predictions)


# Training rows


def mistakes_gallery(found: Found) -> list[Tile]:
    """Make a tile of each of the most confident mistakes; [] without images."""
    if found.report.train_images is None:
        return []
    rows = found.mistakes
    return digit_charts.gallery(
        found.report.train_images[found.rows[rows]],
        found.labels[rows],
        found.predicted[rows],
        found.oof[rows].max(axis=1),
        [f"row {row + 1:,}" for row in found.rows[rows]],
    )


def calibration_sentence(found: Found) -> str:
    """Say how far confidence is from accuracy, before and after a temperature."""
    before, after = found.calibrations
    text = f"Expected calibration error {before.expected_error:.4f} as predicted"
    if after is None:
        return f"{text}."
    return (
        f"{text}, {after.expected_error:.4f} after a temperature that was fitted, for each row, "
        "on other rows."
    )


def labels_table(found: Found) -> Table:
    """List the training rows that all nets contradict, the least probable labels first."""
    noise, report = found.contradictions, found.report
    columns = (noise.rows, noise.suggested, noise.confidence, noise.given, noise.nets)
    rows = [
        [
            Cell(f"{row + 1:,}", row + 1),
            Cell(str(report.labels[row]), int(report.labels[row])),
            Cell(str(suggested), suggested),
            cell_of(100 * confidence, ".1f"),
            cell_of(100 * given, ".2f"),
            cell_of(nets, "d"),
            Cell("suspected" if suspected else "", "" if suspected else None),
        ]
        for row, suggested, confidence, given, nets, suspected in zip(
            *(column[:LISTED].tolist() for column in (*columns, noise.suspected)), strict=True
        )
    ]
    headings = ("row", "label", "nets say", "sure, %", "label, %", "nets", "wrong label?")
    return Table(headings, rows, _thumbnails(report.train_images, noise.rows[:LISTED]))


def labels_sentence(found: Found) -> str:
    """Say how many labels are contradicted, and how many of them are suspected to be wrong."""
    noise = found.contradictions
    if not len(noise.rows):
        return "No training row is contradicted by all nets that never saw it."
    listed = f", of which the first {LISTED} are listed" if len(noise.rows) > LISTED else ""
    return (
        f"All nets that never saw them contradict {count_of(len(noise.rows), 'training row')} of "
        f"{len(found.rows):,}{listed}. The label of {int(noise.suspected.sum()):,} is suspected to "
        "be wrong: all nets give one other digit, as surely as they give it to rows that have it "
        "as their label."
    )


# Test rows


def uncertain_gallery(found: Found) -> list[Tile]:
    """Make a tile of each of the least certain test digits; [] without images or predictions."""
    report = found.report
    if report.test_images is None or not len(report.test):
        return []
    confidence = report.test.max(axis=1)
    rows = np.argsort(confidence, kind="stable")[:UNCERTAIN]
    names = [f"ImageId {row + 1:,}" for row in rows]
    return digit_charts.gallery(
        report.test_images[rows], None, report.test[rows].argmax(axis=1), confidence[rows], names
    )


def _disagreeing(found: Found) -> np.ndarray:
    """Return the test rows that the nets give more than one class.

    First those where the fewest agree with what is submitted, of them the least sure ones.
    """
    rows = np.flatnonzero(found.votes.max(axis=1) < len(found.report.predictions))
    submitted = found.report.test[rows].argmax(axis=1)
    return rows[np.lexsort((found.report.test[rows].max(axis=1), found.votes[rows, submitted]))]


def disagreements_table(found: Found) -> Table | None:
    """List the test rows on which nets disagree; None where there is only one net."""
    report = found.report
    if len(report.predictions) < 2:
        return None
    listed = _disagreeing(found)[:LISTED]
    rows = []
    for row in listed.tolist():
        votes = found.votes[row]
        classes = np.argsort(-votes, kind="stable")[: np.count_nonzero(votes)].tolist()
        given = ", ".join(f"{digit} by {votes[digit]}" for digit in classes)
        label, sure = int(report.test[row].argmax()), 100 * float(report.test[row].max())
        agreeing = int(votes[label])
        cells = [Cell(f"{row + 1:,}", row + 1), Cell(str(label), label), cell_of(sure, ".1f")]
        rows.append([*cells, cell_of(agreeing, "d"), Cell(given, given)])
    headings = ("ImageId", "submitted", "sure, %", "agree", "what the nets say")
    return Table(headings, rows, _thumbnails(report.test_images, listed))


def disagreements_sentence(found: Found) -> str:
    """Say on how many test rows the nets disagree."""
    nets = len(found.report.predictions)
    if nets < 2:
        return "One net cannot disagree with itself: this needs at least two finished fits."
    count, rows = len(_disagreeing(found)), len(found.report.test)
    listed = f" The {LISTED} on which the fewest agree are listed." if count > LISTED else ""
    return f"The {nets} nets disagree on {count:,} of {count_of(rows, 'test row')}.{listed}"


def _thumbnails(images: np.ndarray | None, rows: np.ndarray) -> list[str]:
    if images is None:
        return []
    nothing = np.zeros(len(rows))
    return [t.image for t in digit_charts.gallery(images[rows], None, nothing, nothing)]


# Members


def ensembling_sentences(found: Found) -> Iterator[str]:
    """Yield what averaging has gained, a sentence each."""
    report, gained = found.report, found.ensembling
    if report.is_selected and (score := report.metrics.oof):
        yield (
            f"Out of fold the ensemble is right on {score.accuracy:.5f} of the rows "
            f"({score.errors:,} wrong of {score.rows:,}), each judged by weights that were "
            "selected without its fold."
        )
        yield SELECTED
    elif gained is None:
        yield NOTHING_HELD_OUT
        return
    elif len(gained.members) > 1:
        whole = gained.ensemble
        of_single = (1 - gained.single) * whole.rows
        yield (
            f"Out of fold a single net is right on {gained.single:.5f} of the rows, on average "
            f"({of_single:,.1f} wrong); the average of {len(gained.members)} members on "
            f"{whole.accuracy:.5f} ({whole.errors:,} wrong of {whole.rows:,} rows that all have "
            "predicted)."
        )
    else:
        yield (
            "Out of fold each row is predicted by one member's net alone, so averaging shows "
            "nothing there."
        )
    if len({fit.fold for fit in report.predictions}) > 1 and report.metrics.oof:
        gain = forecast.averaging_gain(report.predictions, report.metrics.oof, report.method)
        yield (
            f"On the test rows all {len(report.predictions)} nets are averaged, those of all "
            f"folds: judged by how they disagree, that adds about {gain:.5f} to the accuracy."
        )


def members_table(found: Found) -> Table | None:
    """List what each member adds; None where there is only one, or where no row shows it."""
    gained = found.ensembling
    if gained is None or not gained.members:
        return None
    rows = [
        [
            Cell(each.member, each.member),
            cell_of(each.alone.errors, ",d"),
            cell_of(each.alone.accuracy, ".5f"),
            cell_of(each.without.errors, ",d"),
            cell_of(each.repaired, ",d"),
            cell_of(each.spoilt, ",d"),
            cell_of(each.p_value, ".3g"),
        ]
        for each in gained.members
    ]
    headings = (
        "member",
        "wrong alone",
        "accuracy alone",
        "wrong without it",
        "rows it repairs",
        "rows it spoils",
        "p (McNemar)",
    )
    return Table(headings, rows)
