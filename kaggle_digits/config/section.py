"""What every section of a config can do: refuse unknown keys, merge changes, give its identity."""

from __future__ import annotations

from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from kaggle_digits.errors import UserError

# Belongs beside every stored identity. An identity leaves out settings at their defaults, so a
# default that changes takes a new number: the old identities mean the old default. A new setting
# whose default is what happened before takes none.
SETTINGS_FORMAT = 1

# pydantic's words for what a YAML file may hold name Python's types.
EXPECTED = {
    "tuple_type": "expected a list",
    "dict_type": "expected keys with values",
    "model_type": "expected keys with values",
}


class Section(BaseModel):
    """Base of all sections: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def canonical(self) -> Self:
        """Return the settings with everything that has no effect at its default."""
        return self

    def identity(self) -> dict[str, Any]:
        """Return what the section means, JSON-ready: canonical, without settings at defaults.

        A later version's new settings do not change it; see `SETTINGS_FORMAT`.
        """
        return self.canonical().model_dump(mode="json", exclude_defaults=True)

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
        return validated(cls, identity, where)


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
        first = error.errors()[0]
        # Of a union pydantic also names the type that it has tried.
        key = ".".join(str(part) for part in first["loc"] if part not in ("int", "float"))
        key = (where + key).rstrip(".")
        if first["type"] == "extra_forbidden":
            problem = f"{key}: unknown key, expected one of {_known_keys(model, first['loc'])}"
        elif first["type"] == "value_error":  # by one of our sections, its own key in front
            problem = f"{key}.{first['ctx']['error']}".lstrip(".")
        else:
            problem = f"{key}: {EXPECTED.get(first['type'], first['msg'])}"
            if not isinstance(first["input"], dict | Section):
                problem += f", found {first['input']!r:.80}"
        raise UserError(
            f"{problem} (kaggle-digits run --help explains --config and --set)"
        ) from None


def _known_keys(model: type[Section], location: tuple) -> str:
    """List the keys that are known where an unknown one was found."""
    node: Any = model
    for part in location[:-1]:
        if isinstance(node, type) and issubclass(node, Section):
            node = node.model_fields[part].annotation
        else:  # tuple[Stage, ...] or dict[str, Member]: the part is a place or a name
            node = next(item for item in reversed(get_args(node)) if item is not ...)
    return ", ".join(node.model_fields)
