"""Kill a run at random moments in all its stages, and expect the bytes of an undisturbed one.

`pytest -m chaos` kills 25 times, `--kills N` as often as wanted, `--chaos-seed S` at the moments of
an earlier time, as far as the machine's own timing lets them come again.
"""

from __future__ import annotations

import random
import re
import secrets
import signal
import time
from collections import Counter

import pytest
from lives import CSV_FILES, TEST_ROWS, TINY, Job, Life, assert_same_result, where_killed

from kaggle_digits.data import submission_csv

pytestmark = pytest.mark.chaos

STAGES = ("cache", "bank", "epochs", "writing", "ensemble")
EPOCHS = 16  # of a fit
SETTINGS = (
    *TINY,
    "members.second={train: {learning_rate: 0.01}}",
    f"train.epochs={EPOCHS}",
    "augment.variants=40",  # which is work for two processes
    "augment.elastic.p=0",
)
PLANNED_EPOCHS = 2 * 2 * EPOCHS  # members, folds
KILLS_A_ROUND = 10
ALONE = 0.3  # fraction of the kills that hit the parent and leave its workers to themselves
EPOCH_LINE = re.compile(r"(\w+ fold \d+, epoch \d+)/\d+: loss")


class Round:
    """One run, killed again and again until it is complete, with all that must hold meanwhile.

    Args:
        job: the run; its folders are new.
        undisturbed: an undisturbed life of the same run, which shows how long the stages last.
        generator: draws the moments.
        hits: how often each stage was hit in this round and those before; is added to.
    """

    def __init__(
        self, job: Job, undisturbed: Life, generator: random.Random, hits: Counter
    ) -> None:
        self._job, self._undisturbed, self._generator = job, undisturbed, generator
        self.hits = hits
        self.epochs: Counter[str] = Counter()
        self._models: dict = {}

    def survive(self, kills: int, aims: tuple[str, ...] = STAGES) -> int:
        """Kill at most so many times, then let the run end, and compare.

        Returns:
            The number of kills.
        """
        killed = 0
        while killed < kills:
            stage = self._next_aim(aims)
            life = self._job.begin()
            try:
                self._wait_for_a_moment_of(stage, life)
                status = life.end(signal.SIGKILL, alone=self._generator.random() < ALONE)
            finally:
                life.destroy()
            self._check(life)
            if status != -signal.SIGKILL:
                assert status == 0, life.complaints
                break
            self.hits[where_killed(life)] += 1
            killed += 1
        else:
            self._check(self._job.finish())
        assert_same_result(self._job, self._undisturbed.job.result())
        return killed

    def _next_aim(self, aims: tuple[str, ...]) -> str:
        """Choose the stage that was hit least of those that are still ahead."""
        over = set()
        if len(self._job.parsed()) == CSV_FILES:
            over.add("cache")
        if len(self._job.variants()) == len(self._undisturbed.job.variants()):
            over.add("bank")
        return min((stage for stage in aims if stage not in over), key=self.hits.__getitem__)

    def _wait_for_a_moment_of(self, stage: str, life: Life) -> None:
        """Wait for a random moment of a stage, or the end of the process."""
        job, fraction = self._job, self._generator.random()
        epochs = self._generator.randint(2, EPOCHS)
        whole_before, parsed_before = len(job.whole_fits()), len(job.parsed())
        missing = len(self._undisturbed.job.variants()) - len(job.variants())
        variants = len(job.variants()) + self._generator.randrange(max(1, missing))

        def reached() -> bool:
            if stage == "cache":
                return life.said("reading ")
            if stage == "bank":
                return life.said("run folder: ") and len(job.variants()) >= variants
            if stage == "epochs":
                return len(EPOCH_LINE.findall(life.output)) >= epochs
            if stage == "writing":
                return life.said("augmentation bank: ")
            return len(job.whole_fits()) > whole_before

        def is_last_chance() -> bool:
            # The second file is parsed milliseconds after the first.
            return stage == "cache" and len(job.parsed()) > parsed_before

        life.wait_for(reached)
        end = time.monotonic() + fraction * self._seconds_of(stage)
        life.wait_for(lambda: time.monotonic() >= end or is_last_chance())
        # A file is half written for milliseconds only; hit every other time in the cache too.
        if stage == "writing" or (stage == "cache" and self._generator.random() < 0.5):
            life.wait_for(lambda: life.half_written() or is_last_chance())

    def _seconds_of(self, stage: str) -> float:
        """Return within how many seconds after a stage's first sign the kill comes."""
        data = self._undisturbed.seconds_until("run folder: ")
        bank = self._undisturbed.seconds_until("augmentation bank: ")
        training = self._undisturbed.seconds_until(", epoch ")
        end = self._undisturbed.printed[-1][0]
        return {
            "cache": data - self._undisturbed.printed[0][0],
            "bank": (bank - data) / len(self._undisturbed.job.variants()),
            "epochs": (end - training) / PLANNED_EPOCHS,
            "writing": (end - bank) / 3,
            "ensemble": 0.02,
        }[stage]

    def _check(self, life: Life) -> None:
        """Assert what must hold after each life, however it ended."""
        job = self._job
        if life.process.returncode >= 0:
            # After a parent was killed alone, Python's own half-started workers may complain.
            assert not life.complaints
        lines = EPOCH_LINE.findall(life.output)
        again = [line for line in lines if line in self.epochs]
        # What a kill takes is the epoch at hand, which may have been printed.
        assert len(again) <= 1, f"starts over: trained again: {again}"
        self.epochs.update(lines)
        for model, stamp in self._models.items():
            assert model.is_file(), f"starts over: {model} is gone"
            found = model.stat()
            assert (found.st_ino, found.st_mtime_ns) == stamp, f"starts over: {model} is new"
        for fit in job.whole_fits():
            found = (fit / "model.keras").stat()
            self._models[fit / "model.keras"] = found.st_ino, found.st_mtime_ns
        if (job.run / "submission.csv").exists():
            submission_csv.check_file(job.run / "submission.csv", TEST_ROWS)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    home = tmp_path_factory.mktemp("undisturbed")
    return Job(home, home / "cache", SETTINGS, out=home / "run").finish()


def test_killed_anywhere_it_ends_with_the_same_bytes(tmp_path, undisturbed, pytestconfig, capsys):
    wanted = pytestconfig.getoption("--kills")
    seed = pytestconfig.getoption("--chaos-seed")
    seed = secrets.randbits(32) if seed is None else seed
    with capsys.disabled():
        print(f"\n{wanted} kills, --chaos-seed {seed}")
    generator, hits, rounds, start = random.Random(seed), Counter(), [], time.monotonic()
    kills = 0
    while kills < wanted:
        home = tmp_path / f"round{len(rounds) + 1}"
        job = Job(home, home / "cache", SETTINGS, out=home / "run")
        rounds.append(Round(job, undisturbed, generator, hits))
        kills += rounds[-1].survive(min(KILLS_A_ROUND, wanted - kills))
    trained = sum(each.epochs.total() for each in rounds)
    with capsys.disabled():
        print(f"{'stage':10}{'kills':>6}")
        for stage in (*STAGES, "start"):
            print(f"{stage:10}{hits[stage]:>6}")
        print(
            f"{len(rounds)} rounds: {trained} epochs trained of {len(rounds) * PLANNED_EPOCHS} "
            f"planned, {time.monotonic() - start:.0f} s"
        )
    for stage in STAGES:
        assert hits[stage] >= wanted // 10, f"{stage}: hit {hits[stage]} times only"


@pytest.mark.parametrize("aims", [("epochs",), ("ensemble", "epochs")])
def test_it_fails_for_a_program_that_merely_starts_over(tmp_path, undisturbed, aims):
    # With --restart the same command is exactly that.
    job = Job(tmp_path, undisturbed.job.cache, SETTINGS, ("--restart",), out=tmp_path / "run")
    with pytest.raises(AssertionError, match="starts over"):
        Round(job, undisturbed, random.Random(1), Counter()).survive(8, aims)
