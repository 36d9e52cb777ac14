import json

import pytest

from kaggle_digits.config.schema import (
    Augment,
    Config,
    Elastic,
    Ensemble,
    Folds,
    Grid,
    MemberSettings,
    Model,
    SearchParameter,
    Stage,
    Train,
    Tune,
)
from kaggle_digits.config.section import SETTINGS_FORMAT, merged, validated
from kaggle_digits.errors import UserError

# What quick was when the format began.
FORMER = {"epochs": 7, "optimizer": "adamw", "learning_rate": 0.008}
FORMER_AUGMENT = {"stroke": 0.0, "test_shift": 0}
FORMER_STAGES = [
    {"width": 24, "pool": "first"},
    {"width": 48, "depth": 2, "pool": "last"},
    {"width": 96, "depth": 2, "pool": "last"},
]
TRAIN = FORMER | {"epochs": 9, "learning_rate": 0.01, "threads": 2}
SETTINGS = MemberSettings(
    model=Model(stages=[{"width": 8, "pool": "first"}, {"width": 9}], dense=(7,)),
    train=Train(**TRAIN, momentum=0.5),
    augment=Augment(**FORMER_AUGMENT, variants=3, elastic=Elastic(p=0, alpha=7), rotate=(-12, 12)),
)


class LaterTrain(Train):
    clip: float = 0.0


class LaterStage(Stage):
    groups: int = 1


class LaterModel(Model):
    stages: tuple[LaterStage, ...] = (LaterStage(width=3),)
    activation: str = "relu"


class LaterSettings(MemberSettings):
    model: LaterModel
    train: LaterTrain


# Identities


def test_identity_has_what_is_not_at_its_default():
    assert SETTINGS.identity() == {
        "model": {"stages": [{"width": 8, "pool": "first"}, {"width": 9}], "dense": [7]},
        # AdamW has no momentum; the learning rate was another one when the format began.
        "train": {"epochs": 9, "learning_rate": 0.01},
        "augment": {"variants": 3, "elastic": {"p": 0.0}},  # which never happens
    }
    assert Elastic().identity() == Grid().identity() == {}


def test_identity_gives_the_section_back():
    identity = json.loads(json.dumps(SETTINGS.identity()))
    assert MemberSettings.from_identity(identity) == SETTINGS.canonical()
    assert SETTINGS.canonical() != SETTINGS


def test_a_later_setting_at_its_default_changes_no_identity():
    later = LaterSettings.model_validate(SETTINGS.model_dump())
    assert later.identity() == SETTINGS.identity()
    assert LaterSettings.from_identity(SETTINGS.identity()) == later.canonical()
    clipped = later.model_copy(update={"train": LaterTrain(**TRAIN, clip=1.0)})
    assert clipped.identity()["train"] == {"epochs": 9, "learning_rate": 0.01, "clip": 1.0}
    # Key by key both have a value.
    values = LaterSettings.from_identity(SETTINGS.identity()).model_dump(mode="json")
    assert (values["train"]["clip"], values["model"]["stages"][0]["groups"]) == (0.0, 1)


def test_identity_of_a_later_version_is_refused_with_its_key():
    later = LaterTrain(epochs=9, clip=1.0).identity()
    with pytest.raises(UserError, match=r"^fits/a: train\.clip: unknown key, expected one of epo"):
        MemberSettings.from_identity({"model": {}, "train": later, "augment": {}}, "fits/a: ")


def test_a_default_that_has_changed_is_still_left_out():
    # Before `auto` the default was 2 threads, and identities still mean it.
    for settings, identity in (
        (Train(threads=2, **FORMER), {}),
        (Train(threads=4, **FORMER), {"threads": 4}),
        (Model(stages=FORMER_STAGES), {}),
        (Augment(**FORMER_AUGMENT), {}),
        (
            Config(
                train={"threads": 2, **FORMER},
                model={"stages": FORMER_STAGES},
                augment=FORMER_AUGMENT,
            ),
            {},
        ),
    ):
        assert settings.identity() == identity
        assert type(settings).from_identity(identity) == settings
    whole = {"model": {}, "train": {"epochs": 9}, "augment": {}}
    assert MemberSettings.from_identity(whole).train == Train(threads=2, **(FORMER | {"epochs": 9}))


def test_a_default_of_today_that_was_another_one_is_stated():
    stages = [
        {"width": 32, "kernel": 5, "padding": "valid", "stride": 2},
        {"width": 64, "kernel": 5, "padding": "valid"},
        {"width": 96, "kernel": 5, "padding": "valid"},
        {"width": 160, "kernel": 4, "padding": "valid"},
    ]
    expected = {
        "model": {"stages": stages},
        "train": {"epochs": 10, "optimizer": "muon", "learning_rate": 0.01},
        "augment": {"stroke": 0.6, "test_shift": 1},
    }
    assert Config().identity() == expected
    assert Config(train={"threads": 2}).identity() == expected
    assert Model.from_identity(Model().identity()) == Model()
    # That of the default between the first one and today's, as fits have stored it.
    stages = [
        {"width": 32, "kernel": 5, "padding": "valid", "stride": 2},
        {"width": 64, "depth": 2, "padding": "valid"},
        {"width": 96, "depth": 2, "padding": "valid"},
        {"width": 128, "padding": "valid"},
    ]
    assert Model(stages=stages).identity() == {"stages": stages}
    assert Augment.from_identity(Augment().identity()) == Augment()


# The defaults that identities of each format leave out. Never change them: a default that changes
# goes to its section's `former_defaults`, or takes a new SETTINGS_FORMAT and a new entry; a new
# setting needs neither.
ELASTIC = {"p": 0.5, "alpha": 30.0, "sigma": 5.0}
GRID = {"p": 0.0, "steps": 4, "limit": 0.3}
STAGE = {"depth": 1, "kernel": 3, "pool": "none", "padding": "same", "stride": 1}
STAGE |= {"dropout": 0.0, "residual": False, "squeeze": 0}  # later ones: no identity has them
DEFAULTS = {
    1: {
        Augment: {
            "variants": None,
            "rotate": [-12.0, 12.0],
            "scale": [0.9, 1.1],
            "translate": [-0.1, 0.1],
            "shear": [-8.0, 8.0],
            "affine_probability": 1.0,
            "elastic": ELASTIC,
            "grid": GRID,
        },
        Model: {
            "stages": [
                STAGE | {"width": 24, "pool": "first"},
                STAGE | {"width": 48, "depth": 2, "pool": "last"},
                STAGE | {"width": 96, "depth": 2, "pool": "last"},
            ],
            "pooling": "flatten",
            "dense": [],
            "dropout": 0.3,
        },
        Train: {
            "epochs": 7,
            "batch_size": 128,
            "optimizer": "adamw",
            "learning_rate": 0.008,
            "momentum": 0.9,
            "weight_decay": 0.05,
            "warmup_epochs": 1.0,
            "label_smoothing": 0.05,
            "ema_epochs": 0.5,
            "threads": 2,
        },
        Folds: {"count": 3, "kind": "stratified", "repeats": 1, "holdout": 0.1},
        Ensemble: {"method": "arithmetic"},
        Tune: {
            "oracle": "bayesian",
            "objective": "accuracy",
            "max_trials": None,
            "holdout_folds": 1,
            "row_fraction": 1.0,
            "epoch_fraction": 1.0,
            "racing_alpha": 0.05,
            "num_initial_points": None,
            "space": {},
        },
        SearchParameter: {
            "low": None,
            "high": None,
            "step": None,
            "sampling": "linear",
            "choices": None,
            "when": {},
        },
    }
}


@pytest.mark.parametrize("section", DEFAULTS[SETTINGS_FORMAT])
def test_defaults_are_those_of_the_format(section):
    expected = DEFAULTS[SETTINGS_FORMAT][section]
    found = section.from_identity({}).model_dump(mode="json")
    assert {key: found.get(key) for key in expected} == expected


# Merging and validating


@pytest.mark.parametrize(
    ("base", "changes", "expected"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}}, {"a": 1, "b": {"c": 4, "d": 3}}),
        ({"a": {"b": 1}}, {"a": None}, {}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": [{"w": 1}, {"w": 2}]}, {"a": {"1": {"w": 5}}}, {"a": [{"w": 1}, {"w": 5}]}),
        ({"a": (1, 2)}, {"a": {"0": 7}}, {"a": [7, 2]}),
        ({"a": [1]}, {"a": {"1": 7}}, {"a": {"1": 7}}),  # no such place
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    ],
)
def test_changes_over_a_base(base, changes, expected):
    before = json.dumps(base)
    assert merged(base, changes) == expected
    assert json.dumps(base) == before


def test_a_problem_has_its_whole_key():
    values = {"model": {}, "train": {"epochs": "x"}, "augment": {}}
    with pytest.raises(UserError, match=r"^members\.a\.train\.epochs: .*, found 'x' \(kaggle-"):
        validated(MemberSettings, values, "members.a.")
