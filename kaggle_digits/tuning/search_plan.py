"""What a search is asked for -> its folder, what it depends on, and the rows that trials see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_digits.config.loading import Config
from kaggle_digits.data import digits_csv
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import next_folder
from kaggle_digits.system import environment
from kaggle_digits.training import backend, fit_spec, resume
from kaggle_digits.tuning.search_folder import SearchFolder

HEADER = "# Found by kaggle-digits tune"


@dataclass(frozen=True)
class Request:
    """What a person asked for with `kaggle-digits tune`.

    Attributes:
        config: the config to begin with, and the space.
        name: the config's name, for the search's folder.
        data: value of --data, or None.
        out: the search's folder, or None: choose one under `root`.
        root: where folders are made.
        cache: the cache folder.
        trials: value of --trials, or None.
        save: another place for the best config, or None.
        seconds_per_fit: value of --max-seconds-per-fit, or None.
        parameters: value of --max-parameters, or None.
        against: further configs to hold the best one against on the untouched folds, by name.
        allow_changed_versions: go on with other package versions.
    """

    config: Config
    name: str
    data: str | None
    out: Path | None
    root: Path
    cache: Path
    trials: int | None = None
    save: Path | None = None
    seconds_per_fit: float | None = None
    parameters: int | None = None
    against: dict[str, Config] = field(default_factory=dict)
    allow_changed_versions: bool = False


def check_save(path: Path | None) -> None:
    """Refuse to write the best config over something else.

    Args:
        path: value of --save, or None.

    Raises:
        UserError: there is a file that no search has saved.
    """
    if path is None or not path.exists():
        return
    if not path.is_file() or not path.read_text("utf-8", "replace").startswith(HEADER):
        raise UserError(
            f"--save {path}: expected a new file, or one that a search has saved, found another; "
            "give another path"
        )


def identity_of(config: Config, digits: digits_csv.Digits) -> dict[str, Any]:
    """Return everything that the trials depend on; how many there are to be does not count."""
    values = config.model_dump(mode="json", exclude={"data": True, "tune": {"trials"}})
    return {
        "config": values,
        "data": digits.hashes,
        "backend": backend.name(),
        "packages": environment.package_versions(),
    }


def choose_folder(request: Request, identity: dict[str, Any]) -> SearchFolder:
    """Choose the folder: the one asked for, else one that this search goes on in, else a new one.

    Args:
        request: what was asked for.
        identity: see `identity_of`.

    Returns:
        The folder.

    Raises:
        UserError: what was asked for holds something else.
    """

    def goes_on(path: Path) -> bool:
        folder = SearchFolder(path)
        if not folder.identity.is_file():
            return path.is_dir() and folder.is_ours()
        found = files.read_json(folder.identity)
        same = all(found.get(key) == identity[key] for key in ("config", "data", "backend"))
        return same and not files.read_json(folder.findings).get("complete")

    if request.out is None:
        return SearchFolder(next_folder(request.root, f"tune-{request.name}", goes_on))
    if request.out.exists() and not request.out.is_dir():
        raise UserError(f"--out {request.out}: expected a folder, found a file; give another path")
    folder = SearchFolder(request.out)
    if not folder.is_ours():
        raise UserError(
            f"--out {request.out}: expected a new or empty folder, or one of a search, found other "
            "files; give another path"
        )
    return folder


def check_identity(folder: SearchFolder, identity: dict[str, Any], allow_changed: bool) -> None:
    """Refuse to go on with a search that was begun with something else.

    Args:
        folder: the search's folder.
        identity: see `identity_of`.
        allow_changed: go on with other package versions.

    Raises:
        UserError: names the first key that differs, with both values.
    """
    found = files.read_json(folder.identity)
    if not found:
        return
    theirs = fit_spec.flattened({key: found.get(key) for key in ("config", "data", "backend")})
    ours = fit_spec.flattened({key: identity[key] for key in ("config", "data", "backend")})
    for key in [*ours, *(theirs.keys() - ours.keys())]:
        there, here = theirs.get(key), ours.get(key)
        if there != here:
            shown = f": {there} there, {here} here" if key.startswith("config.") else ""
            raise UserError(
                f"{folder.folder}: this search was begun with another "
                f"{key.removeprefix('config.')}{shown}; give another --out, or the config and data "
                "of that search"
            )
    for name, there, here in resume.changed_versions(found, identity["backend"]):
        if not allow_changed:
            raise UserError(
                f"{folder.folder}: this search was begun with {name} {there}, here is {here}; use "
                f"{name} {there} again, or go on all the same with --allow-changed-versions"
            )


def rows_of_search(
    labels: np.ndarray, split: Sequence[np.ndarray], untouched: int, share: float, seed: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Pick the rows that trials see, and split them.

    Args:
        labels: (n,) integers 0..9 of all training rows.
        split: all folds.
        untouched: how many of the last folds no trial sees.
        share: of each other fold's rows, every class alike.
        seed: the run's seed.

    Returns:
        (sorted rows; held-out row sets as places in these rows, one for each other fold).
    """
    kept = []
    for fold, heldout in enumerate(split[: len(split) - untouched]):
        random = np.random.default_rng([seed, fold])
        picked = []
        for label in range(10):
            own = random.permutation(heldout[labels[heldout] == label])
            picked.append(own[: max(1, round(share * len(own)))])
        kept.append(np.sort(np.concatenate(picked)))
    rows = np.sort(np.concatenate(kept))
    return rows, [np.searchsorted(rows, each) for each in kept]
