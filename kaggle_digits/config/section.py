"""What every section of a config can do: refuse unknown keys, merge changes, give its identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from kaggle_digits.config.problems import described
from kaggle_digits.errors import UserError

# Belongs beside every stored identity. An identity leaves out settings at their defaults, those of
# its format: a default that changes later goes to its section's `former_defaults`, or takes a new
# number; one that was in `later` leaves that, and files that left it out mean the former one, see
# `loading.py`. A new setting whose default is what happened before takes neither.
SETTINGS_FORMAT = 1
AUTO = "auto"  # of threads: one for each core; of precision: what the processor or GPU is fast in
# Where to read more, in errors.
HINT = "kaggle-digits config show quick lists all settings"


class Section(BaseModel):
    """Base of all sections: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # What a person should write for the section; "": its keys.
    expected: ClassVar[str] = ""
    # Settings whose default has changed since this format began -> what identities leave out.
    former_defaults: ClassVar[Mapping[str, Any]] = {}
    # Settings that came after this format began: files leave them out where they are at their
    # defaults, so that what was written before is written again with the same bytes.
    later: ClassVar[frozenset[str]] = frozenset()

    def canonical(self) -> Self:
        """Return the settings with everything that has no effect at its default."""
        return self

    def identity(self) -> dict[str, Any]:
        """Return what the section means, JSON-ready: canonical, without settings at defaults.

        A later version's new settings do not change it; see `SETTINGS_FORMAT`.
        """
        canonical = self.canonical()
        found = _as_left_out(canonical).model_dump(mode="json", exclude_defaults=True)
        return _with_new_defaults(found, canonical)

    @classmethod
    def from_identity(cls, identity: dict[str, Any], where: str = "") -> Self:
        """Fill in the defaults that an identity leaves out, so that two compare key by key.

        Args:
            identity: what `identity` returned, here or in an earlier version.
            where: what to put before a key in an error.

        Returns:
            The section.

        Raises:
            UserError: a key or value does not fit, as in an identity of a later version.
        """
        return validated(cls, _as_meant(cls, identity), where)


def _as_left_out(section: Section) -> Section:
    """Put what was a default when the format began at today's, which an identity leaves out."""
    changes: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            changes[name] = _as_left_out(value)
        elif name in section.former_defaults and value == section.former_defaults[name]:
            changes[name] = field.default
    return section.model_copy(update=changes)


def _with_new_defaults(identity: dict[str, Any], section: Section) -> dict[str, Any]:
    """Write down what is at a default of today that was another one when the format began."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            below = _with_new_defaults(identity.get(name, {}), value)
            if below or name in identity:
                identity[name] = below
        # `auto` is settled before an identity is stored.
        elif name in section.former_defaults and value == field.default != AUTO:
            kind = TypeAdapter(field.annotation)
            identity[name] = kind.dump_python(value, mode="json", exclude_defaults=True)
    return identity


def _as_meant(section: type[Section], identity: Any) -> Any:
    """Write out what an identity left out when the format began and is another default today."""
    if not isinstance(identity, dict):
        return identity  # it is refused by its key
    meant = {**section.former_defaults, **identity}
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            below = _as_meant(kind, identity.get(name, {}))
            if below or name in identity:
                meant[name] = below
    return meant


def merged(base: dict, changes: dict) -> dict:
    """Lay changes over a base, section by section.

    Args:
        base: plain values.
        changes: plain values. A number as key means a place in a list, and null over a section or
            member takes it away.

    Returns:
        The merged values; the arguments stay as they are.
    """
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        if value is None and isinstance(below, dict):
            del result[key]
            continue
        if isinstance(value, dict) and isinstance(below, list | tuple):
            places = {str(place): item for place, item in enumerate(below)}
            if places.keys() >= value.keys():
                value = list(merged(places, value).values())
        elif isinstance(value, dict) and isinstance(below, dict):
            value = merged(below, value)
        result[key] = value
    return result


def validated(model: type[Section], values: dict, where: str = "") -> Any:
    """Make a section of plain values.

    Args:
        model: the section's class.
        values: plain values by key.
        where: what to put before a key in an error.

    Returns:
        The section.

    Raises:
        UserError: names the first key that is unknown or has a value that does not fit.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(described(model, error.errors()[0], where), HINT) from None
