from types import SimpleNamespace

import pytest

from kaggle_digits.config.schema import Model, Train
from kaggle_digits.training import time_left


def make_specs(*names):
    """What a forecast reads of fits of 80 rows and 2 epochs."""
    settings = SimpleNamespace(train=Train(epochs=2))
    return [SimpleNamespace(name=name, heldout_rows=range(20), settings=settings) for name in names]


def test_forecast_of_the_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time_left, "time", SimpleNamespace(monotonic=lambda: now[0]))
    specs = make_specs("first", "second")  # 320 images
    forecast = time_left.Forecast(specs, rows=100)
    forecast.note(specs[0], 0.0)
    now[0] = 110.0
    forecast.note(specs[0], 0.5)
    assert forecast.at(specs[0], 0.5) == pytest.approx((0.25, 8.0, 30.0))
    now[0] = 130.0
    forecast.note(specs[1], 0.5)
    assert forecast.at(specs[1], 0.5) == pytest.approx((0.75, 8.0, 10.0))
    now[0] = 150.0
    forecast.note(specs[1], 1.0)
    assert forecast.at(specs[1], 1.0) == pytest.approx((1.0, 6.4, 0.0))


def test_short_epochs_have_fewer_images():
    specs = make_specs("short", "whole")
    specs[0].settings = SimpleNamespace(train=Train(epochs=5, row_fraction=0.33))
    # 0.33 of 80 rows are 26.4.
    assert time_left.training_images(specs, 100) == {"short": 5 * 26, "whole": 2 * 80}


def test_speed_of_a_further_attempt_is_measured_from_its_start(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time_left, "time", SimpleNamespace(monotonic=lambda: now[0]))
    (spec,) = make_specs("fit")
    forecast = time_left.Forecast([spec], rows=100)
    forecast.note(spec, 0.0)
    now[0] = 110.0
    forecast.note(spec, 0.5)
    assert forecast.at(spec, 0.5) == pytest.approx((0.5, 8.0, 10.0))
    forecast.restart()
    forecast.note(spec, 0.0)
    now[0] = 120.0
    forecast.note(spec, 0.25)
    assert forecast.at(spec, 0.25) == pytest.approx((0.25, 4.0, 30.0))


def test_a_fit_that_ends_early_leaves_less_to_do(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time_left, "time", SimpleNamespace(monotonic=lambda: now[0]))
    specs = make_specs("first", "second")  # 160 images each
    forecast = time_left.Forecast(specs, rows=100)
    forecast.note(specs[0], 0.0)
    now[0] = 110.0
    forecast.note(specs[0], 0.5)
    forecast.end(specs[0], 0.5)
    # 80 of 240 images in 10 seconds; the fit is whole, not half of a half.
    assert forecast.at(specs[0], 0.5) == pytest.approx((1 / 3, 8.0, 20.0))
    forecast.note(specs[1], 0.0)
    now[0] = 120.0
    forecast.note(specs[1], 0.5)
    assert forecast.at(specs[1], 0.5) == pytest.approx((2 / 3, 8.0, 10.0))
    forecast.end(specs[1], 1.0)
    assert forecast.at(specs[1], 1.0)[0] == pytest.approx(1.0)


def test_looking_ahead_takes_no_note_of_the_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time_left, "time", SimpleNamespace(monotonic=lambda: now[0]))
    (spec,) = make_specs("fit")
    forecast = time_left.Forecast([spec], rows=100)
    assert forecast.at(spec, 0.0) == (0.0, 0.0, 0.0)
    forecast.note(spec, 0.0)
    now[0] = 110.0
    forecast.note(spec, 0.5)
    now[0] = 1000.0  # as while the next net is compiled
    assert forecast.at(spec, 0.5) == pytest.approx((0.5, 8.0, 10.0))


def test_seconds_on_a_cpu_by_hand(monkeypatch):
    monkeypatch.setattr(time_left, "CPU_FLOPS_PER_THREAD", 1e6)
    # One convolution of 2 x 2 to 4 channels at 27 x 27 places, one dense layer 4 -> 10.
    stage = {"width": 4, "kernel": 2, "padding": "valid"}
    model = Model(stages=(stage,), pooling="average")
    flops = 2 * 27 * 27 * (2 * 2 * 4) + 2 * 4 * 10
    settings = SimpleNamespace(model=model, train=Train(epochs=2, threads=3))
    specs = [
        SimpleNamespace(
            member="a", name=f"a fold {fold}", heldout_rows=range(20), settings=settings
        )
        for fold in (1, 2)
    ]
    seconds = time_left.cpu_seconds(specs, rows=100)
    assert seconds == pytest.approx(2 * (80 * 2) * 3 * flops / (1e6 * 3))
    settings.train = Train(epochs=2, threads=3, precision="bfloat16")
    monkeypatch.setattr(time_left, "BFLOAT16_SPEEDUP", 4.0)
    for reason, factor in ((None, 4), ("it is emulated", 1)):
        monkeypatch.setattr(time_left.precision, "why_slow", lambda chosen, reason=reason: reason)
        assert time_left.cpu_seconds(specs, rows=100) == pytest.approx(seconds / factor)
    monkeypatch.setattr(time_left.precision, "why_slow", lambda chosen: None)
    monkeypatch.setattr(time_left.backend, "gains_on_processors", lambda: False)
    assert time_left.cpu_seconds(specs, rows=100) == pytest.approx(seconds)
