import numpy as np
from rich.console import Console

from kaggle_digits.data.photographs import Box, FoundDigit
from kaggle_digits.report.classify_tables import classification_table, classification_text
from kaggle_digits.results.classification import Classification, ReadDigit, ReadPicture


def read_digit(digit, sure):
    probabilities = np.full(10, (1 - sure) / 9, np.float32)
    probabilities[digit] = sure
    return ReadDigit(FoundDigit(Box(10, 20, 3, 4), 0, np.zeros((28, 28), np.uint8)), probabilities)


SHEET = ReadPicture("sheet.jpg", (40, 30), (read_digit(4, 0.991), read_digit(2, 0.5)))
READ = Classification("run", (SHEET, ReadPicture("empty.png", (9, 9), ())), {})


def shown(content):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(content)
    return capture.get()


def test_a_line_for_each_digit_with_its_classes():
    lines = shown(classification_table(READ)).splitlines()
    first = next(line for line in lines if "sheet.jpg" in line).split()
    assert first[1:7] == ["1", "10,", "20", "4", "99.1", "%"]
    assert sum("sheet.jpg" in line for line in lines) == 1
    assert any("empty.png" in line and "no digit found" in line for line in lines)


def test_text_of_sheets_and_how_many_are_unsure():
    assert classification_text(READ) == [
        "sheet.jpg reads 42",
        "2 digits in 2 pictures; of 1 the nets are less than 80 % sure",
    ]
    assert classification_text(Classification("run", (), {})) == ["0 digits in 0 pictures"]
