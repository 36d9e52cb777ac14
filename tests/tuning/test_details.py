"""What a search adds to its record for people."""

from types import SimpleNamespace

import numpy as np
import pytest

from kaggle_digits.results.search_records import Objective, Resolution, SearchRecord, TrialResult
from kaggle_digits.tuning import details
from kaggle_digits.tuning.search_folder import SearchFolder


@pytest.fixture
def folder(tmp_path):
    return SearchFolder(tmp_path / "search")


def trial(name, rows, wrong, **changes):
    values = {
        "candidate": f"candidate of {name}",
        "settings": {},
        "status": "completed",
        "folds": 1,
        "folds_planned": 1,
        "rows": rows,
        "errors": wrong,
        "accuracy": 1 - wrong / rows,
        "log_loss": wrong / rows,
        "objective": 1 - wrong / rows,
    }
    return TrialResult(name, **values | changes)


def search_of(folder, wrong, objective="accuracy", rows=50):
    """A search whose trials predict the rows wrongly that are given, by their names."""
    trials = []
    for name, places in wrong.items():
        is_wrong = np.isin(np.arange(rows), places)
        arrays = {"rows": np.arange(rows), "wrong": is_wrong, "loss": np.where(is_wrong, 0.5, 0.25)}
        folder.write_rows(f"candidate of {name}", arrays)
        figure = arrays["loss"].mean() if objective == "log_loss" else 1 - is_wrong.mean()
        found = {"objective": float(figure), "log_loss": float(arrays["loss"].mean())}
        trials.append(trial(name, rows, int(is_wrong.sum()), **found))
    return SearchRecord(Objective(objective), (), {}, tuple(trials))


def test_rows_that_tell_trials_apart(folder):
    # Seven rows that only the typical trial gets wrong: luck has a chance of 1/2 each.
    record = search_of(folder, {"0": range(9), "1": range(2), "2": range(20)})
    found = details.resolution(record, folder)
    assert found == Resolution("0", 50, pytest.approx(1 / 2**7))
    assert not found.is_too_coarse


def test_rows_too_few_to_tell_trials_apart(folder):
    # Nine rows differ, and the typical trial is behind on six of them:
    # (84 + 36 + 9 + 1) / 512 of all draws are as far behind or farther.
    record = search_of(folder, {"0": [0, 1, 2], "1": [3, 4, 5, 6, 7, 8], "2": range(20)})
    found = details.resolution(record, folder)
    assert found == Resolution("1", 50, pytest.approx(130 / 512))
    assert found.is_too_coarse


def test_losses_are_compared_where_they_are_the_objective(folder):
    # As in test_search_records: three of 50 losses differ, t = 1.769 with 49 degrees of freedom.
    record = search_of(folder, {"0": [], "1": [0, 1, 2]}, objective="log_loss")
    assert details.resolution(record, folder).p_value == pytest.approx(0.04160, abs=1e-5)


def test_only_rows_that_both_have_predicted_are_compared(folder):
    record = search_of(folder, {"0": [0, 1, 2, 3, 5], "1": range(11)})
    # The second one was stopped after a part of the rows, given in another order; both get row 5
    # wrong.
    rows = np.array([40, 9, 7, 8, 5, 6])
    arrays = {"rows": rows, "wrong": rows < 11, "loss": np.zeros(6)}
    folder.write_rows("candidate of 1", arrays)
    assert details.resolution(record, folder) == Resolution("1", 6, pytest.approx(1 / 2**4))


def test_resolution_is_not_known(folder):
    alone = search_of(folder, {"0": range(5)})
    assert details.resolution(alone, folder) is None
    record = search_of(folder, {"0": range(5), "1": range(11)})
    path = folder.candidates / "candidate of 1" / "rows.npz"
    path.write_bytes(b"damaged")
    assert details.resolution(record, folder) is None
    path.unlink()
    assert details.resolution(record, folder) is None


@pytest.mark.parametrize(
    ("data", "end"), [(None, ""), ("/my data/digits.zip", " --data '/my data/digits.zip'")]
)
def test_next_command(folder, data, end):
    job = SimpleNamespace(folder=folder, options=SimpleNamespace(data=data))
    assert details.next_command(job) == f"kaggle-digits run --config {folder.best}{end}"
