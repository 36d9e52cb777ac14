"""`kaggle-digits compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.cli.options import CacheOption, DataOfRunOption, path_of


def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="The folders of at least two runs.")
    ],
    out: Annotated[
        str | None,
        typer.Option(
            callback=path_of, metavar="FOLDER", help="Also write a page, FOLDER/compare.html."
        ),
    ] = None,
    data: DataOfRunOption = None,
    cache: CacheOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for other programs.")
    ] = False,
) -> None:
    """Compare runs on the same rows: scores, costs, and a paired test of each two."""
    from dataclasses import asdict

    from kaggle_digits.analysis import compare
    from kaggle_digits.errors import UserError
    from kaggle_digits.report import compare_page
    from kaggle_digits.report.compare_tables import compare_tables
    from kaggle_digits.storage.cache import Cache, cache_folder
    from kaggle_digits.system.console import Reporter

    reporter = Reporter(quiet=as_json)
    found = compare.compare(folders)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        reporter.show(compare_tables(found))
    if out is None:
        return
    try:
        store = Cache(cache_folder(cache), notice=reporter.say)
        images = compare.images_of(found.differences, folders[0], data, store)
    except UserError as error:
        if data is not None:
            raise
        reporter.say(f"the page shows no images: {error}")
        images = {}
    path = compare_page.write_page(found, images, out)
    reporter.say(f"{path}: the page of this comparison")
