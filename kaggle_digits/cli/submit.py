"""`kaggle-digits submit` and `kaggle-digits submissions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.cli.options import ProgressOption, QuietOption
from kaggle_digits.errors import UserError


def submit(
    target: Annotated[
        Path, typer.Argument(metavar="DIR|FILE", help="The folder of a run, or a submission file.")
    ],
    message: Annotated[
        str | None,
        typer.Option(
            "--message",
            "-m",
            metavar="TEXT",
            help="What is written with it at Kaggle. Without it: the run and its score.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do all but the upload.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for the score, at most ten minutes.")] = True,
    again: Annotated[
        bool, typer.Option("--again", help="Upload a file that was uploaded before.")
    ] = False,
    provisional: Annotated[
        bool,
        typer.Option("--provisional", help="Upload predictions of an unfinished fit, too."),
    ] = False,
    progress: ProgressOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Check a submission, upload it to Kaggle and show its score beside the expected one."""
    from kaggle_digits.kaggle import gate, submission_tables, submissions
    from kaggle_digits.kaggle.ledger import Ledger
    from kaggle_digits.system.console import Reporter

    reporter = Reporter(progress=progress, quiet=quiet)
    options = submissions.SubmitOptions(message, again=again, dry_run=dry_run, wait=wait)
    candidate = gate.checked(target, provisional)
    if entry := submissions.submit(candidate, options, Ledger(), reporter):
        reporter.show(submission_tables.submit_result(entry, candidate.metrics))


def list_submissions() -> None:
    """List what was submitted: the ledger beside what Kaggle knows."""
    from kaggle_digits.kaggle import submission_tables, submissions
    from kaggle_digits.kaggle.ledger import Ledger
    from kaggle_digits.system.console import Reporter

    reporter, ledger = Reporter(), Ledger()
    try:
        entries, listed = submissions.refreshed(ledger, reporter)
    except UserError:
        if entries := ledger.read():  # what is known here is shown all the same
            reporter.show(submission_tables.table(entries))
        raise
    if not entries and not listed:
        reporter.say("nothing was submitted yet; kaggle-digits submit DIR uploads a submission")
        return
    reporter.show(submission_tables.table(entries, listed))
