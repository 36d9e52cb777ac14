"""Real runs and searches in processes of their own: started, watched, ended at a chosen moment."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil

import kaggle_digits
from kaggle_digits.data import demo
from kaggle_digits.storage import files
from kaggle_digits.tuning import chief_worker

# A net so small that what it resumes from takes less room than its finished fit.
TINY = (
    "model.stages=[{width: 8, pool: first}, {width: 16, pool: last}]",
    "model.pooling=average",
    "train.learning_rate=0.02",
    "folds.count=2",
)
# Long enough for a fit to be met unfinished.
SETTINGS = (*TINY, "train.epochs=10", "train.batch_size=64", "augment.variants=3")
# So many variants that two processes draw them, for seconds.
DRAWING = (*TINY, "train.epochs=20", "augment.variants=1000", "augment.elastic.p=0")
TEST_ROWS = 397  # of the demo data
CSV_FILES = 2  # that it consists of

PATIENCE = 180.0  # seconds that a slow, busy machine may take for anything that is waited for
POLL_SECONDS = 0.001

OF_THIS_MACHINE = (
    "KAGGLE_DIGITS_DATA",
    "KAGGLE_DIGITS_CACHE",
    "KAGGLE_KERNEL_RUN_TYPE",
    chief_worker.TUNER_ID,
    chief_worker.ADDRESS,
    chief_worker.PORT,
)
SUMMARY = ("submission.csv", "predictions.npz", "metrics.json", "manifest.json")


def environment() -> dict[str, str]:
    """Return the environment for a new Python process that imports this package from anywhere.

    It knows nothing of the data and the cache that this machine's user has.
    """
    kept = {name: value for name, value in os.environ.items() if name not in OF_THIS_MACHINE}
    # CI has another version of the Kaggle client on the path.
    places = [str(Path(kaggle_digits.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, places)), "PYTHONUNBUFFERED": "1"}


def write_data(folder: Path, leaked: int = 0) -> None:
    """Write sixty rows of the demo data as a user's own files; test.csv has 30, without labels.

    Args:
        folder: is made.
        leaked: how many rows of test.csv are rows of train.csv.
    """
    train, test = (content.splitlines(keepends=True) for content in demo.csv_files().values())
    rows = [test[0], *train[1 : 1 + leaked], *test[1 + leaked : 31]]
    folder.mkdir()
    (folder / "train.csv").write_bytes(b"".join(train[:61]))
    (folder / "test.csv").write_bytes(b"".join(line.partition(b",")[2] for line in rows))


@dataclass(frozen=True)
class Job:
    """A command that is repeated until its run, or its search, is complete.

    Attributes:
        home: the working folder of its processes.
        cache: the cache folder.
        settings: values of --set.
        words: further words of the command.
        out: the run folder; None: the command leaves it out, and the first number is taken.
        command: run or tune.
        variables: what its processes have in the environment beside `environment`.
    """

    home: Path
    cache: Path
    settings: tuple[str, ...] = SETTINGS
    words: tuple[str, ...] = ()
    out: Path | None = None
    command: str = "run"
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        """The run folder, or the search's."""
        name = {"run": "quick-1", "tune": "tune-tiny-1"}[self.command]
        return self.out or self.home / "submissions" / name

    def state(self, fit: str) -> Path:
        """Return the file that an unfinished fit resumes from."""
        return self.run / "fits" / f"{fit}.state"

    def whole_fits(self) -> list[Path]:
        """List the folders of the finished fits."""
        # No "**": it minds folders that go away meanwhile.
        places = ("", "candidates/*/", "holdout/*/")
        found = [path for place in places for path in self.run.glob(f"{place}fits/[!.]*/fit.json")]
        return sorted(path.parent for path in found)

    def parsed(self) -> list[Path]:
        """List the parsed CSV files in the cache; train.csv is the first to come there."""
        return sorted(self.cache.glob("arrays/v*-csv*.npz"))

    def variants(self) -> list[Path]:
        """List the variants in all banks of the cache."""
        return sorted(self.cache.glob("bank/*/variant-*.npy"))

    def half_written(self) -> list[Path]:
        """List what is half written, or was when its writer was killed."""
        # Unlike a glob, a walk does not mind folders that go away meanwhile.
        return [
            Path(folder, name)
            for place in (self.run, self.cache)
            for folder, folders, names in os.walk(place)
            for name in (*folders, *names)
            if name.startswith(files.TEMP_PREFIX)
        ]

    def metrics(self) -> dict:
        """Read `metrics.json`."""
        return json.loads((self.run / "metrics.json").read_text())

    def result(self) -> tuple[bytes, files.Arrays]:
        """Return what must not depend on how a run came about."""
        submission = (self.run / "submission.csv").read_bytes()
        return submission, files.read_arrays(self.run / "predictions.npz")

    def begin(self, *words: str) -> Life:
        """Start the command, with further words."""
        return Life(self, words)

    def finish(self, *words: str) -> Life:
        """Let the command run to its end, which must be a good one."""
        life = self.begin(*words)
        assert life.end() == 0, life.complaints
        return life


def check_in_time(seconds: float, limit: float) -> None:
    """Warn if a process ended later than promised; with KAGGLE_DIGITS_TEST_TIMES=strict, fail.

    A machine that is too slow or too busy is no defect of the code.
    """
    if seconds < limit:
        return
    late = f"ended after {seconds:.1f} s, promised were {limit} s"
    assert os.environ.get("KAGGLE_DIGITS_TEST_TIMES") != "strict", late
    warnings.warn(late, stacklevel=2)


class Life:
    """One process of a job, from its start to its end, with the workers that it starts.

    Attributes:
        printed: (seconds since the start, line) of standard output so far.
        complaints: lines of standard error so far.
        seconds: how long it lived, once `end` has returned.
    """

    def __init__(self, job: Job, words: tuple[str, ...]) -> None:
        self.job = job
        self.start = time.monotonic()
        self._half_before = set(job.half_written())
        self.printed: list[tuple[float, str]] = []
        self.complaints: list[str] = []
        overrides = [word for setting in job.settings for word in ("--set", setting)]
        out = ["--out", str(job.out)] if job.out else []
        command = [sys.executable, "-m", "kaggle_digits", job.command, *overrides, *out]
        job.home.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [*command, "--cache", str(job.cache), *job.words, *words],
            env=environment() | job.variables,
            cwd=job.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_output(self) -> None:
        for line in self.process.stdout:
            self.printed.append((time.monotonic() - self.start, line.rstrip("\n")))

    def _read_errors(self) -> None:
        for line in self.process.stderr:
            self.complaints.append(line.rstrip("\n"))

    def half_written(self) -> list[Path]:
        """List what is half written since it began."""
        return [path for path in self.job.half_written() if path not in self._half_before]

    @property
    def output(self) -> str:
        """All that it has printed so far."""
        return "\n".join(line for _, line in self.printed)

    def said(self, text: str) -> bool:
        """Return whether it has printed a text."""
        return text in self.output

    def seconds_until(self, text: str) -> float:
        """Return when it first printed a text, in seconds since its start."""
        return next(seconds for seconds, line in self.printed if text in line)

    def wait_for(self, reached: Callable[[], bool]) -> bool:
        """Wait until something is seen; return whether it was before the process ended."""
        deadline = time.monotonic() + PATIENCE
        while not reached():
            if self.process.poll() is not None:
                return reached()
            if time.monotonic() > deadline:
                self.destroy()
                raise AssertionError(f"not seen in {PATIENCE} s:\n{self.output}")
            time.sleep(POLL_SECONDS)
        return True

    def signal(self, number: int, alone: bool = False) -> None:
        """Send a signal to the process and its workers, or to it alone."""
        if self.process.poll() is None:
            send = os.kill if alone else os.killpg
            send(self.process.pid, number)

    def end(self, number: int | None = None, alone: bool = False) -> int:
        """Wait for the end of the process and its workers, if wanted after a signal.

        Returns:
            The exit status, or minus the signal that ended it.
        """
        if number is not None:
            self.signal(number, alone)
        try:
            status = self.process.wait(PATIENCE)
            self.seconds = time.monotonic() - self.start
            deadline = time.monotonic() + PATIENCE
            while left := self.workers():
                assert time.monotonic() < deadline, f"left behind: {left}"
                time.sleep(POLL_SECONDS)
        finally:
            self.destroy()
        for reader in self._readers:
            reader.join(PATIENCE)
        return status

    def workers(self) -> list[psutil.Process]:
        """List the living processes of the group other than the first one."""
        found = []
        for process in psutil.process_iter():
            try:
                same_group = os.getpgid(process.pid) == self.process.pid != process.pid
                if same_group and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    def drawing(self) -> list[psutil.Process]:
        """List the processes that draw variants, without those that only watch over them."""
        return [each for each in self.workers() if "spawn_main" in " ".join(each.cmdline())]

    def destroy(self) -> None:
        """Leave nothing of it behind, whatever a test has found."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


def where_killed(life: Life) -> str:
    """Return in which stage a process was killed, judged by what it leaves behind.

    Returns:
        cache, bank, epochs, writing or ensemble; start: Python, a backend or an earlier fit's
        results were only being loaded.
    """
    job = life.job
    for path in life.half_written():
        if job.cache in path.parents:
            return "cache" if path.parent.name == "arrays" else "bank"
        name = path.name.removeprefix(files.TEMP_PREFIX).partition("-")[2]
        return "ensemble" if name in SUMMARY and job.whole_fits() else "writing"
    manifest = job.run / "manifest.json"
    written = [(fit / "fit.json").stat().st_mtime_ns for fit in job.whole_fits()]
    if written and max(written) > manifest.stat().st_mtime_ns:
        return "ensemble"
    if life.said(", epoch ") or life.said(" resumes after epoch "):
        return "epochs"
    if life.said("reading ") and len(job.parsed()) < CSV_FILES:
        return "cache"
    if life.said("run folder: ") and not life.said("augmentation bank: "):
        return "bank"
    return "start"


def assert_same_result(job: Job, expected: tuple[bytes, files.Arrays]) -> None:
    """Assert that a finished run has an undisturbed one's bytes, and nothing is left over."""
    submission, arrays = job.result()
    assert submission == expected[0]
    assert arrays.keys() == expected[1].keys()
    for name, array in expected[1].items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
    assert not list(job.run.rglob("*.state"))
    assert not job.half_written()


# Searches

SEARCH = """
folds: {count: 3}
model:
  stages: [{width: 8, pool: first}, {width: 16, pool: last}]
  pooling: average
train: {epochs: 4, batch_size: 32, learning_rate: 0.003, warmup_epochs: 0.5}
augment: {variants: 3, elastic: {p: 0.0}}
tune:
  oracle: random
  max_trials: 3
  racing_alpha: 0
  space:
    train.learning_rate: {low: 0.003, high: 0.1, sampling: log}
    model.stages.0.width: {low: 4, high: 8, step: 4}
    augment.affine_probability: {choices: [0.5, 1.0]}
"""
# What is not the same twice.
OF_THE_CLOCK = (
    "seconds",
    "seconds_per_fit",
    "images_per_second",
    "peak_memory_bytes",
    "time, this invocation",
)


def search(home: Path, cache: Path, *settings: str) -> Job:
    """Return a search of `SEARCH` with some settings changed, in new folders."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "tiny.yaml").write_text(SEARCH)
    return Job(home, cache, settings, ("--config", "tiny.yaml"), home / "search", "tune")


def oracle_state(job: Job) -> dict:
    """Read what the oracle of a search knows; {} before its first trial."""
    return files.read_json(job.run / "oracle" / "oracle.json")


def unfinished_fits(job: Job, fit: str) -> list[Path]:
    """List the states of the unfinished fits of a name, whichever candidates they belong to."""
    return list(job.run.glob(f"candidates/*/fits/{fit}.state"))


def stamps(job: Job) -> dict[Path, tuple[int, int]]:
    """Return the finished fits' model files, each with what sets it apart from a newer one."""
    models = [fit / "model.keras" for fit in job.whole_fits()]
    return {model: (model.stat().st_ino, model.stat().st_mtime_ns) for model in models}


def assert_kept(job: Job, models: dict[Path, tuple[int, int]]) -> None:
    """Assert that no fit of those that `stamps` returned was trained again."""
    now = stamps(job)
    assert {model: now.get(model) for model in models} == models


def ended(job: Job) -> list[str]:
    """List the trials of a search that have ended, in this order."""
    return oracle_state(job).get("end_order", [])


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))
        return attempt.getsockname()[1]


def member(job: Job, port: int, tuner: str) -> Job:
    """Return the part that the chief or a worker has in a search."""
    address = {chief_worker.ADDRESS: "127.0.0.1", chief_worker.PORT: str(port)}
    return replace(job, variables=address | {chief_worker.TUNER_ID: tuner})


def search_result(job: Job) -> tuple[bytes, dict]:
    """Return what must not depend on how a search came about."""
    record = json.loads((job.run / "search_record.json").read_text())
    return (job.run / "best.yaml").read_bytes(), _without(record, OF_THE_CLOCK)


def _without(value: object, keys: tuple[str, ...]) -> object:
    if isinstance(value, dict):
        return {key: _without(each, keys) for key, each in value.items() if key not in keys}
    return [_without(each, keys) for each in value] if isinstance(value, list) else value


def assert_same_search(job: Job, expected: tuple[bytes, dict]) -> None:
    """Assert that a finished search has an undisturbed one's result, and nothing is left over."""
    best, record = search_result(job)
    assert record == expected[1]
    assert best == expected[0]
    trials = [trial["trial"] for trial in record["trials"]]
    oracle = oracle_state(job)
    assert (oracle["start_order"], sorted(oracle["end_order"])) == (trials, trials)
    assert not unfinished_fits(job, "*")
    assert not job.half_written()
