"""Every setting of a run as frozen pydantic models: loads YAML, applies overrides, saves.

First stage of the pipeline: all other modules take these models and never read YAML themselves.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import re
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from kaggle_digits.config.schema import (
    Augment,
    Data,
    Ensemble,
    Folds,
    Member,
    MemberSettings,
    Model,
    Section,
    Train,
    Tune,
    TuningProvenance,
)
from kaggle_digits.errors import UserError

MEMBER_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,39}")


class Config(Section):
    """All settings of a run; the defaults are those of the shipped `quick`, but for its search."""

    seed: int = Field(2026, ge=0, lt=2**31, description="start of every random number")
    data: Data = Data()
    folds: Folds = Folds()
    augment: Augment = Augment()
    model: Model = Model()
    train: Train = Train()
    members: dict[str, Member] = Field(
        {"cnn": Member()}, min_length=1, description="nets of the ensemble by name"
    )
    ensemble: Ensemble = Ensemble()
    tune: Tune = Tune()
    tuned: TuningProvenance | None = None

    @model_validator(mode="after")
    def _leaves_folds_to_search(self) -> Config:
        if self.tune.holdout_folds >= self.folds.count:
            raise ValueError(
                f"tune.holdout_folds: must be below folds.count ({self.folds.count}), found "
                f"{self.tune.holdout_folds}"
            )
        return self

    @model_validator(mode="after")
    def _members_resolve(self) -> Config:
        for name in self.members:
            if not MEMBER_NAME.fullmatch(name):
                raise ValueError(
                    f"members.{name}: a name has 1 to 40 of a-z, 0-9 and _, and begins with a "
                    "letter or digit"
                )
            threads = self.member(name).train.threads
            if threads != self.train.threads:
                raise ValueError(
                    f"members.{name}.train.threads: must be train.threads ({self.train.threads}), "
                    f"the number is one for a whole process; found {threads}"
                )
        return self

    def member(self, name: str) -> MemberSettings:
        """Resolve a member: the common sections with the member's changes over them.

        Args:
            name: a key of `members`.

        Returns:
            The settings that every fit of the member uses.

        Raises:
            UserError: a change has an unknown key or a value that does not fit.
        """
        changes = self.members[name]
        merged = {
            section: _merge(getattr(self, section).model_dump(), getattr(changes, section))
            for section in ("model", "train", "augment")
        }
        return _validate(MemberSettings, merged, f"members.{name}.")


def _merge(base: dict, changes: dict) -> dict:
    """Lay changes over a base, section by section.

    A number as key means a place in a list, and null over a section or member takes it away.
    """
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if value is None and isinstance(below, dict):
            del merged[key]
            continue
        if isinstance(value, dict) and isinstance(below, list | tuple):
            places = {str(place): item for place, item in enumerate(below)}
            if places.keys() >= value.keys():
                value = list(_merge(places, value).values())
        elif isinstance(value, dict) and isinstance(below, dict):
            value = _merge(below, value)
        merged[key] = value
    return merged


def _validate(model: type[Section], values: dict, where: str) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        # Of a union pydantic names the type too that it has tried.
        location = [str(part) for part in first["loc"] if part not in ("int", "float")]
        key = (where + ".".join(location)).rstrip(".")
        if first["type"] == "extra_forbidden":
            problem = f"unknown key, expected one of {_known_keys(model, first['loc'])}"
        else:
            problem = first["msg"].removeprefix("Value error, ")
            if not isinstance(first["input"], dict | Section):
                problem += f", found {first['input']!r:.80}"
        problem = f"{key}: {problem}" if key else problem
        raise UserError(
            f"{problem} (kaggle-digits run --help explains --config and --set)"
        ) from None


def _known_keys(model: type[Section], location: tuple) -> str:
    """List the keys that may stand where an unknown one was found."""
    node: Any = model
    for part in location[:-1]:
        if isinstance(node, type) and issubclass(node, Section):
            node = node.model_fields[part].annotation
        else:  # tuple[Stage, ...] or dict[str, Member]: the part is a place or a name
            node = next(item for item in reversed(get_args(node)) if item is not ...)
        if isinstance(node, UnionType):  # TuningProvenance | None
            node = get_args(node)[0]
    return ", ".join(node.model_fields)


def shipped_folder() -> Traversable:
    """Return the folder of the shipped configs, wherever the package is installed."""
    return importlib.resources.files("kaggle_digits") / "configs"


def shipped_names() -> list[str]:
    """List the names of the shipped configs."""
    entries = (Path(entry.name) for entry in shipped_folder().iterdir())
    return sorted(entry.stem for entry in entries if entry.suffix == ".yaml")


def load(name: str, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a config and apply overrides.

    Args:
        name: a shipped config's name, or a path (it has a separator or ends in .yaml).
        overrides: `section.key=value` with a YAML value, applied in order.

    Returns:
        The config.

    Raises:
        UserError: the file is missing or no YAML, or a key or value does not fit; names it.
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
    for override in overrides:
        values = _merge(values, _parse_override(override))
    return from_values(values)


def from_values(values: dict) -> Config:
    """Make a config of plain values.

    Raises:
        UserError: a key or value does not fit; names it.
    """
    return _validate(Config, values, "")


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
        values = _merge(values, _nested(key, value))
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
    for name, default in (("tune", Tune()), ("tuned", None)):
        if getattr(config, name, None) == default:
            values.pop(name, None)
    return yaml.safe_dump(values, sort_keys=False)
