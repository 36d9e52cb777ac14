"""Run folders from elsewhere, a kernel's output for one: to find, check, compare and copy."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.locked_folder import LOCK, NO_LOSS, OWNER
from kaggle_digits.storage.run_folder import RunFolder


def find_runs(place: Path) -> list[RunFolder]:
    """Find the folders of runs of this version, at any depth below a place, sorted by path."""
    record = RunFolder(place).record.name
    found = (RunFolder(path.parent) for path in sorted(place.rglob(record)))
    return [run for run in found if run.has_config() and run.may_be_used()]


def copy_run(run: RunFolder, folder: Path) -> None:
    """Copy a run to another folder, which is there whole or not at all.

    The copy can be written to, wherever the run came from, and nobody is at work in it.
    """
    beside = files.temporary_path(folder)
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with files.writing(folder):
            for path in sorted(run.folder.rglob("*")):
                copy = beside / path.relative_to(run.folder)
                if path.is_file() and path.name not in (LOCK, OWNER):
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)
            files.move(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def copy_fit(source: RunFolder, fit: tuple[str, int], target: RunFolder, member: str) -> None:
    """Copy a finished fit as it is, under another member's name.

    Args:
        source: has the fit.
        fit: its member and fold.
        target: gets it.
        member: the name there.
    """
    place = target.fit_folder(member, fit[1])
    place.mkdir(parents=True)
    for path in source.fit_folder(*fit).iterdir():
        shutil.copyfile(path, place / path.name)


def copy_others(source: RunFolder, target: RunFolder) -> None:
    """Copy what is in a run's folder beside what runs make: notes, what was submitted of it.

    Reports and evaluations stay behind: they are of the nets there.
    """
    made = [*source.made_by_run(), *(each.folder for each in source.evaluations())]
    with files.writing(target.folder):
        for path in source.folder.iterdir():
            copy = target.folder / path.name
            if path in made or path.name.startswith(NO_LOSS):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, copy, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(path, copy, follow_symlinks=False)


def check_place(folder: Path) -> None:
    """Refuse a place where no folder can appear whole.

    Raises:
        UserError: it is the folder that the command runs in.
    """
    if folder.resolve() == Path.cwd():
        raise UserError(
            f"--out {folder}: is the folder that the command runs in, which a whole one cannot "
            "replace; give another path"
        )


def damaged_files(run: RunFolder) -> list[str]:
    """Name what is missing or not as it was written, of the summary and of all finished fits.

    Unlike `RunFolder.changed_artefacts` it reads every file; the log and unfinished fits do not
    count.
    """
    manifest = files.read_json(run.manifest)
    if not manifest:
        return [run.manifest.name]
    artefacts = manifest.get("artefacts")
    noted = (Path(name).parent.name for name in artefacts) if isinstance(artefacts, dict) else ()
    fits = {fit for fit in map(run.parse_fit_name, noted) if fit}
    damaged = run.changed_artefacts()
    for member, fold in sorted(fits.union(run.finished_fits())):
        try:
            run.read_fit_arrays(member, fold)
        except (UserError, TypeError):  # TypeError: the whole fit is missing
            damaged.append(f"{run.fits.name}/{run.fit_name(member, fold)}")
    return damaged


def holds_all_of(run: RunFolder, other: RunFolder) -> bool:
    """Return whether nothing trained is in `other` alone; what is damaged there is nothing."""
    own = run.finished_fits()
    for fit in other.finished_fits():
        with suppress(files.DamagedError):
            theirs = other.read_fit(*fit)["checksums"]
            if fit not in own or run.read_fit(*fit)["checksums"] != theirs:
                return False
    return all(
        run.parse_fit_name(path.stem) in own
        or _checksum(run.fits / path.name) == files.checksum(path)
        for path in other.fits.glob("*.state")
    )


def _checksum(path: Path) -> str | None:
    return files.checksum(path) if path.is_file() else None
