"""When a command has to stop: a signal came, or the time that it was given is nearly up.

All seconds that time limits are planned with are constants of this module.
"""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from kaggle_digits.errors import UserError

# After a signal, seconds for a last submission. Whoever sends SIGTERM often kills after 30.
GRACE_SECONDS = 20.0
# Seconds after which a stop that Python could only ignore is raised once more.
RAISED_AGAIN_SECONDS = 0.01
# Seconds that a run keeps free for the last table and the end of the process, and a fraction of the
# limit: in hours a machine may become busy with other things.
EXIT_SECONDS = 5.0
EXIT_FRACTION = 0.005
# The same of a search, whose page takes seconds on a busy machine.
SEARCH_EXIT_SECONDS = 12.0
# A process that is held up (a backend can take seconds to leave an epoch) ends this late.
FORCE_SECONDS = 1.5
# What the report of a run takes to be made, where nothing is known yet.
REPORT_SECONDS = 5.0
# What a backend takes to start and to make its first step, where nothing is known yet.
START_SECONDS = 12.0
# A forward pass takes a third to a fourth of a step's time, but a prediction has to start first.
FORWARD_SPEEDUP = 2.0
# Fraction of the remaining time that drawing may take before training begins; variants that are
# missing then are drawn when an epoch needs them.
BANK_FRACTION = 0.5
# A search forecasts its holdout check from the trials' speeds. A machine may have become slower,
# each fit has a start and an end, and the check may have this fraction of the limit at most.
CHECK_MARGIN = 1.3
CHECK_FIT_SECONDS = 15.0
RESERVE_FRACTION = 0.5

# Said when a signal comes in the middle of a fit.
STOPPING = "{}: stopping after this batch and saving what is done; a second one stops now"
STOPPED_AT_ONCE = "kaggle-digits: stopped at once; repeat the command to continue\n"
SHOW_CURSOR = b"\x1b[?25h\r\n"  # for a terminal
UNITS = {"h": 3600, "m": 60, "s": 1}
SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}  # number -> name for people


class Stopped(BaseException):
    """A signal asked the process to stop; no Exception, which a library might take for its own.

    Args:
        number: the signal.

    Attributes:
        advice: how people go on, where that is not to repeat the command.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number, self.advice = number, ""


def end_process(status: int, line: str = "") -> None:
    """End the process at once, and give a terminal its cursor back, which a bar has hidden.

    Args:
        status: of the exit.
        line: a last line for standard error.
    """
    with suppress(OSError):
        if os.isatty(1):
            os.write(1, SHOW_CURSOR)
        os.write(2, line.encode())
    os._exit(status)


class Signals:
    """SIGINT (Ctrl-C) and SIGTERM as requests to stop.

    Attributes:
        received: the signal that came, None while there is none.
        received_at: when it came, on the monotonic clock.
        owns_process: whether the process is the command's own, as on the command line. Then a
            second signal, or a time limit that passes in the middle of a step, ends it; a process
            that uses the package as a library is never ended.
        announce: takes a line for people when a signal comes that is not obeyed at once; only in a
            process of the command's own.
    """

    def __init__(self, owns_process: bool = False) -> None:
        self.received: int | None = None
        self.received_at = math.inf
        self.owns_process = owns_process
        self.announce: Callable[[str], None] = lambda line: None
        self._deferred = False
        self._handlers: dict[int, object] = {}
        self._hook = sys.unraisablehook
        self._timer: tuple[object, float, float] | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have the first signal within the block raise `Stopped`, or only be noted in `deferred`.

        Handlers, the timer and the hook are afterwards what they were before; only of a process of
        the command's own that was asked to stop, another signal ends what is left. In another
        thread than the main one, where Python allows no handlers, nothing is watched.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._hook = sys.unraisablehook
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}
        sys.unraisablehook = self._notice_ignored
        stop_watching = self._watch_at_once() if self.owns_process else lambda: None
        try:
            self._handle(dict.fromkeys(SIGNALS, self._note))
            yield
        finally:
            try:
                self._stop_timer()
                asked_to_stop = self.owns_process and self.received is not None
                default = dict.fromkeys(SIGNALS, signal.SIG_DFL)
                self._handle(default if asked_to_stop else self._handlers)
            finally:
                sys.unraisablehook = self._hook
                stop_watching()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note a signal within the block, which looks at `received` itself.

        Raises:
            Stopped: at the end of the block, if a signal came within it.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.received is not None:
            raise Stopped(self.received)

    def _watch_at_once(self) -> Callable[[], None]:
        """Announce the first signal, and end the process at the second, until that is stopped.

        Python's own handlers wait until C code returns, which can be seconds; what Python writes to
        a file for each signal does not.
        """
        reader, writer = os.pipe()
        os.set_blocking(writer, False)

        def watch() -> None:
            is_first = True
            while numbers := os.read(reader, 1):
                number = numbers[0]
                if number not in SIGNALS:
                    continue
                if not is_first:
                    end_process(128 + number, STOPPED_AT_ONCE)
                is_first = False
                if self._deferred:
                    with suppress(Exception):  # a full disk, say, is reported by the main thread
                        self.announce(STOPPING.format(SIGNALS[number]))

        thread = threading.Thread(target=watch, daemon=True)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        thread.start()

        def stop() -> None:
            signal.set_wakeup_fd(before)
            os.close(writer)
            thread.join()
            os.close(reader)

        return stop

    def _note(self, number: int, frame: object) -> None:
        if self.received is not None:
            return  # the thread ends the process
        if not self.owns_process:
            self._handle(self._handlers)
        self.received, self.received_at = number, time.monotonic()
        self._raise()

    def _handle(self, handlers: dict[int, object]) -> None:
        for number, handler in handlers.items():
            if self._handlers[number] is not None:  # else C code has set one: it stays
                signal.signal(number, handler)

    def _raise(self, *_: object) -> None:
        if not self._deferred:
            raise Stopped(self.received)

    def _notice_ignored(self, unraisable: sys.UnraisableHookArgs) -> None:
        # A signal may come while a finalizer or a callback from C runs, where Python can only
        # report an exception and go on: raise it once more when that is over.
        if isinstance(unraisable.exc_value, Stopped):
            self._start_timer()
        else:
            self._hook(unraisable)

    def _start_timer(self) -> None:
        """Raise the stop in a moment; what the process itself had set comes later."""
        handler = signal.signal(signal.SIGALRM, self._raise)
        timer = signal.setitimer(signal.ITIMER_REAL, RAISED_AGAIN_SECONDS)
        if self._timer is None:
            self._timer = handler, *timer

    def _stop_timer(self) -> None:
        if self._timer is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            handler, *timer = self._timer
            signal.signal(signal.SIGALRM, handler or signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, *timer)


class TimeBudget:
    """The time that a command has; the clock runs from its start.

    Args:
        limit: seconds from the start, None: as long as it takes.
        signals: requests to stop; None: there are none.
        start: the start on the monotonic clock, None: now.
    """

    def __init__(
        self,
        limit: float | None = None,
        signals: Signals | None = None,
        start: float | None = None,
    ) -> None:
        self.limit, self.signals = limit, signals or Signals()
        self.start = time.monotonic() if start is None else start

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.start

    def seconds_left(self) -> float:
        """Return the seconds until everything must be done; infinite without limit and signal."""
        end = self.start + (math.inf if self.limit is None else self.limit)
        return min(end, self.signals.received_at + GRACE_SECONDS) - time.monotonic()

    def rest(self) -> TimeBudget:
        """Return the budget of a part of the work that begins now and may take all that is left."""
        limit = None if self.limit is None else max(0.0, self.limit - self.seconds())
        return TimeBudget(limit, self.signals)

    def exit_seconds(self) -> float:
        """Return how long before the time is up the last work of a run has to be done."""
        return EXIT_SECONDS + EXIT_FRACTION * (self.limit or 0.0)

    @contextmanager
    def enforced(self, leave: Callable[[], None]) -> Iterator[None]:
        """Call `leave` from another thread if the block still runs just before the limit.

        Only where the process is the command's own; at the end of the block the timer is cancelled.

        Args:
            leave: ends the process.
        """
        if self.limit is None or not self.signals.owns_process:
            yield
            return
        timer = threading.Timer(max(0.0, self.seconds_left() - FORCE_SECONDS), leave)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def parse_duration(text: str, name: str = "--time-limit") -> float:
    """Read a duration such as 8h30m, 45m or 90s.

    Args:
        text: hours, minutes and seconds in this order, each at most once.
        name: whose value it is, for the error message.

    Returns:
        Seconds, above 0.

    Raises:
        UserError: it is no such duration.
    """
    number = r"(\d+(?:\.\d+)?)"
    match = re.fullmatch(rf"(?:{number}h)? ?(?:{number}m)? ?(?:{number}s)?", text.strip().lower())
    parts = match.groups(default="0") if match else ()
    seconds = sum(float(part) * UNITS[unit] for part, unit in zip(parts, "hms", strict=False))
    if not 0 < seconds < math.inf:
        raise UserError(
            f"{name}: expected a duration such as 8h30m, 45m or 90s, found {text!r}"
            + ("; which unit is meant?" if text.strip().isdecimal() else "")
        )
    return seconds
