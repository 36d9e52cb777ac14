import errno
import os

import pytest

from kaggle_digits.errors import UserError, explained, reported_in_one_line


def test_message_is_one_line():
    assert str(UserError("train.csv,\n  line 3:\texpected 785 cells\r\n")) == (
        "train.csv, line 3: expected 785 cells"
    )


def test_any_value_can_be_the_message():
    assert str(UserError(FileNotFoundError("no\nfile"))) == "no file"


def test_a_notebook_shows_the_line_alone():
    # IPython asks exceptions that have this method for what it shows.
    assert UserError("train.csv,\n line 3")._render_traceback_() == ["UserError: train.csv, line 3"]


def test_what_the_system_refused_is_explained():
    error = explained(PermissionError(13, "Permission denied", "there.csv"))
    advice = "change its permissions, or give another path"
    assert str(error) == f"there.csv: Permission denied; {advice}"
    assert str(explained(OSError("no\nroom"))) == "no room; fix that and repeat the command"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EISDIR, "a.csv: Is a directory; give a file"),
        (errno.ENOENT, "a.csv: No such file or directory; check the path"),
        (errno.ENOTDIR, "a.csv: Not a directory; a file is in the place of a folder; give another"),
        (errno.EROFS, "a.csv: Read-only file system; change its permissions, or give another path"),
        (errno.ENOSPC, "a.csv: No space left on device; make space and repeat the command"),
        (errno.EMFILE, "a.csv: Too many open files; fix that and repeat the command"),
    ],
)
def test_it_says_what_to_do(number, words):
    assert str(explained(OSError(number, os.strerror(number), "a.csv"))).startswith(words)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("a.csv,\n line 3"), 2, "train.py: a.csv, line 3"),
        (FileNotFoundError(2, "No such file", "a.csv"), 2, "train.py: a.csv: No such file; check"),
        (KeyboardInterrupt(), 130, "train.py: stopped by Ctrl-C; repeat the command to continue"),
    ],
)
def test_a_script_ends_in_one_line(capsys, error, status, line):
    with pytest.raises(SystemExit) as end, reported_in_one_line("train.py"):
        raise error
    assert end.value.code == status
    captured = capsys.readouterr()
    assert captured.out == ""
    [found] = captured.err.splitlines()
    assert found.startswith(line)


def test_a_defect_of_a_script_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), reported_in_one_line("train.py"):
        _ = 1 / 0
