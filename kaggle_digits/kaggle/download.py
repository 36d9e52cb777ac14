"""The competition's files from Kaggle to where `data.sources` finds them, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kaggle_digits.data import sources
from kaggle_digits.data.competition import SLUG
from kaggle_digits.data.description import Description, describe
from kaggle_digits.data.digits import CachedArrays, read_digits
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle.client import Client, connect
from kaggle_digits.storage import files

UNFINISHED = ".download"  # folder within the target, for what is not whole or not checked yet
LOCK = ".lock"
MOVE_AWAY = "to fetch the competition's files, move these away, or give another --to"
SPACE = 200 * 10**6  # bytes; the zip has 15 million, what is in it 128 million


def fetch(
    folder: Path,
    cached: CachedArrays,
    say: Callable[[str], None],
    show_progress: bool = False,
    kaggle_root: Path = sources.KAGGLE_ROOT,
) -> Description:
    """Bring train.csv and test.csv into a folder, unless they are there or mounted already.

    What is killed continues when it is called again. No file that is there is written over.

    Args:
        folder: is created.
        cached: stores parsed arrays, see `digits.read_digits`.
        say: is called with a line for people before each step.
        show_progress: draw the client's bar on standard output.
        kaggle_root: where a Kaggle kernel mounts its inputs.

    Returns:
        The checked files; its source says where they are.

    Raises:
        UserError: a file in the folder is not the competition's, the client has no credentials,
            Kaggle refuses or cannot be reached, the disk is too full, or what arrives is not
            usable.
        OSError: the folder cannot be written to.
    """
    if source := sources.mounted(kaggle_root):
        say(f"{source.description}: mounted by Kaggle, nothing to fetch")
        return describe(read_digits(source, cached))
    unfinished = folder / UNFINISHED
    # A single one of the two is completed.
    missing = [part for part in sources.PARTS if not sources.part_file(folder, part)]
    with _advised():
        source = sources.in_folder(folder) if len(missing) != 1 else None
    if source:
        data = _described(source, cached)
        if unfinished.exists():
            with _locked(unfinished):
                _clear(unfinished)
        say(f"{source.description}: the competition's files are there already, nothing to fetch")
        return data
    client = connect()
    with _locked(unfinished):
        _check_space(folder)
        say(f"downloading {SLUG} into {folder}")
        _download(client, unfinished, cached, show_progress)
        if len(missing) == 1:
            _check_completed(folder, unfinished, cached)
        for part in sources.PARTS:
            if not sources.part_file(folder, part):
                files.move(unfinished / f"{part}.csv", folder / f"{part}.csv")
        _clear(unfinished)
    return describe(read_digits(sources.in_folder(folder), cached))


@contextmanager
def _advised() -> Iterator[None]:
    """Have what is wrong with files that were there before say how to fetch others."""
    try:
        yield
    except UserError as error:
        raise UserError(error.problem, MOVE_AWAY) from None


def _described(source: sources.Source, cached: CachedArrays) -> Description:
    """Describe files that were there before.

    Raises:
        UserError: they are not the competition's.
    """
    with _advised():
        data = describe(read_digits(source, cached))
    others = [file.name for file in (data.train, data.test) if not file.is_competitions]
    if others:
        found = " and ".join(others)
        raise UserError(
            f"{source.description}: expected the competition's files, found another {found}; "
            + MOVE_AWAY
        )
    return data


def _check_completed(folder: Path, unfinished: Path, cached: CachedArrays) -> None:
    """Check the pair that a single file and the downloaded other one would be.

    Raises:
        UserError: it is not the competition's; nothing of the download is left.
    """
    train, test = (
        sources.part_file(folder, part) or unfinished / f"{part}.csv" for part in sources.PARTS
    )
    try:
        _described(sources.Source(str(folder), demo=False, train=train, test=test), cached)
    except UserError:
        _clear(unfinished)
        raise


@contextmanager
def _locked(unfinished: Path) -> Iterator[None]:
    """Make a folder, keep other processes out of it, and delete it where nothing is left in it."""
    from filelock import FileLock, Timeout

    unfinished.mkdir(parents=True, exist_ok=True)
    lock = FileLock(unfinished / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"{unfinished.parent}: another process is downloading into this folder; wait for it, "
            "or give another --to"
        ) from None
    try:
        yield
    finally:
        if not _content(unfinished):
            shutil.rmtree(unfinished)
        lock.release()


def _content(unfinished: Path) -> list[Path]:
    return [path for path in unfinished.iterdir() if path.name != LOCK]


def _clear(unfinished: Path) -> None:
    for path in _content(unfinished):
        path.unlink()


def _check_space(folder: Path) -> None:
    """Refuse a disk that is too full, which the client would try again and again for a minute."""
    free = shutil.disk_usage(folder).free
    if free < SPACE:
        raise UserError(
            f"{folder}: expected {SPACE // 10**6} MB of free space, found {free // 10**6} MB; make "
            "space or give another --to"
        )


def _download(client: Client, unfinished: Path, cached: CachedArrays, show_progress: bool) -> None:
    """Download the zip, or the rest of it, unpack it and check every cell."""
    for is_last in (False, True):
        with client.asking("download the competition's files", show_progress):
            client.api.competition_download_files(
                SLUG, path=str(unfinished), quiet=not show_progress
            )
        try:
            packed = sources.find_source(unfinished / sources.COMPETITION_ZIP, setting="")
            for part in sources.PARTS:
                _write(unfinished / f"{part}.csv", sources.read(packed, part)[1])
            read_digits(sources.in_folder(unfinished), cached)
            return
        except UserError:
            # The client before 2.1 continues a file that has changed at Kaggle meanwhile.
            _clear(unfinished)
            if is_last:
                raise


def _write(path: Path, content: bytes | bytearray) -> None:
    with path.open("wb") as file:
        file.write(content)
        os.fsync(file.fileno())
