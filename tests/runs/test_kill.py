"""Stop a real run in all its stages, repeat the command, expect an undisturbed run's bytes."""

import math
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from lives import (
    DRAWING,
    PATIENCE,
    SETTINGS,
    TEST_ROWS,
    Job,
    Life,
    assert_same_result,
    check_in_time,
)

from kaggle_digits.data import submission_csv
from kaggle_digits.storage import files
from kaggle_digits.system.time_budget import EXIT_SECONDS


def test_killed_run_ends_with_the_same_bytes(tmp_path, undisturbed):
    # Without --out: the command finds its unfinished run by itself.
    job = Job(tmp_path, tmp_path / "cache")
    kill_once(job, job.variants)
    kill_once(job, job.state("cnn-fold2").exists)
    first_model = job.run / "fits" / "cnn-fold1" / "model.keras"
    trained_at = first_model.stat().st_mtime_ns
    last = job.finish()
    # It did not merely start over.
    assert last.said("reused: 1 of 2 fits, finished earlier")
    assert last.said("cnn fold 2 resumes after epoch")
    assert not last.said("cnn fold 1, epoch")
    assert first_model.stat().st_mtime_ns == trained_at
    assert_same_result(job, undisturbed.result())


def test_killed_run_of_random_holdouts_ends_with_the_same_bytes(tmp_path, undisturbed):
    job, whole, last = killed_in_its_second_fit(tmp_path, undisturbed, "folds.kind=holdout")
    assert last.said("2 random splits hold out 10 % of the rows each; ")
    assert last.said("reused: 1 of 2 fits, finished earlier")
    assert last.said("cnn fold 2 resumes after epoch")
    assert_same_result(job, whole.result())
    assert (job.run / "folds.npz").read_bytes() == (whole.run / "folds.npz").read_bytes()
    _, arrays = job.result()
    assert arrays["held_out"].sum(axis=1).tolist() == [140, 140]


def test_killed_run_in_bfloat16_ends_with_the_same_bytes(tmp_path, undisturbed):
    job, whole, last = killed_in_its_second_fit(tmp_path, undisturbed, "train.precision=bfloat16")
    assert last.said("cnn fold 2 resumes after epoch")
    assert_same_result(job, whole.result())


def killed_in_its_second_fit(home: Path, undisturbed: Job, setting: str) -> tuple[Job, Job, Life]:
    """Finish a run with a setting, and the same one killed; return (killed, whole, end)."""
    settings = (*SETTINGS, setting, "train.epochs=4")
    whole = Job(home, undisturbed.cache, settings, out=home / "whole")
    whole.finish()
    job = Job(home, undisturbed.cache, settings, out=home / "run")
    kill_once(job, job.state("cnn-fold2").exists)
    return job, whole, job.finish()


def kill_once(job: Job, reached: Callable[[], object]) -> None:
    life = job.begin()
    assert life.wait_for(reached), life.complaints
    assert life.end(signal.SIGKILL) == -signal.SIGKILL


def test_killed_while_it_took_its_folder(tmp_path, undisturbed):
    job = Job(tmp_path, undisturbed.cache, out=tmp_path / "run")
    job.run.mkdir()
    (job.run / ".lock").touch()
    (job.run / ".kaggle-digits").write_text('{"kind": "run", "format": 1}')
    (job.run / f"{files.TEMP_PREFIX}0a1b2c3d.99999-.owner").touch()
    life = job.begin()
    reached = life.wait_for(lambda: life.said("run folder: "))
    life.end(signal.SIGKILL)
    assert reached, life.complaints


# Stage -> whether a life has reached it; the lives follow each other in one folder.
STAGES = {
    "reading": lambda job, life: life.said("reading "),
    "bank": lambda job, life: job.variants(),
    "backend": lambda job, life: life.said("augmentation bank: "),
    "first epochs": lambda job, life: life.said("cnn fold 1, epoch 2/"),
    "writing": lambda job, life: any(job.run.glob(f"fits/{files.TEMP_PREFIX}*-cnn-fold1")),
    "later epochs": lambda job, life: job.state("cnn-fold2").exists(),
    "ensemble": lambda job, life: len(job.whole_fits()) == 2,
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Stop one run with SIGTERM in all its stages; return the job and what was seen in each."""
    home = tmp_path_factory.mktemp("stopped")
    job = Job(home, home / "cache", out=home / "run")
    seen = {}
    for stage, reached in STAGES.items():
        life = job.begin()
        assert life.wait_for(lambda reached=reached, life=life: reached(job, life)), stage
        start = time.monotonic()
        status = life.end(signal.SIGTERM)
        seen[stage] = SimpleNamespace(
            status=status,
            seconds=time.monotonic() - start,
            complaints=life.complaints,
            metrics=files.read_json(job.run / "metrics.json"),
            # The folder keeps changing.
            submission=(job.run / "submission.csv").is_file()
            and len(submission_csv.check_file(job.run / "submission.csv", TEST_ROWS)),
        )
    return job, seen


@pytest.mark.parametrize("stage", STAGES)
def test_sigterm_ends_a_run_in_time_and_in_one_line(stopped, stage):
    _, seen = stopped
    assert seen[stage].complaints == [
        "kaggle-digits: stopped by SIGTERM; repeat the command to continue"
    ]
    assert seen[stage].status == 143
    check_in_time(seen[stage].seconds, 30)


def test_before_the_first_fit_is_whole_a_signal_leaves_a_provisional_submission(stopped):
    _, seen = stopped
    assert not seen["backend"].submission
    assert seen["first epochs"].submission == TEST_ROWS
    metrics = seen["first epochs"].metrics
    assert metrics["provisional"] is True
    assert metrics["complete"] is False
    assert metrics["provisional_fit"] == "cnn fold 1"
    assert not has_out_of_fold_figure(metrics)


def has_out_of_fold_figure(metrics: dict) -> bool:
    figures = {name: value for name, value in metrics.items() if name.startswith("oof")}
    assert len(figures) == 4
    return any(value is not None for value in figures.values())


def test_from_the_first_whole_fit_on_a_signal_leaves_its_submission(stopped):
    _, seen = stopped
    for stage, finished in {"writing": 1, "later epochs": 1, "ensemble": 2}.items():
        assert seen[stage].submission == TEST_ROWS
        metrics = seen[stage].metrics
        assert metrics["provisional"] is False
        assert (metrics["fits_finished"], metrics["complete"]) == (finished, finished == 2)


def test_stopped_run_ends_with_the_same_bytes(stopped, undisturbed):
    job, _ = stopped
    assert job.finish().said("reused: 2 of 2 fits")
    assert_same_result(job, undisturbed.result())


def test_second_ctrl_c_stops_at_once(tmp_path, undisturbed):
    job = Job(tmp_path, undisturbed.cache, out=tmp_path / "run")
    life = job.begin()
    assert life.wait_for(lambda: life.said("cnn fold 1, epoch 2/")), life.complaints
    while life.process.poll() is None:
        # Two that come within one step of the training are one.
        life.signal(signal.SIGINT)
        time.sleep(0.1)
    assert life.end() == 128 + signal.SIGINT
    assert life.said("Ctrl-C: stopping after this batch and saving what is done; a second")
    assert life.complaints == ["kaggle-digits: stopped at once; repeat the command to continue"]
    # The first one would have left a submission.
    assert not (job.run / "submission.csv").exists()
    assert files.read_checksummed(job.state("cnn-fold1"))


def test_ctrl_c_while_processes_draw_ends_in_one_line(tmp_path):
    job = Job(tmp_path, tmp_path / "cache", DRAWING, out=tmp_path / "run")
    life = job.begin()
    assert life.wait_for(job.variants), life.complaints
    assert life.drawing()
    assert life.end(signal.SIGINT) == 130  # reaches the workers too, as from a terminal
    assert life.complaints == ["kaggle-digits: stopped by Ctrl-C; repeat the command to continue"]


# Time limits

TOO_SHORT = (
    "is too short for a first submission; what is done is kept, repeat the command with more time"
)
NOT_DONE = re.compile(
    r"time limit of .*: ended after .*; not done yet: (.*); repeat the command to continue"
)
EPOCHS_SAVED = re.compile(r" \(\d+ of \d+ epochs saved\)")
TRAIN_SECONDS = 8.0  # of a fit, about; with half of the rows, of which it has two thirds


def live_within(job: Job, seconds: int, folds: int) -> Life:
    """Repeat the command with a time limit, and see that it keeps what it promises."""
    life = job.begin("--time-limit", f"{seconds}s")
    status = life.end()
    check_in_time(life.seconds, seconds)
    if status == 2:
        [complaint] = life.complaints
        assert complaint.endswith(TOO_SHORT)
        assert not (job.run / "submission.csv").exists()
        return life
    assert status == 0, life.complaints
    assert not life.complaints
    assert len(submission_csv.check_file(job.run / "submission.csv", TEST_ROWS)) == TEST_ROWS
    if life.said("ended in the middle of a step"):
        return life  # on an overloaded machine no more than this is promised
    whole = {fit.name for fit in job.whole_fits()}
    missing = [f"cnn fold {fold}" for fold in range(1, folds + 1) if f"cnn-fold{fold}" not in whole]
    not_done = [EPOCHS_SAVED.sub("", names) for names in NOT_DONE.findall(life.output)]
    assert not_done == ([", ".join(missing)] if missing else [])
    metrics = job.metrics()
    assert metrics["complete"] is (not missing)
    assert metrics["provisional"] is (not whole)
    assert metrics["fits_finished"] == len(whole)
    return life


@pytest.mark.chaos
def test_time_for_some_of_the_fits(tmp_path):
    # Fits that last longer than what is kept free for a first step, also on a fast machine, and no
    # longer than that on a slow one.
    probe = Job(tmp_path / "probe", tmp_path / "cache")
    probe.finish()
    history = pd.read_csv(probe.run / "fits" / "cnn-fold2" / "history.csv")
    epochs = math.ceil(TRAIN_SECONDS / history.seconds.median())
    settings = (*SETTINGS, "folds.count=3", f"train.epochs={epochs}")
    whole = Job(tmp_path / "whole", tmp_path / "cache", settings).finish()
    first, last = (whole.seconds_until(f"cnn fold {fold} finished") for fold in (1, 3))
    limit = math.ceil(EXIT_SECONDS + first + (last - first) / 3)
    for attempt in range(6):  # the machine may have become faster or slower
        home = tmp_path / f"limited{attempt}"
        job = Job(home, tmp_path / "cache", settings, out=home / "run")
        live_within(job, limit, folds=3)
        if 0 < len(job.whole_fits()) < 3:
            break
        limit = math.ceil(limit * (0.8 if job.whole_fits() else 1.25))
    assert 0 < len(job.whole_fits()) < 3
    job.finish()
    assert_same_result(job, whole.job.result())


@pytest.mark.chaos
def test_time_for_less_than_a_fit(tmp_path, undisturbed):
    settings = (*SETTINGS, "train.epochs=2000")
    job = Job(tmp_path, undisturbed.cache, settings, out=tmp_path / "run")
    state, limit = job.state("cnn-fold1"), 20
    live_within(job, limit, folds=2)
    while not state.exists():  # not even an epoch on a machine as slow as this
        limit *= 2
        assert limit < PATIENCE
        live_within(job, limit, folds=2)
    assert job.metrics()["provisional_fit"] == "cnn fold 1"
    assert not has_out_of_fold_figure(job.metrics())
    saved = files.read_checksummed(state)
    life = live_within(job, limit, folds=2)
    # The time was not lost.
    assert life.said("cnn fold 1 resumes after epoch")
    while files.read_checksummed(state) == saved:  # the machine has become slower
        limit *= 2
        assert limit < PATIENCE
        live_within(job, limit, folds=2)


def test_no_time_at_all(tmp_path, undisturbed):
    job = Job(tmp_path, undisturbed.cache, out=tmp_path / "run")
    life = job.begin("--time-limit", "1s")
    assert life.end() == 2
    assert life.complaints == [f"kaggle-digits: --time-limit: 1 s {TOO_SHORT}"]

    # What there is already is not lost.
    shutil.rmtree(job.run)
    shutil.copytree(undisturbed.home / "cut-off", job.run)
    before = job.result(), job.state("cnn-fold2").read_bytes()
    life = job.finish("--time-limit", "1s")
    assert NOT_DONE.findall(life.output)[0].startswith("cnn fold 2 (")
    assert before[0][0] == job.result()[0]
    assert before[1] == job.state("cnn-fold2").read_bytes()
