"""Records -> JSON with a format number, and back, from this version's files or another one's.

A record is a frozen dataclass. A new field with a default needs no new format: files that lack it
get the default, and versions that do not know it leave it out. A change of meaning does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files

R = TypeVar("R")


def to_json(record: Any, format: int) -> dict[str, Any]:
    """Turn a record into a JSON-ready dict.

    Args:
        record: a dataclass; its fields may be dataclasses again.
        format: the number of the format, which `from_json` checks.

    Returns:
        `format`, then field -> value; tuples are lists.
    """
    return {"format": format} | _adapter(type(record)).dump_python(record, mode="json")


def from_json(cls: type[R], values: Mapping[str, Any], format: int, where: Path) -> R:
    """Read what `to_json` returned.

    Args:
        cls: the record's class.
        values: the JSON object, {} where none could be read; fields that it does not have get
            their defaults, and those that the class does not have are ignored.
        format: the number of the format that this version reads.
        where: the file, for the error message.

    Returns:
        The record.

    Raises:
        UserError: the format is another one, or a field is missing or does not fit; names it.
    """
    if not values and not where.exists():
        raise UserError(f"{where}: there is no such file; repeat the command that makes it")
    if not values:
        raise UserError(
            f"{where}: expected a JSON object, found none; delete the file and repeat the command"
        )
    files.check_format(where, values.get("format"), format)
    try:
        return _adapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or cls.__name__
        found = (
            "missing" if first["type"] == "missing" else f"damaged, found {first['input']!r:.80}"
        )
        raise UserError(
            f"{where}: {field}: {found}; delete the file and repeat the command"
        ) from None


@cache
def _adapter(cls: type) -> TypeAdapter:
    return TypeAdapter(cls)
