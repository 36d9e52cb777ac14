import hashlib
import json
import os
import shutil

import pandas as pd
import pytest
from finished_runs import write_data, write_run, wrong_at
from folders import flip_last_byte
from found import WHOLE

from kaggle_digits.analysis import run_list
from kaggle_digits.errors import UserError
from kaggle_digits.results.comparison import RunEntry
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.tuning.search_folder import SearchFolder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two members."""
    home = tmp_path_factory.mktemp("listed")
    write_data(home / "data")
    members = {"one": wrong_at(0, 1), "two": wrong_at(1, top=0.8)}
    return write_run(home / "quick-2", home / "data", members)


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "quick-2")
    return tmp_path / "quick-2"


def test_run_by_hand(finished):
    os.utime(finished / "metrics.json", (1_700_000_000, 1_700_000_000))
    entry = run_list.entry_of(finished)
    assert (entry.name, entry.kind, entry.config) == ("quick-2", "run", "quick")
    assert (entry.complete, entry.running) == (True, False)
    assert (entry.fits, entry.fits_planned) == (4, 4)
    # In row 0 member one is surer of a wrong class than two of the right one; both miss row 1.
    assert (entry.wrong, entry.rows, entry.accuracy) == (2, 40, 0.95)
    assert entry.low < 0.95 < entry.high
    assert entry.expected_low < entry.expected_high
    assert entry.image_passes == 400
    assert entry.seconds == 20.0
    assert entry.date == "2023-11-14T22:13:20Z"
    assert (entry.kaggle, entry.demo, entry.optimistic, entry.problem) == (None, False, False, "")
    assert entry.not_for_upload is None


def test_newest_score_at_kaggle(copied):
    run = RunFolder(copied)
    own = hashlib.sha256(run.submission.read_bytes()).hexdigest()
    submitted = [
        {"time": "2026-01-02T00:00:00Z", "sha256": own, "public_score": "0.99500"},
        {"time": "2026-01-03T00:00:00Z", "sha256": own, "public_score": ""},
        {"time": "2026-01-01T00:00:00Z", "sha256": own, "public_score": "0.99700"},
        # Of an earlier submission of the run, with fewer nets.
        {"time": "2026-01-04T00:00:00Z", "sha256": "another", "public_score": "0.99100"},
    ]
    run.write_submitted(submitted)
    assert run_list.entry_of(copied).kaggle == 0.995
    run.write_submitted(submitted[-1:])
    assert run_list.entry_of(copied).kaggle is None


@pytest.mark.parametrize(
    "noted", [{"not_for_upload": "trained on MNIST"}, {"demo_data": True}], ids=["mnist", "demo"]
)
def test_other_data_has_no_leaderboard(copied, noted):
    for path in (copied / "manifest.json", copied / "metrics.json"):
        files.write_json(path, json.loads(path.read_text()) | noted)
    entry = run_list.entry_of(copied)
    assert (entry.expected_low, entry.expected_high, entry.accuracy) == (None, None, 0.95)
    assert entry.demo == ("demo_data" in noted)
    assert entry.not_for_upload == noted.get("not_for_upload", "it is of DEMO DATA")


def test_parameters_are_of_one_net_of_each_member(copied, monkeypatch):
    counted = []
    monkeypatch.setattr(
        run_list, "count_parameters", lambda path: counted.append(path.parent.name) or 7
    )
    assert run_list.entry_of(copied).parameters == 14
    assert counted == ["one-fold1", "two-fold1"]


def test_search(tmp_path):
    folder = SearchFolder(tmp_path / "tune-1")
    with folder.locked():
        files.write_json(folder.identity, folder.stamp)
        folder.write_record(WHOLE)
    entry, best = run_list.entry_of(folder.folder), WHOLE.best()
    assert (entry.kind, entry.fits) == ("search", len(WHOLE.trials))
    assert (entry.accuracy, entry.wrong, entry.rows) == (best.accuracy, best.errors, best.rows)
    assert entry.optimistic
    assert entry.problem == ""


def test_search_without_a_result_yet(tmp_path):
    folder = SearchFolder(tmp_path / "tune-1")
    with folder.locked():
        files.write_json(folder.identity, folder.stamp)
        assert run_list.entry_of(folder.folder).running
    entry = run_list.entry_of(folder.folder)
    assert (entry.kind, entry.complete, entry.accuracy) == ("search", False, None)


def unfinished(folder):
    shutil.rmtree(folder / "fits" / "two-fold2")


def without_metrics(folder):
    (folder / "metrics.json").unlink()


def damaged_metrics(folder):
    (folder / "metrics.json").write_text("{")


def damaged_manifest(folder):
    (folder / "manifest.json").write_text("{")


def changed(folder):
    flip_last_byte(folder / "submission.csv")


def damaged_fit(folder):
    flip_last_byte(folder / "fits" / "one-fold1" / "fit.json")


def later_version(folder):
    files.write_json(folder / ".kaggle-digits", {"kind": "run", "format": 9})


def strange_manifest(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    files.write_json(folder / "manifest.json", manifest | {"fits": [1], "joined": [2]})


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (unfinished, "1 of 4 fits are gone"),
        (damaged_metrics, "metrics.json: expected a JSON object, found none"),
        (damaged_manifest, "manifest.json is missing or damaged"),
        (changed, "submission.csv: changed since the run wrote it"),
        (damaged_fit, "fit.json: "),
        (later_version, "made by a newer version of kaggle-digits"),
        (strange_manifest, ""),
    ],
)
def test_damage_is_said_and_no_crash(copied, damage, problem):
    damage(copied)
    entry = run_list.entry_of(copied)
    assert (entry.name, entry.kind) == ("quick-2", "run")
    assert problem in entry.problem
    assert "\n" not in entry.problem


def test_what_is_known_besides_is_kept(copied):
    damaged_fit(copied)
    entry = run_list.entry_of(copied)
    assert (entry.accuracy, entry.config, entry.image_passes) == (0.95, "quick", None)


def test_run_that_has_just_begun(copied):
    without_metrics(copied)
    entry = run_list.entry_of(copied)
    assert (entry.complete, entry.fits, entry.fits_planned) == (False, 4, 4)
    assert (entry.accuracy, entry.problem) == (None, "")


def test_other_folders_are_named_and_files_are_not(copied, tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "kernels").mkdir()
    (tmp_path / "ledger.csv").touch()
    shutil.copytree(copied, tmp_path / "quick-10")
    entries = run_list.find(tmp_path)
    assert [entry.name for entry in entries] == ["holiday", "quick-2", "quick-10"]
    assert entries[0] == RunEntry("holiday", "other", problem="holds no run and no search")


def test_no_such_root(tmp_path):
    (tmp_path / "file").touch()
    for name, found in (("absent", "nothing"), ("file", "a file")):
        with pytest.raises(UserError, match=f"{name}: expected a folder with runs, found {found}"):
            run_list.find(tmp_path / name)


ENTRIES = [
    RunEntry("b", "run", accuracy=0.9, wrong=4, date="2026-01-01T00:00:00Z"),
    RunEntry("c", "other"),
    RunEntry("a", "run", accuracy=0.99, wrong=2, date="2026-01-03T00:00:00Z"),
    RunEntry("d", "search", accuracy=0.9, wrong=9, date="2026-01-02T00:00:00Z"),
]


@pytest.mark.parametrize(
    ("key", "order"),
    [("name", "abcd"), ("accuracy", "abdc"), ("wrong", "abdc"), ("date", "adbc"), ("kind", "cbad")],
)
def test_order(key, order):
    assert "".join(each.name for each in run_list.in_order(ENTRIES, key)) == order


def test_every_column_is_a_key():
    for key in run_list.KEYS:
        assert len(run_list.in_order(ENTRIES, key)) == len(ENTRIES)
    with pytest.raises(UserError, match=r"^--sort score: expected one of name, kind, .*, problem;"):
        run_list.in_order(ENTRIES, "score")


def test_table():
    table = run_list.table(ENTRIES)
    assert tuple(table.columns) == run_list.KEYS
    assert table["wrong"].tolist()[2] == 2
    assert pd.isna(table["accuracy"][1])
    assert json.loads(table.to_json(orient="records"))[1]["accuracy"] is None
    assert run_list.table([]).columns.tolist() == list(run_list.KEYS)
