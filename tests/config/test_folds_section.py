"""The folds section: what goes together, what has no effect, and how many fits follow."""

import pytest

from kaggle_digits.config import loading
from kaggle_digits.config.folds_section import Folds
from kaggle_digits.config.schema import Config, Train
from kaggle_digits.errors import UserError


@pytest.mark.parametrize(
    ("values", "fits", "times_held_out", "heldout_fraction"),
    [
        ({}, 3, 1, 1 / 3),
        ({"kind": "kfold", "count": 5}, 5, 1, 0.2),
        ({"kind": "kfold", "count": 4, "repeats": 3}, 12, 3, 0.25),
        ({"kind": "stratified", "count": 2, "repeats": 2}, 4, 2, 0.5),
        ({"kind": "holdout", "count": 15}, 15, None, 0.1),
        ({"kind": "holdout", "count": 1, "holdout": 0.25}, 1, None, 0.25),
        ({"kind": "none"}, 1, 0, 0.0),
        ({"kind": "none", "count": 9}, 1, 0, 0.0),
    ],
)
def test_what_follows_from_a_split(values, fits, times_held_out, heldout_fraction):
    folds = Folds(**values)
    found = (folds.fits, folds.times_held_out, folds.heldout_fraction)
    assert found == (fits, times_held_out, heldout_fraction)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "folds={count: 1}",
            "folds.count: expected at least 2 with kind stratified (a single split is kind "
            "holdout), found 1 (",
        ),
        ("folds={kind: kfold, count: 1}", "folds.count: expected at least 2 with kind kfold"),
        ("folds={kind: holdout, count: 0}", "folds.count: expected at least 1, found 0"),
        (
            "folds={kind: holdout, repeats: 2}",
            "folds.repeats: expected 1 with kind holdout (for more nets take more folds.count), "
            "found 2 (",
        ),
        (
            "folds={kind: none, repeats: 2}",
            "folds.repeats: expected 1 with kind none (for more nets take more members), found 2 (",
        ),
        (
            "folds={kind: kfold, holdout: 0.2}",
            "folds.holdout: has no effect with kind kfold, leave it out or set folds.kind to "
            "holdout; found 0.2 (",
        ),
        ("folds={kind: holdout, holdout: 1}", "folds.holdout: expected less than 1, found 1"),
        (
            "folds={kind: loo}",
            "folds.kind: expected one of stratified, kfold, holdout, none, found 'loo' (",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(override, message):
    with pytest.raises(UserError) as caught:
        loading.load("quick", [override])
    assert str(caught.value).startswith(message)


def test_without_folds_their_number_has_no_effect():
    one, other = (Config(folds={"kind": "none", "count": count}) for count in (3, 8))
    usual = Config().identity()
    assert one.identity() == other.identity() == usual | {"folds": {"kind": "none"}}
    assert Config(folds={"count": 8}).identity() == usual | {"folds": {"count": 8}}


@pytest.mark.parametrize("kind", ["none", "holdout"])
def test_only_what_can_be_searched_leaves_a_fold_to_the_check(kind):
    assert Config(folds={"kind": kind, "count": 1}, tune={"holdout_folds": 3}).folds.kind == kind


def test_a_training_that_looks_at_heldout_rows_needs_some(monkeypatch):
    monkeypatch.setattr(Train, "picks_on_heldout", True)
    with pytest.raises(UserError, match=r"^folds\.kind: none holds no rows out, but .* member cnn"):
        loading.load("quick", ["folds.kind=none"])
    assert loading.load("quick", ["folds.kind=holdout"]).member("cnn").train.picks_on_heldout


def test_files_state_what_came_later_only_where_it_is_not_at_its_default():
    assert "folds:\n  count: 3\naugment:" in loading.dump(Config())
    changed = Config(folds={"kind": "holdout", "holdout": 0.2})
    assert "folds:\n  count: 3\n  kind: holdout\n  holdout: 0.2\naugment:" in loading.dump(changed)
    # Who reads a config sees them all.
    assert "repeats: 1\n" in loading.dump(Config(), compact=True)
