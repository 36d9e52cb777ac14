"""Record of an evaluation -> what the terminal shows: the score first, then tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.table import Table

from kaggle_digits.report import run_tables
from kaggle_digits.results.evaluation import Evaluation
from kaggle_digits.scoring.ensemble import CLASSES, Score
from kaggle_digits.system.console import Fact, Facts, count_of

DEMO = "the run was trained on scikit-learn's small digits: its figures mean nothing for others"
CROSS_FITTED = "each fold's is fitted on the other folds"


def evaluation_result(found: Evaluation, page: Path) -> Facts:
    """Show the figures of an evaluation.

    Args:
        found: its record.
        page: where its page is.

    Returns:
        Facts under a heading.
    """
    facts = [Fact(label, text, "warning") for label, text in warnings(found)]
    low, high = found.score.interval
    facts += [
        Fact("accuracy", score_text(found.score), "good"),
        Fact("95 % interval", f"{low:.5f} to {high:.5f}"),
        Fact("log loss", f"{found.log_loss:.5f}"),
        Fact("calibration error", f"{found.calibration.expected_error:.5f}"),
    ]
    if found.calibrated:
        text = f"log loss {found.calibrated_log_loss:.5f}, calibration error "
        text += f"{found.calibrated.expected_error:.5f}"
        facts += [Fact("after a temperature", text), Fact("", temperature_text(found))]
    if found.with_training_rows:
        text = f"{score_text(found.with_training_rows)}; not honest"
        facts.append(Fact("with known rows", text))
    facts.append(Fact("page", str(page), "strong"))
    return Facts({title(found): facts})


def title(found: Evaluation) -> str:
    """Return what an evaluation is called."""
    if found.out_of_fold:
        return f"Evaluation of {found.run}, out of fold"
    return f"Evaluation of {found.run} on {found.source}"


def warnings(found: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield what people have to know before they trust the figures: (label, text)."""
    if found.demo_data:
        yield "DEMO DATA", DEMO
    yield from ((fact.label, fact.value) for fact in run_tables.optimism(found))
    if found.rows_in_training is None:
        text = "the run's training data was not found, so some of these rows may be in it"
        yield "NOT CHECKED", text
    elif found.rows_in_training:
        rows = count_of(found.rows_in_training, "row")
        total = found.rows_in_training + found.score.rows
        verb = "is" if found.rows_in_training == 1 else "are"
        text = f"{rows} of {total:,} {verb} also in the run's training data, and left out"
        yield "KNOWN ROWS", text


def score_text(score: Score) -> str:
    """Write an accuracy with its counts."""
    return f"{score.accuracy:.5f} ({score.errors:,} of {count_of(score.rows, 'row')} wrong)"


def temperature_text(found: Evaluation) -> str:
    """Say where the temperature of an evaluation comes from."""
    if found.temperature is None:
        return CROSS_FITTED
    return f"{found.temperature:.3f}, fitted on the run's out-of-fold predictions"


def class_table(found: Evaluation) -> Table:
    """Show precision, recall and F1 of each digit."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("digit", "precision", "recall", "F1", "rows"):
        table.add_column(heading, justify="right")
    for each in found.classes:
        figures = (each.precision, each.recall, each.f1)
        cells = ("-" if figure is None else f"{figure:.5f}" for figure in figures)
        table.add_row(f"{each.digit}", *cells, f"{each.support:,}")
    return table


def confusion_table(found: Evaluation) -> Table:
    """Show the confusion matrix, a line for each label; dots are zeros."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("label", justify="right")
    for predicted in range(CLASSES):
        table.add_column(f"as {predicted}", justify="right")
    for label, counts in enumerate(found.confusion):
        table.add_row(f"{label}", *(f"{count}" if count else "." for count in counts))
    return table
