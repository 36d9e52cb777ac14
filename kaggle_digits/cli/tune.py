"""`kaggle-digits tune`."""

from __future__ import annotations

from typing import Annotated

import typer

from kaggle_digits.cli.options import (
    CacheOption,
    ConfigOption,
    DataOption,
    ProgressOption,
    QuietOption,
    SetOption,
    VersionsOption,
    budget_of,
    path_of,
)


def tune(
    context: typer.Context,
    config: ConfigOption = "quick",
    data: DataOption = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Trials in total. Without it: tune.max_trials, else 20; all of a grid.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            callback=path_of,
            metavar="FOLDER",
            help="Search folder. Without it: the newest unfinished one of the same config and data "
            "under submissions/, else a new one there.",
        ),
    ] = None,
    save: Annotated[
        str | None,
        typer.Option(
            callback=path_of,
            metavar="FILE",
            help="Also write the best config here: best-found.yaml.",
        ),
    ] = None,
    max_seconds_per_fit: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="End trials whose fits would train longer than this."
        ),
    ] = None,
    max_parameters: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Refuse trials whose nets have more parameters than this."
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Also compare the best config with this one, on the holdout folds: a shipped name "
            "or a path; repeatable.",
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
    progress: ProgressOption = "auto",
    quiet: QuietOption = False,
    allow_changed_versions: VersionsOption = False,
) -> None:
    """Search the settings in the config's tune section; repeat the command to continue."""
    from kaggle_digits.config import loading
    from kaggle_digits.storage.cache import cache_folder
    from kaggle_digits.system.console import Reporter
    from kaggle_digits.tuning import search, search_plan

    reporter = Reporter(progress=progress, quiet=quiet)
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
    search.tune(options, reporter, budget_of(context, time_limit, reporter))
