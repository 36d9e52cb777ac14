"""The functions that `import kaggle_digits as kd` offers to notebooks and scripts.

They do what the commands do. A process that calls them is never ended by them, and no timer or
signal handler of theirs remains when they return.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.analysis import blend, run_list
from kaggle_digits.analysis import classify as classifying
from kaggle_digits.analysis import compare as comparing
from kaggle_digits.analysis import evaluate as evaluating
from kaggle_digits.analysis.classify import Pictures
from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.errors import UserError, explained
from kaggle_digits.results.classification import Classification
from kaggle_digits.results.comparison import Comparison
from kaggle_digits.results.evaluation import Evaluation
from kaggle_digits.runs import pipeline
from kaggle_digits.runs.run import Run
from kaggle_digits.storage.cache import Cache, cache_folder
from kaggle_digits.storage.evaluation_folder import EvaluationFolder
from kaggle_digits.storage.run_folder import SUBMISSIONS
from kaggle_digits.system.console import ProgressMode, Reporter
from kaggle_digits.system.time_budget import Signals, Stopped, TimeBudget, parse_duration
from kaggle_digits.tuning import search
from kaggle_digits.tuning.search_plan import TuneOptions
from kaggle_digits.tuning.search_result import SearchResult

if TYPE_CHECKING:
    import keras
    import pandas as pd

CONTINUE = "repeat the call"


def run(
    config: str | Path | Config = "quick",
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    time_limit: str | float | None = None,
    cache: str | Path | None = None,
    progress: ProgressMode = "auto",
    restart: bool = False,
    allow_changed_versions: bool = False,
    allow_leak: bool = False,
    callbacks: Sequence[Callable[[], keras.callbacks.Callback]] = (),
    report: bool = True,
) -> Run:
    """Train the ensemble and write a checked submission; repeated, it reuses what is finished.

    To stop it, interrupt the kernel (Ctrl-C): whole epochs are kept, and the same call continues.

    Args:
        config: a shipped config's name, the path of a YAML file, or a config.
        data: folder or zip with train.csv and test.csv, or another data set as the command takes
            it: "mnist" for one; None: search for it as the command does.
        out: the run folder; None: the newest unfinished one of the same config and data under
            submissions/, else a new one there.
        overrides: dotted key -> value: `{"train.epochs": 5}`.
        time_limit: end within this time with a valid submission: "30m", or seconds.
        cache: the cache folder; None: KAGGLE_DIGITS_CACHE, else the user's.
        progress: rich: a moving bar and colours on a terminal; plain: lines; none: messages and the
            result only; auto: in a notebook a bar drawn in place and lines.
        restart: delete what the run folder holds and start from the beginning.
        allow_changed_versions: continue in a run folder that other package versions have begun.
        allow_leak: accept test rows that are also in the training data.
        callbacks: factories of Keras callbacks, called once for each net; they are no part of a
            fit's identity, so that finished fits are reused whether or not they had them.
        report: make report.html, the page of the run, in its folder.

    Returns:
        The run.

    Raises:
        UserError: anything that the caller can fix, in one line; nothing finished is lost.
        KeyboardInterrupt: it was interrupted.
    """
    options = pipeline.RunOptions(
        *loading.resolve(config, overrides or {}),
        data=_path(data),
        out=_path(out),
        cache=cache_folder(cache),
        restart=restart,
        allow_changed_versions=allow_changed_versions,
        allow_leak=allow_leak,
        callbacks=tuple(callbacks),
        report=report,
        how_to_continue=f"{CONTINUE} without restart" if restart else CONTINUE,
    )
    with _budget(time_limit) as budget:
        return Run(pipeline.run(options, Reporter(progress=progress), budget).folder)


def prepare(
    config: str | Path | Config = "quick",
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    cache: str | Path | None = None,
    progress: ProgressMode = "auto",
    allow_leak: bool = False,
) -> Run:
    """Do what comes before the first fit: check the data, split it, draw the augmented images.

    `run` with the same arguments goes on from there.

    Args:
        config: see `run`.
        data: see `run`.
        out: see `run`.
        overrides: see `run`.
        cache: see `run`.
        progress: see `run`.
        allow_leak: see `run`.

    Returns:
        The run, which has begun.

    Raises:
        UserError: anything that the caller can fix, in one line; nothing finished is lost.
        KeyboardInterrupt: it was interrupted.
    """
    options = pipeline.RunOptions(
        *loading.resolve(config, overrides or {}),
        data=_path(data),
        out=_path(out),
        cache=cache_folder(cache),
        allow_leak=allow_leak,
        how_to_continue=CONTINUE,
    )
    with _budget(None) as budget:
        return Run(pipeline.prepare(options, Reporter(progress=progress), budget).folder)


def tune(
    config: str | Path | Config = "quick",
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    trials: int | None = None,
    time_limit: str | float | None = None,
    cache: str | Path | None = None,
    progress: ProgressMode = "auto",
    allow_changed_versions: bool = False,
) -> SearchResult:
    """Search the settings in the config's `tune.space`; repeated, it continues.

    Args:
        config: see `run`.
        data: see `run`.
        out: the search's folder; None: the newest unfinished one of the same config and data under
            submissions/, else a new one there.
        overrides: see `run`. `{"tune.space": {...}}` takes the place of what the config searches;
            `{"tune.space.train.epochs": {"low": 3, "high": 9}}` adds or changes one setting, None
            takes it away.
        trials: trials in all; None: `tune.max_trials`, else 20, of a grid all.
        time_limit: end within this time with the best config so far: "30m", or seconds.
        cache: see `run`.
        progress: see `run`.
        allow_changed_versions: see `run`.

    Returns:
        What was found.

    Raises:
        UserError: anything that the caller can fix, in one line; nothing finished is lost.
        KeyboardInterrupt: it was interrupted.
    """
    options = TuneOptions(
        *loading.resolve(config, overrides or {}),
        data=_path(data),
        out=_path(out),
        cache=cache_folder(cache),
        trials=trials,
        allow_changed_versions=allow_changed_versions,
        how_to_continue=CONTINUE,
    )
    with _budget(time_limit) as budget:
        return SearchResult(search.tune(options, Reporter(progress=progress), budget).folder)


def evaluate(
    run: Run | str | Path,
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    progress: ProgressMode = "auto",
) -> Evaluation:
    """Say how well a run reads labelled rows: accuracy, each digit, calibration, mistakes.

    Args:
        run: a run or its folder.
        data: a CSV with labels, or what `run` takes, of which test is taken where it has labels;
            None: the run's own training rows, out of fold.
        out: a folder for `evaluation.json` and the page `evaluation.html`: new, empty, or that of
            an evaluation, which is replaced; None: none is written.
        cache: see `run`.
        progress: see `run`.

    Returns:
        The figures; rows that the run was trained on are left out of them.

    Raises:
        UserError: anything that the caller can fix, in one line.
    """
    folder = run.folder if isinstance(run, Run) else _path(run)
    place = None if out is None else EvaluationFolder(_path(out))
    if place:
        place.check_usable()
    reporter = Reporter(progress=progress)
    stored = Cache(cache_folder(cache), reporter.say)
    found = evaluating.evaluate(folder, data, stored, reporter)
    if place:
        found.write(place)
    return found.record


def list_runs(root: str | Path = SUBMISSIONS, *, sort: str = "date") -> pd.DataFrame:
    """List the runs and searches in a folder, with their scores and costs.

    Args:
        root: where they are.
        sort: a column; names, costs and errors begin with the lowest, others with the highest.

    Returns:
        A row for each folder, also for one that is damaged, whose `problem` says why; the columns
        are those of `kaggle-digits runs --json`.

    Raises:
        UserError: there is no such folder or column.
    """
    return run_list.table(run_list.in_order(run_list.find(_path(root)), sort))


def compare(*folders: str | Path) -> Comparison:
    """Compare runs on the same training rows.

    Args:
        folders: of at least two runs.

    Returns:
        Their scores and costs (`.runs`), a paired test of each two (`.tests`), and the rows that
        they predict most differently (`.differences`).

    Raises:
        UserError: a folder is none of a run, or the runs are not of the same data.
    """
    return comparing.compare([_path(folder) for folder in folders])


def ensemble(
    *folders: str | Path,
    out: str | Path | None = None,
    method: str = "mean",
    data: str | Path | None = None,
    cache: str | Path | None = None,
) -> Run:
    """Join finished runs over the same folds into one; nothing is trained.

    Args:
        folders: of at least two runs.
        out: folder of the joined run, new or empty; None: a new one under submissions/.
        method: mean, geometric, vote, or greedy: weights by forward selection, whose figures are
            from weights that were fitted without the fold that is scored.
        data: where the runs' data is; None: where the first run had it from.
        cache: see `run`.

    Returns:
        The joined run.

    Raises:
        UserError: the runs cannot be joined, or the folder is taken; nothing was changed.
    """
    options = blend.EnsembleOptions(
        tuple(map(_path, folders)), method, _path(out), _path(data), cache_folder(cache)
    )
    return Run(blend.join(options, say=lambda line: None).folder.folder)


def load_run(folder: str | Path) -> Run:
    """Open the folder of a run, finished or not.

    Args:
        folder: the run's folder.

    Returns:
        The run.

    Raises:
        UserError: there is no run in it.
    """
    return Run(_path(folder))


def classify(run: Run | str | Path, images: Pictures) -> Classification:
    """Read the digits in pictures and photographs of handwriting.

    Args:
        run: a run with at least one finished fit, or its folder.
        images: paths of pictures and of folders of them, or arrays: (h, w) uint8 in grey or
            (h, w, 3) RGB, dark on light or light on dark; or one of these.

    Returns:
        The digits in reading order, as `.pictures` and as a pandas `.table`. A file that cannot be
        read is named in `.unreadable`, and the others are done.

    Raises:
        UserError: there is no run in the folder or none of its fits is finished, a folder has no
            pictures, or an array is none.
    """
    return classifying.classify(run if isinstance(run, Run) else Run(_path(run)), images)


def load_config(config: str | Path = "quick", overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a config.

    Args:
        config: a shipped config's name, or the path of a YAML file.
        overrides: dotted key -> value: `{"train.epochs": 5}`.

    Returns:
        The config with all its settings; threads and precision may be `auto`.

    Raises:
        UserError: the file is missing, or a key or value does not fit; names it.
    """
    return loading.resolve(config, overrides or {})[0]


def _path(given: str | Path | None) -> Path | None:
    try:
        return None if given is None else Path(given).expanduser()
    except RuntimeError as error:  # there is no such user
        raise UserError(f"{given}: {error}; correct the path") from None


@contextmanager
def _budget(time_limit: str | float | None) -> Iterator[TimeBudget]:
    """Give a call its time; an interrupt first finishes what is needed to continue."""
    if isinstance(time_limit, str):
        time_limit = parse_duration(time_limit, "time_limit")
    if time_limit is not None and not 0 < time_limit < math.inf:
        raise UserError(f"time_limit: expected seconds above 0, found {time_limit}")
    signals = Signals()
    try:
        with signals.watched():
            yield TimeBudget(time_limit, signals)
    except Stopped as stopped:
        with suppress(KeyboardInterrupt):  # it is raised below, without the history of this one
            signal.raise_signal(stopped.number)  # the process's own handler decides
        raise KeyboardInterrupt from None
    except OSError as error:
        raise explained(error) from error
