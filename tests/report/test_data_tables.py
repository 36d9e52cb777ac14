import dataclasses

import pytest
from rich.console import Console

from kaggle_digits.data.description import Description, FileDescription
from kaggle_digits.report import data_tables

OWN_TRAIN = FileDescription(
    name="train.csv",
    rows=42_000,
    blake2b="ab" * 64,
    is_competitions=True,
    class_counts=(37_800, 0, 0, 4_200, 0, 0, 0, 0, 0, 0),
    mean_pixel=33.408,
    zero_fraction=0.80847,
    blank_rows=11,
    duplicate_rows=12,
    contradicting_rows=13,
)
OWN_TEST = dataclasses.replace(
    OWN_TRAIN, name="test.csv", rows=28_000, blake2b="cd" * 64, class_counts=None, blank_rows=21
)
OWN = Description("data", demo=False, train=OWN_TRAIN, test=OWN_TEST, leaked_rows=0)


def lines(content):
    console = Console(width=110, highlight=False, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(content, crop=False)
    return [" ".join(line.split()) for line in capture.get().splitlines() if line.strip()]


def changed(train=None, test=None, **values):
    return dataclasses.replace(
        OWN,
        train=dataclasses.replace(OWN_TRAIN, **(train or {})),
        test=dataclasses.replace(OWN_TEST, **(test or {})),
        **values,
    )


def test_the_competitions_own_files_are_for_upload():
    assert lines(data_tables.data_verdict(OWN)) == [
        "Data in data",
        "train.csv 42,000 rows, a label and 784 pixels each; the competition's own",
        "test.csv 28,000 rows, 784 pixels each; the competition's own",
        "leaks no row of test.csv is also in train.csv",
        "for upload yes: a submission answers the competition's test rows",
    ]


NOT_FOR_UPLOAD = "NOT FOR UPLOAD a submission would not answer the competition's test rows"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            changed(train={"rows": 40_000, "is_competitions": False}),
            [
                "train.csv 40,000 rows, a label and 784 pixels each; not the competition's, which "
                "has 42,000",
                "for upload yes: a submission answers the competition's test rows",
            ],
        ),
        (
            changed(test={"is_competitions": False}),
            [
                "test.csv 28,000 rows, 784 pixels each; as many as the competition's, but other "
                "rows or in another order",
                NOT_FOR_UPLOAD,
            ],
        ),
        (
            changed(test={"rows": 1, "is_competitions": False, "class_counts": (1,) + (0,) * 9}),
            [
                "test.csv 1 row, a label and 784 pixels each; not the competition's, which has "
                "28,000",
                NOT_FOR_UPLOAD,
            ],
        ),
        (
            changed(test={"is_competitions": False}, demo=True),
            [
                "DEMO DATA the competition's files were not found, kaggle-digits data fetch "
                "downloads them; a submission of these is NOT for upload"
            ],
        ),
        (
            changed(not_for_upload="trained on MNIST"),
            ["NOT FOR UPLOAD a run would be trained on MNIST"],
        ),
        (
            changed(leaked_rows=2_000),
            [
                "LEAK 2,000 of the 28,000 rows of test.csv also in train.csv: nets know these by "
                "heart, so a score says less about other digits",
            ],
        ),
    ],
    ids=["other training rows", "other test rows", "few test rows", "demo", "other data", "leak"],
)
def test_what_is_unusual_is_said(data, expected):
    found = " ".join(lines(data_tables.data_verdict(data)))
    assert [text for text in expected if text not in found] == []


def test_figures_of_both_files_stand_side_by_side():
    found = lines(data_tables.data_table(OWN))
    for line in (
        "train.csv test.csv",
        "rows 42,000 28,000",
        "the competition's own yes yes",
        "mean pixel (0 to 255) 33.41 33.41",
        "pixels that are 0 80.85 % 80.85 %",
        "blank rows 11 21",
        "rows equal to an earlier one 12 12",
        "equal rows with different labels 13",
        "class 0 37,800 (90.00 %)",
        "class 3 4,200 (10.00 %)",
        "class 9 0 (0.00 %)",
    ):
        assert line in found


def test_labels_of_test_are_counted_too():
    found = lines(
        data_tables.data_table(changed(test={"rows": 4, "class_counts": (1, 3, *[0] * 8)}))
    )
    assert "equal rows with different labels 13 13" in found
    assert "class 1 0 (0.00 %) 3 (75.00 %)" in found


def test_notes_end_with_the_hashes():
    found = lines(data_tables.data_notes(OWN))
    assert (
        "equal rows nets may be evaluated on images that they were trained on; a run counts these"
        in found
    )
    assert found[-5:] == [
        "BLAKE2b of the unpacked files, of a CSV as b2sum prints it",
        "train.csv",
        "ab" * 64,
        "test.csv",
        "cd" * 64,
    ]
    without = lines(data_tables.data_notes(changed(train={"duplicate_rows": 0})))
    assert not [line for line in without if line.startswith("equal rows")]
