"""Record of an evaluation -> one HTML page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kaggle_digits.report import digit_charts, evaluation_tables, pages
from kaggle_digits.report.digit_charts import Tile
from kaggle_digits.report.pages import Card, Cell, Table, cell_of
from kaggle_digits.results.evaluation import Evaluation

MISTAKES = 60  # in the gallery
FIRST_MISTAKES = 24  # the others are shown when asked for


def page(found: Evaluation, images: np.ndarray | None) -> str:
    """Show an evaluation as one HTML page that needs nothing from elsewhere.

    Args:
        found: its record.
        images: (n, 28, 28) uint8 of the part that the rows are of; None: there is no gallery.

    Returns:
        The page; the same for the same record and images.
    """
    matrix, calibrated = np.array(found.confusion), found.calibrated
    warnings = [each for each in evaluation_tables.warnings(found) if each[0] != "DEMO DATA"]
    return pages.render(
        "evaluation.html",
        title=evaluation_tables.title(found),
        demo=evaluation_tables.DEMO if found.demo_data else None,
        warnings=warnings,
        cards=list(_cards(found)),
        confusion_chart=digit_charts.confusion_chart(matrix),
        mistakes_chart=digit_charts.mistakes_chart(matrix),
        calibration_chart=digit_charts.calibration_chart(
            found.calibration.arrays(), calibrated and calibrated.arrays()
        ),
        classes=_classes(found),
        tiles=_tiles(found, images),
        first_mistakes=FIRST_MISTAKES,
        mistakes=len(found.mistakes),
        facts=dict(_facts(found)),
    )


def _cards(found: Evaluation) -> Iterator[Card]:
    """Yield the figures on top of the page, the most important first."""
    low, high = found.score.interval
    notes = (
        f"{found.score.errors:,} of {found.score.rows:,} rows wrong",
        f"95 % interval {low:.5f} to {high:.5f}",
    )
    yield Card("accuracy", f"{found.score.accuracy:.5f}", notes)
    losses, errors = ("nats a row",), ("15 bins of confidence",)
    if found.calibrated:
        losses += (f"after a temperature {found.calibrated_log_loss:.5f}",)
        errors += (f"after a temperature {found.calibrated.expected_error:.5f}",)
    yield Card("log loss", f"{found.log_loss:.5f}", losses)
    error = found.calibration.expected_error
    yield Card("expected calibration error", f"{error:.5f}", errors)
    if known := found.with_training_rows:
        notes = (f"{known.errors:,} of {known.rows:,} rows wrong",)
        verdicts = (("bad", "not honest: nets know some of them by heart"),)
        yield Card("accuracy with known rows", f"{known.accuracy:.5f}", notes, verdicts)


def _classes(found: Evaluation) -> Table:
    return Table(
        ("digit", "precision", "recall", "F1", "rows"),
        [
            [
                Cell(f"{each.digit}", each.digit),
                *(cell_of(figure, ".5f") for figure in (each.precision, each.recall, each.f1)),
                cell_of(each.support, ",d"),
            ]
            for each in found.classes
        ],
    )


def _tiles(found: Evaluation, images: np.ndarray | None) -> list[Tile]:
    shown = found.mistakes[:MISTAKES]
    if images is None or not shown:
        return []
    rows, labels, predicted, confidence = (
        np.array([getattr(each, name) for each in shown])
        for name in ("row", "label", "predicted", "confidence")
    )
    names = [f"row {row + 1:,}" for row in rows]
    return digit_charts.gallery(images[rows], labels, predicted, confidence, names)


def _facts(found: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield what was evaluated: (heading, text)."""
    yield "run", found.run
    yield "rows", f"{found.source}, {found.part}"
    yield "nets", f"{found.nets:,}"
    if found.calibrated:
        yield "temperature", evaluation_tables.temperature_text(found)
    if found.rows_in_training is not None and not found.out_of_fold:
        yield "rows also in training", f"{found.rows_in_training:,}"
