"""What people see of a run or a search: moving bars on a terminal and in a notebook, lines, a log.

Every stage gets the command's `Reporter` and says through it what it does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_WIDTH = 110  # columns of a table outside a terminal
JUPYTER_SECONDS = 0.5  # between two drawings of a bar in a notebook
STARTING = "starting"  # beside a bar before its first step


class Reporter:
    """Writes to standard output and, once there is one, to the run's log.

    Args:
        console: where to write; None: standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._in_notebook = console is None and Console().is_jupyter
        # A notebook gets plain lines: rich would make an HTML block of each. And its kernel asks
        # for colours (FORCE_COLOR), which rich takes to mean a terminal.
        self.console = console or Console(
            highlight=False,
            markup=False,
            soft_wrap=True,
            force_jupyter=False,
            force_terminal=False if self._in_notebook else None,
        )
        if not self.console.is_terminal:
            self.console.width = PLAIN_WIDTH
        self._log: Path | None = None
        self._before_log: list[str] = []

    def log_to(self, path: Path) -> None:
        """Append everything to a file, also what was said before."""
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
        plain = Console(
            width=PLAIN_WIDTH,
            highlight=False,
            markup=False,
            force_terminal=False,
            force_jupyter=False,
        )
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
            A function (steps done, text beside the bar). Without a terminal or a notebook it does
            nothing: there `say` alone is seen.
        """
        if self._in_notebook:
            bar = _JupyterBar(total)
            try:
                yield bar.show
            finally:
                bar.clear()
            return
        if not self.console.is_terminal:
            yield lambda done, text: None
            return
        columns = (
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=self.console, transient=True) as live:
            task = live.add_task(STARTING, total=total)
            yield lambda done, text: live.update(task, completed=done, description=text)

    @contextmanager
    def live(self, make: Callable[[], RenderableType]) -> Iterator[None]:
        """Keep something in sight at the bottom of a terminal; elsewhere do nothing.

        Args:
            make: returns its present state; is called a few times a second.
        """
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=make, console=self.console, transient=True):
            yield


class _JupyterBar:
    """A bar in a notebook that is drawn in place, a few times a second at most."""

    def __init__(self, total: int) -> None:
        from IPython.display import display

        self._total, self._drawn_at = total, time.monotonic()
        self._handle = display(self._content(0, STARTING), raw=True, display_id=True)

    def show(self, done: float, text: str) -> None:
        """Draw the bar."""
        now = time.monotonic()
        if now - self._drawn_at >= JUPYTER_SECONDS or done >= self._total:
            self._drawn_at = now
            self._handle.update(self._content(done, text), raw=True)

    def clear(self) -> None:
        """Take the bar away, as a terminal does."""
        self._handle.update({"text/plain": ""}, raw=True)

    def _content(self, done: float, text: str) -> dict[str, str]:
        beside = f"{100 * done / max(self._total, 1):.0f} % {text}"
        bar = f'<progress max="{self._total}" value="{done:.1f}"></progress>'
        return {"text/html": f"{bar} {escape(beside)}", "text/plain": beside}


def duration(seconds: float) -> str:
    """Return seconds as people write them: 48 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
