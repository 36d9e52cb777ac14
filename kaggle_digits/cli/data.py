"""`kaggle-digits data`: the competition's files, to fetch, to check and to look at."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaggle_digits.cli.options import (
    CacheOption,
    LeakOption,
    ProgressOption,
    QuietOption,
    help_without_command,
    path_of,
)
from kaggle_digits.errors import UserError

if TYPE_CHECKING:
    from kaggle_digits.data.digits import Digits
    from kaggle_digits.system.console import Reporter

DEFAULT_FOLDER = "data"  # where run looks first
FEWEST_FOLDS = 2  # that a config can have; each needs a row of every class

PathArgument = Annotated[
    str | None,
    typer.Argument(
        callback=path_of,
        metavar="PATH",
        help="Folder or zip with train.csv and test.csv, or another data set that run takes. "
        "Without it: where run would find them.",
    ),
]

app = typer.Typer(
    rich_markup_mode=None,
    callback=help_without_command,
    invoke_without_command=True,
    help="Fetch the competition's files, check them, or describe what is in them.",
)


@app.command()
def fetch(
    to: Annotated[
        str, typer.Option(callback=path_of, metavar="FOLDER", help="Where the files go.")
    ] = DEFAULT_FOLDER,
    cache: CacheOption = None,
    progress: ProgressOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Download the competition's files.

    Continues what was interrupted, unpacks and checks the files, and leaves train.csv and test.csv
    where run finds them. In a Kaggle kernel, where they are mounted, there is nothing to do.
    """
    from kaggle_digits.kaggle import download
    from kaggle_digits.report.data_tables import data_verdict
    from kaggle_digits.storage.cache import Cache, cache_folder
    from kaggle_digits.system.console import Reporter

    reporter = Reporter(progress=progress, quiet=quiet)
    store = Cache(cache_folder(cache), notice=reporter.say)
    data = download.fetch(to, store.arrays, reporter.say, reporter.is_live)
    reporter.show(data_verdict(data))
    is_found = data.source == DEFAULT_FOLDER and not os.environ.get("KAGGLE_DIGITS_DATA")
    where = "" if is_found else f" --data {shlex.quote(data.source)}"
    reporter.say(f"kaggle-digits run{where} trains on them")


@app.command()
def check(
    path: PathArgument = None, cache: CacheOption = None, allow_leak: LeakOption = False
) -> None:
    """Check that a run can use the files.

    Reads every cell of train.csv and test.csv, looks for test rows among the training rows, and
    says whether these are the competition's own files.
    """
    from kaggle_digits.data.description import describe
    from kaggle_digits.report.data_tables import data_verdict
    from kaggle_digits.system.console import Reporter

    reporter = Reporter()
    digits = _load(path, cache, reporter)
    digits.refuse_leak(allowed=allow_leak)
    reporter.show(data_verdict(describe(digits)))


@app.command()
def describe(
    path: PathArgument = None,
    cache: CacheOption = None,
    picture: Annotated[
        str | None,
        typer.Option(
            callback=path_of,
            metavar="FILE.png",
            help="Also draw the first digits of each class into this file.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for other programs.")
    ] = False,
) -> None:
    """Show what is in the files, and draw samples.

    Rows, classes, pixels, duplicates, leaks and hashes of train.csv and test.csv.
    """
    from dataclasses import asdict

    from kaggle_digits.data.description import describe
    from kaggle_digits.report.data_tables import data_notes, data_table
    from kaggle_digits.report.samples import samples_picture
    from kaggle_digits.system.console import Reporter

    reporter = Reporter(quiet=as_json)
    if picture is not None and picture.suffix != ".png":
        raise UserError(
            f"--picture {picture}: expected a file that ends in .png; give another name"
        )
    digits = _load(path, cache, reporter)
    if picture is not None:
        _write_new(picture, samples_picture(digits.train_images, digits.train_labels))
    data = describe(digits)
    if as_json:
        typer.echo(json.dumps(asdict(data), indent=2))
        return
    reporter.show(data_table(data))
    reporter.show(data_notes(data))
    hint = "kaggle-digits data describe --picture samples.png draws digits of each class"
    reporter.say(f"{picture}: digits of each class" if picture else hint)


def _load(path: Path | None, cache: Path | None, reporter: Reporter) -> Digits:
    """Read and check both files, as any run would."""
    from kaggle_digits.config.folds_section import Folds
    from kaggle_digits.data.digits import load_digits
    from kaggle_digits.storage.cache import Cache, cache_folder

    store = Cache(cache_folder(cache), notice=reporter.say)
    return load_digits(path, Folds(count=FEWEST_FOLDS), store, reporter.say, setting="")


def _write_new(picture: Path, content: bytes) -> None:
    from kaggle_digits.storage import files

    if picture.exists() and (picture.is_dir() or picture.read_bytes() != content):
        raise UserError(f"--picture {picture}: this file is there already; give another name")
    files.write_bytes(picture, content)
