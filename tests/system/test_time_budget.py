import math
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_digits.errors import UserError
from kaggle_digits.system import time_budget
from kaggle_digits.system.time_budget import Signals, Stopped, TimeBudget, parse_duration

BOTH = (signal.SIGINT, signal.SIGTERM)


def handling():
    """What decides about signals in this process, without the seconds left of a timer."""
    handlers = [signal.getsignal(number) for number in (*BOTH, signal.SIGALRM)]
    return [*handlers, sys.unraisablehook, signal.getitimer(signal.ITIMER_REAL)[1]]


@pytest.fixture
def own_signals():
    """Give pytest back the signals that a test has taken."""
    before = {number: signal.getsignal(number) for number in (*BOTH, signal.SIGALRM)}
    hook = sys.unraisablehook
    yield
    sys.unraisablehook = hook
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(params=[True, False], ids=["command", "library"])
def signals(request, own_signals):
    """Signals of a process of the command's own, and of one that uses the package."""
    return Signals(owns_process=request.param)


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
    line = f"--time-limit: expected a duration such as 8h30m, 45m or 90s, found {text!r}"
    unit = "; which unit is meant?" if text.isdecimal() else ""
    assert str(caught.value) == " ".join(line.split()) + unit


def test_refused_duration_names_whose_it_is():
    with pytest.raises(UserError, match=r"^time_limit: expected a duration"):
        parse_duration("soon", "time_limit")


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
    budget = TimeBudget()
    clock.now = 10.0**9
    assert budget.seconds_left() == math.inf


def test_limit_counts_from_the_start(clock):
    budget = TimeBudget(90.0)
    clock.now = 1030.0
    assert (budget.seconds(), budget.seconds_left()) == (30.0, 60.0)
    clock.now = 1095.0
    assert budget.seconds_left() == -5.0


def test_rest_of_a_budget_is_counted_from_its_own_start(clock, signals):
    budget = TimeBudget(90.0, signals)
    clock.now += 30.0
    rest = budget.rest()
    assert (rest.limit, rest.seconds(), rest.signals) == (60.0, 0.0, signals)
    clock.now += 70.0
    assert rest.seconds_left() == budget.seconds_left() == -10.0
    assert budget.rest().limit == 0.0
    assert TimeBudget().rest().limit is None


def test_limit_counts_from_a_start_before_the_option_was_read(clock):
    clock.now = 1030.0
    budget = TimeBudget(45.0, start=1000.0)
    assert (budget.seconds(), budget.seconds_left()) == (30.0, 15.0)
    clock.now = 1050.0
    assert budget.seconds_left() == -5.0


@pytest.mark.parametrize(("limit", "seconds"), [(None, 5.0), (600.0, 8.0), (30_600.0, 158.0)])
def test_end_of_a_run_is_kept_free(limit, seconds):
    assert TimeBudget(limit).exit_seconds() == seconds


@pytest.mark.parametrize(
    ("limit", "left"), [(None, 20.0), (1000.0, 20.0), (50.0, 20.0), (40.0, 10.0)]
)
def test_after_a_signal_there_is_a_grace(clock, signals, limit, left):
    budget = TimeBudget(limit, signals)
    with signals.watched():
        clock.now = 1030.0
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)
    assert budget.seconds_left() == left
    clock.now = 1035.0
    assert budget.seconds_left() == left - 5.0


# The end of a process whose main thread is held up


@pytest.fixture
def timers(monkeypatch):
    """Timers that never ring: (seconds, function), and whether each was started and cancelled."""
    made = []

    class Timer:
        def __init__(self, seconds, function):
            self.seconds, self.function = seconds, function
            self.started = self.cancelled = self.daemon = False
            made.append(self)

        def start(self):
            self.started = True

        def cancel(self):
            self.cancelled = True

    monkeypatch.setattr(time_budget.threading, "Timer", Timer)
    return made


def test_a_limit_is_enforced_until_the_end_of_the_block(clock, timers):
    def leave():
        raise AssertionError

    budget = TimeBudget(90.0, Signals(owns_process=True))
    clock.now = 1030.0
    with budget.enforced(leave):
        [timer] = timers
        # A second and a half before the 60 seconds that are left are over.
        assert (timer.seconds, timer.function) == (58.5, leave)
        assert (timer.started, timer.daemon, timer.cancelled) == (True, True, False)
    assert timer.cancelled


def test_a_timer_is_cancelled_where_the_block_fails(timers):
    with (
        pytest.raises(ZeroDivisionError),
        TimeBudget(90.0, Signals(owns_process=True)).enforced(lambda: None),
    ):
        raise ZeroDivisionError
    assert timers[0].cancelled


def test_a_limit_that_has_passed_is_enforced_at_once(clock, timers):
    budget = TimeBudget(90.0, Signals(owns_process=True))
    clock.now = 1095.0
    with budget.enforced(lambda: None):
        assert timers[0].seconds == 0.0


@pytest.mark.parametrize(
    ("limit", "signals"),
    [(90.0, Signals()), (90.0, None), (None, Signals(owns_process=True))],
    ids=["library", "no signals", "no limit"],
)
def test_nobody_ends_a_library_or_a_command_without_limit(timers, limit, signals):
    with TimeBudget(limit, signals).enforced(lambda: None):
        pass
    assert timers == []


ENFORCED = """
import os, sys, threading, time
from kaggle_digits.system import time_budget

time_budget.FORCE_SECONDS = 0.0
signals = time_budget.Signals(owns_process=True)
budget = time_budget.TimeBudget(float(sys.argv[1]), signals)
with budget.enforced(lambda: os._exit(7)):
    time.sleep(float(sys.argv[2]))
for thread in threading.enumerate()[1:]:
    thread.join()  # for as long as the limit, if the timer were not cancelled
"""


@pytest.mark.parametrize(("limit", "busy", "status"), [(0.05, 60, 7), (1000.0, 0, 0)])
def test_a_real_process_is_ended_within_the_block_alone(process_env, limit, busy, status):
    words = [sys.executable, "-c", ENFORCED, str(limit), str(busy)]
    assert subprocess.run(words, env=process_env, timeout=50, check=False).returncode == status


# Signals


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_stops_at_once(signals, number):
    before = [signal.getsignal(other) for other in BOTH]
    with signals.watched():
        with pytest.raises(Stopped) as caught:
            signal.raise_signal(number)
        assert (caught.value.number, signals.received) == (number, number)
        # Whichever comes second ends the command's process as if nobody had watched, and goes
        # to the handler of a process that uses the package.
        if not signals.owns_process:
            assert [signal.getsignal(other) for other in BOTH] == before
    if signals.owns_process:
        assert [signal.getsignal(other) for other in BOTH] == [signal.SIG_DFL] * 2


@pytest.mark.usefixtures("own_signals")
def test_a_second_signal_is_the_callers():
    came, signals = [], Signals()
    for number in BOTH:
        signal.signal(number, lambda number, frame: came.append(number))

    def work():
        with signals.deferred():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)

    with signals.watched(), pytest.raises(Stopped):
        work()
    assert (signals.received, came) == (signal.SIGINT, [signal.SIGTERM, signal.SIGINT])


def other_hook(unraisable):
    raise AssertionError


def set_what_a_caller_may_have_set():
    for number in (*BOTH, signal.SIGALRM):
        signal.signal(number, lambda *args: None)
    signal.setitimer(signal.ITIMER_REAL, 1000, 77)
    sys.unraisablehook = other_hook


def work_until_stopped():
    signal.raise_signal(signal.SIGTERM)


def fail():
    raise ZeroDivisionError


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize("caller", [lambda: None, set_what_a_caller_may_have_set])
@pytest.mark.parametrize("owns_process", [True, False])
@pytest.mark.parametrize(
    ("work", "ends"), [(lambda: None, ()), (fail, ZeroDivisionError), (work_until_stopped, Stopped)]
)
def test_afterwards_all_is_as_it_was(caller, owns_process, work, ends):
    caller()
    before = handling()
    with suppress(*(ends and (ends,))), Signals(owns_process).watched():
        assert handling()[:2] != before[:2]
        assert sys.unraisablehook is not before[3]
        work()
    if owns_process and work is work_until_stopped:
        before[:2] = [signal.SIG_DFL] * 2
    assert handling() == before
    # A caller's timer has not been stopped meanwhile.
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 900) == (before[4] > 0)


class Finalized:
    """Gets a signal while it is finalized, where Python ignores all exceptions."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_stop_that_was_ignored_is_raised_again(signals, capsys):
    with signals.watched():
        things = [Finalized()]
        things.clear()
        with pytest.raises(Stopped) as stopped:
            time.sleep(60)
    assert stopped.value.number == signals.received == signal.SIGTERM
    assert not capsys.readouterr().err


@pytest.mark.parametrize("caller", [lambda: None, set_what_a_caller_may_have_set])
def test_after_a_stop_that_was_ignored_the_timer_is_the_callers(signals, caller):
    caller()
    before = handling()
    with signals.watched():
        things = [Finalized()]
        things.clear()  # and nothing waits for the stop to be raised again
    if signals.owns_process:
        before[:2] = [signal.SIG_DFL] * 2
    assert handling() == before
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 900) == (before[4] > 0)


def test_a_stop_that_was_ignored_waits_for_the_end_of_a_deferred_block(signals):
    came = []

    def work():
        with signals.deferred():
            things = [Finalized()]
            things.clear()
            time.sleep(10 * time_budget.RAISED_AGAIN_SECONDS)
            came.append(signals.received)

    with signals.watched(), pytest.raises(Stopped):
        work()
    assert came == [signal.SIGTERM]


def test_other_ignored_exceptions_are_reported_as_ever(signals, monkeypatch):
    class Broken:
        def __del__(self):
            raise ValueError("of its own")

    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda ignored: seen.append(str(ignored.exc_value)))
    with signals.watched():
        things = [Broken()]
        things.clear()
    assert seen == ["of its own"]


def test_no_library_takes_a_stop_for_an_error_of_its_own():
    assert issubclass(Stopped, BaseException)
    assert not issubclass(Stopped, Exception)


def test_a_deferred_signal_stops_at_the_end_of_the_block(clock, signals):
    budget, reached = TimeBudget(None, signals), []

    def block():
        with signals.deferred():
            clock.now = 1010.0
            signal.raise_signal(signal.SIGINT)
            reached.append((signals.received, budget.seconds_left()))

    before = [signal.getsignal(other) for other in BOTH]
    with signals.watched():
        with pytest.raises(Stopped) as caught:
            block()
        assert caught.value.number == signal.SIGINT
        assert reached == [(signal.SIGINT, 20.0)]
        if not signals.owns_process:
            assert [signal.getsignal(other) for other in BOTH] == before
    if signals.owns_process:
        assert [signal.getsignal(other) for other in BOTH] == [signal.SIG_DFL] * 2


def test_after_a_deferred_block_a_signal_stops_at_once_again(signals):
    with signals.watched():
        with signals.deferred():
            assert signals.received is None
        with pytest.raises(ZeroDivisionError), signals.deferred():
            raise ZeroDivisionError
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)


def test_in_another_thread_nothing_is_watched():
    seen = []

    def work():
        with Signals().watched():
            seen.append(handling())

    before = handling()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
    assert handling() == before


DEFERRED = """
import signal, sys, time
from kaggle_digits.system.time_budget import Signals, Stopped

# A shell that starts something in the background has it ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
signals = Signals(owns_process=sys.argv[1] == "command")
with signals.watched():
    try:
        with signals.deferred():
            print("ready", flush=True)
            while signals.received is None:
                time.sleep(0.005)
            print("noticed", flush=True)
    except Stopped as stopped:
        number = stopped.number
    try:
        print("stopped by", number, flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGINT),
    ],
)
@pytest.mark.parametrize("kind", ["command", "library"])
def test_signals_from_outside(process_env, kind, first, second):
    process = subprocess.Popen(
        [sys.executable, "-c", DEFERRED, kind], env=process_env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(first)
        assert process.stdout.readline() == "noticed\n"
        assert process.stdout.readline() == f"stopped by {int(first)}\n"
        process.send_signal(second)
        # Python's own handler of SIGINT, which the library's process has, raises an exception.
        interrupted = kind == "library" and second == signal.SIGINT
        assert process.stdout.readline() == ("interrupted\n" if interrupted else "")
        ended = 128 + second if kind == "command" else -second
        assert process.wait(30) == (0 if interrupted else ended)
    finally:
        process.kill()
        process.communicate()


# What people hear of a signal

# A process in C code, where no handler of Python's can run: it waits for a mutex that it holds.
IN_C = """
import ctypes, os, sys, threading
from kaggle_digits.system.time_budget import Signals, Stopped

libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)  # zeros: a mutex that is free
signals = Signals(owns_process=True)
def announce(line):
    os.write(1, (line + "\\n").encode())
    if "release" in sys.argv:
        libc.pthread_mutex_unlock(mutex)
    if "fail" in sys.argv:
        raise OSError(28, "No space left on device")
signals.announce = announce
libc.pthread_mutex_lock(mutex)
try:
    with signals.watched(), signals.deferred():
        os.write(1, b"begun\\n")
        libc.pthread_mutex_lock(mutex)
        os.write(1, b"released\\n")
except Stopped:
    os.write(1, b"stopped\\n")
"""
STOPPING = "Ctrl-C: stopping after this batch and saving what is done; a second one stops now\n"


@pytest.fixture
def in_c(process_env):
    """Begin a process that is held up in C code; it is killed at the end."""
    begun = []

    def begin(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", IN_C, *arguments],
            env=process_env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        assert process.stdout.readline() == "begun\n"
        return process

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def test_a_deferred_signal_is_announced_before_c_code_returns(in_c):
    process = in_c("release")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == (f"{STOPPING}released\nstopped\n", "")


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_process_in_c_code(in_c, second):
    process = in_c()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == STOPPING
    process.send_signal(second)
    line = "kaggle-digits: stopped at once; repeat the command to continue\n"
    assert process.communicate(timeout=60) == ("", line)
    assert process.returncode == 128 + second


def test_an_announcement_that_fails_is_no_traceback(in_c):
    process = in_c("release", "fail")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == (f"{STOPPING}released\nstopped\n", "")


def announced_by(signals, work):
    """Do some work under signals; return what was announced and done, in order."""
    happened = []
    signals.announce = happened.append
    with suppress(Stopped), signals.watched():
        work(happened)
    return happened


def test_a_signal_that_is_obeyed_at_once_is_not_announced(own_signals):
    def work(happened):
        signal.raise_signal(signal.SIGTERM)
        happened.append("not reached")

    assert announced_by(Signals(owns_process=True), work) == []


def test_a_library_announces_nothing(own_signals):
    def work(happened):
        with signals.deferred():
            signal.raise_signal(signal.SIGINT)

    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    signals = Signals(owns_process=False)
    assert announced_by(signals, work) == []
    assert signal.set_wakeup_fd(before) == before
