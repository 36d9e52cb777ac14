"""`kaggle-digits report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.cli.options import CacheOption, DataOfRunOption


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    data: DataOfRunOption = None,
    cache: CacheOption = None,
) -> None:
    """Make the page of a run, report.html, and pictures of what it shows, in its folder."""
    from kaggle_digits.runs import reporting
    from kaggle_digits.storage.cache import Cache, cache_folder
    from kaggle_digits.storage.run_folder import RunFolder
    from kaggle_digits.system.console import Reporter

    reporter, run_folder = Reporter(), RunFolder(folder)
    reporting.check(run_folder)
    found = reporting.find_data(
        run_folder, data, Cache(cache_folder(cache), reporter.say), reporter.say
    )
    reporting.write(run_folder, found)
    reporter.say(f"{run_folder.report}: open it in a browser")
