"""What a built kernel does on Kaggle: find its inputs, continue an earlier run, run, hand over.

The code file that `kernel_code` makes calls this module. Kaggle's folders are under `/kaggle`; the
environment variable KAGGLE_DIGITS_KAGGLE_ROOT moves them, to try a kernel at home.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.data import sources
from kaggle_digits.data.digits import Digits, load_digits
from kaggle_digits.errors import UserError
from kaggle_digits.runs import preparation
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache, cache_folder
from kaggle_digits.storage.run_copies import copy_run, find_runs
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import count_of
from kaggle_digits.training import backend

ROOT = "KAGGLE_DIGITS_KAGGLE_ROOT"
RUN = "run"  # the run's folder in the output
PUBLISH_SECONDS = 30.0  # a session may be ended from outside at any time


@dataclass(frozen=True)
class Session:
    """Where a session on Kaggle has its files.

    Attributes:
        config: the config of its run.
        root: holds `input` and `working`.
        data: the folder or zip with the competition's files.
    """

    config: Config
    root: Path
    data: str

    @property
    def run_folder(self) -> RunFolder:
        """The run's folder, in the output."""
        return RunFolder(self.root / "working" / RUN)

    @cached_property
    def digits(self) -> Digits:
        """The competition's data; the run finds it parsed in the cache."""
        cache = Cache(cache_folder(), notice=_say)
        return load_digits(self.data, self.config.folds, cache, _say)

    def continue_earlier(self) -> None:
        """Copy the run that an input holds into the output, unless there is one already.

        Of several the one that is furthest is taken. Says which one, and why one is not used.
        """
        if self.run_folder.has_config():
            return
        found = []
        for run in find_runs(self.root / "input"):
            if preparation.is_same_run(run, self.config, self.digits, backend.name()):
                found.append(run)
            else:
                _say(f"not continued: {run.folder}: its config, data or Keras backend is another")
        if found:
            furthest = max(found, key=_progress)
            copy_run(furthest, self.run_folder.folder)
            fits = count_of(len(furthest.finished_fits()), "finished fit")
            _say(f"continues the run in {furthest.folder}, {fits}")

    def publish(self) -> None:
        """Copy the run's submission to the top of the output; without one there is none there.

        Raises:
            UserError: the disk is full.
        """
        source = self.run_folder.submission
        target = self.root / "working" / source.name
        try:
            files.write_bytes(target, source.read_bytes())
        except FileNotFoundError:
            target.unlink(missing_ok=True)


def begin(config: Path) -> Session:
    """Find the competition's files, and the run of an earlier session.

    Args:
        config: the YAML file with the config.

    Returns:
        The session; its run folder holds the run to continue, if there is one.

    Raises:
        UserError: the competition is not among the inputs. The demo data is never used.
    """
    root = Path(os.environ.get(ROOT) or "/kaggle")
    is_kernel = {"KAGGLE_KERNEL_RUN_TYPE": os.environ.get("KAGGLE_KERNEL_RUN_TYPE", "")}
    source = sources.find_source(
        None, environ=is_kernel, working_directory=root / "working", kaggle_root=root / "input"
    )
    session = Session(loading.load(str(config)), root, source.description)
    session.continue_earlier()
    return session


def run(config: Path, options: Sequence[str]) -> int:
    """Do what `kaggle-digits run` does, and leave the submission at the top of the output.

    The run is a process of its own: whatever becomes of it, out of memory too, its submission is
    handed over.

    Args:
        config: the YAML file with the config.
        options: further words of the command.

    Returns:
        The exit status.
    """
    try:
        session = begin(config)
    except UserError as error:
        print(f"kaggle-digits: {error}", file=sys.stderr)
        return 2
    out = session.run_folder.folder
    command = [sys.executable, "-u", "-P", "-m", "kaggle_digits", "run", "--config", config]
    with subprocess.Popen([*command, "--data", session.data, "--out", out, *options]) as process:
        while process.returncode is None:
            try:
                process.wait(PUBLISH_SECONDS)
            except subprocess.TimeoutExpired:
                with suppress(UserError):  # there may be space on the disk when the run has ended
                    session.publish()
    try:
        session.publish()
    except UserError as error:
        print(f"kaggle-digits: {error}", file=sys.stderr)
        return process.returncode or 2
    return process.returncode


def _progress(run: RunFolder) -> tuple[int, float]:
    return len(run.finished_fits()), run.read_seconds()["wall"]


def _say(line: str) -> None:
    print(line, flush=True)
