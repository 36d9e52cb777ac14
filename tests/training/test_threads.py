import pytest

from kaggle_digits.config.schema import Config
from kaggle_digits.system import environment
from kaggle_digits.training import threads


@pytest.fixture
def resolved(monkeypatch):
    """Resolve a config's threads on a machine with some cores; return (number, what was said)."""

    def resolve(given, begun, cores=4):
        monkeypatch.setattr(environment, "usable_cores", lambda: cores)
        said = []
        config = threads.resolved(Config(train={"threads": given}), begun, "run", said.append)
        assert config == Config(train={"threads": config.train.threads})
        return config.train.threads, said

    return resolve


def test_auto_is_a_thread_for_each_core(resolved):
    assert resolved("auto", None) == (4, [])


def test_what_was_begun_keeps_its_number(resolved):
    line = "train.threads: 2, as the run was begun; this machine has 4 usable cores"
    assert resolved("auto", 2) == (2, [line])
    assert resolved("auto", 4) == (4, [])
    assert resolved("auto", 2, cores=1)[1] == [line.replace("4 usable cores", "1 usable core")]


def test_a_given_number_stays(resolved):
    # Fits that were made with another one refuse it by name.
    assert resolved(3, None) == (3, [])
    assert resolved(3, 2) == (3, [])


def test_what_was_begun_without_a_number_has_none():
    assert threads.threads_of(Config()) is threads.threads_of(None) is None
