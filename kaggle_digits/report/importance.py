"""Record of a search -> how much each setting matters for the objective, as a rough hint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kaggle_digits.report.charts import spans
from kaggle_digits.results.search_records import SearchRecord, TrialResult

FEWEST_TRIALS = 8  # with fewer a forest has nothing to learn from
WIDE = 10  # numbers that span more than this factor are replaced by their logarithms
TREES, SHUFFLES = 100, 10


def importance(record: SearchRecord) -> dict[str, float] | None:
    """Estimate how much each setting matters for the objective, from the trials made.

    A random forest learns the objective from the settings; a setting matters as much as the
    forest's R^2 falls when its values are shuffled among the trials. Source: L. Breiman (2001),
    Random forests, Machine Learning 45, 5-32. The forest is tested on the trials that it was fitted
    to: they are too few to hold some out, so with few trials it is a rough hint.

    Args:
        record: of its trials the completed ones count, and those stopped early with their forecast;
            of several trials of one candidate the one with the most folds.

    Returns:
        Config key -> fraction in 0..1, most important first; they sum to 1. None where fewer than
        8 candidates have an objective, or nothing varies, or nothing matters.
    """
    trials = record.scored()
    if len(trials) < FEWEST_TRIALS:
        return None
    target = np.array([trial.objective for trial in trials], float)
    columns = {key: _encoded(record, trials, key) for key in record.keys}
    varying = [key for key, column in columns.items() if np.ptp(column)]
    if not varying or not np.ptp(target):
        return None
    drops = _drops(np.stack([columns[key] for key in varying], axis=1), target)
    if not drops.any():
        return None
    fractions = dict.fromkeys(record.keys, 0.0)
    fractions |= zip(varying, (drops / drops.sum()).tolist(), strict=True)
    return dict(sorted(fractions.items(), key=lambda item: -item[1]))


def _encoded(record: SearchRecord, trials: Sequence[TrialResult], key: str) -> np.ndarray:
    """Turn a setting's values into numbers, (trials,) float64."""
    # Where it is not in force it cannot matter, so any value will do.
    values = [trial.settings.get(key, record.start.get(key)) for trial in trials]
    if all(map(is_number, values)):
        numbers = np.array(values, float)
        return np.log(numbers) if spans(numbers, WIDE) else numbers
    texts = [repr(value) for value in values]
    codes = {text: code for code, text in enumerate(sorted(set(texts)))}
    return np.array([codes[text] for text in texts], float)


def is_number(value: Any) -> bool:
    """Return whether a setting's value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _drops(settings: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return how much R^2 falls, at least 0, when each of the columns is shuffled."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    forest = RandomForestRegressor(TREES, random_state=0).fit(settings, target)
    found = permutation_importance(forest, settings, target, n_repeats=SHUFFLES, random_state=0)
    return np.maximum(found.importances_mean, 0)
