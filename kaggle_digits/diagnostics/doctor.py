"""Checks an installation and a run's or search's folder, and says what a repeated command would do.

Reads only: nothing is made, mended or deleted here.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from kaggle_digits.augmentation import bank
from kaggle_digits.config.loading import Config
from kaggle_digits.data import sources
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import Reporter
from kaggle_digits.training import backend, resume
from kaggle_digits.training import fit as fits
from kaggle_digits.tuning.search_folder import SearchFolder

PACKAGE = "kaggle-digits"
ROWS = {"demo": (1_400, 397), "competition": (42_000, 28_000)}
PIXELS = 28 * 28
# Of a net's weights: the saved net, and the state of the fit at work (weights, two moments and an
# average), which is replaced by a new one before the old one goes.
COPIES_AT_WORK = 8
GIB, MIB = 2**30, 2**20


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table.

    Attributes:
        name: what was looked at.
        found: what was found.
        problem: whether a run would fail or be lost for it.
    """

    name: str
    found: str
    problem: bool = False


def examine(
    config: Config,
    name: str,
    path: str | None,
    cache: Path,
    folder: Path | None,
    reporter: Reporter,
) -> None:
    """Look at everything that a run needs and, if one is given, at a run's or search's folder.

    Args:
        config: the config that disk space is looked for.
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
    findings = [*_installation(), *_places(config, name, path, cache)]
    reporter.show(_table("Installation", findings))
    if folder is not None:
        inside = list(
            examine_search(SearchFolder(folder)) if is_search else examine_run(RunFolder(folder))
        )
        reporter.show(_table(f"{'Search' if is_search else 'Run'} folder {folder}", inside))
        findings += inside
    problems = [finding for finding in findings if finding.problem]
    if problems:
        first = problems[0]
        raise UserError(
            f"doctor: {len(problems)} problem{'s' * (len(problems) > 1)}; the first: {first.name}: "
            f"{first.found}"
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
    backend.configure(threads=1)
    yield Finding("backend", f"{chosen}, devices: {', '.join(backend.devices())}")


def _requirements() -> Iterator[Finding]:
    """Hold the installed versions against the ranges that this package declares."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        declared = importlib.metadata.metadata(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", f"{PACKAGE} is not installed, its ranges are not known here")
        return
    version = platform.python_version()
    wanted = SpecifierSet(declared["Requires-Python"] or "")
    yield Finding("python", f"{version} (wanted {wanted})", problem=version not in wanted)
    for text in importlib.metadata.requires(PACKAGE) or ():
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        problem = not requirement.specifier.contains(version) if version[0].isdigit() else True
        yield Finding(
            requirement.name, f"{version} (wanted {requirement.specifier})", problem=problem
        )


def _places(config: Config, name: str, path: str | None, cache: Path) -> Iterator[Finding]:
    try:
        source = sources.find_source(config.data.path if path is None else path)
    except UserError as error:
        yield Finding("data", str(error), problem=True)
        return
    yield Finding("data", source.description + (", NOT FOR UPLOAD" if source.demo else ""))
    files = [file for file in cache.rglob("*") if file.is_file()]
    held = sum(file.stat().st_size for file in files)
    yield Finding("cache", f"{cache}: {held / MIB:,.0f} MiB in {len(files)} files")
    needed = disk_needed(config, *ROWS["demo" if source.demo else "competition"])
    for place, size in zip((cache, Path("submissions")), needed, strict=True):
        standing = place.absolute()
        while not standing.exists():
            standing = standing.parent
        free = shutil.disk_usage(standing).free
        writable = os.access(standing, os.W_OK)
        found = f"{free / GIB:,.1f} GiB free; a whole run of {name} takes {size / GIB:,.2f} GiB"
        yield Finding(
            f"disk of {place}",
            found if writable else f"{standing} cannot be written to",
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

    banks: dict[str, int] = {}
    in_run, at_work = 0, 0
    for member in config.members:
        settings = config.member(member)
        variants = settings.augment.variants or settings.train.epochs
        key = bank.bank_key("", settings.augment, config.seed)
        banks[key] = max(variants, banks.get(key, 0))
        weights = 4 * models.build(settings.model, seed=0).count_params()
        predictions = 4 * 10 * (train_rows // config.folds.count + test_rows)
        in_run += config.folds.count * (weights + predictions)
        at_work = max(at_work, COPIES_AT_WORK * weights)
    arrays = 2 * PIXELS * (train_rows + test_rows)  # parsed, and as the fits read them
    return arrays + PIXELS * train_rows * sum(banks.values()), in_run + at_work


def examine_run(folder: RunFolder) -> Iterator[Finding]:
    """Hold a run folder against its own records.

    Args:
        folder: the run's folder, with a manifest.

    Yields:
        What was found; the last finding says what repeating the command would do.
    """
    manifest = files.read_json(folder.manifest)
    planned = manifest.get("fits")
    if not isinstance(planned, dict) or not planned:
        yield Finding("manifest.json", "cannot be read; repeating the run makes it anew", True)
        return
    if owner := folder.owner():
        yield Finding("in use", f"process {owner} is at work in it; what follows may change")
    for name in folder.changed_artefacts():
        yield Finding(name, "differs from its checksum in manifest.json, or is missing", True)
    finished, going_on, to_do = 0, "", 0
    for name, plan in planned.items():
        if not re.fullmatch(r"\w+-fold[1-9]\d*", name) or not isinstance(plan, dict):
            yield Finding("manifest.json", f"damaged at {name:.60}; repeating makes it anew", True)
            continue
        state, finding = _examine_fit(folder, name, plan, str(manifest.get("backend")))
        yield finding
        finished += state == "finished"
        to_do += state in ("goes on", "to do")
        going_on = going_on or (name if state == "goes on" else "")
    todo = [f"reuse {finished} of {len(planned)} fits"]
    if going_on:
        todo.append(f"go on with {going_on}")
    if rest := to_do - bool(going_on):
        todo.append(f"train {rest} from the start")
    todo.append("make the submission anew from all of them")
    yield Finding("repeating the command would", ", ".join(todo))


def examine_search(folder: SearchFolder) -> Iterator[Finding]:
    """Hold a search's folder against its own records.

    Args:
        folder: the search's folder.

    Yields:
        What was found; the last finding says what repeating the command would do.
    """
    if owner := folder.owner():
        yield Finding("in use", f"process {owner} is at work in it; what follows may change")
    sound = 0
    for run in folder.all_candidates():
        for name in run.finished_fits():
            member, _, number = name.rpartition("-fold")
            try:
                run.read_fit_arrays(member, int(number) - 1)
                sound += 1
            except files.DamagedError as damage:
                yield Finding(f"{run.folder.name} {name}", f"damaged: {damage.reason}", True)
    results = folder.read_results().values()
    counts = Counter(result.status for result in results)
    trials = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none yet"
    yield Finding("trials", trials)
    yield Finding("best.yaml", "is there" if folder.best.is_file() else "not there yet")
    going_on = [result.trial for result in results if result.status == "running"]
    more = f", go on with trial {', '.join(going_on)}" if going_on else ""
    yield Finding("repeating the command would", f"reuse {sound} finished fits{more}")


def _examine_fit(
    folder: RunFolder, name: str, plan: dict, backend_name: str
) -> tuple[str, Finding]:
    """Return (finished, goes on, to do or left out; the finding)."""
    member, _, number = name.rpartition("-fold")
    fold = int(number) - 1
    if reason := plan.get("skipped"):
        return "left out", Finding(name, f"left out: {reason}")
    try:
        facts = folder.read_fit(member, fold)
        if facts is not None:
            folder.read_fit_arrays(member, fold)
            if facts.get("digest") != plan.get("identity"):
                return "to do", Finding(name, "was made with other settings or data", True)
            changed = resume.changed_versions(facts, backend_name)
            if changed:
                versions = ", ".join(f"{each} {then} (here {here})" for each, then, here in changed)
                return "finished", Finding(name, f"finished, but made with {versions}", True)
            return "finished", Finding(name, "finished, sound")
        state = fits.read_state_facts(folder, member, fold)
    except files.DamagedError as damage:
        return "to do", Finding(name, f"damaged: {damage.path.name}: {damage.reason}", True)
    if state is not None and state["fit"] == plan.get("identity"):
        return "goes on", Finding(name, f"not finished, goes on after epoch {state['epochs']}")
    return "to do", Finding(name, "not begun")
