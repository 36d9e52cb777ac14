"""When a run has to stop: a signal came, or the time that a person gave it is nearly up."""

from __future__ import annotations

import math
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kaggle_digits.errors import UserError

# After a signal, seconds for a last submission. Whoever sends SIGTERM often kills after 30.
GRACE = 20.0
RAISED_AGAIN = 0.01  # seconds after which a stop that was ignored is raised again
UNITS = {"h": 3600, "m": 60, "s": 1}


class Stopped(BaseException):
    """A signal asked the process to stop; no Exception, which a library might take for its own.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class TimeBudget:
    """Knows how much time is left; the clock runs from its making.

    Its `advice` says to people how to go on after a stop.

    Args:
        limit: seconds from now on, None: as long as it takes.
    """

    def __init__(self, limit: float | None = None) -> None:
        self.start = time.monotonic()
        self.limit = limit
        self.signal: int | None = None
        self.advice = "repeat the command"
        self._signal_came = math.inf
        self._deferred = False

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.start

    def seconds_left(self) -> float:
        """Return the seconds until everything must be done; infinite without limit and signal."""
        end = self.start + (math.inf if self.limit is None else self.limit)
        return min(end, self._signal_came + GRACE) - time.monotonic()

    def watch(self) -> None:
        """Have SIGINT (Ctrl-C) and SIGTERM stop the process from now on.

        The first one raises `Stopped`, or is remembered while `deferred`; a second one ends the
        process at once.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)
        sys.unraisablehook = self._notice_ignored

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only remember a signal within the block, which looks at `signal` itself.

        Raises:
            Stopped: at the end of the block, if a signal came within it.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.signal is not None:
            raise Stopped(self.signal)

    def _note(self, number: int, frame: object) -> None:
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.SIG_DFL)
        self.signal, self._signal_came = number, time.monotonic()
        self._raise()

    def _raise(self, *_: object) -> None:
        if not self._deferred:
            raise Stopped(self.signal)

    def _notice_ignored(self, unraisable: sys.UnraisableHookArgs) -> None:
        # A signal may come while a finalizer or a callback from C runs, where Python can only
        # report an exception and go on: raise it again once that is over.
        if not isinstance(unraisable.exc_value, Stopped):
            sys.__unraisablehook__(unraisable)
        else:
            signal.signal(signal.SIGALRM, self._raise)
            signal.setitimer(signal.ITIMER_REAL, RAISED_AGAIN)


def parse_duration(text: str) -> float:
    """Read a duration such as 8h30m, 45m or 90s.

    Args:
        text: hours, minutes and seconds in this order, each at most once.

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
        raise UserError(f"--time-limit: expected a duration such as 8h30m or 45m, found {text!r}")
    return seconds
