"""`kaggle-digits doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.cli.options import CacheOption, ConfigOption, DataOption


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
