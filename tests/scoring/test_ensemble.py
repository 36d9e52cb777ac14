import math
import warnings

import numpy as np
import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.scoring import ensemble
from kaggle_digits.scoring.ensemble import FitPredictions, Score


def row(**classes):
    """One row of probabilities: row(c3=0.7, c5=0.3)."""
    probabilities = np.zeros(10, np.float32)
    for name, value in classes.items():
        probabilities[int(name[1:])] = value
    return probabilities


def fit(member, fold, heldout_rows=(), heldout=(), test=()):
    return FitPredictions(
        member,
        fold,
        np.array(heldout_rows, int),
        np.array(heldout, np.float32).reshape(-1, 10),
        np.array(test, np.float32).reshape(-1, 10),
    )


def random_fits(members=("a", "b"), folds=3, rows=60, test_rows=40):
    rng = np.random.default_rng(5)
    return [
        fit(
            member,
            fold,
            np.arange(fold, rows, folds),
            rng.dirichlet(np.ones(10), rows // folds),
            rng.dirichlet(np.ones(10), test_rows),
        )
        for member in members
        for fold in range(folds)
    ]


# average


def test_arithmetic_average_is_the_mean():
    stack = np.array([[row(c0=0.8, c1=0.2)], [row(c0=0.4, c1=0.6)]])
    np.testing.assert_allclose(ensemble.average(stack), [row(c0=0.6, c1=0.4)], rtol=1e-6)


def test_geometric_average_is_the_normalised_root_of_the_product():
    # sqrt(.8 * .2) = .4 and sqrt(.2 * .2) = .2, which are normalised to 2/3 and 1/3.
    stack = np.array([[row(c0=0.8, c1=0.2)], [row(c0=0.2, c1=0.2, c2=0.6)]])
    result = ensemble.average(stack, "geometric")
    np.testing.assert_allclose(result[0, :2], [2 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(result.sum(), 1)


def test_geometric_average_survives_zeros():
    stack = np.array([[row(c0=1)], [row(c1=1)]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = ensemble.average(stack, "geometric")
    np.testing.assert_allclose(result, [row(c0=0.5, c1=0.5)], atol=1e-12)


def test_vote_is_the_share_of_votes():
    stack = np.array([[row(c0=0.51, c1=0.49)], [row(c0=0.51, c1=0.49)], [row(c1=1)]])
    result = ensemble.average(stack, "vote")
    # The mean probability prefers class 1, the majority class 0.
    np.testing.assert_allclose(result[0, :2], [2 / 3, 1 / 3], atol=1e-3)
    assert ensemble.average(stack).argmax() == 1
    np.testing.assert_allclose(result.sum(), 1)


def test_a_tied_vote_goes_to_the_higher_mean_probability():
    stack = np.array([[row(c2=0.6, c7=0.4)], [row(c2=0.1, c7=0.9)]])
    result = ensemble.average(stack, "vote")
    # Means are .35 and .65.
    np.testing.assert_allclose(result[0, [2, 7]], [0.49985, 0.50015], rtol=1e-6)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="Expected 'arithmetic', 'geometric' or 'vote'"):
        ensemble.average(np.ones((1, 1, 10)) / 10, "median")


# test_probabilities


def test_members_weigh_the_same_however_many_fits_they_have():
    fits = [
        fit("a", 0, test=row(c0=1)),
        fit("a", 1, test=row(c0=0.6, c1=0.4)),
        fit("b", 0, test=row(c0=0.2, c1=0.8)),
    ]
    result = ensemble.test_probabilities(fits, "arithmetic")
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, [row(c0=0.5, c1=0.5)], rtol=1e-6)


def test_votes_of_a_member_count_as_one():
    fits = [fit("a", fold, test=row(c4=1)) for fold in range(3)] + [
        fit("b", 0, test=row(c5=1)),
        fit("c", 0, test=row(c5=1)),
    ]
    result = ensemble.test_probabilities(fits, "vote")
    np.testing.assert_allclose(result, [row(c4=1 / 3, c5=2 / 3)], atol=1e-6)


@pytest.mark.parametrize("method", ["arithmetic", "geometric", "vote"])
def test_the_order_of_the_fits_changes_no_bit(method):
    fits = random_fits()
    test = ensemble.test_probabilities(fits, method)
    oof, count = ensemble.out_of_fold(fits, 60, method)
    for seed in range(5):
        mixed = [fits[i] for i in np.random.default_rng(seed).permutation(len(fits))]
        assert ensemble.test_probabilities(mixed, method).tobytes() == test.tobytes()
        mixed_oof, mixed_count = ensemble.out_of_fold(mixed, 60, method)
        assert mixed_oof.tobytes() == oof.tobytes()
        assert mixed_count.tobytes() == count.tobytes()


@pytest.mark.parametrize("method", ["arithmetic", "geometric", "vote"])
def test_equally_many_fits_a_member_give_the_plain_average(method):
    fits = random_fits()
    stack = np.stack([one.test for one in fits])
    np.testing.assert_allclose(
        ensemble.test_probabilities(fits, method), ensemble.average(stack, method)
    )


# out_of_fold and check_coverage


def test_each_row_averages_the_members_that_cover_it():
    fits = [
        fit("a", 0, [2, 0], [row(c2=1), row(c0=0.9, c1=0.1)]),
        fit("a", 1, [1], [row(c1=1)]),
        fit("b", 0, [0], [row(c0=0.5, c1=0.5)]),
    ]
    oof, count = ensemble.out_of_fold(fits, 4, "arithmetic")
    assert oof.dtype == np.float32
    assert count.tolist() == [2, 1, 1, 0]
    np.testing.assert_allclose(oof[:3], [row(c0=0.7, c1=0.3), row(c1=1), row(c2=1)], rtol=1e-6)
    assert np.isnan(oof[3]).all()


@pytest.mark.parametrize("method", ["geometric", "vote"])
def test_out_of_fold_rows_are_averaged_by_the_method(method):
    fits = random_fits()
    oof, _ = ensemble.out_of_fold(fits, 60, method)
    stack = np.stack([fits[0].heldout, fits[3].heldout])
    np.testing.assert_allclose(oof[0::3], ensemble.average(stack, method), rtol=1e-5)


def test_out_of_fold_of_no_fits_is_empty():
    oof, count = ensemble.out_of_fold([], 3, "arithmetic")
    assert np.isnan(oof).all()
    assert count.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("folds_rows", "reason"),
    [
        ({0: [0, 3], 4: [1, 3]}, "row 3 (counted from 0) in folds 0 and 4"),
        ({1: [2, 0, 2]}, "row 2 (counted from 0) in folds 1 and 1"),
    ],
)
def test_a_row_held_out_twice_is_refused(folds_rows, reason):
    fits = [fit("wide", fold, rows, [row(c0=1)] * len(rows)) for fold, rows in folds_rows.items()]
    with pytest.raises(UserError) as caught:
        ensemble.out_of_fold([fit("other", 0, [3], row(c0=1)), *fits], 5, "arithmetic")
    assert "member 'wide'" in str(caught.value)
    assert reason in str(caught.value)


def test_complete_coverage_passes():
    ensemble.check_coverage(random_fits(), 60, ["a", "b"])


def test_missing_coverage_names_member_and_number_of_rows():
    fits = random_fits()[:-1]
    with pytest.raises(UserError) as caught:
        ensemble.check_coverage(fits, 60, ["a", "b"])
    assert "member 'b'" in str(caught.value)
    assert "found 20 rows that no fold holds out" in str(caught.value)
    assert "is row 2)" in str(caught.value)


def test_a_member_without_any_fit_is_missing_every_row():
    with pytest.raises(UserError, match=r"member 'c'.*found 60 rows"):
        ensemble.check_coverage(random_fits(), 60, ["a", "b", "c"])


# accuracy and its interval


def test_accuracy_counts_errors_of_predicted_rows_only():
    probabilities = np.array([row(c3=0.6, c4=0.4), row(c5=1), np.full(10, np.nan), row(c1=1)])
    score = ensemble.accuracy(probabilities, np.array([3, 6, 0, 1]))
    assert (score.errors, score.rows) == (1, 3)
    assert score.accuracy == pytest.approx(2 / 3)
    assert score.interval == ensemble.accuracy_interval(1, 3)


def test_accuracy_of_no_predicted_row_is_refused():
    with pytest.raises(ValueError, match="at least 1 row"):
        ensemble.accuracy(np.full((2, 10), np.nan), np.array([0, 1]))


def test_wilson_interval_against_published_figures():
    # Newcombe (1998), Statistics in Medicine 17, 857-872, table I: 81/263, 15/148, 0/20, 1/29.
    published = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605)}
    published |= {(0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718)}
    for (errors, rows), (low, high) in published.items():
        expected = pytest.approx((1 - high, 1 - low), abs=5e-5)
        assert ensemble.accuracy_interval(errors, rows) == expected


def test_wilson_limits_solve_the_score_equation():
    # |share - L| = z sqrt(L (1 - L) / n), z = 2.575829 for 99 %.
    for limit in ensemble.accuracy_interval(130, 42_000, confidence=0.99):
        distance = 2.575829 * math.sqrt(limit * (1 - limit) / 42_000)
        assert abs(1 - 130 / 42_000 - limit) == pytest.approx(distance, rel=1e-6)


# averaging_gain and expected_leaderboard


def score_of(errors, rows):
    return Score(errors, rows, 1 - errors / rows, ensemble.accuracy_interval(errors, rows))


def disagreeing_fits():
    """Two folds of one net each that agree on rows 0..2 and differ on row 3.

    The means are 0.9 : 0.1 on rows 0..2 and 0.6 : 0.4 on row 3, where fold 1 prefers the loser.
    """
    sure, lean, other = row(c0=0.9, c1=0.1), row(c0=0.8, c1=0.2), row(c0=0.4, c1=0.6)
    return [fit("a", 0, test=[sure] * 3 + [lean]), fit("a", 1, test=[sure] * 3 + [other])]


@pytest.mark.parametrize("method", ["arithmetic", "geometric", "vote"])
def test_gain_is_the_calibrated_advantage_on_disagreeing_rows(method):
    # With T = 1 one fold's labels are right in (3 * .9 + (.6 + .4) / 2) / 4 = .8 of the rows. A
    # score of 1 - (19.5 + .5) / (99 + 1) = .8 demands just that. The submitted label gains
    # .6 - (.6 + .4) / 2 = .1 on one of four rows. All methods submit the same labels here.
    gain = ensemble.averaging_gain(disagreeing_fits(), score_of(19.5, 99), method)
    assert gain == pytest.approx(0.1 / 4, rel=1e-5)


def test_gain_follows_the_temperature_that_the_score_demands():
    # T = 1/2 squares the odds: .81 / .82 on rows 0..2, and .36 / .52 against .16 / .52 on row 3.
    demanded = (3 * 0.81 / 0.82 + 0.5) / 4
    score = score_of((1 - demanded) * 1_000_001 - 0.5, 1_000_000)
    gain = ensemble.averaging_gain(disagreeing_fits(), score, "arithmetic")
    assert gain == pytest.approx((0.36 - 0.16) / 0.52 / 2 / 4, rel=1e-5)


@pytest.mark.parametrize("method", ["arithmetic", "geometric", "vote"])
def test_one_fold_gains_nothing(method):
    fits = [one for one in random_fits() if one.fold == 0]
    assert ensemble.averaging_gain(fits, score_of(3, 20), method) == 0


@pytest.mark.parametrize("errors", [0, 20])
def test_gain_is_finite_and_in_range_for_extreme_scores(errors):
    gain = ensemble.averaging_gain(random_fits(), score_of(errors, 20), "arithmetic")
    assert 0 <= gain <= 1


def test_forecast_without_gain_has_both_sampling_errors():
    # One fold: no gain. With as many test rows as training rows the Wilson distances grow by
    # sqrt(2).
    fits = [fit("a", 0, test=[row(c0=1)] * 1000)]
    low, high = ensemble.accuracy_interval(30, 1000)
    band = ensemble.expected_leaderboard(fits, score_of(30, 1000), "arithmetic")
    expected = (0.97 - (0.97 - low) * math.sqrt(2), 0.97 + (high - 0.97) * math.sqrt(2))
    assert band == pytest.approx(expected, rel=1e-12)


def test_forecast_moves_by_the_gain_and_widens_with_it():
    fits = disagreeing_fits()
    fits = [fit("a", one.fold, test=np.tile(one.test, (500, 1))) for one in fits]
    score = score_of(400, 2000)
    gain = ensemble.averaging_gain(fits, score, "arithmetic")
    assert gain == pytest.approx(0.025, rel=1e-2)
    low, high = score.interval
    below, above = (0.8 - low) * math.sqrt(2), (high - 0.8) * math.sqrt(2)
    band = ensemble.expected_leaderboard(fits, score, "arithmetic")
    assert band[0] == pytest.approx(0.8 + gain - math.sqrt(below**2 + gain**2))
    assert band[1] == pytest.approx(0.8 + gain + math.sqrt(above**2 + gain**2))


def test_forecast_stays_within_0_and_1():
    fits = random_fits(test_rows=3)
    assert ensemble.expected_leaderboard(fits, score_of(0, 60), "arithmetic")[1] == 1
    assert ensemble.expected_leaderboard(fits, score_of(60, 60), "arithmetic")[0] == 0


def test_forecast_covers_simulated_scores():
    # Nets share a view of each row and add noise of their own, so that averaging them helps.
    rng = np.random.default_rng(11)
    rows, test_rows, folds, trials = 800, 500, 4, 150
    inside = 0
    for _ in range(trials):
        labels = rng.integers(0, 10, rows + test_rows)
        view = rng.normal(size=(labels.size, 10)) + 3.2 * np.eye(10)[labels]
        fits = []
        for fold in range(folds):
            powers = np.exp(1.5 * (view + 0.6 * rng.normal(size=view.shape)))
            net = powers / powers.sum(axis=1, keepdims=True)
            held_out = np.arange(fold, rows, folds)
            fits.append(fit("a", fold, held_out, net[held_out], net[rows:]))
        oof, _ = ensemble.out_of_fold(fits, rows, "arithmetic")
        score = ensemble.accuracy(oof, labels[:rows])
        submitted = ensemble.test_probabilities(fits, "arithmetic")
        reached = ensemble.accuracy(submitted, labels[rows:]).accuracy
        low, high = ensemble.expected_leaderboard(fits, score, "arithmetic")
        inside += low <= reached <= high
    assert inside / trials >= 0.92
