import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from kaggle_digits.config import loading
from kaggle_digits.config.schema import (
    Config,
    Elastic,
    Member,
    SearchParameter,
    Section,
    Stage,
    Tune,
    TuningProvenance,
)
from kaggle_digits.errors import UserError

SHIPPED = [*loading.shipped_names(), *loading.peer_names()]
KNOWN = "best, detuned, lunch-break, quick, standard, peers/... (kaggle-digits config list)"
TRAIN_KEYS = (
    "epochs, batch_size, optimizer, learning_rate, momentum, weight_decay, schedule, "
    "warmup_epochs, decay_factor, plateau, early_stopping, label_smoothing, mixup, "
    "row_fraction, ema_epochs, ema_momentum, ema_warmup, norm_statistics, threads, precision"
)


def load(tmp_path, text, *overrides):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return loading.load(str(path), overrides)


def refusal(tmp_path, text, *overrides):
    with pytest.raises(UserError) as caught:
        load(tmp_path, text, *overrides)
    message = str(caught.value)
    # What stands in the file is said with its name, what was given with --set is not.
    assert message.startswith(f"{tmp_path / 'mine.yaml'}: ") == bool(text and not overrides)
    return message.removeprefix(f"{tmp_path / 'mine.yaml'}: ")


def test_the_three_shipped_configs_are_there():
    assert {"quick", "standard", "best"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_config_loads_and_its_members_resolve(name):
    config = loading.load(name)
    for member in config.members:
        settings = config.member(member)
        assert settings.train.threads == config.train.threads
        assert settings.model.stages


def test_quick_states_every_setting():
    text = (loading.shipped_folder() / "quick.yaml").read_text()

    def check(section, values, where):
        # Only a search says where settings are from.
        assert set(values) == set(section.model_fields) - {"tuned"}, where
        for key, field in section.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                check(field.annotation, values[key], f"{where}.{key}")

    check(Config, yaml.safe_load(text), "quick")
    for key in Stage.model_fields:
        assert f"{key}: " in text


@pytest.mark.parametrize("name", sorted({*SHIPPED} - {"quick"}))
def test_other_shipped_configs_state_only_what_differs_from_quick(name):
    text = (loading.shipped_folder() / f"{name}.yaml").read_text()
    stated = leaves(yaml.safe_load(text))
    usual = leaves(loading.load("quick").model_dump(mode="json"))
    # A peer's own figures are stated also where they happen to be those of quick.
    allowed = {"tune.oracle"} | ({"train.epochs"} if name in loading.peer_names() else set())
    assert not {key for key in stated if key in usual and stated[key] == usual[key]} - allowed
    assert f"All other settings are those of quick; `kaggle-digits config show {name}`" in text


def leaves(values, prefix=""):
    """The settings by their dotted keys; a net and a search space are one."""
    found = {}
    for key, value in values.items():
        is_one = key in ("members", "space") or not isinstance(value, dict)
        found |= {f"{prefix}{key}": value} if is_one else leaves(value, f"{prefix}{key}.")
    return found


DEEP = {
    "stages": [
        {"width": 32, "kernel": 5, "stride": 2, "padding": "valid"},
        {"width": 64, "depth": 2, "padding": "valid"},
        {"width": 96, "depth": 2, "padding": "valid"},
        {"width": 128, "padding": "valid"},
    ]
}
LUNCH_BREAK = {
    "folds.count": 5,
    "augment.bank": "own",
    "augment.clean_epochs": 2,
    "train.epochs": 9,
    "train.precision": "auto",
    "members": {"plain": {}, "upright": {"model": {"deslant": True}}, "deep": {"model": DEEP}},
}
# What is measured in the README, without `train.threads`.
CHANGED = {
    "lunch-break": LUNCH_BREAK,
    "standard": LUNCH_BREAK
    | {"members": LUNCH_BREAK["members"] | {"deep_upright": {"model": {"deslant": True} | DEEP}}},
    "best": {
        "folds.count": 10,
        "augment.stroke": 0.0,
        "train.epochs": 30,
        "train.optimizer": "adamw",
        "train.batch_size": 256,
        "train.learning_rate": 0.008,
        "model.stages": [
            {"width": 48, "pool": "first", "padding": "valid"},
            {"width": 96, "depth": 3, "padding": "valid"},
            {"width": 192, "depth": 2, "padding": "valid"},
        ],
        "members": {
            "shrinking": {},
            "padded": {
                "model": {
                    "stages": [
                        {"width": 64, "pool": "first"},
                        {"width": 128, "depth": 3, "pool": "last"},
                        {"width": 256, "depth": 3, "pool": "last"},
                    ]
                }
            },
            "broad": {
                "model": {
                    "stages": [
                        {"width": 48, "kernel": 5, "pool": "first"},
                        {"width": 96, "kernel": 5, "depth": 2, "pool": "last"},
                        {"width": 192, "depth": 3, "pool": "last"},
                    ]
                }
            },
        },
    },
}


@pytest.mark.parametrize("name", CHANGED)
def test_shipped_config_is_the_one_that_was_measured(name):
    changes = {"members.cnn": None} | CHANGED[name]
    assert loading.load(name) == loading.changed(Config(), changes)
    assert loading.load(name).train.threads == "auto"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_config_says_in_its_first_line_what_it_is(name):
    first, *_ = (loading.shipped_folder() / f"{name}.yaml").read_text().splitlines()
    assert first == f"# {name}: {loading.shipped_summary(name)}"
    assert first.endswith(".")
    assert len(first) <= 90


def test_compact_yaml_has_a_list_in_a_line():
    lines = loading.dump(loading.load("quick"), compact=True).splitlines()
    assert "  rotate: [-12.0, 12.0]" in lines
    # A stage has more settings than a line takes.
    stage = "width: 32, depth: 1, kernel: 5, pool: none, padding: valid, stride: 2, dropout: 0.0"
    place = lines.index(f"  - {{{stage},")
    assert lines[place + 1] == "    residual: false, squeeze: 0}"
    assert "    train.learning_rate:" in lines
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("value", "text"),
    [(5, "5"), (None, "null"), ("a: b", "'a: b'"), ({"a": [1, {"b": 2.0}]}, "{a: [1, {b: 2.0}]}")],
)
def test_value_in_a_line(value, text):
    assert loading.in_line(value) == text
    assert yaml.safe_load(text) == value
    assert "\n" not in loading.in_line(["x" * 300, "y y" * 100])


def test_differences_of_configs():
    quick = loading.load("quick")
    assert loading.differences(quick, quick) == {}
    changes = ["train.epochs=12", "augment.rotate=[-5,5]", "members.wide.model.stages=[{width: 9}]"]
    other = loading.load("quick", [*changes, "members.cnn=null", "tune.max_trials=3"])
    assert loading.differences(other, quick) == {
        "augment.rotate": ([-5.0, 5.0], [-12.0, 12.0]),
        "train.epochs": (12, 10),
        "members.wide": ({"model": {"stages": [{"width": 9}]}}, None),
        "members.cnn": (None, {}),
        "tune.max_trials": (3, None),
    }
    # A config without a search differs in nothing that only a search looks at.
    assert loading.differences(Config(), quick) == {}
    found = loading.differences(loading.load("detuned"), quick)
    assert found["tune.space.augment.elastic.p"] == (
        {"choices": [0.0, 0.5]},
        {"choices": [0.25, 0.5, 0.75]},
    )
    assert found["tune.space.train.label_smoothing"][0] is None


def test_the_defaults_are_those_of_quick():
    assert loading.without_tuning(loading.load("quick")) == Config()


def test_detuned_is_quick_but_for_what_it_says():
    spoilt = {
        "folds.count": 6,
        "augment.elastic.p": 0.0,
        "train.learning_rate": 1e-3,
        **{f"model.stages.{place}.width": width for place, width in enumerate((16, 32, 48, 80))},
    }
    expected = loading.changed(loading.load("quick"), spoilt)
    found = loading.load("detuned")
    assert loading.without_tuning(found) == loading.without_tuning(expected)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("name", SHIPPED)
def test_saved_config_reads_back_equal(tmp_path, name, compact):
    config = loading.load(name)
    saved = tmp_path / "config.yaml"
    saved.write_text(loading.dump(config, compact))
    assert loading.load(str(saved)) == config
    assert loading.dump(loading.load(str(saved))) == loading.dump(config)


def test_saved_config_holds_overrides_and_defaults(tmp_path):
    config = load(
        tmp_path,
        "train: {epochs: 4}",
        "train.learning_rate=1e-5",
        "augment.rotate=[-3, 4]",
        "members.wide.model.stages=[{width: 7}]",
        "members.wide.augment.elastic.p=0.125",
    )
    saved = yaml.safe_load(loading.dump(config))
    assert saved["train"]["epochs"] == 4
    assert saved["train"]["learning_rate"] == 1e-5
    assert saved["augment"]["rotate"] == [-3.0, 4.0]
    assert saved["seed"] == 2026
    assert saved["members"]["wide"]["model"] == {"stages": [{"width": 7}]}
    assert load(tmp_path, loading.dump(config)) == config


def test_config_that_a_run_stored_before_a_default_changed_means_what_it_meant(tmp_path):
    values = yaml.safe_load(loading.dump(Config()))
    # As files of then: they left out what was at its default.
    del values["augment"]["stroke"], values["augment"]["test_shift"]
    config = load(tmp_path, yaml.safe_dump(values), "augment.rotate=[-3,3]")
    assert (config.augment.stroke, config.augment.test_shift) == (0.0, 0)
    assert config.member("cnn").augment == config.augment
    # What is given counts, and what it left out at a default that has stayed is at that.
    assert load(tmp_path, yaml.safe_dump(values), "augment.stroke=0.3").augment.stroke == 0.3
    assert config.augment.shift == 0
    # Where a person states but a few settings, the others are those of today's quick.
    config = load(tmp_path, "augment: {rotate: [-3, 3], variants: 4}")
    assert (config.augment.stroke, config.augment.test_shift) == (0.6, 1)
    assert load(tmp_path, "members: {a: {augment: {variants: 4}}}").augment == Config().augment


def test_an_empty_file_means_the_defaults(tmp_path):
    assert load(tmp_path, "") == Config()
    assert load(tmp_path, "# nothing but a comment\n") == Config()


def test_override_of_each_kind(tmp_path):
    config = load(
        tmp_path,
        "seed: 1\ntrain: {epochs: 4, batch_size: 32}\naugment: {elastic: {p: 0.1, alpha: 9}}",
        "seed=5",
        "train.epochs=6",
        "train.learning_rate=1e-3",
        "train.optimizer=sgd",
        "augment.elastic.p=1e-1",
        "augment.variants=3",
        "augment.rotate=[-5, 5.5]",
        "model.stages=[{width: 8, pool: first}, {width: 9}]",
        "model.dense=[64, 32]",
        "data.path=some/folder",
        "members.long.train={epochs: 9}",
        "ensemble.method=vote",
    )
    assert config.seed == 5
    assert config.train.epochs == 6
    assert config.train.batch_size == 32
    assert config.train.learning_rate == 0.001
    assert config.train.optimizer == "sgd"
    assert config.augment.elastic == Elastic(p=0.1, alpha=9)
    assert config.augment.variants == 3
    assert config.augment.rotate == (-5.0, 5.5)
    assert config.model.stages == (Stage(width=8, pool="first"), Stage(width=9))
    assert config.model.dense == (64, 32)
    assert config.data.path == "some/folder"
    assert config.members == {"long": Member(train={"epochs": 9})}
    assert config.ensemble.method == "vote"


def test_overrides_as_values(tmp_path):
    (tmp_path / "mine.yaml").write_text("train: {epochs: 4}")
    overrides = {"train.batch_size": 16, "augment": {"rotate": [-5, 5]}, "train": {"threads": 1}}
    config = loading.load(str(tmp_path / "mine.yaml"), overrides)
    assert (config.train.epochs, config.train.batch_size, config.train.threads) == (4, 16, 1)
    assert config.augment.rotate == (-5.0, 5.0)


def test_the_last_override_wins_and_null_brings_a_default_back(tmp_path):
    config = load(tmp_path, "augment: {variants: 4}", "seed=1", "seed=2", "augment.variants=null")
    assert (config.seed, config.augment.variants) == (2, None)


def test_override_adds_to_the_members_of_the_file(tmp_path):
    text = "members: {a: {train: {epochs: 3}}, b: {}}"
    config = load(tmp_path, text, "members.a.train.batch_size=16", "members.c.train.epochs=4")
    assert list(config.members) == ["a", "b", "c"]
    assert config.members["a"].train == {"epochs": 3, "batch_size": 16}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs", "--set train.epochs: expected KEY=VALUE"),
        ("=5", "--set =5: expected KEY=VALUE"),
        (
            "augment.rotate=[-15,",
            "--set augment.rotate=[-15,: not YAML: a bracket or a quotation mark is not closed "
            "(column 6); in a shell write --set 'KEY=VALUE'",
        ),
        ("train=5", "train: "),
        ("seed.deeper=1", "seed: expected a whole number, found {'deeper': 1} (kag"),
    ],
)
def test_override_that_cannot_be_read(tmp_path, override, message):
    assert refusal(tmp_path, "", override).startswith(message)


@pytest.mark.parametrize(
    ("text", "key", "known"),
    [
        (
            "tran: {}",
            "tran",
            "seed, data, folds, augment, model, train, members, ensemble, callbacks, tune, tuned",
        ),
        ("train: {epoch: 5}", "train.epoch", TRAIN_KEYS),
        ("augment: {elastic: {q: 1}}", "augment.elastic.q", "p, alpha, sigma"),
        ("folds: {number: 3}", "folds.number", "count, kind, repeats, holdout"),
        ("members: {a: {train: {epoch: 5}}}", "members.a.train.epoch", TRAIN_KEYS),
        ("members: {a: {augment: {grid: {q: 1}}}}", "members.a.augment.grid.q", "p, steps, limit"),
        ("members: {a: {folds: {count: 3}}}", "members.a.folds", "model, train, augment"),
        (
            "model: {stages: [{width: 8}, {width: 8, widht: 9}]}",
            "model.stages.1.widht",
            "width, depth, kernel, pool, padding, stride, dropout, residual, squeeze",
        ),
    ],
)
def test_unknown_key_is_refused_and_the_known_ones_are_named(tmp_path, text, key, known):
    message = refusal(tmp_path, text)
    assert message.startswith(f"{key}: unknown key")
    assert re.search(rf"expected one of {known}( \(|; did you mean \S+\?)", message)


def test_unknown_key_of_an_override_is_refused_alike(tmp_path):
    message = refusal(tmp_path, "", "train.epoch=5")
    assert message.startswith(f"train.epoch: unknown key, expected one of {TRAIN_KEYS}")


@pytest.mark.parametrize(
    ("override", "key", "found"),
    [
        ("train=5", "train", "5"),
        ("members.a=5", "members.a", "5"),
        ("augment.rotate=5", "augment.rotate", "5"),
        ("train.epochs=abc", "train.epochs", "'abc'"),
        ("train.epochs=5.5", "train.epochs", "5.5"),
        ("train.epochs=0", "train.epochs", "0"),
        ("train.optimizer=adamax", "train.optimizer", "'adamax'"),
        ("train.learning_rate=nan", "train.learning_rate", "nan"),
        ("train.label_smoothing=1", "train.label_smoothing", "1"),
        ("folds.count=1", "folds.count", "1"),
        ("seed=-1", "seed", "-1"),
        ("seed=2147483648", "seed", "2147483648"),
        ("augment.elastic.p=1.5", "augment.elastic.p", "1.5"),
        ("augment.variants=0", "augment.variants", "0"),
        ("model.stages=[]", "model.stages", "[]"),
        ("model.stages=[{width: 8, pool: sideways}]", "model.stages.0.pool", "'sideways'"),
        ("members=[a, b]", "members", "['a', 'b']"),
        ("members.a=null", "members.a", "null"),
        ("train.epochs={a: 1}", "train.epochs", "{'a': 1}"),
        ("members.a.train.epochs=abc", "members.a.train.epochs", "'abc'"),
    ],
)
def test_value_that_does_not_fit_is_refused_with_its_key(tmp_path, override, key, found):
    message = refusal(tmp_path, "", override)
    assert message.startswith(f"{key}: ")
    assert f"found {found} (" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("train=5", "train: expected keys with values, for example {epochs: 10}, found 5 ("),
        (
            "members.a=5",
            "members.a: expected the member's sections, for example {model: {dropout: 0.5}}, found",
        ),
        (
            "members.a.train=[]",
            "members.a.train: expected keys with values, as the section itself has, found [] (",
        ),
        (
            "augment.rotate=5",
            "augment.rotate: expected two numbers, for example [-15, 15], found 5 (kaggle-digits "
            "config show quick lists all settings)",
        ),
    ],
)
def test_problem_is_told_without_python_terms(tmp_path, override, problem):
    assert refusal(tmp_path, "", override).startswith(problem)


def test_there_must_be_a_member(tmp_path):
    assert refusal(tmp_path, "members: {}").startswith("members: ")


@pytest.mark.parametrize(
    "override",
    [
        "augment.rotate=[.nan, 1]",
        "augment.shear=[-.inf, .inf]",
        "train.learning_rate=.inf",
        "train.weight_decay=.inf",
        "train.ema_epochs=.inf",
    ],
)
def test_numbers_that_are_none_are_refused(tmp_path, override):
    assert refusal(tmp_path, "", override).startswith(override.partition("=")[0])


@pytest.mark.parametrize(
    "override",
    [
        "augment.elastic.sigma=0.5",
        "model.dense=[0]",
        "model.stages=[{width: 8, kernel: 20, padding: valid, depth: 2}]",  # 28 -> 9 -> none
        "model.stages=[{width: 8, depth: 1, pool: last, stride: 2}, {width: 8, pool: first}, "
        "{width: 8, pool: first}, {width: 8, pool: first}]",  # 28 -> 14 -> 7 -> 3 -> 1 -> none
    ],
)
def test_what_keras_or_albumentations_would_refuse_is_refused_here(tmp_path, override):
    assert refusal(tmp_path, "", override).startswith(override.partition(".")[0])


@pytest.mark.parametrize("name", ["rotate", "scale", "translate", "shear"])
def test_range_must_be_in_order(tmp_path, name):
    message = refusal(tmp_path, "", f"augment.{name}=[0.75, 0.5]")
    expected = f"augment.{name}: the lower end 0.75 is above the upper end 0.5 ("
    assert message.startswith(expected)
    assert getattr(load(tmp_path, "", f"augment.{name}=[0.5, 0.5]").augment, name) == (0.5, 0.5)


def test_scale_must_be_above_zero(tmp_path):
    assert "scale: must be above 0, found 0.0" in refusal(tmp_path, "", "augment.scale=[0, 1]")


def test_capped_warmups_are_named(tmp_path):
    one = load(tmp_path, "", "train.epochs=1")
    assert loading.capped_warmups(one) == [
        "train.warmup_epochs: 1 is capped at 0.2, train.epochs is 1"
    ]
    assert loading.capped_warmups(load(tmp_path, "train: {epochs: 3, warmup_epochs: 2.9}")) == []
    members = """
        train: {epochs: 3, warmup_epochs: 3}
        members:
          a: {}
          b: {model: {dropout: 0.1}}
          c: {train: {epochs: 2}}
          d: {train: {warmup_epochs: 0.5}}
    """
    assert loading.capped_warmups(load(tmp_path, members)) == [
        "train.warmup_epochs: 3 is capped at 0.6, train.epochs is 3",
        "members.c.train.warmup_epochs: 3 is capped at 0.4, members.c.train.epochs is 2",
    ]


@pytest.mark.parametrize("name", SHIPPED)
def test_no_warmup_of_a_shipped_config_is_capped(name):
    assert loading.capped_warmups(loading.load(name)) == []


def test_threads_must_be_the_same_for_all_members(tmp_path):
    message = refusal(tmp_path, "train: {threads: 3}\nmembers: {a: {train: {threads: 4}}}")
    assert message.startswith("members.a.train.threads: must be train.threads (3)")
    assert "found 4" in message
    message = refusal(tmp_path, "members: {a: {train: {threads: 4}}}")
    assert message.startswith("members.a.train.threads: must be train.threads (auto)")
    config = load(tmp_path, "train: {threads: 3}\nmembers: {a: {train: {threads: 3}}}")
    assert config.member("a").train.threads == 3


@pytest.mark.parametrize("name", ["Big", "a-b", "_a", "a b", "a/b", "a" * 41])
def test_member_name_must_make_a_good_folder_name(tmp_path, name):
    message = refusal(tmp_path, yaml.safe_dump({"members": {name: {}}}))
    assert message.startswith(f"members.{name}: a name has 1 to 40 of a-z, 0-9 and _")


def test_member_changes_model_train_and_augment_and_keeps_the_rest(tmp_path):
    config = load(
        tmp_path,
        """
        augment: {rotate: [-1, 1], elastic: {p: 0.25, alpha: 7}}
        model: {stages: [{width: 8}, {width: 9}], dropout: 0.1}
        train: {epochs: 4, batch_size: 32}
        members:
          plain: {}
          other:
            model: {stages: [{width: 5}]}
            train: {epochs: 6}
            augment: {elastic: {p: 0.5}}
        """,
    )
    plain, other = config.member("plain"), config.member("other")
    assert (plain.model, plain.train, plain.augment) == (config.model, config.train, config.augment)
    assert other.model.stages == (Stage(width=5),)  # a list is replaced as a whole
    assert other.model.dropout == 0.1
    assert (other.train.epochs, other.train.batch_size) == (6, 32)
    assert other.augment.elastic == Elastic(p=0.5, alpha=7)
    assert other.augment.rotate == (-1.0, 1.0)


def test_config_is_frozen():
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        config.train.epochs = 1
    with pytest.raises(ValidationError, match="frozen"):
        config.augment.elastic.p = 1


def test_unknown_config_names_the_shipped_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        loading.load("quik")
    assert str(caught.value).startswith("quik: no such config")
    assert KNOWN in str(caught.value)
    with pytest.raises(UserError, match=r"; did you mean peers/deotte-15\?$"):
        loading.load("peers/deotte")
    (tmp_path / "mine").write_text("seed: 5")
    with pytest.raises(UserError, match=r"; if the file of that name is meant, \./mine$"):
        loading.load("mine")
    assert loading.load("./mine").seed == 5


@pytest.mark.parametrize("name", ["absent.yaml", "./quick", "folder/quick", "folder\\quick"])
def test_a_path_is_never_a_shipped_config(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such config") as caught:
        loading.load(name)
    assert str(caught.value).startswith(name)


def test_a_name_is_never_a_file_and_a_yaml_ending_always_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("quick", "quick.yaml", "sub/mine"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("seed: 77")
    assert loading.load("quick").seed == 2026
    assert loading.load("quick.yaml").seed == 77
    assert loading.load("./quick").seed == 77
    assert loading.load("sub/mine").seed == 77


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"train: [", "not YAML: a bracket"),
        (b"\xff\xfe\x00", "line 1: expected UTF-8 text, found the byte 0xff; save it as UTF-8"),
        (b"- a\n- b\n", "expected sections"),
        (b"just text", "expected sections"),
        (b"[]", "expected sections"),
        (b"false", "expected sections"),
    ],
)
def test_file_that_is_no_config(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        loading.load(str(path))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_folder_is_no_config(tmp_path):
    (tmp_path / "quick.yaml").mkdir()
    for path in (f"{tmp_path}/", tmp_path / "quick.yaml"):
        with pytest.raises(UserError) as caught:
            loading.load(str(path))
        found = f"{path}: expected a YAML file or one of {KNOWN}, found a folder"
        assert str(caught.value) == found


# Settings by their dotted keys

THREE = Config.model_validate(
    {
        "model": {"stages": [{"width": 8}, {"width": 9, "pool": "last"}]},
        "members": {"a": {"train": {"epochs": 9}}, "b": {}},
    }
)


def test_changed_config():
    changed = loading.changed(
        THREE,
        {
            "seed": 5,
            "train.learning_rate": 0.5,
            "augment.rotate": [-5, 5],
            "augment.elastic": {"p": 0.25},
            "model.stages.1.width": 32,
            "model.stages.0": {"kernel": 5},
            "members.b.train.epochs": 4,
        },
    )
    assert (changed.seed, changed.train.learning_rate) == (5, 0.5)
    assert changed.augment.rotate == (-5.0, 5.0)
    assert changed.augment.elastic == Elastic(p=0.25)
    assert changed.model.stages == (Stage(width=8, kernel=5), Stage(width=32, pool="last"))
    assert changed.members == {"a": Member(train={"epochs": 9}), "b": Member(train={"epochs": 4})}
    # What is not named stays, and so does the config that was changed.
    assert changed.train.epochs == THREE.train.epochs
    assert [stage.width for stage in THREE.model.stages] == [8, 9]
    assert loading.changed(THREE, {}) == THREE


def test_changed_config_takes_a_list_as_a_whole_and_null_for_a_default():
    assert loading.changed(THREE, {"model.stages": [{"width": 3}]}).model.stages == (
        Stage(width=3),
    )
    less_elastic = loading.changed(THREE, {"augment.elastic.p": 0.25})
    assert loading.changed(less_elastic, {"augment.elastic": None}) == THREE
    assert list(loading.changed(THREE, {"members.a": None}).members) == ["b"]


def test_later_changes_go_before_earlier_ones():
    stages = {"model.stages": [{"width": 3}], "model.stages.0.width": 5}
    assert loading.changed(THREE, stages).model.stages == (Stage(width=5),)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.epoch", 5, "train.epoch: unknown key, expected one of epochs, "),
        ("train.epochs", 5.5, "train.epochs: "),
        ("train.epochs", "many", "train.epochs: "),
        ("model.stages.2.width", 5, "model.stages: "),
        ("model.stages.0.widht", 5, "model.stages.0.widht: unknown key, expected one of width, "),
        ("members.a.train.epoch", 5, "members.a.train.epoch: unknown key, expected one of epochs"),
        ("members.a.augment.scale", [2, 1], "members.a.augment.scale: the lower end 2.0 is abov"),
    ],
)
def test_change_that_does_not_fit_is_refused_with_its_key(key, value, message):
    with pytest.raises(UserError) as caught:
        loading.changed(THREE, {key: value})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 2026),
        ("train.epochs", 10),
        ("augment.rotate", [-12.0, 12.0]),
        ("augment.variants", None),
        ("augment.grid", {"p": 0.0, "steps": 4, "limit": 0.3}),
        ("model.stages.1.pool", "last"),
        ("model.stages.1.depth", 1),
        ("members.a.train.epochs", 9),
        # A member shares what it does not change.
        ("members.b.train.epochs", 10),
        ("members.a.train.batch_size", 128),
        ("members.a.model.stages.0.width", 8),
        ("tuned", []),
        # There is none
        ("trian", None),
        ("train.epoch", None),
        ("train.epochs.0", None),
        ("model.stages.2.width", None),
        ("model.stages.-1.width", None),
        ("model.stages.\u00b2.width", None),
        ("members.c.train.epochs", None),
    ],
)
def test_setting_by_its_key(key, value):
    found = loading.setting(THREE, key)
    assert found == value
    assert type(found) is type(value)


# The search's sections


def test_a_run_looks_at_nothing_that_only_a_search_does():
    config = loading.changed(THREE, {"tune.max_trials": 5, "tune.holdout_folds": 0})
    assert config != THREE
    assert loading.without_tuning(config) == THREE
    # Where the settings come from matters to a run: its figures may be optimistic.
    tuned = TuningProvenance(train_data="d", seed=1, folds=3, holdout_folds=1, trials=9)
    kept = config.model_copy(update={"tuned": (tuned,)})
    assert loading.without_tuning(kept).tuned == (tuned,)


def test_saved_config_leaves_out_a_search_that_nobody_declared():
    saved = yaml.safe_load(loading.dump(THREE))
    assert not {"callbacks", "tune", "tuned"} & set(saved)
    with_callbacks = loading.changed(THREE, {"callbacks": ["mine:make"]})
    assert yaml.safe_load(loading.dump(with_callbacks))["callbacks"] == ["mine:make"]
    assert "tune" in yaml.safe_load(loading.dump(loading.changed(THREE, {"tune.max_trials": 5})))
    # Of a section nothing is left out.
    assert yaml.safe_load(loading.dump(Tune())) == Tune().model_dump(mode="json")


def test_saved_search_reads_back_equal(tmp_path):
    text = """
        folds: {count: 6}
        tune:
          oracle: hyperband
          holdout_folds: 2
          space:
            train.learning_rate: {low: 1.0e-4, high: 0.02, sampling: log}
            model.stages.0.width: {low: 8, high: 32, step: 4}
            augment.rotate: {choices: [[-5, 5], [0, 0]], when: {model.pooling: [max, average]}}
            augment.variants: {choices: [null, 3]}
        tuned:
          - {train_data: abc, seed: 3, folds: 6, holdout_folds: 2, trials: 24, holdout_digest: de}
    """
    config = load(tmp_path, text)
    assert load(tmp_path, loading.dump(config)) == config
    assert config.tune.space["model.stages.0.width"] == SearchParameter(low=8, high=32, step=4)
    assert [(each.trials, each.holdout_digest) for each in config.tuned] == [(24, "de")]


def test_one_search_may_be_written_without_a_list(tmp_path):
    facts = "{train_data: d, seed: 1, folds: 3, holdout_folds: 1, trials: 9}"
    config = load(tmp_path, f"tuned: {facts}")
    assert config == load(tmp_path, f"tuned: [{facts}]")
    assert [each.trials for each in config.tuned] == [9]
    assert load(tmp_path, f"tuned: {facts}", "tuned=null").tuned == ()


def test_space_from_the_command_line(tmp_path):
    declaration = (
        "tune.space={train.epochs: {low: 4, high: 9}, model.pooling: {choices: [max, avg]}}"
    )
    space = load(tmp_path, "", declaration).tune.space
    assert list(space) == ["train.epochs", "model.pooling"]
    assert space["train.epochs"] == SearchParameter(low=4, high=9)


SEARCH = """
    tune:
      max_trials: 7
      space:
        train.epochs: {low: 4, high: 9, sampling: log}
        model.dropout: {choices: [0.1, 0.2]}
        seed: {low: 1, high: 3}
"""
EPOCHS, DROPOUT = SearchParameter(low=4, high=9, sampling="log"), {"choices": (0.1, 0.2)}


@pytest.mark.parametrize(
    ("override", "value", "expected"),
    [
        ("tune.space", {"seed": {"low": 5, "high": 6}}, {"seed": {"low": 5, "high": 6}}),
        ("tune", {"space": {"seed": {"low": 5, "high": 6}}}, {"seed": {"low": 5, "high": 6}}),
        (
            "tune.space.train.epochs",
            {"choices": [3, 5]},
            {"train.epochs": {"choices": (3, 5)}, "model.dropout": DROPOUT},
        ),
        ("tune.space.train.epochs", None, {"model.dropout": DROPOUT}),
        (
            "tune.space.train.epochs.low",
            2,
            {"train.epochs": EPOCHS.model_dump() | {"low": 2}, "model.dropout": DROPOUT},
        ),
        (
            "tune.space.members.low",  # a member's name, and no end of a range
            {"choices": [{}, {"train": {"epochs": 9}}]},
            {
                "train.epochs": EPOCHS,
                "model.dropout": DROPOUT,
                "members.low": {"choices": ({}, {"train": {"epochs": 9}})},
            },
        ),
        ("tune.oracle", "grid", {"train.epochs": EPOCHS, "model.dropout": DROPOUT}),
    ],
)
def test_space_given_takes_the_place_of_the_one_there(tmp_path, override, value, expected):
    if override not in ("tune", "tune.space"):
        expected = {"seed": {"low": 1, "high": 3}} | expected
    expected = {key: SearchParameter.model_validate(each) for key, each in expected.items()}
    (tmp_path / "mine.yaml").write_text(SEARCH)
    path = str(tmp_path / "mine.yaml")
    as_text = f"{override}={yaml.safe_dump(value, default_flow_style=True, width=999).strip()}"
    before = loading.load(path)
    for config in (
        loading.load(path, [as_text.removesuffix("...").strip()]),
        loading.load(path, {override: value}),
        loading.resolve(before, {override: value})[0],
    ):
        assert config.tune.space == expected
        assert config.tune.max_trials == 7
    assert len(before.tune.space) == 3


def test_space_given_where_there_is_none(tmp_path):
    for override in (
        "tune.space.train.epochs={low: 3, high: 9}",
        "tune.space={train.epochs: {low: 3, high: 9}}",
    ):
        space = load(tmp_path, "", override).tune.space
        assert space == {"train.epochs": SearchParameter(low=3, high=9)}


def test_later_entries_of_a_space_add_to_one_that_was_given(tmp_path):
    overrides = (
        "tune.space={seed: {low: 1, high: 2}}",
        "tune.space.model.dropout={low: 0, high: 1}",
    )
    assert list(load(tmp_path, SEARCH, *overrides).tune.space) == ["seed", "model.dropout"]


def test_setting_of_a_space_under_its_old_name_is_replaced(tmp_path):
    said = []
    (tmp_path / "mine.yaml").write_text("tune: {space: {model.head: {choices: [max, flatten]}}}")
    override = "tune.space.model.head={choices: [max, average]}"
    config = loading.load(str(tmp_path / "mine.yaml"), [override], said.append)
    assert config.tune.space == {"model.pooling": SearchParameter(choices=("max", "average"))}
    assert len(said) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tune: {oracel: grid}", "tune.oracel: unknown key, expected one of oracle, objective, "),
        (
            "tune: {space: {train.epochs: {lo: 4}}}",
            "tune.space.train.epochs.lo: unknown key, expected one of low, high, step, sampling, ",
        ),
        ("tune: {space: {train.epochs: {low: few, high: 9}}}", "tune.space.train.epochs.low: "),
        ("tune: {space: {train.epochs: 5}}", "tune.space.train.epochs: "),
        ("tune: {space: [train.epochs]}", "tune.space: "),
        ("tune: {oracle: annealing}", "tune.oracle: "),
        ("tune: {row_fraction: 0}", "tune.row_fraction: "),
        (
            "tuned: {train_data: d, seed: 1, folds: 3, holdout_folds: 1, trials: 9, fold: 3}",
            "tuned.0.fold: unknown key, expected one of train_data, holdout_digest, searched_di",
        ),
        ("tuned: {train_data: d, seed: 1, folds: 3, holdout_folds: 1}", "tuned.0.trials: "),
        ("tuned: yes", "tuned: expected a list, as best.yaml of a search has it, found true ("),
        (
            "callbacks: mine:make",
            "callbacks: expected a list, for example [my_module:make_callback]",
        ),
        (
            "callbacks: [mine:make, mine.make]",
            "callbacks.1: expected package.module:factory, found 'mine.make' (",
        ),
        ("callbacks: ['mine:']", "callbacks.0: expected package.module:factory, found 'mine:' ("),
        ("callbacks: [a-b:make]", "callbacks.0: expected package.module:factory, found 'a-b:make"),
    ],
)
def test_wrong_search_is_refused_with_its_key(tmp_path, text, message):
    assert refusal(tmp_path, text).startswith(message)


@pytest.mark.parametrize(("count", "untouched"), [(2, 2), (3, 3), (3, 7)])
def test_a_search_needs_a_fold_of_its_own(tmp_path, count, untouched):
    text = f"{{folds: {{count: {count}}}, tune: {{holdout_folds: {untouched}}}}}"
    assert refusal(tmp_path, text).startswith(
        f"tune.holdout_folds: must be below folds.count ({count}), found {untouched}"
    )
    assert load(tmp_path, text, f"tune.holdout_folds={count - 1}").tune.holdout_folds == count - 1
