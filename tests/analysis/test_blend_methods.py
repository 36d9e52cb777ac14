import numpy as np
import pytest
from finished_runs import wrong_at

from kaggle_digits.analysis.blend_methods import Blend
from kaggle_digits.config.averaging import Ensemble
from kaggle_digits.errors import UserError
from kaggle_digits.runs.figures import Predictions
from kaggle_digits.scoring import weights
from kaggle_digits.scoring.ensemble import FitPredictions

LABELS = np.tile(np.arange(10), 6)
FOLDS = np.arange(60) % 3
NO_TEST = np.zeros((0, 10), np.float32)


def blend_of(members, labels=LABELS, folds=FOLDS, without=(), averaging=None):
    """Combine members: name -> (60, 10) out-of-fold probabilities."""
    fits = [
        FitPredictions(name, fold, rows, probabilities[rows], NO_TEST)
        for name, probabilities in sorted(members.items())
        for fold in range(3)
        for rows in [np.flatnonzero(folds == fold)]
        if (name, fold) not in without
    ]
    sources = {name: name.partition("_")[0] for name in sorted(members)}
    averaging_of = dict.fromkeys(sources.values(), Ensemble()) | (averaging or {})
    return Blend(fits, labels, folds, sources, averaging_of)


def wrong(*rows, top=0.91):
    return wrong_at(*rows, top=top, labels=LABELS)


MEMBERS = {
    "a_cnn": wrong(0, 1, 2, top=0.8),
    "b_cnn": wrong(2, 3, top=0.7),
    "b_big": wrong(2, 4, 5, 6, top=0.6),
}


def test_scores_by_hand():
    record = blend_of(MEMBERS).record("mean")
    scores = {each.name: each for each in (*record.methods, *record.sources)}
    # Mean: row 2 alone is wrong with all; in each other row two right ones outweigh the wrong one.
    assert scores["mean"].score.errors == 1
    assert (scores["mean"].only_mean_wrong, scores["mean"].only_this_wrong) == (0, 0)
    assert scores["vote"].score.errors == 1
    assert scores["a"].score.errors == 3
    # Rows 0 and 1 are wrong with it only; of 2 discordant rows both one way: p = 2 x 1/4.
    assert (scores["a"].only_mean_wrong, scores["a"].only_this_wrong) == (0, 2)
    assert scores["a"].p_value == pytest.approx(0.5)
    assert {each.score.rows for each in scores.values()} == {60}


@pytest.mark.parametrize(
    ("averaging", "errors"),
    [
        # By the mean the surer member decides: of rows 2 to 6 it is wrong at 2 and 3.
        ({}, 2),
        # The other one decides: it is wrong at 2, 4, 5, 6.
        ({"weights": {"b_big": 9.0}}, 4),
        # Of two votes against each other the surer one leads.
        ({"method": "vote"}, 2),
    ],
)
def test_a_source_alone_is_averaged_as_it_averages_itself(averaging, errors):
    record = blend_of(MEMBERS, averaging={"b": Ensemble(**averaging)}).record("mean")
    (alone,) = (each.score for each in record.sources if each.name == "b")
    assert alone.errors == errors
    assert record.methods == blend_of(MEMBERS).record("mean").methods


def test_weights_add_up():
    record = blend_of(MEMBERS).record("mean")
    assert [each.member for each in record.weights] == ["a_cnn", "b_big", "b_cnn"]
    assert [each.source for each in record.weights] == ["a", "b", "b"]
    for name in ("equal", "greedy"):
        assert sum(getattr(each, name) for each in record.weights) == pytest.approx(1)
    assert all(0 <= each.least <= each.most <= 1 for each in record.weights)


def noisy_members(seed=1):
    rng = np.random.default_rng(seed)
    return {
        f"{name}_cnn": wrong(*rng.choice(60, 15, replace=False), top=rng.uniform(0.5, 0.9))
        for name in "abc"
    }


@pytest.mark.parametrize("fold", range(3))
def test_what_greedy_predicts_for_a_fold_does_not_depend_on_its_labels(fold):
    members, own = noisy_members(), fold == FOLDS
    changed = np.where(own, (LABELS + 5) % 10, LABELS)
    found = []
    for labels in (LABELS, changed):
        plain = Predictions(np.zeros((60, 10), np.float32), np.full(60, 3), NO_TEST)
        found.append(blend_of(members, labels).judged_by_nested(plain).oof)
    np.testing.assert_array_equal(found[0][own], found[1][own])


def test_final_weights_are_fitted_on_all_rows():
    members = noisy_members()
    blend = blend_of(members)
    counts = weights.greedy([members[name] for name in sorted(members)], LABELS)
    expected = {name: n for name, n in zip(sorted(members), counts, strict=True) if n}
    assert blend.greedy_weights == expected


def test_rows_that_only_some_members_cover_are_left_out():
    blend = blend_of(MEMBERS, without=[("b_big", 1)])
    assert blend.rows.tolist() == np.flatnonzero(FOLDS != 1).tolist()
    plain = Predictions(np.full((60, 10), 0.1, np.float32), np.full(60, 2), NO_TEST)
    found = blend.judged_by_nested(plain)
    assert np.isnan(found.oof[FOLDS == 1]).all()
    assert found.oof_count.tolist() == np.where(FOLDS == 1, 0, 2).tolist()
    assert found.test is plain.test


def test_members_without_a_row_in_common():
    blend = blend_of(MEMBERS, without=[("a_cnn", 0), ("b_cnn", 1), ("b_big", 2)])
    with pytest.raises(UserError, match=r"^ensemble: expected training rows that all members"):
        blend.record("mean")


def test_weights_of_a_single_fold_are_not_judged():
    blend = blend_of(MEMBERS, without=[("a_cnn", 0), ("b_cnn", 1)])
    record = blend.record("mean")
    assert [each.name for each in record.methods] == ["mean", "geometric", "vote"]
    assert {each.greedy for each in record.weights} == {None}
