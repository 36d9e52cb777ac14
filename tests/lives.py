"""Real runs in processes of their own: started, watched from outside, ended at a chosen moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

import kaggle_digits
from kaggle_digits import disk

# A net so small that what it goes on from takes less room than its finished fit.
TINY = (
    "model.stages=[{width: 8, pool: first}, {width: 16, pool: last}]",
    "model.head=average",
    "train.learning_rate=0.02",
    "folds.count=2",
)
# Long enough for a fit to be met unfinished.
SETTINGS = (*TINY, "train.epochs=10", "train.batch_size=64", "augment.variants=3")
# So many variants that two processes draw them, for seconds.
DRAWING = (*TINY, "train.epochs=20", "augment.variants=1000", "augment.elastic.p=0")
TEST_ROWS = 397  # of the practice set

PATIENCE = 180.0  # seconds that a slow, busy machine may take for anything that is waited for
POLL_SECONDS = 0.001

OF_THIS_MACHINE = ("KAGGLE_DIGITS_DATA", "KAGGLE_DIGITS_CACHE", "KAGGLE_KERNEL_RUN_TYPE")
SUMMARY = ("submission.csv", "predictions.npz", "metrics.json", "manifest.json")


def environment() -> dict[str, str]:
    """Return the environment for a new Python process that imports this package from anywhere.

    It knows nothing of the data and the cache that this machine's user has.
    """
    kept = {name: value for name, value in os.environ.items() if name not in OF_THIS_MACHINE}
    own = {"PYTHONPATH": str(Path(kaggle_digits.__file__).parents[1]), "PYTHONUNBUFFERED": "1"}
    return kept | own


@dataclass(frozen=True)
class Job:
    """A command that is repeated until its run is complete.

    Attributes:
        home: the working folder of its processes.
        cache: the cache folder.
        settings: values of --set.
        words: further words of the command.
        out: the run folder; None: the command leaves it out, and the first number is taken.
    """

    home: Path
    cache: Path
    settings: tuple[str, ...] = SETTINGS
    words: tuple[str, ...] = ()
    out: Path | None = None

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.out or self.home / "submissions" / "quick-1"

    def state(self, fit: str) -> Path:
        """Say where an unfinished fit's state lies."""
        return self.run / "fits" / f"{fit}.state"

    def whole_fits(self) -> list[Path]:
        """List the folders of the finished fits."""
        return sorted(path.parent for path in self.run.glob("fits/[!.]*/fit.json"))

    def variants(self) -> list[Path]:
        """List the variants in all banks of the cache."""
        return sorted(self.cache.glob("bank/*/variant-*.npy"))

    def half_written(self) -> list[Path]:
        """List what is half written, or was when its writer was killed."""
        # Unlike a glob, a walk does not mind folders that go away meanwhile.
        return [
            Path(folder, name)
            for place in (self.run, self.cache)
            for folder, folders, files in os.walk(place)
            for name in (*folders, *files)
            if name.startswith(disk.HALF)
        ]

    def metrics(self) -> dict:
        """Read `metrics.json`."""
        return json.loads((self.run / "metrics.json").read_text())

    def result(self) -> tuple[bytes, disk.Arrays]:
        """Return what must not depend on how a run came about."""
        submission = (self.run / "submission.csv").read_bytes()
        return submission, disk.read_arrays(self.run / "predictions.npz")

    def begin(self, *words: str) -> Life:
        """Start the command, with further words."""
        return Life(self, words)

    def finish(self, *words: str) -> Life:
        """Let the command run to its end, which must be a good one."""
        life = self.begin(*words)
        assert life.end() == 0, life.complaints
        return life


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
        command = [sys.executable, "-m", "kaggle_digits", "run", *overrides, *out]
        job.home.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [*command, "--cache", str(job.cache), *job.words, *words],
            env=environment(),
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
        """Tell whether it has printed a text."""
        return text in self.output

    def seconds_until(self, text: str) -> float:
        """Say when it first printed a text, in seconds since its start."""
        return next(seconds for seconds, line in self.printed if text in line)

    def wait_for(self, reached: Callable[[], bool]) -> bool:
        """Wait until something is seen; tell whether it was before the process ended."""
        deadline = time.monotonic() + PATIENCE
        while not reached():
            if self.process.poll() is not None:
                return reached()
            assert time.monotonic() < deadline, f"not seen in {PATIENCE} s:\n{self.output}"
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
    """Tell from what a killed process leaves behind in which stage it was.

    Returns:
        cache, bank, epochs, writing or ensemble; start: Python, a backend or an earlier fit's
        results were only being loaded.
    """
    job = life.job
    for path in life.half_written():
        if job.cache in path.parents:
            return "cache" if path.parent.name == "arrays" else "bank"
        name = path.name.removeprefix(disk.HALF).partition("-")[2]
        return "ensemble" if name in SUMMARY and job.whole_fits() else "writing"
    manifest = job.run / "manifest.json"
    written = [(fit / "fit.json").stat().st_mtime_ns for fit in job.whole_fits()]
    if written and max(written) > manifest.stat().st_mtime_ns:
        return "ensemble"
    if life.said(", epoch ") or life.said(" goes on after epoch "):
        return "epochs"
    if life.said("PRACTICE DATA") and not any(job.cache.glob("arrays/inputs-*.npz")):
        return "cache"
    if life.said("run folder: ") and not life.said("augmentation bank: "):
        return "bank"
    return "start"


def assert_same_result(job: Job, expected: tuple[bytes, disk.Arrays]) -> None:
    """Assert that a finished run has an undisturbed one's bytes, and nothing lies about."""
    submission, arrays = job.result()
    assert submission == expected[0]
    assert arrays.keys() == expected[1].keys()
    for name, array in expected[1].items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
    assert not list(job.run.rglob("*.state"))
    assert not job.half_written()
