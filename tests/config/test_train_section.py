import pytest

from kaggle_digits.config import loading
from kaggle_digits.config.train_section import Train
from kaggle_digits.errors import UserError


@pytest.mark.parametrize(
    ("epochs", "given", "warmup"),
    [(7, 1.0, 1.0), (3, 2.9, 2.9), (3, 3.0, 0.6), (1, 1.0, 0.2), (1, 0.9, 0.9), (5, 0.0, 0.0)],
)
def test_warmup_is_a_fifth_where_it_would_fill_all_epochs(epochs, given, warmup):
    train = Train(epochs=epochs, warmup_epochs=given)
    assert train.warmup == pytest.approx(warmup, rel=1e-15)
    assert train.warmup_epochs == given
    # Fits are identified by the one in effect.
    assert train.canonical() == Train(epochs=epochs, warmup_epochs=train.warmup)
    assert (train.canonical() == train) == (warmup == given)
    assert train.canonical().canonical() == train.canonical()


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_momentum_is_of_sgd_and_muon_alone(optimizer):
    with_momentum = Train(optimizer=optimizer, momentum=0.5)
    assert with_momentum.canonical() == with_momentum
    adamw = Train(optimizer="adamw", epochs=9)
    assert adamw.model_copy(update={"momentum": 0.5}).canonical() == adamw


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"optimizer": "adam", "weight_decay": 0.5}, {"optimizer": "adam"}),
        ({"schedule": "constant", "warmup_epochs": 3.0}, {"schedule": "constant"}),
        ({"decay_factor": 0.5, "plateau": {"patience": 9}}, {}),
        ({"early_stopping": {"monitor": "val_accuracy"}}, {}),
        ({"ema_momentum": 0.5, "ema_epochs": 9}, {"ema_momentum": 0.5}),
        ({"ema_epochs": 0, "ema_warmup": True}, {"ema_epochs": 0}),
    ],
)
def test_what_has_no_effect_is_no_part_of_an_identity(given, meant):
    assert Train(**given).canonical() == Train(**meant).canonical()
    assert Train(**given).identity() == Train(**meant).identity()


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam"},
        {"schedule": "exponential", "decay_factor": 0.5},
        {"schedule": "plateau", "plateau": {"patience": 9}},
        {"early_stopping": {"monitor": "val_accuracy", "patience": 1}},
        {"ema_epochs": 0, "ema_momentum": 0.5, "ema_warmup": True},
        {"norm_statistics": "moving"},
        {"optimizer": "muon", "momentum": 0.95, "mixup": 0.2},
        {"row_fraction": 0.5},
    ],
)
def test_what_has_an_effect_is(settings):
    identity = Train(**settings).identity()
    assert {key: identity.get(key) for key in settings if key != "ema_epochs"} == {
        key: value for key, value in settings.items() if key != "ema_epochs"
    }
    assert Train.from_identity(identity).identity() == identity


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"schedule": "exponential"}, False),
        ({"early_stopping": {"monitor": "val_accuracy"}}, False),
        ({"schedule": "plateau"}, True),
        ({"early_stopping": {"patience": 1}}, True),
    ],
)
def test_who_looks_at_held_out_rows(settings, expected):
    assert Train(**settings).picks_on_heldout is expected


@pytest.mark.parametrize(
    ("fraction", "rows", "expected"), [(1.0, 9, 9), (0.5, 9, 4), (0.1, 9, 2), (0.5, 1, 1)]
)
def test_rows_of_an_epoch(fraction, rows, expected):
    assert Train(row_fraction=fraction).rows_an_epoch(rows) == expected


def test_files_hold_a_later_setting_only_where_it_is_no_default():
    assert set(loading.dump(Train()).split()) & {"schedule:", "plateau:", "ema_warmup:"} == set()
    text = loading.dump(Train(early_stopping={"patience": 2}))
    assert "early_stopping:\n  patience: 2\n" in text


@pytest.mark.parametrize(
    ("key", "value"), [("train.early_stopping.patience", "2"), ("train.schedule", "plateau")]
)
def test_a_net_without_held_out_rows_cannot_look_at_them(key, value):
    with pytest.raises(UserError) as caught:
        loading.load("quick", ["folds.kind=none", f"{key}={value}"])
    assert str(caught.value).startswith(f"folds.kind: none holds no rows out, but {key} of member")
    assert "\n" not in str(caught.value)
