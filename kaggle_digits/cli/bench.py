"""`kaggle-digits bench`."""

from __future__ import annotations

from typing import Annotated

import typer

from kaggle_digits.cli.options import (
    ConfigOption,
    DataOption,
    ProgressOption,
    budget_of,
    how_to_continue,
    path_of,
)


def bench(
    context: typer.Context,
    config: ConfigOption = "quick",
    data: DataOption = None,
    frontier: Annotated[
        bool,
        typer.Option(
            "--frontier",
            help="Instead, run configs of several lengths, Deotte's recipe and a plain Keras CNN "
            "on five folds, and show what accuracy every second buys; takes many hours, repeat "
            "the command to continue. A --config of your own is one more point.",
        ),
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            callback=path_of,
            metavar="FOLDER",
            help="Folder of the runs of --frontier. Without it: submissions/frontier.",
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            "--time-limit",
            metavar="DURATION",
            help="With --frontier: stop within this time, 8h30m or 45m; repeat the command to "
            "continue.",
        ),
    ] = None,
    progress: ProgressOption = "auto",
) -> None:
    """Measure this machine against bare Keras and Deotte's net; estimate each config's time."""
    from kaggle_digits.config import loading
    from kaggle_digits.diagnostics import benchmark
    from kaggle_digits.diagnostics import frontier as frontiers
    from kaggle_digits.errors import UserError
    from kaggle_digits.storage.run_folder import SUBMISSIONS
    from kaggle_digits.system.console import Reporter

    reporter = Reporter(progress=progress)
    resolved, name = loading.resolve(config, (), reporter.say)
    if frontier:
        is_own = config not in (*loading.shipped_names(), *loading.peer_names())
        if config != "quick" and not is_own:
            raise UserError(
                f"--config {config}: with --frontier expected a config of your own, found a "
                f"shipped one; copy it: kaggle-digits config copy {config} mine.yaml"
            )
        options = frontiers.FrontierOptions(
            data=data or resolved.data.path,
            out=out or SUBMISSIONS / "frontier",
            own=(name, resolved) if is_own else None,
            how_to_continue=how_to_continue(),
        )
        frontiers.run(options, reporter, budget_of(context, time_limit, reporter))
        return
    if out or time_limit:
        option = "--out" if out else "--time-limit"
        raise UserError(f"{option}: belongs to --frontier; add that, or leave it out")
    benchmark.run(resolved, name, data, reporter)
