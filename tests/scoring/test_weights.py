from itertools import product

import numpy as np
import pytest

from kaggle_digits.scoring import weights


def candidate(*true, labels):
    """Probabilities of each row's label; the rest goes to the next class."""
    found = np.zeros((len(labels), 10))
    rows = np.arange(len(labels))
    found[rows, labels] = true
    found[rows, (labels + 1) % 10] = 1 - np.array(true)
    return found


LABELS = np.array([3, 1, 4, 0])
# Each is wrong where its probability of the label is below a half.
STRONG = candidate(0.9, 0.9, 0.9, 0.1, labels=LABELS)
WEAK = candidate(0.6, 0.6, 0.2, 0.95, labels=LABELS)
USELESS = candidate(0.1, 0.1, 0.1, 0.1, labels=LABELS)


def test_the_best_single_one_is_first():
    # Errors: 1, 1 and 4; the log loss of STRONG is 2.62, that of WEAK 2.68.
    assert weights.greedy([WEAK, STRONG, USELESS], LABELS, rounds=1) == (0, 1, 0)


def test_by_hand():
    # STRONG, then WEAK: the means 0.75, 0.75, 0.55 and 0.525 are right everywhere. Their log loss,
    # 1.817, falls no more: STRONG again gives 0.383 in the last row, an error.
    assert weights.greedy([WEAK, STRONG, USELESS], LABELS, rounds=3) == (1, 1, 0)


def brute(candidates, labels, rounds):
    """Forward selection, written down as it is described."""
    path, best = [], None
    for _ in range(rounds):
        scores = []
        for number in range(len(candidates)):
            mean = np.mean([candidates[each] for each in [*path, number]], axis=0)
            errors = int((mean.argmax(axis=1) != labels).sum())
            loss = -np.log(mean[np.arange(len(labels)), labels]).sum()
            scores.append((errors, round(loss, 9), number))
        path.append(min(scores)[2])
        if best is None or min(scores)[:2] < best[0]:
            best = min(scores)[:2], list(path)
    counts = np.bincount(best[1], minlength=len(candidates))
    return tuple((counts // np.gcd.reduce(counts)).tolist())


@pytest.mark.parametrize("seed", range(8))
def test_as_brute_force(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, 30)
    candidates = [
        0.6 * np.eye(10)[np.where(rng.random(30) < 0.6, labels, rng.integers(0, 10, 30))]
        + 0.4 * rng.dirichlet(np.ones(10), 30)
        for _ in range(4)
    ]
    assert weights.greedy(candidates, labels, rounds=7) == brute(candidates, labels, 7)


def test_no_small_weights_are_better_than_the_ones_it_finds():
    labels = LABELS
    found = weights.greedy([WEAK, STRONG, USELESS], labels)

    def errors(counts):
        mean = weights.mean([WEAK, STRONG, USELESS], counts)
        return int((mean.argmax(axis=1) != labels).sum())

    assert errors(found) == min(errors(each) for each in product(range(4), repeat=3) if sum(each))


def test_of_equal_candidates_the_first_is_taken():
    assert weights.greedy([STRONG, STRONG.copy()], LABELS) == (1, 0)


def test_weights_have_no_common_divisor():
    assert weights.greedy([STRONG], LABELS, rounds=6) == (1,)


def test_mean_by_hand():
    found = weights.mean([STRONG, WEAK], (3, 1))
    np.testing.assert_allclose(found[np.arange(4), LABELS], [0.825, 0.825, 0.725, 0.3125])
    assert found.dtype == np.float64


def random_library(seed=3, rows=60):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, rows)
    candidates = [
        0.5 * np.eye(10)[np.where(rng.random(rows) < 0.5, labels, rng.integers(0, 10, rows))]
        + 0.5 * rng.dirichlet(np.ones(10), rows)
        for _ in range(3)
    ]
    return candidates, labels, np.arange(rows) % 3


def test_nested_weights_are_those_of_the_other_parts():
    candidates, labels, parts = random_library()
    found = weights.nested(candidates, labels, parts)
    assert set(found.weights) == {0, 1, 2}
    for part, own in found.weights.items():
        others = parts != part
        assert own == weights.greedy([each[others] for each in candidates], labels[others])
        expected = weights.mean([each[~others] for each in candidates], own)
        np.testing.assert_array_equal(found.probabilities[~others], expected)


@pytest.mark.parametrize("part", range(3))
def test_nested_weights_cannot_see_the_part_that_they_predict(part):
    candidates, labels, parts = random_library()
    changed = np.where(parts == part, (labels + 5) % 10, labels)
    before, after = (weights.nested(candidates, each, parts) for each in (labels, changed))
    assert after.weights[part] == before.weights[part]
    own = parts == part
    np.testing.assert_array_equal(after.probabilities[own], before.probabilities[own])
    # What was changed is seen by the others: the test would notice if nothing were.
    assert after.weights != before.weights


def test_one_part_cannot_be_nested():
    candidates, labels, _ = random_library()
    with pytest.raises(ValueError, match="at least 2 parts"):
        weights.nested(candidates, labels, np.zeros(len(labels)))
