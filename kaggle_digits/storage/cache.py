"""The cache folder: keeps parsed arrays and the augmentation bank for later runs to reuse."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files

# In the path of every entry: another version of this program that reads other files finds none.
FORMAT = 1


def cache_folder(given: str | Path | None = None) -> Path:
    """Return the cache folder: as given, else KAGGLE_DIGITS_CACHE, else the user's.

    Raises:
        UserError: it is a file.
    """
    import platformdirs

    chosen = given or os.environ.get("KAGGLE_DIGITS_CACHE")
    default = platformdirs.user_cache_dir("kaggle-digits", appauthor=False)
    folder = Path(chosen or default).expanduser()
    if folder.is_file():
        setting = "--cache" if given else "KAGGLE_DIGITS_CACHE"
        raise UserError(f"{setting} {folder}: expected a folder, found a file; give another path")
    return folder


class Cache:
    """Results that any run may reuse: parsed arrays and the augmentation bank.

    Everything in it is named by a key of what it was made from, and may be deleted at any time.
    Several processes, containers and machines may share it.

    Args:
        folder: is created with the first entry.
        notice: is called with a line of text when an entry is damaged and has to be made again.
    """

    def __init__(self, folder: Path, notice: Callable[[str], None] | None = None) -> None:
        self.folder = folder
        self._notice = notice or (lambda text: None)
        self._sound: set[Path] = set()

    def __reduce__(self) -> tuple:
        # Whoever hears of damage stays in this process.
        return Cache, (self.folder,)

    def arrays(self, key: str, make: Callable[[], files.Arrays]) -> files.Arrays:
        """Return the arrays stored under a key, or make and store them.

        Args:
            key: names the content.
            make: returns the arrays.

        Returns:
            The arrays by name.
        """
        path = self.arrays_path(key)
        content = self._read(path)
        if content is not None:
            return files.read_arrays(io.BytesIO(content))
        arrays = make()
        files.write_checksummed(path, files.npz(arrays))
        return arrays

    def arrays_path(self, key: str) -> Path:
        """Return the file that stores the arrays of a key."""
        return self.folder / "arrays" / f"v{FORMAT}-{key}.npz"

    def has_variant(self, bank: str, variant: int) -> bool:
        """Return whether a variant of a bank is there and undamaged; each is read once for that."""
        path = self._variant_path(bank, variant)
        if path not in self._sound and self._read(path) is not None:
            self._sound.add(path)
        return path in self._sound and path.is_file()

    def clear_temporary_files(self) -> None:
        """Delete the temporary files of processes that were killed, see `files.is_abandoned`."""
        for place in ("arrays", "bank/*"):
            for path in self.folder.glob(f"{place}/{files.TEMP_PREFIX}*"):
                with suppress(OSError):  # it has just got its name, or belongs to another user
                    if files.is_abandoned(path):
                        path.unlink()

    @contextmanager
    def spill(self, bank: str, images: np.ndarray) -> Iterator[Path]:
        """Write images to a temporary file, for the processes that draw a bank's variants.

        Args:
            bank: the bank's key.
            images: (n, 28, 28) uint8.

        Yields:
            The path of an `.npy` file, which is deleted after the block.
        """
        path = files.temporary_path(self._variant_path(bank, 0).with_name("images.npy"))
        with files.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, images)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def write_variant(self, bank: str, variant: int, images: np.ndarray) -> None:
        """Store a variant, (n, 28, 28) uint8, of a bank."""
        buffer = io.BytesIO()
        np.save(buffer, images)
        files.write_checksummed(self._variant_path(bank, variant), buffer.getvalue())

    def read_variant(self, bank: str, variant: int) -> np.ndarray:
        """Open a variant as a read-only (n, 28, 28) uint8 map of its file."""
        return np.load(self._variant_path(bank, variant), mmap_mode="r")

    def _variant_path(self, bank: str, variant: int) -> Path:
        return self.folder / "bank" / f"v{FORMAT}-{bank}" / f"variant-{variant:03d}.npy"

    def _read(self, path: Path) -> bytes | None:
        try:
            return files.read_checksummed(path)
        except OSError:  # if it is more than a missing file, writing it will say so
            return None
        except files.DamagedError as damage:
            self._notice(f"damaged: {path}: {damage.reason}; it is made again")
            return None
