"""What can be known of a saved net without a backend."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

WEIGHTS = "model.weights.h5"  # in a .keras file
SEEDS = "seed_generator"  # states of random layers, which are no weights


def count_parameters(path: Path) -> int | None:
    """Count a net's weights, as Keras' `count_params` does.

    Args:
        path: a .keras file.

    Returns:
        Their number; None where the file is none of a net.
    """
    import h5py

    sizes: list[int] = []

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and SEEDS not in name:
            sizes.append(item.size)

    try:
        with zipfile.ZipFile(path) as archive:
            content = io.BytesIO(archive.read(WEIGHTS))
        with h5py.File(content) as weights:
            weights["layers"].visititems(add)
    except (OSError, KeyError, zipfile.BadZipFile):
        return None
    return sum(sizes)
