import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.errors import UserError
from kaggle_digits.training import backend
from kaggle_digits.tuning import space

# Three stages whose convolutions keep the size of the map.
STAGES = [
    {"width": 24, "pool": "first"},
    {"width": 48, "depth": 2, "pool": "last"},
    {"width": 96, "depth": 2, "pool": "last"},
]


def config_with(declaration, **changes):
    """The defaults with a net of three stages and a search space, given as YAML or as a dict."""
    if isinstance(declaration, str):
        declaration = yaml.safe_load(declaration)
    values = {"tune": {"space": declaration}, "model": {"stages": STAGES}, **changes}
    return loading.from_values(values)


def declared(declaration, **changes):
    return space.from_config(config_with(declaration, **changes))


def refusal(declaration, **changes):
    with pytest.raises(UserError) as caught:
        declared(declaration, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def keras_tuner():
    """KerasTuner, which brings the backend in."""
    backend.configure(1)
    import keras_tuner

    return keras_tuner


# Spaces that are refused


def test_a_search_needs_something_to_search():
    message = refusal({})
    assert message.startswith("tune.space: expected settings to search, found none; for example")
    assert "--set 'tune.space={train.learning_rate: {low: 0.002, high: 0.02, " in message


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        # What a setting may become
        ("train.epochs: {}", "train.epochs: expected choices, or low and high, found no low"),
        ("train.epochs: {high: 9}", "train.epochs: expected choices, or low and high, found no l"),
        ("train.epochs: {low: 2}", "train.epochs: expected choices, or low and high, found no h"),
        (
            "train.epochs: {low: 9, high: 4}",
            "train.epochs: expected low below high, found the empty range 9 to 4",
        ),
        (
            "model.dropout: {low: 0.5, high: 0.5}",
            "model.dropout: expected low below high, found the empty range 0.5 to 0.5",
        ),
        ("train.epochs: {choices: []}", "train.epochs.choices: expected two or more values, fou"),
        ("train.epochs: {choices: [4]}", "train.epochs.choices: expected two or more values, fo"),
        ("train.epochs: {choices: [4, 5, 4]}", "train.epochs.choices: expected each value once,"),
        (
            "train.epochs: {choices: [4, 5], low: 2}",
            "train.epochs: expected choices or a range, found choices and low",
        ),
        (
            "train.epochs: {choices: [4, 5], high: 0}",
            "train.epochs: expected choices or a range, found choices and high",
        ),
        (
            "train.epochs: {choices: [4, 5], step: 1}",
            "train.epochs: expected choices or a range, found choices and step",
        ),
        (
            "train.epochs: {choices: [4, 5], sampling: log}",
            "train.epochs: expected choices or a range, found choices and sampling",
        ),
        (
            "train.epochs: {low: 4, high: 8, step: 5}",
            "train.epochs.step: expected at most high - low (4), found 5",
        ),
        (
            "train.epochs: {low: 4, high: 8, step: 2.0}",
            "train.epochs.step: expected an integer between integers, found 2.0",
        ),
        (
            "train.epochs: {low: 4, high: 8, step: 2, sampling: log}",
            "train.epochs.step: expected none with sampling: log, found 2",
        ),
        (
            "train.weight_decay: {low: 0.0, high: 0.1, sampling: log}",
            "train.weight_decay.low: expected a value above 0 for log, found 0.0",
        ),
        (
            "augment.rotate: {low: -1, high: 3, sampling: log}",
            "augment.rotate.low: expected a value above 0 for log, found -1",
        ),
        # Settings that all trials share
        ("folds.count: {low: 2, high: 4}", "folds.count: expected a setting that a trial may ch"),
        ("train.threads: {choices: [1, 2]}", "train.threads: expected a setting that a trial ma"),
        (
            "train.precision: {choices: [auto, float32]}",
            "train.precision.choices: expected float32, bfloat16 or float16, found auto",
        ),
        ("callbacks: {choices: [[], ['a:b']]}", "callbacks: expected a setting that a trial may"),
        (
            "tune.row_fraction: {low: 0.5, high: 1.0}",
            "tune.row_fraction: expected a setting that a trial may ch",
        ),
        ("tuned.seed: {low: 1, high: 2}", "tuned.seed: expected a setting that a trial may chan"),
        ("data.path: {choices: [a, b]}", "data.path: expected a setting that a trial may change"),
        ("folds: {choices: [{count: 2}, {count: 3}]}", "folds: expected a setting that a trial m"),
        (
            "train: {choices: [{threads: 1}, {threads: 3}]}",
            "train: expected a setting that a trial may change",
        ),
        (
            "members.cnn.train: {choices: [{epochs: 1}, {epochs: 3}]}",
            "members.cnn.train: expected a setting that a trial may change",
        ),
        (
            "members.cnn.train.threads: {choices: [1, 2]}",
            "members.cnn.train.threads: expected a setting that a trial may change",
        ),
        # What looks at the rows that trials are compared on
        *(
            (f"{key}: {searched}", f"{key}: training would look at the rows that trials are comp")
            for key, searched in {
                "train.early_stopping.patience": "{low: 1, high: 3}",
                "train.schedule": "{choices: [cosine, plateau]}",
                "members.cnn.train.schedule": "{choices: [cosine, plateau]}",
                "members.cnn": "{choices: [{}, {train: {early_stopping: {patience: 2}}}]}",
            }.items()
        ),
        # Conditions
        (
            "train.momentum: {low: 0.5, high: 0.9, when: {train.optimizer: sgd}}",
            "train.momentum.when.train.optimizer: expected another searched setting, found 'train.",
        ),
        (
            "model.pooling: {choices: [flatten, max], when: {model.pooling: max}}",
            "model.pooling.when.model.pooling: expected another searched setting, "
            "found 'model.pooling'",
        ),
        (
            "{train.epochs: {low: 4, high: 8}, model.dropout: "
            "{low: 0.1, high: 0.2, when: {train.epochs: 5}}}",
            "model.dropout.when.train.epochs: expected a setting with choices, found a range",
        ),
        (
            "{model.pooling: {choices: [flatten, max]}, model.dropout: "
            "{low: 0.1, high: 0.2, when: {model.pooling: average}}}",
            "model.dropout.when.model.pooling: expected one of ['flatten', 'max'], found 'average'",
        ),
        (
            "{model.pooling: {choices: [flatten, max]}, model.dropout: "
            "{low: 0.1, high: 0.2, when: {model.pooling: [max, average]}}}",
            "model.dropout.when.model.pooling: expected one of ['flatten', 'max'], found 'average'",
        ),
        (  # 1 is true for Python, not for a person
            "{augment.variants: {choices: [1, 2]}, model.dropout: "
            "{low: 0.1, high: 0.2, when: {augment.variants: true}}}",
            "model.dropout.when.augment.variants: expected one of [1, 2], found True",
        ),
        (
            "{model.pooling: {choices: [flatten, max]}, model.dropout: "
            "{low: 0.1, high: 0.2, when: {model.pooling: []}}}",
            "model.dropout.when.model.pooling: expected",
        ),
        (
            "{model.pooling: {choices: [flatten, max], when: {train.optimizer: sgd}}, "
            "train.optimizer: {choices: [sgd, adamw], when: {model.pooling: max}}}",
            "model.pooling.when: expected conditions without a circle",
        ),
        (
            "{model.pooling: {choices: [flatten, max]}, "
            "train.optimizer: {choices: [sgd, adamw], when: {model.pooling: max}}, train.momentum: "
            "{low: 0.5, high: 0.9, when: {train.optimizer: sgd, model.pooling: flatten}}}",
            "train.momentum.when: contradicting conditions, model.pooling would have to be "
            "'flatten' and 'max' at once",
        ),
        # What does not fit in a config
        (
            "train.epoch: {low: 4, high: 8}",
            "train.epoch: does not fit with train.epoch=4: train.epoch: unknown key, expected one "
            "of epochs, batch_size, ",
        ),
        (
            "trian.epochs: {low: 4, high: 8}",
            "trian.epochs: does not fit with trian.epochs=4: trian: unknown key, expected one of ",
        ),
        (
            "members.cnn.train.epoch: {low: 4, high: 8}",
            "members.cnn.train.epoch: does not fit with members.cnn.train.epoch=4: members.cnn.tra",
        ),
        (
            "members.rnn.train.epochs: {low: 4, high: 8}",
            "members.rnn.train.epochs: expected",
        ),
        (
            "model.stages.3.width: {low: 4, high: 8}",
            "model.stages.3.width: does not fit with model.stages.3.width=4: model.stages: ",
        ),
        (
            "train.epochs: {low: 4.0, high: 8.0}",  # 4 + 0.382 * 4
            "train.epochs: does not fit with train.epochs=5.5280000000000005: train.epochs: "
            "expected a whole number",
        ),
        (
            "train.epochs: {low: 4, high: 8.0}",
            "train.epochs: does not fit with train.epochs=5.5280000000000005: train.epochs: ",
        ),
        (
            "train.epochs: {choices: [4, 4.5]}",
            "train.epochs: does not fit with train.epochs=4.5: train.epochs: expected a whole num",
        ),
        (
            "train.epochs: {choices: [4, many]}",
            'train.epochs: does not fit with train.epochs="many": train.epochs: expected a whole n',
        ),
        (
            "train.epochs: {choices: [2026-01-01, 2026-01-02]}",
            "train.epochs: does not fit with train.epochs=",
        ),
        (
            "model.dropout: {low: 0.5, high: 1.0}",
            "model.dropout: does not fit with model.dropout=1.0: model.dropout: expected less than",
        ),
        (
            "train.optimizer: {low: 1, high: 2}",
            "train.optimizer: does not fit with train.optimizer=1: train.optimizer: expected one ",
        ),
        (
            "augment.scale: {choices: [[0.9, 1.1], [1.1, 0.9]]}",
            "augment.scale: does not fit with augment.scale=[1.1, 0.9]: augment.scale: the lower ",
        ),
        (  # with the other settings as they are
            "model.stages.2: {choices: [{width: 8}, {width: 8, kernel: 9, padding: valid}]}",
            "model.stages.2: does not fit with model.stages.2={",
        ),
        (  # each alone would do
            "{model.stages.1.padding: {choices: [same, valid]}, model.stages.1.kernel: {choices: "
            "[3, 9]}}",
            "model.stages.1.kernel: does not fit with ",
        ),
    ],
)
def test_refused_and_the_key_is_named(declaration, message):
    assert refusal(declaration).startswith(f"tune.space.{message}")


def test_what_does_not_fit_together_is_named_with_its_values():
    message = refusal(
        "{model.stages.1.padding: {choices: [same, valid]}, model.stages.1.kernel: {choices: "
        "[3, 9]}}"
    )
    assert 'model.stages.1.padding="valid"' in message
    assert "model.stages.1.kernel=9" in message
    assert message.endswith("pool less, or use padding: same")


def test_conditional_settings_are_tried_where_they_are_in_force():
    # Only with the average are both searched, and then they do not fit together.
    message = refusal("""
        model.pooling: {choices: [flatten, average, max]}
        model.stages.1.kernel: {choices: [3, 9], when: {model.pooling: [flatten, average]}}
        model.stages.1.padding:
          {choices: [same, valid], when: {model.pooling: [average, max]}}
    """)
    assert message.startswith("tune.space.model.stages.1.padding: does not fit with ")
    assert 'model.pooling="average"' in message
    # Without the average they never meet.
    declared("""
        model.pooling: {choices: [flatten, average, max]}
        model.stages.1.kernel: {choices: [3, 9], when: {model.pooling: flatten}}
        model.stages.1.padding: {choices: [same, valid], when: {model.pooling: max}}
    """)


def test_conditions_may_leave_one_common_value():
    found = declared("""
        model.pooling: {choices: [flatten, average]}
        train.optimizer: {choices: [sgd, adamw], when: {model.pooling: average}}
        model.dropout: {choices: [0.1, 0.5], when: {model.pooling: [flatten, average],
                                                    train.optimizer: sgd}}
    """)
    assert list(found.parameters) == ["model.pooling", "train.optimizer", "model.dropout"]


def test_three_settings_that_do_not_fit_together():
    # Of 28 pixels each kernel of 11 takes 10 away: two leave 6, three nothing.
    stages = [{"width": 4, "kernel": 3, "padding": "valid"}] * 3
    kernels = {f"model.stages.{place}.kernel": {"choices": [3, 11]} for place in range(3)}
    message = refusal(kernels, model={"stages": stages})
    assert message.startswith("tune.space.model.stages.")
    assert "stages.2: nothing is left of the image" in message
    del kernels["model.stages.1.kernel"]
    declared(kernels, model={"stages": stages})


# Spaces that are accepted


def test_shipped_spaces_are_accepted():
    found = {
        path.stem: space.from_config(config).parameters
        for path in loading.shipped_folder().glob("*.yaml")
        if (config := loading.load(path.stem)).tune.space
    }
    assert "detuned" in found
    assert "train.learning_rate" in found["detuned"]


def test_kinds_of_nets_and_schedules_can_be_searched():
    found = declared(
        """
        model.norm: {choices: [before, after]}
        model.stages.1.dropout: {low: 0.0, high: 0.5}
        train.schedule: {choices: [cosine, exponential]}
        train.decay_factor: {low: 0.8, high: 0.99, when: {train.schedule: exponential}}
        """
    )
    assert found.start == {
        "model.norm": "before",
        "model.stages.1.dropout": 0.0,
        "train.schedule": "cosine",
        "train.decay_factor": 0.95,
    }


def test_residual_nets_and_what_fits_do_with_images_can_be_searched():
    found = declared(
        """
        model.stages.1.residual: {choices: [false, true]}
        model.stages.1.squeeze: {choices: [0, 4, 8]}
        train.optimizer: {choices: [adamw, muon]}
        train.momentum: {low: 0.9, high: 0.98, when: {train.optimizer: muon}}
        train.mixup: {low: 0.0, high: 0.4}
        augment.shift: {low: 0, high: 2}
        augment.stroke: {low: 0.0, high: 0.9}
        augment.cutout: {choices: [0, 4, 7]}
        augment.clean_epochs: {low: 0, high: 2}
        augment.variant_order: {choices: [shared, own]}
        model.deslant: {choices: [false, true]}
        """
    )
    assert found.start == {
        "model.stages.1.residual": False,
        "model.stages.1.squeeze": 0,
        "train.optimizer": "muon",
        "train.momentum": 0.9,
        "train.mixup": 0.0,
        "augment.shift": 0,
        "augment.stroke": 0.6,
        "augment.cutout": 0,
        "augment.clean_epochs": 0,
        "augment.variant_order": "shared",
        "model.deslant": False,
    }
    with pytest.raises(UserError, match=r"stages\.1\.residual: expected false with padding valid"):
        declared(
            """
            model.stages.1.residual: {choices: [false, true]}
            model.stages.1.padding: {choices: [same, valid]}
            """
        )


def test_start_is_what_the_config_has():
    found = declared(
        """
        train.learning_rate: {low: 0.001, high: 0.1, sampling: log}
        model.stages.1.width: {low: 8, high: 64}
        augment.rotate: {choices: [[-5, 5], [-12, 12]]}
        augment.variants: {choices: [null, 4]}
        """
    )
    assert found.start == {
        "train.learning_rate": 0.01,
        "model.stages.1.width": 48,
        "augment.rotate": [-12.0, 12.0],
        "augment.variants": None,
    }
    assert list(found.parameters) == list(found.start)


def test_settings_stand_behind_what_they_depend_on():
    found = declared("""
        train.momentum: {low: 0.5, high: 0.9, when: {train.optimizer: sgd}}
        train.optimizer: {choices: [sgd, adamw], when: {model.pooling: max}}
        model.dropout: {low: 0.1, high: 0.2}
        model.pooling: {choices: [flatten, max]}
    """)
    order = ["model.dropout", "model.pooling", "train.optimizer", "train.momentum"]
    assert list(found.parameters) == list(found.start) == order


def test_a_setting_within_another_one_stands_behind_it():
    # In the order of the file the stages would sweep the width away again.
    found = declared("""
        model.stages.0.width: {choices: [5, 6]}
        model.stages: {choices: [[{width: 3}], [{width: 4, kernel: 5}]]}
    """)
    assert list(found.parameters) == ["model.stages", "model.stages.0.width"]
    assert found.parameters["model.stages.0.width"].choices == (5, 6)


def test_choices_are_written_as_in_the_config():
    found = declared(
        """
        augment.elastic.p: {choices: [0, 1, 0.5]}
        train.learning_rate: {choices: [1e-3, 1.0e-2]}
        augment.rotate: {choices: [[-5, 5], [0, 0]]}
        augment.grid: {choices: [{p: 0}, {p: 1, steps: 3}]}
        model.stages.0: {choices: [{width: 8}, {pool: last, depth: 2}]}
        augment.variants: {choices: [null, 3]}
        """
    )
    choices = {key: setting.choices for key, setting in found.parameters.items()}
    assert choices["augment.elastic.p"] == (0.0, 1.0, 0.5)
    assert {type(value) for value in choices["augment.elastic.p"]} == {float}
    assert choices["train.learning_rate"] == (0.001, 0.01)  # YAML 1.1 reads 1e-3 as text
    assert choices["augment.rotate"] == ([-5.0, 5.0], [0.0, 0.0])
    assert choices["augment.grid"] == (
        {"p": 0.0, "steps": 4, "limit": 0.3},
        {"p": 1.0, "steps": 3, "limit": 0.3},
    )
    # What a choice leaves open is as in the config: its first stage is pooled, 24 wide.
    stage = {"width": 24, "depth": 1, "kernel": 3, "pool": "first", "padding": "same", "stride": 1}
    assert choices["model.stages.0"] == (
        stage | {"width": 8},
        stage | {"pool": "last", "depth": 2},
    )
    assert choices["augment.variants"] == (None, 3)


@pytest.mark.parametrize(
    "declaration",
    [
        "augment.elastic.p: {choices: [0, 0.0]}",
        "augment.rotate: {choices: [[-5, 5], [-5.0, 5.0]]}",
        "model.stages.0: {choices: [{width: 8}, {width: 8, depth: 1}]}",
    ],
)
def test_values_that_are_one_in_the_config_are_no_choice(declaration):
    key = declaration.partition(":")[0]
    message = f"tune.space.{key}.choices: expected each value once, found one twice"
    assert refusal(declaration) == message


# What KerasTuner makes of them


def facts_of(hyperparameter):
    """A hyperparameter's class and configuration, its conditions as (key, values)."""
    facts = hyperparameter.get_config()
    facts["conditions"] = [(each.name, each.values) for each in hyperparameter.conditions]
    return {"class": type(hyperparameter).__name__, **facts}


def test_ranges_and_choices_become_hyperparameters(keras_tuner):
    found = declared("""
        train.learning_rate: {low: 0.001, high: 0.1, sampling: log}
        train.batch_size: {low: 16, high: 256, sampling: log}
        train.epochs: {low: 4, high: 10, step: 3}
        model.stages.0.width: {low: 8, high: 32}
        train.weight_decay: {low: 0, high: 1}
        model.dropout: {low: 0.25, high: 0.75}
        augment.elastic.p: {choices: [0, 1, 0.5]}
        augment.variants: {choices: [1, 5, 10]}
        train.optimizer: {choices: [sgd, adamw]}
    """).hyperparameters()
    facts = {each.name: facts_of(each) for each in found.space}
    number = {"step": None, "sampling": "linear", "conditions": []}

    def without_name(key):
        return {name: value for name, value in facts[key].items() if name != "name"}

    assert without_name("train.learning_rate") == number | {
        "class": "Float",
        "min_value": 0.001,
        "max_value": 0.1,
        "sampling": "log",
        "default": 0.01,
    }
    assert without_name("train.batch_size") == number | {
        "class": "Int",
        "min_value": 16,
        "max_value": 256,
        "sampling": "log",
        "default": 128,
    }
    assert without_name("train.epochs") == number | {
        "class": "Int",
        "min_value": 4,
        "max_value": 10,
        "step": 3,
        "default": 10,
    }
    assert without_name("model.stages.0.width") == number | {
        "class": "Int",
        "min_value": 8,
        "max_value": 32,
        "step": 1,
        "default": 24,
    }
    assert without_name("model.dropout") == number | {
        "class": "Float",
        "min_value": 0.25,
        "max_value": 0.75,
        "default": 0.3,
    }
    choice = {"class": "Choice", "conditions": []}
    assert without_name("augment.elastic.p") == choice | {
        "values": [0.0, 1.0, 0.5],
        "ordered": True,
        "default": 0.5,
    }
    # The config's own null is none of them: the first one is the default.
    assert without_name("augment.variants") == choice | {
        "values": [1, 5, 10],
        "ordered": True,
        "default": 1,
    }
    assert facts["train.optimizer"]["ordered"] is False
    assert len(facts["train.optimizer"]["values"]) == 2
    # The config's weight decay is no integer: a range of integers cannot begin with it.
    assert facts["train.weight_decay"]["class"] == "Int"
    assert type(facts["train.weight_decay"]["default"]) is int


def test_every_value_of_a_range_with_steps_can_be_drawn(keras_tuner):
    found = declared("""
        model.dropout: {low: 0.0, high: 0.3, step: 0.1}
        train.ema_epochs: {low: 0.1, high: 0.5, step: 0.1}
        train.label_smoothing: {low: 0.1, high: 0.3, step: 0.2}
        train.epochs: {low: 4, high: 10, step: 3}
        model.stages.0.width: {low: 8, high: 30, step: 8}
    """)
    values = {
        each.name: [found.decode({each.name: value})[each.name] for value in each.values]
        for each in found.hyperparameters().space
    }
    assert values == {
        "model.dropout": [0.0, 0.1, 0.2, 0.3],
        "train.ema_epochs": [0.1, 0.2, 0.3, 0.4, 0.5],
        "train.label_smoothing": [0.1, 0.3],
        "train.epochs": [4, 7, 10],
        "model.stages.0.width": [8, 16, 24],
    }


def test_a_start_on_a_step_is_one_of_the_steps(keras_tuner):
    # 0.1 + 2 * 0.1 is not 0.3 to the last bit; a grid would have both.
    (dropout,) = declared("model.dropout: {low: 0.1, high: 0.5, step: 0.1}").hyperparameters().space
    assert dropout.default == pytest.approx(0.3)
    assert dropout.default in list(dropout.values)


START = {
    "train.learning_rate": 0.00123456,  # more digits than a draw has
    "train.epochs": 9,  # between two steps
    "train.warmup_epochs": 2.0,  # an integer
    "model.dropout": 0.3,
    "augment.shear": [-4.0, 4.5],
    "augment.variants": None,
    "members.cnn.train.label_smoothing": 0.125,
    "members.cnn.model.pooling": "flatten",  # what it shares with other members
}
AROUND_THE_START = """
    train.learning_rate: {low: 0.001, high: 0.1, sampling: log}
    train.epochs: {low: 8, high: 24, step: 4}
    train.warmup_epochs: {low: 0, high: 3}
    model.dropout: {low: 0.1, high: 0.5, step: 0.1}
    augment.shear: {choices: [[0, 0], [-4, 4.5]]}
    augment.variants: {choices: [2, null]}
    members.cnn.train.label_smoothing: {low: 0.0, high: 0.2}
    members.cnn.model.pooling: {choices: [average, flatten]}
"""


def test_the_defaults_are_the_config_that_the_search_begins_with(keras_tuner):
    config = config_with(
        AROUND_THE_START,
        train={"learning_rate": 0.00123456, "epochs": 9, "warmup_epochs": 2},
        augment={"shear": [-4, 4.5]},
        members={"cnn": {"train": {"label_smoothing": 0.125}}},
    )
    found = space.from_config(config)
    assert found.start == START
    settings = found.decode(found.hyperparameters().values)
    assert settings == START
    assert loading.changed(config, settings).member("cnn") == config.member("cnn")


def test_a_start_outside_the_space_is_no_default(keras_tuner):
    found = declared("""
        train.learning_rate: {low: 0.01, high: 0.1}
        train.epochs: {low: 8, high: 9}
        augment.rotate: {choices: [[-1, 1], [-2, 2]]}
    """)
    assert found.decode(found.hyperparameters().values) == {
        "train.learning_rate": 0.01,
        "train.epochs": 8,
        "augment.rotate": [-1.0, 1.0],
    }


CONDITIONAL = """
    model.pooling: {choices: [flatten, average, max]}
    train.optimizer: {choices: [sgd, adamw], when: {model.pooling: [average, max]}}
    train.momentum: {low: 0.5, high: 0.95, when: {train.optimizer: sgd}}
    augment.elastic.p: {choices: [0, 0.5]}
    augment.elastic.alpha: {low: 10.0, high: 40.0, when: {augment.elastic.p: 0.5}}
    model.dropout: {low: 0.1, high: 0.5, when: {model.pooling: max, augment.elastic.p: 0}}
"""


def test_conditions_become_keras_tuners(keras_tuner):
    found = declared(CONDITIONAL)
    made = found.hyperparameters()
    conditions = {each.name: dict(facts_of(each)["conditions"]) for each in made.space}
    head = dict(zip(("flatten", "average", "max"), made.space[0].values, strict=True))
    sgd = next(each for each in made.space if each.name == "train.optimizer").values[0]
    assert conditions["model.pooling"] == conditions["augment.elastic.p"] == {}
    assert conditions["augment.elastic.alpha"] == {"augment.elastic.p": [0.5]}
    assert conditions["train.optimizer"]["model.pooling"] == [head["average"], head["max"]]
    assert conditions["train.momentum"]["train.optimizer"] == [sgd]
    assert conditions["model.dropout"] == {
        "model.pooling": [head["max"]],
        "augment.elastic.p": [0.0],
    }
    # What is in force to begin with: a flat head, and images are distorted.
    defaults = {"model.pooling", "augment.elastic.p", "augment.elastic.alpha"}
    assert found.decode(made.values).keys() == defaults


def test_a_setting_is_drawn_if_and_only_if_its_conditions_hold(keras_tuner):
    found = declared(CONDITIONAL)
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("accuracy", "max"),
        hyperparameters=found.hyperparameters(),
        seed=1,
    )
    seen = set()
    for trial in range(60):
        drawn = found.decode(oracle.populate_space(str(trial))["values"])
        pooled = drawn["model.pooling"] != "flatten"
        distorted = drawn["augment.elastic.p"] == 0.5
        expected = {"model.pooling", "augment.elastic.p"}
        expected |= {"train.optimizer"} if pooled else set()
        expected |= {"train.momentum"} if drawn.get("train.optimizer") == "sgd" else set()
        expected |= {"augment.elastic.alpha"} if distorted else set()
        both = drawn["model.pooling"] == "max" and not distorted
        expected |= {"model.dropout"} if both else set()
        assert drawn.keys() == expected
        seen.add(frozenset(expected))
    # Flat, distorted or not; pooled, each with either optimizer; and two with dropout.
    assert len(seen) == 2 + 2 * 2 + 2


@pytest.mark.parametrize(
    ("choices", "condition"),
    [
        ("augment.rotate: {choices: [[-12, 12], [-5, 5]]", "augment.rotate: [[-5, 5]]"),
        ("augment.elastic: {choices: [{p: 0.5}, {p: 0.25}]", "augment.elastic: {p: 0.25}"),
        ("augment.elastic.p: {choices: [0.5, 0]", "augment.elastic.p: 0"),
        ("augment.variants: {choices: [null, 3]", "augment.variants: 3"),
    ],
)
def test_condition_holds_however_its_value_is_written(keras_tuner, choices, condition):
    found = declared(
        f"{{{choices}}}, model.dropout: {{low: 0.1, high: 0.5, when: {{{condition}}}}}}}"
    )
    key = choices.partition(":")[0]
    choice, dropout = found.hyperparameters().space
    for value, in_force in zip(choice.values, (False, True), strict=True):
        (parent,) = dropout.conditions
        assert parent.is_active({key: value}) is in_force


def test_chosen_lists_and_sections_come_back(keras_tuner):
    found = declared("""
        augment.rotate: {choices: [[-5, 5], [0, 0]]}
        model.stages: {choices: [[{width: 3}], [{width: 4}, {width: 5, pool: last}]]}
        augment.elastic: {choices: [{p: 0}, {p: 1, alpha: 9}]}
        augment.variants: {choices: [null, 3]}
        model.dense: {choices: [[], [64, 32]]}
        train.optimizer: {choices: [sgd, adamw]}
    """)
    seen = {key: [] for key in found.parameters}
    for each in found.hyperparameters().space:
        assert {type(value) for value in each.values} == {str}
        for value in each.values:
            decoded = found.decode({each.name: value})
            seen[each.name].append(decoded[each.name])
            config = loading.changed(Config(), decoded)
            assert loading.setting(config, each.name) == decoded[each.name]
    assert seen["augment.rotate"] == [[-5.0, 5.0], [0.0, 0.0]]
    assert [[stage["width"] for stage in one] for one in seen["model.stages"]] == [[3], [4, 5]]
    assert [one["alpha"] for one in seen["augment.elastic"]] == [30.0, 9.0]
    assert seen["augment.variants"] == [None, 3]
    assert seen["model.dense"] == [[], [64, 32]]
    assert seen["train.optimizer"] == ["sgd", "adamw"]


# Values of trials


def test_decoded_floats_have_four_digits_and_stay_within_the_range():
    found = declared("train.learning_rate: {low: 0.00123456, high: 0.0198765, sampling: log}")

    def decoded(value):
        return found.decode({"train.learning_rate": value})["train.learning_rate"]

    assert decoded(0.0076543219) == 0.007654
    assert decoded(0.015) == 0.015
    # Rounded they would be 0.001235 and 0.01988, and 0.001235 is within.
    assert decoded(0.00123456) == 0.001235
    assert decoded(0.0198765) == 0.0198765


def test_decoded_integers_are_integers():
    found = declared("{train.epochs: {low: 2, high: 12345}, augment.variants: {choices: [1, 2]}}")
    decoded = found.decode({"train.epochs": 12343, "augment.variants": 2})
    assert decoded == {"train.epochs": 12343, "augment.variants": 2}
    assert {type(value) for value in decoded.values()} == {int}


def test_decode_leaves_out_what_is_keras_tuners_own_or_not_in_force():
    found = declared(CONDITIONAL)
    values = {"augment.elastic.p": 0.0, "tuner/epochs": 2, "tuner/trial_id": "0001"}
    assert found.decode(values) == {"augment.elastic.p": 0.0}


# A range or choices that fit with every other setting of these, key by key.
def ranges_of(low, high, integers=False):
    numbers = st.integers(low, high) if integers else st.floats(low, high)

    @st.composite
    def setting(draw):
        ends = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique=True)))
        ways = ["linear", "step"] + (["log"] if ends[0] > 0 else [])
        way = draw(st.sampled_from(ways))
        drawn = {"low": ends[0], "high": ends[1]}
        if way == "log":
            drawn["sampling"] = "log"
        if way == "step":
            width = ends[1] - ends[0]
            parts = draw(st.integers(1, width if integers else 12))
            drawn["step"] = max(1, width // parts) if integers else width / parts
            assume(drawn["step"] > 0)
        return drawn

    return setting()


def choices_of(*values):
    lists = st.lists(st.sampled_from(values), min_size=2, unique_by=str)
    return lists.map(lambda choices: {"choices": choices})


SETTINGS = {
    "model.pooling": choices_of("flatten", "average", "max"),
    "train.optimizer": choices_of("adamw", "sgd"),
    "augment.rotate": choices_of([-5, 5], [-12, 12], [0, 0.5]),
    "augment.elastic": choices_of({"p": 0}, {"p": 0.5}, {"p": 1, "alpha": 12.5}),
    "augment.variants": choices_of(None, 1, 4),
    "model.stages.0": choices_of({"width": 3}, {"pool": "none"}, {"width": 3, "kernel": 5}),
    "train.weight_decay": choices_of(0, 0.1, 0.25, 1),
    "train.learning_rate": ranges_of(1e-6, 0.5),
    "train.epochs": ranges_of(2, 300, integers=True),
    "train.batch_size": ranges_of(2, 1024, integers=True),
    "train.warmup_epochs": ranges_of(0.0, 1.5),
    "model.dropout": ranges_of(0.0, 0.99),
    "model.stages.1.width": ranges_of(1, 512, integers=True),
    "members.cnn.train.label_smoothing": ranges_of(0.0, 0.5),
    "augment.elastic.alpha": ranges_of(1e-3, 100.0),
}


@st.composite
def spaces(draw):
    keys = draw(st.permutations(list(SETTINGS)))[: draw(st.integers(1, 6))]
    drawn = {key: dict(draw(SETTINGS[key])) for key in keys}
    with_choices = [key for key in keys if "choices" in drawn[key]]
    for key in keys:
        before = with_choices[: with_choices.index(key)] if key in with_choices else with_choices
        when = draw(st.lists(st.sampled_from(before), max_size=2, unique=True)) if before else []
        if when:
            drawn[key]["when"] = {
                other: draw(st.lists(st.sampled_from(drawn[other]["choices"]), min_size=1))
                for other in when
            }
    return drawn


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(declaration=spaces(), seed=st.integers(1, 2**31))
def test_whatever_is_drawn_from_a_declared_space_is_a_config(keras_tuner, declaration, seed):
    config = config_with(declaration)
    try:
        found = space.from_config(config)
    except UserError as error:
        assume("contradicting conditions" not in str(error))
        raise
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("accuracy", "max"),
        hyperparameters=found.hyperparameters(),
        seed=seed,
    )
    for trial in range(5):
        values = oracle.populate_space(str(trial))["values"]
        drawn = found.decode(values)
        changed = loading.changed(config, drawn)
        for key, value in drawn.items():
            if key != "augment.elastic" or "augment.elastic.alpha" not in drawn:
                assert loading.setting(changed, key) == value
            setting = declaration[key]
            if "low" in setting:
                assert setting["low"] <= value <= setting["high"]
                assert isinstance(value, type(setting["low"]))
