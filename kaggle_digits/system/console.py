"""What a person sees while a run goes on: live bars on a terminal, plain lines elsewhere, a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_WIDTH = 110  # columns of a table that goes to a file


class Reporter:
    """Writes to standard output and, once there is one, to the run's log.

    Args:
        console: where to write; a terminal shows bars that move.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, markup=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = PLAIN_WIDTH
        self._log: Path | None = None
        self._before_log: list[str] = []

    def log_to(self, path: Path) -> None:
        """Append everything, also what was said before, to a file."""
        self._log = path
        path.parent.mkdir(parents=True, exist_ok=True)
        earlier, self._before_log = self._before_log, []
        if earlier:
            self._write("".join(earlier))

    def say(self, text: str) -> None:
        """Write one line."""
        self.console.print(text, markup=False)
        self._append(text)

    def show(self, table: RenderableType) -> None:
        """Write a table."""
        self.console.print(table)
        plain = Console(width=PLAIN_WIDTH, highlight=False, markup=False)
        with plain.capture() as capture:
            plain.print(table)
        self._append(capture.get().rstrip("\n"))

    def _append(self, text: str) -> None:
        stamped = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n"
        if self._log is None:
            self._before_log.append(stamped)
        else:
            self._write(stamped)

    def _write(self, text: str) -> None:
        with self._log.open("a", encoding="utf-8") as file:
            file.write(text)

    @contextmanager
    def bar(self, total: int) -> Iterator[Callable[[float, str], None]]:
        """Show how far a stage is.

        Args:
            total: steps of the stage.

        Yields:
            A function (steps done, text beside the bar). Without a terminal it does nothing: there
            `say` alone is seen.
        """
        if not self.console.is_terminal:
            yield lambda done, text: None
            return
        columns = (
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=self.console, transient=True) as live:
            task = live.add_task("", total=total)
            yield lambda done, text: live.update(task, completed=done, description=text)

    @contextmanager
    def live(self, make: Callable[[], RenderableType]) -> Iterator[None]:
        """Keep something in sight at the bottom of a terminal; elsewhere do nothing.

        Args:
            make: returns it as it is now; is called a few times a second.
        """
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=make, console=self.console, transient=True):
            yield


def duration(seconds: float) -> str:
    """Write seconds for people: 48 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
