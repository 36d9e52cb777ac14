import builtins
import re
from io import StringIO
from types import SimpleNamespace

import IPython.display
import pytest
from rich.console import Console
from rich.table import Table

from kaggle_digits.system import console
from kaggle_digits.system.console import PLAIN_WIDTH, Reporter, duration

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def terminal():
    """A console that takes itself for a terminal, whatever TERM the tests run under."""
    return Console(
        force_terminal=True, file=StringIO(), width=100, _environ={"TERM": "xterm"}, highlight=False
    )


def make_table():
    table = Table(title="Result", show_header=False)
    table.add_row("accuracy", "0.99")
    return table


@pytest.mark.parametrize(
    "line",
    ["cnn fold 1, epoch 2/7: loss 0.5", "[bold]not markup[/bold] [1/2]", "long " * 100 + "end"],
)
def test_without_a_terminal_a_line_stays_as_it_is(capsys, line):
    Reporter().say(line)
    assert capsys.readouterr().out == f"{line}\n"


def test_without_a_terminal_a_table_is_plain_and_fits_the_page(capsys):
    table = make_table()
    table.add_row("words", "word " * 50)
    Reporter().show(table)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == PLAIN_WIDTH
    assert any("accuracy" in line and "0.99" in line for line in lines)
    assert "\x1b" not in "".join(lines)


def test_brackets_in_a_table_are_no_markup(tmp_path, capsys):
    table = Table()
    table.add_row("runs[old]/train.csv", "[/] [5, 3]")
    reporter = Reporter()
    reporter.log_to(tmp_path / "run.log")
    reporter.show(table)
    for text in (capsys.readouterr().out, (tmp_path / "run.log").read_text(encoding="utf-8")):
        assert "runs[old]/train.csv" in text
        assert "[/] [5, 3]" in text


def test_log_holds_what_was_said_before_and_after_it_was_opened(tmp_path, capsys):
    reporter = Reporter()
    reporter.say("early")
    log = tmp_path / "run" / "run.log"
    reporter.log_to(log)
    reporter.say("late: ü [x]")
    reporter.show(make_table())
    lines = log.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(f"{STAMP} early", lines[0])
    assert re.fullmatch(f"{STAMP} late: ü \\[x\\]", lines[1])
    assert re.match(f"{STAMP} +Result", lines[2])
    # Under the title, the table in the log is that on the page.
    assert lines[3:] == capsys.readouterr().out.splitlines()[3:]


def test_log_is_appended_to(tmp_path):
    log = tmp_path / "run.log"
    log.write_text("from the invocation before\n")
    reporter = Reporter(Console(file=StringIO()))
    reporter.log_to(log)
    reporter.say("again")
    first, second = log.read_text().splitlines()
    assert first == "from the invocation before"
    assert re.fullmatch(f"{STAMP} again", second)


def test_log_gets_a_table_without_colours_from_a_terminal(tmp_path, terminal):
    reporter = Reporter(terminal)
    reporter.log_to(tmp_path / "run.log")
    reporter.show(make_table())
    text = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert "accuracy" in text
    assert "\x1b" not in text


def test_bar_on_a_terminal(terminal):
    reporter = Reporter(terminal)
    with reporter.bar(4) as show:
        show(1, "cnn fold 1, epoch 1/4")
        reporter.say("a line above the bar")
    shown = terminal.file.getvalue()
    assert "cnn fold 1, epoch 1/4" in shown
    assert " 25 %" in shown
    assert "a line above the bar\n" in shown
    assert "\x1b" in shown


def test_bar_without_a_terminal_writes_nothing(tmp_path):
    console = Console(file=StringIO())
    reporter = Reporter(console)
    reporter.log_to(tmp_path / "run.log")
    with reporter.bar(4) as show:
        show(1, "cnn fold 1")
    assert console.file.getvalue() == ""
    assert not (tmp_path / "run.log").exists()


def test_a_live_table_on_a_terminal(tmp_path, terminal):
    reporter = Reporter(terminal)
    reporter.log_to(tmp_path / "tune.log")
    rows = ["trial 0001"]

    def make():
        table = Table()
        for row in rows:
            table.add_row(row)
        return table

    with reporter.live(make):
        reporter.say("a line above the table")
        rows.append("trial 0002")  # what it shows at its end
    shown = terminal.file.getvalue()
    assert "trial 0001" in shown
    assert "trial 0002" in shown
    assert "a line above the table" in shown
    log = (tmp_path / "tune.log").read_text()
    assert re.fullmatch(f"{STAMP} a line above the table\n", log)


def test_a_live_table_goes_when_its_block_fails(terminal):
    reporter = Reporter(terminal)
    with pytest.raises(KeyError), reporter.live(make_table):
        raise KeyError
    with reporter.live(make_table):  # only one at a time can be shown
        pass


def test_a_live_table_without_a_terminal_is_never_made(tmp_path):
    def make():
        raise AssertionError

    console = Console(file=StringIO())
    reporter = Reporter(console)
    reporter.log_to(tmp_path / "tune.log")
    with reporter.live(make):
        reporter.say("a line")
    assert console.file.getvalue() == "a line\n"


# Notebooks


class ZMQInteractiveShell:
    """Called like the shell of a notebook's kernel, which rich looks for."""


class Handle:
    """What `display` returns, with all that it has shown."""

    def __init__(self, shown):
        self.shown = [shown]

    def update(self, shown, raw):
        assert raw
        self.shown.append(shown)


@pytest.fixture
def notebook(monkeypatch):
    """Have this process taken for a notebook's kernel; return its displays as they are made."""
    displays = []

    def display(shown, raw, display_id):
        assert raw
        assert display_id
        displays.append(Handle(shown))
        return displays[-1]

    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a kernel has it
    return displays


def test_a_notebook_gets_plain_lines_and_tables(notebook, tmp_path, capsys):
    reporter = Reporter()
    reporter.log_to(tmp_path / "run.log")
    reporter.say("[bold]epoch 1/2[/bold] " + "long " * 50)
    reporter.show(make_table())
    with reporter.live(make_table):
        pass
    out = capsys.readouterr().out
    assert out.startswith("[bold]epoch 1/2[/bold] " + "long " * 50 + "\n")
    assert "accuracy" in out
    for text in (out, (tmp_path / "run.log").read_text(encoding="utf-8")):
        assert "\x1b" not in text
        assert "<" not in text
    assert notebook == []  # no HTML block each


def test_a_bar_in_a_notebook_is_drawn_in_place_and_taken_away(notebook, monkeypatch):
    clock = SimpleNamespace(now=50.0)
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with Reporter().bar(4) as show:
        for done, clock.now in ((1, 50.4), (2, 50.5), (3, 50.9), (3, 51.0), (4, 51.1)):
            show(done, f"a < b, step {done}")
    [handle] = notebook
    # Twice a second at most, and at the end.
    assert [shown["text/plain"] for shown in handle.shown] == [
        "0 % starting",
        "50 % a < b, step 2",
        "75 % a < b, step 3",
        "100 % a < b, step 4",
        "",
    ]
    assert handle.shown[1]["text/html"] == (
        '<progress max="4" value="2.0"></progress> 50 % a &lt; b, step 2'
    )


def test_a_bar_in_a_notebook_goes_when_its_block_fails(notebook):
    with pytest.raises(KeyboardInterrupt), Reporter().bar(4):
        raise KeyboardInterrupt
    assert notebook[0].shown[-1] == {"text/plain": ""}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (48.4, "48 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (90_061, "25 h 1 min"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
