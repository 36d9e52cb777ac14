"""`kaggle-digits ensemble`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.cli.options import CacheOption, DataOfRunOption, QuietOption, path_of


def ensemble(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="The folders of at least two finished runs.")
    ],
    out: Annotated[
        str | None,
        typer.Option(
            callback=path_of,
            metavar="FOLDER",
            help="Folder of the joined run, new or empty. Without it: a new one under "
            "submissions/.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            autocompletion=lambda: ["mean", "geometric", "vote", "greedy"],
            metavar="[mean|geometric|vote|greedy]",
            help="mean of the members' probabilities, of their logarithms, majority, or a mean by "
            "weights from greedy forward selection.",
        ),
    ] = "mean",
    data: DataOfRunOption = None,
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Join finished runs over the same folds into one: all their nets are averaged again."""
    from kaggle_digits.analysis import blend
    from kaggle_digits.report.blend_tables import blend_tables
    from kaggle_digits.report.run_tables import run_result
    from kaggle_digits.storage.cache import cache_folder
    from kaggle_digits.system.console import Reporter

    reporter = Reporter(quiet=quiet)
    options = blend.EnsembleOptions(tuple(folders), method, out, data, cache_folder(cache))
    joined = blend.join(options, reporter.say)
    reporter.show(blend_tables(joined.record))
    folder = joined.folder
    reporter.show(
        run_result(
            joined.metrics,
            folder.folder,
            folder.submission,
            report=joined.report,
            is_joined=True,
        )
    )
