"""Fixtures that several test files share."""

import os
from pathlib import Path

import numpy as np
import pytest

import kaggle_digits

OF_THIS_MACHINE = ("KAGGLE_DIGITS_DATA", "KAGGLE_DIGITS_CACHE", "KAGGLE_KERNEL_RUN_TYPE")


@pytest.fixture
def tiny_images():
    """Return (40, 28, 28) uint8 noise, the same each time."""
    return np.random.default_rng(7).integers(0, 256, (40, 28, 28), dtype=np.uint8)


@pytest.fixture
def process_env():
    """Return the environment for a new Python process that imports this package from anywhere.

    It knows nothing of the data and the cache that this machine's user has.
    """
    kept = {name: value for name, value in os.environ.items() if name not in OF_THIS_MACHINE}
    return kept | {"PYTHONPATH": str(Path(kaggle_digits.__file__).parents[1])}
