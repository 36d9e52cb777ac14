"""The folder of a frontier: the only module that knows the names of its files."""

from __future__ import annotations

import shutil
from pathlib import Path


class FrontierFolder:
    """What `kaggle-digits bench --frontier` leaves behind.

    Args:
        folder: is created by the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "frontier.json"
        self.picture = folder / "frontier.png"

    def run(self, name: str) -> Path:
        """Return the run folder of a point."""
        return self.folder / name

    def cache(self, name: str) -> Path:
        """Return the cache of a point's own, so that its time counts from an empty one."""
        return self.folder / "caches" / name

    def remove_cache(self, name: str) -> None:
        """Remove a point's cache, which nobody reads again once its run is complete."""
        shutil.rmtree(self.cache(name), ignore_errors=True)
