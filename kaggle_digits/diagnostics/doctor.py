"""Checks an installation and a run's or search's folder, and says what a repeated command would do.

It stands beside the pipeline and only reads: nothing is created, fixed or deleted here.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from kaggle_digits.config.schema import Config
from kaggle_digits.data import competition, demo, sources
from kaggle_digits.errors import UserError
from kaggle_digits.scoring.ensemble import CLASSES
from kaggle_digits.storage import files
from kaggle_digits.storage.locked_folder import LockedFolder
from kaggle_digits.storage.run_folder import SUBMISSIONS, RunFolder
from kaggle_digits.system.console import Reporter
from kaggle_digits.training import backend, fit_spec, precision, resume
from kaggle_digits.tuning.search_folder import SearchFolder

PACKAGE = "kaggle-digits"
ROWS = {
    "demo": (demo.TRAIN_ROWS, demo.TEST_ROWS),
    "competition": (competition.TRAIN_ROWS, competition.TEST_ROWS),
}
PIXELS = 28 * 28
# Copies of a net's weights on disk while it is trained: a checkpoint has up to five (weights, two
# moments, an average, the best epoch's), and the next is written before the old one is deleted.
TRAINING_COPIES = 10
GIB, MIB = 2**30, 2**20


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table.

    Attributes:
        name: what was checked.
        found: what was found.
        problem: whether a run would fail or lose results because of it.
    """

    name: str
    found: str
    problem: bool = False


def examine(
    config: Config,
    name: str,
    path: Path | None,
    cache: Path,
    folder: Path | None,
    reporter: Reporter,
) -> None:
    """Check everything that a run needs and, if one is given, a run's or search's folder.

    Args:
        config: the config whose run has to fit on the disk.
        name: its name.
        path: value of --data, or None.
        cache: the cache folder.
        folder: a run's or search's folder, or None.
        reporter: gets the tables.

    Raises:
        UserError: there are problems; names the first.
    """
    is_search = folder is not None and SearchFolder(folder).identity.is_file()
    if folder is not None and not is_search and not RunFolder(folder).manifest.is_file():
        raise UserError(
            f"{folder}: expected the folder of a run or a search, found no manifest.json and no "
            "search.json in it; give another folder"
        )
    if folder is not None:
        (SearchFolder if is_search else RunFolder)(folder).check_usable()
    findings = [*_installation(), *_places(config, name, path, cache)]
    reporter.show(_table("Installation", findings))
    if folder is not None:
        inside = list(
            examine_search(SearchFolder(folder)) if is_search else examine_run(RunFolder(folder))
        )
        reporter.show(_table(f"{'Search' if is_search else 'Run'} folder {folder}", inside))
        findings += inside
    if problems := [finding for finding in findings if finding.problem]:
        raise UserError(
            f"doctor: {len(problems)} problem{'s' * (len(problems) > 1)}; the first: "
            f"{problems[0].name}: {problems[0].found}"
        )
    reporter.say("no problems found")


def _table(title: str, findings: list[Finding]) -> Table:
    table = Table(title=title, show_header=False)
    for finding in findings:
        table.add_row("PROBLEM" if finding.problem else "ok", finding.name, finding.found)
    return table


def _installation() -> Iterator[Finding]:
    yield from _requirements()
    try:
        chosen = backend.name()
    except UserError as error:
        yield Finding("backend", str(error), problem=True)
        return
    choice = precision.here(threads=1)  # starts the backend
    yield Finding("backend", f"{chosen}, devices: {', '.join(backend.accelerators()) or 'CPU'}")
    yield Finding("precision", f"auto is {choice.precision} here: {choice.reason}")


def _requirements() -> Iterator[Finding]:
    """Compare the installed versions with the ranges that this package declares."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        declared = importlib.metadata.metadata(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", f"{PACKAGE} is not installed, so its requirements are unknown")
        return
    version, required = platform.python_version(), SpecifierSet(declared["Requires-Python"] or "")
    yield Finding("python", f"{version} (required {required})", version not in required)
    for text in importlib.metadata.requires(PACKAGE) or ():
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        required = requirement.specifier
        try:
            version = importlib.metadata.version(requirement.name)
            problem = version not in required
        except importlib.metadata.PackageNotFoundError:
            version, problem = "not installed", True
        yield Finding(requirement.name, f"{version} (required {required})", problem)


def _places(config: Config, name: str, path: Path | None, cache: Path) -> Iterator[Finding]:
    try:
        source = sources.find_source(config.data.path if path is None else path)
    except UserError as error:
        yield Finding("data", str(error), problem=True)
        return
    yield Finding(
        "data", source.description + (", NOT FOR UPLOAD" if source.not_for_upload else "")
    )
    sizes = [file.stat().st_size for file in cache.rglob("*") if file.is_file()]
    yield Finding("cache", f"{cache}: {sum(sizes) / MIB:,.0f} MiB in {len(sizes)} files")
    needed = disk_needed(config, *ROWS["demo" if source.demo else "competition"])
    for place, size in zip((cache, SUBMISSIONS), needed, strict=True):
        absolute = place.absolute()
        existing = next(path for path in (absolute, *absolute.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        writable = os.access(existing, os.W_OK)
        found = f"{free / GIB:,.1f} GiB free; a whole run of {name} takes {size / GIB:,.2f} GiB"
        yield Finding(
            f"disk of {place}",
            found if writable else f"{existing} cannot be written to",
            problem=free < size or not writable,
        )


def disk_needed(config: Config, train_rows: int, test_rows: int) -> tuple[int, int]:
    """Estimate what a whole run writes.

    Args:
        config: the run's config.
        train_rows: rows of train.csv.
        test_rows: rows of test.csv.

    Returns:
        Bytes in the cache and in the run folder.
    """
    from kaggle_digits.training import models

    folds = config.folds
    predictions = 4 * CLASSES * (round(train_rows * folds.heldout_fraction) + test_rows)
    weights = [
        4 * models.build(config.member(member).model, seed=0).count_params()
        for member in config.members
    ]
    # Parsed, and a temporary copy of the training images while the bank is drawn.
    arrays = PIXELS * (2 * train_rows + test_rows)
    return (
        arrays + PIXELS * train_rows * fit_spec.bank_variants(config),
        folds.fits * sum(each + predictions for each in weights) + TRAINING_COPIES * max(weights),
    )


def examine_run(folder: RunFolder) -> Iterator[Finding]:
    """Check a run folder against its own records.

    Args:
        folder: the run's folder, with a manifest.

    Yields:
        What was found; the last finding says what its command with --out would do, or what the run
        was joined from.
    """
    manifest = files.read_json(folder.manifest)
    planned = manifest.get("fits")
    if not isinstance(planned, dict) or not planned:
        yield Finding("manifest.json", "unreadable; repeating the command writes it again", True)
        return
    yield from _in_use(folder)
    for name in folder.changed_artefacts():
        yield Finding(name, "differs from its checksum in manifest.json, or is missing", True)
    fits_by_status = defaultdict(list)
    for name, plan in planned.items():
        fit = folder.parse_fit_name(name)
        if fit is None or not isinstance(plan, dict):
            found = f"damaged at {name:.60}; repeating the command writes it again"
            yield Finding("manifest.json", found, True)
            continue
        status, finding = _examine_fit(folder, fit, plan, str(manifest.get("backend")))
        yield finding
        fits_by_status[status].append(name)
    if sources := folder.joined_from():
        yield Finding("joined from", f"{', '.join(sources)}, with kaggle-digits ensemble")
        return
    steps = [f"reuse {len(fits_by_status['finished'])} of {len(planned)} fits"]
    if unfinished := fits_by_status["unfinished"]:
        steps.append(f"resume {' and '.join(unfinished)}")
    if missing := fits_by_status["missing"]:
        steps.append(f"train {len(missing)} from the start")
    steps.append("write the submission again from all of them")
    yield Finding("its command with --out would", ", ".join(steps))


def _in_use(folder: LockedFolder) -> Iterator[Finding]:
    if owner := folder.owner():
        yield Finding("in use", f"by process {owner}; the findings below may change")


def examine_search(folder: SearchFolder) -> Iterator[Finding]:
    """Check a search's folder against its own records.

    Args:
        folder: the search's folder.

    Yields:
        What was found; the last finding says what its command with --out would do.
    """
    yield from _in_use(folder)
    sound = 0
    for run in folder.all_candidates():
        for fit in run.finished_fits():
            try:
                run.read_fit_arrays(*fit)
                sound += 1
            except files.DamagedError as damage:
                name = f"{run.folder.name} {run.fit_name(*fit)}"
                yield Finding(name, f"damaged: {damage.reason}", True)
    results = folder.read_results().values()
    counts = Counter(result.status for result in results)
    trials = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none yet"
    yield Finding("trials", trials)
    yield Finding(folder.best.name, "written" if folder.best.is_file() else "not written yet")
    running = [result.trial for result in results if result.status == "running"]
    resumed = f", resume trial {' and '.join(running)}" if running else ""
    yield Finding("its command with --out would", f"reuse {sound} finished fits{resumed}")


def _examine_fit(
    folder: RunFolder, fit: tuple[str, int], plan: dict, backend_name: str
) -> tuple[str, Finding]:
    """Return the fit's status (finished, unfinished, missing or skipped) and the finding."""
    name = folder.fit_name(*fit)
    if reason := plan.get("skipped"):
        return "skipped", Finding(name, f"skipped: {reason}")
    try:
        facts = folder.read_fit(*fit)
        if facts is not None:
            folder.read_fit_arrays(*fit)
            if facts.get("digest") != plan.get("identity"):
                return "missing", Finding(name, "was trained with other settings or data", True)
            changed = resume.changed_versions(facts, backend_name)
            if changed:
                versions = ", ".join(f"{each} {then} (here {here})" for each, then, here in changed)
                return "finished", Finding(name, f"finished, but trained with {versions}", True)
            return "finished", Finding(name, "finished, undamaged")
        state = resume.read_checkpoint_facts(folder, *fit)
    except files.DamagedError as damage:
        return "missing", Finding(name, f"damaged: {damage.path.name}: {damage.reason}", True)
    if state is not None and state["fit"] == plan.get("identity"):
        return "unfinished", Finding(name, f"resumes after epoch {state['epochs']}")
    return "missing", Finding(name, "not started")
