"""`kaggle-digits run`."""

from __future__ import annotations

from typing import Annotated

import typer

from kaggle_digits.cli.options import (
    CacheOption,
    ConfigOption,
    DataOption,
    LeakOption,
    ProgressOption,
    QuietOption,
    ReportOption,
    SetOption,
    TimeLimitOption,
    VersionsOption,
    budget_of,
    how_to_continue,
    path_of,
)


def run(
    context: typer.Context,
    config: ConfigOption = "quick",
    data: DataOption = None,
    out: Annotated[
        str | None,
        typer.Option(
            callback=path_of,
            metavar="FOLDER",
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
    progress: ProgressOption = "auto",
    quiet: QuietOption = False,
    allow_changed_versions: VersionsOption = False,
    allow_leak: LeakOption = False,
    report: ReportOption = True,
) -> None:
    """Train the ensemble and write a checked submission.csv; repeat the command to continue."""
    from kaggle_digits.config import loading
    from kaggle_digits.runs import pipeline
    from kaggle_digits.storage.cache import cache_folder
    from kaggle_digits.system.console import Reporter

    reporter = Reporter(progress=progress, quiet=quiet)
    options = pipeline.RunOptions(
        *loading.resolve(config, set_ or (), reporter.say),
        data=data,
        out=out,
        cache=cache_folder(cache),
        restart=restart,
        allow_changed_versions=allow_changed_versions,
        allow_leak=allow_leak,
        report=report,
        how_to_continue=how_to_continue(),
    )
    pipeline.run(options, reporter, budget_of(context, time_limit, reporter))
