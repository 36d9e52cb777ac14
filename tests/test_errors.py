from kaggle_digits.errors import UserError, explained


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
    assert str(error) == "there.csv: Permission denied; fix that and repeat the command"
    assert str(explained(OSError("no\nroom"))) == "no room; fix that and repeat the command"
