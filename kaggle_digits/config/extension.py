"""A run's config and what to add -> a config with further members, the old ones unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kaggle_digits.config.loading import from_values, with_threads
from kaggle_digits.config.schema import Config, Member
from kaggle_digits.errors import UserError


def with_members_of(config: Config, other: Config, where: str) -> Config:
    """Add the members of another config.

    Args:
        config: the run's config.
        other: `config` may have its members already, with the same settings.
        where: what to call `other` in an error.

    Returns:
        The config with all members, and with every search that chose settings of any.

    Raises:
        UserError: a member differs from the run's of the same name.
    """
    members = dict(config.members)
    other = with_threads(other, config.train.threads)
    for name in other.members:
        wanted = other.member(name)
        if name not in members:
            # Written out: what a member leaves out would mean the run's settings here.
            sections = wanted.model_dump(mode="json")
            members[name] = Member(**{key: sections[key] for key in ("model", "train", "augment")})
        elif config.member(name) != wanted:
            raise UserError(
                f"{where}: member {name} is not the one of the run; give the new member another "
                "name"
            )
    tuned = dict.fromkeys((*config.tuned, *other.tuned))
    return from_values(config.model_dump() | {"members": members, "tuned": tuple(tuned)})


def with_seeds(config: Config, count: int, only: Iterable[str] = ()) -> Config:
    """Give members more seeds: copies of a member `cnn` are called cnn_2, cnn_3, ...

    Args:
        config: the run's config.
        count: seeds of each member in all, those that there are included.
        only: the members; if none is named, all that are not copies.

    Returns:
        The config with the copies; a fit's seed follows from its member's name.

    Raises:
        UserError: there is no such member, or a copy's name is taken.
    """
    members = dict(config.members)
    for name in only:
        if name not in members:
            raise UserError(f"--member {name}: expected one of {', '.join(members)}")
    for name in tuple(only) or [name for name in members if not _is_copy(config, name)]:
        for number in range(2, count + 1):
            copy = f"{name}_{number}"
            if copy in members and config.member(copy) != config.member(name):
                raise UserError(
                    f"--seeds {count}: member {copy} exists and is not a copy of {name}; "
                    "name other members with --member"
                )
            members.setdefault(copy, members[name])
    return from_values(config.model_dump() | {"members": members})


def check_extends(config: Config, old: Config, where: str) -> None:
    """Refuse a config in which something of the old one is missing or changed.

    Args:
        config: the new config.
        old: the run's config.
        where: the run folder, for the error.

    Raises:
        UserError: names the first key that a finished fit depends on and that differs.
    """
    new_folds, old_folds = (each.folds.canonical().model_dump() for each in (config, old))
    for key, new_value, old_value in (
        ("seed", config.seed, old.seed),
        *((f"folds.{name}", new_folds[name], value) for name, value in old_folds.items()),
    ):
        if new_value != old_value:
            raise UserError(f"{key}: {where} has {old_value}, found {new_value}; leave it as it is")
    for name in old.members:
        if name not in config.members:
            raise UserError(f"members.{name}: {where} has this member; extending takes none away")
        if config.member(name) != old.member(name):
            raise UserError(
                f"members.{name}: its settings are not those in {where}; extending changes none, "
                "add a member of another name"
            )


def _is_copy(config: Config, name: str) -> bool:
    match = re.fullmatch(r"(.+)_\d+", name)
    return (
        match is not None
        and match[1] in config.members
        and config.member(match[1]) == config.member(name)
    )
