import pytest
from pydantic import ValidationError

from kaggle_digits.config import loading
from kaggle_digits.config.model_section import Model, Stage
from kaggle_digits.errors import UserError


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


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"norm": "none", "norm_momentum": 0.5, "norm_epsilon": 1.0}, {"norm": "none"}),
        ({"dropout_place": "after", "dropout": 0.5}, {"dropout_place": "after"}),
        (
            {"stages": [Stage(width=2)], "pool_place": "late"},
            {"stages": [Stage(width=2)]},
        ),
        ({"stages": [Stage(width=2, residual=True)]}, {"stages": [Stage(width=2)]}),
    ],
)
def test_what_has_no_effect_is_no_part_of_an_identity(given, meant):
    assert Model(**given).canonical() == Model(**meant)
    assert Model(**given).identity() == Model(**meant).identity()


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": "none", "logits_norm": True, "norm_momentum": 0.5},
        {"dropout_place": "after", "dense": (9,), "dropout": 0.5},
        {"stages": (Stage(width=2, pool="first"),), "pool_place": "late"},
        {"stages": (Stage(width=2, depth=2, residual=True, squeeze=4),)},
    ],
)
def test_what_has_an_effect_stays(settings):
    assert Model(**settings).canonical() == Model(**settings)


def test_a_residual_stage_keeps_the_size_of_its_maps():
    stage = "model.stages.1={width: 8, depth: 2, residual: true, padding: valid}"
    with pytest.raises(UserError) as caught:
        loading.load("quick", [stage])
    assert str(caught.value).startswith(
        "model.stages.1.residual: expected false with padding valid, which shrinks what would be "
        "added; found true, use padding: same"
    )
    assert "\n" not in str(caught.value)
    alone = Stage(width=8, residual=True, padding="valid")  # there is nothing to bypass
    assert alone.canonical() == Stage(width=8, padding="valid")


def test_files_hold_a_later_setting_only_where_it_is_no_default():
    written = loading.dump(Model(bias=True, stages=[Stage(width=2), Stage(width=2, dropout=0.5)]))
    assert "bias: true\n" in written
    assert written.count("dropout:") == 2  # the last stage's and that of the dense layers
    assert "norm" not in written
    assert "initializer" not in written
