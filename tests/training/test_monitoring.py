import math

import pytest

from kaggle_digits.config.train_section import Train
from kaggle_digits.training import monitoring


def history(*losses, monitor="val_loss"):
    return [{"epoch": number, monitor: loss} for number, loss in enumerate(losses, 1)]


def rates(train, entries):
    """The learning rate of each epoch that the history has, and of the next one."""
    return [monitoring.learning_rate(train, entries[:done]) for done in range(len(entries) + 1)]


def test_a_constant_rate():
    train = Train(schedule="constant", learning_rate=0.5)
    assert rates(train, [{}] * 3) == [0.5] * 4


def test_an_exponential_rate():
    train = Train(schedule="exponential", learning_rate=0.5, decay_factor=0.1)
    assert rates(train, [{}] * 3) == pytest.approx([0.5, 0.05, 0.005, 0.0005])


def plateau(**changes):
    values = {"factor": 0.5, "patience": 2} | changes
    return Train(schedule="plateau", learning_rate=0.8, plateau=values)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([0.5, 0.4, 0.3], [0.8, 0.8, 0.8, 0.8]),
        # Two epochs that are not better, then the count begins again.
        ([0.5, 0.5, 0.6, 0.7, 0.7], [0.8, 0.8, 0.8, 0.4, 0.4, 0.2]),
        ([0.5, 0.6, 0.4, 0.6, 0.5], [0.8, 0.8, 0.8, 0.8, 0.8, 0.4]),
        # Better by less than 1e-4 is not better.
        ([0.5, 0.49995, 0.49992], [0.8, 0.8, 0.8, 0.4]),
        ([0.5, math.nan, math.nan], [0.8, 0.8, 0.8, 0.4]),
    ],
)
def test_a_plateau_lowers_the_rate(losses, expected):
    assert rates(plateau(), history(*losses)) == pytest.approx(expected)


def test_a_plateau_of_accuracy_is_one_that_does_not_rise():
    train = plateau(monitor="val_accuracy", patience=1)
    found = rates(train, history(0.5, 0.6, 0.6, 0.7, monitor="val_accuracy"))
    assert found == pytest.approx([0.8, 0.8, 0.8, 0.4, 0.4])


@pytest.mark.parametrize(
    ("lowest", "expected"), [(0.3, [0.8, 0.8, 0.4, 0.3, 0.3]), (0.9, [0.8] * 5)]
)
def test_a_plateau_lowers_the_rate_no_further_than_allowed(lowest, expected):
    train = plateau(patience=1, min_learning_rate=lowest)
    assert rates(train, history(0.5, 0.5, 0.5, 0.5)) == pytest.approx(expected)


def early(patience, monitor="val_loss", epochs=9):
    return Train(epochs=epochs, early_stopping={"patience": patience, "monitor": monitor})


@pytest.mark.parametrize(
    ("losses", "best"),
    [([0.5], 1), ([0.5, 0.4, 0.4, 0.6], 2), ([math.nan, 0.4], 2), ([math.nan, math.nan], 1)],
)
def test_the_best_epoch_is_the_first_with_the_lowest_loss(losses, best):
    assert monitoring.best_epoch(early(3), history(*losses)) == best


def test_the_best_epoch_by_accuracy_has_the_highest():
    entries = history(0.5, 0.7, 0.7, 0.6, monitor="val_accuracy")
    assert monitoring.best_epoch(early(3, "val_accuracy"), entries) == 2


def test_training_is_over_when_its_patience_is():
    losses, train = [0.5, 0.4, 0.6, 0.41, 0.3], early(2)
    over = [monitoring.is_over(train, history(*losses[:done])) for done in range(6)]
    assert over == [False, False, False, False, True, False]
    assert not monitoring.is_over(Train(), [{"loss": 0.5}] * 9)


def test_the_kept_epoch_is_known_with_early_stopping_only():
    assert monitoring.kept_epoch(early(1), history(0.5, 0.25, 0.75)) == 2
    assert monitoring.kept_epoch(Train(), [{"loss": 0.5}]) is None
    assert monitoring.kept_epoch(early(1), []) is None


def test_what_is_kept_is_said_with_early_stopping_only():
    assert monitoring.what_is_kept(Train(), [{"loss": 0.5}]) is None
    assert monitoring.what_is_kept(early(1), history(0.5, 0.25, 0.75)) == (
        "trained 3 of 9 epochs, keeps the weights of epoch 2 (val_loss 0.25000 on the rows that it "
        "holds out)"
    )
