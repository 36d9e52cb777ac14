import builtins
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from io import StringIO
from types import SimpleNamespace

import IPython.display
import pytest
from rich.console import Console
from rich.table import Table

from kaggle_digits.errors import UserError
from kaggle_digits.system import console
from kaggle_digits.system.console import (
    NOTEBOOK_VARIABLES,
    PLAIN_WIDTH,
    Fact,
    Facts,
    Reporter,
    count_of,
    duration,
    in_notebook_shell,
    wrapped,
)

NOTEBOOK = (*NOTEBOOK_VARIABLES, "CLICOLOR", "COLUMNS", "LINES")
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
    with reporter.bar(4, "starting") as show:
        show(1, "cnn fold 1, epoch 1/4")
        reporter.say("a line above the bar")
    shown = terminal.file.getvalue()
    assert "cnn fold 1, epoch 1/4" in shown
    assert " 25 %" in shown
    assert "a line above the bar\n" in shown
    assert "\x1b" in shown


@pytest.mark.parametrize("width", [60, 80])
def test_bar_on_a_narrow_terminal_keeps_what_stands_first(width):
    file = StringIO()
    narrow = Console(force_terminal=True, file=file, width=width, _environ={"TERM": "xterm"})
    with Reporter(narrow).bar(4, "cnn fold 1: compiling") as show:
        show(1, "3 min 20 s left, cnn fold 2, epoch 3/7, " + "and more " * 9)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", shown) if "%" in line]
    assert "  0 % cnn fold 1: compiling" in lines[0]
    assert " 25 % 3 min 20 s left, cnn" in lines[-1]
    assert "…" in lines[-1]
    assert max(map(len, lines)) <= width


def test_progress_on_a_terminal_is_every_line(terminal):
    reporter = Reporter(terminal)
    for step in range(1000):
        reporter.progress(f"epoch {step}", step / 1000)
    assert terminal.file.getvalue().splitlines() == [f"epoch {step}" for step in range(1000)]


def test_progress_elsewhere_is_a_bounded_number_of_lines_and_the_log_has_all(tmp_path, capsys):
    reporter = Reporter()
    reporter.log_to(tmp_path / "run.log")
    for step in range(1, 5001):
        reporter.progress(f"epoch {step}", step / 5000)
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["epoch 1", "epoch 51"]
    assert 95 <= len(shown) <= 101
    assert len((tmp_path / "run.log").read_text().splitlines()) == 5000


def test_progress_none(terminal, tmp_path):
    reporter = Reporter(terminal, progress="none")
    reporter.log_to(tmp_path / "run.log")
    reporter.say("a message")
    reporter.progress("epoch 1", 0.5)
    with reporter.bar(4, "starting") as show, reporter.live(lambda: pytest.fail("no live table")):
        show(1, "cnn")
    reporter.show(Facts({"Result": [Fact("accuracy", "0.99")]}))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.file.getvalue())
    assert shown.split() == ["a", "message", "Result", "accuracy", "0.99"]
    assert "epoch 1" in (tmp_path / "run.log").read_text()


def test_quiet_shows_warnings_and_results_only(capsys, tmp_path):
    reporter = Reporter(quiet=True)
    reporter.log_to(tmp_path / "run.log")
    reporter.say("run folder: runs/1")
    reporter.say("WARNING: the machine is slow")
    reporter.progress("epoch 1", 0.5)
    reporter.show(Facts({"": [Fact("accuracy", "0.99")]}))
    assert capsys.readouterr().out == "WARNING: the machine is slow\n\n  accuracy  0.99\n"
    assert len((tmp_path / "run.log").read_text().splitlines()) == 5


def test_unknown_kind_of_progress_is_refused():
    with pytest.raises(UserError, match=r"^progress: expected one of auto, rich, plain, none, fou"):
        Reporter(progress="fancy")


@pytest.mark.parametrize("options", [{"progress": "none"}, {"quiet": True}, {"progress": "plain"}])
def test_lines_on_a_terminal_are_wrapped_without_a_bar_too(options):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    code = (
        "from kaggle_digits.system.console import Fact, Facts, Reporter\n"
        f"reporter = Reporter(**{options!r})\n"
        "reporter.say('WARNING: ' + 'some words ' * 12)\n"
        "reporter.show(Facts({'': [Fact('label', 'other words ' * 12)]}))"
    )
    environ = {key: value for key, value in os.environ.items() if key not in NOTEBOOK}
    done = subprocess.Popen(
        [sys.executable, "-c", code], stdin=slave, stdout=slave, env=environ | {"TERM": "xterm"}
    )
    os.close(slave)
    output = b""
    with suppress(OSError), os.fdopen(master, "rb", 0) as reader:  # EIO at the end
        while piece := reader.read(1000):
            output += piece
    assert done.wait() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", output.decode()).splitlines()
    assert sum("words" in line for line in lines) > 4
    assert max(map(len, lines)) <= 60


def test_an_important_line_is_shown_to_the_quiet(capsys):
    reporter = Reporter(quiet=True)
    reporter.say("time limit of 5 s: ended", important=True)
    reporter.say("not heard")
    assert capsys.readouterr().out == "time limit of 5 s: ended\n"


def test_progress_rich_is_live_without_a_terminal(capsys):
    with Reporter(progress="rich").bar(4, "starting") as show:
        show(1, "cnn fold 1")
    assert "\x1b[" in capsys.readouterr().out


def test_log_and_plain_output_have_no_control_codes_whatever_is_asked_for(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    reporter = Reporter(progress="plain")
    reporter.log_to(tmp_path / "run.log")
    reporter.say("WARNING: x")
    reporter.progress("epoch 1", 0.5)
    reporter.show(Facts({"Result": [Fact("accuracy", "0.99", "good")]}))
    with reporter.bar(4, "starting") as show, reporter.live(make_table):
        show(1, "cnn fold 1")
    for text in (capsys.readouterr().out, (tmp_path / "run.log").read_text(encoding="utf-8")):
        assert "accuracy" in text
        assert "\x1b" not in text


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, False),
        ({"JPY_PARENT_PID": "17"}, True),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, True),
        ({"COLAB_RELEASE_TAG": "release-colab"}, True),
        ({"PAGER": "cat", "GIT_PAGER": "cat"}, False),
        ({"PAGER": "cat", "GIT_PAGER": "cat", "CLICOLOR": "1"}, True),
    ],
)
def test_a_notebooks_shell_is_noticed(tmp_path, environ, found):
    assert in_notebook_shell(environ, tmp_path) == found


def test_a_kaggle_kernel_is_noticed(tmp_path):
    (tmp_path / "kaggle").mkdir()
    assert in_notebook_shell({}, tmp_path)


# Results


def shown_at(width, facts):
    file = StringIO()
    console = Console(file=file, width=width, color_system=None)
    console.print(facts, crop=False)
    return file.getvalue().splitlines()


def test_facts_stand_under_each_other():
    facts = Facts({"Result": [Fact("score", "0.99"), Fact("a file", "x.csv")], "Empty": []})
    assert shown_at(80, facts) == ["", "Result", "  score   0.99", "  a file  x.csv"]


def test_facts_are_wrapped_between_words():
    facts = Facts({"": [Fact("label", "1 h 20 min in all, saved to a/b/c.csv at last")]})
    assert shown_at(30, facts) == [
        "",
        "  label  1 h 20 min in all,",
        "         saved to a/b/c.csv at",
        "         last",
    ]


def test_a_long_path_stays_whole_on_a_line_of_its_own():
    path = "a/" * 20 + "submission.csv"
    assert shown_at(40, Facts({"": [Fact("file", path)]})) == ["", "  file", f"    {path}"]


def test_in_a_narrow_terminal_values_have_lines_of_their_own():
    facts = Facts({"": [Fact("out-of-fold accuracy", "0.99440 (235 wrong of 42,000 rows)")]})
    assert shown_at(40, facts) == [
        "",
        "  out-of-fold accuracy",
        "    0.99440 (235 wrong of 42,000 rows)",
    ]


def test_a_command_is_never_wrapped():
    command = "kaggle-digits run --config submissions/tune-quick-1/best.yaml"
    facts = Facts({"": [Fact("next", command, "command")]})
    assert shown_at(40, facts) == ["", "  next", f"    {command}"]
    assert shown_at(80, facts) == ["", f"  next  {command}"]


def test_a_number_stays_with_its_unit():
    text = "accuracy 0.99700 after 12 min 5 s"
    assert wrapped(text, 26, indent=2) == "accuracy 0.99700 after\n  12 min 5 s"
    assert wrapped("word " * 30, 40, indent=0).count("\n") == 3


@pytest.mark.parametrize("terminal_kind", ["truecolor", "none"])
def test_a_warning_is_coloured_where_colours_are_shown(terminal_kind):
    file = StringIO()
    environ = {"TERM": "xterm"} | ({"NO_COLOR": "1"} if terminal_kind == "none" else {})
    console = Console(force_terminal=True, file=file, _environ=environ, color_system="standard")
    Reporter(console).say("WARNING: it is late")
    assert ("\x1b[33m" in file.getvalue()) == (terminal_kind == "truecolor")


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(1, "trial", "1 trial"), (0, "trial", "0 trials"), (2000, "row", "2,000 rows")],
)
def test_count_of(number, noun, text):
    assert count_of(number, noun) == text


def test_count_of_an_irregular_noun():
    assert count_of(3, "copy", "copies") == "3 copies"


def test_bar_without_a_terminal_writes_nothing(tmp_path):
    console = Console(file=StringIO())
    reporter = Reporter(console)
    reporter.log_to(tmp_path / "run.log")
    with reporter.bar(4, "starting") as show:
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
    reporter.say("[bold]epoch 1/2[/bold]" + " long" * 50)
    reporter.show(make_table())
    with reporter.live(make_table):
        pass
    out = capsys.readouterr().out
    assert out.startswith("[bold]epoch 1/2[/bold]" + " long" * 50 + "\n")
    assert "accuracy" in out
    for text in (out, (tmp_path / "run.log").read_text(encoding="utf-8")):
        assert "\x1b" not in text
        assert "<" not in text
    assert notebook == []  # no HTML block each


def test_a_bar_in_a_notebook_is_drawn_in_place_and_taken_away(notebook, monkeypatch):
    clock = SimpleNamespace(now=50.0)
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with Reporter().bar(4, "starting") as show:
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
    with pytest.raises(KeyboardInterrupt), Reporter().bar(4, "starting"):
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
