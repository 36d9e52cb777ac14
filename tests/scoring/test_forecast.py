import math
from dataclasses import replace

import numpy as np
import pytest
from forecast_trials import trial
from toy_fits import fit, random_fits, row

from kaggle_digits.scoring import ensemble, forecast
from kaggle_digits.scoring.ensemble import Score


def score_of(errors, rows):
    """Make a score; errors may be fractional, to demand a temperature exactly."""
    interval = ensemble.accuracy_interval(round(errors), rows)
    return Score(errors, rows, 1 - errors / rows, interval)


def disagreeing_fits():
    """Two folds of one net each that agree on rows 0..2 and differ on row 3.

    The means are 0.9 : 0.1 on rows 0..2 and 0.6 : 0.4 on row 3, where fold 1 prefers the loser.
    """
    sure, lean, other = row(c0=0.9, c1=0.1), row(c0=0.8, c1=0.2), row(c0=0.4, c1=0.6)
    return [
        fit("a", 0, [0], [sure], [sure] * 3 + [lean]),
        fit("a", 1, [1], [sure], [sure] * 3 + [other]),
    ]


@pytest.mark.parametrize("method", ["arithmetic", "geometric", "vote"])
def test_gain_is_the_calibrated_advantage_on_disagreeing_rows(method):
    # With T = 1 one fold's labels are right in (3 * .9 + (.6 + .4) / 2) / 4 = .8 of the rows. A
    # score of 1 - (19.5 + .5) / (99 + 1) = .8 demands just that. The submitted label gains
    # .6 - (.6 + .4) / 2 = .1 on one of four rows. All methods submit the same labels here.
    gain = forecast.averaging_gain(disagreeing_fits(), score_of(19.5, 99), method)
    assert gain == pytest.approx(0.1 / 4, rel=1e-5)


def test_gain_follows_the_temperature_that_the_score_demands():
    # T = 1/2 squares the odds: .81 / .82 on rows 0..2, and .36 / .52 against .16 / .52 on row 3.
    demanded = (3 * 0.81 / 0.82 + 0.5) / 4
    score = score_of((1 - demanded) * 1_000_001 - 0.5, 1_000_000)
    gain = forecast.averaging_gain(disagreeing_fits(), score, "arithmetic")
    assert gain == pytest.approx((0.36 - 0.16) / 0.52 / 2 / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("errors", "odds"),
    [
        # One of two folds' labels differs on one of four rows: no T gets more than 7/8 of the rows
        # right, and T = 20 gets more than 1/10. Odds of .6 to .4 become (3/2) ** (1 / T).
        (0, 1.5 ** (1 / 0.05)),
        (1_000_000, 1.5 ** (1 / 20)),
    ],
)
def test_a_temperature_that_no_score_can_demand_is_the_nearest_one_allowed(errors, odds):
    gain = forecast.averaging_gain(disagreeing_fits(), score_of(errors, 1_000_000), "arithmetic")
    # At T = 20 the other classes, which are underflows, count too; at T = 0.05 they do not.
    others = 8 * (2**-126 / 0.4) ** (1 / 20) if errors else 0
    win, lose = odds / (odds + 1 + others), 1 / (odds + 1 + others)
    assert gain == pytest.approx((win - lose) / 2 / 4, rel=1e-5)


@pytest.mark.parametrize("method", ["arithmetic", "geometric", "vote"])
def test_one_fold_gains_nothing(method):
    fits = [one for one in random_fits() if one.fold == 0]
    assert forecast.averaging_gain(fits, score_of(3, 20), method) == 0


def held_out_by(fits, *rows_of_folds):
    """The same fits with other rows held out, a set for each."""
    return [
        fit(one.member, one.fold, rows, [row(c0=1)] * len(rows), one.test)
        for one, rows in zip(fits, rows_of_folds, strict=True)
    ]


def test_rows_that_all_folds_hold_out_gain_nothing():
    # Both nets predict every out-of-fold row, as they do every test row.
    fits = held_out_by(disagreeing_fits(), [0, 1], [0, 1])
    assert forecast.averaging_gain(fits, score_of(19.5, 99), "arithmetic") == 0


def test_gain_counts_for_the_rows_that_fewer_folds_hold_out():
    # Of three covered rows one is held out twice. With T = 1 its two nets are right in
    # (3 * .9 + .6) / 4 = .825 of the rows, one net in .8: 2/3 * .8 + .825 / 3 = .80833. The gain
    # is .025 for two of the three.
    fits = held_out_by(disagreeing_fits(), [4, 7], [9, 7])
    demanded = (2 * 0.8 + 0.825) / 3
    score = score_of((1 - demanded) * 1_000_001 - 0.5, 1_000_000)
    gain = forecast.averaging_gain(fits, score, "arithmetic")
    assert gain == pytest.approx(0.025 * 2 / 3, rel=1e-5)


def test_a_repeated_split_is_predicted_by_a_fold_of_each_repeat():
    # Folds 0 and 1 are one repeat, 2 and 3 the other: any row is held out by one fold of each.
    fits = held_out_by(random_fits(("a",), folds=4), [0, 1], [2, 3], [0, 2], [1, 3])
    ((part, picks),) = forecast._like_out_of_fold(fits)
    assert part == 1
    assert [[one.fold for one in pick] for pick in picks] == [[0, 2], [1, 3]]


def test_random_holdouts_are_predicted_by_as_many_nets_as_hold_a_row_out():
    rows = [[0, 1], [1, 2], [1], [5, 6]]  # row 1 by three, 0, 2, 5 and 6 by one, 3 and 4 by none
    fits = held_out_by(random_fits(("a",), folds=4), *rows)
    (one, alone), (three, together) = forecast._like_out_of_fold(fits)
    assert (one, three) == (4 / 5, 1 / 5)
    assert [[each.fold for each in pick] for pick in alone] == [[0], [1], [2], [3]]
    assert [len(pick) for pick in together] == [3, 3, 3, 3]


@pytest.mark.parametrize("errors", [0, 20])
def test_gain_is_finite_and_in_range_for_extreme_scores(errors):
    gain = forecast.averaging_gain(random_fits(), score_of(errors, 20), "arithmetic")
    assert 0 <= gain <= 1


def test_forecast_without_gain_has_both_sampling_errors():
    # One fold: no gain. With as many test rows as training rows the Wilson distances grow by
    # sqrt(2).
    fits = [fit("a", 0, [0], row(c0=1), [row(c0=1)] * 1000)]
    low, high = ensemble.accuracy_interval(30, 1000)
    band = forecast.expected_leaderboard(fits, score_of(30, 1000), "arithmetic")
    expected = (0.97 - (0.97 - low) * math.sqrt(2), 0.97 + (high - 0.97) * math.sqrt(2))
    assert band == pytest.approx(expected, rel=1e-12)


def test_forecast_of_a_leaderboard_that_scores_a_quarter_of_the_rows(monkeypatch):
    # 1000 rows out of fold and 250 scored: the Wilson distances grow by sqrt(1 + 4).
    monkeypatch.setattr(forecast, "SCORED_FRACTION", 0.25)
    fits = [fit("a", 0, [0], row(c0=1), [row(c0=1)] * 1000)]
    low, high = ensemble.accuracy_interval(30, 1000)
    band = forecast.expected_leaderboard(fits, score_of(30, 1000), "arithmetic")
    expected = (0.97 - (0.97 - low) * math.sqrt(5), 0.97 + (high - 0.97) * math.sqrt(5))
    assert band == pytest.approx(expected, rel=1e-12)


def test_forecast_moves_by_the_gain_and_widens_with_it():
    fits = disagreeing_fits()
    fits = [replace(one, test=np.tile(one.test, (500, 1))) for one in fits]
    score = score_of(400, 2000)
    gain = forecast.averaging_gain(fits, score, "arithmetic")
    assert gain == pytest.approx(0.025, rel=1e-2)
    low, high = score.interval
    below, above = (0.8 - low) * math.sqrt(2), (high - 0.8) * math.sqrt(2)
    band = forecast.expected_leaderboard(fits, score, "arithmetic")
    assert band[0] == pytest.approx(0.8 + gain - math.sqrt(below**2 + gain**2))
    assert band[1] == pytest.approx(0.8 + gain + math.sqrt(above**2 + gain**2))


def test_forecast_stays_within_0_and_1():
    fits = random_fits(test_rows=3)
    assert forecast.expected_leaderboard(fits, score_of(0, 60), "arithmetic")[1] == 1
    assert forecast.expected_leaderboard(fits, score_of(60, 60), "arithmetic")[0] == 0


def test_forecast_covers_simulated_scores():
    # Nets share a view of each row and add noise of their own, so that averaging them helps.
    rng = np.random.default_rng(11)
    rows, test_rows, folds, trials = 800, 500, 4, 50
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
        inside += trial(fits, labels[:rows], labels[rows:]).covered
    assert inside / trials >= 0.92
