"""Run folder -> its report: one HTML page, and pictures of what it shows.

The report has nothing that is not in the folder or in the data, so it can be made at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kaggle_digits.config import auto, loading
from kaggle_digits.config.schema import Config
from kaggle_digits.data import digits, folds, sources, submission_csv
from kaggle_digits.data.digits import Digits
from kaggle_digits.errors import UserError
from kaggle_digits.report import run_page, run_tables
from kaggle_digits.results import record
from kaggle_digits.results.joined import GREEDY
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.results.run_report import NET_FORMAT, FitReport, NetSummary, RunReport
from kaggle_digits.runs import summary
from kaggle_digits.scoring import ensemble
from kaggle_digits.scoring.ensemble import CLASSES, FitPredictions
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.storage.submission_files import scores_at_kaggle
from kaggle_digits.system import environment
from kaggle_digits.system.console import Fact, count_of
from kaggle_digits.training import monitoring

CONTINUE = "repeat the command that began it"


def write(folder: RunFolder, data: Digits | None) -> None:
    """Write the report of a run, its page last.

    Args:
        folder: the run's folder.
        data: what it was trained on, see `find_data`.

    Raises:
        UserError: see `read`, or it cannot be written.
    """
    report = read(folder, data)
    for name, picture in run_page.pictures(report).items():
        files.write_bytes(folder.pictures / name, picture)
    files.write_bytes(folder.report, run_page.page(report).encode())


def attempt(folder: RunFolder, data: Digits | None) -> str | None:
    """Write the report of a run that is whole without it.

    Returns:
        Why there is none, in one line; None: it is written.
    """
    try:
        write(folder, data)
    except Exception as error:  # a run never ends for its page; `Stopped` is no Exception
        why = str(error)
        if not isinstance(error, UserError | OSError):
            why = f"{type(error).__name__}: {error}" if why else type(error).__name__
        return " ".join(why.split())
    return None


def read(folder: RunFolder, data: Digits | None) -> RunReport:
    """Read what the report of a run shows.

    Args:
        folder: the run's folder.
        data: what it was trained on; None: there are no pictures of digits.

    Returns:
        The report. Until a fit is finished nothing is predicted in it.

    Raises:
        UserError: see `check`, or a file in it is damaged.
    """
    check(folder)
    # A kill while they were written, or a run that is at work just now.
    torn = {folder.metrics.name, folder.predictions.name}.intersection(folder.changed_artefacts())
    if torn:
        raise UserError(
            f"{folder.folder}: {', '.join(sorted(torn))}: missing, or of another moment than "
            f"manifest.json; {CONTINUE}"
        )
    metrics = summary.read_metrics(folder)
    config = loading.load(str(folder.config), say=lambda line: None)
    order = {member: place for place, member in enumerate(config.members)}
    finished = [fit for fit in folder.finished_fits() if fit[0] in order]
    finished.sort(key=lambda fit: (order[fit[0]], fit[1]))
    arrays = _arrays(folder) if finished else _nothing_predicted(data)
    # Reading them compares all checksums of the fits.
    predictions = ensemble.weighted(_predictions(folder, finished), config.ensemble.weights)
    scores = scores_at_kaggle(folder.submission)
    return RunReport(
        name=folder.folder.resolve().name,
        metrics=metrics,
        method=config.ensemble.method,
        fits=tuple(_fit(folder, config, *fit) for fit in finished),
        predictions=tuple(predictions),
        **arrays,
        is_selected=_is_selected(folder),
        submitted=_submitted(folder),
        train_images=data and data.train_images,
        test_images=data and data.test_images,
        augmentation=_bytes_of(folder.augmentation),
        config=loading.dump(config, compact=True),
        changes=_changes(config),
        kaggle_scores=scores,
        facts=dict(_facts(folder, metrics)),
        next_step=_next_step(folder, metrics, bool(scores)),
    )


def check(folder: RunFolder) -> None:
    """Refuse a folder that there can be no report of.

    Raises:
        UserError: it is no run's folder, or nothing is finished in it.
    """
    folder.check_begun()
    if not folder.metrics.is_file():
        raise UserError(f"{folder.folder}: no fit is finished yet; {CONTINUE}")


def find_data(
    folder: RunFolder, given: Path | None, cache: Cache, say: Callable[[str], object]
) -> Digits | None:
    """Find the data that a run was trained on, for the pictures of digits.

    Args:
        folder: the run's folder.
        given: a folder or zip; None: where the run had it from.
        cache: holds the parsed files.
        say: is called with a line where there is none, and why.

    Returns:
        The data; None where it is not there any more, or has changed since.

    Raises:
        UserError: other data than the run's is given, or it cannot be read.
    """
    place = given or folder.data_source()
    without = "the report shows no digits; --data gives the place of the data"
    if place is None or not (given or sources.is_here(place)):
        say(f"{place or 'data'}: not found; {without}")
        return None
    data = digits.read_digits(sources.find_source(place), cache.arrays)
    if data.hashes == files.read_json(folder.manifest).get("data"):
        return data
    if given:
        raise UserError(f"--data {given}: expected the data of {folder.folder}, found other data")
    say(f"{place}: has changed since the run; {without}")
    return None


def _arrays(folder: RunFolder) -> dict[str, np.ndarray | None]:
    arrays = folder.read_predictions()
    found = {name: arrays[name] for name in ("labels", "oof", "test")}
    return found | {"folds": arrays.get("folds")}


def _nothing_predicted(data: Digits | None) -> dict[str, np.ndarray | None]:
    labels = np.zeros(0, np.uint8) if data is None else data.train_labels
    return {
        "labels": labels,
        "folds": None,
        "oof": np.full((len(labels), CLASSES), np.nan, np.float32),
        "test": np.zeros((0, CLASSES), np.float32),
    }


def _fit(folder: RunFolder, config: Config, member: str, fold: int) -> FitReport:
    import pandas as pd

    facts = folder.read_fit(member, fold)
    history = pd.read_csv(folder.history_path(member, fold))
    net = facts.get("net")
    where = folder.fit_folder(member, fold)
    with _all_there(where / "fit.json"):
        return FitReport(
            member=member,
            fold=fold,
            history={str(name): tuple(column.tolist()) for name, column in history.items()},
            train_seconds=facts["seconds"]["train"],
            predict_seconds=facts["seconds"]["predict"],
            train_images=facts["train_images"],
            net=net and record.from_json(NetSummary, net, NET_FORMAT, where),
            kept_epoch=monitoring.kept_epoch(
                config.member(member).train, history.to_dict("records")
            ),
        )


def _predictions(folder: RunFolder, fits: list[tuple[str, int]]) -> Iterator[FitPredictions]:
    if not fits:
        return
    arrays = folder.read_folds()
    if arrays is None:
        raise files.DamagedError(folder.folds, "it is missing")
    with _all_there(folder.folds):
        split = folds.from_arrays(arrays)
        rows = [split[fold] for _, fold in fits]
    for (member, fold), heldout_rows in zip(fits, rows, strict=True):
        with _all_there(folder.fit_folder(member, fold)):
            arrays = folder.read_fit_arrays(member, fold)
            found = FitPredictions(member, fold, heldout_rows, arrays["heldout"], arrays["test"])
        yield found


@contextmanager
def _all_there(path: Path) -> Iterator[None]:
    """Turn a key or an array that a file does not have into one line."""
    try:
        yield
    except (LookupError, TypeError) as error:
        raise files.DamagedError(path, f"something is missing in it ({error})") from error


def _is_selected(folder: RunFolder) -> bool:
    joined = files.read_json(folder.manifest).get("joined")
    return isinstance(joined, dict) and joined.get("method") == GREEDY


def _submitted(folder: RunFolder) -> np.ndarray | None:
    if not folder.submission.is_file():
        return None
    return submission_csv.check_file(folder.submission, rows=None, balanced=False)


def _bytes_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _changes(config: Config) -> dict[str, tuple[str, str]]:
    """Write out what differs from quick: key -> (value, quick's value)."""
    # What `auto` has become is the machine's, not a choice.
    quick = auto.with_threads(loading.load("quick"), config.train.threads)
    quick = auto.with_precision(quick, {}, config.train.precision)
    return {
        key: tuple("" if each is None else loading.in_line(each) for each in (value, usual))
        for key, (value, usual) in loading.differences(config, quick).items()
    }


def _facts(folder: RunFolder, metrics: RunMetrics) -> Iterator[tuple[str, str]]:
    """Yield titles and texts of what the manifest has noted, as far as it can be read."""
    manifest = files.read_json(folder.manifest)
    name, revision = folder.made_by()
    yield from ((title, text) for title, text in (("config", name), ("code", revision)) if text)
    if metrics.oof_rows:
        yield "rows", f"{metrics.oof_rows:,} predicted out of fold, {metrics.test_rows:,} of test"
    if isinstance(hashes := manifest.get("data"), dict):
        yield from ((f"{name}, BLAKE2b", str(digest)[:32]) for name, digest in hashes.items())
    across = count_of(metrics.duplicates_across_folds, "training row")
    leaked = count_of(metrics.test_rows_also_in_train, "test row")
    yield "duplicates", f"{across} as in another fold, {leaked} also in train.csv"
    yield from ((key, str(manifest[key])) for key in ("seed", "backend") if key in manifest)
    if isinstance(precisions := manifest.get("precision"), dict):
        yield "precision", _precisions_text(precisions)
    if names := folder.joined_from():
        joined = manifest["joined"]
        yield "joined from", f"{', '.join(names)}; by {joined.get('method')}"
        if left := joined.get("not_taken_over"):
            yield "not taken over", "; ".join(map(str, left))
    hardware = manifest.get("hardware")
    if isinstance(hardware, dict) and {"processor", "cores", "memory_bytes", "system"} <= set(
        hardware
    ):
        yield from environment.described(hardware, folder.package_versions()).items()


def _precisions_text(precisions: Mapping[str, str]) -> str:
    """Write what members were trained in: once if it is the same for all."""
    if len(set(precisions.values())) == 1:
        return str(next(iter(precisions.values())))
    return ", ".join(f"{member} {precision}" for member, precision in precisions.items())


def _next_step(folder: RunFolder, metrics: RunMetrics, is_scored: bool) -> Fact | None:
    is_joined = bool(folder.joined_from())
    steps = run_tables.next_steps(metrics, folder.folder, folder.submission, CONTINUE, is_joined)
    if not metrics.complete:
        return steps[0]
    commands = [step for step in steps if step.kind == "command"]
    return next(iter(commands[::-1] if is_scored else commands), None)
