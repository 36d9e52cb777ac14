import pytest
import yaml

from kaggle_digits.config import loading
from kaggle_digits.config.yaml_text import parse
from kaggle_digits.errors import UserError


def refusal(text):
    with pytest.raises(UserError) as caught:
        parse(text, "x.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_values_are_those_of_yaml():
    text = "a: {b: [1, 2.5, null, yes], c: &c {d: 1e-3}}\ne: {<<: *c, f: 'a: b'}\n"
    assert parse(text, "x.yaml") == yaml.safe_load(text)
    assert parse("# nothing\n", "x.yaml") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train:\n  epochs: 1\n  threads: 2\n  epochs: 3\n",
            "x.yaml: line 4: epochs is given twice, first in line 2; keep one",
        ),
        ("seed: 1\n\n'seed': 2", "x.yaml: line 3: seed is given twice, first in line 1; keep one"),
        ("{a: 1, a: 1}", "x.yaml: a is given twice; keep one"),
        ("- {b: 1}\n- {b: {a: 1, a: 1}}", "x.yaml: line 2: a is given twice; keep one"),
    ],
)
def test_a_key_given_twice_is_refused(text, message):
    assert refusal(text) == message


def test_a_key_in_two_sections_is_not_given_twice():
    text = "a: {x: 1}\nb: {x: 1}\nc: &c {x: 1, y: 2}\nd: {<<: *c, x: 3}\n1: a\n'1': b\n"
    assert parse(text, "x.yaml")["d"] == {"x": 3, "y": 2}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("train:\n\tepochs: 3\n", 2),
        ("train:\n  epochs: 3\n\tseed: 1\n", 3),
        ("train:\n  epochs: 3\n  \tseed: 1\n", 3),
        ("a:\t1", 1),
    ],
)
def test_a_tab_is_named(text, line):
    place = f"line {line}: " if "\n" in text else ""
    assert refusal(text) == f"x.yaml: {place}a tab; YAML is indented with spaces"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: [", "not YAML: a bracket or a quotation mark is not closed (column 9)"),
        ("a: 1\nb: 'x", "line 2: not YAML: a bracket or a quotation mark is not closed (column 6)"),
        ("a: 1\nb 2\n", "line 2: not YAML: a colon is missing (column 1)"),
        (
            "a: b: c",
            "not YAML: a colon that does not belong here; check the indent before it, or put the "
            "text in quotation marks (column 5)",
        ),
        (
            "- a\nb: 1",
            "line 2: not YAML: a wrong indent, or something is missing before it (column 1)",
        ),
        ("a: [1\nb: 2", "line 2: not YAML: a comma or a closing bracket is missing (column 2)"),
        ("a: @x", "not YAML: a character that begins no value; put the text in quotation marks (c"),
        ("a: !x 1", "not YAML: a tag (!) that means nothing here; leave it out (column 4)"),
        ("{[1]: 2}", "not YAML: a list or keys in the place of a key; put the text in quotation"),
        ("a: 1\n---\nb: 2", "line 2: not YAML: a second document (---); keep one (column 1)"),
        ("a: *b", "not YAML: found undefined alias 'b' (column 4)"),
        ("a: 1\nb: \x00", "line 2: the character #x0000, which YAML does not allow"),
        ("a: 2001-13-45", "not YAML: a value that is none of its kind (month must be in 1..12)"),
        ("[" * 5000, "sections within sections without end"),
    ],
)
def test_what_is_no_yaml_is_said_in_one_line(text, message):
    assert refusal(text).startswith(f"x.yaml: {message}")


def test_a_file_is_named_with_its_path_and_an_override_as_it_was_given(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 1\nseed: 2\n")
    with pytest.raises(UserError) as caught:
        loading.load(str(path))
    assert str(caught.value).startswith(f"{path}: line 2: seed is given twice, first in line 1")
    with pytest.raises(UserError) as caught:
        loading.load("quick", ["train={epochs: 1, epochs: 2}"])
    assert str(caught.value) == (
        "--set train={epochs: 1, epochs: 2}: epochs is given twice; keep one; in a shell "
        "write --set 'KEY=VALUE'"
    )


@pytest.mark.parametrize("name", [*loading.shipped_names(), *loading.peer_names()])
def test_shipped_configs_give_each_key_once(name):
    loading.load(name)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!bool foo",
        "a: !!timestamp foo",
        'a: !!int ""',
        "a: &a {b: *a}",
        "&a [*a]",
        "2024-13-45",
    ],
)
def test_a_value_that_is_none_of_its_kind_is_refused(text):
    assert refusal(text).startswith("x.yaml: not YAML: a value that is none of its kind (")
