"""Where the data of a run is now, for what is done with the run later."""

from __future__ import annotations

from pathlib import Path

from kaggle_digits.data import sources
from kaggle_digits.errors import UserError
from kaggle_digits.storage.run_folder import RunFolder


def data_of(run_folder: RunFolder) -> Path | None:
    """Return where the run had its data from; None: search for it.

    Raises:
        UserError: it is not there, and a search would find the demo data only.
    """
    source = run_folder.data_source()
    if source is None or source.exists() or sources.is_name(source):
        return source
    if sources.find_source(None).demo:
        raise UserError(
            f"{run_folder.folder}: its data was {source}, found nothing there; give its place with "
            "--data"
        )
    return None
