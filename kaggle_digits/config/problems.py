"""What pydantic finds wrong with a setting -> its key, and what a person should write."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

LIMITS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
}
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


@dataclass(frozen=True)
class Expected:
    """Says in `Annotated` what to write for a type, with an example.

    Attributes:
        words: what follows "expected".
    """

    words: str


class _Node(NamedTuple):
    """A place in a config: the type that is declared for it, and what is annotated to that."""

    type: Any
    notes: Sequence[Any] = ()


def described(model: type[BaseModel], error: Any, where: str = "") -> str:
    """Say what is wrong with a value, without pydantic's words.

    Args:
        model: what the values were to be.
        error: one of pydantic's `ValidationError.errors()`.
        where: what to put before the key.

    Returns:
        The key and the problem.
    """
    keys, nodes = _way(model, error["loc"])
    kind, node, found = error["type"], nodes[-1], shown(error["input"])
    if kind == "value_error":  # by one of our sections, its own key in front
        return where + ".".join([*keys, str(error["ctx"]["error"])])
    if kind in ("extra_forbidden", "invalid_key"):
        *above, key = keys
        known = list(nodes[-2].type.model_fields)
        problem = f"{where}{'.'.join(keys)}: unknown key, expected one of {', '.join(known)}"
        if near := nearest(key, known):
            return f"{problem}; did you mean {where}{'.'.join([*above, near])}?"
        if not above and (place := _place_of(model, key)):
            return f"{problem}; did you mean {place}?"
        return problem
    if keys[-1] == "[key]":
        keys, expected = keys[:-2], "names as keys"
    elif kind == "missing" and get_origin(nodes[-2].type) is tuple:  # [5] for two numbers
        keys, expected = keys[:-1], _words(nodes[-2])
    elif kind == "missing":
        expected, found = _words(node), "none"
    elif kind in LIMITS and not any(isinstance(note, Expected) for note in node.notes):
        limits = {name: int(end) if end == int(end) else end for name, end in error["ctx"].items()}
        expected = LIMITS[kind].format(**limits)
    else:
        expected = _words(node)
    return f"{where}{'.'.join(keys)}: expected {expected}, found {found}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most like another one; None if none is."""
    return next(iter(difflib.get_close_matches(word, list(known), 1)), None)


def _place_of(model: type[BaseModel], key: str) -> str | None:
    """Return the whole key of a setting whose section was left out: train.epochs of epochs."""
    for name, field in model.model_fields.items():
        section = field.annotation
        is_section = isinstance(section, type) and issubclass(section, BaseModel)
        if is_section and key in section.model_fields:
            return f"{name}.{key}"
    return None


def shown(value: Any) -> str:
    """Return a value for people: as YAML has it where Python's word for it is another."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value!r:.80}"


def _way(model: type[BaseModel], location: tuple) -> tuple[list[str], list[_Node]]:
    """Return the keys to where an error is, and the place before and behind each of them."""
    keys: list[str] = []
    nodes = [_Node(model)]
    for part in location:
        kind = nodes[-1].type
        if get_origin(kind) in (Union, types.UnionType):
            if _not_none(kind)[1:]:
                continue  # pydantic also names the alternative that it has tried
            kind = _not_none(kind)[0]
        keys.append(str(part))
        nodes.append(_below(kind, part))
    return keys, nodes


def _below(kind: Any, part: int | str) -> _Node:
    """Return what is declared for a key of a section, a place in a list, or a name."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(part)
        return _Node(None) if field is None else _Node(field.annotation, field.metadata)
    if get_origin(kind) is tuple:
        items = get_args(kind)
        return _node_of(items[0] if items[-1] is ... else items[part])
    return _node_of(get_args(kind)[-1]) if get_origin(kind) is dict else _Node(None)


def _node_of(annotation: Any) -> _Node:
    if get_origin(annotation) is Annotated:
        kind, *notes = get_args(annotation)
        return _Node(kind, notes)
    return _Node(annotation)


def _not_none(union: Any) -> list[Any]:
    return [each for each in get_args(union) if each is not types.NoneType]


def _words(node: _Node) -> str:
    """Return what to write at a place."""
    for note in node.notes:
        if isinstance(note, Expected):
            return note.words
    kind, origin = node.type, get_origin(node.type)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.expected or f"keys with values, for example {_example(kind)}"
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if origin in (Union, types.UnionType):
        words = [_words(_node_of(each)) for each in _not_none(kind)]
        return " or ".join([*words, "null"] if types.NoneType in get_args(kind) else words)
    return KINDS.get(kind, "a list" if origin is tuple else "keys with values")


def _example(section: type[BaseModel]) -> str:
    """Return the first setting of a section that fits in a few characters."""
    defaults = ((key, field.default) for key, field in section.model_fields.items())
    key, value = next(each for each in defaults if isinstance(each[1], int | float | str))
    return f"{{{key}: {value}}}"
