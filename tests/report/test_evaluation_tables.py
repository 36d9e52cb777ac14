"""What the terminal shows of an evaluation made by hand."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from found_evaluation import FOUND
from rich.console import Console

from kaggle_digits.report import evaluation_tables

PAGE = Path("runs/quick-1/evaluation-digits/evaluation.html")


def facts_of(found):
    [(heading, facts)] = evaluation_tables.evaluation_result(found, PAGE).sections.items()
    return heading, [(fact.label, fact.value) for fact in facts]


def lines(table):
    console = Console(width=80, file=StringIO(), color_system=None)
    console.print(table)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_result():
    assert facts_of(FOUND) == (
        "Evaluation of quick-1 on digits.npz",
        [
            ("KNOWN ROWS", "2 rows of 10 are also in the run's training data, and left out"),
            ("accuracy", "0.87500 (1 of 8 rows wrong)"),
            ("95 % interval", "0.53000 to 0.98000"),
            ("log loss", "0.25000"),
            ("calibration error", "0.02500"),
            ("after a temperature", "log loss 0.24000, calibration error 0.00500"),
            ("", "1.250, fitted on the run's out-of-fold predictions"),
            ("with known rows", "0.90000 (1 of 10 rows wrong); not honest"),
            ("page", str(PAGE)),
        ],
    )


def test_result_out_of_fold():
    found = replace(
        FOUND,
        out_of_fold=True,
        temperature=None,
        rows_in_training=0,
        with_training_rows=None,
        optimistic=True,
        demo_data=True,
    )
    heading, facts = facts_of(found)
    assert heading == "Evaluation of quick-1, out of fold"
    assert [label for label, _ in facts[:3]] == ["DEMO DATA", "OPTIMISTIC", "accuracy"]
    assert ("", "each fold's is fitted on the other folds") in facts
    assert "with known rows" not in dict(facts)


@pytest.mark.parametrize(
    ("because", "reasons"),
    [
        ((), ["a search"]),
        (("search",), ["a search"]),
        (("training",), ["each fit"]),
        (("search", "training"), ["a search", "each fit"]),
    ],
)
def test_why_figures_are_optimistic(because, reasons):
    found = replace(FOUND, rows_in_training=0, optimistic=True, optimistic_because=because)
    said = list(evaluation_tables.warnings(found))
    assert [(label, text[:8]) for label, text in said] == [("OPTIMISTIC", why) for why in reasons]


@pytest.mark.parametrize(
    ("rows", "label", "text"),
    [
        (None, "NOT CHECKED", "the run's training data was not found"),
        (1, "KNOWN ROWS", "1 row of 9 is also in the run's training data"),
    ],
)
def test_what_is_known_of_training_rows(rows, label, text):
    [(found, said)] = evaluation_tables.warnings(replace(FOUND, rows_in_training=rows))
    assert (found, said[: len(text)]) == (label, text)


def test_without_a_temperature_nothing_is_said_of_it():
    _, facts = facts_of(replace(FOUND, temperature=None, calibrated=None, calibrated_log_loss=None))
    assert "after a temperature" not in dict(facts)


def test_class_table():
    found = lines(evaluation_tables.class_table(FOUND))
    assert "digit precision recall F1 rows" in found
    assert "3 - 0.50000 - 3" in found


def test_confusion_table():
    found = lines(evaluation_tables.confusion_table(FOUND))
    assert "label as 0 as 1 as 2 as 3 as 4 as 5 as 6 as 7 as 8 as 9" in found
    assert "1 . 7 . . . . . . . ." in found
    assert "4 . . . . . . . . . 1" in found
