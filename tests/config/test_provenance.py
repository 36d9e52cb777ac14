"""Where a config says that a search chose its settings: as a whole, or not at all."""

import pytest
from pydantic import ValidationError

from kaggle_digits.config.provenance import TuningProvenance

TUNED = {"train_data": "d", "seed": 1, "folds": 3, "holdout_folds": 1, "trials": 9}


@pytest.mark.parametrize("name", TUNED)
def test_provenance_is_given_as_a_whole(name):
    values = {other: value for other, value in TUNED.items() if other != name}
    with pytest.raises(ValidationError) as caught:
        TuningProvenance(**values)
    error = caught.value.errors()[0]
    assert (error["loc"], error["type"]) == ((name,), "missing")
