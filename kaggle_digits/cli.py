"""The command line: one command a stage; heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.errors import UserError
from kaggle_digits.system.time_budget import Stopped, TimeBudget, parse_duration

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Kaggle's Digit Recognizer: from train.csv and test.csv to a checked submission_csv.csv.",
)

ConfigOption = Annotated[
    str,
    typer.Option(help="A shipped config (quick, standard, best) or the path of a YAML file."),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="Folder or zip with train.csv and test.csv. Without it: KAGGLE_DIGITS_DATA, data/, "
        "Kaggle's own folders, else small demo data."
    ),
]
CacheOption = Annotated[
    str | None,
    typer.Option(help="Cache folder. Without it: KAGGLE_DIGITS_CACHE, else the user's cache."),
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
        "submission: 8h30m, 45m, 90s. The same command goes on later.",
    ),
]
VersionsOption = Annotated[
    bool,
    typer.Option(
        "--allow-changed-versions",
        help="Go on in a run folder that other package versions have begun.",
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
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
            help="Run folder. Without it: the newest unfinished one of the same config and data "
            "under submissions/, else a new one there."
        ),
    ] = None,
    cache: CacheOption = None,
    set_: SetOption = None,
    time_limit: TimeLimitOption = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Delete what the run folder holds and start over.")
    ] = False,
    allow_changed_versions: VersionsOption = False,
) -> None:
    """Train the ensemble and write a checked submission_csv.csv; repeated, it goes on."""
    from kaggle_digits.config import loading
    from kaggle_digits.runs import pipeline
    from kaggle_digits.system.console import Reporter

    _refuse_empty_paths(("--data", data), ("--out", out), ("--cache", cache))
    request = pipeline.Request(
        config=loading.load(config, set_ or ()),
        name=Path(config).stem,
        data=data,
        out=Path(out) if out else None,
        root=Path("submissions"),
        cache=_cache_folder(cache),
        restart=restart,
        allow_changed_versions=allow_changed_versions,
    )
    pipeline.run(request, Reporter(), _limited(context, time_limit))


@app.command()
def extend(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Seeds of each member in all: 3 adds copies cnn_2 and cnn_3 of cnn."
        ),
    ] = None,
    member: Annotated[
        list[str] | None, typer.Option(help="With --seeds: only this member; repeatable.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="A config whose members are added: a name or a path.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Add to the run's config: members.big={}"),
    ] = None,
    data: DataOption = None,
    cache: CacheOption = None,
    time_limit: TimeLimitOption = None,
    allow_changed_versions: VersionsOption = False,
) -> None:
    """Add members or seeds to a run: only their fits are trained, then all are averaged anew."""
    from kaggle_digits.config import extension, loading
    from kaggle_digits.runs import pipeline
    from kaggle_digits.system.console import Reporter

    _refuse_empty_paths(("--data", data), ("--cache", cache))
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: expected the folder of a run, found no config.yaml in it")
    of_run = loading.load(str(folder / "config.yaml"))
    wanted = loading.load(str(folder / "config.yaml"), set_ or ())
    if config is not None:
        wanted = extension.with_members_of(wanted, loading.load(config), config)
    if seeds is not None:
        wanted = extension.with_seeds(wanted, seeds, member or ())
    elif member:
        raise UserError("--member: expected --seeds N with it, found none; it names whose seeds")
    if (config, seeds, set_) == (None, None, None):
        raise UserError(
            "extend: expected what to add, found nothing; give --seeds, --config, --set"
        )
    extension.check_extends(wanted, of_run, str(folder))
    request = pipeline.Request(
        config=wanted,
        name=folder.name,
        data=data,
        out=folder,
        root=folder.parent,
        cache=_cache_folder(cache),
        allow_changed_versions=allow_changed_versions,
    )
    pipeline.run(request, Reporter(), _limited(context, time_limit))


@app.command()
def tune(
    context: typer.Context,
    config: ConfigOption = "quick",
    data: DataOption = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, help="Trials in all. Without it: tune.max_trials, else 20, of a grid all."
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="Search folder. Without it: the newest unfinished one of the same config and data "
            "under submissions/, else a new one there."
        ),
    ] = None,
    save: Annotated[
        str | None, typer.Option(help="Write the best config here too: configs/NAME.yaml.")
    ] = None,
    max_seconds_per_fit: Annotated[
        float | None, typer.Option(min=0, help="No trial whose fits train longer than this.")
    ] = None,
    max_parameters: Annotated[
        int | None, typer.Option(min=1, help="No trial whose nets have more parameters than this.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Hold the best against this config too, on the untouched folds: a name or a path; "
            "repeatable."
        ),
    ] = None,
    cache: CacheOption = None,
    set_: SetOption = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="End within this time, with the best config so far: 8h30m, 45m, 90s. The same "
            "command goes on later.",
        ),
    ] = None,
    allow_changed_versions: VersionsOption = False,
) -> None:
    """Search the settings in the config's tune section with KerasTuner; repeated, it goes on."""
    from kaggle_digits.config import loading
    from kaggle_digits.system.console import Reporter
    from kaggle_digits.tuning import search

    _refuse_empty_paths(("--data", data), ("--out", out), ("--cache", cache), ("--save", save))
    request = search.Request(
        config=loading.load(config, set_ or ()),
        name=Path(config).stem,
        data=data,
        out=Path(out) if out else None,
        root=Path("submissions"),
        cache=_cache_folder(cache),
        trials=trials,
        save=Path(save) if save else None,
        seconds_per_fit=max_seconds_per_fit,
        parameters=max_parameters,
        against={name: loading.load(name) for name in against or ()},
        allow_changed_versions=allow_changed_versions,
    )
    search.tune(request, Reporter(), _limited(context, time_limit))


@app.command()
def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="The folder of a run or a search to check too."),
    ] = None,
    config: ConfigOption = "quick",
    data: DataOption = None,
    cache: CacheOption = None,
) -> None:
    """Check the installation, and what a run's or search's folder holds."""
    from kaggle_digits.config import loading
    from kaggle_digits.diagnostics import doctor
    from kaggle_digits.system.console import Reporter

    _refuse_empty_paths(("--data", data), ("--cache", cache))
    doctor.examine(
        loading.load(config), Path(config).stem, data, _cache_folder(cache), folder, Reporter()
    )


def _refuse_empty_paths(*options: tuple[str, str | None]) -> None:
    for name, value in options:
        # An unset shell variable; a path of "" would be the working folder.
        if value is not None and value.strip() == "":
            raise UserError(f"{name}: expected a path, found nothing; leave it out, or give one")


def _limited(context: typer.Context, time_limit: str | None) -> TimeBudget:
    stop: TimeBudget = context.obj
    if time_limit is not None:
        stop.limit = parse_duration(time_limit)
    return stop


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
    from kaggle_digits.storage.run_folder import expected_rows, is_demo

    labels = submission_csv.check_file(file, rows or expected_rows(file))
    demo = " of DEMO DATA, NOT FOR UPLOAD" if is_demo(file) else ""
    typer.echo(f"{file}: a valid submission{demo} of {len(labels):,} rows")


@app.command()
def bench(config: ConfigOption = "quick", data: DataOption = None) -> None:
    """Measure this machine beside bare Keras and Deotte's net; estimate each config's time."""
    from kaggle_digits.config import loading
    from kaggle_digits.diagnostics import benchmark
    from kaggle_digits.system.console import Reporter

    benchmark.run(loading.load(config), Path(config).stem, data, Reporter())


def _cache_folder(option: str | None) -> Path:
    from kaggle_digits.storage.cache import default_cache

    given = option or os.environ.get("KAGGLE_DIGITS_CACHE")
    return Path(given).expanduser() if given else default_cache()


def main() -> None:
    """Run the command line; what a user can cause ends in one line and status 2."""
    stop = TimeBudget()
    stop.watch()
    command = typer.main.get_command(app)
    try:
        status = command.main(prog_name="kaggle-digits", standalone_mode=False, obj=stop)
    except UserError as error:
        _fail(str(error))
    except Stopped as stopped:
        number = signal.Signals(stopped.number)
        _fail(f"stopped by {number.name}; {stop.advice} to go on", 128 + number)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}; mend that and repeat the command")
    except Exception as error:
        # Usage errors (unknown option, missing value) have this method. They are not told by their
        # class, because typer may bring its own copy of click.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        _fail(f"{message()} (kaggle-digits --help lists the commands and their options)")
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int = 2) -> None:
    print(f"kaggle-digits: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)
