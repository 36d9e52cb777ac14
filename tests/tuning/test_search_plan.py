import json
from types import SimpleNamespace

import numpy as np
import pytest

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Train
from kaggle_digits.errors import UserError
from kaggle_digits.results.search_records import Objective, SearchRecord
from kaggle_digits.storage import files, locked_folder
from kaggle_digits.system import environment
from kaggle_digits.training import backend
from kaggle_digits.training.machine_settings import Begun
from kaggle_digits.tuning import search_plan
from kaggle_digits.tuning.search_folder import SearchFolder

SPACE = {"train.learning_rate": {"low": 0.002, "high": 0.08, "sampling": "log"}}
DIGITS = SimpleNamespace(hashes={"train.csv": "1" * 32, "test.csv": "2" * 32})


# What was the default when the format began, but for `train`.
FORMER = {
    "model": {
        "stages": [
            {"width": 24, "pool": "first"},
            {"width": 48, "depth": 2, "pool": "last"},
            {"width": 96, "depth": 2, "pool": "last"},
        ]
    },
    "augment": {"stroke": 0.0, "test_shift": 0},
}


def config(tune=None, **changes):
    values = {
        "train": {"batch_size": 32, "threads": 2},
        "tune": {"space": SPACE} | (tune or {}),
    }
    return loading.from_values(values | changes)


def identity(digits=DIGITS, tune=None, **changes):
    return search_plan.identity_of(config(tune, **changes), digits)


def write_identity(folder, values):
    """Write what a search writes when it begins."""
    with folder.locked():
        files.write_json(folder.identity, folder.stamp | values)


@pytest.fixture
def folder(tmp_path):
    """The folder of a search that was begun."""
    begun = SearchFolder(tmp_path / "search")
    write_identity(begun, identity())
    return begun


# What can be searched


def options(against=None, **changes):
    return SimpleNamespace(name="mine", config=config(**changes), against=against or {})


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ({"kind": "holdout"}, "folds.kind: .* found holdout; add --set folds.kind=stratified"),
        ({"kind": "kfold", "repeats": 2}, "folds.kind: .* found kfold; add"),
        ({"kind": "none"}, "folds.kind: .* found none; add"),
        ({"repeats": 3}, "folds.repeats: .* found 3; add --set folds.repeats=1"),
    ],
)
def test_a_search_needs_folds_that_are_each_held_out_once(folds, message):
    with pytest.raises(UserError, match=f"^{message}"):
        search_plan.check_searchable(options(folds=folds))
    search_plan.check_searchable(options(against={"other": config(folds=folds)}))


def test_a_search_needs_rows_that_training_did_not_look_at(monkeypatch):
    search_plan.check_searchable(options())
    monkeypatch.setattr(Train, "picks_on_heldout", True)
    with pytest.raises(UserError, match=r"^mine: training of member cnn looks at the rows that"):
        search_plan.check_searchable(options())


def test_a_search_needs_two_folds_that_trials_see():
    search_plan.check_searchable(options(folds={"count": 2}, tune={"holdout_folds": 0}))
    few = options(folds={"count": 4}, tune={"holdout_folds": 3})
    with pytest.raises(UserError, match=r"^folds\.count: .* found 4, .* --set folds\.count=5$"):
        search_plan.check_searchable(few)


# What a search depends on


def test_identity_holds_what_is_not_at_its_default():
    found = identity(seed=7, train={"batch_size": 32, "epochs": 10}, **FORMER)
    assert found.keys() == {"settings_format", "config", "data", "backend", "packages"}
    assert found["settings_format"] == 1
    assert found["config"] == {
        "seed": 7,
        # Defaults of today that were others when the format began.
        "train": {"batch_size": 32, "epochs": 10, "optimizer": "muon", "learning_rate": 0.01},
        "tune": {"space": SPACE},
    }
    assert found["data"] == DIGITS.hashes
    assert found["backend"] == backend.name()
    assert "keras" in found["packages"]
    assert json.loads(json.dumps(found)) == found


def test_number_of_trials_and_place_of_the_data_do_not_count():
    assert identity(tune={"max_trials": 4}, data={"path": "/data"}) == identity()


def test_search_goes_on_with_its_own_identity(folder):
    search_plan.check_identity(folder, identity(), allow_changed=False)


def test_search_of_a_version_with_fewer_settings_goes_on(folder):
    # As this format was first written: what is not in it is at its default, whichever version
    # brought it.
    first = {
        "settings_format": 1,
        "config": {
            "train": {"batch_size": 32},
            "tune": {
                "space": {
                    "train.learning_rate": {"low": 0.002, "high": 0.08, "sampling": "log"},
                }
            },
        },
        "data": DIGITS.hashes,
        "backend": backend.name(),
    }
    write_identity(folder, first)
    train = {"batch_size": 32, "threads": 2, "epochs": 7, "learning_rate": 0.008}
    then = {"train": train | {"optimizer": "adamw"}, **FORMER}
    again = identity(callbacks=["my.own:callback"], **then)
    search_plan.check_identity(folder, again, allow_changed=False)
    assert choose(folder.folder.parent, **then) == folder.folder.parent / "tune-tiny-1"
    begin(folder.folder.parent / "tune-tiny-3", first)
    assert choose(folder.folder.parent, **then) == folder.folder.parent / "tune-tiny-3"


def test_search_that_has_not_begun_has_no_identity_yet(tmp_path):
    search_plan.check_identity(SearchFolder(tmp_path / "new"), identity(), allow_changed=False)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            identity(train={"batch_size": 64}),
            "another train.batch_size: 32 there, 64 here; give another --out, or the config and "
            "data of that search",
        ),
        (identity(seed=6), "another seed: 2026 there, 6 here; give another --out"),  # the default
        (identity(train={}), "another train.batch_size: 32 there, 128 here; give another --out"),
        (
            identity(tune={"space": SPACE | {"model.dropout": {"low": 0.1, "high": 0.5}}}),
            "another tune.space.model.dropout.low: not set there, 0.1 here; give",
        ),
        (
            identity(members={"cnn": {}, "more": {}}),
            "another members.more.model: not set there, {} here; give another --out",
        ),
        (
            identity(SimpleNamespace(hashes=DIGITS.hashes | {"test.csv": "3" * 32})),
            "another data.test.csv; give another --out, or the config and data of that search",
        ),
        (identity() | {"backend": "other"}, "another backend; give another --out, or the config"),
    ],
)
def test_another_search_is_refused(folder, other, words):
    with pytest.raises(UserError) as caught:
        search_plan.check_identity(folder, other, allow_changed=True)
    assert str(caught.value).startswith(f"{folder.folder}: this search was begun with {words}")


@pytest.mark.parametrize("key", ["format", "settings_format"])
@pytest.mark.parametrize(
    ("number", "words"),
    [(2, "a newer version of kaggle-digits (format 2, expected 1)"), (None, "an earlier version")],
)
def test_search_of_another_format_is_refused(folder, key, number, words):
    (folder.folder / locked_folder.MARKER).unlink()  # as in a copy without hidden files
    files.write_json(folder.identity, folder.stamp | identity() | {key: number})
    with pytest.raises(UserError) as caught:
        search_plan.check_identity(folder, identity(), allow_changed=True)
    assert f": made by {words}" in str(caught.value)


def test_setting_of_a_later_version_is_named(folder):
    later = identity()
    later["config"] = later["config"] | {"energy": 7}
    write_identity(folder, later)
    with pytest.raises(UserError, match=r"search\.json: energy: unknown key, expected one of seed"):
        search_plan.check_identity(folder, identity(), allow_changed=True)


def test_other_package_versions_are_refused_unless_allowed(folder):
    begun_with = identity()
    begun_with["packages"] = begun_with["packages"] | {"keras": "0.0.1"}
    write_identity(folder, begun_with)
    message = r"begun with keras 0\.0\.1, here is .*--allow-changed-versions"
    with pytest.raises(UserError, match=message):
        search_plan.check_identity(folder, identity(), allow_changed=False)
    search_plan.check_identity(folder, identity(), allow_changed=True)


# The folder


def choose(root, out=None, **changes):
    options = search_plan.TuneOptions(
        config=config(**changes), name="tiny", data=None, out=out, root=root, cache=root
    )
    return search_plan.choose_folder(options, DIGITS).folder


def begin(path, of=None, complete=False):
    folder = SearchFolder(path)
    write_identity(folder, of or identity())
    folder.write_record(SearchRecord(Objective.ACCURACY, (), {}, (), complete=complete))


def test_newest_unfinished_folder_of_the_same_search_is_chosen(tmp_path):
    assert choose(tmp_path) == tmp_path / "tune-tiny-1"
    begin(tmp_path / "tune-tiny-1")
    begin(tmp_path / "tune-tiny-2")
    begin(tmp_path / "tune-tiny-3", complete=True)
    begin(tmp_path / "tune-tiny-4", identity(seed=6))
    begin(tmp_path / "tune-tiny-5", identity() | {"settings_format": 2})
    (tmp_path / "tune-tiny-6").mkdir()
    (tmp_path / "tune-tiny-6" / "diary.txt").write_text("mine")
    assert choose(tmp_path) == tmp_path / "tune-tiny-2"
    assert choose(tmp_path, seed=6) == tmp_path / "tune-tiny-4"
    assert choose(tmp_path, seed=8) == tmp_path / "tune-tiny-7"
    (tmp_path / "tune-tiny-9").mkdir()  # empty, as a killed process left it
    assert choose(tmp_path, seed=8) == tmp_path / "tune-tiny-9"


def test_other_package_versions_go_on_in_the_same_folder(tmp_path):
    begun_with = identity()
    begun_with["packages"] = begun_with["packages"] | {"keras": "0.0.1"}
    begin(tmp_path / "tune-tiny-1", begun_with)
    assert choose(tmp_path) == tmp_path / "tune-tiny-1"


def test_given_folder_is_taken_if_nothing_in_it_could_be_lost(tmp_path):
    given = tmp_path / "mine"
    assert choose(tmp_path, out=given) == given
    begin(given, identity(seed=6))  # `check_identity` refuses it by name
    assert choose(tmp_path, out=given) == given
    other = tmp_path / "other"
    other.mkdir()
    (other / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match=r"other: expected a new or empty folder, or that of a sea"):
        choose(tmp_path, out=other)
    with pytest.raises(UserError, match=r"diary\.txt: expected a folder, found a file; give anoth"):
        choose(tmp_path, out=other / "diary.txt")


@pytest.fixture
def cores(monkeypatch):
    """Give this machine a number of cores."""

    def give(number):
        monkeypatch.setattr(environment, "usable_cores", lambda: number)

    return give


AUTO = {"batch_size": 32, "threads": "auto"}
ON_FOUR = {"batch_size": 32, "threads": 4}


def test_auto_goes_on_with_the_number_of_the_search(tmp_path, cores):
    cores(4)
    assert choose(tmp_path, train=AUTO) == tmp_path / "tune-tiny-1"
    begin(tmp_path / "tune-tiny-1", identity(train=ON_FOUR))
    begin(tmp_path / "tune-tiny-2", identity(train=ON_FOUR), complete=True)
    cores(1)
    assert choose(tmp_path, train=AUTO) == tmp_path / "tune-tiny-1"
    # A number that is given is another search.
    assert choose(tmp_path, train=AUTO | {"threads": 1}) == tmp_path / "tune-tiny-3"
    # Of an earlier version, when 2 was the default.
    begin(tmp_path / "tune-tiny-3", identity())
    assert "threads" not in identity()["config"]["train"]
    assert choose(tmp_path, train=AUTO) == tmp_path / "tune-tiny-3"


def test_what_a_search_was_begun_with(folder, tmp_path):
    begun = Begun(config().train.threads, {"cnn": "float32"})
    assert search_plan.begun_with(folder) == begun
    assert search_plan.begun_with(SearchFolder(tmp_path / "new")) == Begun()
    write_identity(folder, identity(train={"precision": "bfloat16"}))
    assert search_plan.begun_with(folder).precisions == {"cnn": "bfloat16"}
    write_identity(folder, identity() | {"config": {"energy": 7}})
    assert search_plan.begun_with(folder) == Begun()


# --save


def test_only_what_a_search_has_saved_is_replaced(tmp_path):
    saved, mine = tmp_path / "saved.yaml", tmp_path / "mine.yaml"
    search_plan.check_save(None)
    search_plan.check_save(saved)
    saved.write_text(f"{search_plan.HEADER}: trial 3 of 7\nseed: 5\n")
    search_plan.check_save(saved)
    mine.write_bytes(b"\xff: no UTF-8")
    for path, found in ((mine, "another"), (tmp_path, "a folder")):
        message = rf"--save .*: expected a new file, or one that a search has saved, found {found};"
        with pytest.raises(UserError, match=message):
            search_plan.check_save(path)


def test_place_to_save_at_must_be_one_that_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    search_plan.check_save(tmp_path / "new" / "deeper" / "best.yaml")
    with pytest.raises(
        UserError, match=r"--save .*best\.yaml: .*file is a file; give another path"
    ):
        search_plan.check_save(tmp_path / "file" / "best.yaml")
    monkeypatch.setattr(search_plan.os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(UserError, match=r"best\.yaml: .* cannot be written; give another path"):
        search_plan.check_save(tmp_path / "best.yaml")


# The rows of a search


def test_rows_of_a_search_are_a_fraction_of_each_class_and_fold():
    labels = np.repeat(np.arange(10), 24)  # 24 of each class: 8 in each of three folds
    split = [np.flatnonzero(np.arange(240) % 3 == fold) for fold in range(3)]
    rows, places = search_plan.rows_of_search(labels, split, 1, 0.26, 5)
    assert len(rows) == 2 * 10 * 2  # 2.08 of 8
    assert np.array_equal(rows, np.unique(rows))
    for heldout, fold in zip(places, split, strict=False):
        assert np.isin(rows[heldout], fold).all()
        assert np.bincount(labels[rows[heldout]]).tolist() == [2] * 10
    assert np.array_equal(np.sort(np.concatenate(places)), np.arange(40))
    again, _ = search_plan.rows_of_search(labels, split, 1, 0.26, 5)
    other, _ = search_plan.rows_of_search(labels, split, 1, 0.26, 6)
    assert np.array_equal(again, rows)
    assert not np.array_equal(other, rows)


def test_rows_of_a_search_are_one_of_each_class_at_least_and_all_at_most():
    labels = np.repeat(np.arange(10), 24)
    split = [np.flatnonzero(np.arange(240) % 3 == fold) for fold in range(3)]
    few, _ = search_plan.rows_of_search(labels, split, 2, 0.001, 5)
    assert np.bincount(labels[few]).tolist() == [1] * 10
    every, places = search_plan.rows_of_search(labels, split, 0, 1.0, 5)
    assert np.array_equal(every, np.arange(240))
    assert all(np.array_equal(*two) for two in zip(places, split, strict=True))
