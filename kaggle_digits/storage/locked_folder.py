"""A folder that one process at a time works in; its lock ends with the process, however it ends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files


class LockedFolder:
    """Something that is made step by step and whose half-written remains are cleared away.

    Args:
        folder: made by the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def places(self) -> Iterable[Path]:
        """List the folders that its owner writes to; what is half-written there is cleared."""
        return [self.folder]

    @contextmanager
    def locked(self, wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Keep other processes out of the folder; the lock ends with its process, however it ends.

        What a killed owner had half written is cleared away.

        Args:
            wait: is called again and again while another process has the folder; None: that is an
                error.

        Raises:
            UserError: another process has the folder; names its id.
        """
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        while not lock.is_locked:
            try:
                lock.acquire(blocking=False)
            except Timeout:
                if wait is None:
                    raise UserError(
                        f"{self.folder}: process {self._owner()} is at work in this folder; wait "
                        "for it, or give another --out"
                    ) from None
                wait()
        try:
            for place in self.places():
                for remains in place.glob(f"{files.TEMP_PREFIX}*"):
                    if remains.is_dir():
                        shutil.rmtree(remains)
                    else:
                        remains.unlink()
            files.write_bytes(self.folder / ".owner", str(os.getpid()).encode())
            yield
        finally:
            lock.release()

    def owner(self) -> str | None:
        """Return the id of the process that has the folder, None if none has."""
        from filelock import FileLock, Timeout

        if not (self.folder / ".lock").exists():
            return None
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return self._owner()
        lock.release()
        return None

    def _owner(self) -> str:
        path = self.folder / ".owner"
        return path.read_text() if path.is_file() else "unknown"
