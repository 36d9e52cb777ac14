"""YAML files, shipped configs and overrides -> a `Config`, and back to YAML."""

from __future__ import annotations

import contextlib
import importlib.resources
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from kaggle_digits.config.problems import nearest
from kaggle_digits.config.renamed_keys import renamed
from kaggle_digits.config.schema import Augment, Config, SearchParameter, Tune
from kaggle_digits.config.section import HINT, Section, merged, validated
from kaggle_digits.config.yaml_text import parse
from kaggle_digits.errors import UserError, explained

SPACE = ("tune", "space")
PEERS = "peers"  # folder of the configs that reproduce other systems
WIDTH = 84  # characters after which a line of YAML for reading ends with the setting that it is in


def shipped_folder() -> Traversable:
    """Return the folder of the shipped configs, wherever the package is installed."""
    return importlib.resources.files("kaggle_digits") / "configs"


def shipped_names() -> list[str]:
    """List the names of the shipped configs, without the peers."""
    return _names_in(shipped_folder())


def peer_names() -> list[str]:
    """List the names of the shipped configs that reproduce other systems, all `peers/...`."""
    return [f"{PEERS}/{name}" for name in _names_in(shipped_folder() / PEERS)]


def _names_in(folder: Traversable) -> list[str]:
    entries = (Path(entry.name) for entry in folder.iterdir())
    return sorted(entry.stem for entry in entries if entry.suffix == ".yaml")


def shipped_text(name: str) -> str:
    """Return a shipped config, perhaps a peer, as it is written, with its comments.

    Raises:
        UserError: there is none of this name.
    """
    if name not in (*shipped_names(), *peer_names()):
        raise UserError(f"{name}: expected one of {_known_names()}")
    return (shipped_folder() / f"{name}.yaml").read_text(encoding="utf-8")


def shipped_summary(name: str) -> str:
    """Return what a shipped config is for, in a line."""
    return shipped_text(name).partition("\n")[0].removeprefix(f"# {name}: ")


def load(
    name: str,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    say: Callable[[str], object] = warnings.warn,
) -> Config:
    """Read a config and apply overrides.

    Args:
        name: a shipped config's name, or a path (it ends in .yaml, or has a separator and is no
            peer's name).
        overrides: `section.key=value` with a YAML value, or dotted key -> value; applied in order.
            A search space takes the place of the one there, and so does a setting in it
            (`tune.space.train.epochs={low: 3, high: 9}`); null takes it away.
        say: is called with one line for each key under its old name, which is still read.

    Returns:
        The config.

    Raises:
        UserError: the file is missing or not YAML, or a key or value does not fit; names it.
    """
    is_path = name not in peer_names() and (
        "/" in name or "\\" in name or name.endswith((".yaml", ".yml"))
    )
    path = Path(name) if is_path else shipped_folder() / f"{name}.yaml"
    values = parse(_read(path, name), str(path))
    values = {} if values is None else values  # a file of comments is all defaults
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected sections (seed, train, ...), found {values!r}")
    lines: dict[str, str] = {}
    values = of_file = _as_meant_then(renamed(values, name, lines))
    if isinstance(overrides, Mapping):
        source, changes = "overrides", list(overrides.items())
    else:
        source, changes = "--set", [_parse_override(each) for each in overrides]
    for key, value in changes:
        keys = _path(key)
        values = _overridden(values, keys, renamed(_nested(keys, value), source, lines))
    for line in lines.values():
        say(line)
    try:
        return from_values(values)
    except UserError as error:
        where = f"{path}: " if is_path and _problem(of_file) == error.problem else ""
        raise UserError(f"{where}{error.problem}", HINT) from None


def _as_meant_then(values: dict) -> dict:
    """Write out what files of earlier versions left out at a default that is another one today.

    Files of runs and searches, and copies of `quick`, state all settings but those. What a person
    writes states fewer, and means today's defaults.
    """
    augment, former = values.get("augment"), Augment.former_defaults
    always_stated = Augment.model_fields.keys() - Augment.later - former.keys()
    if isinstance(augment, dict) and always_stated <= augment.keys():
        return values | {"augment": {**former, **augment}}
    return values


def _problem(values: dict) -> str | None:
    """Return what is wrong with values, None if nothing is."""
    try:
        from_values(values)
    except UserError as error:
        return error.problem
    return None


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
    path, loaded = Path(config), load(str(config), overrides, say)
    if path.suffix and path.stem in {Path(name).name for name in (*shipped_names(), *peer_names())}:
        # A search's best.yaml, or a changed copy: its runs are not to be taken for the shipped one.
        return loaded, f"{path.resolve().parent.name}-{path.stem}"
    return loaded, path.stem


def from_values(values: dict) -> Config:
    """Make a config of plain values.

    Raises:
        UserError: a key or value does not fit; names it.
    """
    return validated(Config, values)


def _read(path: Path | Traversable, name: str) -> str:
    known = _known_names()
    if path.is_dir() or (not path.is_file() and Path(name).is_dir()):
        raise UserError(f"{name}: expected a YAML file or one of {known}, found a folder")
    if not path.is_file():
        near = nearest(name, (*shipped_names(), *peer_names()))
        meant = f"; did you mean {near}?" if near else ""
        if Path(name).is_file():
            meant = f"; if the file of that name is meant, ./{name}"
        raise UserError(
            f"{name}: no such config; give a path to a YAML file or one of {known}{meant}"
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line, byte = error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
        raise UserError(
            f"{path}: line {line}: expected UTF-8 text, found the byte 0x{byte:02x}; save it as "
            "UTF-8"
        ) from None
    except OSError as error:
        raise explained(error) from error


def _known_names() -> str:
    return f"{', '.join(shipped_names())}, {PEERS}/... (kaggle-digits config list)"


def _parse_override(override: str) -> tuple[str, Any]:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise UserError(f"--set {override}: expected KEY=VALUE, for example train.epochs=5")
    try:
        value = parse(text, f"--set {override}")
    except UserError as error:  # a shell has cut it at its first space
        raise UserError(f"{error}; in a shell write --set 'KEY=VALUE'") from None
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)  # YAML 1.1 reads 1e-3 as text
    return key.strip(), value


def _path(key: str) -> list[str]:
    """Split a dotted key into the keys of each level; within a search space one is a whole key."""
    parts = key.split(".")
    if tuple(parts[:2]) != SPACE or len(parts) == 2:
        return parts
    *setting, last = parts[2:]
    # What a search may choose for the setting; but any name may be a member's.
    is_field = last in SearchParameter.model_fields and setting and setting != ["members"]
    return [*SPACE, *([".".join(setting), last] if is_field else [".".join(parts[2:])])]


def _nested(path: Sequence[str], value: Any) -> dict:
    for part in reversed(path):
        value = {part: value}
    return value


def _overridden(values: dict, path: Sequence[str], change: dict) -> dict:
    """Lay one override over values.

    Args:
        values: plain values of a config.
        path: where the override is; only its length counts, it may be under an old name.
        change: the override, nested.
    """
    tune = change.get("tune")
    space = tune.get("space") if isinstance(tune, dict) else None
    if isinstance(space, dict) and len(path) <= len(SPACE):
        values = merged(values, _nested(SPACE, None))
    elif isinstance(space, dict) and len(path) == len(SPACE) + 1:
        replaced = [key for key, value in space.items() if isinstance(value, dict)]
        values = merged(values, _nested(SPACE, dict.fromkeys(replaced)))
    return merged(values, change)


def changed(config: Config, settings: Mapping[str, Any]) -> Config:
    """Change settings of a config.

    Args:
        config: stays as it is.
        settings: dotted key -> value; a number in a key means a place in a list. Of a search space
            see `load`.

    Returns:
        The changed config.

    Raises:
        UserError: a key or value does not fit; names it.
    """
    values = config.model_dump(mode="json")
    for key, value in settings.items():
        path = _path(key)
        values = _overridden(values, path, _nested(path, value))
    return from_values(values)


def setting(config: Config, key: str) -> Any:
    """Return a setting by its dotted key, JSON-ready; None if there is none.

    Of a member it is what the member's fits use, its own or the common one.
    """
    section: Section = config
    parts = key.split(".")
    if parts[0] == "members" and len(parts) > 2 and parts[1] in config.members:
        section, parts = config.member(parts[1]), parts[2:]
    # What a search has stored of a stage stays the same where later versions know more settings.
    written = _at(_written(section), parts)
    return _at(section.model_dump(mode="json"), parts) if written is None else written


def _at(values: Any, parts: Sequence[str]) -> Any:
    """Return the value at a path of keys and places, None if there is none."""
    for part in parts:
        if isinstance(values, list) and part.isdecimal() and int(part) < len(values):
            values = values[int(part)]
        elif isinstance(values, dict) and part in values:
            values = values[part]
        else:
            return None
    return values


def capped_warmups(config: Config) -> list[str]:
    """Say for people which warm-up would fill all epochs, and what it is instead, a line each."""
    lines: dict[str, None] = {}
    for name, member in config.members.items():
        train = config.member(name).train
        if train.schedule == "cosine" and train.warmup != train.warmup_epochs:
            own = {"epochs", "warmup_epochs"} & member.train.keys()
            place = f"members.{name}.train" if own else "train"
            lines[
                f"{place}.warmup_epochs: {train.warmup_epochs:g} is capped at {train.warmup:g}, "
                f"{place}.epochs is {train.epochs}"
            ] = None
    return list(lines)


def without_tuning(config: Config) -> Config:
    """Return the config without what only a search looks at."""
    return config.model_copy(update={"tune": Tune()})


def differences(config: Config, base: Config) -> dict[str, tuple[Any, Any]]:
    """List the settings in which a config differs from another one.

    Args:
        config: the config. If it declares no search, what only a search looks at does not count.
        base: what it is compared with.

    Returns:
        Dotted key -> (value in the config, value in the base), None for what one does not have.
    """
    if config.tune == Tune():
        base = without_tuning(base)
    mine, other = dict(_by_key(config)), dict(_by_key(base))
    pairs = {key: (mine.get(key), other.get(key)) for key in mine | other}
    return {key: (value, usual) for key, (value, usual) in pairs.items() if value != usual}


def _by_key(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting with its dotted key; of members and searched settings what they state."""
    for name in type(section).model_fields:
        value, key = getattr(section, name), f"{prefix}{name}"
        if isinstance(value, Section):
            yield from _by_key(value, f"{key}.")
        elif isinstance(value, dict):
            yield from ((f"{key}.{each}", _stated(below)) for each, below in value.items())
        else:
            yield key, _stated(value)


def _stated(value: Any) -> Any:
    """Return a value as a person would write it: of a section what is not at its default."""
    if isinstance(value, Section):
        return value.model_dump(mode="json", exclude_defaults=True)
    return list(map(_stated, value)) if isinstance(value, tuple) else value


class _Dumper(yaml.SafeDumper):
    """Writes a list of numbers, and each section in a list, in one line."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: Any = None) -> yaml.Node:
        node = super().represent_sequence(tag, sequence, flow_style=False)
        sections = [item for item in node.value if isinstance(item, yaml.MappingNode)]
        for section in sections:
            section.flow_style = True
        node.flow_style = not sections
        return node


def dump(config: Section, compact: bool = False) -> str:
    """Write a config as YAML that `load` reads back to an equal one.

    Args:
        config: the config.
        compact: for reading, with every setting; the files of runs and searches spread each list
            over lines.
    """
    values = config.model_dump(mode="json") if compact else _written(config)
    if isinstance(config, Config):
        for name in ("callbacks", "tune", "tuned"):
            if getattr(config, name) == Config.model_fields[name].default:
                del values[name]
    if compact:
        return yaml.dump(values, Dumper=_Dumper, sort_keys=False, width=WIDTH)
    return yaml.safe_dump(values, sort_keys=False)


def _written(section: Section) -> dict[str, Any]:
    """Return plain values without the `later` settings of each section that are at defaults."""
    values = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name in section.later and value == field.default:
            del values[name]
        elif isinstance(value, Section):
            values[name] = _written(value)
        elif isinstance(value, tuple):
            values[name] = [
                _written(each) if isinstance(each, Section) else plain
                for each, plain in zip(value, values[name], strict=True)
            ]
    return values


def in_line(value: Any) -> str:
    """Write a value as YAML in one line, as for --set."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")
