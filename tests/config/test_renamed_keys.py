import pytest
import yaml

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.errors import UserError

# One config as an earlier version wrote it, and what it is called today.
EARLIER = """
folds: {count: 4}
augment: {affine_p: 0.5}
model: {head: average}
members:
  cnn: {}
  when: {model: {head: max}, augment: {affine_p: 0.25, rotate: [-1, 1]}}
  choices: {model: {head: flatten}}
tune:
  trials: 5
  untouched: 2
  rows: 0.25
  epochs: 0.5
  race: 0.125
  initial: 3
  space:
    model.head: {choices: [flatten, max]}
    members.when.augment.affine_p: {low: 0.5, high: 1.0, when: {model.head: max}}
    model: {choices: [{head: max}, {dense: [8]}]}
    augment.rotate: {choices: [[-1, 1], [-2, 2]], when: {model: [{head: max}]}}
tuned: {train_data: d, seed: 1, folds: 4, untouched: 2, trials: 5}
"""
TODAY = """
folds: {count: 4}
augment: {affine_probability: 0.5}
model: {pooling: average}
members:
  cnn: {}
  when: {model: {pooling: max}, augment: {affine_probability: 0.25, rotate: [-1, 1]}}
  choices: {model: {pooling: flatten}}
tune:
  max_trials: 5
  holdout_folds: 2
  row_fraction: 0.25
  epoch_fraction: 0.5
  racing_alpha: 0.125
  num_initial_points: 3
  space:
    model.pooling: {choices: [flatten, max]}
    members.when.augment.affine_probability:
      {low: 0.5, high: 1.0, when: {model.pooling: max}}
    model: {choices: [{pooling: max}, {dense: [8]}]}
    augment.rotate: {choices: [[-1, 1], [-2, 2]], when: {model: [{pooling: max}]}}
tuned: {train_data: d, seed: 1, folds: 4, holdout_folds: 2, trials: 5}
"""
RENAMED = {
    "augment.affine_p": "augment.affine_probability",
    "model.head": "model.pooling",
    "tune.epochs": "tune.epoch_fraction",
    "tune.initial": "tune.num_initial_points",
    "tune.race": "tune.racing_alpha",
    "tune.rows": "tune.row_fraction",
    "tune.trials": "tune.max_trials",
    "tune.untouched": "tune.holdout_folds",
    "tuned.untouched": "tuned.holdout_folds",
}


def load(tmp_path, text, *overrides):
    """Read a config; return it and the lines of warning."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    lines = []
    return loading.load(str(path), overrides, lines.append), lines


def test_config_of_an_earlier_version_is_read(tmp_path):
    config, lines = load(tmp_path, EARLIER)
    assert (config, []) == load(tmp_path, TODAY)
    expected = {
        f"{tmp_path}/mine.yaml: {old} is now called {new}; the old name is still read"
        for old, new in RENAMED.items()
    }
    assert set(lines) == expected
    assert len(lines) == len(expected)  # one each, however often it stands there


def test_todays_shipped_configs_give_no_warning():
    for name in loading.shipped_names():
        loading.load(name, say=pytest.fail)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("tune.race=0.125", "tune.racing_alpha=0.125", "tune.race is now called tune.racing_alpha"),
        ("model.head=max", "model.pooling=max", "model.head is now called model.pooling"),
        ("model={head: max}", "model.pooling=max", "model.head is now called model.pooling"),
        (
            "members.cnn.augment.affine_p=0",
            "members.cnn.augment.affine_probability=0",
            "members.cnn.augment.affine_p is now called members.cnn.augment.affine_probability",
        ),
        (
            "tune.space={model.head: {choices: [max, flatten]}}",
            "tune.space={model.pooling: {choices: [max, flatten]}}",
            "tune.space.model.head is now called tune.space.model.pooling",
        ),
    ],
)
def test_override_of_an_earlier_version_is_read(tmp_path, old, new, place):
    # Today's key in the file is not at once with it: an override is there to replace it.
    text = "model: {pooling: average}\ntune: {racing_alpha: 0.25}"
    config, lines = load(tmp_path, text, old)
    assert (config, []) == load(tmp_path, text, new)
    assert lines == [f"--set: {place}; the old name is still read"]
    assert config != Config(model={"pooling": "average"}, tune={"racing_alpha": 0.25})


def test_values_of_an_earlier_version_as_overrides(tmp_path):
    (tmp_path / "mine.yaml").write_text("")
    lines = []
    config = loading.load(str(tmp_path / "mine.yaml"), {"model.head": "max"}, lines.append)
    assert config.model.pooling == "max"
    (line,) = lines
    assert line.startswith("overrides: model.head is now called model.pooling; ")


def test_without_somebody_to_tell_there_is_a_warning_of_python(tmp_path):
    (tmp_path / "mine.yaml").write_text("model: {head: max}")
    with pytest.warns(UserWarning, match="model.head is now called model.pooling"):
        loading.load(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("tune: {rows: 0.5, row_fraction: 0.5}", "tune.rows", "tune.row_fraction"),
        ("model: {pooling: max, head: max}", "model.head", "model.pooling"),
        (
            "members: {a: {model: {pooling: max, head: max}}}",
            "members.a.model.head",
            "members.a.model.pooling",
        ),
        (
            "tune: {space: {model.head: {choices: [max]}, model.pooling: {choices: [max]}}}",
            "tune.space.model.head",
            "tune.space.model.pooling",
        ),
    ],
)
def test_old_and_new_key_at_once_are_refused(tmp_path, text, old, new):
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    assert str(caught.value) == (
        f"{tmp_path}/mine.yaml: {old} is the old name of {new}, found both; leave out {old}"
    )


def test_same_words_elsewhere_are_no_old_keys(tmp_path):
    # tune.epochs had a new name, train.epochs has not; nor has a member called like a key.
    text = "train: {epochs: 3, warmup_epochs: 1}\nmembers: {head: {}, race: {train: {epochs: 4}}}"
    config, lines = load(tmp_path, text)
    assert lines == []
    assert list(config.members) == ["head", "race"]
    assert yaml.safe_load(loading.dump(config))["train"]["epochs"] == 3
