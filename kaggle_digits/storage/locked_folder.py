"""A folder of one kind that one process at a time works in: what run and search folders share.

The lock ends with its process, however that ends. A marker file says what the folder holds, so that
nothing else is ever written into it.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files

LOCK, OWNER, MARKER = ".lock", ".owner", ".kaggle-digits"
COPY = "copy the folder to where it can be written, and give the copy (--out)"
# A process that was killed while it took a new folder leaves no more than this.
NO_LOSS = (LOCK, OWNER, MARKER, files.TEMP_PREFIX)


class LockedFolder:
    """Something that is made step by step, by one process at a time.

    Attributes:
        kind: what such a folder holds, one word.
        format: number of its layout; another one is refused.
        earlier_keys: keys of `record` in the first versions, which wrote no marker; empty where
            there were no such versions.

    Args:
        folder: is created by the first write.
        record: the JSON file that says what was made here and how. It has the content of the marker
            too: hidden files do not survive every copy or upload of a folder.
    """

    kind: str
    format: int
    earlier_keys: Set[str]

    def __init__(self, folder: Path, record: Path) -> None:
        self.folder, self.record = folder, record

    @property
    def stamp(self) -> dict[str, str | int]:
        """What the marker says, for the record too: kind and format."""
        return {"kind": self.kind, "format": self.format}

    def check_usable(self) -> None:
        """Refuse a folder in which something could be overwritten.

        Raises:
            UserError: it is a file, or a folder with other files, of another kind, or of another
                version.
        """
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise UserError(
                f"--out {self.folder}: expected a folder, found a file; give another path"
            )
        found = self._read_stamp()
        if found.get("kind") == self.kind:
            files.check_format(self.folder, found["format"], self.format)
            return
        if not found:
            if all(path.name.startswith(NO_LOSS) for path in self.folder.iterdir()):
                return
            if self._is_of_earlier_version():
                files.check_format(self.folder, None, self.format)
        content = f"that of a {found['kind']}" if found else "other files"
        raise UserError(
            f"--out {self.folder}: expected a new or empty folder, or that of a {self.kind}, found "
            f"{content}, which might be overwritten; give another path"
        )

    def holds(self) -> str | None:
        """Return what kind of folder it is, as its marker or record says; None: neither does."""
        return self._read_stamp().get("kind")

    def may_be_used(self) -> bool:
        """Return whether nothing else would be overwritten in the folder, see `check_usable`."""
        try:
            self.check_usable()
        except UserError:
            return False
        return True

    def _read_stamp(self) -> dict[str, str | int]:
        marker, record = map(files.read_json, (self.folder / MARKER, self.record))
        if {"kind", "format"} <= marker.keys():
            return marker
        # Other programs have files of the record's name, and perhaps such keys in them.
        return record if record.get("kind") == self.kind and "format" in record else {}

    def _is_of_earlier_version(self) -> bool:
        taken = (self.folder / LOCK).exists() and (self.folder / OWNER).exists()
        keys = self.earlier_keys
        return taken or (bool(keys) and keys <= files.read_json(self.record).keys())

    def places(self) -> Iterable[Path]:
        """List the folders that its owner writes to; temporary files there are deleted."""
        return [self.folder]

    @contextmanager
    def locked(self, wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Keep other processes out of the folder, and delete what a killed one left half written.

        Args:
            wait: is called repeatedly while another process has the folder; None: that is an error.

        Raises:
            UserError: another process has the folder (names its id), the folder holds something
                else, or it cannot be written to.
        """
        from filelock import FileLock, Timeout

        self.check_usable()
        is_there = self.folder.is_dir()
        with files.writing(self.folder, COPY if is_there else files.ELSEWHERE):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / LOCK)
            while not lock.is_locked:
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    if wait is None:
                        raise UserError(
                            f"{self.folder}: process {self._owner()} is at work in this folder; "
                            "wait for it, or give another --out"
                        ) from None
                    wait()
        try:
            self.check_usable()  # whoever had it meanwhile may have begun something else
            for place in self.places():
                for remains in place.glob(f"{files.TEMP_PREFIX}*"):
                    if remains.is_dir():
                        shutil.rmtree(remains)
                    else:
                        remains.unlink()
            self.mark()
            files.write_bytes(self.folder / OWNER, str(os.getpid()).encode())
            yield
        finally:
            lock.release()

    def mark(self) -> None:
        """Note what the folder holds."""
        files.write_json(self.folder / MARKER, self.stamp)

    def owner(self) -> str | None:
        """Return the id of the process that has the folder, None if none has or may have."""
        from filelock import FileLock, Timeout

        if not (self.folder / LOCK).exists():
            return None
        lock = FileLock(self.folder / LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return self._owner()
        except OSError:  # nothing may be written there, so nobody is at work
            return None
        lock.release()
        return None

    def _owner(self) -> str:
        path = self.folder / OWNER
        return path.read_text() if path.is_file() else "unknown"


def next_folder(root: Path, name: str, continues: Callable[[Path], bool]) -> Path:
    """Choose a folder for a run or search for which none was given.

    Args:
        root: the folder of all runs.
        name: what folders are called: `<name>-<number>`.
        continues: returns whether the command continues in a folder.

    Returns:
        The newest folder in which the command continues, else the one with the next free number.
    """
    numbers = []
    for path in root.glob(f"{glob.escape(name)}-*"):
        if match := re.fullmatch(re.escape(name) + r"-(\d+)", path.name):
            numbers.append(int(match[1]))
    for number in sorted(numbers, reverse=True):
        if continues(root / f"{name}-{number}"):
            return root / f"{name}-{number}"
    return root / f"{name}-{max(numbers, default=0) + 1}"
