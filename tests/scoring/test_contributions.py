"""What averaging gains and what members add, from a few rows counted by hand."""

import numpy as np
import pytest
from toy_fits import fit, random_fits, row

from kaggle_digits.scoring.contributions import ensembling

LABELS = np.array([0, 1, 2, 3])
# a is right in rows 0, 1 and 2, b in 0 and 3; where they differ, the surer one decides.
A = [row(c0=0.9, c1=0.1), row(c1=0.8, c2=0.2), row(c2=0.6, c3=0.4), row(c3=0.4, c4=0.6)]
B = [row(c0=0.7, c1=0.3), row(c1=0.4, c2=0.6), row(c2=0.1, c3=0.9), row(c3=0.9, c4=0.1)]
FITS = [fit("a", 0, [0, 1, 2, 3], A), fit("b", 0, [0, 1, 2, 3], B)]


def test_by_hand():
    found = ensembling(FITS, LABELS, "arithmetic")
    assert found.single == pytest.approx((3 + 2) / 8)
    # Row 1 by a, row 3 by b, and row 2 wrongly by b.
    assert (found.ensemble.errors, found.ensemble.rows) == (1, 4)
    a, b = found.members
    assert (a.member, a.alone.errors, a.without.errors) == ("a", 1, 2)
    assert (a.repaired, a.spoilt) == (1, 0)  # row 1
    assert (b.member, b.alone.errors, b.without.errors) == ("b", 2, 1)
    assert (b.repaired, b.spoilt) == (1, 1)  # row 3; row 2
    assert (a.p_value, b.p_value) == (1.0, 1.0)


def test_only_rows_that_all_members_have_predicted_count():
    fits = [FITS[0], fit("b", 0, [0, 1], B[:2]), fit("b", 1, [3], B[3:])]
    found = ensembling(fits, LABELS, "arithmetic")
    assert found.ensemble.rows == 3
    # a is wrong in row 3 and b in row 1, of 2 x 3 predictions.
    assert found.single == pytest.approx(4 / 6)
    assert [each.alone.errors for each in found.members] == [1, 1]


def test_one_member_has_no_other_to_be_compared_with():
    found = ensembling(FITS[:1], LABELS, "arithmetic")
    assert (found.single, found.ensemble.accuracy, found.members) == (0.75, 0.75, ())


@pytest.mark.parametrize(
    "fits", [[], [fit("a", 0)], [fit("a", 0, [0], A[:1]), fit("b", 0, [1], B[1:2])]]
)
def test_without_a_common_row_nothing_is_compared(fits):
    assert ensembling(fits, LABELS, "arithmetic") is None


@pytest.mark.parametrize("method", ["arithmetic", "geometric", "vote"])
def test_order_of_the_fits_does_not_matter(method):
    fits, labels = random_fits(("a", "b", "c")), np.arange(60) % 10
    found = ensembling(fits, labels, method)
    assert ensembling(fits[::-1], labels, method) == found
    assert [each.member for each in found.members] == ["a", "b", "c"]
    for each in found.members:
        assert each.without.errors - found.ensemble.errors == each.repaired - each.spoilt


def test_a_row_that_several_nets_of_a_member_hold_out_is_predicted_by_their_mean():
    again = fit("a", 1, [3], [row(c3=0.9, c4=0.1)])
    found = ensembling([FITS[0], again], LABELS, "arithmetic")
    # 0.65 for a 3; of the five predictions one is wrong.
    assert (found.ensemble.errors, found.single) == (0, pytest.approx(4 / 5))
