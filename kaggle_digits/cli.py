"""The command line: options of each command -> a call of the stage that does it.

Heavy imports wait until a command needs them, so that help and refusals come at once.
"""

from __future__ import annotations

import signal
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.errors import UserError, explained
from kaggle_digits.system.time_budget import Signals, Stopped, TimeBudget, parse_duration

STARTED = time.monotonic()  # a time limit counts from here

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Kaggle's Digit Recognizer: from train.csv and test.csv to a checked submission.csv.",
)


# Options with this callback are strings for Typer, because a Path has lost an empty value already,
# and paths for the commands.
def _path(parameter: typer.CallbackParam, value: str | None) -> Path | None:
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
        callback=_path,
        help="Folder or zip with train.csv and test.csv. Without it: KAGGLE_DIGITS_DATA, data/, "
        "Kaggle's own folders, else small demo data.",
    ),
]
CacheOption = Annotated[
    str | None,
    typer.Option(
        callback=_path,
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


@app.command()
def run(
    context: typer.Context,
    config: ConfigOption = "quick",
    data: DataOption = None,
    out: Annotated[
        str | None,
        typer.Option(
            callback=_path,
            help="Run folder. Without it: the newest unfinished one of the same config and data "
            "under submissions/, else a new one there.",
        ),
    ] = None,
    cache: CacheOption = None,
    set_: SetOption = None,
    time_limit: TimeLimitOption = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Delete what the run folder holds and start from the beginning."
        ),
    ] = False,
    allow_changed_versions: VersionsOption = False,
    allow_leak: LeakOption = False,
) -> None:
    """Train the ensemble and write a checked submission.csv; repeat the command to continue."""
    from kaggle_digits.config import loading
    from kaggle_digits.runs import pipeline
    from kaggle_digits.storage.cache import cache_folder
    from kaggle_digits.system.console import Reporter

    reporter = Reporter()
    options = pipeline.RunOptions(
        *loading.resolve(config, set_ or (), reporter.say),
        data=data,
        out=out,
        cache=cache_folder(cache),
        restart=restart,
        allow_changed_versions=allow_changed_versions,
        allow_leak=allow_leak,
        how_to_continue=_how_to_continue(),
    )
    pipeline.run(options, reporter, _budget(context, time_limit))


@app.command()
def extend(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Seeds of each member in total: 3 adds copies cnn_2 and cnn_3 of cnn."
        ),
    ] = None,
    member: Annotated[
        list[str] | None, typer.Option(help="With --seeds: only this member; repeatable.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Add this config's members: a shipped name or a path.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Add to the run's config: members.big={}"),
    ] = None,
    data: DataOption = None,
    cache: CacheOption = None,
    time_limit: TimeLimitOption = None,
    allow_changed_versions: VersionsOption = False,
    allow_leak: LeakOption = False,
) -> None:
    """Add members or seeds to a run: only their fits are trained, then all are averaged again."""
    from kaggle_digits.config import extension, loading
    from kaggle_digits.runs import pipeline
    from kaggle_digits.storage.cache import cache_folder
    from kaggle_digits.storage.run_folder import RunFolder
    from kaggle_digits.system.console import Reporter

    run_folder, reporter = RunFolder(folder), Reporter()
    if not run_folder.has_config():
        raise UserError(f"{folder}: expected the folder of a run, found no config.yaml in it")
    run_folder.check_usable()
    of_run = loading.load(str(run_folder.config), say=lambda line: None)
    extended = loading.load(str(run_folder.config), set_ or (), say=reporter.say)
    if config is not None:
        other = loading.load(config, say=reporter.say)
        extended = extension.with_members_of(extended, other, config)
    if seeds is not None:
        extended = extension.with_seeds(extended, seeds, member or ())
    elif member:
        raise UserError("--member: expected --seeds N with it, found none; it names whose seeds")
    if (config, seeds, set_) == (None, None, None):
        raise UserError(
            "extend: expected what to add, found nothing; give --seeds, --config, --set"
        )
    extension.check_extends(extended, of_run, str(folder))
    options = pipeline.RunOptions(
        config=extended,
        name=folder.name,
        data=data,
        out=folder,
        root=folder.parent,
        cache=cache_folder(cache),
        allow_changed_versions=allow_changed_versions,
        allow_leak=allow_leak,
    )
    pipeline.run(options, reporter, _budget(context, time_limit))


@app.command()
def tune(
    context: typer.Context,
    config: ConfigOption = "quick",
    data: DataOption = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trials in total. Without it: tune.max_trials, else 20; all of a grid.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            callback=_path,
            help="Search folder. Without it: the newest unfinished one of the same config and data "
            "under submissions/, else a new one there.",
        ),
    ] = None,
    save: Annotated[
        str | None,
        typer.Option(callback=_path, help="Also write the best config here: configs/NAME.yaml."),
    ] = None,
    max_seconds_per_fit: Annotated[
        float | None,
        typer.Option(min=0, help="End trials whose fits would train longer than this."),
    ] = None,
    max_parameters: Annotated[
        int | None,
        typer.Option(min=1, help="Refuse trials whose nets have more parameters than this."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Also compare the best config with this one, on the holdout folds: a shipped name "
            "or a path; repeatable."
        ),
    ] = None,
    cache: CacheOption = None,
    set_: SetOption = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="End within this time, with the best config so far: 8h30m, 45m, 90s. Repeat the "
            "command to continue.",
        ),
    ] = None,
    allow_changed_versions: VersionsOption = False,
) -> None:
    """Search the settings in the config's tune section; repeat the command to continue."""
    from kaggle_digits.config import loading
    from kaggle_digits.storage.cache import cache_folder
    from kaggle_digits.system.console import Reporter
    from kaggle_digits.tuning import search, search_plan

    reporter = Reporter()
    options = search_plan.TuneOptions(
        *loading.resolve(config, set_ or (), reporter.say),
        data=data,
        out=out,
        cache=cache_folder(cache),
        trials=trials,
        save=save,
        max_seconds_per_fit=max_seconds_per_fit,
        max_parameters=max_parameters,
        against={name: loading.load(name, say=reporter.say) for name in against or ()},
        allow_changed_versions=allow_changed_versions,
    )
    search.tune(options, reporter, _budget(context, time_limit))


@app.command()
def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A run's or search's folder to check as well."),
    ] = None,
    config: ConfigOption = "quick",
    data: DataOption = None,
    cache: CacheOption = None,
) -> None:
    """Check the installation and, if one is given, a run's or search's folder."""
    from kaggle_digits.config import loading
    from kaggle_digits.diagnostics import doctor
    from kaggle_digits.storage.cache import cache_folder
    from kaggle_digits.system.console import Reporter

    reporter = Reporter()
    resolved, name = loading.resolve(config, (), reporter.say)
    doctor.examine(resolved, name, data, cache_folder(cache), folder, reporter)


def _budget(context: typer.Context, time_limit: str | None) -> TimeBudget:
    limit = None if time_limit is None else parse_duration(time_limit)
    return TimeBudget(limit, context.obj, STARTED)


def _how_to_continue() -> str:
    return "repeat the command" + " without --restart" * ("--restart" in sys.argv)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The submission to check.")],
    rows: Annotated[
        int | None,
        typer.Option(min=1, help="Rows expected. Without it: as the run's manifest, else 28000."),
    ] = None,
) -> None:
    """Check a submission as Kaggle would, and for labels that cannot be right."""
    from kaggle_digits.data import submission_csv
    from kaggle_digits.data.competition import TEST_ROWS
    from kaggle_digits.storage.run_folder import expected_rows, is_demo

    expected = rows or expected_rows(file, default=TEST_ROWS)
    labels = submission_csv.check_file(file, expected)
    unfit = ""
    if is_demo(file):
        unfit = "; NOT FOR UPLOAD: it is of DEMO DATA"
    elif len(labels) != TEST_ROWS:
        unfit = f"; NOT FOR UPLOAD: the competition's has {TEST_ROWS:,} rows"
    typer.echo(f"{file}: a valid submission of {len(labels):,} rows{unfit}")


@app.command()
def bench(config: ConfigOption = "quick", data: DataOption = None) -> None:
    """Measure this machine against bare Keras and Deotte's net; estimate each config's time."""
    from kaggle_digits.config import loading
    from kaggle_digits.diagnostics import benchmark
    from kaggle_digits.system.console import Reporter

    reporter = Reporter()
    resolved, name = loading.resolve(config, (), reporter.say)
    benchmark.run(resolved, name, data, reporter)


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
        _fail(f"stopped by {number.name}; {_how_to_continue()} to continue", 128 + number)
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
