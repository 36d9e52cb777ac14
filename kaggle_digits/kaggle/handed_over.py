"""The archive that `archive` makes, as its own scripts see it: their settings, and what they say.

The scripts at the top of an archive stay short because what they do is here and in the rooms below.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from kaggle_digits.data import demo, sources, submission_csv
from kaggle_digits.errors import UserError
from kaggle_digits.storage.run_folder import RunFolder

FILE = "SETTINGS.json"


@dataclass(frozen=True)
class Settings:
    """What SETTINGS.json says; each key is an attribute's name in capitals.

    Paths in the file may be relative to its folder; `read` returns absolute ones.

    Attributes:
        raw_data_dir: folder or zip with train.csv and test.csv, or the demo data's name.
        clean_data_dir: the cache: parsed files and augmented images.
        model_dir: the run that was handed over: nets, cached predictions, config.
        retrained_dir: the run that train.py makes.
        submission_dir: where predict.py writes.
        keras_backend: the Keras backend that the nets were trained with.
    """

    raw_data_dir: str = "data"
    clean_data_dir: str = "cache"
    model_dir: str = "model"
    retrained_dir: str = "retrained"
    submission_dir: str = "submissions"
    keras_backend: str = "tensorflow"

    @classmethod
    def of_run(cls, is_demo: bool, keras_backend: str) -> Settings:
        """Return the settings that a run is handed over with."""
        raw_data_dir = demo.NAME if is_demo else cls.raw_data_dir
        return cls(raw_data_dir=raw_data_dir, keras_backend=keras_backend)

    @classmethod
    def read(cls, folder: Path) -> Settings:
        """Read an archive's settings; Keras gets its backend, unless the environment names one.

        Args:
            folder: the archive's.

        Returns:
            The settings, all paths absolute.

        Raises:
            UserError: the file cannot be read, or a key is missing or unknown.
        """
        path, keys = folder / FILE, [name.upper() for name in cls.__dataclass_fields__]
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: expected a JSON object, found none ({error}); unpack it again"
            ) from None
        found = list(values) if isinstance(values, dict) else []
        if sorted(found) != sorted(keys) or not all(isinstance(v, str) for v in values.values()):
            raise UserError(
                f"{path}: expected a text for each of {', '.join(keys)}, found "
                f"{', '.join(found) or 'none of them'}; correct the keys and values"
            )
        values = {name.lower(): value for name, value in values.items()}
        os.environ.setdefault("KERAS_BACKEND", values["keras_backend"])
        return cls(
            **{
                name: str(folder / value)
                if name.endswith("_dir") and not sources.is_demo(value)
                else value
                for name, value in values.items()
            }
        )

    def values(self) -> dict[str, str]:
        """Return what the file holds."""
        return {name.upper(): value for name, value in asdict(self).items()}


def comparison(repeated: Path, original: Path) -> str:
    """Compare the submissions of two runs.

    Args:
        repeated: the folder of the run that was trained again.
        original: the folder of the run that was handed over.

    Returns:
        A line for people.

    Raises:
        UserError: a submission is missing or is none.
    """
    here, there = RunFolder(repeated).submission, RunFolder(original).submission
    found = submission_csv.check_file(here, rows=None)
    labels = submission_csv.check_file(there, rows=len(found))
    if here.read_bytes() == there.read_bytes():
        return f"{here}: the same bytes as {there}"
    return (
        f"{here}: {(found != labels).sum():,} of {len(labels):,} labels differ from {there}; the "
        "bytes are equal only with the same data, package versions and processor"
    )
