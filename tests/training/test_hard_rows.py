import keras
import numpy as np
import pytest

from kaggle_digits.training import hard_rows

NEW = np.nan


def pick(losses, count, seed=3):
    return hard_rows.pick(np.float32(losses), count, np.random.default_rng(seed)).tolist()


# Picking


def test_rows_that_were_never_trained_on_come_first():
    losses = [9.0, NEW, 8.0, NEW, 7.0, NEW, 6.0, NEW]
    for seed in range(5):
        assert sorted(pick(losses, 4, seed)) == [1, 3, 5, 7]
        assert {1, 3, 5, 7} < set(pick(losses, 5, seed))
        assert set(pick(losses, 2, seed)) < {1, 3, 5, 7}
    assert len({tuple(sorted(pick(losses, 2, seed))) for seed in range(9)}) > 1


def test_half_of_an_epoch_are_the_hardest_and_the_rest_is_drawn_from_the_others():
    losses = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6]
    others = set()
    for seed in range(20):
        picked = pick(losses, 4, seed)
        assert len(set(picked)) == 4
        assert {1, 3} < set(picked)
        others |= set(picked) - {1, 3}
    assert others == {0, 2, 4, 5, 6, 7}


def test_new_rows_take_the_place_of_hard_ones():
    # Of 6, three may be hard: two are new, so that one hard one is left.
    losses = [0.1, 0.9, 0.2, 0.8, 0.3, NEW, 0.4, NEW]
    drawn = [set(pick(losses, 6, seed)) for seed in range(20)]
    assert all({5, 7, 1} <= picked and len(picked) == 6 for picked in drawn)
    assert any(3 not in picked for picked in drawn)


def test_among_equal_losses_chance_decides():
    assert len({tuple(sorted(pick([0.5] * 8, 4, seed)[:2])) for seed in range(20)}) > 3


def test_all_rows_can_be_picked():
    assert sorted(pick([0.3, NEW, 0.1], 3)) == [0, 1, 2]


def test_the_same_draw_gives_the_same_rows():
    losses = np.random.default_rng(1).random(100)
    assert pick(losses, 50, 7) == pick(losses, 50, 7) != pick(losses, 50, 8)


# Remembering


def test_half_of_what_is_remembered_is_the_last_loss():
    found = hard_rows.remembered(np.float32([NEW, 1.0, 0.0]), np.float32([0.5, 3.0, 1.0]))
    assert found.tolist() == [0.5, 2.0, 0.5]
    assert found.dtype == np.float32


def test_losses_of_an_epoch_by_hand():
    losses = hard_rows.BatchLosses(2, 2)
    logits = np.log(np.float32([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    for truth in ([0, 1], [1, 2]):
        losses.update_state(np.eye(3, dtype=np.float32)[truth], logits)
    expected = -np.log([0.5, 0.1, 0.25, 0.8])
    assert losses.of_images == pytest.approx(expected, rel=1e-6)
    assert float(losses.result()) == pytest.approx(expected.mean(), rel=1e-6)
    # Within an epoch the mean is that of the batches so far.
    losses.reset_state()
    losses.update_state(np.eye(3, dtype=np.float32)[[2, 2]], logits)
    expected = -np.log([0.25, 0.8])
    assert losses.of_images[:2] == pytest.approx(expected, rel=1e-6)
    assert float(losses.result()) == pytest.approx(expected.mean(), rel=1e-6)
    assert isinstance(losses, keras.metrics.Metric)
