"""What a run makes of the outcomes of its fits: submission, figures, and what it says."""

import io
import json
import math
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from fake_training import (
    CONFIG,
    FIRST,
    SECOND,
    SPLIT,
    TEST_ROWS,
    FakeTraining,
    sure,
)
from lives import check_in_time
from rich.console import Console

from kaggle_digits.config.schema import Config
from kaggle_digits.data.digits import Digits
from kaggle_digits.errors import UserError
from kaggle_digits.runs import pipeline, summary
from kaggle_digits.runs.costs import Clock
from kaggle_digits.runs.figures import RunPlan
from kaggle_digits.storage import files
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import Stopped, TimeBudget
from kaggle_digits.training import resume


class Run(FakeTraining):
    """A run from the moment when its bank is filled."""

    def __init__(self, path, **options):
        super().__init__(path, **options)
        digits = Digits(
            train_images=self.inputs.train_images,
            train_labels=self.inputs.train_labels,
            test_images=self.inputs.test_images,
            test_labels=None,
            hashes={},
            source="somewhere",
            demo=False,
            leaked_rows=0,
        )
        self.reported = []
        self.console = Console(file=io.StringIO(), soft_wrap=True)
        self.job = pipeline._Job(
            folder=self.folder,
            plan=RunPlan(CONFIG, digits, self.inputs, SPLIT, self.specs),
            cache=self.cache,
            options=SimpleNamespace(callbacks=()),
            budget=self.budget,
            reporter=Reporter(self.console),
            clock=Clock(self.folder, self.budget),
            reports=SimpleNamespace(
                after_fit=lambda is_last: self.reported.append((self.finished(), is_last))
            ),
        )

    def fit(self, metrics=None):
        """Run what is to do; return the names of the fits that are not done."""
        state = resume.scan_fits(self.folder, self.specs)
        with self.signals.watched():
            state, self.found = pipeline._run_fits(self.job, state, metrics, draw_seconds=0.0)
        return [spec.name for spec in state.to_do]

    def metrics(self):
        return summary.read_metrics(self.folder)

    def said(self):
        return self.console.file.getvalue()


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """Make a run whose clock and whose training are the test's."""

    def make(**options):
        run = Run(tmp_path, **options)
        run.install(monkeypatch)
        return run

    return make


def test_a_whole_run(make_run):
    run = make_run()
    assert run.fit() == []
    metrics = run.metrics()
    assert metrics == run.found
    assert (metrics.complete, metrics.provisional) == (True, False)
    assert (metrics.fits_finished, metrics.oof_errors) == (2, 0)
    assert run.folder.read_seconds()["wall"] == 44.0
    assert run.reported == [(["a fold 1"], False), (["a fold 1", "a fold 2"], True)]
    for line in (
        # Ends and starts included, as in test_engine.
        "a fold 1, epoch 4/4: loss 0.5000, training accuracy 0.90000, 40 s left",
        "a fold 1, epoch 1/4: loss 0.5000, training accuracy 0.90000, 54 s left",
        "a fold 2 finished: 0 of 50 held-out rows wrong, accuracy 1.00000, out-of-fold accuracy so "
        "far 1.00000",
    ):
        assert line in run.said()


def test_seconds_are_noted_after_each_epoch_so_that_a_kill_takes_little(make_run):
    run, noted = make_run(), []
    run.at_step = dict.fromkeys((6, 11), lambda: noted.append(run.folder.read_seconds()["wall"]))
    run.fit()
    assert noted == [7.0, 12.0]


# By what clock the fits end: tests/training/test_engine.py.


def test_provisional_submission(make_run):
    run = make_run(limit=27.5)
    assert run.fit() == ["a fold 1", "a fold 2"]
    assert (run.steps, run.predicted) == (8, [10.0])
    metrics = run.metrics()
    assert metrics == run.found
    assert (metrics.provisional, metrics.provisional_fit) == (True, "a fold 1")
    assert metrics.provisional_identity == run.specs[0].digest
    assert metrics.provisional_epochs == pytest.approx(1.6)
    assert (metrics.complete, metrics.fits_finished, metrics.fits_planned) == (False, 0, 2)
    assert run.folder.submission.read_text().startswith("ImageId,Label\n1,3\n2,1\n")
    assert "provisional submission: from a fold 1, which is not finished" in run.said()
    assert run.folder.read_seconds()["wall"] == 10.0
    # After the first epoch, at 7 s, 350 of 400 images are left, at 10 a second.
    assert "epoch 1/4: loss 0.5000" in run.said()
    assert ", 20 s to the time limit" in run.said()


def test_without_time_for_predictions_there_is_no_submission(make_run):
    run = make_run(limit=30.0)
    run.at_step = {8: lambda: run.sleep(12.0)}
    assert run.fit() == ["a fold 1", "a fold 2"]
    assert (run.steps, run.predicted, run.saved()) == (8, [], [1, None])
    assert not run.folder.submission.exists()
    assert not run.folder.metrics.exists()
    assert run.found is None
    assert run.folder.read_seconds()["wall"] == 22.0


def test_a_finished_fit_and_one_that_is_not(make_run):
    run = make_run(limit=43.0)
    assert run.fit() == ["a fold 2"]
    metrics = run.metrics()
    # What the first fit has made stays.
    assert run.predicted == []
    assert (metrics.provisional, metrics.complete, metrics.fits_finished) == (False, False, 1)
    assert metrics.oof_rows == 50


@pytest.mark.parametrize(("epochs_before", "kept"), [(1.5, False), (1.75, True)])
def test_an_earlier_provisional_submission_is_no_fit(make_run, epochs_before, kept):
    run = make_run(limit=27.5)
    earlier = summary.RunMetrics(
        complete=False,
        provisional=True,
        fits_finished=0,
        fits_planned=2,
        provisional_epochs=epochs_before,
    )
    assert run.fit(earlier) == ["a fold 1", "a fold 2"]
    assert run.steps == 8
    assert run.predicted == ([] if kept else [10.0])
    assert (run.found is earlier) is kept


# Signals


def test_signal_before_the_first_fit_is_whole(make_run):
    run = make_run()
    run.at_step = {8: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Stopped) as caught:
        run.fit()
    assert caught.value.number == signal.SIGTERM
    # What the last batch led to makes a submission.
    assert run.metrics().provisional is True
    assert run.folder.submission.exists()


def test_signal_in_a_further_fit(make_run):
    run = make_run()
    run.at_step = {27: lambda: signal.raise_signal(signal.SIGINT)}
    with pytest.raises(Stopped):
        run.fit()
    assert (run.metrics().provisional, run.metrics().fits_finished) == (False, 1)


def test_signal_while_a_result_is_made(make_run, monkeypatch):
    run = make_run()
    write_submission = summary.write_submission

    def interrupted(*given):
        signal.raise_signal(signal.SIGTERM)
        write_submission(*given)

    monkeypatch.setattr(summary, "write_submission", interrupted)
    with pytest.raises(Stopped):
        run.fit()
    # The result of the first fit is whole, the second has not begun.
    assert run.begun == [FIRST]
    assert run.metrics().fits_finished == 1
    assert "a fold 1 finished: 0 of 50 held-out rows wrong" in run.said()


def test_signal_before_the_net_has_learnt_anything_is_still_a_signal(make_run, monkeypatch):
    monkeypatch.setattr(summary.submission_csv, "MIN_ROWS_FOR_CLASS_BOUNDS", 1)
    run = make_run()
    run.provisional = sure(np.zeros(TEST_ROWS, int))  # one class: no sane submission
    run.at_step = {1: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Stopped):
        run.fit()
    assert "no provisional submission yet: submission.csv, lines 2 to 21: " in run.said()
    assert not run.folder.submission.exists()
    assert not run.folder.metrics.exists()


# Diverged fits


def test_a_diverged_fit_is_tried_again(make_run):
    run = make_run()
    run.losses = {(0, 1): math.nan, (1, 1): math.nan}
    assert run.fit() == []
    assert run.begun == [FIRST, ("a fold 1", 2), SECOND, ("a fold 2", 2)]
    assert (
        "a fold 1 diverged (loss is nan in epoch 1); retrying with a new seed and learning rate "
        "0.004 (attempt 2 of 2)"
    ) in run.said()
    assert "skipped" not in run.said()
    metrics = run.metrics()
    assert (metrics.complete, metrics.skipped, metrics.fits_finished) == (True, {}, 2)
    manifest = json.loads(run.folder.manifest.read_text())
    for spec, fold in zip(run.specs, ("a-fold1", "a-fold2"), strict=True):
        retry = spec.next_attempt()
        assert manifest["fits"][fold]["identity"] == retry.digest
        assert manifest["fits"][fold]["seed"] == retry.seed_for("fit")


def test_predictions_that_are_not_finite_are_tried_again(make_run):
    run = make_run()
    run.heldout = {(0, 1): np.full((50, 10), np.nan, np.float32)}
    assert run.fit() == []
    assert run.begun == [FIRST, ("a fold 1", 2), SECOND]
    assert run.metrics().fits_finished == 2


def test_a_fit_that_diverges_in_its_last_attempt_is_skipped(make_run):
    run = make_run()
    run.losses = {(1, 1): math.nan, (1, 2): math.inf}
    assert run.fit() == []
    assert run.begun == [FIRST, SECOND, ("a fold 2", 2)]
    reason = "loss is inf in epoch 1"
    line = f"WARNING: a fold 2 is skipped: it diverged in its last attempt too ({reason})"
    assert line in run.said()
    metrics = run.metrics()
    assert metrics == run.found
    assert (metrics.complete, metrics.skipped) == (True, {"a fold 2": reason})
    assert (metrics.fits_finished, metrics.oof_rows) == (1, 50)


def test_a_skipped_fit_before_any_finished_one(make_run):
    run = make_run()
    run.losses = {(0, 1): math.nan, (0, 2): math.nan}
    assert run.fit() == []
    metrics = run.metrics()
    assert list(metrics.skipped) == ["a fold 1"]
    assert (metrics.complete, metrics.fits_finished, metrics.oof_rows) == (True, 1, 50)


def test_all_fits_diverge(make_run):
    run = make_run()
    run.losses = dict.fromkeys(((0, 1), (1, 1)), math.nan)
    run.losses |= dict.fromkeys(((0, 2), (1, 2)), math.inf)
    message = r"all 2 fits diverged and were skipped \(the first: loss is inf in epoch 1\); repeat"
    with pytest.raises(UserError, match=message):
        run.fit()
    assert run.begun == [FIRST, ("a fold 1", 2), SECOND, ("a fold 2", 2)]
    assert not run.folder.submission.exists()
    assert not run.folder.metrics.exists()


# All of it with real, tiny nets


def write_data(folder):
    """20 training rows of 5 pixels that tell the class, and 10 test rows."""
    folder.mkdir()
    pixels = np.zeros((20, 784), np.uint8)
    labels = np.arange(20) % 10
    pixels[np.arange(20), 28 * 14 + 2 * labels + 4] = 255
    header = ",".join(f"pixel{index}" for index in range(784))
    rows = [",".join(map(str, row)) for row in pixels]
    lines = [f"{label},{row}" for label, row in zip(labels, rows, strict=True)]
    (folder / "train.csv").write_text("\n".join([f"label,{header}", *lines]) + "\n")
    (folder / "test.csv").write_text("\n".join([header, *rows[:10]]) + "\n")


WITH_A_WILD_MEMBER = Config(
    folds={"count": 2},
    augment={"elastic": {"p": 0}, "variants": 1, "stroke": 0},
    model={"stages": [{"width": 2, "kernel": 5, "stride": 2, "pool": "first"}]},
    train={"epochs": 1, "batch_size": 4, "warmup_epochs": 0, "ema_epochs": 0, "threads": 2},
    members={"wild": {"train": {"optimizer": "sgd", "learning_rate": 1e38}}, "tame": {}},
)


def test_a_wild_member_is_skipped(tmp_path):
    write_data(tmp_path / "data")

    def run():
        console = Console(file=io.StringIO(), soft_wrap=True)
        options = pipeline.RunOptions(
            config=WITH_A_WILD_MEMBER,
            name="wild",
            data=tmp_path / "data",
            out=tmp_path / "run",
            root=tmp_path,
            cache=tmp_path / "cache",
            allow_leak=True,  # the test rows are training rows
        )
        folder = pipeline.run(options, Reporter(console), TimeBudget())
        return folder, " ".join(console.file.getvalue().split())  # tables pad their columns

    folder, said = run()
    metrics = files.read_json(folder.metrics)
    reason = "loss is nan in epoch 1"
    assert metrics["skipped"] == {"wild fold 1": reason, "wild fold 2": reason}
    assert (metrics["complete"], metrics["fits_finished"], metrics["fits_planned"]) == (True, 2, 4)
    assert list(metrics["members"]) == ["tame"]
    assert metrics["oof_rows"] == 20
    assert sorted(path.name for path in folder.fits.iterdir()) == [
        *("tame-fold1", "tame-fold2", "wild-fold1.failed.json", "wild-fold2.failed.json")
    ]
    for fold in (1, 2):
        name = f"wild fold {fold}"
        assert said.count(f"{name} diverged ({reason}); retrying with a new seed") == 1
        assert "learning rate 5e+37 (attempt 2 of 2)" in said
        line = f"WARNING: {name} is skipped: it diverged in its last attempt too ({reason})"
        assert said.count(line) == 1
        assert f"SKIPPED {name} diverged: {reason}" in " ".join(said.split())
    # Repeated, nothing is tried a third time.
    before = {path: path.stat().st_mtime_ns for path in folder.fits.rglob("*")}
    folder, said = run()
    assert {path: path.stat().st_mtime_ns for path in folder.fits.rglob("*")} == before
    assert "reused: 2 of 4 fits, finished earlier" in said
    line = f"WARNING: wild fold 2 is skipped: it diverged in its last attempt too ({reason})"
    assert said.count(line) == 1
    assert f"SKIPPED wild fold 1 diverged: {reason}" in " ".join(said.split())
    assert "retrying" not in said
    repeated = files.read_json(folder.metrics)
    assert (repeated["skipped"], repeated["complete"]) == (metrics["skipped"], True)


HELD_UP = """
import sys, time
from kaggle_digits import cli
from kaggle_digits.training import fit

train_fit = fit.train_fit

def held_up(spec, *given):
    if spec.fold == 1:
        time.sleep(1000)
    return train_fit(spec, *given)

fit.train_fit = held_up
sys.argv = ["kaggle-digits", "run", "--out", "run", "--cache", "cache", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.chaos
def test_process_that_is_held_up_ends_in_time_with_what_is_finished(tmp_path, process_env):
    settings = ["folds.count=2", "train.epochs=2", "model.stages=[{width: 6, pool: first}]"]
    overrides = [word for setting in settings for word in ("--set", setting)]
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HELD_UP, "--time-limit", "60s", *overrides],
        env=process_env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    check_in_time(time.monotonic() - start, 60)
    assert "time limit of 1 min 0 s: ended in the middle of a step" in done.stdout
    assert (tmp_path / "run" / "submission.csv").is_file()
    assert "cnn fold 1 finished" in (tmp_path / "run" / "run.log").read_text()
