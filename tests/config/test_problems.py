"""What is said about a value that does not fit, whichever it is."""

import types
from typing import Union, get_args, get_origin

import pytest

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config, Elastic, MemberSettings
from kaggle_digits.config.section import Section, validated
from kaggle_digits.errors import UserError

WRONG = (
    *(5, -1, 0, 10**12, 1.5, -1.5, 1e300, float("nan"), float("inf")),
    *("text", "", "5 apples", True, None),
    *([], [5], ["a"], [None], [1, 2, 3], [[1, 2]], [{}], [{"width": 0}], ["a", 2]),
    *({}, {"a": 1}, {1: 2}, {"a": {"b": 1}}),
)
# Words of pydantic's messages, and Python's for values of YAML.
NOT_FOR_PEOPLE = (
    "Input",
    "a valid",
    "None",
    "True",
    "False",
    "instance",
    "tuple",
    "dict",
    "pydantic",
)


def places(section, prefix=""):
    """List the dotted keys of all settings, in lists and under names too."""
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}"
        yield from below(field.annotation, f"{prefix}{name}.")


def below(kind, prefix):
    if isinstance(kind, type) and issubclass(kind, Section):
        yield from places(kind, prefix)
    elif get_origin(kind) in (tuple, dict):
        inner = [each for each in get_args(kind) if each is not ...][-1]
        yield from below(inner, prefix + ("0." if get_origin(kind) is tuple else "name."))
    elif get_origin(kind) in (Union, types.UnionType):
        for each in get_args(kind):
            yield from below(each, prefix)


STAGE, RANGE = {"width": 8}, {"low": 1, "high": 3}
TUNED = {"train_data": "d", "seed": 1, "folds": 3, "holdout_folds": 1, "trials": 9}
AROUND = {"model": {"stages": [STAGE]}, "members": {"name": {}}, "tuned": [TUNED]}


def with_value(key, value):
    """Plain values of a config that is sound but for one setting."""
    values = {**AROUND, "tune": {"space": {"name": RANGE}}}
    *above, last = key.split(".")
    node = values = loading.merged({}, values)
    for part in above:
        if isinstance(node, list):
            node[int(part)] = node = dict(node[int(part)])
        else:
            inner = node.get(part, {})
            node[part] = node = list(inner) if isinstance(inner, list) else dict(inner)
    node[int(last) if isinstance(node, list) else last] = value
    return values


@pytest.mark.parametrize("key", [*places(Config), "members.name.train.epochs"])
def test_no_value_is_refused_in_words_of_a_library(key):
    refused = 0
    for value in WRONG:
        try:
            loading.from_values(with_value(key, value))
        except UserError as error:
            refused += 1
            problem = error.problem
            written, _, found = problem.partition(", found ")
            assert written.startswith(key.split(".")[0])
            assert not [word for word in NOT_FOR_PEOPLE if word in written], problem
            assert found not in ("None", "True", "False"), problem
            assert "\n" not in problem
    assert refused >= 3 or key.endswith("choices"), key


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (
            "augment.rotate",
            5,
            "augment.rotate: expected two numbers, for example [-15, 15], found 5",
        ),
        (
            "augment.rotate",
            [5],
            "augment.rotate: expected two numbers, for example [-15, 15], foun",
        ),
        (
            "augment.rotate",
            [1, 2, 3],
            "augment.rotate: expected two numbers, for example [-15, 15]",
        ),
        ("augment.rotate", ["a", 2], "augment.rotate.0: expected a number, found 'a'"),
        ("augment.variants", "x", "augment.variants: expected a whole number or null, found 'x'"),
        ("augment.elastic", 5, "augment.elastic: expected keys with values, for example {p: 0.5},"),
        ("augment.elastic.p", 1.5, "augment.elastic.p: expected at most 1, found 1.5"),
        ("train.epochs", 0, "train.epochs: expected at least 1, found 0"),
        ("train.epochs", 1.5, "train.epochs: expected a whole number, found 1.5"),
        ("train.epochs", None, "train.epochs: expected a whole number, found null"),
        ("train.learning_rate", 0, "train.learning_rate: expected more than 0, found 0"),
        ("train.momentum", 1, "train.momentum: expected less than 1, found 1"),
        (
            "train.optimizer",
            "adamax",
            "train.optimizer: expected one of adamw, adam, sgd, muon, found 'adamax'",
        ),
        ("train.threads", 0, "train.threads: expected auto or a whole number, at least 1, found 0"),
        ("train.threads", "x", "train.threads: expected auto or a whole number, at least 1, found"),
        (
            "train.precision",
            "fp16",
            "train.precision: expected one of float32, bfloat16, float16, auto, found 'fp16'",
        ),
        ("seed", 2**31, "seed: expected less than 2147483648, found 2147483648"),
        ("data.path", 5, "data.path: expected text or null, found 5"),
        (
            "model.stages.0",
            5,
            "model.stages.0: expected a stage, for example {width: 24, pool: fir",
        ),
        ("model.stages.0", {}, "model.stages.0.width: expected a whole number, found none"),
        (
            "model.stages",
            [],
            "model.stages: expected a list of stages, for example [{width: 24, po",
        ),
        ("model.stages.0.stride", 3, "model.stages.0.stride: expected one of 1, 2, found 3"),
        ("model.dense", 5, "model.dense: expected a list of widths, for example [128], found 5"),
        ("model.dense", [0], "model.dense.0: expected at least 1, found 0"),
        ("members", [], "members: expected members with their names, for example {cnn: {}}, found"),
        ("members", {1: {}}, "members: expected names as keys, found 1"),
        ("members.name", 5, "members.name: expected the member's sections, for example {model: {d"),
        ("members.name.train.epochs", 0, "members.name.train.epochs: expected at least 1, found 0"),
        ("tune.space.name", 5, "tune.space.name: expected a range or choices, for example {low: 4"),
        ("tune.space.name.low", "few", "tune.space.name.low: expected a number, found 'few'"),
        ("tune.space.name.step", 0, "tune.space.name.step: expected a number above 0, found 0"),
        ("tuned.0", {}, "tuned.0.train_data: expected text, found none"),
        ("train.0", 2, "train.0: unknown key, expected one of epochs, batch_size, optimizer, "),
        ("model.stages.0.kernels", 3, "model.stages.0.kernels: unknown key, expected one of width"),
    ],
)
def test_what_was_expected(key, value, problem):
    with pytest.raises(UserError) as caught:
        loading.from_values(with_value(key, value))
    assert caught.value.problem.startswith(problem)
    assert str(caught.value) == (
        f"{caught.value.problem} (kaggle-digits config show quick lists all settings)"
    )


def test_a_long_value_is_cut():
    with pytest.raises(UserError, match=r"found 'x{79} \("):
        loading.from_values({"seed": "x" * 1000})


def test_a_place_is_before_the_key():
    for values, problem in (
        ({"p": 2}, "there: p: expected at most 1, found 2"),
        ({"q": 2}, "there: q: unknown key, expected one of p, alpha, sigma"),
    ):
        with pytest.raises(UserError) as caught:
            validated(Elastic, values, "there: ")
        assert caught.value.problem == problem
    values = {"model": {}, "train": {}, "augment": {"scale": [2, 1]}}
    with pytest.raises(UserError, match=r"^members\.a\.augment\.scale: the lower end 2\.0 is"):
        validated(MemberSettings, values, "members.a.")
