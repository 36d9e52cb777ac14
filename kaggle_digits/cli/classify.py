"""`kaggle-digits classify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaggle_digits.cli.options import ProgressOption, path_of
from kaggle_digits.errors import UserError

if TYPE_CHECKING:
    from kaggle_digits.results.classification import Classification


def classify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="Pictures (PNG, JPEG, WebP, BMP, GIF, TIFF), or folders of them.",
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for other programs.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            callback=path_of,
            metavar="FOLDER",
            help="Also draw into this folder, which must be new or empty, what the nets saw: each "
            "picture with its digits marked, and each digit's 28x28 image beside its classes.",
        ),
    ] = None,
    progress: ProgressOption = "auto",
) -> None:
    """Read your own handwriting: the digits in pictures and photographs.

    Finds all digits on a sheet, in dark or light ink, brings each to MNIST's 28x28 pixels, and
    shows its three most probable classes in reading order. A file that cannot be read is named at
    the end, with exit status 2; the others are done.
    """
    from kaggle_digits.analysis.classify import classify, refusal
    from kaggle_digits.data.picture_files import find_pictures
    from kaggle_digits.report.classify_tables import classification_table, classification_text
    from kaggle_digits.runs.run import Run
    from kaggle_digits.system.console import Reporter, count_of

    paths = find_pictures(images)
    run = Run(folder)
    if out is not None and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        found = "a file" if out.is_file() else "files in it"
        raise UserError(
            f"--out {out}: expected a new or empty folder, found {found}; give another one"
        )
    reporter = Reporter(progress=progress, quiet=as_json)
    with reporter.bar(len(paths), count_of(len(paths), "picture")) as show:
        read = classify(run, paths, on_progress=show)
    if out is not None:
        _draw(read, out)
    if as_json:
        typer.echo(json.dumps(read.to_json(), indent=2))
    else:
        if read.pictures:
            reporter.show(classification_table(read))
            for line in classification_text(read):
                reporter.say(line)
            if run.metrics.demo_data:
                reporter.say(
                    "DEMO DATA: these nets have seen 8x8 digits of scikit-learn alone, and read "
                    "others badly"
                )
        if out is not None and read.pictures:
            reporter.say(f"{out}: what the nets saw, {count_of(len(read.pictures), 'picture')}")
    if refused := refusal(read, len(paths)):
        raise refused


def _draw(read: Classification, out: Path) -> None:
    """Draw each picture that was read into a file of its name."""
    from kaggle_digits.data.picture_files import read_colour
    from kaggle_digits.report.classify_picture import seen_picture
    from kaggle_digits.storage import files

    taken: set[str] = set()
    for picture in read.pictures:
        path = Path(picture.name)
        name, number = path.name, 1
        while name.lower() in taken:  # pictures of several folders may have the same name
            number += 1
            name = f"{path.stem}-{number}{path.suffix}"
        taken.add(name.lower())
        files.write_bytes(out / f"{name}.png", seen_picture(read_colour(path), picture))
