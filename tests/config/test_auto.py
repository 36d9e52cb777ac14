from kaggle_digits.config import auto
from kaggle_digits.config.schema import Config


def test_threads_are_auto_until_they_have_a_number():
    config = Config(members={"a": {}, "b": {"train": {"threads": "auto", "epochs": 9}}})
    assert config.train.threads == config.member("b").train.threads == "auto"
    numbered = auto.with_threads(config, 3)
    assert [numbered.member(name).train.threads for name in "ab"] == [3, 3]
    assert numbered.member("b").train.epochs == 9
    assert auto.with_threads(numbered, 5) == numbered


# `a` goes by the common precision, the others have their own.
MEMBERS = {
    "a": {},
    "b": {"train": {"precision": "auto", "epochs": 9}},
    "c": {"train": {"precision": "float16"}},
}


def precisions(common, known=(), otherwise=None):
    config = Config(train={"precision": common}, members=MEMBERS)
    found = auto.with_precision(config, dict(known), otherwise)
    assert found.member("b").train.epochs == 9
    return found.train.precision, found.precisions


def test_precision_keys():
    config = Config(train={"precision": "auto"}, members=MEMBERS)
    assert auto.precision_keys(config) == {
        "train.precision": ("a",),
        "members.b.train.precision": ("b",),
    }
    assert auto.precision_keys(Config(members=MEMBERS)) == {"members.b.train.precision": ("b",)}
    assert auto.precision_keys(Config()) == {}
    alone = Config(train={"precision": "auto"}, members={"c": MEMBERS["c"]})
    assert auto.precision_keys(alone) == {}  # it decides for nobody


def test_what_a_config_states_stays():
    wanted = {"a": "float32", "b": "bfloat16", "c": "float16"}
    assert precisions("float32", otherwise="bfloat16") == ("float32", wanted)


def test_each_auto_becomes_what_its_members_have_begun_with():
    known = {"a": "float16", "b": "float32", "c": "bfloat16"}
    wanted = {"a": "float16", "b": "float32", "c": "float16"}
    assert precisions("auto", known, "bfloat16") == ("float16", wanted)


def test_a_member_that_nobody_knows_gets_the_other_value():
    wanted = {"a": "float16", "b": "bfloat16", "c": "float16"}
    assert precisions("auto", {"a": "float16"}, "bfloat16") == ("float16", wanted)


def test_auto_stays_where_there_is_no_value_for_it():
    assert precisions("auto")[0] == "auto"
    assert precisions("auto", {"b": "float32"})[1] == {"a": "auto", "b": "float32", "c": "float16"}
