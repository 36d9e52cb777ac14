"""Contradicted labels and votes, from a few rows counted by hand."""

import numpy as np
import pytest
from toy_fits import fit, row

from kaggle_digits.scoring import ensemble, label_noise
from kaggle_digits.scoring.label_noise import contradictions

# Rows 0 to 3 are labelled 1; row 4, labelled 7, is right.
LABELS = np.array([1, 1, 1, 1, 7])
A = [row(c1=0.9, c7=0.1), row(c7=0.95, c1=0.05), row(c7=0.6, c1=0.4), row(c7=0.8, c1=0.2)]
B = [row(c7=0.6, c1=0.4), row(c7=0.97, c1=0.03), row(c7=0.7, c1=0.3), row(c4=0.9, c1=0.1)]
LAST = [row(c7=0.9, c1=0.1)]
ROWS = [0, 1, 2, 3, 4]
FITS = [fit("a", 0, ROWS, A + LAST), fit("b", 0, ROWS, B + LAST)]


def found(fits=FITS, labels=LABELS):
    oof, _ = ensemble.out_of_fold(fits, len(labels), "arithmetic")
    return contradictions(fits, oof, labels)


def test_rows_that_all_nets_contradict_by_hand():
    noise = found()
    # a gives row 0 its label. Least probable labels first: 0.04, 0.15, 0.35.
    assert noise.rows.tolist() == [1, 3, 2]
    assert noise.suggested.tolist() == [7, 4, 7]
    assert noise.confidence == pytest.approx([0.96, 0.45, 0.65])
    assert noise.given == pytest.approx([0.04, 0.15, 0.35])
    assert noise.nets.tolist() == [2, 2, 2]


def test_suspected_are_those_of_which_the_nets_are_as_sure_as_of_the_class_itself():
    # Of a 7 they are 0.9 sure: row 1 passes that, row 2 does not. On row 3 they do not agree.
    assert found().suspected.tolist() == [True, False, False]


def test_only_nets_that_never_saw_a_row_count():
    noise = found([fit("a", 0, ROWS[:2], A[:2]), fit("a", 1, [4], LAST)])
    assert (noise.rows.tolist(), noise.nets.tolist()) == ([1], [1])


def test_no_predictions_contradict_nothing():
    noise = contradictions([], np.full((5, 10), np.nan), LABELS)
    assert len(noise.rows) == len(noise.suspected) == 0


def test_votes_by_hand():
    fits = [
        fit("a", 0, test=[row(c3=1.0), row(c5=1.0)]),
        fit("a", 1, test=[row(c3=0.6, c8=0.4), row(c6=1.0)]),
        fit("b", 0, test=[row(c8=0.9, c3=0.1), row(c6=1.0)]),
    ]
    votes = label_noise.test_votes(fits)
    assert (votes[0, 3], votes[0, 8], votes[1, 5], votes[1, 6]) == (2, 1, 1, 2)
    assert votes.sum(axis=1).tolist() == [3, 3]
