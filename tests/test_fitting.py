from types import SimpleNamespace

import pytest

from kaggle_digits import fitting


def test_forecast_of_the_time_left(monkeypatch):
    # Two fits of 80 rows and 2 epochs: 320 images.
    now = [100.0]
    monkeypatch.setattr(fitting.time, "monotonic", lambda: now[0])
    train = SimpleNamespace(epochs=2)
    specs = [
        SimpleNamespace(name=name, heldout_rows=range(20), settings=SimpleNamespace(train=train))
        for name in ("first", "second")
    ]
    forecast = fitting._Forecast(specs, rows=100)
    forecast.at(specs[0], 0.0)
    now[0] = 110.0
    assert forecast.at(specs[0], 0.5) == pytest.approx((0.25, 8.0, 30.0))
    now[0] = 130.0
    assert forecast.at(specs[1], 0.5) == pytest.approx((0.75, 8.0, 10.0))
    now[0] = 150.0
    assert forecast.at(specs[1], 1.0) == pytest.approx((1.0, 6.4, 0.0))
