import json

import pytest

from kaggle_digits.config import extension, loading
from kaggle_digits.config.schema import Config, TuningProvenance
from kaggle_digits.errors import UserError

OF_RUN = Config(
    seed=3,
    train={"epochs": 5},
    members={"cnn": {}, "wide": {"model": {"dropout": 0.1}}},
)
OTHER = Config(
    seed=8,
    train={"epochs": 9, "ema_epochs": 0.25},
    augment={"variants": 4},
    members={"deep": {"model": {"dense": [64]}}},
)


def test_lunch_break_lacks_only_the_last_net_of_standard():
    lunch_break, standard = loading.load("lunch-break"), loading.load("standard")
    extended = extension.with_members_of(lunch_break, standard, "standard")
    assert list(lunch_break.members) == ["plain", "upright", "deep"]
    assert list(extended.members) == list(standard.members)
    assert list(standard.members) == [*lunch_break.members, "deep_upright"]
    for name in standard.members:
        assert extended.member(name) == standard.member(name)
    assert (extended.seed, extended.folds) == (standard.seed, standard.folds)


def test_members_of_another_config_keep_their_settings():
    extended = extension.with_members_of(OF_RUN, OTHER, "other.yaml")
    assert list(extended.members) == ["cnn", "wide", "deep"]
    assert extended.member("deep") == OTHER.member("deep")
    assert extended.member("deep").train.epochs == 9
    assert [extended.member(name) for name in OF_RUN.members] == [
        OF_RUN.member(name) for name in OF_RUN.members
    ]
    assert (extended.seed, extended.train) == (3, OF_RUN.train)
    # A repeated command finds nothing more to add.
    assert extension.with_members_of(extended, OTHER, "other.yaml") == extended


def test_extended_config_comes_back_from_its_file(tmp_path):
    extended = extension.with_members_of(OF_RUN, OTHER, "other.yaml")
    path = tmp_path / "config.yaml"
    path.write_text(loading.dump(extended))
    assert loading.load(str(path)) == extended


def test_members_of_a_tuned_config_bring_where_their_settings_come_from(tmp_path):
    facts = {"train_data": "d", "seed": 1, "folds": 3, "holdout_folds": 1, "trials": 9}
    first, second = (TuningProvenance(**facts | {"holdout_digest": name}) for name in "ab")
    other = OTHER.model_copy(update={"tuned": (first,)})
    extended = extension.with_members_of(OF_RUN, other, "other.yaml")
    assert extended.tuned == (first,)
    (tmp_path / "config.yaml").write_text(loading.dump(extended))
    assert loading.load(str(tmp_path / "config.yaml")) == extended
    # The same search again says nothing new, another one does; seeds and changes keep them all.
    assert extension.with_members_of(extended, other, "other.yaml") == extended
    another = OTHER.model_copy(update={"tuned": (second,)})
    both = extension.with_members_of(extended, another, "other.yaml")
    assert both.tuned == (first, second)
    assert extension.with_seeds(both, 2).tuned == (first, second)


def test_member_of_another_config_with_a_name_that_is_taken():
    other = Config(members={"wide": {}})
    with pytest.raises(UserError, match=r"^other\.yaml: member wide is not the one of the run"):
        extension.with_members_of(OF_RUN, other, "other.yaml")


def test_member_gets_the_threads_of_the_run():
    other = Config(members={"deep": {}})
    extended = extension.with_members_of(Config(train={"threads": 3}), other, "deep.yaml")
    assert extended.member("deep").train.threads == 3
    # A member that both have is the same one.
    assert (
        extension.with_members_of(Config(train={"threads": 3}), Config(), "quick").train.threads
        == 3
    )


def test_member_with_other_threads_is_refused():
    other = Config(train={"threads": 4}, members={"deep": {}})
    with pytest.raises(UserError, match=r"members\.deep\.train\.threads: must be train\.threads"):
        extension.with_members_of(OF_RUN, other, "other.yaml")


def test_seeds_are_copies_under_names_of_their_own():
    extended = extension.with_seeds(OF_RUN, 3)
    assert list(extended.members) == ["cnn", "wide", "cnn_2", "cnn_3", "wide_2", "wide_3"]
    for name in ("wide_2", "wide_3"):
        assert extended.member(name) == OF_RUN.member("wide")
    # The number counts all seeds, so a repeated command adds nothing, and copies get no copies.
    assert extension.with_seeds(extended, 3) == extended
    assert list(extension.with_seeds(extended, 4).members)[-2:] == ["cnn_4", "wide_4"]
    assert extension.with_seeds(OF_RUN, 1) == OF_RUN


def test_seeds_of_named_members():
    assert list(extension.with_seeds(OF_RUN, 2, ["wide"]).members) == ["cnn", "wide", "wide_2"]
    with pytest.raises(UserError, match=r"^--member wid: expected one of cnn, wide$"):
        extension.with_seeds(OF_RUN, 2, ["wid"])


def test_seed_whose_name_is_taken_by_another_member():
    config = Config(members={"cnn": {}, "cnn_2": {"model": {"dropout": 0.2}}})
    with pytest.raises(UserError, match=r"member cnn_2 exists and is not a copy of cnn"):
        extension.with_seeds(config, 2)
    # By itself it is a member like any other.
    assert "cnn_2_2" in extension.with_seeds(config, 2, ["cnn_2"]).members


def weights_of(config):
    return config.ensemble.weights


def test_copies_have_the_weight_of_their_original():
    config = loading.from_values(OF_RUN.model_dump() | {"ensemble": {"weights": {"wide": 3}}})
    extended = extension.with_seeds(config, 3)
    assert weights_of(extended) == {"wide": 3, "wide_2": 3, "wide_3": 3}
    # A copy that is there already keeps what it has.
    weights = {"wide": 3, "wide_2": 5}
    config = loading.from_values(extended.model_dump() | {"ensemble": {"weights": weights}})
    assert weights_of(extension.with_seeds(config, 4)) == {**weights, "wide_4": 3}
    assert weights_of(extension.with_seeds(OF_RUN, 3)) == {}


def test_members_of_another_config_bring_their_weights():
    both = {"cnn": {}, **OTHER.members}
    other = loading.from_values(
        OF_RUN.model_dump()
        | {"members": both, "ensemble": {"method": "vote", "weights": {"deep": 2, "cnn": 7}}}
    )
    config = loading.from_values(OF_RUN.model_dump() | {"ensemble": {"weights": {"wide": 3}}})
    extended = extension.with_members_of(config, other, "other.yaml")
    assert weights_of(extended) == {"wide": 3, "deep": 2}
    # The run's own members count as before, and its method stays.
    assert extended.ensemble.method == "arithmetic"
    assert extension.with_members_of(extended, other, "other.yaml") == extended


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "seed: run has 3, found 4"),
        ({"folds": {"count": 5}}, "folds.count: run has 3, found 5"),
        ({"folds": {"count": 3, "repeats": 2}}, "folds.repeats: run has 1, found 2"),
        ({"folds": {"kind": "kfold"}}, "folds.kind: run has stratified, found kfold"),
        ({"members": {"cnn": {}}}, "members.wide: run has this member"),
        ({"train": {"epochs": 6}}, "members.cnn: its settings are not those in run"),
    ],
)
def test_what_finished_fits_depend_on_may_not_change(changes, message):
    config = loading.from_values(json.loads(OF_RUN.model_dump_json()) | changes)
    with pytest.raises(UserError) as caught:
        extension.check_extends(config, OF_RUN, "run")
    assert str(caught.value).startswith(message)


def test_what_no_fit_depends_on_may_change():
    config = loading.from_values(
        json.loads(OF_RUN.model_dump_json()) | {"ensemble": {"method": "geometric"}}
    )
    extension.check_extends(config, OF_RUN, "run")
    extension.check_extends(extension.with_seeds(OF_RUN, 2), OF_RUN, "run")
