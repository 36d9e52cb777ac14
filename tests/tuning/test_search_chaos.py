"""Kill a search at random moments, alone and as chief and workers; expect an undisturbed result.

`pytest -m chaos` kills 2 times with each oracle and 8 times among chief and workers, `--kills N`
times that much of 25; `--chaos-seed S` draws the moments of an earlier time, as far as the
machine's own timing lets them come again.
"""

from __future__ import annotations

import random
import secrets
import signal
import time
from contextlib import ExitStack

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
    search,
    search_result,
    stamps,
    unfinished_fits,
)

from kaggle_digits.config import loading

pytestmark = pytest.mark.chaos

# In the order in which a search comes to them; the moment of a kill is so many seconds after the
# first sign of its stage at most.
STAGES = {"bank": 0.1, "epochs": 0.5, "writing": 0.0, "fit": 0.1, "trial": 0.1, "check": 5.0}
ORACLES = ("random", "bayesian", "hyperband", "grid")
ALONE = 0.3  # fraction of the kills that hit the parent and leave its workers to themselves
POLITE = 0.25  # fraction of the kills that are a SIGTERM
KILLS_OF_ALL = 25  # what --kills is without a word


@pytest.fixture(scope="module")
def generator(pytestconfig):
    seed = pytestconfig.getoption("--chaos-seed")
    seed = secrets.randbits(32) if seed is None else seed
    print(f"--chaos-seed {seed}")  # shown with a failure
    return random.Random(seed)


@pytest.mark.parametrize("oracle", ORACLES)
def test_killed_anywhere_it_ends_with_the_same_result(tmp_path, oracle, generator, pytestconfig):
    settings = (f"tune.oracle={oracle}", "tune.max_trials=5", "tune.racing_alpha=0.05")
    whole = search(tmp_path / "undisturbed", tmp_path / "undisturbed" / "cache", *settings)
    whole.finish()
    kills = max(1, 2 * pytestconfig.getoption("--kills") // KILLS_OF_ALL)
    aims = sorted(generator.choices(list(STAGES), k=kills), key=list(STAGES).index)
    print(f"{oracle}: {', '.join(aims)}")
    job = search(tmp_path / "killed", tmp_path / "killed" / "cache", *settings)
    for stage in aims:
        survive(job, stage, len(whole.variants()), generator)
    # A kill may come when a fit is there and its checkpoint still is.
    states = unfinished_fits(job, "cnn-*")
    unfinished = [path for path in states if not path.with_suffix("").is_dir()]
    finished = stamps(job)
    last = job.finish()
    assert_kept(job, finished)
    assert last.said(" resumes after epoch ") or not unfinished
    assert_same_search(job, search_result(whole))


def survive(job: Job, stage: str, variants: int, generator: random.Random) -> None:
    """End a life in a stage, unless it comes to its end before, and see what it leaves behind."""
    before, finished = ended(job), stamps(job)
    number = signal.SIGTERM if generator.random() < POLITE else signal.SIGKILL
    alone = number == signal.SIGKILL and generator.random() < ALONE
    life = job.begin()
    try:
        wait_for_a_moment_of(stage, life, variants, generator)
        start = time.monotonic()
        status = life.end(number, alone)
    finally:
        life.destroy()
    if number == signal.SIGTERM:
        check_in_time(time.monotonic() - start, 30)
        assert_polite_end(life, status)
    else:
        assert status in (0, -number), life.complaints
    assert_kept(job, finished)
    after = ended(job)
    assert after[: len(before)] == before
    if (job.run / "best.yaml").exists():
        loading.load(str(job.run / "best.yaml"))


def assert_polite_end(life: Life, status: int) -> None:
    """Assert that a life which got a SIGTERM has reported it in one line."""
    advice = ["kaggle-digits: stopped by SIGTERM; repeat the command to continue"]
    # Where nothing is said, Python itself was only starting, or just ending.
    expected = {0: [], 143: advice, -signal.SIGTERM: []}
    assert status in expected, life.complaints
    assert life.complaints == expected[status]


def wait_for_a_moment_of(stage: str, life: Life, variants: int, generator: random.Random) -> None:
    """Wait for a random moment of a stage, or the end of the process."""
    job, begun = life.job, time.time()
    drawn = generator.randrange(variants)
    fits = len(job.whole_fits()) + generator.randint(1, 3)
    trials = len(ended(job)) + generator.randint(1, 2)

    def reached() -> object:
        if stage == "bank":
            return len(job.variants()) > drawn
        if stage == "epochs":
            return any(path.stat().st_mtime > begun for path in unfinished_fits(job, "cnn-*"))
        if stage == "fit":
            return len(job.whole_fits()) >= fits
        if stage == "trial":
            return len(ended(job)) >= trials
        return life.said("search: ") if stage == "writing" else any(job.run.glob("holdout/*/fits"))

    life.wait_for(reached)
    seconds = generator.uniform(0, 10) if stage == "writing" else 0
    end = time.monotonic() + seconds + generator.uniform(0, STAGES[stage])
    life.wait_for(lambda: time.monotonic() >= end)
    if stage == "writing":  # a file is half written for milliseconds only
        life.wait_for(life.half_written)


def test_chief_and_workers_killed_anywhere(tmp_path, generator, pytestconfig):
    settings = ("tune.max_trials=6",)
    whole = search(tmp_path / "undisturbed", tmp_path / "cache", *settings)
    whole.finish()
    job = search(tmp_path / "killed", tmp_path / "cache", *settings)
    kills = 8 * pytestconfig.getoption("--kills") // KILLS_OF_ALL
    port = free_port()
    with ExitStack() as remains:

        def begin(tuner: str) -> Life:
            life = member(job, port, tuner).begin()
            remains.callback(life.destroy)
            return life

        lives = {tuner: begin(tuner) for tuner in ("chief", "one", "two")}
        finished: dict = {}
        for _ in range(kills):
            tuner, pause = generator.choice(list(lives)), generator.uniform(0, 15)
            end = time.monotonic() + pause
            lives["chief"].wait_for(lambda end=end: time.monotonic() >= end)
            if lives["chief"].process.poll() is not None:
                break
            number = signal.SIGTERM if generator.random() < POLITE else signal.SIGKILL
            status = lives[tuner].end(number)
            assert_kept(job, finished)
            finished = stamps(job)
            print(f"{tuner}, {len(ended(job))} trials ended: {status}")
            if number == signal.SIGTERM:
                assert_polite_end(lives[tuner], status)
            else:
                assert status in (0, -number), lives[tuner].complaints
            if status != 0:
                lives[tuner] = begin(tuner)
            elif tuner != "chief":
                del lives[tuner]  # there was no trial left for it
        chief = lives.pop("chief")
        assert (chief.end(), chief.complaints) == (0, []), chief.output
        end = time.monotonic() + 10
        for worker in lives.values():
            worker.wait_for(lambda: time.monotonic() >= end)
            # Whoever comes back after the end waits for another chief.
            assert_polite_end(worker, worker.end(signal.SIGTERM))
    assert_kept(job, finished)
    assert_same_search(job, search_result(whole))
