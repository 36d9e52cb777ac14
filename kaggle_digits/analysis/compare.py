"""Runs on the same training data -> what each has come to, and whether they really differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from kaggle_digits.analysis.run_list import entry_of
from kaggle_digits.analysis.same_data import (
    TRAINING,
    another_part,
    check_different,
    check_same_data,
    hashes_of,
    names_of,
)
from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.data.digits import read_digits
from kaggle_digits.data.sources import find_source
from kaggle_digits.errors import UserError
from kaggle_digits.results.comparison import Comparison, PairTest, RowDifference, SettingDifference
from kaggle_digits.runs.data_of_run import data_of
from kaggle_digits.runs.run import CLASSES, Run
from kaggle_digits.scoring import significance
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder

NO_CHOICES = ("data.path", "train.threads", "tuned")  # say nothing of what the nets learn
SHOWN_ROWS = 24  # on which the runs differ most


def compare(folders: Sequence[Path]) -> Comparison:
    """Hold runs against each other, on the training rows that they predict out of fold.

    Args:
        folders: of at least two different runs, finished or not.

    Returns:
        The runs side by side, a paired test for each two of them, and the rows that they predict
        most differently.

    Raises:
        UserError: a run is named twice, a folder is none of a run, no fit of it is finished, it
            holds no rows out, or the data differ.
    """
    runs = [Run(folder) for folder in folders]  # refuses other folders
    check_different("compare", folders)
    check_same_data([RunFolder(folder) for folder in folders], TRAINING)
    for run in runs:
        if run.config.folds.times_held_out == 0:
            raise UserError(
                f"{run.folder}: expected a run that predicts rows out of fold, found "
                f"{run.config.folds.description}; train one with another folds.kind"
            )
    tables = [run.oof for run in runs]
    labels = tables[0]["label"].to_numpy()
    for run, table in zip(runs, tables, strict=True):
        if not np.array_equal(table["label"], labels):
            raise UserError(
                f"{run.folder} and {runs[0].folder}: expected predictions of the same rows, found "
                "other labels in predictions.npz; repeat the command that made it"
            )
    probabilities = [table[CLASSES].to_numpy() for table in tables]
    names = names_of(folders)
    tests = [
        _test((names[a], names[b]), (probabilities[a], probabilities[b]), labels, same_folds)
        for a, b in combinations(range(len(runs)), 2)
        for same_folds in [runs[a].held_out.equals(runs[b].held_out)]
    ]
    corrected = significance.holm([test.p_value for test in tests])
    rows, disputed = _disputed(probabilities)
    return Comparison(
        runs=tuple(
            replace(entry_of(folder), name=name)
            for folder, name in zip(folders, names, strict=True)
        ),
        settings=_settings([run.config for run in runs]),
        tests=tuple(replace(test, corrected=p) for test, p in zip(tests, corrected, strict=True)),
        rows=len(rows),
        disputed=len(disputed),
        differences=_differences(probabilities, labels, disputed),
    )


def images_of(
    differences: Sequence[RowDifference], folder: Path, data: Path | None, cache: Cache
) -> dict[int, np.ndarray]:
    """Read the images of some training rows of a run.

    Args:
        differences: the rows.
        folder: of the run.
        data: where its data is; None: where the run had it from.
        cache: has the parsed files.

    Returns:
        Row -> (28, 28) uint8.

    Raises:
        UserError: the data is not there, or is not that of the run.
    """
    run = RunFolder(folder)
    source = find_source(data or data_of(run))
    digits = read_digits(source, cache.arrays)
    if name := another_part(hashes_of(run), digits.hashes, TRAINING):
        raise UserError(
            f"{digits.source}: expected the data that {folder} was trained on, found another "
            f"{name}; give its place with --data"
        )
    return {each.row: digits.train_images[each.row] for each in differences}


def _settings(configs: Sequence[Config]) -> tuple[SettingDifference, ...]:
    first, *others = map(loading.without_tuning, configs)
    found = [loading.differences(config, first) for config in others]
    usual = {key: of_first for each in found for key, (_, of_first) in each.items()}
    return tuple(
        SettingDifference(
            key,
            tuple(
                None if value is None else loading.in_line(value)
                for value in (usual[key], *(each.get(key, [usual[key]])[0] for each in found))
            ),
        )
        for key in usual
        if key not in NO_CHOICES
    )


def _test(
    names: tuple[str, str],
    probabilities: tuple[np.ndarray, np.ndarray],
    labels: np.ndarray,
    same_folds: bool,
) -> PairTest:
    rows = _predicted_by_all(probabilities)
    if not len(rows):
        raise UserError(
            f"{names[0]} and {names[1]}: expected training rows that both predict out of fold, "
            "found none; continue the runs first"
        )
    one, other = (significance.mistakes(each[rows], labels[rows]) for each in probabilities)
    p_value = significance.mcnemar(one, other)
    counts = significance.discordant(one, other)
    return PairTest(*names, len(rows), *counts, p_value, p_value, same_folds)


def _predicted_by_all(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    known = [~np.isnan(each[:, 0]) for each in probabilities]
    return np.flatnonzero(np.logical_and.reduce(known))


def _disputed(probabilities: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that all predict, and of them those to which they give different classes."""
    rows = _predicted_by_all(probabilities)
    tops = np.stack([each[rows].argmax(axis=1) for each in probabilities])
    return rows, rows[(tops != tops[0]).any(axis=0)]


def _differences(
    probabilities: Sequence[np.ndarray], labels: np.ndarray, disputed: np.ndarray
) -> tuple[RowDifference, ...]:
    """Return those disputed rows whose label gets the most different probabilities."""
    true = np.stack([each[disputed, labels[disputed]] for each in probabilities])
    tops = np.stack([each[disputed].argmax(axis=1) for each in probabilities])
    order = np.argsort(-np.ptp(true, axis=0), kind="stable")[:SHOWN_ROWS]
    return tuple(
        RowDifference(
            int(disputed[place]),
            int(labels[disputed[place]]),
            tuple(tops[:, place].tolist()),
            tuple(true[:, place].tolist()),
        )
        for place in order
    )
