"""`kaggle-digits extend`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.cli.options import (
    CacheOption,
    DataOption,
    LeakOption,
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
    pipeline.run(options, reporter, budget_of(context, time_limit))
