import math
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_digits.errors import UserError
from kaggle_digits.system import time_budget
from kaggle_digits.system.time_budget import Stopped, TimeBudget, parse_duration

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def own_signals():
    """Give pytest back the signals that a test has taken."""
    before = {number: signal.getsignal(number) for number in (*BOTH, signal.SIGALRM)}
    hook = sys.unraisablehook
    yield
    sys.unraisablehook = hook
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets; it begins at 1000 seconds."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(time_budget, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


# Durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8h30m", 30_600),
        ("45m", 2_700),
        ("90s", 90),
        ("1h1m1s", 3_661),
        ("2h5s", 7_205),
        ("100m", 6_000),
        ("1.5h", 5_400),
        ("0.25s", 0.25),
        ("0h0m1s", 1),
        (" 8H 30M ", 30_600),
        ("1h 30m 10s", 5_410),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "0s", "0h0m", "h", "m30", "soon", "nan", "inf", "infs", "8", "8.5", "8:30"),
        *("-5m", "+5m", "1e3s", ".5h", "5.h", "1.2.3h", "30m8h", "5s1m", "5m5m", "5 m", "5d"),
        *("5min", "8h30", "8h, 30m", "5m\n\n1s", "5m; 3s"),
    ],
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UserError) as caught:
        parse_duration(text)
    assert str(caught.value) == (
        f"--time-limit: expected a duration such as 8h30m or 45m, found {text!r}"
    )


@given(st.lists(st.integers(0, 10**6) | st.none(), min_size=3, max_size=3).filter(any))
def test_duration_round_trip(parts):
    text = "".join(f"{n}{unit}" for n, unit in zip(parts, "hms", strict=True) if n is not None)
    hours, minutes, seconds = (part or 0 for part in parts)
    assert parse_duration(text) == 3600 * hours + 60 * minutes + seconds


@given(st.text() | st.text("0123456789.hms -"))
def test_any_text_is_a_duration_or_refused(text):
    try:
        seconds = parse_duration(text)
    except UserError:
        return
    assert seconds > 0


# The time left


def test_without_a_limit_there_is_always_time(clock):
    stop = TimeBudget()
    clock.now = 10.0**9
    assert stop.seconds_left() == math.inf


def test_limit_counts_from_the_start(clock):
    stop = TimeBudget(90.0)
    clock.now = 1030.0
    assert (stop.seconds(), stop.seconds_left()) == (30.0, 60.0)
    stop.limit = 45.0  # the option is read after the start, and counts from it all the same
    assert stop.seconds_left() == 15.0
    clock.now = 1050.0
    assert stop.seconds_left() == -5.0


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize(
    ("limit", "left"), [(None, 20.0), (1000.0, 20.0), (50.0, 20.0), (40.0, 10.0)]
)
def test_after_a_signal_there_is_a_grace(clock, limit, left):
    stop = TimeBudget(limit)
    stop.watch()
    clock.now = 1030.0
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGTERM)
    assert stop.seconds_left() == left
    clock.now = 1035.0
    assert stop.seconds_left() == left - 5.0


# Signals


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize("number", BOTH)
def test_a_signal_stops_at_once(number):
    stop = TimeBudget()
    stop.watch()
    with pytest.raises(Stopped) as caught:
        signal.raise_signal(number)
    assert (caught.value.number, stop.signal) == (number, number)
    # Whichever comes second ends the process as if nobody had watched.
    assert [signal.getsignal(other) for other in BOTH] == [signal.SIG_DFL] * 2


class Finalized:
    """Gets a signal while it is finalized, where Python ignores all exceptions."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("own_signals")
def test_a_stop_that_was_ignored_is_raised_again(capsys):
    stop = TimeBudget()
    stop.watch()
    things = [Finalized()]
    things.clear()
    with pytest.raises(Stopped) as stopped:
        time.sleep(60)
    assert stopped.value.number == stop.signal == signal.SIGTERM
    assert not capsys.readouterr().err


@pytest.mark.usefixtures("own_signals")
def test_a_stop_that_was_ignored_waits_for_the_end_of_a_deferred_block():
    stop = TimeBudget()
    stop.watch()
    came = []

    def work():
        with stop.deferred():
            things = [Finalized()]
            things.clear()
            time.sleep(10 * time_budget.RAISED_AGAIN)
            came.append(stop.signal)

    with pytest.raises(Stopped):
        work()
    assert came == [signal.SIGTERM]


@pytest.mark.usefixtures("own_signals")
def test_other_ignored_exceptions_are_reported_as_ever(capsys):
    class Broken:
        def __del__(self):
            raise ValueError("of its own")

    TimeBudget().watch()
    things = [Broken()]
    things.clear()
    assert "ValueError: of its own" in capsys.readouterr().err


def test_no_library_takes_a_stop_for_an_error_of_its_own():
    assert issubclass(Stopped, BaseException)
    assert not issubclass(Stopped, Exception)


@pytest.mark.usefixtures("own_signals")
def test_a_deferred_signal_stops_at_the_end_of_the_block(clock):
    stop, reached = TimeBudget(), []
    stop.watch()

    def block():
        with stop.deferred():
            clock.now = 1010.0
            signal.raise_signal(signal.SIGINT)
            reached.append((stop.signal, stop.seconds_left()))

    with pytest.raises(Stopped) as caught:
        block()
    assert caught.value.number == signal.SIGINT
    assert reached == [(signal.SIGINT, 20.0)]
    assert [signal.getsignal(other) for other in BOTH] == [signal.SIG_DFL] * 2


@pytest.mark.usefixtures("own_signals")
def test_after_a_deferred_block_a_signal_stops_at_once_again():
    stop = TimeBudget()
    stop.watch()
    with stop.deferred():
        assert stop.signal is None
    with pytest.raises(ZeroDivisionError), stop.deferred():
        raise ZeroDivisionError
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGTERM)


DEFERRED = """
import time
from kaggle_digits.system.time_budget import TimeBudget, Stopped

stop = TimeBudget()
stop.watch()
try:
    with stop.deferred():
        print("ready", flush=True)
        while stop.signal is None:
            time.sleep(0.005)
        print("noticed", flush=True)
except Stopped as stopped:
    print("stopped by", stopped.number, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGINT),
    ],
)
def test_signals_from_outside(process_env, first, second):
    process = subprocess.Popen(
        [sys.executable, "-c", DEFERRED], env=process_env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(first)
        assert process.stdout.readline() == "noticed\n"
        assert process.stdout.readline() == f"stopped by {int(first)}\n"
        process.send_signal(second)
        assert process.wait(30) == -second
    finally:
        process.kill()
        process.communicate()
