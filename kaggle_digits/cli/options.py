"""Options that several commands have, and what they mean."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.errors import UserError
from kaggle_digits.system.time_budget import TimeBudget, parse_duration

STARTED = time.monotonic()  # a time limit counts from here


# Options with this callback are strings for Typer, because a Path has lost an empty value already,
# and paths for the commands.
def path_of(parameter: typer.CallbackParam, value: str | None) -> Path | None:
    """Return an option's value as a path, None where it is not given."""
    # An unset shell variable gives ""; its path would be the working folder.
    if value is not None and value.strip() == "":
        raise UserError(
            f"{parameter.opts[0]}: expected a path, found nothing; leave it out, or give one"
        )
    return None if value is None else Path(value)


ConfigOption = Annotated[
    str,
    typer.Option(help="A shipped config (quick, standard, best) or the path of a YAML file."),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        callback=path_of,
        help="Folder or zip with train.csv and test.csv. Without it: KAGGLE_DIGITS_DATA, data/, "
        "Kaggle's own folders, else small demo data.",
    ),
]
CacheOption = Annotated[
    str | None,
    typer.Option(
        callback=path_of,
        help="Cache folder. Without it: KAGGLE_DIGITS_CACHE, else the user's cache.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: train.epochs=5."),
]

TimeLimitOption = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="End within this time, counted from the start of the command, with a valid "
        "submission: 8h30m, 45m, 90s. Repeat the command to continue.",
    ),
]
VersionsOption = Annotated[
    bool,
    typer.Option(
        "--allow-changed-versions",
        help="Continue in a folder that was begun with other package versions.",
    ),
]
LeakOption = Annotated[
    bool,
    typer.Option(
        "--allow-leak", help="Accept test rows that are also in the training data; see README."
    ),
]


def budget_of(context: typer.Context, time_limit: str | None) -> TimeBudget:
    """Return the time that a command has, which runs from the start of the process."""
    limit = None if time_limit is None else parse_duration(time_limit)
    return TimeBudget(limit, context.obj, STARTED)


def how_to_continue() -> str:
    """Return what people do after a stop."""
    return "repeat the command" + " without --restart" * ("--restart" in sys.argv)
