import pytest
import yaml

from kaggle_digits.config import loading
from kaggle_digits.errors import UserError

WEIGHTS = "ensemble.weights={cnn: 2.5}"


def test_weights_are_read_and_written_back(tmp_path):
    config = loading.load("quick", [WEIGHTS])
    assert config.ensemble.weights == {"cnn": 2.5}
    (tmp_path / "own.yaml").write_text(loading.dump(config))
    assert loading.load(str(tmp_path / "own.yaml")) == config


def test_no_weights_are_no_part_of_a_config():
    config = loading.load("quick")
    assert "weights" not in yaml.safe_load(loading.dump(config))["ensemble"]
    assert "ensemble" not in config.identity()
    assert yaml.safe_load(loading.dump(config, compact=True))["ensemble"]["weights"] == {}


def test_weights_are_part_of_what_a_run_is_but_not_of_its_fits():
    plain, weighted = loading.load("quick"), loading.load("quick", [WEIGHTS])
    assert plain.identity() != weighted.identity()
    assert plain.member("cnn").identity() == weighted.member("cnn").identity()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ensemble.weights={dnn: 1}", "ensemble.weights.dnn: there is no member of this name"),
        ("ensemble.weights={cnn: 0}", "ensemble.weights.cnn: "),
        ("ensemble.weights=[1]", "ensemble.weights: expected members with numbers above 0"),
    ],
)
def test_weights_that_do_not_fit(override, message):
    with pytest.raises(UserError, match="^" + message):
        loading.load("quick", [override])
