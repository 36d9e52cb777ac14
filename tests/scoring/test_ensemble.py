import math
import warnings

import numpy as np
import pytest
from toy_fits import fit, random_fits, row

from kaggle_digits.errors import UserError
from kaggle_digits.scoring import ensemble

# The methods of averaging, one fit a member


def averaged(*rows, method="arithmetic"):
    """Average one row of each member, all of which have one fit."""
    fits = [fit(f"member{number}", 0, test=one) for number, one in enumerate(rows)]
    return ensemble.test_probabilities(fits, method)


def test_arithmetic_average_is_the_mean():
    result = averaged(row(c0=0.8, c1=0.2), row(c0=0.4, c1=0.6))
    np.testing.assert_allclose(result, [row(c0=0.6, c1=0.4)], rtol=1e-6)


def test_geometric_average_is_the_normalised_root_of_the_product():
    # sqrt(.8 * .2) = .4 and sqrt(.2 * .2) = .2, which are normalised to 2/3 and 1/3.
    result = averaged(row(c0=0.8, c1=0.2), row(c0=0.2, c1=0.2, c2=0.6), method="geometric")
    np.testing.assert_allclose(result[0, :2], [2 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(result.sum(), 1)


def test_geometric_average_survives_zeros():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = averaged(row(c0=1), row(c1=1), method="geometric")
    np.testing.assert_allclose(result, [row(c0=0.5, c1=0.5)], atol=1e-12)


def test_vote_is_the_fraction_of_the_votes():
    rows = row(c0=0.51, c1=0.49), row(c0=0.51, c1=0.49), row(c1=1)
    result = averaged(*rows, method="vote")
    # The mean probability prefers class 1, the majority class 0.
    np.testing.assert_allclose(result[0, :2], [2 / 3, 1 / 3], atol=1e-3)
    assert averaged(*rows).argmax() == 1
    np.testing.assert_allclose(result.sum(), 1)


def test_a_tied_vote_goes_to_the_higher_mean_probability():
    result = averaged(row(c2=0.6, c7=0.4), row(c2=0.1, c7=0.9), method="vote")
    # Means are .35 and .65.
    np.testing.assert_allclose(result[0, [2, 7]], [0.49985, 0.50015], rtol=1e-6)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="Expected 'arithmetic', 'geometric' or 'vote'"):
        averaged(row(c0=1), method="median")


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
    as_members = [fit(f"{one.member}{one.fold}", 0, test=one.test) for one in fits]
    np.testing.assert_allclose(
        ensemble.test_probabilities(fits, method), ensemble.test_probabilities(as_members, method)
    )


def test_plain_average_of_random_fits_is_the_mean_over_fits():
    fits = random_fits()
    expected = np.mean([one.test.astype(float) for one in fits], axis=0)
    np.testing.assert_allclose(ensemble.test_probabilities(fits, "arithmetic"), expected)


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


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("geometric", row(c0=2 / 3, c1=1 / 3)),  # sqrt(.8 * .2) = .4 to sqrt(.2 * .2) = .2
        ("vote", row(c0=0.4995 + 0.0005, c1=0.0002, c2=0.4995 + 0.0003)),  # means .5, .2 and .3
    ],
)
def test_out_of_fold_rows_are_averaged_by_the_method(method, expected):
    fits = [
        fit("a", 0, [1], row(c0=0.8, c1=0.2)),
        fit("b", 0, [1], row(c0=0.2, c1=0.2, c2=0.6)),
    ]
    oof, _ = ensemble.out_of_fold(fits, 2, method)
    np.testing.assert_allclose(oof[1], expected, rtol=1e-5, atol=1e-12)


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


def test_a_row_that_several_fits_of_a_member_hold_out_counts_as_one_of_it():
    # Member a: (.9 + .5) / 2 = .7 on row 0; averaged with b's .3.
    fits = [
        fit("a", 0, [0, 1], [row(c0=0.9, c1=0.1), row(c1=1)]),
        fit("a", 1, [0], [row(c0=0.5, c1=0.5)]),
        fit("b", 0, [0], [row(c0=0.3, c1=0.7)]),
    ]
    oof, count = ensemble.out_of_fold(fits, 3, "arithmetic", times=None)
    assert count.tolist() == [2, 1, 0]
    np.testing.assert_allclose(oof[:2], [row(c0=0.5, c1=0.5), row(c1=1)], rtol=1e-6)
    assert np.isnan(oof[2]).all()


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # Roots of the products: sqrt(.8 * .2) = .4 to sqrt(.2 * .2) = .2.
        ("geometric", row(c0=2 / 3, c1=1 / 3)),
        ("vote", row(c0=0.4995 + 0.0005, c1=0.0002, c2=0.4995 + 0.0003)),
    ],
)
def test_fits_of_a_member_are_averaged_by_the_method(method, expected):
    fits = [fit("a", 0, [1], row(c0=0.8, c1=0.2)), fit("a", 1, [1], row(c0=0.2, c1=0.2, c2=0.6))]
    oof, count = ensemble.out_of_fold(fits, 2, method, times=2)
    assert count.tolist() == [0, 1]
    np.testing.assert_allclose(oof[1], expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(("times", "often"), [(0, "never"), (1, "once"), (2, "2 times")])
def test_a_row_held_out_more_often_than_it_should_be_is_refused(times, often):
    fits = [fit("wide", fold, [3], row(c0=1)) for fold in range(times + 1)]
    message = f"held out {often}, found row 3 .* in folds {' and '.join('012'[: times + 1])};"
    with pytest.raises(UserError, match=message):
        ensemble.out_of_fold(fits, 5, "arithmetic", times)
    oof, _ = ensemble.out_of_fold(fits, 5, "arithmetic", times + 1)
    assert np.isfinite(oof[3]).all()


def test_nothing_is_held_out_by_fits_on_all_rows():
    oof, count = ensemble.out_of_fold([fit("a", 0)], 3, "arithmetic", times=0)
    assert np.isnan(oof).all()
    assert count.tolist() == [0, 0, 0]
    ensemble.check_coverage([fit("a", 0)], 3, ["a"], times=0)


def test_coverage_of_a_repeated_split():
    once, again = random_fits(("a",)), random_fits(("a",))
    fits = [*once, *(fit("a", 3 + each.fold, each.heldout_rows, each.heldout) for each in again)]
    ensemble.check_coverage(fits, 60, ["a"], times=2)
    with pytest.raises(UserError, match=r"held out 2 times, found 20 rows that fewer folds hold"):
        ensemble.check_coverage(fits[:-1], 60, ["a"], times=2)


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
    # |accuracy - L| = z sqrt(L (1 - L) / n), z = 2.575829 for 99 %.
    for limit in ensemble.accuracy_interval(130, 42_000, confidence=0.99):
        distance = 2.575829 * math.sqrt(limit * (1 - limit) / 42_000)
        assert abs(1 - 130 / 42_000 - limit) == pytest.approx(distance, rel=1e-6)
