"""YAML files, shipped configs and overrides -> a `Config`, and back to YAML."""

from __future__ import annotations

import contextlib
import importlib.resources
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from kaggle_digits.config.renamed_keys import renamed
from kaggle_digits.config.schema import Config, Tune
from kaggle_digits.config.section import Section, merged, validated
from kaggle_digits.errors import UserError


def shipped_folder() -> Traversable:
    """Return the folder of the shipped configs, wherever the package is installed."""
    return importlib.resources.files("kaggle_digits") / "configs"


def shipped_names() -> list[str]:
    """List the names of the shipped configs."""
    entries = (Path(entry.name) for entry in shipped_folder().iterdir())
    return sorted(entry.stem for entry in entries if entry.suffix == ".yaml")


def load(
    name: str,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    say: Callable[[str], object] = warnings.warn,
) -> Config:
    """Read a config and apply overrides.

    Args:
        name: a shipped config's name, or a path (it has a separator or ends in .yaml).
        overrides: `section.key=value` with a YAML value, or dotted key -> value; applied in order.
        say: is called with one line for each key under its old name, which is still read.

    Returns:
        The config.

    Raises:
        UserError: the file is missing or not YAML, or a key or value does not fit; names it.
    """
    is_path = "/" in name or "\\" in name or name.endswith((".yaml", ".yml"))
    path = Path(name) if is_path else shipped_folder() / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(shipped_names())
        raise UserError(f"{name}: no such config; give a path to a YAML file or one of {known}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or no such date
        raise UserError(f"{path}: not a YAML file: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected sections (seed, train, ...), found {values!r}")
    lines: dict[str, str] = {}
    values = renamed(values, name, lines)
    if isinstance(overrides, Mapping):
        source, changes = "overrides", [_nested(key, each) for key, each in overrides.items()]
    else:
        source, changes = "--set", [_parse_override(each) for each in overrides]
    for each in changes:
        values = merged(values, renamed(each, source, lines))
    for line in lines.values():
        say(line)
    return from_values(values)


def resolve(
    config: str | Path | Config,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    say: Callable[[str], object] = warnings.warn,
) -> tuple[Config, str]:
    """Return the config that a person means, and its name for folders.

    Args:
        config: what `load` takes as a name, or a config.
        overrides: see `load`.
        say: see `load`.

    Raises:
        UserError: see `load`.
    """
    if isinstance(config, Config):
        return changed(config, dict(overrides)), "run"
    return load(str(config), overrides, say), Path(config).stem


def from_values(values: dict) -> Config:
    """Make a config of plain values.

    Raises:
        UserError: a key or value does not fit; names it.
    """
    return validated(Config, values)


def _parse_override(override: str) -> dict:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise UserError(f"--set {override}: expected KEY=VALUE, for example train.epochs=5")
    try:
        value: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise UserError(f"--set {override}: {text!r} is not a YAML value") from None
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)  # YAML 1.1 reads 1e-3 as text
    return _nested(key.strip(), value)


def _nested(key: str, value: Any) -> dict:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def changed(config: Config, settings: Mapping[str, Any]) -> Config:
    """Change settings of a config.

    Args:
        config: stays as it is.
        settings: dotted key -> value; a number in a key means a place in a list.

    Returns:
        The changed config.

    Raises:
        UserError: a key or value does not fit; names it.
    """
    values = config.model_dump(mode="json")
    for key, value in settings.items():
        values = merged(values, _nested(key, value))
    return from_values(values)


def setting(config: Config, key: str) -> Any:
    """Return a setting by its dotted key, JSON-ready; None if there is none.

    Of a member it is what the member's fits use, its own or the common one.
    """
    value: Any = config.model_dump(mode="json")
    parts = key.split(".")
    if parts[0] == "members" and len(parts) > 2 and parts[1] in config.members:
        value, parts = config.member(parts[1]).model_dump(mode="json"), parts[2:]
    for part in parts:
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return None
    return value


def without_tuning(config: Config) -> Config:
    """Return the config without what only a search looks at."""
    return config.model_copy(update={"tune": Tune()})


def dump(config: Section) -> str:
    """Write a config as YAML that `load` reads back to an equal one."""
    values = config.model_dump(mode="json")
    if isinstance(config, Config):
        for name in ("callbacks", "tune", "tuned"):
            if getattr(config, name) == Config.model_fields[name].default:
                del values[name]
    return yaml.safe_dump(values, sort_keys=False)
