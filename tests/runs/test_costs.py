"""What a run has cost, by a clock of the test's own."""

from types import SimpleNamespace

import pytest

from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs import costs
from kaggle_digits.runs.costs import Clock, CostsOfSources
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder

AFTER_50_SECONDS = SimpleNamespace(seconds=lambda: 50.0)
METRICS = RunMetrics(complete=True, provisional=False, fits_finished=2, fits_planned=2)


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a run whose two fits trained 300 and 100 images in 2 s and 3 s."""
    folder = RunFolder(tmp_path / "run")
    for fold, (images, seconds) in enumerate([(300, 2.0), (100, 3.0)]):
        facts = {"train_images": images, "seconds": {"train": seconds}}
        folder.write_fit("a", fold, {}, facts)
    return folder


STATE = SimpleNamespace(finished=[SimpleNamespace(member="a", fold=fold) for fold in (0, 1)])


def test_clock_counts_all_invocations(folder):
    folder.write_seconds({"wall": 5.0, "saving": 1.0})
    clock = Clock(folder, SimpleNamespace(seconds=lambda: 2.0))
    found = clock.with_costs(METRICS, STATE)
    assert found.wall_seconds == folder.read_seconds()["wall"] == 7.0
    assert found.saving_seconds >= 1.0
    assert found.images_per_second == 80.0
    assert found.peak_memory_bytes > 0


def test_seconds_are_noted_for_the_next_invocation(folder, monkeypatch):
    folder.write_seconds({"wall": 100.0, "saving": 7.0})
    saved = iter((403.0, 403.5))
    monkeypatch.setattr(files, "io_seconds", lambda: next(saved))
    first = Clock(folder, AFTER_50_SECONDS, 400.0)  # earlier runs in this process
    for saving in (10.0, 10.5):  # within an invocation nothing counts twice
        noted = first.note()
        assert noted == folder.read_seconds()
        assert noted["wall"] == 150.0
        assert noted["saving"] == saving
    monkeypatch.undo()
    assert Clock(folder, AFTER_50_SECONDS).note()["wall"] == 200.0


def test_what_took_them_is_counted_apart(folder, monkeypatch):
    now = iter((10.0, 14.0, 20.0, 21.5, 30.0, 30.25))
    monkeypatch.setattr(costs, "time", SimpleNamespace(monotonic=lambda: next(now)))
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


def test_costs_of_sources_add_up(folder):
    sources = [
        RunMetrics(True, False, 1, 1, wall_seconds=20.0, saving_seconds=1.0, peak_memory_bytes=5),
        RunMetrics(True, False, 1, 1, wall_seconds=30.0, saving_seconds=0.5, peak_memory_bytes=3),
    ]
    found = CostsOfSources(folder, sources).with_costs(METRICS, STATE)
    assert (found.wall_seconds, found.saving_seconds) == (50.0, 1.5)
    assert (found.peak_memory_bytes, found.images_per_second) == (5, 80.0)
    assert found.fits_finished == 2
    assert not (folder.folder / ".seconds").exists()


def test_no_fit_no_speed(tmp_path):
    found = CostsOfSources(RunFolder(tmp_path), [METRICS])
    assert found.with_costs(METRICS, SimpleNamespace(finished=[])).images_per_second is None
