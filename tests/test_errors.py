from kaggle_digits.errors import UserError


def test_message_is_one_line():
    assert str(UserError("train.csv,\n  line 3:\texpected 785 cells\r\n")) == (
        "train.csv, line 3: expected 785 cells"
    )


def test_any_value_can_be_the_message():
    assert str(UserError(FileNotFoundError("no\nfile"))) == "no file"
