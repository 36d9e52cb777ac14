from math import atan, comb, erfc, log, pi, sqrt

import numpy as np
import pytest

from kaggle_digits.scoring import significance


def wrong(*rows, count=12):
    """Which of some rows are predicted wrongly."""
    mask = np.zeros(count, bool)
    mask[list(rows)] = True
    return mask


# Rows


def test_losses_by_hand():
    probabilities = np.full((3, 10), 0.05, np.float32)
    probabilities[0, 3], probabilities[1, 0], probabilities[2, 9] = 0.5, 0.25, 0.55
    found = significance.losses(probabilities, np.uint8([3, 0, 1]))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [log(2), log(4), log(20)], rtol=1e-6)


def test_loss_where_the_true_class_was_ruled_out():
    # The smallest normal float32 is 2 ** -126.
    probabilities = np.eye(10, dtype=np.float32)[[0, 1]]
    found = significance.losses(probabilities, np.array([5, 1]))
    np.testing.assert_allclose(found, [126 * log(2), 0], rtol=1e-12)


def test_mistakes_by_hand():
    probabilities = np.full((4, 10), 0.05)
    probabilities[[0, 1, 2, 3], [7, 2, 2, 0]] = 0.55
    found = significance.mistakes(probabilities, np.uint8([7, 2, 3, 9]))
    assert found.tolist() == [False, False, True, True]


def test_discordant_rows_by_hand():
    one, other = wrong(0, 1, 2, 3), wrong(2, 3, 4, 5, 6)
    assert significance.discordant(one, other) == (2, 3)
    assert significance.discordant(other, one) == (3, 2)
    assert significance.discordant(one, one) == (0, 0)


# Mistakes


def pair(only_first, only_second, both=2):
    """Mistakes of two classifiers on 40 rows."""
    first = wrong(*range(only_first + both), count=40)
    second = wrong(*range(only_first, only_first + both + only_second), count=40)
    return first, second


@pytest.mark.parametrize(
    ("only_first", "only_second", "two_sided", "one_sided"),
    [
        (5, 1, 2 * (1 + 6) / 64, (1 + 6) / 64),
        (1, 5, 2 * (1 + 6) / 64, (64 - 1) / 64),
        (8, 2, 2 * (1 + 10 + 45) / 1024, (1 + 10 + 45) / 1024),
        (6, 0, 2 / 64, 1 / 64),
        (0, 6, 2 / 64, 1.0),
        (1, 0, 1.0, 0.5),
        (3, 3, 1.0, (20 + 15 + 6 + 1) / 64),
        (0, 0, 1.0, 1.0),
    ],
)
def test_exact_p_values_by_hand(only_first, only_second, two_sided, one_sided):
    first, second = pair(only_first, only_second)
    assert significance.discordant(first, second) == (only_first, only_second)
    assert significance.mcnemar(first, second) == pytest.approx(two_sided, rel=1e-12)
    assert significance.mcnemar(second, first) == pytest.approx(two_sided, rel=1e-12)
    assert significance.more_mistakes(first, second) == pytest.approx(one_sided, rel=1e-12)


def test_rows_on_which_both_are_alike_do_not_count():
    few, many = pair(7, 2, both=0), pair(7, 2, both=20)
    expected = sum(comb(9, k) for k in range(3)) / 2**9
    for first, second in (few, many):
        assert significance.more_mistakes(first, second) == pytest.approx(expected, rel=1e-12)
        assert significance.mcnemar(first, second) == pytest.approx(2 * expected, rel=1e-12)


# Losses


def test_higher_loss_by_hand():
    # Differences 1, 0, 1, 2: mean 1, standard deviation sqrt(2 / 3), so t = 1 / sqrt(1 / 6). With 3
    # degrees of freedom P(T > t) = 1/2 - (a / (1 + a ** 2) + atan(a)) / pi, a = t / sqrt(3).
    one, other = np.array([2.0, 1.0, 3.0, 2.5]), np.array([1.0, 1.0, 2.0, 0.5])
    expected = 0.5 - (sqrt(2) / 3 + atan(sqrt(2))) / pi
    assert significance.higher_loss(one, other) == pytest.approx(expected, rel=1e-9)
    assert significance.higher_loss(other, one) == pytest.approx(1 - expected, rel=1e-9)


def test_higher_loss_is_the_paired_z_test_of_many_rows():
    generator = np.random.default_rng(3)
    one = generator.gamma(0.2, 1.0, 20_000)
    other = one + generator.normal(-0.002, 0.2, 20_000)
    difference = one - other
    z = difference.mean() / (difference.std(ddof=1) / sqrt(20_000))
    expected = erfc(z / sqrt(2)) / 2
    assert 0.01 < expected < 0.5
    # With so many rows Student's distribution is the normal one.
    assert significance.higher_loss(one, other) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_losses_without_a_difference(count):
    losses = np.linspace(0.1, 1.0, count)
    assert significance.higher_loss(losses, losses) == 1.0
    assert significance.higher_loss(losses[:1], losses[:1] / 2) == 1.0  # one row proves nothing


def test_a_constant_difference_leaves_its_spread_unknown():
    losses = np.array([0.25, 0.5, 1.0])
    assert significance.higher_loss(losses + 0.5, losses) == 1.0


# Several tests


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.04: 3 x 0.01, then 2 x 0.02, then 1 x 0.04, none below the one before.
    assert significance.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([], []),
        ([0.2], [0.2]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.01, 0.01], [0.02, 0.02]),
        ([0.02, 0.021, 0.5], [0.06, 0.06, 0.5]),
    ],
)
def test_holm_keeps_the_order_and_never_passes_one(p_values, corrected):
    assert significance.holm(p_values) == pytest.approx(corrected)
