"""Options that several commands have, and what they mean."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaggle_digits.errors import UserError
from kaggle_digits.system.time_budget import TimeBudget, parse_duration

if TYPE_CHECKING:
    from kaggle_digits.system.console import Reporter

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


# As a callback of a group. Typer's own no_args_is_help ends with status 2.
def help_without_command(context: typer.Context) -> None:
    """Print the help of a group of commands where none of them is given."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def config_names() -> list[str]:
    """List the shipped configs, for shell completion."""
    from kaggle_digits.config import loading

    return [*loading.shipped_names(), *loading.peer_names()]


ConfigOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        autocompletion=config_names,
        help="A shipped config (quick, lunch-break, standard, best, detuned, peers/NAME) or the "
        "path of a YAML file; see kaggle-digits config list.",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        callback=path_of,
        metavar="PATH",
        help="Folder or zip with train.csv and test.csv; or, not for upload: mnist, MNIST in CSV, "
        "a folder of images, a NumPy file. Without it: KAGGLE_DIGITS_DATA, data/, Kaggle's own "
        "folders, else small demo data.",
    ),
]
DataOfRunOption = Annotated[
    str | None,
    typer.Option(
        callback=path_of,
        metavar="PATH",
        help="As for run. Without it: where the run had its data from.",
    ),
]
CacheOption = Annotated[
    str | None,
    typer.Option(
        callback=path_of,
        metavar="FOLDER",
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
        "--allow-leak",
        help="Accept test rows that are also in the training data; see data/README.md.",
    ),
]
ReportOption = Annotated[
    bool,
    typer.Option(
        " /--no-report",
        help="Do not make report.html, the page of the run, at its end and while it goes on; "
        "kaggle-digits report makes it later.",
    ),
]

ProgressOption = Annotated[
    str,
    typer.Option(
        autocompletion=lambda: ["auto", "rich", "plain", "none"],
        metavar="[auto|rich|plain|none]",
        help="rich: a moving bar and colours; plain: lines, at most 100 of progress; none: "
        "messages and the result only; auto: rich on a terminal, plain elsewhere and in notebooks.",
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Write warnings and the result only.")
]


def budget_of(context: typer.Context, time_limit: str | None, reporter: Reporter) -> TimeBudget:
    """Return the time that a command has, which runs from the start of the process."""
    limit = None if time_limit is None else parse_duration(time_limit)
    context.obj.announce = partial(reporter.say, important=True)
    return TimeBudget(limit, context.obj, STARTED)


def how_to_continue() -> str:
    """Return what people do after a stop."""
    return "repeat the command" + " without --restart" * ("--restart" in sys.argv)
