import numpy as np
import pytest

from kaggle_digits.config import loading
from kaggle_digits.config.schema import Config
from kaggle_digits.diagnostics import baselines, net_speed
from kaggle_digits.diagnostics.net_speed import NetSpeed
from kaggle_digits.training import backend


def cells(table):
    return list(zip(*(column.cells for column in table.columns), strict=True))


def test_nets_table():
    fast = NetSpeed(3000.0, 9000.0, 5.0, "bfloat16", over_deotte=6.504, of_convolutions=0.618)
    slow = NetSpeed(134.4, 900.0, 9.0, "float32", over_deotte=0.3, of_convolutions=0.905)
    table = net_speed.nets_table({"one": {"a": fast, "b": slow}, "two": {"a": fast}})
    assert cells(table) == [
        ("one", "a", "bfloat16", "3,000", "6.50", "62%"),
        ("one", "b", "float32", "134", "0.30", "90%"),
        ("two", "a", "bfloat16", "3,000", "6.50", "62%"),
    ]


def test_ratios_are_medians_of_each_repetition(monkeypatch, tmp_path, tiny_images):
    backend.configure(2)
    config = Config.model_validate(
        {
            "model": {"stages": [{"width": 4, "pool": "first"}]},
            "train": {"epochs": 9, "batch_size": 32, "schedule": "plateau"},
        }
    )
    asked = []

    def measure(name, values):
        values = iter(values)

        def once():
            asked.append(name)
            return next(values)

        return once

    # One of three is far off: a mean would be too.
    deotte = measure("deotte", [1.0, 1e-9, 1.0])
    convolutions = measure("convolutions", [1e12, 1e-9, 1e12])
    monkeypatch.setattr(baselines, "deotte_one_at_a_time", lambda *_: deotte)
    monkeypatch.setattr(baselines, "convolutions_alone", lambda *_: convolutions)
    labels = np.arange(40) % 10

    speed = net_speed.measure_net(config.member("cnn"), tiny_images, labels, 1, tmp_path)

    assert asked == ["deotte", "convolutions"] * 3
    assert 0 < speed.over_deotte < 1e6
    assert 0 < speed.of_convolutions < 1
    assert speed.precision == "float32"
    assert (tmp_path / "model.keras").is_file()


def test_a_shortened_training_looks_at_no_held_out_rows():
    settings = loading.load("peers/deep-bn-cnn").member("cnn")
    assert settings.train.picks_on_heldout
    short = net_speed.shortened(settings, 4)
    assert not short.train.picks_on_heldout
    assert short.train.epochs == 4
    assert short.model == settings.model


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_convolutions_alone(monkeypatch, precision):
    backend.configure(2)
    monkeypatch.setattr(baselines, "_epoch_seconds", lambda *_, **__: 0.5)
    rate = baselines.convolutions_alone(precision, batch_size=16, images=40)
    # Two batches in half a second. A pass of a layer: 14 x 14 places, 3 x 3 windows of 64 channels,
    # 64 results, a product and a sum each. Four layers forward and their kernels' gradients, three
    # times the gradient of the input.
    layer = 2 * 14 * 14 * 9 * 64 * 64
    assert rate() == pytest.approx((4 + 4 + 3) * layer * 32 / 0.5)
