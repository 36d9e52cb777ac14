"""`kaggle-digits check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def check(
    target: Annotated[
        Path, typer.Argument(metavar="DIR|FILE", help="The folder of a run, or a submission file.")
    ],
    rows: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Rows expected. Without it: as the run's manifest, else 28000."
        ),
    ] = None,
) -> None:
    """Check a submission as Kaggle would, and for labels that cannot be right."""
    from kaggle_digits.data import submission_csv
    from kaggle_digits.data.competition import TEST_ROWS
    from kaggle_digits.storage.submission_files import (
        expected_rows,
        submission_file,
        why_not_for_upload,
    )
    from kaggle_digits.system.console import count_of, fit_to_terminal

    file = submission_file(target)
    expected = rows or expected_rows(file, default=TEST_ROWS)
    reason = why_not_for_upload(file)
    labels = submission_csv.check_file(file, expected, balanced=reason is None)
    unfit = ""
    if reason:
        unfit = f"; NOT FOR UPLOAD: {reason}"
    elif len(labels) != TEST_ROWS:
        unfit = f"; NOT FOR UPLOAD: the competition's has {TEST_ROWS:,} rows"
    text = f"{file}: a valid submission of {count_of(len(labels), 'row')}{unfit}"
    typer.echo(fit_to_terminal(text, sys.stdout))
