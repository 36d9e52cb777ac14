"""What finished fits come to: figures out of fold, for each kind of split, and how honest."""

import numpy as np
import pytest
from run_by_hand import CONFIG, LABELS, SPLIT, Run, provenance, sure

from kaggle_digits.config.schema import Config, Train
from kaggle_digits.data import folds
from kaggle_digits.errors import UserError
from kaggle_digits.runs import summary
from kaggle_digits.storage import files


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


def with_folds(**values):
    return CONFIG.model_copy(update={"folds": CONFIG.folds.model_copy(update=values)})


def finish_wrong(run, member, fold, *places):
    """Finish a fit that takes some of its held-out rows, by their places, for the next class."""
    right = run.labels[run.split[fold]]
    run.finish(member, fold, sure((right + np.isin(np.arange(len(right)), places)) % 10))


# Kinds of splits


def test_mean_and_deviation_of_a_members_fits(run):
    for fold, wrong in enumerate(([], [0, 1])):  # 10 rows each: accuracies 1.0 and 0.8
        finish_wrong(run, "a", fold, *wrong)
    a = run.update().members["a"]
    assert (a.fold_mean, a.fold_std) == (pytest.approx(0.9), pytest.approx(0.1))
    assert a.accuracy == pytest.approx(0.9)


def test_random_holdouts_cover_some_rows_several_times_and_others_never(tmp_path):
    # Row 0 is held out by all three, rows 1 to 3 by one each, the other 16 by none.
    split = [np.array([0, 1]), np.array([0, 2]), np.array([0, 3])]
    run = Run(tmp_path / "run", with_folds(kind="holdout", count=3), split=split)
    run.begin()
    for fold in range(3):
        # Two of the three nets of `a` take row 0 for the next class; those of `b` are right.
        finish_wrong(run, "a", fold, *([0] if fold else []))
        finish_wrong(run, "b", fold, *([1] if fold == 2 else []))
    metrics = run.update()
    assert (metrics.oof_rows, metrics.train_rows) == (4, 20)
    assert metrics.rows_covered == "4 of 20 rows covered"
    assert metrics.complete
    # a on row 0: a third right, two thirds wrong; b makes the whole of it right. Row 3 is a tie of
    # one right and one wrong net, and the lower class, the right one, is the first of two maxima.
    a, b = metrics.members["a"], metrics.members["b"]
    assert (a.errors, a.rows, b.errors, b.rows) == (1, 4, 1, 4)
    assert (metrics.oof_errors, metrics.holds_rows_out) == (0, True)
    assert [fit.rows for fit in a.fits.values()] == [2, 2, 2]
    assert a.fold_mean == pytest.approx((1 + 0.5 + 0.5) / 3)
    low, high = metrics.expected_leaderboard
    assert 0 <= low < high <= 1
    saved = files.read_arrays(run.folder.predictions)
    assert saved["oof_count"].tolist() == [2] * 4 + [0] * 16
    expected = (sure([0]) / 3 + 2 * sure([1]) / 3 + sure([0])) / 2
    np.testing.assert_allclose(saved["oof"][0], expected[0], rtol=1e-6)
    assert np.isnan(saved["oof"][4:]).all()
    assert "folds" not in saved
    assert saved["held_out"].dtype == bool
    assert [np.flatnonzero(rows).tolist() for rows in saved["held_out"]] == [[0, 1], [0, 2], [0, 3]]
    assert run.manifest()["folds"] == files.digest(saved["held_out"])
    assert (run.folder.read_folds()["held_out"] == saved["held_out"]).all()


def test_a_repeated_split_averages_each_row_over_its_repeats(tmp_path):
    split = [*SPLIT, np.arange(10), np.arange(10, 20)]
    run = Run(tmp_path / "run", with_folds(repeats=2), split=split)
    for fold in range(4):
        for member in ("a", "b"):
            run.finish(member, fold)
    run.begin()
    metrics = run.update()
    assert (metrics.oof_rows, metrics.oof_errors, metrics.rows_covered) == (20, 0, None)
    saved = files.read_arrays(run.folder.predictions)
    assert saved["oof_count"].tolist() == [2] * 20
    assert saved["held_out"].shape == (4, 20)


def test_mixed_up_repeats_are_found(tmp_path):
    split = [*SPLIT, SPLIT[0], SPLIT[0]]
    run = Run(tmp_path / "run", with_folds(repeats=2), split=split)
    for fold in range(4):
        run.finish("a", fold)
    with pytest.raises(UserError, match=r"held out 2 times, found row 0 .* in folds 0 and 2 and 3"):
        run.update()


def test_nets_on_all_rows_have_a_submission_and_no_figure(tmp_path):
    run = Run(tmp_path / "run", with_folds(kind="none"), split=[np.array([], np.int64)])
    run.begin()
    run.finish("a", 0)
    run.finish("b", 0)
    metrics = run.update()
    assert metrics == summary.read_metrics(run.folder)
    assert metrics.complete
    assert not metrics.provisional
    assert not metrics.holds_rows_out
    assert (metrics.oof, metrics.expected_leaderboard, metrics.rows_covered) == (None, None, None)
    assert (metrics.optimistic, metrics.duplicates_across_folds) == (False, 0)
    assert list(metrics.members) == ["a", "b"]
    a = metrics.members["a"]
    assert (a.accuracy, a.rows, a.fits, a.fold_mean) == (None, 0, {"fold1": None}, None)
    assert run.folder.submission.read_text() == "ImageId,Label\n1,3\n2,1\n3,4\n4,1\n5,5\n"
    saved = files.read_arrays(run.folder.predictions)
    assert saved["held_out"].tolist() == [[False] * 20]
    assert np.isnan(saved["oof"]).all()
    assert np.isfinite(saved["test"]).all()


@pytest.mark.parametrize(
    ("values", "split", "expected"),
    [
        ({}, SPLIT, None),
        ({"kind": "kfold"}, SPLIT, "2 plain shuffled folds"),
        (
            {"repeats": 2},
            [*SPLIT, *SPLIT],
            "2 stratified folds, made 2 times with other seeds",
        ),
        (
            {"kind": "holdout", "holdout": 0.15},
            [np.array([0, 1, 2]), np.array([1, 2, 3])],
            "2 random splits hold out 15 % of the rows each; 4 of 20 rows are held out at least "
            "once",
        ),
        (
            {"kind": "holdout", "count": 1},
            [np.array([0, 1])],
            "1 random split holds out 10 % of the rows; 2 of 20 rows are held out at least once",
        ),
        ({"kind": "none"}, [np.array([], int)], "no rows held out, each net is trained on all of"),
    ],
)
def test_what_people_read_of_an_unusual_split(tmp_path, values, split, expected):
    found = Run(tmp_path / "run", with_folds(**values), split=split).plan.unusual_split
    assert found == expected or found.startswith(expected)


# What is expected of the leaderboard


@pytest.mark.parametrize(
    ("facts", "is_expected"),
    [
        ({}, True),
        ({"not_for_upload": "trained on MNIST"}, False),
        ({"demo": True, "not_for_upload": "it is of DEMO DATA"}, True),
    ],
    ids=["competition", "other data", "demo data"],
)
def test_nothing_is_expected_of_what_is_not_for_upload(tmp_path, facts, is_expected):
    run = Run(tmp_path / "run", **facts)
    run.finish_all()
    metrics = run.update()
    assert metrics.oof
    assert (metrics.expected_leaderboard is not None) is is_expected


# How honest figures are


def test_training_that_looks_at_heldout_rows_is_optimistic(run, monkeypatch):
    run.finish_all()
    assert (run.update().optimistic, run.update().optimistic_because) == (False, ())
    monkeypatch.setattr(Train, "picks_on_heldout", True)
    metrics = run.update()
    assert (metrics.optimistic, metrics.optimistic_because) == (True, ("training",))


def test_rows_that_only_training_saw_are_no_honest_holdout(tmp_path, monkeypatch):
    run = Run(tmp_path / "run", tuned())
    run.finish_all()
    metrics = run.update()
    assert (metrics.optimistic_because, metrics.holdout.rows) == (("search",), 10)
    monkeypatch.setattr(Train, "picks_on_heldout", True)
    metrics = run.update()
    assert (metrics.optimistic_because, metrics.holdout) == (("search", "training"), None)


# Settings that a search has chosen


# As a search has split the rows: those of its trials, and its holdout.
SEARCHED, HELD_OUT = folds.stratified(LABELS, 2, 5)


def tuned(*searches):
    """A config whose settings searches have chosen; one on the rows of `Run` if none is given."""
    return Config.model_validate(CONFIG.model_dump() | {"tuned": searches or (provenance(),)})


def finish_with_mistakes(run, rows):
    """Finish all fits; every net takes some rows for the next class."""
    answers = (LABELS + np.isin(np.arange(20), rows)) % 10
    for fold, heldout in enumerate(run.split):
        for member in ("a", "b"):
            run.finish(member, fold, sure(answers[heldout]))


def test_figures_of_settings_that_no_search_has_chosen(run):
    run.finish_all()
    metrics = run.update()
    assert (metrics.optimistic, metrics.holdout) == (False, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_data": "of the rows before a label was fixed"},
        {"holdout_digest": "of rows that another shuffle held out"},
        {"holdout_digest": None},  # of an earlier version
        {"folds": 50, "train_data": "of more rows than these"},  # which 20 rows cannot have
    ],
)
def test_there_is_no_holdout_figure_unless_the_very_rows_are_there(tmp_path, changes):
    run = Run(tmp_path / "run", tuned(provenance(**changes)))
    run.finish_all()
    metrics = run.update()
    assert (metrics.optimistic, metrics.holdout) == (True, None)


def test_a_fixed_label_leaves_no_holdout_rows(tmp_path):
    fixed = LABELS.copy()
    fixed[0] = 1  # the labels decide the split: the last fold has searched rows now
    run = Run(tmp_path / "run", tuned(), labels=fixed)
    run.finish_all()
    metrics = run.update()
    assert (metrics.optimistic, metrics.holdout) == (True, None)


def test_a_dropped_row_leaves_the_others_searched(tmp_path):
    run = Run(tmp_path / "run", tuned(), labels=LABELS[:19], split=[SPLIT[0], SPLIT[1][:-1]])
    run.finish_all()
    metrics = run.update()
    assert metrics.oof_rows == 19
    assert (metrics.optimistic, metrics.holdout) == (True, None)


def test_holdout_rows_are_those_that_no_search_saw(tmp_path):
    other = provenance(seed=6)
    both = np.intersect1d(HELD_OUT, folds.stratified(LABELS, 2, 6)[-1])
    assert 0 < len(both) < 10
    run = Run(tmp_path / "both", tuned(provenance(), other))
    finish_with_mistakes(run, [*SEARCHED[:3], both[0]])
    holdout = run.update().holdout
    assert (holdout.errors, holdout.rows) == (1, len(both))
    # Of one of them nobody knows any more what it held out.
    run = Run(tmp_path / "one", tuned(provenance(), other | {"holdout_digest": None}))
    run.finish_all()
    assert run.update().holdout is None


def test_holdout_figure_is_that_of_the_rows_no_trial_saw(tmp_path):
    run = Run(tmp_path / "run", tuned())
    finish_with_mistakes(run, [*SEARCHED[:3], HELD_OUT[4]])
    metrics = run.update()
    assert metrics.optimistic is True
    assert (metrics.oof_errors, metrics.oof_rows) == (4, 20)
    holdout = metrics.holdout
    assert (holdout.errors, holdout.rows) == (1, 10)
    assert holdout.accuracy == pytest.approx(0.9)
    # Wilson: (p + z^2/20 -+ z sqrt(p(1-p)/10 + (z/20)^2)) / (1 + z^2/10), z = 1.96, p = 0.9.
    assert holdout.interval == pytest.approx([0.59585, 0.98212], abs=1e-5)
    # The forecast begins there. All nets agree on the 5 test rows, so that averaging brings
    # nothing, and the errors of both samples together are sqrt(1 + 10/5) of the interval's.
    low = 0.9 - (0.9 - 0.59585) * 3**0.5
    assert metrics.expected_leaderboard == pytest.approx([low, 1.0], abs=1e-4)
    assert summary.read_metrics(run.folder).holdout == holdout


def test_holdout_rows_are_those_of_the_last_folds(tmp_path):
    for count, errors, rows in ((1, 0, 10), (2, 3, 20)):
        run = Run(tmp_path / str(count), tuned(provenance(count)))
        finish_with_mistakes(run, SEARCHED[:3])
        holdout = run.update().holdout
        assert (holdout.errors, holdout.rows) == (errors, rows)


def test_without_holdout_rows_there_is_no_holdout_figure(tmp_path):
    run = Run(tmp_path / "run", tuned(provenance(0)))
    run.finish_all()
    metrics = run.update()
    assert (metrics.optimistic, metrics.holdout) == (True, None)


def test_holdout_figure_waits_for_a_fit_that_holds_its_rows_out(tmp_path):
    run = Run(tmp_path / "run", tuned(), split=[SEARCHED, HELD_OUT])
    run.finish("a", 0)
    metrics = run.update()
    assert (metrics.optimistic, metrics.holdout) == (True, None)
    assert metrics.oof_rows == 10
    run.finish("a", 1)
    assert run.update().holdout.rows == 10
