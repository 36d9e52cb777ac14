"""`kaggle-digits export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.cli.options import path_of


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished run.")],
    out: Annotated[
        str | None,
        typer.Option(
            callback=path_of,
            metavar="FILE.zip",
            help="The archive; a file that is there is not replaced. Without it: DIR-archive.zip "
            "beside the folder.",
        ),
    ] = None,
) -> None:
    """Write a winner's archive of a run: nets, source and scripts to predict and train again."""
    from kaggle_digits.kaggle import archive
    from kaggle_digits.system.console import Reporter

    reporter = Reporter()
    path = archive.export(folder, out, reporter.say)
    reporter.say(f"{path}: {path.stat().st_size / 2**20:.1f} MiB; its README.md says how to use it")
