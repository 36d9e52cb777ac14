"""Description of the data -> what the terminal shows: whose files they are, and what is in them."""

from __future__ import annotations

from collections.abc import Callable

from rich import box
from rich.table import Table

from kaggle_digits.data.competition import TEST_ROWS, TRAIN_ROWS
from kaggle_digits.data.description import Description, FileDescription
from kaggle_digits.system.console import Fact, Facts, count_of

# What a line of the table shows of one file; None where it has none.
Figure = Callable[[FileDescription], str | None]
FIGURES: dict[str, Figure] = {
    "rows": lambda file: f"{file.rows:,}",
    "the competition's own": lambda file: "yes" if file.is_competitions else "no",
    "mean pixel (0 to 255)": lambda file: f"{file.mean_pixel:.2f}",
    "pixels that are 0": lambda file: f"{100 * file.zero_fraction:.2f} %",
    "blank rows": lambda file: f"{file.blank_rows:,}",
    "rows equal to an earlier one": lambda file: f"{file.duplicate_rows:,}",
    "equal rows with different labels": lambda file: (
        None if file.class_counts is None else f"{file.contradicting_rows:,}"
    ),
}


def data_verdict(data: Description) -> Facts:
    """Show whether the files are usable, and whose they are.

    Args:
        data: files that have passed all checks.

    Returns:
        Facts under a heading.
    """
    cells = {data.train: "a label and 784 pixels each", data.test: "784 pixels each"}
    if data.test.class_counts:
        cells[data.test] = cells[data.train]
    facts = [
        Fact(file.name, f"{count_of(file.rows, 'row')}, {cells[file]}; {_whose(file)}")
        for file in (data.train, data.test)
    ]
    return Facts({f"Data in {data.source}": [*facts, _leak(data), _upload(data)]})


def data_table(data: Description) -> Table:
    """Show the figures of both files, a column each."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    both = (data.train, data.test)
    for file in both:
        table.add_column(file.name, justify="right")
    for label, figure in FIGURES.items():
        table.add_row(label, *(figure(file) or "" for file in both))
    for digit in range(10):
        table.add_row(f"class {digit}", *(_class_rows(file, digit) for file in both))
    return table


def data_notes(data: Description) -> Facts:
    """Show what is to be known beyond the figures: leaks, hashes, fitness for upload."""
    notes = [_leak(data), _upload(data)]
    if data.train.duplicate_rows:
        text = "nets may be evaluated on images that they were trained on; a run counts these"
        notes.append(Fact("equal rows", text))
    hashes = [Fact(file.name, file.blake2b) for file in (data.train, data.test)]
    return Facts({"": notes, "BLAKE2b of the unpacked files, of a CSV as b2sum prints it": hashes})


def _class_rows(file: FileDescription, digit: int) -> str:
    if file.class_counts is None:
        return ""
    count = file.class_counts[digit]
    return f"{count:,} ({100 * count / file.rows:.2f} %)"


def _whose(file: FileDescription) -> str:
    if file.is_competitions:
        return "the competition's own"
    expected = TRAIN_ROWS if file.name.startswith("train") else TEST_ROWS
    if file.rows != expected:
        return f"not the competition's, which has {expected:,}"
    return "as many as the competition's, but other rows or in another order"


def _leak(data: Description) -> Fact:
    if not data.leaked_rows:
        return Fact("leaks", f"no row of {data.test.name} is also in {data.train.name}")
    text = (
        f"{data.leaked_rows:,} of the {count_of(data.test.rows, 'row')} of {data.test.name} also "
        f"in {data.train.name}: nets know these by heart, so a score says less about other digits"
    )
    return Fact("LEAK", text, "warning")


def _upload(data: Description) -> Fact:
    if data.demo:
        text = (
            "the competition's files were not found, kaggle-digits data fetch downloads them; a "
            "submission of these is NOT for upload"
        )
        return Fact("DEMO DATA", text, "warning")
    if data.not_for_upload:
        return Fact("NOT FOR UPLOAD", f"a run would be {data.not_for_upload}", "warning")
    if data.test.is_competitions:
        return Fact("for upload", "yes: a submission answers the competition's test rows", "good")
    text = "a submission would not answer the competition's test rows"
    return Fact("NOT FOR UPLOAD", text, "warning")
