"""A run's config and what to add -> a config with further members, the old ones unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from kaggle_digits.config.auto import with_precision, with_threads
from kaggle_digits.config.loading import from_values
from kaggle_digits.config.provenance import TuningProvenance
from kaggle_digits.config.schema import Config, Member, MemberSettings
from kaggle_digits.errors import UserError


def with_members_of(config: Config, other: Config, where: str) -> Config:
    """Add the members of another config.

    Args:
        config: the run's config.
        other: `config` may have its members already, with the same settings.
        where: what to call `other` in an error.

    Returns:
        The config with all members, the new ones with the weights that they have in `other`, and
        with every search that chose settings of any.

    Raises:
        UserError: a member differs from the run's of the same name.
    """
    members, weights = dict(config.members), dict(config.ensemble.weights)
    other = with_threads(other, config.train.threads)
    # Of a member that both have `auto` is what the run's has become.
    other = with_precision(other, config.precisions, config.train.precision)
    for name in other.members:
        wanted = other.member(name)
        if name not in members:
            members[name] = written_out(wanted)
            if name in other.ensemble.weights:
                weights[name] = other.ensemble.weights[name]
        elif config.member(name) != wanted:
            raise UserError(
                f"{where}: member {name} is not the one of the run; give the new member another "
                "name"
            )
    tuned = dict.fromkeys((*config.tuned, *other.tuned))
    return _with_members(config, members, weights, tuple(tuned))


def written_out(settings: MemberSettings) -> Member:
    """Return a member that states all its settings, so that it means the same in any config."""
    sections = settings.model_dump(mode="json")
    return Member(**{key: sections[key] for key in ("model", "train", "augment")})


def with_seeds(config: Config, count: int, only: Iterable[str] = ()) -> Config:
    """Give members more seeds: copies of a member `cnn` are called cnn_2, cnn_3, ...

    Args:
        config: the run's config.
        count: seeds of each member in all, those that there are included.
        only: the members; if none is named, all that are not copies.

    Returns:
        The config with the copies, which count as much as the members that they are of; a fit's
        seed follows from its member's name.

    Raises:
        UserError: there is no such member, or a copy's name is taken.
    """
    members, weights = dict(config.members), dict(config.ensemble.weights)
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
            if copy not in members:
                members[copy] = members[name]
                if name in weights:
                    weights[copy] = weights[name]
    return _with_members(config, members, weights, config.tuned)


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


def _with_members(
    config: Config,
    members: Mapping[str, Member],
    weights: Mapping[str, float],
    tuned: tuple[TuningProvenance, ...],
) -> Config:
    ensemble = config.ensemble.model_dump() | {"weights": weights}
    return from_values(
        config.model_dump() | {"members": members, "ensemble": ensemble, "tuned": tuned}
    )


def _is_copy(config: Config, name: str) -> bool:
    match = re.fullmatch(r"(.+)_\d+", name)
    return (
        match is not None
        and match[1] in config.members
        and config.member(match[1]) == config.member(name)
    )
