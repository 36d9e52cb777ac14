"""`kaggle-digits extend`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.cli.options import (
    CacheOption,
    DataOfRunOption,
    LeakOption,
    ProgressOption,
    QuietOption,
    ReportOption,
    TimeLimitOption,
    VersionsOption,
    budget_of,
)
from kaggle_digits.errors import UserError


def extend(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Seeds of each member in total: 3 adds copies cnn_2 and cnn_3 of cnn.",
        ),
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="With --seeds: only this member; repeatable."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Add this config's members: a shipped name or a path."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Add to the run's config: members.big={}"),
    ] = None,
    data: DataOfRunOption = None,
    cache: CacheOption = None,
    time_limit: TimeLimitOption = None,
    progress: ProgressOption = "auto",
    quiet: QuietOption = False,
    allow_changed_versions: VersionsOption = False,
    allow_leak: LeakOption = False,
    report: ReportOption = True,
) -> None:
    """Add members or seeds to a run: only their fits are trained, then all are averaged again."""
    from kaggle_digits.config import extension, loading
    from kaggle_digits.results.joined import refuse_joined
    from kaggle_digits.runs import pipeline
    from kaggle_digits.runs.data_of_run import data_of
    from kaggle_digits.storage.cache import cache_folder
    from kaggle_digits.storage.run_folder import RunFolder
    from kaggle_digits.system.console import Reporter

    run_folder, reporter = RunFolder(folder), Reporter(progress=progress, quiet=quiet)
    run_folder.check_begun()
    refuse_joined(run_folder)
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
    moved = extended.data != of_run.data  # with --set data.path
    options = pipeline.RunOptions(
        config=extended,
        name=run_folder.made_by()[0] or folder.name,
        data=data or (None if moved else data_of(run_folder)),
        out=folder,
        cache=cache_folder(cache),
        allow_changed_versions=allow_changed_versions,
        allow_leak=allow_leak,
        report=report,
    )
    pipeline.run(options, reporter, budget_of(context, time_limit, reporter))
