import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.results import record


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    name: str
    ends: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Outer:
    inner: Inner
    colour: Colour
    count: int | None = None
    settings: dict[str, object] = field(default_factory=dict)
    others: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = field(default_factory=dict)


WHOLE = Outer(
    inner=Inner("first", (0.25, 0.5)),
    colour=Colour.RED,
    count=3,
    settings={"augment.rotate": [-5.0, 5.0], "augment.variants": None, "train.epochs": 9},
    others=(Inner("second"), Inner("third")),
    by_name={"quick": Inner("fourth")},
)
PLAIN = {
    "format": 2,
    "inner": {"name": "first", "ends": [0.25, 0.5]},
    "colour": "red",
    "count": 3,
    "settings": {"augment.rotate": [-5.0, 5.0], "augment.variants": None, "train.epochs": 9},
    "others": [{"name": "second", "ends": [0.0, 1.0]}, {"name": "third", "ends": [0.0, 1.0]}],
    "by_name": {"quick": {"name": "fourth", "ends": [0.0, 1.0]}},
}


def read(values, format=2):
    return record.from_json(Outer, values, format, Path("run/outer.json"))


def test_record_is_plain_json():
    assert record.to_json(WHOLE, 2) == PLAIN
    assert next(iter(record.to_json(WHOLE, 2))) == "format"


def test_record_comes_back_through_json():
    found = read(json.loads(json.dumps(record.to_json(WHOLE, 2))))
    assert found == WHOLE
    assert type(found.colour) is Colour
    assert type(found.others) is type(found.inner.ends) is tuple


def test_missing_fields_have_their_defaults():
    found = read({"format": 2, "inner": {"name": "first"}, "colour": "red"})
    assert found == Outer(Inner("first", (0.0, 1.0)), Colour.RED)


def test_fields_of_a_later_version_are_ignored():
    later = PLAIN | {"energy": 7, "inner": PLAIN["inner"] | {"note": "new"}}
    assert read(later) == WHOLE


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (3, "made by a newer version of kaggle-digits (format 3, expected 2); update kaggle-dig"),
        (1, "made by an earlier version of kaggle-digits; "),
        (None, "made by an earlier version of kaggle-digits; "),
        ("two", "made by an earlier version of kaggle-digits; "),
    ],
)
def test_other_formats_are_refused(found, message):
    with pytest.raises(UserError) as caught:
        read(PLAIN | {"format": found})
    assert str(caught.value).startswith(f"run/outer.json: {message}")


def test_file_without_a_format_is_refused():
    with pytest.raises(UserError, match="earlier version"):
        read({key: value for key, value in PLAIN.items() if key != "format"})


def test_a_file_without_an_object_is_refused(tmp_path):
    (tmp_path / "outer.json").write_text("[]")
    with pytest.raises(UserError, match=r"outer\.json: expected a JSON object, found none; delete"):
        record.from_json(Outer, {}, 3, tmp_path / "outer.json")


def test_nothing_is_refused():
    with pytest.raises(UserError, match=r"^run/outer\.json: there is no such file; repeat the"):
        read({})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"count": "many"},
            "run/outer.json: count: damaged, found 'many'; delete the file and repeat",
        ),
        ({"colour": "blue"}, "run/outer.json: colour: damaged, found 'blue'; delete the file"),
        ({"inner": {}}, "run/outer.json: inner.name: missing; delete the file and repeat the comm"),
        ({"others": [{"name": 1}]}, "run/outer.json: others.0.name: damaged, found 1; delete"),
        ({"others": 5}, "run/outer.json: others: damaged, found 5; delete"),
    ],
)
def test_field_that_does_not_fit_is_named(changes, message):
    with pytest.raises(UserError) as caught:
        read(PLAIN | changes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
