"""YAML text -> plain values; what is no YAML, or gives a key twice, is refused in one line."""

from __future__ import annotations

import json
from typing import Any

import yaml

from kaggle_digits.errors import UserError

TAB = "a tab; YAML is indented with spaces"
NO_COLON = "a colon is missing"
# Of PyYAML's words for what it stumbled over, the first that fits -> what people look for.
PROBLEMS = {
    "found character '\\t'": TAB,
    "stream end": "a bracket or a quotation mark is not closed",
    "end of stream": "a bracket or a quotation mark is not closed",
    "could not find expected ':'": NO_COLON,
    "mapping values are not allowed": "a colon that does not belong here; check the indent before "
    "it, or put the text in quotation marks",
    "expected <block end>": "a wrong indent, or something is missing before it",
    "expected ',' or": "a comma or a closing bracket is missing",
    "cannot start any token": "a character that begins no value; put the text in quotation marks",
    "could not determine a constructor": "a tag (!) that means nothing here; leave it out",
    "unhashable key": "a list or keys in the place of a key; put the text in quotation marks",
    "another document": "a second document (---); keep one",
}


class _GivenTwice(yaml.YAMLError):
    """A key stands twice in one section: YAML forbids it, but PyYAML takes the last one."""

    def __init__(self, key: str, first: int, second: int) -> None:
        super().__init__()
        self.key, self.first, self.second = key, first, second


class _Loader(yaml.SafeLoader):
    """PyYAML's, which looks at each key while it still knows its line."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    raise _GivenTwice(key.value, lines[name], line)
                lines[name] = line
        return node


def parse(text: str, where: str) -> Any:
    """Read YAML.

    Args:
        text: one document.
        where: what to call it in an error.

    Returns:
        Plain values; None for an empty text.

    Raises:
        UserError: it is no YAML, or gives a key twice; names the line if there is more than one.
    """
    try:
        values = yaml.load(text, _Loader)
        json.dumps(values, default=str, skipkeys=True)  # ValueError for what contains itself
        return values
    except _GivenTwice as error:
        line, first = error.second, f", first in line {error.first}" * (error.first < error.second)
        problem = f"{error.key} is given twice{first}; keep one"
    except yaml.MarkedYAMLError as error:
        line, problem = _explained(error)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"the character #x{error.character:04x}, which YAML does not allow"
    except RecursionError:
        line, problem = 0, "sections within sections without end"
    # What PyYAML's own constructors raise for a value that its tag (!!int, a date) does not allow.
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        line, problem = 0, f"not YAML: a value that is none of its kind ({error})"
    place = f"line {line}: " if line and "\n" in text else ""
    raise UserError(f"{where}: {place}{problem}")


def _explained(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """Return the line in which PyYAML stumbled, and over what."""
    found, mark = error.problem or error.context or "", error.problem_mark or error.context_mark
    words = next((words for part, words in PROBLEMS.items() if part in found), found)
    if words is TAB:
        return mark.line + 1, words
    if words is NO_COLON:
        mark = error.context_mark or mark  # where the key begins; the problem is where it ends
    return mark.line + 1, f"not YAML: {words} (column {mark.column + 1})"
