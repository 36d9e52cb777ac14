"""`kaggle-digits evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kaggle_digits.cli.options import CacheOption, ProgressOption, QuietOption, path_of


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    data: Annotated[
        str | None,
        typer.Option(
            callback=path_of,
            metavar="PATH",
            help="Labelled rows: a CSV, or what run takes, of which test is taken where it has "
            "labels. Without it: the run's own training rows, out of fold.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            callback=path_of,
            metavar="FOLDER",
            help="Where evaluation.json and evaluation.html go: a new or empty folder, or that of "
            "an evaluation, which is replaced. Without it: evaluation-NAME in the run's folder, "
            "NAME that of the data; other data of that name gets evaluation-NAME-2.",
        ),
    ] = None,
    cache: CacheOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for other programs, and nothing else.")
    ] = False,
    progress: ProgressOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Say how well a run reads labelled rows: accuracy, each digit, calibration, mistakes."""
    import json

    from kaggle_digits.analysis import evaluate as analysis
    from kaggle_digits.report import evaluation_tables
    from kaggle_digits.results import evaluation, record
    from kaggle_digits.storage.cache import Cache, cache_folder
    from kaggle_digits.storage.evaluation_folder import EvaluationFolder
    from kaggle_digits.system.console import Reporter

    given = EvaluationFolder(Path(out)) if out else None
    if given:
        given.check_usable()
    reporter = Reporter(progress=progress, quiet=quiet or as_json)
    notice = None if as_json else reporter.say
    found = analysis.evaluate(folder, data, Cache(cache_folder(cache), notice), reporter)
    place = given or EvaluationFolder.of_run(folder, data, found.record.data)
    found.write(place)
    if as_json:
        typer.echo(json.dumps(record.to_json(found.record, evaluation.FORMAT), indent=2))
        return
    reporter.show(evaluation_tables.evaluation_result(found.record, place.page))
    reporter.show(evaluation_tables.class_table(found.record))
    reporter.show(evaluation_tables.confusion_table(found.record))
