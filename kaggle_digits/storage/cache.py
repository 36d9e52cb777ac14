"""Where parsed arrays and the augmentation bank are kept for any run to use again."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kaggle_digits.storage import files


def default_cache() -> Path:
    """Return the platform's user cache folder for this program."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("kaggle-digits", appauthor=False))


class Cache:
    """Results that any run may use again: parsed arrays and the augmentation bank.

    Everything in it is named by a key of what it was made from, and may be deleted at any time.

    Args:
        folder: made when the first entry is written.
        notice: is called with a line of text when an entry is damaged and has to be made again.
    """

    def __init__(self, folder: Path, notice: Callable[[str], None] | None = None) -> None:
        self.folder = folder
        self._notice = notice or (lambda text: None)
        self._sound: set[Path] = set()

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
        """Say where the arrays of a key lie."""
        return self.folder / "arrays" / f"{key}.npz"

    def has_variant(self, bank: str, variant: int) -> bool:
        """Tell whether a variant of a bank is there and undamaged; each is read once for that."""
        path = self._variant_path(bank, variant)
        if path not in self._sound and self._read(path) is not None:
            self._sound.add(path)
        return path in self._sound and path.is_file()

    def clear_temporary_files(self) -> None:
        """Delete what killed processes have half written."""
        import psutil

        for place in ("arrays", "bank/*"):
            for path in self.folder.glob(f"{place}/{files.TEMP_PREFIX}*"):
                writer = path.name.removeprefix(files.TEMP_PREFIX).partition("-")[0]
                if not psutil.pid_exists(int(writer)):
                    path.unlink(missing_ok=True)

    @contextmanager
    def spill(self, bank: str, images: np.ndarray) -> Iterator[Path]:
        """Lay images out for processes that draw a bank's variants.

        Args:
            bank: the bank's name.
            images: (n, 28, 28) uint8.

        Yields:
            The path of an `.npy` file, which is gone after the block.
        """
        # Named as half written, so that what a killed process leaves is cleared away.
        path = self._variant_path(bank, 0).with_name(f"{files.TEMP_PREFIX}{os.getpid()}-images.npy")
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
        return self.folder / "bank" / bank / f"variant-{variant:03d}.npy"

    def _read(self, path: Path) -> bytes | None:
        try:
            return files.read_checksummed(path)
        except OSError:  # whatever else than "not there" it is, writing will say it
            return None
        except files.DamagedError as damage:
            self._notice(f"damaged: {path}: {damage.reason}; it is made again")
            return None
