"""This package's own files, for what takes it along: a kernel's code file, a winner's archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import kaggle_digits

# Whatever else is stored beside the package's modules stays where it is.
ENDINGS = (".py", ".yaml", ".html", ".jinja", "LICENSE")


def package_files() -> Iterator[tuple[str, bytes]]:
    """Yield the path, from the package's name on, and the content of each file, in order."""
    package = Path(kaggle_digits.__file__).parent
    # In a checkout `configs` is a link, which a glob would not follow.
    paths = sorted(
        Path(folder, name)
        for folder, _, names in os.walk(package, followlinks=True)
        for name in names
        if name.endswith(ENDINGS) and not name.startswith(".")
    )
    for path in paths:
        yield path.relative_to(package.parent).as_posix(), path.read_bytes()
