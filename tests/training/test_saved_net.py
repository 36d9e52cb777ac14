import zipfile

import keras
import numpy as np
import pytest

from kaggle_digits.config.schema import Model
from kaggle_digits.training import models
from kaggle_digits.training.saved_net import count_parameters


@pytest.mark.parametrize(
    "settings", [Model(), Model(stages=({"width": 4, "pool": "first"},), dense=(8,), dropout=0.5)]
)
def test_as_keras_counts(tmp_path, settings):
    net = models.build(settings, seed=1)
    net.save(tmp_path / "net.keras")
    assert count_parameters(tmp_path / "net.keras") == net.count_params()


def test_states_of_random_layers_and_optimizers_are_no_parameters(tmp_path):
    keras.utils.set_random_seed(1)  # another test may have asked for deterministic operations
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])
    net.compile("adam", "mse")
    net.fit(np.ones((1, 3)), np.ones((1, 2)), verbose=0)
    net.save(tmp_path / "net.keras")
    assert count_parameters(tmp_path / "net.keras") == 3 * 2 + 2


def test_what_is_no_net_has_none(tmp_path):
    assert count_parameters(tmp_path / "absent.keras") is None
    (tmp_path / "text.keras").write_text("a net")
    assert count_parameters(tmp_path / "text.keras") is None
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"none")
    assert count_parameters(tmp_path / "other.keras") is None
