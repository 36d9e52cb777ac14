"""Stop a real search in all its stages, repeat the command, expect an undisturbed search's result.

Alone, and as a chief with workers.
"""

import math
import shutil
import signal
import time
from dataclasses import replace

import pytest
from lives import (
    Job,
    Life,
    assert_kept,
    assert_same_search,
    check_in_time,
    ended,
    free_port,
    member,
    oracle_state,
    search,
    search_result,
    stamps,
    unfinished_fits,
)

from kaggle_digits.config import loading
from kaggle_digits.results.search_records import TrialResult
from kaggle_digits.storage import files
from kaggle_digits.system.console import duration
from kaggle_digits.tuning.search_folder import SearchFolder

TRIALS, FOLDS = 3, 2  # of `search`; folds that its trials see
STOPPED = ["kaggle-digits: stopped by SIGTERM; repeat the command to continue"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Let a search come to its end; return its life.

    Its folder is also there as a power cut in its second trial would leave it, as `cut-off`.
    """
    home = tmp_path_factory.mktemp("undisturbed")
    job = search(home, home / "cache")
    life = job.begin()
    # One fit of the trial is finished, one is not.
    assert life.wait_for(lambda: ended(job) and unfinished_fits(job, "cnn-fold2")), life.complaints
    life.signal(signal.SIGSTOP)
    shutil.copytree(job.run, home / "cut-off")
    life.signal(signal.SIGCONT)
    assert life.end() == 0, life.complaints
    return life


@pytest.fixture
def cut_off(tmp_path, undisturbed):
    """Return the search that was cut off, in a folder of its own."""
    job = search(tmp_path, undisturbed.job.cache)
    shutil.copytree(undisturbed.job.home / "cut-off", job.run)
    assert (ended(job), under_way(job)) == (["0"], {"tuner0": "1"})
    return job


def under_way(job: Job) -> dict[str, str]:
    """Return who is at work on which trial."""
    # An oracle lets a trial go when it has saved that the trial is over.
    ongoing = oracle_state(job).get("ongoing_trials", {})
    return {tuner: trial for tuner, trial in ongoing.items() if trial not in ended(job)}


def results(job: Job) -> dict[str, TrialResult]:
    return SearchFolder(job.run).read_results()


def assert_there_is_a_best(job: Job) -> None:
    """Assert that a search which is not over has left the best config so far."""
    assert loading.load(str(job.run / "best.yaml")).tuned[0].trials >= len(ended(job))
    assert files.read_json(job.run / "search_record.json")["complete"] is False


def short_limit(undisturbed: Life) -> int:
    """Choose a time limit in which a search that was cut off can begin, and no more.

    As soon as there is a best, half of a short time is for the check.
    """
    return math.ceil(2 * (3 + 2 * undisturbed.seconds_until("search: ")))


# A life is killed at each of these, one after the other, in one folder.
MOMENTS = {
    "drawing the bank": lambda job: job.variants(),
    "second fit": lambda job: unfinished_fits(job, "cnn-fold2"),
    "fit ended, trial not": lambda job: len(job.whole_fits()) == FOLDS,
    "trial ended": ended,
    "check": lambda job: any(job.run.glob("holdout/*/fits/cnn-fold3.state")),
}


def test_killed_search_ends_with_the_same_result(tmp_path, undisturbed):
    # Without --out: the command finds its unfinished search by itself.
    job = replace(search(tmp_path, tmp_path / "cache"), out=None)
    finished, lives = {}, {}
    for moment, reached in MOMENTS.items():
        life = lives[moment] = job.begin()
        assert life.wait_for(lambda reached=reached: reached(job)), (moment, life.complaints)
        assert life.end(signal.SIGKILL) == -signal.SIGKILL
        assert_kept(job, finished)
        finished = stamps(job)
    last = job.finish()
    assert_kept(job, finished)
    # Unfinished ones resume too.
    for life in (lives["fit ended, trial not"], last):
        assert life.said(" resumes after epoch ")
    assert last.said(f"reused: {TRIALS} trials, ended earlier")
    assert_same_search(job, search_result(undisturbed.job))


def test_time_limit_leaves_the_best_so_far(cut_off, undisturbed):
    job, finished, limit = cut_off, stamps(cut_off), short_limit(undisturbed)
    life = job.begin("--time-limit", f"{limit}s")
    assert life.end() == 0, life.complaints
    check_in_time(life.seconds, limit)
    assert not life.complaints
    assert life.said(f"time limit of {duration(limit)}: ended after ")
    assert life.said("; repeat the command to continue")
    assert_there_is_a_best(job)
    job.finish()
    assert_kept(job, finished)
    assert_same_search(job, search_result(undisturbed.job))


def test_sigterm_leaves_the_best_so_far(cut_off, undisturbed):
    job, finished, begun = cut_off, stamps(cut_off), time.time()
    life = job.begin()

    def has_saved_an_epoch() -> bool:
        return any(path.stat().st_mtime > begun for path in unfinished_fits(job, "cnn-*"))

    assert life.wait_for(has_saved_an_epoch), life.complaints
    start = time.monotonic()
    assert life.end(signal.SIGTERM) == 143, life.complaints
    check_in_time(time.monotonic() - start, 30)
    assert life.complaints == STOPPED
    assert_there_is_a_best(job)

    job.finish()
    assert_kept(job, finished)
    assert_same_search(job, search_result(undisturbed.job))


@pytest.mark.chaos
def test_time_for_some_of_the_trials(tmp_path, undisturbed):
    whole = search(tmp_path / "whole", undisturbed.job.cache).finish()
    first, last = (whole.seconds_until(f"trial {trial}: completed") for trial in (0, TRIALS - 1))
    limit = math.ceil(2 * (first + (last - first) / 3))
    for attempt in range(6):  # the machine may have become faster or slower
        job = search(tmp_path / f"limited{attempt}", undisturbed.job.cache)
        life = job.begin("--time-limit", f"{limit}s")
        status = life.end()
        check_in_time(life.seconds, limit)
        if status == 0 and 0 < len(ended(job)) < TRIALS:
            break
        limit = math.ceil(limit * (0.75 if ended(job) else 1.5))
    assert (status, life.complaints) == (0, [])
    assert 0 < len(ended(job)) < TRIALS
    assert life.said("; repeat the command to continue")
    assert_there_is_a_best(job)
    finished = stamps(job)
    job.finish()
    assert_kept(job, finished)
    assert_same_search(job, search_result(undisturbed.job))


# Chief and workers


@pytest.fixture
def begin():
    """Return a function that starts the chief or a worker of a search; all end with the test."""
    port = free_port()
    lives: list[Life] = []

    def start(job: Job, tuner: str, *words: str) -> Life:
        lives.append(member(job, port, tuner).begin(*words))
        return lives[-1]

    yield start
    for life in lives:
        life.destroy()


def assert_good_end(*lives: Life) -> None:
    for life in lives:
        assert (life.end(), life.complaints) == (0, []), life.output


def test_chief_and_two_workers_outlive_each_other(cut_off, undisturbed, begin):
    job, finished = cut_off, stamps(cut_off)
    chief, one, two = (begin(job, tuner) for tuner in ("chief", "tuner0", "tuner1"))

    # A worker is killed, and under its own id continues its trial.
    [unfinished] = unfinished_fits(job, "cnn-fold2")
    owner = unfinished.parents[1] / ".owner"

    def is_at_work(worker: Life) -> bool:
        return owner.read_text() == str(worker.process.pid)

    assert one.wait_for(lambda: is_at_work(one)), one.complaints
    one.end(signal.SIGKILL)
    assert under_way(job)["tuner0"] == "1"
    one = begin(job, "tuner0")
    assert one.wait_for(lambda: is_at_work(one)), one.complaints

    # The chief is killed; the trial comes to its end before there is another chief.
    chief.end(signal.SIGKILL)
    assert one.wait_for(lambda: results(job)["1"].status == "completed"), one.complaints
    assert_kept(job, finished)
    finished = stamps(job)
    assert under_way(job)["tuner0"] == "1"
    chief = begin(job, "chief")
    assert_good_end(chief, one, two)
    assert_kept(job, finished)
    assert_same_search(job, search_result(undisturbed.job))


def test_time_limit_ends_a_chief_whose_worker_never_returns(cut_off, undisturbed, begin):
    job, finished, limit = cut_off, stamps(cut_off), short_limit(undisturbed)
    chief = begin(job, "chief", "--time-limit", f"{limit}s")
    assert_good_end(chief)
    check_in_time(chief.seconds, limit)
    assert chief.said(f"time limit of {duration(limit)}: ended after ")
    assert_there_is_a_best(job)
    assert_kept(job, finished)
    assert under_way(job) == {"tuner0": "1"}


@pytest.mark.chaos
def test_time_limit_ends_a_chief_without_any_worker(tmp_path, undisturbed, begin):
    job, limit = search(tmp_path, undisturbed.job.cache), short_limit(undisturbed)
    chief = begin(job, "chief", "--time-limit", f"{limit}s")
    assert chief.end() == 2
    check_in_time(chief.seconds, limit)
    assert chief.complaints == [
        f"kaggle-digits: {job.run}: no trial has come to its end yet; repeat with more time, "
        "or with another tune.space and --out"
    ]
    assert_good_end(begin(job, "chief"), begin(job, "one"))
    assert_same_search(job, search_result(undisturbed.job))


def test_worker_without_a_chief_ends_with_sigterm(tmp_path, undisturbed, begin):
    worker = begin(search(tmp_path, undisturbed.job.cache), "one")
    assert worker.wait_for(lambda: worker.said("worker one of the chief at 127.0.0.1:"))
    start = time.monotonic()
    assert worker.end(signal.SIGTERM) == 143
    check_in_time(time.monotonic() - start, 30)
    assert worker.complaints == STOPPED


@pytest.mark.chaos
def test_worker_without_a_chief_ends_in_time(tmp_path, undisturbed, begin):
    limit = short_limit(undisturbed)
    worker = begin(search(tmp_path, undisturbed.job.cache), "one", "--time-limit", f"{limit}s")
    assert_good_end(worker)
    check_in_time(worker.seconds, limit)
    assert worker.said(
        f"time limit of {duration(limit)}: this worker ended; start it again with its "
    )


def test_worker_of_another_config_is_refused_and_takes_no_trial(cut_off, begin):
    begin(cut_off, "chief")
    stranger = begin(cut_off, "stranger", "--set", "train.label_smoothing=0.1")
    assert stranger.end() == 2
    assert stranger.complaints == [
        f"kaggle-digits: {cut_off.run}: this search was begun with another train.label_smoothing: "
        "0.05 there, 0.1 here; give another --out, or the config and data of that search"
    ]
    # The search would never end without a worker of this id.
    assert under_way(cut_off) == {"tuner0": "1"}
