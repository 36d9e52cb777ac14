"""The folders of runs and searches in one place -> a list of what each has come to.

It only reads, and what cannot be read is listed with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.errors import UserError
from kaggle_digits.results.comparison import RunEntry
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs import summary
from kaggle_digits.scoring import ensemble
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import KERNELS, RunFolder
from kaggle_digits.storage.submission_files import scores_at_kaggle, why_not_for_upload
from kaggle_digits.training.saved_net import count_parameters
from kaggle_digits.tuning.search_folder import SearchFolder

if TYPE_CHECKING:
    import pandas as pd

KEYS = tuple(field.name for field in fields(RunEntry))
# Sorted from the lowest to the highest; of all else what is best or newest is first.
ASCENDING = frozenset(("name", "kind", "config", "wrong", "image_passes", "seconds", "parameters"))
DATE = "%Y-%m-%dT%H:%M:%SZ"


def find(root: Path) -> list[RunEntry]:
    """Look at every folder in a place.

    Args:
        root: where runs and searches make their folders.

    Returns:
        An entry for each folder, sorted by name, numbers by their value.

    Raises:
        UserError: there is no such folder.
    """
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise UserError(f"{root}: expected a folder with runs, found {found}; give another --root")
    places = [
        path
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name != KERNELS.name
    ]
    return [entry_of(path) for path in sorted(places, key=_natural)]


def in_order(entries: Iterable[RunEntry], key: str) -> list[RunEntry]:
    """Sort entries; those without a value come last, equal ones stay in their order.

    Args:
        entries: in any order.
        key: one of `KEYS`; names, costs and errors begin with the lowest, others with the highest.

    Raises:
        UserError: there is no such key; lists them.
    """
    if key not in KEYS:
        raise UserError(f"--sort {key}: expected one of {', '.join(KEYS)}; choose one of them")
    entries = list(entries)
    known = [each for each in entries if getattr(each, key) not in (None, "")]
    known.sort(key=lambda each: getattr(each, key), reverse=key not in ASCENDING)
    return known + [each for each in entries if getattr(each, key) in (None, "")]


def table(entries: Sequence[RunEntry]) -> pd.DataFrame:
    """Return a row for each entry and a column for each key; what is not known is missing."""
    import pandas as pd

    return pd.DataFrame(map(asdict, entries), columns=KEYS).convert_dtypes()


def entry_of(path: Path) -> RunEntry:
    """Look at one folder."""
    run, search = RunFolder(path), SearchFolder(path)
    name, kind = path.resolve().name, run.holds() or search.holds()
    if kind not in (run.kind, search.kind):
        return RunEntry(name, "other", problem="holds no run and no search")
    entry = RunEntry(name, kind)
    found = _of_run(run, entry) if kind == run.kind else _of_search(search, entry)
    try:
        for more in found:
            entry = more  # what is found before a damaged file is not lost
    except (UserError, OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        # A damaged file may hold anything; the other folders are listed all the same.
        return replace(entry, problem=" ".join(str(error).split()) or type(error).__name__)
    return entry


def _of_run(folder: RunFolder, entry: RunEntry) -> Iterator[RunEntry]:
    """Yield more and more of what is known of a run."""
    folder.check_usable()
    manifest = files.read_json(folder.manifest)
    planned = manifest.get("fits")
    entry = replace(
        entry,
        kind="joined" if folder.joined_from() else entry.kind,
        config=folder.made_by()[0],
        complete=False,
        running=folder.owner() is not None,
        fits=len(folder.finished_fits()),
        fits_planned=len(planned) if isinstance(planned, dict) else None,
        kaggle=next(iter(scores_at_kaggle(folder.submission)[-1:]), None),
        date=_date(folder.manifest),
        demo=manifest.get("demo_data") is True,
        not_for_upload=why_not_for_upload(folder.submission),
        problem="" if manifest else f"{folder.manifest.name} is missing or damaged",
    )
    yield entry
    if folder.metrics.is_file():
        metrics = summary.read_metrics(folder)
        entry = replace(entry, **_figures(metrics), date=_date(folder.metrics))
        if entry.fits < metrics.fits_finished:
            gone = metrics.fits_finished - entry.fits
            entry = replace(entry, problem=f"{gone} of {metrics.fits_finished} fits are gone")
        elif changed := folder.changed_artefacts():
            entry = replace(entry, problem=f"{', '.join(changed)}: changed since the run wrote it")
        yield entry
    yield replace(entry, **_cost_of_fits(folder))


def _figures(metrics: RunMetrics) -> dict[str, Any]:
    low, high = metrics.oof_interval or (None, None)
    expected = metrics.expected_leaderboard if metrics.has_leaderboard else None
    expected_low, expected_high = expected or (None, None)
    return {
        "complete": metrics.complete,
        "fits_planned": metrics.fits_planned,
        "accuracy": metrics.oof_accuracy,
        "wrong": metrics.oof_errors,
        "rows": metrics.oof_rows,
        "low": low,
        "high": high,
        "expected_low": expected_low,
        "expected_high": expected_high,
        "seconds": metrics.wall_seconds,
        "demo": metrics.demo_data,
        "optimistic": metrics.optimistic,
    }


def _cost_of_fits(folder: RunFolder) -> dict[str, int | None]:
    """Count images that the finished fits have seen, and weights of one net of each member."""
    passes, of_member = 0, {}
    for member, fold in folder.finished_fits():
        passes += folder.read_fit(member, fold)["train_images"]
        if member not in of_member:
            of_member[member] = count_parameters(folder.model_path(member, fold))
    known = of_member and None not in of_member.values()
    return {"image_passes": passes, "parameters": sum(of_member.values()) if known else None}


def _of_search(folder: SearchFolder, entry: RunEntry) -> Iterator[RunEntry]:
    """Yield more and more of what is known of a search."""
    folder.check_usable()
    entry = replace(
        entry,
        complete=folder.is_complete(),
        running=folder.owner() is not None,
        date=_date(folder.identity),
    )
    yield entry
    if not folder.found.is_file():
        return
    record = folder.read_record()
    entry = replace(
        entry,
        fits=len(record.trials),
        seconds=record.seconds(),
        date=_date(folder.found),
        demo=record.demo_data,
        not_for_upload=record.not_for_upload,
    )
    yield entry
    best = record.best()
    if best and best.accuracy is not None:
        low, high = ensemble.accuracy_interval(best.errors, best.rows)
        yield replace(
            entry,
            accuracy=best.accuracy,
            wrong=best.errors,
            rows=best.rows,
            low=low,
            high=high,
            parameters=best.parameters,
            optimistic=True,  # the best was picked by this figure
        )


def _date(path: Path) -> str | None:
    if not path.is_file():
        return None
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime(DATE)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return what names are sorted by: quick-2 comes before quick-10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", path.name)]
