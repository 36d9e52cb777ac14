"""`kaggle-digits runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.cli.options import path_of
from kaggle_digits.errors import UserError


def runs(
    root: Annotated[
        str, typer.Option(callback=path_of, metavar="FOLDER", help="Where the folders are.")
    ] = "submissions",
    sort: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="Column to sort by: date, name, accuracy, kaggle, seconds, ...; names, costs and "
            "errors from the lowest, all else from the highest.",
        ),
    ] = "date",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for other programs.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for other programs.")] = False,
) -> None:
    """List runs and searches with their scores and costs."""
    from kaggle_digits.analysis import run_list
    from kaggle_digits.report.run_list_table import run_list_table
    from kaggle_digits.system.console import Reporter

    if as_json and as_csv:
        raise UserError("runs: expected --json or --csv, found both; choose one of them")
    entries = run_list.in_order(run_list.find(Path(root)), sort)
    if as_json:
        typer.echo(run_list.table(entries).to_json(orient="records", indent=2, double_precision=15))
    elif as_csv:
        typer.echo(run_list.table(entries).to_csv(index=False), nl=False)
    elif entries:
        Reporter().show(run_list_table(entries))
    else:
        typer.echo(f"{root}: no runs yet; kaggle-digits run makes one")
