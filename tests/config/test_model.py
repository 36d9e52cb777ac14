import pytest
from pydantic import ValidationError

from kaggle_digits.config.model import Model


@pytest.mark.parametrize(
    ("stages", "place"),
    [
        ([{"width": 1, "kernel": 28, "padding": "valid"}], None),  # 28 -> 1
        ([{"width": 1, "kernel": 28, "padding": "valid", "pool": "last"}], "stages.0: .* 1;"),
        ([{"width": 1, "depth": 13, "padding": "valid"}], None),  # 28 -> 2
        ([{"width": 1, "depth": 14, "padding": "valid"}], "stages.0: .* 14;"),
        ([{"width": 1, "pool": "first"}] * 4, None),  # 14, 7, 3, 1
        ([{"width": 1, "pool": "first"}] * 5, "stages.4: .* 1;"),
        ([{"width": 1, "stride": 2}] * 9, None),  # a stride rounds up: 14, 7, 4, 2, 1, 1
        ([{"width": 1, "depth": 3, "pool": "last", "stride": 2}] * 3, "stages.2: .* 3;"),
    ],
)
def test_something_is_left_of_the_image(stages, place):
    if place is None:
        assert len(Model(stages=stages).stages) == len(stages)
    else:
        with pytest.raises(ValidationError, match=f"{place} pool less, or use padding: same"):
            Model(stages=stages)
