import dataclasses
import hashlib
import json
import pickle

import numpy as np
import pytest

from kaggle_digits.augmentation import bank
from kaggle_digits.config import auto
from kaggle_digits.config.schema import Config, MemberSettings, Train
from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.training import fit_spec

LABELS = np.tile(np.arange(10, dtype=np.uint8), 4)
SPLIT = [np.arange(0, 20), np.arange(20, 40)]
SETTINGS = {
    "seed": 3,
    "folds": {"count": 2},
    "train": {"epochs": 4, "threads": 2},
    "members": {"a": {}, "b": {"train": {"epochs": 6}}},
}
INPUT_ARRAYS = ("train_images", "train_labels", "test_images")
TUNED = {"train_data": "d", "seed": 1, "folds": 3, "holdout_folds": 1, "trials": 9}


@pytest.fixture
def inputs(tiny_images):
    return fit_spec.Inputs(tiny_images, LABELS, tiny_images[:5])


@pytest.fixture
def plan(inputs):
    def plan(backend="tensorflow", split=SPLIT, inputs=inputs, **changes):
        config = auto.with_threads(Config.model_validate(SETTINGS | changes), 2)
        return fit_spec.plan(config, inputs, split, backend)

    return plan


def differing(one, other):
    """Return the dotted keys at which two specifications' identities differ."""
    flat = [
        {key: value for key, value in fit_spec.flattened(spec.identity).items() if value != {}}
        for spec in (one, other)
    ]
    missing = object()
    keys = flat[0] | flat[1]
    return {key for key in keys if flat[0].get(key, missing) != flat[1].get(key, missing)}


def digests(specs):
    return {(spec.member, spec.fold): spec.digest for spec in specs}


# Inputs


def test_inputs_have_keys_of_their_content(tiny_images, inputs):
    assert len(inputs.key) == len(inputs.images_key) == 32
    same = fit_spec.Inputs(tiny_images.copy(), LABELS.copy(), tiny_images[:5].copy())
    assert (same.key, same.images_key) == (inputs.key, inputs.images_key)
    # Arrays need not be contiguous.
    striped = np.repeat(tiny_images, 2, axis=0)[::2]
    assert fit_spec.Inputs(striped, LABELS, tiny_images[:5]).key == inputs.key
    pixel, labels, test = tiny_images.copy(), LABELS.copy(), tiny_images[:5].copy()
    pixel[-1, 27, 27] ^= 1
    labels[7] = 8
    test[0, 0, 0] ^= 1
    others = [
        fit_spec.Inputs(pixel, LABELS, tiny_images[:5]),
        fit_spec.Inputs(tiny_images, labels, tiny_images[:5]),
        fit_spec.Inputs(tiny_images, LABELS, test),
    ]
    assert len({other.key for other in others} | {inputs.key}) == 4
    # The bank depends on the training images alone.
    assert [other.images_key == inputs.images_key for other in others] == [False, True, True]


def test_inputs_without_test_rows(tiny_images):
    # A search predicts for none.
    none = fit_spec.Inputs(tiny_images, LABELS, tiny_images[:0])
    one = fit_spec.Inputs(tiny_images, LABELS, tiny_images[:1])
    assert none.key != one.key
    assert none.images_key == one.images_key


def test_inputs_and_specifications_can_be_pickled(plan, inputs):
    back = pickle.loads(pickle.dumps(inputs))
    assert (back.key, back.images_key) == (inputs.key, inputs.images_key)
    for name in INPUT_ARRAYS:
        np.testing.assert_array_equal(getattr(back, name), getattr(inputs, name))
    for fresh, used in zip(plan(), plan(), strict=True):
        assert len(used.digest) == 32
        for spec in (fresh, used, used.next_attempt()):
            back = pickle.loads(pickle.dumps(spec))
            assert back == spec
            assert (back.identity, back.digest) == (spec.identity, spec.digest)
            assert back.heldout.tolist() == list(spec.heldout_rows)


# Planning


def test_plan_lists_all_folds_of_one_member_after_the_other(plan):
    specs = plan()
    assert [(s.member, s.fold) for s in specs] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert [s.name for s in specs] == ["a fold 1", "a fold 2", "b fold 1", "b fold 2"]
    assert {s.attempt for s in specs} == {1}
    assert {s.seed for s in specs} == {3}
    assert [s.heldout_rows for s in specs] == [tuple(range(20)), tuple(range(20, 40))] * 2
    assert [s.settings.train.epochs for s in specs] == [4, 4, 6, 6]


def test_without_a_number_there_is_a_variant_an_epoch(plan):
    assert [s.settings.augment.variants for s in plan()] == [4, 4, 6, 6]
    fixed = plan(augment={"variants": 3})
    assert [s.settings.augment.variants for s in fixed] == [3, 3, 3, 3]


def test_members_with_the_same_augmentation_share_a_bank(plan, inputs):
    (shared,) = {spec.bank for spec in plan()}
    assert shared == bank.Bank(inputs.images_key, Config().augment, 3)
    members = {"a": {}, "b": {"augment": {"rotate": [-1, 1]}}}
    assert len({spec.bank for spec in plan(members=members)}) == 2
    assert len({spec.bank.key for spec in plan(members=members)}) == 2
    # What a member does with variants is no part of a bank.
    members = {
        "a": {"augment": {"variants": 2}},
        "b": {"augment": {"shift": 1, "stroke": 0.5, "cutout": 4, "variant_order": "own"}},
        "c": {"augment": {"clean_epochs": 1, "test_shift": 2}},
    }
    assert {spec.bank for spec in plan(members=members)} == {shared}


def test_members_with_banks_of_their_own_share_none(plan, inputs):
    specs = plan(augment={"bank": "own"})
    first, second = (spec.bank for spec in specs[::2])
    assert [spec.bank for spec in specs] == [first, first, second, second]
    # Other random numbers, and nothing else.
    assert dataclasses.replace(first, seed=3) == dataclasses.replace(second, seed=3)
    assert dataclasses.replace(first, seed=3) == bank.Bank(inputs.images_key, Config().augment, 3)
    assert len({3, first.seed, second.seed}) == 3
    # They follow from the run's seed and the member's name alone.
    alone = plan(augment={"bank": "own"}, members={"b": {}})
    assert alone[0].bank == second
    assert plan(augment={"bank": "own"}, seed=4)[0].bank.seed != first.seed
    # A member may have its own beside others that share one.
    members = {"a": {}, "b": {}, "c": {"augment": {"bank": "own"}}}
    assert len({spec.bank for spec in plan(members=members)}) == 2


def test_variants_that_fits_read_by_bank(plan):
    members = {"a": {"augment": {"variants": 2}}, "b": {}, "c": {"augment": {"rotate": [-1, 1]}}}
    specs = plan(members=members)
    variants = fit_spec.variants_by_bank(specs)
    first, last = specs[0], specs[-1]
    assert list(variants) == [first.bank, last.bank]
    assert sorted(variants[first.bank]) == sorted(variants[last.bank]) == [0, 1, 2, 3]
    # Those of the first fit come first, in the order of its epochs.
    assert variants[first.bank][:2] == [
        first.variants_of_epoch(0)[0],
        first.variants_of_epoch(1)[0],
    ]
    assert variants[last.bank] == [specs[4].variants_of_epoch(epoch)[0] for epoch in range(4)]
    assert fit_spec.variants_by_bank([]) == {}


def test_number_of_variants_that_a_run_draws():
    members = {"a": {"augment": {"variants": 2}}, "b": {}, "c": {"augment": {"rotate": [-1, 1]}}}
    config = Config.model_validate(SETTINGS | {"members": members})
    assert fit_spec.bank_variants(config) == 4 + 4
    assert fit_spec.bank_variants(Config.model_validate(SETTINGS)) == 6
    own = Config.model_validate(SETTINGS | {"augment": {"bank": "own"}})
    assert fit_spec.bank_variants(own) == 4 + 6


# Identity and seeds


def test_other_members_change_no_fit(plan):
    before = digests(plan())
    reordered = plan(members=dict(reversed(SETTINGS["members"].items())))
    assert digests(reordered) == before
    more = digests(plan(members={"z": {"train": {"epochs": 9}}} | SETTINGS["members"]))
    assert before.items() < more.items()
    assert len(set(more.values())) == 6
    fewer = digests(plan(members={"b": SETTINGS["members"]["b"]}))
    assert fewer.items() < before.items()


def test_identity_holds_nothing_that_the_fit_does_not_depend_on(plan):
    before = digests(plan())
    assert digests(plan(ensemble={"method": "vote"})) == before
    assert digests(plan(data={"path": "elsewhere"})) == before
    assert digests(plan(tune={"max_trials": 5}, callbacks=["mine:make"], tuned=TUNED)) == before
    # What is given in so many words is no change.
    assert digests(plan(train={"epochs": 4, "threads": 2, "learning_rate": 0.01})) == before
    adamw = {"epochs": 4, "optimizer": "adamw"}  # which has no momentum
    assert digests(plan(train=adamw | {"momentum": 0.5})) == digests(plan(train=adamw))
    explicit = plan(members={"a": {"augment": {"variants": 4}}})
    assert digests(explicit).items() < before.items()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 4}, "seed"),
        ({"train": {"epochs": 4, "threads": 1}}, "settings.train.threads"),
        ({"train": {"epochs": 4, "batch_size": 64}}, "settings.train.batch_size"),
        ({"model": {"dropout": 0.5}}, "settings.model.dropout"),
        ({"model": {"stages": [{"width": 8}]}}, "settings.model.stages"),
        ({"augment": {"elastic": {"p": 0.25}}}, "settings.augment.elastic.p"),
        ({"augment": {"variants": 2}}, "settings.augment.variants"),
        ({"split": SPLIT[::-1]}, "heldout_rows"),
        ({"backend": "jax"}, "backend"),
    ],
)
def test_identity_holds_what_the_fit_depends_on(plan, changes, key):
    before, after = plan()[0], plan(**changes)[0]
    assert after.digest != before.digest
    assert differing(before, after) - {"bank_key"} == {key}


@pytest.mark.parametrize("array", INPUT_ARRAYS)
def test_identity_holds_every_pixel_and_label(plan, inputs, array):
    arrays = {name: getattr(inputs, name).copy() for name in INPUT_ARRAYS}
    arrays[array].flat[0] ^= 1
    after = plan(inputs=fit_spec.Inputs(**arrays))[0]
    expected = {"inputs_key", "bank_key"} if array == "train_images" else {"inputs_key"}
    assert differing(plan()[0], after) == expected


def test_identity_holds_the_libraries_that_draw_the_bank(plan, monkeypatch):
    before = plan()[0]
    assert len(before.digest) == 32
    monkeypatch.setattr("cv2.__version__", "0.0.1")
    assert plan()[0].digest != before.digest
    assert differing(before, plan()[0]) == {"bank_key"}


def test_a_capped_warmup_is_the_one_in_effect(plan):
    members = {"a": {"train": {"epochs": 1}}, "b": {"train": {"epochs": 1, "warmup_epochs": 0.2}}}
    capped, given = plan(members=members)[::2]
    assert capped.settings.train.warmup_epochs == 0.2
    found = capped.identity["settings"]["train"]
    rest = {"optimizer": "muon", "learning_rate": 0.01}  # defaults of today
    assert found == {"epochs": 1, "warmup_epochs": 0.2} | rest
    assert given.identity["settings"] == capped.identity["settings"]


def test_threads_are_a_number(inputs):
    with pytest.raises(ValueError, match="without auto"):
        fit_spec.plan(Config(members={"a": {}}), inputs, SPLIT, "tensorflow")


def test_identity_by_hand(plan, inputs):
    # A change of this would make every finished fit a stranger to its own settings. Those of before
    # 2026-11-30 have adamw, unchanged strokes and one look.
    member = {
        "model": {"stages": [{"width": 8, "depth": 1}]},
        "train": {"threads": 2, "optimizer": "adamw"},
        "augment": {"stroke": 0.0, "test_shift": 0},
    }
    spec = plan(members={"a": member})[1]
    assert json.loads(json.dumps(spec.identity)) == {
        "format": "1.1",
        "member": "a",
        "fold": 1,
        "attempt": 1,
        "seed": 3,
        "settings": {
            "model": {"stages": [{"width": 8}]},
            "train": {"epochs": 4, "learning_rate": 0.01},
            "augment": {"variants": 4},
        },
        "inputs_key": inputs.key,
        "heldout_rows": files.digest(np.arange(20, 40)),
        "bank_key": spec.bank.key,
        "backend": "tensorflow",
    }
    assert spec.digest == files.digest_json(spec.identity)


def test_identity_holds_nothing_of_a_users_callbacks(plan):
    before = digests(plan())
    for callbacks in (["keras.callbacks:TerminateOnNaN"], ["mine:make", "mine:make_other"]):
        specs = plan(callbacks=callbacks)
        assert digests(specs) == before
        text = json.dumps([spec.identity for spec in specs])
        assert not any(callback in text for callback in callbacks)


# A later version has a setting more


class LaterTrain(Train):
    clip_norm: float = 0.0


class LaterSettings(MemberSettings):
    train: LaterTrain


@pytest.fixture
def later(plan, monkeypatch):
    """Make the first fit as a later version would plan it."""

    def later(**changes):
        monkeypatch.setattr(fit_spec, "MemberSettings", LaterSettings)
        spec = plan()[0]
        train = LaterTrain.model_validate(spec.settings.train.model_dump() | changes)
        sections = {"model": spec.settings.model, "augment": spec.settings.augment}
        return dataclasses.replace(spec, settings=LaterSettings(train=train, **sections))

    return later


def test_a_new_setting_at_its_default_leaves_the_identity_as_it_was(plan, later, monkeypatch):
    before, after = plan()[0], later()
    assert after.identity == before.identity
    assert after.digest == before.digest
    fit_spec.check_identity(after, identity_of(before), "there")
    monkeypatch.setattr(fit_spec, "MemberSettings", MemberSettings)
    fit_spec.check_identity(before, identity_of(after), "there")


def test_a_new_setting_that_is_not_at_its_default_is_another_identity(plan, later):
    before, after, default = plan()[0], later(clip_norm=1.0), later()
    assert after.digest != before.digest
    assert differing(before, after) == {"settings.train.clip_norm"}
    # It is missing in what an earlier version wrote, and where it is at its default.
    for other in (before, default):
        with pytest.raises(UserError, match=r"another train\.clip_norm: 0\.0 there, 1\.0 here;"):
            fit_spec.check_identity(after, identity_of(other), "there")
    with pytest.raises(UserError, match=r"another train\.clip_norm: 1\.0 there, 0\.0 here;"):
        fit_spec.check_identity(default, identity_of(after), "there")


def test_a_setting_of_a_later_version_is_named(plan, later, monkeypatch):
    before, after = plan()[0], later(clip_norm=1.0)
    monkeypatch.setattr(fit_spec, "MemberSettings", MemberSettings)
    with pytest.raises(UserError, match=r"another train\.clip_norm: 1\.0 there, None here; give"):
        fit_spec.check_identity(before, identity_of(after), "there")


def test_a_fit_of_another_format_is_refused(plan):
    found = identity_of(plan()[0])
    for there, shown in (("2.1", "2.1"), (None, "None")):
        found["format"] = there
        with pytest.raises(UserError, match=f"another format: {shown} there, 1\\.1 here"):
            fit_spec.check_identity(plan()[0], found, "there")


def test_seeds_follow_from_run_seed_member_fold_and_attempt_alone(plan):
    spec = plan()[0]
    seed = spec.seed_for("fit")
    assert 0 <= seed < 2**31
    unrelated = [
        plan(members={"b": {}, "a": {"train": {"epochs": 7}}}, backend="jax")[2],
        plan(model={"dropout": 0.5}, split=SPLIT[::-1])[0],
    ]
    assert [(s.member, s.fold) for s in unrelated] == [("a", 0), ("a", 0)]
    assert {s.seed_for("fit") for s in unrelated} == {seed}
    related = [
        dataclasses.replace(spec, seed=4),
        dataclasses.replace(spec, member="b"),
        dataclasses.replace(spec, fold=1),
        dataclasses.replace(spec, attempt=2),
    ]
    seeds = {s.seed_for("fit") for s in related} | {seed, spec.seed_for("variants")}
    assert len(seeds) == 6
    assert dataclasses.replace(spec, attempt=2).digest != spec.digest


def test_seed_by_hand(plan):
    # A change of this formula would make every finished fit a stranger to its own settings.
    digest = hashlib.blake2b(b"3/a/0/1/fit", digest_size=4).hexdigest()
    assert plan()[0].seed_for("fit") == int(digest, 16) // 2


def test_epochs_go_through_all_variants_before_they_repeat_one(plan):
    specs = plan(augment={"variants": 5}, train={"epochs": 12})
    orders = {}
    for spec in specs:
        order = [spec.variants_of_epoch(epoch)[0] for epoch in range(12)]
        assert all(type(variant) is int for variant in order)
        assert sorted(order[:5]) == sorted(order[5:10]) == [0, 1, 2, 3, 4]
        assert len(set(order[10:])) == 2
        orders[spec.name] = tuple(order)
    assert len(set(orders.values())) == 4  # members and folds have orders of their own


def test_each_row_goes_through_all_variants_before_it_repeats_one(plan):
    specs = plan(augment={"variants": 5, "variant_order": "own"}, train={"epochs": 12})
    orders = {}
    for spec in specs:
        order = np.array([spec.variant_of_rows(epoch, 30) for epoch in range(12)])
        assert order.shape == (12, 30)
        assert (np.sort(order[:5], axis=0) == np.arange(5)[:, None]).all()
        assert (order[5:10] == order[:5]).all()
        assert len({*map(tuple, order.T)}) > 15  # of 120 orders, drawn by 30 rows
        assert spec.variants_of_epoch(3) == [0, 1, 2, 3, 4]
        orders[spec.name] = order.tobytes()
    assert len(set(orders.values())) == 4
    assert fit_spec.variants_by_bank(specs) == {specs[0].bank: [0, 1, 2, 3, 4]}


def test_of_a_single_variant_there_is_no_order(plan):
    own, shared = (
        plan(augment={"variants": 1, "variant_order": order})[0] for order in ("own", "shared")
    )
    assert own.digest == shared.digest


def test_more_clean_epochs_than_epochs_are_all_of_them(plan):
    train = {"epochs": 3}
    one, same, other = (
        plan(train=train, augment={"clean_epochs": number})[0] for number in (3, 9, 2)
    )
    assert one.digest == same.digest != other.digest


def test_flattened():
    nested = {"a": 1, "b": {"c": [{"d": 2}], "e": {"f": None}}, "g.h": ()}
    assert fit_spec.flattened(nested) == {"a": 1, "b.c": [{"d": 2}], "b.e.f": None, "g.h": ()}


def test_flattened_tells_what_is_empty_from_what_is_not_there():
    # Else a search with another member that changes nothing would pass for the same.
    one, other = ({"members": {name: {"train": {}}}} for name in ("cnn", "wide"))
    assert fit_spec.flattened(one) == {"members.cnn.train": {}}
    assert fit_spec.flattened(one) != fit_spec.flattened(other)


# Another attempt


def test_next_attempt(plan):
    spec = plan(train={"epochs": 4, "learning_rate": 0.006})[1]
    again = spec.next_attempt()
    assert (again.attempt, again.settings.train.learning_rate) == (2, 0.003)
    assert differing(spec, again) == {"attempt", "settings.train.learning_rate"}
    assert again.digest != spec.digest
    for purpose in ("fit", "variants"):
        assert again.seed_for(purpose) != spec.seed_for(purpose)
    assert (
        again.seed_for("fit")
        == int(hashlib.blake2b(b"3/a/1/2/fit", digest_size=4).hexdigest(), 16) // 2
    )
    assert (again.name, again.bank) == (spec.name, spec.bank)  # it reads the same bank
    # The specification that it was made of stays as it was.
    assert (spec.attempt, spec.settings.train.learning_rate) == (1, 0.006)
    third = again.next_attempt()
    assert (third.attempt, third.settings.train.learning_rate) == (3, 0.0015)


# A finished fit that is there already


def identity_of(spec, **changes):
    """Return the identity as `fit.json` has it, with changes by dotted key."""
    found = json.loads(json.dumps(spec.identity))
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = found
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    return found


def test_own_fit_is_accepted(plan):
    for spec in plan():
        fit_spec.check_identity(spec, identity_of(spec), "fits/a-fold1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings.train.epochs": 9}, "another train.epochs: 9 there, 4 here"),
        ({"settings.augment.elastic.p": 0.1}, "another augment.elastic.p: 0.1 there, 0.5 here"),
        ({"settings.train.threads": None}, "another train.threads: None there, 2 here"),
        ({"settings.train.optimizer": "lion"}, "another train.optimizer: lion there, muon here"),
        ({"settings.train.novel": 5}, "another train.novel: 5 there, None here"),
        ({"settings.augment.novel": 5, "bank_key": "x"}, "another augment.novel: 5 there, None"),
        ({"settings.model.stages": [{"width": 8}]}, "another model.stages: [{'width': 8, "),
        ({"seed": 8}, "another seed: 8 there, 3 here"),
        ({"backend": "jax"}, "another backend: jax there, tensorflow here"),
        ({"inputs_key": "x"}, "data (pixels and labels of train.csv, pixels of test.csv); give"),
        (
            {"heldout_rows": "x"},
            "another folds.count or kind (the rows that a fold holds out); give",
        ),
        (
            {"bank_key": "x"},
            "another version of albumentations or OpenCV (--allow-changed-versions continues); "
            "give the settings",
        ),
        # A change of the settings changes the bank as well: the cause is named.
        ({"settings.augment.shear": [0, 0], "bank_key": "x"}, "another augment.shear: [0.0, 0.0]"),
    ],
)
def test_foreign_fit_is_refused_with_the_key_that_differs(plan, changes, message):
    spec = plan()[0]
    with pytest.raises(UserError) as caught:
        fit_spec.check_identity(spec, identity_of(spec, **changes), "out/fits/a-fold1")
    assert str(caught.value).startswith("out/fits/a-fold1: this fit was made with")
    assert message in str(caught.value)
    assert "give the settings and data of that run, or another folder" in str(caught.value)


def test_other_versions_are_accepted_where_they_are_allowed(plan):
    spec = plan()[0]
    fit_spec.check_identity(spec, identity_of(spec, bank_key="x"), "there", allow_changed=True)
    with pytest.raises(UserError, match="another seed: 8 there, 3 here"):
        fit_spec.check_identity(spec, identity_of(spec, bank_key="x", seed=8), "there", True)
