import pickle

import pytest
from pydantic import ValidationError

from kaggle_digits.config import schema
from kaggle_digits.config.schema import (
    Augment,
    Config,
    Elastic,
    Grid,
    MemberSettings,
    Model,
    SearchParameter,
    Section,
    Stage,
    Train,
    Tune,
    TuningProvenance,
)

TUNED = {"train_data": "d", "seed": 1, "folds": 3, "holdout_folds": 1, "trials": 9}


SECTIONS = [
    each
    for each in vars(schema).values()
    if isinstance(each, type) and issubclass(each, Section) and each is not Section
]


def first_error(section, **values):
    """The first (place, kind, message) that a section has to say against values."""
    with pytest.raises(ValidationError) as caught:
        section(**values)
    error = caught.value.errors()[0]
    return error["loc"], error["type"], error["msg"]


# All sections


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_knows_its_keys_and_is_frozen(section):
    needed = {"width": 8} if section is Stage else TUNED if section is TuningProvenance else {}
    if section is MemberSettings:
        needed = {"model": Model(), "train": Train(), "augment": Augment()}
    made = section(**needed)
    assert first_error(section, **needed, other=1)[:2] == (("other",), "extra_forbidden")
    for name in section.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(made, name, getattr(made, name))


@pytest.mark.parametrize("section", SECTIONS)
def test_a_setting_says_what_it_means(section):
    for name, field in section.model_fields.items():
        is_section = isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        if not is_section:
            assert field.description, name


# Augmentation


def test_changes_that_never_happen_have_their_defaults():
    never = Augment(
        affine_probability=0,
        rotate=(-1, 1),
        scale=(1, 1.5),
        translate=(0, 0),
        shear=(0, 3),
        elastic=Elastic(p=0, alpha=3),
        grid=Grid(p=0, steps=9, limit=0.5),
        variants=3,
    )
    expected = Augment(affine_probability=0, elastic=Elastic(p=0), grid=Grid(p=0), variants=3)
    assert never.canonical() == expected
    assert never.rotate == (-1, 1)  # the section itself stays as it is


def test_changes_that_happen_stay_as_they_are():
    some = Augment(
        affine_probability=0.25,
        rotate=(-1, 1),
        elastic=Elastic(p=0.5, alpha=3),
        grid=Grid(p=0.5, steps=9),
    )
    assert some.canonical() == some
    only_grid = some.model_copy(update={"grid": Grid(p=0, steps=9)})
    assert only_grid.canonical() == some.model_copy(update={"grid": Grid(p=0)})


# The search


def test_a_range_of_integers_stays_one():
    found = SearchParameter(low=1, high=8, step=2)
    assert [type(each) for each in (found.low, found.high, found.step)] == [int, int, int]
    found = SearchParameter(low=1.0, high=8.0, step=2.0)
    assert [type(each) for each in (found.low, found.high, found.step)] == [float] * 3


def test_choices_are_taken_as_they_are():
    choices = (None, True, 1, 1.0, "1e-3", [1, 2], {"p": 0})
    assert SearchParameter(choices=choices).choices == choices
    kept = SearchParameter(choices=choices).choices
    assert [type(each) for each in kept] == [type(each) for each in choices]


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"low": "few"}, "low"),
        ({"low": float("nan")}, "low"),
        ({"high": float("inf")}, "high"),
        ({"step": 0}, "step"),
        ({"step": -1.0}, "step"),
        ({"sampling": "cubic"}, "sampling"),
        ({"choices": 5}, "choices"),
        ({"when": ["train.optimizer"]}, "when"),
    ],
)
def test_settings_that_are_none(values, place):
    assert first_error(SearchParameter, **values)[0][0] == place


@pytest.mark.parametrize(
    ("name", "smallest", "largest", "wrong"),
    [
        ("max_trials", 1, 10**6, [0]),
        ("holdout_folds", 0, 49, [-1]),
        ("row_fraction", 0.01, 1, [0, 1.01]),
        ("epoch_fraction", 0.01, 1, [0, 1.01]),
        ("racing_alpha", 0, 0.49, [-0.01, 0.5]),
        ("num_initial_points", 1, 10**6, [0]),
    ],
)
def test_ends_of_a_searchs_settings(name, smallest, largest, wrong):
    for value in (smallest, largest):
        assert getattr(Tune(**{name: value}), name) == value
    for value in wrong:
        assert first_error(Tune, **{name: value})[0] == (name,)


def test_a_search_has_one_of_four_oracles_and_of_two_objectives():
    for oracle in ("random", "bayesian", "hyperband", "grid"):
        assert Tune(oracle=oracle).oracle == oracle
    assert first_error(Tune, oracle="annealing")[:2] == (("oracle",), "literal_error")
    assert [Tune(objective=each).objective for each in ("accuracy", "log_loss")]
    assert first_error(Tune, objective="loss")[:2] == (("objective",), "literal_error")


# A whole config


def test_a_member_is_resolved_once():
    config = Config(members={"a": {}, "b": {"train": {"epochs": 9}}})
    assert config.member("b").train.epochs == 9
    assert config.member("b") is config.member("b")
    assert config == Config(members=config.members)
    assert pickle.loads(pickle.dumps(config)).member("b") == config.member("b")
    assert set(config.model_dump()) == set(Config.model_fields)


def test_a_copy_resolves_its_own_members():
    config = Config(train={"epochs": 9})
    longer = config.model_copy(update={"train": config.train.model_copy(update={"epochs": 12})})
    assert (longer.member("cnn").train.epochs, config.member("cnn").train.epochs) == (12, 9)


def test_callbacks_are_import_paths_of_factories():
    assert Config(callbacks=["mine:make", "a.b_1.c:Make"]).callbacks == (
        "mine:make",
        "a.b_1.c:Make",
    )


@pytest.mark.parametrize(
    "wrong", ["make", "m.make", "m:", ":make", "m:a.b", "m:a()", "1a:b", "a/b:c"]
)
def test_what_is_no_import_path(wrong):
    with pytest.raises(ValidationError, match=r"callbacks\.1: expected package\.module:factory"):
        Config(callbacks=["mine:make", wrong])


def test_what_no_result_depends_on_is_no_part_of_an_identity():
    assert Config(callbacks=["mine:make"], data={"path": "here"}).identity() == Config().identity()
    # What one member makes of a common setting counts, even if no common net uses it.
    config = Config(
        augment={"elastic": {"p": 0, "alpha": 9}},
        train={"threads": 3},
        members={"a": {"augment": {"elastic": {"p": 1}}}},
    )
    assert Config.from_identity(config.identity()) == config
    assert config.member("a").augment.elastic == Elastic(p=1, alpha=9)
