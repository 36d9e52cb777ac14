from types import SimpleNamespace

import pytest

from kaggle_digits.training import advice

LONG = 13 * 3600.0


@pytest.fixture
def warnings(monkeypatch):
    """What is said of two fits of a member that train on 80 rows each."""

    def said(seconds=60.0, gpus=(), batch=80, precision="float32", **given):
        monkeypatch.setattr(advice.backend, "accelerators", lambda: list(gpus))
        monkeypatch.setattr(advice, "cpu_seconds", lambda specs, rows: seconds)
        settings = SimpleNamespace(train=SimpleNamespace(batch_size=batch, precision=precision))
        spec = SimpleNamespace(member="cnn", heldout_rows=range(20), settings=settings)
        return advice.warnings([spec, spec], 100, **given)

    return said


def test_nothing_to_say(warnings):
    assert warnings() == []


def test_a_long_run_without_a_gpu(warnings):
    [line] = warnings(LONG)
    assert line.startswith("WARNING: without a GPU this will take about 13 h 0 min, by the size of")
    assert "--config standard" in line


def test_a_long_search_of_short_fits(warnings):
    [line] = warnings(60.0, times=300)
    assert "about 5 h 0 min" in line


@pytest.mark.parametrize("case", [{"seconds": 7000.0}, {"gpus": ["H100"]}, {"is_limited": True}])
def test_others_need_no_gpu(warnings, case):
    assert warnings(**{"seconds": LONG} | case) == []


def test_a_batch_larger_than_the_rows_is_said_once_a_member(warnings):
    assert warnings(batch=1_000_000) == [
        "WARNING: train.batch_size of cnn is 1,000,000, but a fit trains on 80 rows, so an epoch "
        "is one step; use a smaller batch"
    ]


def test_a_precision_that_is_slow_here_is_said_once(warnings, monkeypatch):
    reasons = {"float32": None, "bfloat16": "the processor has no avx512_bf16 or amx_bf16"}
    monkeypatch.setattr(advice.precision, "why_slow", reasons.get)
    assert warnings() == []
    assert warnings(precision="bfloat16") == [
        "WARNING: train.precision: bfloat16 is slower here than float32, the processor has no "
        "avx512_bf16 or amx_bf16; a new run with --set train.precision=auto takes what is fast"
    ]
