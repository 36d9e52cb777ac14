"""What people see of a run or a search: moving bars on a terminal and in a notebook, lines, a log.

Every stage gets the command's `Reporter` and says through it what it does.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal, TextIO, get_args

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column
from rich.text import Text

from kaggle_digits.errors import UserError

ProgressMode = Literal["auto", "rich", "plain", "none"]

PLAIN_WIDTH = 110  # columns of a table outside a terminal
NARROWEST = 20  # columns that a text is wrapped to
BAR_WIDTH = 20  # columns; leaves room for what is written beside it on a terminal of 80
JUPYTER_SECONDS = 0.5  # between two drawings of a bar in a notebook
NO_BREAK = "\N{NO-BREAK SPACE}"
PROGRESS_STEP = 0.01  # outside a terminal a line of progress is written after so much more work
# How a line begins -> its style. On a terminal that shows colours, people see at once what matters.
STYLES = {"WARNING": "yellow", "DEMO DATA": "yellow", "PROVISIONAL": "yellow"}
# Where `!command` in a notebook runs, there is a terminal that keeps every control code.
NOTEBOOK_VARIABLES = ("JPY_PARENT_PID", "KAGGLE_KERNEL_RUN_TYPE", "COLAB_RELEASE_TAG")


class Reporter:
    """Writes to standard output and, once there is one, to the run's log, which gets all lines.

    Args:
        console: where to write; None: standard output.
        progress: rich: a moving bar and colours; plain: lines, a bounded number of them; none: no
            progress; auto: rich on a terminal, plain elsewhere and in notebooks, where a call of
            the Python API draws a bar in place.
        quiet: write warnings and results only.

    Attributes:
        is_live: whether bars may move in place on standard output.

    Raises:
        UserError: there is no such kind of progress.
    """

    def __init__(
        self, console: Console | None = None, progress: ProgressMode = "auto", quiet: bool = False
    ) -> None:
        if progress not in get_args(ProgressMode):
            modes = ", ".join(get_args(ProgressMode))
            raise UserError(f"progress: expected one of {modes}, found {progress!r}")
        is_jupyter = console is None and Console().is_jupyter
        self.console = console or _standard_output(progress, is_jupyter)
        self._has_bars = progress in ("auto", "rich") and not quiet
        self.is_live = self._has_bars and self.console.is_terminal
        self._draws_in_jupyter = self._has_bars and is_jupyter
        # Plain lines may go to a terminal too, where they are wrapped.
        is_shell = console is None and sys.stdout.isatty() and not in_notebook_shell()
        self._wraps = self.console.is_terminal or is_shell
        if not self._wraps:
            self.console.width = PLAIN_WIDTH
        self._has_progress, self._quiet = progress != "none" and not quiet, quiet
        self._next_progress = 0.0
        self._log: Path | None = None
        self._before_log: list[str] = []

    def log_to(self, path: Path) -> None:
        """Append everything to a file, also what was said before."""
        self._log = path
        path.parent.mkdir(parents=True, exist_ok=True)
        earlier, self._before_log = self._before_log, []
        if earlier:
            self._write("".join(earlier))

    def say(self, text: str, important: bool = False) -> None:
        """Write one line, in colour where it begins as a warning does.

        Args:
            text: the line.
            important: also where only warnings are wanted.
        """
        style = next((style for start, style in STYLES.items() if text.startswith(start)), "")
        if style or important or not self._quiet:
            self._print(text, style)
        self._append(text)

    def progress(self, text: str, fraction: float) -> None:
        """Write one line of progress; however long a run is, a log of its output stays short.

        Args:
            text: the line.
            fraction: of all work done, 0..1. Outside a terminal a line is written when this has
                grown by `PROGRESS_STEP` since the last one.
        """
        if self._has_progress and (self.is_live or fraction >= self._next_progress):
            self._next_progress = fraction + PROGRESS_STEP
            self._print(text)
        self._append(text)

    def show(self, content: RenderableType) -> None:
        """Write a result, for example a table."""
        self.console.print(content, crop=False)
        plain = Console(
            width=PLAIN_WIDTH,
            highlight=False,
            markup=False,
            color_system=None,
            force_terminal=False,
            force_jupyter=False,
        )
        with plain.capture() as capture:
            plain.print(content, crop=False)
        self._append(capture.get().rstrip("\n"))

    def _print(self, text: str, style: str = "") -> None:
        if self._wraps:
            text = wrapped(text, self.console.width, indent=2)
        self.console.print(Text(text, style), soft_wrap=True)

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
    def bar(self, total: float, label: str) -> Iterator[Callable[[float, str], None]]:
        """Show how far a stage is.

        Args:
            total: steps of the stage.
            label: what is beside the bar before its first step.

        Yields:
            A function (steps done, text beside the bar). Without a terminal or a notebook it does
            nothing: there `say` and `progress` alone are seen.
        """
        if self._draws_in_jupyter:
            bar = _JupyterBar(total, label)
            try:
                yield bar.show
            finally:
                bar.clear()
            return
        if not self.is_live:
            yield lambda done, text: None
            return
        # Spinner, spaces and percentage; and the terminal's ^C shall not begin another line.
        room = self.console.width - BAR_WIDTH - 14
        columns = (
            SpinnerColumn(style="cyan"),
            BarColumn(BAR_WIDTH, complete_style="cyan", finished_style="green"),
            TextColumn("{task.percentage:>3.0f} %"),
            # What does not fit is cut off here; what matters most stands first in the text.
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(max_width=room, no_wrap=True, overflow="ellipsis"),
            ),
        )
        with Progress(*columns, console=self.console, transient=True) as live:
            task = live.add_task(label, total=total)
            yield lambda done, text: live.update(task, completed=done, description=text)

    @contextmanager
    def live(self, make: Callable[[], RenderableType]) -> Iterator[None]:
        """Keep something in sight at the bottom of a terminal; elsewhere do nothing.

        Args:
            make: returns its present state; is called a few times a second.
        """
        if not self.is_live:
            yield
            return
        with Live(get_renderable=make, console=self.console, transient=True):
            yield


def _standard_output(progress: ProgressMode, is_jupyter: bool) -> Console:
    """Return a console on standard output that writes control codes only where they are wanted."""
    # A notebook's kernel asks for colours (FORCE_COLOR), which rich takes to mean a terminal; and
    # rich itself would make an HTML block of each line there.
    is_terminal = {"rich": True, "plain": False, "none": None, "auto": None}[progress]
    if is_terminal is None and (is_jupyter or in_notebook_shell()):
        is_terminal = False
    return Console(highlight=False, markup=False, force_jupyter=False, force_terminal=is_terminal)


def in_notebook_shell(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> bool:
    """Return whether the process belongs to a notebook, which stores whatever it writes.

    Args:
        environ: environment variables; a notebook's kernel hands its own to `!command`.
        root: the root of the file system; on a Kaggle kernel it has a folder `kaggle`.
    """
    # What ipykernel itself prepares for `!command`, for kernels that are begun in other ways.
    ipykernel = {"PAGER": "cat", "GIT_PAGER": "cat", "CLICOLOR": "1"}
    return (
        any(environ.get(name) for name in NOTEBOOK_VARIABLES)
        or all(environ.get(name) == value for name, value in ipykernel.items())
        or (root / "kaggle").is_dir()
    )


FactKind = Literal["plain", "strong", "good", "bad", "warning", "command"]
VALUE_STYLES = {"strong": "bold", "good": "bold green", "bad": "bold red", "command": "cyan"}
BADGE = "black on yellow"  # of a warning's label; readable on dark and light terminals


@dataclass(frozen=True)
class Fact:
    """A line of a result.

    Attributes:
        label: what it is.
        value: how much, or where.
        kind: how it looks where colours are shown; a command, there to be copied, is never wrapped.
    """

    label: str
    value: str
    kind: FactKind = "plain"


@dataclass(frozen=True)
class Facts:
    """Facts under headings; no word, link or number is broken across lines.

    There are no frames, so that screen readers, logs and copied commands have no other characters
    in them.

    Attributes:
        sections: heading -> facts; those without a heading are under "".
    """

    sections: Mapping[str, list[Fact]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay the facts out for rich."""
        labels = [fact.label for facts in self.sections.values() for fact in facts]
        column = max(map(len, labels), default=0) + 4  # two spaces on either side
        for heading, facts in self.sections.items():
            if not facts:
                continue
            yield Text(f"\n{heading}" if heading else "", "bold")
            for fact in facts:
                yield self._line(fact, column, options.max_width)

    def _line(self, fact: Fact, column: int, width: int) -> Text:
        line = Text("  ", no_wrap=True, overflow="ignore")
        line.append(fact.label, BADGE if fact.kind == "warning" else "")
        words = [fact.value] if fact.kind == "command" else fact.value.split()
        if max(map(len, words), default=0) > width - column or width - column < NARROWEST:
            line.append("\n    ")  # a long path has its own line, as all has in a narrow terminal
            column = 4
        else:
            line.append(" " * (column - len(line)))
        if fact.kind != "command":
            words = wrapped(fact.value, width - column, indent=0).splitlines()
        for number, text in enumerate(words):
            line.append("\n" + " " * column if number else "")
            line.append(text, VALUE_STYLES.get(fact.kind, ""))
        return line


def wrapped(text: str, width: int, indent: int) -> str:
    """Wrap a text between words; a word, link or number that is too long stays whole.

    Args:
        text: one paragraph.
        width: columns.
        indent: spaces before all lines but the first.
    """
    lines = textwrap.wrap(
        re.sub(r"(?<=\d) (?=[a-z%])", NO_BREAK, text),  # a number stays with its unit
        max(width, NARROWEST),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace(NO_BREAK, " ")


def fit_to_terminal(text: str, stream: TextIO) -> str:
    """Wrap a line between words if it goes to a terminal; elsewhere it stays as it is."""
    if not stream.isatty():
        return text
    return wrapped(text, os.get_terminal_size(stream.fileno()).columns, indent=2)


class _JupyterBar:
    """A bar in a notebook that is drawn in place, a few times a second at most."""

    def __init__(self, total: float, label: str) -> None:
        from IPython.display import display

        self._total, self._drawn_at = total, time.monotonic()
        self._handle = display(self._content(0, label), raw=True, display_id=True)

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


def count_of(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: 1 trial, 2,000 rows.

    Args:
        number: how many.
        noun: for one of them.
        plural: for others; None: with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
