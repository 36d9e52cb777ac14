"""`keras.datasets.mnist`: where Keras keeps it, and its download where it does not yet.

The file is read as any NumPy file is; only a download needs Keras, in a process of its own, so that
no backend is imported before a command has checked what it was given.
"""

import os
import subprocess
import sys
from pathlib import Path

from kaggle_digits.errors import UserError

NAME = "mnist"  # as `--data` takes it
DOWNLOAD = "import keras; keras.datasets.mnist.load_data()"
DOWNLOAD_SECONDS = 600


def cached_file() -> Path:
    """Return where Keras keeps MNIST, there or not."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "datasets" / "mnist.npz"


def find() -> Path:
    """Return the file, which Keras downloads if it is not there.

    Raises:
        UserError: it is not there and cannot be downloaded.
    """
    file = cached_file()
    if file.is_file():
        return file
    problem = _download()
    if not file.is_file():
        raise UserError(
            f"--data {NAME}: expected Keras' file {file}, found none, and the download failed "
            f"({problem}); put the file there, or give another --data"
        )
    return file


def _download() -> str:
    """Let Keras download the file; return the last line of what it complained of."""
    words = [sys.executable, "-c", DOWNLOAD]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"no end after {DOWNLOAD_SECONDS} s"
    return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
