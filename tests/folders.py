"""What tests of folders share: what is in one, what a fit leaves in it, a byte that is damaged."""

import numpy as np

from kaggle_digits.storage import files

# A finished fit's, as far as a run folder minds.
FIT_FILES = {
    "model.keras": lambda path: path.write_bytes(b"a net"),
    "predictions.npz": lambda path: files.write_arrays(path, {"test": np.arange(4)}),
}


def names(folder):
    """Return the paths of all that is in a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def flip_last_byte(path):
    """Damage a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
