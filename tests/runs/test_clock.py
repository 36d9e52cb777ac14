"""What all invocations of a run have taken, by a clock of the test's own."""

from types import SimpleNamespace

import pytest

from kaggle_digits.runs import clock
from kaggle_digits.runs.clock import Clock
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder

AFTER_50_SECONDS = SimpleNamespace(seconds=lambda: 50.0)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def test_seconds_are_noted_for_the_next_invocation(folder):
    folder.write_seconds({"wall": 100.0, "saving": 7.0})
    first = Clock(folder, AFTER_50_SECONDS)
    for _ in range(2):  # within an invocation nothing counts twice
        noted = first.note()
        assert noted == folder.read_seconds()
        assert noted["wall"] == 150.0
        assert noted["saving"] == pytest.approx(7.0 + files.io_seconds(), abs=1.0)
    assert Clock(folder, AFTER_50_SECONDS).note()["wall"] == 200.0


def test_what_took_them_is_counted_apart(folder, monkeypatch):
    now = iter((10.0, 14.0, 20.0, 21.5, 30.0, 30.25))
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: next(now)))
    folder.write_seconds({"wall": 100.0, "drawing": 1.0})
    counted = Clock(folder, AFTER_50_SECONDS)
    with counted.timed("drawing"):
        pass
    with pytest.raises(ZeroDivisionError), counted.timed("reporting"):
        raise ZeroDivisionError  # it took its time all the same
    with counted.timed("reporting"):
        pass
    noted = counted.note()
    assert (noted["drawing"], noted["reporting"]) == (5.0, 1.75)
