import json

import numpy as np

from kaggle_digits.data.photographs import Box, FoundDigit
from kaggle_digits.results.classification import Classification, ReadDigit, ReadPicture


def read_digit(digit, sure, line=0, second=8):
    probabilities = np.full(10, 0.0, np.float32)
    probabilities[digit], probabilities[second] = sure, 1 - sure
    found = FoundDigit(Box(1, 2, 3, 4), line, np.zeros((28, 28), np.uint8))
    return ReadDigit(found, probabilities)


SHEET = ReadPicture("b.jpg", (40, 30), (read_digit(3, 0.75), read_digit(1, 0.875, line=1)))
READ = Classification(
    "a/run", (SHEET, ReadPicture("empty.png", (9, 9), ())), {"c.png": "c.png: expected more"}
)


def test_most_probable_classes_first():
    digit = SHEET.digits[0]
    assert digit.predicted == 3
    assert digit.top == [(3, 0.75), (8, 0.25), (0, 0.0)]
    assert digit.is_unsure
    assert not SHEET.digits[1].is_unsure


def test_text_has_a_space_between_lines():
    assert SHEET.text == "3 1"
    assert READ.pictures[1].text == ""


def test_table_has_a_row_for_each_digit():
    table = READ.table
    assert table["picture"].tolist() == ["b.jpg", "b.jpg"]
    assert table["line"].tolist() == table["number"].tolist() == [1, 2]
    assert table.loc[0, ["left", "top", "width", "height"]].tolist() == [1, 2, 3, 4]
    assert table["predicted"].tolist() == [3, 1]
    assert table["8"].tolist() == [0.25, 0.125]
    assert Classification("run", (), {}).table.empty


def test_json():
    values = json.loads(json.dumps(READ.to_json()))
    assert values["run"] == "a/run"
    assert values["unreadable"] == {"c.png": "c.png: expected more"}
    sheet, empty = values["pictures"]
    assert (sheet["picture"], sheet["width"], sheet["height"], sheet["text"]) == (
        *("b.jpg", 40, 30),
        "3 1",
    )
    assert sheet["digits"][1] == {
        "line": 2,
        "box": {"left": 1, "top": 2, "width": 3, "height": 4},
        "predicted": 1,
        "top": [
            {"digit": 1, "probability": 0.875},
            {"digit": 8, "probability": 0.125},
            {"digit": 0, "probability": 0.0},
        ],
    }
    assert empty["digits"] == []
