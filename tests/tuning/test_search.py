"""A search from a config to the best one, with nets that are trained and without."""

import io
import json
import math
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from fake_trials import RATE, SETTINGS, FakeTraining
from rich.console import Console

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Tune, TuningProvenance
from kaggle_digits.data import demo, folds, sources
from kaggle_digits.data.digits import read_digits
from kaggle_digits.errors import UserError
from kaggle_digits.report import search_page, tensorboard
from kaggle_digits.runs import pipeline
from kaggle_digits.storage import files
from kaggle_digits.system import environment
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import Stopped, TimeBudget
from kaggle_digits.training import precision
from kaggle_digits.training.fit_spec import Inputs
from kaggle_digits.tuning import chief_worker, oracles, search, search_plan
from kaggle_digits.tuning.search_folder import SearchFolder
from kaggle_digits.tuning.trial import TrialEvaluator

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FOLDS, SEARCHED = 3, 2
MANY = 60  # evaluated trials: a search of a test that has more does not end
TUNE = {
    "oracle": "random",
    "max_trials": 3,
    "row_fraction": 0.3,
    "racing_alpha": 0.0,
    "space": {RATE: {"low": 2e-3, "high": 8e-2, "sampling": "log"}},
}
OF_THIS_MACHINE = ("KAGGLE_DIGITS_DATA", "KAGGLE_DIGITS_CACHE", "KAGGLE_KERNEL_RUN_TYPE")
OF_THE_CLOCK = ("seconds_per_fit", "seconds", "images_per_second", "peak_memory_bytes")


def config(tune=None, **changes):
    values = SETTINGS | {"folds": {"count": FOLDS}} | changes
    return loading.from_values(values | {"tune": TUNE | (tune or {})})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def digits():
    return read_digits(sources.Source("demo data", demo=True))


@pytest.fixture(autouse=True)
def no_endless_search(monkeypatch):
    evaluate, evaluated = TrialEvaluator.evaluate, []

    def counted(self, trial, settings, planned):
        evaluated.append(trial)
        assert len(evaluated) < MANY
        return evaluate(self, trial, settings, planned)

    monkeypatch.setattr(TrialEvaluator, "evaluate", counted)


def run_search(cache, path, of=None, budget=None, **wishes):
    """Search in this process; return (folder, what was said)."""
    console = Console(file=io.StringIO(), soft_wrap=True)
    wishes.setdefault("out", path / "search")
    options = search_plan.TuneOptions(
        of or config(), "tiny", wishes.pop("data", None), root=path, cache=cache, **wishes
    )
    try:
        folder = search.tune(options, Reporter(console), budget or TimeBudget())
    finally:
        print(console.file.getvalue())  # pytest shows it beside what failed
    return folder, console.file.getvalue()


def record_of(folder):
    return json.loads(folder.found.read_text())


def trials_of(folder):
    """What must not depend on how a search came about."""
    return [
        {name: value for name, value in trial.items() if name not in OF_THE_CLOCK}
        for trial in record_of(folder)["trials"]
    ]


# A search with nets that are trained, once


@pytest.fixture(scope="module")
def searched(tmp_path_factory, cache):
    path = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patched:
        for name in OF_THIS_MACHINE:
            patched.delenv(name, raising=False)
        patched.chdir(path)
        against = {"other": config(train=SETTINGS["train"] | {"epochs": 1}, seed=77)}
        folder, said = run_search(cache, path, save=path / "saved.yaml", against=against)
    return SimpleNamespace(folder=folder, said=said, saved=path / "saved.yaml")


def test_folder_holds_all_that_was_found(searched):
    folder = searched.folder
    names = {path.name for path in folder.folder.iterdir() if not path.name.startswith(".")}
    assert names == {
        "best.yaml",
        "candidates",
        "holdout",
        "oracle",
        "report.html",
        "search.json",
        "search_record.json",
        "tensorboard",
        "tune.log",
    }
    assert list(folder.tensorboard.rglob("events.out.tfevents.*"))
    assert "<html" in folder.page.read_text()
    assert searched.said.splitlines()[-3].strip() in folder.log.read_text()
    said = " ".join(searched.said.split())
    assert f"train the best kaggle-digits run --config {folder.best} its config" in said
    assert f"the page {folder.page} Trials and costs" in said
    assert not [
        path for path in folder.folder.rglob("*") if path.name.startswith(files.TEMP_PREFIX)
    ]


def test_record_holds_the_trials_results(searched):
    found = record_of(searched.folder)
    assert found["complete"] is True
    results = searched.folder.read_results()
    assert [trial["trial"] for trial in found["trials"]] == sorted(results) == ["0", "1", "2"]
    for trial in found["trials"]:
        assert vars(results[trial["trial"]]) == trial
        assert (trial["status"], trial["folds"]) == ("completed", SEARCHED)
    assert found["trials"][0]["settings"] == {RATE: 0.02}  # as the config has it
    assert found["start"] == {RATE: 0.02}


def test_record_and_page_hold_what_people_want_to_know(searched):
    found = record_of(searched.folder)
    assert found["demo_data"] is True
    assert found["log_keys"] == [RATE]
    assert [(name, len(curve["loss"])) for name, curve in found["curves"].items()] == [
        ("cnn-fold1", 2),
        ("cnn-fold2", 2),
    ]
    assert found["resolution"]["rows"] == best_of(searched)["rows"]
    assert re.match(r"tensorflow 2.*, keras 3.*; ", found["machine"]["runs on"])
    assert found["machine"]["runs on"] in searched.said
    assert "keras " in found["machine"]["versions"]
    page = searched.folder.page.read_text()
    assert "<b>DEMO DATA</b>" in page
    assert str(searched.folder.best) in page


def best_of(searched):
    trials = record_of(searched.folder)["trials"]
    return min(trials, key=lambda trial: (trial["errors"], trial["trial"]))


def test_best_config_is_ready_for_a_run(searched, digits):
    best = best_of(searched)
    text = searched.folder.best.read_text()
    assert searched.saved.read_text() == text
    images, labels = digits.train_images, digits.train_labels
    held_out = np.isin(np.arange(len(labels)), folds.stratified(labels, FOLDS, 5)[-1])
    tuned = TuningProvenance(
        train_data=files.digest(images, labels),
        holdout_digest=files.digest(images[held_out], labels[held_out]),
        searched_digest=files.digest(images[~held_out], labels[~held_out]),
        seed=5,
        folds=FOLDS,
        holdout_folds=1,
        trials=3,
    )
    expected = loading.changed(config(), best["settings"])
    expected = expected.model_copy(update={"tune": Tune(), "tuned": (tuned,)})
    assert loading.load(str(searched.folder.best)) == expected
    lines = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("#")]
    assert lines[0] == (
        f"Found by kaggle-digits tune: trial {best['trial']} of 3, random search for the best "
        "accuracy."
    )
    assert lines[1] == (
        "On folds 1 to 2 of 3 (seed 5), 30 % of their rows and 100 % of the epochs: "
        f"{best['accuracy']:.5f} ({best['errors']} of {best['rows']} wrong)."
    )
    assert lines[2] == "That figure is optimistic: this trial was picked because of it."
    assert lines[3] == "DEMO DATA: these settings mean nothing."
    assert lines[4] == "Changed by the search:"
    changed = [f"  {RATE}: 0.02 -> {best['settings'][RATE]:.4g}"]
    assert lines[5:] == (changed if best["settings"][RATE] != 0.02 else [])


def test_no_trial_sees_a_held_out_row(searched, digits):
    labels = digits.train_labels
    split = folds.stratified(labels, FOLDS, 5)
    rows, places = search_plan.rows_of_search(labels, split, 1, 0.3, 5)
    assert not np.isin(rows, split[-1]).any()
    images = digits.train_images
    seen = Inputs(images[rows], labels[rows], images[:0])
    facts = [
        json.loads(path.read_text())
        for path in searched.folder.candidates.glob("*/fits/*/fit.json")
    ]
    assert len(facts) == 3 * SEARCHED
    for each in (facts["identity"] for facts in facts):
        assert each["inputs_key"] == seen.key
        assert each["heldout_rows"] == files.digest(places[each["fold"]])


def wrong_on_holdout(searched, digits, candidate):
    """Which rows of the holdout fold a candidate predicts wrongly, from its fit's files."""
    held_out = folds.stratified(digits.train_labels, FOLDS, 5)[-1]
    digest = files.digest_json(loading.without_tuning(candidate).identity())
    folder = searched.folder.holdout_fits(digest)
    assert folder.finished_fits() == [("cnn", FOLDS - 1)]
    predicted = folder.read_fit_arrays("cnn", FOLDS - 1)["heldout"]
    identity = folder.read_fit("cnn", FOLDS - 1)["identity"]
    assert identity["heldout_rows"] == files.digest(held_out)
    every = Inputs(digits.train_images, digits.train_labels, digits.train_images[:0])
    assert identity["inputs_key"] == every.key
    return predicted.argmax(axis=1) != digits.train_labels[held_out]


def assert_compared(check, start, best):
    only_start, only_best = int((start & ~best).sum()), int((best & ~start).sum())
    assert check["folds"] == [FOLDS]
    for name, wrong in (("reference", start), ("best", best)):
        assert (check[name]["rows"], check[name]["errors"]) == (len(wrong), wrong.sum())
        assert check[name]["accuracy"] == pytest.approx(1 - wrong.mean())
        low, high = check[name]["interval"]
        assert low < check[name]["accuracy"] < high
        assert check[name]["seconds_per_fit"] > 0
    assert (check["only_reference_wrong"], check["only_best_wrong"]) == (only_start, only_best)
    count, fewer = only_start + only_best, min(only_start, only_best)
    tail = sum(math.comb(count, k) for k in range(fewer + 1)) / 2**count
    assert check["p_value"] == pytest.approx(min(1.0, 2 * tail))


def test_check_is_made_on_the_holdout_fold(searched, digits):
    found, best = record_of(searched.folder), best_of(searched)
    wrong = wrong_on_holdout(searched, digits, loading.changed(config(), best["settings"]))
    assert_compared(found["check"], wrong_on_holdout(searched, digits, config()), wrong)
    other = config(train=SETTINGS["train"] | {"epochs": 1})  # with the search's seed
    theirs = wrong_on_holdout(searched, digits, other)
    assert_compared(found["against"]["other"], theirs, wrong)
    assert f"check of other on the holdout folds: {theirs.sum()} of {len(theirs)} rows" in (
        searched.said
    )


def test_run_says_that_its_figure_is_optimistic(searched, digits, cache, tmp_path, monkeypatch):
    for name in OF_THIS_MACHINE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    console = Console(file=io.StringIO(), soft_wrap=True)
    tuned = loading.load(str(searched.saved), ["train.epochs=1"])
    options = pipeline.RunOptions(tuned, "best", None, tmp_path / "run", cache)
    pipeline.run(options, Reporter(console), TimeBudget())
    said = console.file.getvalue()
    assert re.search(r"OPTIMISTIC\W+a search chose these settings, perhaps by some of the", said)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    unseen = folds.stratified(digits.train_labels, FOLDS, 5)[-1]
    oof = files.read_arrays(tmp_path / "run" / "predictions.npz")["oof"][unseen]
    wrong = int((oof.argmax(axis=1) != digits.train_labels[unseen]).sum())
    assert metrics["optimistic"] is True
    assert (metrics["holdout"]["errors"], metrics["holdout"]["rows"]) == (wrong, len(unseen))
    assert re.search(rf"  on unseen rows .*\({wrong} of {len(unseen)} rows wrong\)", said)


# Searches whose nets the test knows


class Training(FakeTraining):
    """The nearer the rate is to 0.05, the fewer rows are wrong."""

    def true_of(self, spec):
        away = abs(math.log10(spec.settings.train.learning_rate / 0.05))
        wrong = round((0.1 + 0.3 * away) * len(spec.heldout_rows))
        return np.where(np.arange(len(spec.heldout_rows)) < wrong, 0.1, 0.9)


@pytest.fixture
def training(monkeypatch, tmp_path):
    fake = Training()
    fake.install(monkeypatch)
    monkeypatch.setattr(search_page, "write_page", lambda record, title, path, command: None)
    monkeypatch.setattr(tensorboard, "write_log", lambda record, folder: None)
    for name in OF_THIS_MACHINE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def run_one(training, cache, tmp_path):
    return lambda path=tmp_path, **wishes: run_search(cache, path, **wishes)


def test_repeated_search_trains_nothing(run_one, training):
    folder, said = run_one()
    assert len(training.begun) == 3 * SEARCHED + 2
    before, best = record_of(folder), folder.best.read_bytes()
    training.begun.clear()
    folder, said = run_one()
    assert training.begun == []
    assert "reused: 3 trials, ended earlier" in said
    after = record_of(folder)
    assert (after["trials"], after["check"]) == (before["trials"], before["check"])
    assert after["complete"] is True
    assert folder.best.read_bytes() == best


@pytest.mark.parametrize("oracle", ["random", "bayesian", "hyperband", "grid"])
def test_more_trials_go_on_with_a_complete_search(run_one, training, tmp_path, oracle):
    tune = {"oracle": oracle, "num_initial_points": 4}
    if oracle == "grid":
        tune["space"] = {RATE: {"choices": [0.01, 0.02, 0.03, 0.04, 0.05]}}
    whole, _ = run_one(tmp_path / "whole", of=config(tune), trials=5)
    assert len(trials_of(whole)) == 5
    training.begun.clear()
    run_one(of=config(tune), trials=3)
    more, said = run_one(of=config(tune), trials=5)
    assert "reused: 3 trials" in said
    assert trials_of(more) == trials_of(whole)
    assert len(training.begun) == len(list(more.folder.glob("*/*/fits/*/fit.json")))  # each once


def test_hyperband_adds_folds_to_what_is_there(run_one, training):
    tune = {"oracle": "hyperband"}
    folder, _ = run_one(of=config(tune, folds={"count": 5}), trials=7)
    trials = record_of(folder)["trials"]
    assert [trial["folds_planned"] for trial in trials] == [1, 1, 1, 1, 2, 2, 4]
    assert [trial["folds"] for trial in trials] == [1, 1, 1, 1, 2, 2, 4]
    assert len({trial["candidate"] for trial in trials}) == 4
    assert len(training.begun) == 4 + 2 + 2 + 2  # new folds by round, then the check
    best = loading.load(str(folder.best))
    assert best.train.learning_rate == trials[-1]["settings"][RATE]


def test_kill_anywhere_loses_nothing(run_one, training, tmp_path):
    whole, _ = run_one(tmp_path / "whole")
    steps = 0

    def count(spec, epoch):
        nonlocal steps
        steps += 1

    class KilledError(BaseException):
        pass

    def kill_at(number):
        def at_epoch(spec, epoch):
            nonlocal steps
            steps += 1
            if steps == number:
                raise KilledError

        return at_epoch

    # A fit has 4 steps: the trials' take 24, those of the check 8.
    for number in (1, 6, 15, 20, 26, 31):
        steps = 0
        training.at_epoch = kill_at(number)
        with pytest.raises(KilledError):
            run_one(tmp_path / str(number))
        training.at_epoch = count
        folder, _ = run_one(tmp_path / str(number))
        # Once more is only trained what was not kept yet.
        assert steps <= 32 + 1
        assert trials_of(folder) == trials_of(whole)
        for name in ("check", "complete"):
            assert record_of(folder)[name] == record_of(whole)[name]
        assert folder.best.read_bytes() == whole.best.read_bytes()


def test_log_loss_is_made_low(run_one):
    folder, _ = run_one(of=config({"objective": "log_loss", "max_trials": 4}))
    trials = record_of(folder)["trials"]
    assert all(trial["objective"] == trial["log_loss"] for trial in trials)
    lowest = min(trials, key=lambda trial: trial["log_loss"])
    assert loading.load(str(folder.best)).train.learning_rate == lowest["settings"][RATE]
    assert f"log loss {lowest['log_loss']:.5f}" in folder.best.read_text().splitlines()[1]


def test_grid_tries_all_combinations(run_one):
    space = {
        RATE: {"choices": [0.01, 0.02]},
        "train.optimizer": {"choices": ["adamw", "sgd"]},
        "train.momentum": {"choices": [0.8, 0.9], "when": {"train.optimizer": "sgd"}},
    }
    folder, said = run_one(of=config({"oracle": "grid", "max_trials": None, "space": space}))
    assert "search: grid, all combinations" in said
    settings = [trial["settings"] for trial in record_of(folder)["trials"]]
    assert len(settings) == 2 * (1 + 2)
    assert len({json.dumps(each, sort_keys=True) for each in settings}) == 6
    assert settings[0] == {RATE: 0.02, "train.optimizer": "adamw"}
    assert sum("train.momentum" in each for each in settings) == 4


def test_no_holdout_fold_means_no_check(run_one, training):
    folder, _ = run_one(of=config({"holdout_folds": 0}))
    assert record_of(folder)["check"] is None
    assert len(training.begun) == 3 * FOLDS
    assert loading.load(str(folder.best)).tuned[0].holdout_folds == 0


def test_search_uses_the_configs_callbacks(run_one, training):
    with_callbacks = config(callbacks=["keras.callbacks:Callback"])
    folder, said = run_one(of=with_callbacks)
    assert "callbacks: keras.callbacks:Callback; they are no part of a fit's identity" in said
    made = [[type(each).__name__ for each in of_fit] for of_fit in training.callbacks]
    assert made == [["Callback"]] * (3 * SEARCHED + 2)  # the check's fits have them too
    assert loading.load(str(folder.best)).callbacks == ("keras.callbacks:Callback",)
    training.begun.clear()
    again, said = run_one()
    assert again.folder == folder.folder
    assert "callbacks" not in said
    assert training.begun == []


def test_new_setting_at_its_default_refuses_no_earlier_search(
    run_one, training, become_later_version, monkeypatch
):
    folder, _ = run_one()
    whole, _ = run_one(folder.folder.parent / "whole", trials=4)
    training.begun.clear()
    monkeypatch.setattr(search_plan, "Config", become_later_version())
    assert config().train.gradient_clip == 0
    run_one(trials=4)
    assert training.begun[:2] == [("cnn fold 1", 0), ("cnn fold 2", 0)]  # the fourth trial
    assert {fit for fit, _ in training.begun[2:]} <= {"cnn fold 3"}  # the check of a new best
    assert trials_of(folder) == trials_of(whole)
    with pytest.raises(UserError, match=r"another train\.gradient_clip: 0\.0 there, 1\.0 here"):
        run_one(of=config(train=SETTINGS["train"] | {"gradient_clip": 1.0}))


# Bounds and failures


def test_all_trials_out_of_bounds(run_one, training):
    with pytest.raises(UserError, match=r"no trial has come to its end .*--max-parameters 9") as e:
        run_one(max_parameters=9)
    assert "with another tune.space and --out" in str(e.value)
    assert training.begun == []


def test_failed_trials_are_kept_apart(run_one, training, tmp_path):
    training.losses = {(1, attempt): math.nan for attempt in (1, 2)}
    with pytest.raises(UserError, match=r"the first: cnn fold 2 diverged: loss is nan in"):
        run_one()
    found = record_of(SearchFolder(tmp_path / "search"))
    assert [trial["status"] for trial in found["trials"]] == ["failed"] * 3
    assert found["complete"] is True
    assert not (tmp_path / "search" / "best.yaml").exists()


def test_seconds_bound_the_trials_and_not_the_check(run_one, training):
    # On all rows a fit takes longer than on a fraction of them.
    training.at_epoch = lambda spec, epoch: training.seconds.__setitem__(
        slice(None), [30.0, 30.0] if spec.fold == SEARCHED else [1.0, 1.0]
    )
    folder, _ = run_one(max_seconds_per_fit=10.0)
    found = record_of(folder)
    assert [trial["status"] for trial in found["trials"]] == ["completed"] * 3
    assert found["check"]["reference"]["rows"] > 0


def test_check_that_cannot_be_made_is_reported(run_one, training):
    training.losses = {(SEARCHED, attempt): math.nan for attempt in (1, 2)}
    folder, said = run_one()
    for name in ("the best", "the start"):
        assert f"no check of {name} on the holdout folds: cnn fold {FOLDS} diverged: " in said
    assert record_of(folder)["check"] is None
    assert folder.best.is_file()


# Time limits and signals


def test_time_limit_leaves_time_for_the_check(run_one, training):
    training.seconds = [10.0, 10.0]  # 15 images/s; a check on 930 rows is thought to take longer
    folder, said = run_one(budget=TimeBudget(230.0))  # so half of it is kept free for the check
    assert "time limit of 3 min 50 s: ended after " in said
    assert "repeat the command to continue" in said
    assert training.now < 230
    found = record_of(folder)
    assert found["complete"] is False
    statuses = [(trial["status"], trial["folds"]) for trial in found["trials"]]
    assert statuses == [("completed", 2), ("completed", 2), ("running", 0)]
    assert folder.best.is_file()
    assert found["check"]["best"]["rows"] > 0

    training.begun.clear()
    folder, _ = run_one()
    assert record_of(folder)["complete"] is True
    assert training.begun[0] == ("cnn fold 1", 2)  # trained, without time to predict
    whole, _ = run_one(folder.folder.parent / "whole")
    assert trials_of(folder) == trials_of(whole)
    assert record_of(folder)["check"] == record_of(whole)["check"]


def test_time_limit_before_the_first_trial_is_over(run_one, training, tmp_path):
    training.seconds = [10.0, 10.0]
    with pytest.raises(UserError, match=r"no trial has come to its end yet; repeat with more time"):
        run_one(budget=TimeBudget(20.0))
    folder = SearchFolder(tmp_path / "search")
    assert record_of(folder)["complete"] is False
    assert not folder.best.exists()
    run_one()
    assert record_of(folder)["complete"] is True


def test_signal_ends_a_search_with_all_that_it_has_found(run_one, training, tmp_path):
    budget = TimeBudget()

    def interrupt(spec, epoch):
        if len(training.begun) == 4:
            budget.signals.received = 2

    training.at_epoch = interrupt
    with pytest.raises(Stopped):
        run_one(budget=budget)
    folder = SearchFolder(tmp_path / "search")
    found = record_of(folder)
    assert found["complete"] is False
    assert [trial["status"] for trial in found["trials"]] == ["completed", "running"]
    assert folder.best.is_file()


# Whose search it is


CHANGES = {
    "the space": (
        {"tune": {"space": {RATE: {"low": 2e-3, "high": 9e-2, "sampling": "log"}}}},
        rf"another tune\.space\.{RATE}\.high: 0\.08 there, 0\.09 here; give another --out",
    ),
    "one more setting": (
        {"tune": {"space": TUNE["space"] | {"model.dropout": {"low": 0.1, "high": 0.5}}}},
        r"another tune\.space\.model\.dropout\.low: not set there, 0\.1 here",
    ),
    "the race": (
        {"tune": {"racing_alpha": 0.1}},
        r"another tune\.racing_alpha: 0\.0 there, 0\.1 here",
    ),
    "a setting": (
        {"train": SETTINGS["train"] | {"batch_size": 64}},
        r"another train\.batch_size: 32 there, 64 here",
    ),
    "the seed": ({"seed": 6}, r"another seed: 5 there, 6 here"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_search_of_another_config_is_refused(run_one, tmp_path, case):
    changes, message = CHANGES[case]
    folder, _ = run_one()
    kept = folder.found.read_bytes()
    with pytest.raises(UserError, match=message) as caught:
        run_one(of=config(**changes))
    assert str(folder.folder) in str(caught.value)
    assert folder.found.read_bytes() == kept


def test_search_of_other_data_is_refused(run_one, tmp_path):
    run_one()
    train, test = demo.csv_files().values()
    (tmp_path / "data").mkdir()
    # One row less.
    (tmp_path / "data" / "train.csv").write_bytes(train[: train.rstrip().rindex(b"\n") + 1])
    (tmp_path / "data" / "test.csv").write_bytes(test)
    with pytest.raises(UserError, match=r"begun with another data\.train\.csv; give another"):
        run_one(data=tmp_path / "data")


def test_search_of_other_package_versions_is_refused(run_one):
    folder, _ = run_one()
    identity = json.loads(folder.identity.read_text())
    identity["packages"]["keras"] = "0.0.1"
    folder.identity.write_text(json.dumps(identity))
    message = r"begun with keras 0\.0\.1, here is .*--allow-changed-versions"
    with pytest.raises(UserError, match=message):
        run_one()
    run_one(allow_changed_versions=True, trials=4)
    assert len(record_of(folder)["trials"]) == 4


def test_number_of_trials_and_place_of_the_data_are_no_other_search(run_one, tmp_path):
    train, test = demo.csv_files().values()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_bytes(train)
    (tmp_path / "data" / "test.csv").write_bytes(test)
    run_one()
    folder, _ = run_one(of=config({"max_trials": 4}), data=tmp_path / "data")
    assert len(record_of(folder)["trials"]) == 4


def test_folder_is_chosen(run_one, training, tmp_path):
    first, _ = run_one(out=None)
    assert first.folder == tmp_path / "tune-tiny-1"
    training.seconds = [10.0, 10.0]
    second, _ = run_one(out=None, budget=TimeBudget(200.0))  # the first one is complete
    assert second.folder == tmp_path / "tune-tiny-2"
    third, _ = run_one(out=None, of=config({"racing_alpha": 0.1}), budget=TimeBudget(200.0))
    assert third.folder == tmp_path / "tune-tiny-3"
    (tmp_path / "tune-tiny-4").mkdir()
    (tmp_path / "tune-tiny-4" / "diary.txt").write_text("mine")
    again, _ = run_one(out=None)
    assert again.folder == second.folder
    assert record_of(again)["complete"] is True
    fresh, _ = run_one(out=None)
    assert fresh.folder == tmp_path / "tune-tiny-5"


@pytest.mark.parametrize("name", ["notes", "run"])
def test_folder_with_other_files_is_refused(run_one, tmp_path, name):
    folder = tmp_path / "search"
    folder.mkdir()
    (folder / name).write_text("mine")
    with pytest.raises(UserError, match=r"expected a new or empty folder, .*found other files"):
        run_one()
    assert [path.name for path in folder.iterdir()] == [name]
    with pytest.raises(UserError, match=r"notes: expected a folder, found a file|run: expected"):
        run_one(out=folder / name)


def test_a_second_process_is_refused(run_one, tmp_path):
    with (
        SearchFolder(tmp_path / "search").locked(),
        pytest.raises(UserError, match="is at work in this folder"),
    ):
        run_one()


def test_save_replaces_only_what_a_search_has_saved(run_one, tmp_path, training):
    mine = tmp_path / "mine.yaml"
    mine.write_text("train: {epochs: 3}\n")
    for path in (mine, tmp_path):
        with pytest.raises(UserError, match=r"--save .*: expected a new file, or one that a"):
            run_one(save=path)
    assert training.begun == []
    assert mine.read_text() == "train: {epochs: 3}\n"
    saved = tmp_path / "saved.yaml"
    run_one(save=saved)
    before = saved.read_text()
    folder, _ = run_one(save=saved, trials=6)
    assert saved.read_text() == folder.best.read_text() != before
    assert yaml.safe_load(before)["tuned"][0]["trials"] == 3


def test_worker_without_its_chiefs_folder_is_refused(run_one, monkeypatch, tmp_path):
    class Asked:
        """A tuner whose chief answers."""

        def __init__(self, oracle, folder, evaluate, cluster, watch):
            assert cluster.tuner == "worker1"

        def search(self, check):
            check()

    monkeypatch.setattr(oracles, "Tuner", Asked)
    monkeypatch.setattr(
        chief_worker, "from_environment", lambda: chief_worker.Cluster("worker1", "127.0.0.1", 1)
    )
    with pytest.raises(UserError, match=r"expected the chief's search folder, found none; give"):
        run_one()
    assert not (tmp_path / "search").exists()


def test_worker_of_another_config_is_refused(run_one, monkeypatch, training):
    folder, _ = run_one()
    training.begun.clear()

    class Asked:
        def __init__(self, oracle, folder, evaluate, cluster, watch):
            self.evaluate = evaluate

        def search(self, check):
            check()
            self.evaluate("3", {RATE: 0.03})

    monkeypatch.setattr(oracles, "Tuner", Asked)
    monkeypatch.setattr(
        chief_worker, "from_environment", lambda: chief_worker.Cluster("worker1", "127.0.0.1", 1)
    )
    with pytest.raises(UserError, match=r"another seed: 5 there, 6 here"):
        run_one(of=config(seed=6))
    assert training.begun == []
    run_one()
    assert training.begun == [("cnn fold 1", 0), ("cnn fold 2", 0)]
    assert folder.read_results()["3"].status == "completed"


def test_capped_warmup_is_said(run_one):
    _, said = run_one(of=config(train=SETTINGS["train"] | {"warmup_epochs": 2}))
    assert "train.warmup_epochs: 2 is capped at 0.4, train.epochs is 2\n" in said


# Threads

OF_THE_MACHINE = config(train=SETTINGS["train"] | {"threads": "auto"})


@pytest.fixture
def cores(monkeypatch):
    """Give this machine a number of cores."""

    def give(number):
        monkeypatch.setattr(environment, "usable_cores", lambda: number)

    return give


def threads_of(folder):
    """The numbers that the fits of a search were made with; 2 where their identity has none."""
    facts = [run.read_fit(*fit) for run in folder.all_candidates() for fit in run.finished_fits()]
    return {fact["identity"]["settings"]["train"].get("threads", 2) for fact in facts}


def test_search_keeps_the_number_of_threads_that_it_began_with(run_one, cores):
    cores(4)
    folder, said = run_one(of=OF_THE_MACHINE)
    assert "train.threads" not in said
    assert threads_of(folder) == {4}
    assert json.loads(folder.identity.read_text())["config"]["train"]["threads"] == 4
    assert loading.load(str(folder.best)).train.threads == "auto"
    cores(1)
    _, said = run_one(of=OF_THE_MACHINE, trials=4)
    assert "train.threads: 4, as the search was begun; this machine has 1 usable core\n" in said
    assert len(record_of(folder)["trials"]) == 4
    assert threads_of(folder) == {4}
    assert loading.load(str(folder.best)).train.threads == "auto"
    with pytest.raises(UserError, match=r"another train\.threads: 4 there, 2 here"):
        run_one()


def test_auto_leaves_the_number_of_a_search_that_was_begun_with_one(run_one, cores):
    # As all searches of earlier versions were; theirs was 2 by default.
    cores(4)
    folder, _ = run_one()
    before = folder.best.read_text()
    run_one(of=OF_THE_MACHINE)
    assert folder.best.read_text() == before
    assert yaml.safe_load(before)["train"]["threads"] == 2


def test_config_to_compare_with_gets_the_threads_of_the_search(run_one, cores):
    cores(4)
    other = config(train=SETTINGS["train"] | {"epochs": 1, "threads": "auto"})
    # As the config of a run that was extended on another machine states them.
    fours = SETTINGS["train"] | {"threads": 4}
    extended = config(train=fours, members={"cnn": {"train": {"threads": 4, "epochs": 1}}})
    against = {"other": other, "fixed": config(), "extended": extended}
    folder, _ = run_one(against=against)
    assert threads_of(folder) == {2}
    assert set(record_of(folder)["against"]) == against.keys()


def test_worker_takes_the_number_of_its_chief(run_one, monkeypatch, training, cores):
    cores(4)
    folder, _ = run_one(of=OF_THE_MACHINE)
    cores(1)
    begun_with = []

    class Asked:
        def __init__(self, oracle, folder, evaluate, cluster, watch):
            self.evaluate = evaluate

        def search(self, check):
            assert begun_with == []
            check()
            self.evaluate("3", {RATE: 0.03})

    monkeypatch.setattr(oracles, "Tuner", Asked)
    monkeypatch.setattr(search.backend, "configure", begun_with.append)
    monkeypatch.setattr(
        chief_worker, "from_environment", lambda: chief_worker.Cluster("worker1", "127.0.0.1", 1)
    )
    _, said = run_one(of=OF_THE_MACHINE)
    assert "train.threads: 4, as the search was begun; this machine has 1 usable core\n" in said
    assert begun_with[0] == 4
    assert folder.read_results()["3"].status == "completed"
    assert threads_of(folder) == {4}


# Precision


def precisions_of(folder):
    facts = [run.read_fit(*fit) for run in folder.all_candidates() for fit in run.finished_fits()]
    return {fact["identity"]["settings"]["train"].get("precision") for fact in facts}


def test_search_keeps_the_precision_that_it_began_with(run_one, monkeypatch):
    auto = config(train=SETTINGS["train"] | {"precision": "auto"})
    native = precision.Choice("bfloat16", "the processor has avx512_bf16")
    monkeypatch.setattr(precision, "here", lambda threads: native)
    other = config(train=SETTINGS["train"] | {"epochs": 1, "precision": "auto"})
    folder, said = run_one(of=auto, against={"other": other})
    assert "train.precision: bfloat16, the processor has avx512_bf16\n" in said
    assert precisions_of(folder) == {"bfloat16"}
    identity = json.loads(folder.identity.read_text())
    assert identity["config"]["train"]["precision"] == "bfloat16"
    assert record_of(folder)["machine"]["runs on"].endswith("; bfloat16")
    # A run of the best takes what its machine is fast in, as this search did.
    assert loading.load(str(folder.best)).train.precision == "auto"
    monkeypatch.setattr(precision, "here", lambda threads: pytest.fail("it is asked"))
    _, said = run_one(of=auto, trials=4)
    assert "train.precision: bfloat16, as the search was begun\n" in said
    assert precisions_of(folder) == {"bfloat16"}
    with pytest.raises(UserError, match=r"another train\.precision: bfloat16 there, float32 here"):
        run_one()


def test_best_of_a_search_that_was_begun_with_a_precision_has_it(run_one):
    folder, _ = run_one(of=config(train=SETTINGS["train"] | {"precision": "bfloat16"}))
    run_one(of=config(train=SETTINGS["train"] | {"precision": "auto"}), trials=4)
    assert loading.load(str(folder.best)).train.precision == "bfloat16"


# The command line


COMMAND = """
import json, sys
from kaggle_digits.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""
BACKENDS = {"keras", "tensorflow", "jax", "torch", "keras_tuner", "grpc"}


@pytest.fixture
def start(tmp_path, process_env):
    """Run a command in an empty folder; return (status, output, error lines, loaded packages)."""

    def start(*arguments, **variables):
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            env=process_env | {"KAGGLE_DIGITS_CACHE": str(tmp_path / "cache")} | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        *output, loaded = done.stdout.splitlines()
        return done.returncode, output, done.stderr.splitlines(), set(json.loads(loaded))

    return start


def test_help_is_light(start):
    status, output, errors, loaded = start("tune", "--help")
    assert (status, errors) == (0, [])
    text = "\n".join(output)
    for word in ("--trials", "--time-limit", "--max-seconds-per-fit", "--save", "--against"):
        assert word in text
    assert not loaded & (BACKENDS | {"numpy"})


REFUSED = {
    "unknown key": (
        "{train.epoch: {low: 1, high: 3}}",
        "tune.space.train.epoch",
    ),
    "empty range": (
        "{train.epochs: {low: 3, high: 3}}",
        "tune.space.train.epochs: expected low below high, found the empty range 3 to 3",
    ),
    "a type that does not fit": (
        "{train.batch_size: {low: 16.5, high: 32}}",
        "tune.space.train.batch_size: does not fit",
    ),
    "contradicting conditions": (
        "{train.optimizer: {choices: [adamw, sgd]}, "
        "train.momentum: {low: 0.1, high: 0.9, when: {train.optimizer: lion}}}",
        "tune.space.train.momentum.when.train.optimizer: expected one of",
    ),
    "what all trials share": (
        "{folds.count: {low: 3, high: 5}}",
        "tune.space.folds.count: expected a setting that a trial may change",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_space_is_refused_in_one_line_before_a_backend_starts(start, tmp_path, case):
    given, message = REFUSED[case]
    (tmp_path / "mine.yaml").write_text(f"tune: {{space: {given}}}\n")
    status, _, errors, loaded = start("tune", "--config", "mine.yaml")
    assert (status, len(errors)) == (2, 1), errors
    assert errors[0].startswith("kaggle-digits: ")
    assert message in errors[0]
    assert not loaded & BACKENDS
    assert not (tmp_path / "submissions").exists()


def test_half_a_cluster_is_refused_in_one_line(start, tmp_path):
    status, _, errors, loaded = start("tune", KERASTUNER_ORACLE_IP="127.0.0.1")
    assert (status, len(errors)) == (2, 1)
    assert "KERASTUNER_ORACLE_PORT: expected a value, found none" in errors[0]
    assert not loaded & BACKENDS
