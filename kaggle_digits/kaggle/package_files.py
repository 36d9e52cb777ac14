"""This package's own files, for what takes it along: a kernel's code file, a winner's archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import kaggle_digits

# Whatever else is stored beside the package's modules stays where it is.
ENDINGS = (".py", ".html", ".jinja", "LICENSE")
CONFIGS = (  # in a checkout people add their own
    "best",
    "detuned",
    "lunch-break",
    "peers/basic-cnn",
    "peers/deep-bn-cnn",
    "peers/deotte-15",
    "peers/five-fold-cnn",
    "peers/mnist-in-csv",
    "peers/simple-cnn-m3",
    "peers/simple-cnn-m5",
    "peers/simple-cnn-m7",
    "peers/simple-cnn-vote",
    "peers/train-test-evaluate",
    "quick",
    "standard",
)


def package_files() -> Iterator[tuple[str, bytes]]:
    """Yield the path, from the package's name on, and the content of each file, in order."""
    package = Path(kaggle_digits.__file__).parent
    paths = [package / "configs" / f"{name}.yaml" for name in CONFIGS]
    for folder, below, names in os.walk(package):
        below[:] = [name for name in below if not name.startswith(".")]  # checkpoints of notebooks
        paths += [
            Path(folder, name)
            for name in names
            if name.endswith(ENDINGS) and not name.startswith(".")
        ]
    for path in sorted(paths):
        yield path.relative_to(package.parent).as_posix(), path.read_bytes()
