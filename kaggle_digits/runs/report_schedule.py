"""When the report of a run is made while the run goes on; what it shows is `reporting`'s."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from shlex import quote

from kaggle_digits.data.digits import Digits
from kaggle_digits.runs import reporting
from kaggle_digits.runs.costs import Clock
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.time_budget import REPORT_SECONDS, TimeBudget

# Of the time between two fits, the most that a report while the run goes on may take.
MOST_OF_TIME = 0.05


class Reports:
    """Makes the report of a run that goes on: at its end, and before as often as it costs little.

    Whatever goes wrong, the run goes on.

    Args:
        folder: the run's folder.
        data: what it is trained on.
        budget: the time there is.
        clock: counts what reports take.
        say: is called with a line where there is no report, and why.
        wanted: whether there are to be any.
    """

    def __init__(
        self,
        folder: RunFolder,
        data: Digits,
        budget: TimeBudget,
        clock: Clock,
        say: Callable[[str], object],
        wanted: bool = True,
    ) -> None:
        self._folder, self._data, self._budget = folder, data, budget
        self._clock, self._say, self._wanted = clock, say, wanted
        self._seconds, self._last = REPORT_SECONDS, time.monotonic()
        # Of the run's figures as they are; whether they have changed since this began, and whether
        # a report could not be made.
        self._is_current = self._has_changed = self._has_failed = False

    def discard(self) -> None:
        """Delete the report: it shows figures that are not the run's any more."""
        with suppress(OSError):  # the run goes on
            self._folder.remove_report()
        self._is_current = False

    def after_fit(self, *, is_last: bool = False) -> None:
        """Make the report if that takes little of the time since the last one.

        Args:
            is_last: `at_end` makes it, and until then there is none of fewer fits.
        """
        self._is_current, self._has_changed = False, True
        if is_last:
            self.discard()
            return
        is_cheap = self._seconds <= MOST_OF_TIME * (time.monotonic() - self._last)
        is_stopping = self._budget.signals.received is not None
        is_promising = is_cheap and not self._has_failed  # else once more, at the end
        if self._wanted and is_promising and self._has_time() and not is_stopping:
            self._make()

    def at_end(self) -> Path | None:
        """Make the report, unless this process has made it already since the last fit.

        Returns its place, None where there is none. Where it cannot be made, none of earlier
        figures is left.
        """
        if self._wanted and not self._is_current:
            if self._has_time():
                self._make()
            else:
                command = f"kaggle-digits report {quote(str(self._folder.folder))}"
                self._say(f"no time for the report; {command} makes it")
        if self._has_changed and not self._is_current:
            self.discard()
        return self._folder.report if self._is_current else None

    def _has_time(self) -> bool:
        # Twice as long as before: the machine may be busier now, and there is more to draw.
        needed = self._budget.exit_seconds() + 2 * self._seconds
        return self._budget.seconds_left() > needed

    def _make(self) -> None:
        start = time.monotonic()
        with self._clock.timed("reporting"):
            why = reporting.attempt(self._folder, self._data)
        self._is_current = why is None
        if why is not None:
            self._has_failed = True
            self._say(f"WARNING: no report: {why}")
        self._last = time.monotonic()
        self._seconds = self._last - start
