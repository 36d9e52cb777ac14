from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from kaggle_digits.config.schema import Config
from kaggle_digits.runs import preparation
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import START_SECONDS, TimeBudget
from kaggle_digits.training import fit_spec

CONFIG = Config(
    folds={"count": 2}, train={"epochs": 2, "threads": 1}, augment={"elastic": {"p": 0}}
)


@pytest.fixture
def fill(tmp_path):
    """Fill the banks of two fits of two epochs; return (seconds of a round, lines said)."""
    images = np.random.default_rng(1).integers(0, 256, (30, 28, 28), np.uint8)
    inputs = fit_spec.Inputs(images[:20], np.tile(np.arange(10, dtype=np.uint8), 2), images[20:])
    split = [np.arange(10), np.arange(10, 20)]
    specs = fit_spec.plan(CONFIG, inputs, split, "tensorflow")
    folder, cache = RunFolder(tmp_path / "run"), Cache(tmp_path / "cache")

    def fill(limit=None):
        output = StringIO()
        reporter = Reporter(Console(file=output))
        plan = SimpleNamespace(inputs=inputs)
        budget = TimeBudget(limit)
        seconds = preparation.fill_banks(plan, specs, folder, cache, budget, reporter)
        return seconds, output.getvalue()

    fill.folder = folder
    return fill


def test_banks_are_drawn_once(fill):
    seconds, said = fill()
    assert seconds >= START_SECONDS
    first, second = said.splitlines()
    assert first == "drawing 2 augmented variants of the images"
    assert second.startswith("augmentation bank: 2 variants, 2 drawn now in ")
    assert fill.folder.augmentation.read_bytes().startswith(b"\x89PNG")
    assert fill() == (START_SECONDS, "augmentation bank: 2 variants, 0 drawn now in 0 s\n")


def test_what_there_is_no_time_for_is_left(fill):
    _, said = fill(limit=0.0)
    assert said == (
        "drawing 2 augmented variants of the images\n"
        "augmentation bank: 2 variants, 0 drawn now in 0 s, 2 left for when they are needed\n"
    )
    assert not fill.folder.augmentation.exists()
