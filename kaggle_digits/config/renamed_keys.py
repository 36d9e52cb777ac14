"""Config keys of earlier versions -> today's; they are still read, with a line of warning each."""

from __future__ import annotations

import re
from typing import Any

from kaggle_digits.errors import UserError

# A key without the member it is of -> its last part today.
NEW_NAMES = {
    "augment.affine_p": "affine_probability",
    "model.head": "pooling",
    "tune.epochs": "epoch_fraction",
    "tune.initial": "num_initial_points",
    "tune.race": "racing_alpha",
    "tune.rows": "row_fraction",
    "tune.trials": "max_trials",
    "tune.untouched": "holdout_folds",
    "tuned.untouched": "holdout_folds",
}
OF_MEMBER = re.compile(r"^members\.[^.]+\.")
SPACE = "tune.space."


def renamed(
    values: dict, source: str, warnings: dict[str, str], prefix: str = "", place: str = ""
) -> dict:
    """Give today's names to the keys of a config, and to those in its search space.

    Args:
        values: plain values as a person wrote them, at any level of a config.
        source: where they were written, for people.
        warnings: gets one line for each old key that is new to it.
        prefix: what to put before a key of `values` to have a config key.
        place: where `values` is written, for people; within a search space not the prefix.

    Returns:
        The values under today's names.

    Raises:
        UserError: a setting has its old and its new name at once.
    """
    result = {}
    for key, value in values.items():
        config_key = f"{prefix}{key}"
        old = OF_MEMBER.sub("", config_key)
        new = key
        if old in NEW_NAMES:
            above = str(key).rpartition(".")[0]
            new = f"{above}.{NEW_NAMES[old]}".lstrip(".")
            if new in values:
                raise UserError(
                    f"{source}: {place}{key} is the old name of {place}{new}, found both; leave "
                    f"out {place}{key}"
                )
            warnings.setdefault(
                old,
                f"{source}: {place}{key} is now called {place}{new}; the old name is still read",
            )
        below = f"{place}{key}."
        if below == SPACE or (place.startswith(SPACE) and key == "when"):
            deeper = ""  # whole config keys are there
        elif place.startswith(SPACE) and key == "choices":
            deeper = prefix  # each choice is a value of the searched setting
        else:
            deeper = f"{config_key}."
        result[new] = _value(value, source, warnings, deeper, below)
    return result


def _value(value: Any, source: str, warnings: dict[str, str], prefix: str, place: str) -> Any:
    if isinstance(value, dict):
        return renamed(value, source, warnings, prefix, place)
    if isinstance(value, list):
        return [_value(item, source, warnings, prefix, place) for item in value]
    return value
