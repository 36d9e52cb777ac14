"""Fixtures that several test files share."""

import shutil
import signal

import numpy as np
import pytest

from kaggle_digits.config import loading, schema
from kaggle_digits.training import fit_spec

pytest.register_assert_rewrite("lives")
import lives  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=25, help="kills of pytest -m chaos")
    parser.addoption("--chaos-seed", type=int, help="draws the moments of pytest -m chaos")


@pytest.fixture
def tiny_images():
    """Return (40, 28, 28) uint8 noise, the same each time."""
    return np.random.default_rng(7).integers(0, 256, (40, 28, 28), dtype=np.uint8)


@pytest.fixture
def process_env():
    """Return the environment for a new Python process, see `lives.environment`."""
    return lives.environment()


@pytest.fixture
def become_later_version(monkeypatch):
    """Have the package know settings that a later version may have.

    Returns:
        A function that does so and returns the config class: `train.gradient_clip` is 0 by default,
        and `views`, which no fit depends on, 1.
    """

    class Train(schema.Train):
        gradient_clip: float = 0.0

    class MemberSettings(schema.MemberSettings):
        train: Train

    class Config(schema.Config):
        train: Train = Train()
        views: int = 1

    def become():
        for module in (schema, fit_spec):
            monkeypatch.setattr(module, "MemberSettings", MemberSettings)
        monkeypatch.setattr(loading, "Config", Config)
        return Config

    return become


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Let a run of `lives.SETTINGS` come to its end.

    Its folder is also there as a power cut in its last fit would leave it, as `cut-off`.
    """
    home = tmp_path_factory.mktemp("undisturbed")
    job = lives.Job(home, home / "cache", out=home / "run")
    life = job.begin()
    assert life.wait_for(lambda: life.said("cnn fold 2, epoch 2/")), life.complaints
    life.signal(signal.SIGSTOP)
    shutil.copytree(job.run, home / "cut-off")
    life.signal(signal.SIGCONT)
    assert life.end() == 0, life.complaints
    return job
