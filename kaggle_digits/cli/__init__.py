"""The command line: each command is in a module of its name, its options -> a call of a stage.

Heavy imports wait until a command needs them, so that help and refusals come at once.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from kaggle_digits.cli import (
    bench,
    check,
    classify,
    compare,
    config,
    data,
    doctor,
    ensemble,
    evaluate,
    export,
    extend,
    kernel,
    report,
    run,
    runs,
    submit,
    tune,
)
from kaggle_digits.cli.options import help_without_command, how_to_continue
from kaggle_digits.errors import UserError, explained
from kaggle_digits.system.time_budget import SIGNALS, Signals, Stopped

# What Typer's and Click's versions say -> what people read.
PLAIN_WORDS = {
    r"Input should be greater than or equal to (\d+)": r"expected at least \1",
    r"\S+ is not in the range x>=(\d+)\.": r"expected at least \1",
    r"(?<=: )(Input should be|'.*' is not) a valid integer.*": "expected a whole number",
    r"(?<=: )(Input should be|'.*' is not) a valid (number|float).*": "expected a number",
    r"No such option '(\S+)'\.": r"No such option: \1",
    r"(Did you mean .+?\?) \1": r"\1",
}
HELP_OPTIONS = {"help_option_names": ["-h", "--help"], "max_content_width": 120}

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=HELP_OPTIONS,
    help="Kaggle's Digit Recognizer: from train.csv and test.csv to a checked submission.csv.",
)
COMMANDS = {
    "run": run.run,
    "extend": extend.extend,
    "tune": tune.tune,
    "report": report.report,
    "evaluate": evaluate.evaluate,
    "classify": classify.classify,
    "runs": runs.runs,
    "compare": compare.compare,
    "ensemble": ensemble.ensemble,
    "check": check.check,
    "submit": submit.submit,
    "submissions": submit.list_submissions,
    "export": export.export,
    "bench": bench.bench,
    "doctor": doctor.doctor,
}
for _name, _command in COMMANDS.items():
    _summary = _command.__doc__.partition("\n\n")[0]  # whole, where Typer's own would be cut off
    app.command(_name, short_help=_summary)(_command)
GROUPS = {"data": data.app, "kernel": kernel.app, "config": config.app}
for _name, _group in GROUPS.items():
    app.add_typer(_group, name=_name, short_help=_group.info.help)


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
    help_without_command(context)


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
        number, advice = stopped.number, stopped.advice or f"{how_to_continue()} to continue"
        _fail(f"stopped by {SIGNALS[number]}; {advice}", 128 + number)
    except OSError as error:
        _fail(str(explained(error)))
    except Exception as error:
        # Usage errors (unknown option, missing value) have this method. Their class does not show
        # it, because typer may bring its own copy of click.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        context = getattr(error, "ctx", None)
        asked = context.command_path if context else "kaggle-digits"
        text = message()
        for words, plain in PLAIN_WORDS.items():
            text = re.sub(words, plain, text)
        _fail(f"{text} ({asked} --help lists what there is)")
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int = 2) -> None:
    text = f"kaggle-digits: {' '.join(message.split())}"
    if sys.stderr.isatty():
        from kaggle_digits.system.console import fit_to_terminal

        text = "\r" + fit_to_terminal(text, sys.stderr)  # over the terminal's own ^C
    print(text, file=sys.stderr)
    sys.exit(status)
