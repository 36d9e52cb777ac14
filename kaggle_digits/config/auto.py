"""Settings that say `auto` -> what the machine, or what was begun, gives them; for all members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaggle_digits.config.loading import changed
from kaggle_digits.config.schema import AUTO, Config
from kaggle_digits.config.train_section import Precision


def with_threads(config: Config, number: int) -> Config:
    """Give `train.threads: auto` its number; a number that the config has stays."""
    return config if config.train.threads != AUTO else for_all_members(config, "threads", number)


def for_all_members(config: Config, key: str, value: Any) -> Config:
    """Give a setting of `train` one value, also in the members that state it themselves."""
    of_members = [name for name in config.members if key in config.members[name].train]
    keys = (f"train.{key}", *(f"members.{name}.train.{key}" for name in of_members))
    return changed(config, dict.fromkeys(keys, value))


def precision_keys(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the keys with `precision: auto`: dotted key -> the members that it decides for."""
    own = [name for name, member in config.members.items() if "precision" in member.train]
    keys = {
        f"members.{name}.train.precision": (name,)
        for name in own
        if config.member(name).train.precision == AUTO
    }
    others = tuple(name for name in config.members if name not in own)
    if config.train.precision == AUTO and others:
        keys["train.precision"] = others
    return keys


def with_precision(
    config: Config, known: Mapping[str, Precision], otherwise: Precision | None = None
) -> Config:
    """Give each `precision: auto` its value; a precision that the config has stays.

    Args:
        config: stays as it is.
        known: member -> the precision that its fits have begun with.
        otherwise: where no member is known that the key decides for; None: it stays `auto`.

    Returns:
        The config.
    """
    values = {
        key: next((known[name] for name in members if name in known), otherwise)
        for key, members in precision_keys(config).items()
    }
    values = {key: value for key, value in values.items() if value is not None}
    return changed(config, values) if values else config
