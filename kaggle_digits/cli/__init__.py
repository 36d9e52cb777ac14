"""The command line: each command is in a module of its name, its options -> a call of a stage.

Heavy imports wait until a command needs them, so that help and refusals come at once.
"""

from __future__ import annotations

import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from kaggle_digits.cli import bench, check, doctor, extend, run, tune
from kaggle_digits.cli.options import how_to_continue
from kaggle_digits.errors import UserError, explained
from kaggle_digits.system.time_budget import Signals, Stopped

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Kaggle's Digit Recognizer: from train.csv and test.csv to a checked submission.csv.",
)
for _command in (run.run, extend.extend, tune.tune, doctor.doctor, check.check, bench.bench):
    app.command()(_command)


def _print_version(asked: bool) -> None:
    if asked:
        try:
            typer.echo(f"kaggle-digits {version('kaggle-digits')}")
        except PackageNotFoundError:
            typer.echo("kaggle-digits, not installed")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line; what a user can cause ends in one line and status 2."""
    signals = Signals(owns_process=True)
    command = typer.main.get_command(app)
    try:
        with signals.watched():
            status = command.main(prog_name="kaggle-digits", standalone_mode=False, obj=signals)
    except UserError as error:
        _fail(str(error))
    except Stopped as stopped:
        number = signal.Signals(stopped.number)
        _fail(f"stopped by {number.name}; {how_to_continue()} to continue", 128 + number)
    except OSError as error:
        _fail(str(explained(error)))
    except Exception as error:
        # Usage errors (unknown option, missing value) have this method. Their class does not show
        # it, because typer may bring its own copy of click.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        _fail(f"{message()} (kaggle-digits --help lists the commands and their options)")
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int = 2) -> None:
    print(f"kaggle-digits: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)
