"""Findings of a search -> which settings matter for the objective, as a rough hint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kaggle_digits.results.search_records import Findings, TrialResult

FEWEST_TRIALS = 8  # below that a forest has nothing to learn from
WIDE = 10  # numbers that span more than this factor are looked at as logarithms
TREES, SHUFFLES = 100, 10


def importance(findings: Findings) -> dict[str, float] | None:
    """Estimate how much each setting matters for the objective, from the trials made.

    A random forest learns the objective from the settings; a setting matters as much as the
    forest's R^2 falls when its values are shuffled among the trials. Source: L. Breiman (2001),
    Random forests, Machine Learning 45, 5-32. The forest is judged on the trials it has learned
    from: they are too few to hold some back, so with few trials it is a rough hint.

    Args:
        findings: of its trials the completed ones count, and with their forecast those stopped
            early; of several trials of one candidate the one with the most folds.

    Returns:
        Config key -> share in 0..1, most important first; the shares sum to 1. None where fewer
        than 8 candidates have an objective, or nothing varies, or nothing matters.
    """
    ended = findings.of("completed") + findings.of("stopped early")
    usable = [trial for trial in ended if trial.objective is not None]
    candidates = {t.candidate: t for t in sorted(usable, key=lambda t: t.folds)}
    trials = [trial for trial in findings.trials if trial is candidates.get(trial.candidate)]
    if len(trials) < FEWEST_TRIALS:
        return None
    target = np.array([trial.objective for trial in trials], float)
    columns = {key: _encoded(findings, trials, key) for key in findings.keys}
    varying = [key for key, column in columns.items() if np.ptp(column)]
    if not varying or not np.ptp(target):
        return None
    drops = _drops(np.stack([columns[key] for key in varying], axis=1), target)
    if not drops.any():
        return None
    shares = dict.fromkeys(findings.keys, 0.0)
    shares |= zip(varying, (drops / drops.sum()).tolist(), strict=True)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _encoded(findings: Findings, trials: Sequence[TrialResult], key: str) -> np.ndarray:
    """Turn a setting's values into numbers, (trials,) float64."""
    # Where it is not in force it cannot matter, so any one value will do.
    values = [trial.settings.get(key, findings.start.get(key)) for trial in trials]
    if all(map(is_number, values)):
        numbers = np.array(values, float)
        return np.log(numbers) if spans(numbers, WIDE) else numbers
    texts = [repr(value) for value in values]
    codes = {text: code for code, text in enumerate(sorted(set(texts)))}
    return np.array([codes[text] for text in texts], float)


def is_number(value: Any) -> bool:
    """Tell whether a setting's value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def spans(numbers: Sequence[float] | np.ndarray, factor: float) -> bool:
    """Tell whether positive numbers span more than a factor."""
    return min(numbers) > 0 and max(numbers) > factor * min(numbers)


def _drops(settings: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return by how much R^2 falls, at least 0, with each of the columns shuffled."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    forest = RandomForestRegressor(TREES, random_state=0).fit(settings, target)
    found = permutation_importance(forest, settings, target, n_repeats=SHUFFLES, random_state=0)
    return np.maximum(found.importances_mean, 0)
