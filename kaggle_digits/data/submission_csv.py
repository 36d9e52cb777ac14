"""Write labels as the competition's CSV and check any such file before it is uploaded.

It is the last step of a run: labels in, bytes out, and the same gate for every file read back.
"""

import codecs
from pathlib import Path

import numpy as np

from kaggle_digits.errors import UserError

HEADER = "ImageId,Label"
LABELS = {str(digit): digit for digit in range(10)}
# Every digit makes up 9 to 12 % of MNIST. In smaller files chance alone may leave these bounds.
MIN_CLASS_PERCENT, MAX_CLASS_PERCENT = 5, 20
MIN_ROWS_FOR_CLASS_BOUNDS = 1000


def to_csv(labels: np.ndarray) -> bytes:
    r"""Format labels as a submission.

    Args:
        labels: (n,) int, predicted digits 0..9 in the order of the test rows.

    Returns:
        The file's content: the header and the rows `1,<label>` to `n,<label>`, each ended by "\n".
    """
    import pandas as pd

    table = pd.DataFrame({"ImageId": np.arange(1, len(labels) + 1), "Label": labels})
    return table.to_csv(index=False, lineterminator="\n").encode()


def check_file(path: Path, rows: int | None, *, balanced: bool = True) -> np.ndarray:
    """Check a submission on disk; see `check_bytes`.

    Args:
        path: The file.
        rows: Number of rows it must have, or None for any number.
        balanced: Whether classes must be about as frequent as in the competition.

    Returns:
        (n,) uint8, the labels.

    Raises:
        UserError: The file cannot be read or is refused.
    """
    return check_bytes(read_file(path), rows=rows, name=str(path), balanced=balanced)


def read_file(path: Path) -> bytes:
    """Read a submission without a look at its content.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        found, advice = error.strerror, "check the path"
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            found = "no such file"
        elif isinstance(error, IsADirectoryError):
            found, advice = "a folder", "give the submission.csv in it"
        raise UserError(f"{path}: expected a submission file, found {found}; {advice}") from error


def check_bytes(
    content: bytes, *, rows: int | None, name: str, balanced: bool = True
) -> np.ndarray:
    """Check a submission's content and return its labels.

    It must be UTF-8 without a byte-order mark, with lines ended by LF or CRLF (Kaggle's own sample
    has CRLF), the header `ImageId,Label`, ids 1..n in order, and the digits 0..9 as labels.

    Args:
        content: The file's bytes.
        rows: Number of rows it must have, or None for any number from 1 on.
        name: What error messages call the file.
        balanced: Whether every class must make up 5 to 20 % of 1,000 rows or more.

    Returns:
        (n,) uint8, the labels.

    Raises:
        UserError: The content is refused; names the file, the line (the header is line 1) and the
            reason.
    """
    header, *lines = _split_lines(content, name)
    if header != HEADER:
        raise UserError(
            f"{name}, line 1: expected the header {HEADER!r}, found {_shown(header)}; write "
            "exactly these two columns, without an index"
        )
    labels = np.array(
        [_parse_row(line, image_id, name) for image_id, line in enumerate(lines, start=1)], np.uint8
    )
    _check_row_count(labels.size, rows, name)
    if balanced and labels.size >= MIN_ROWS_FOR_CLASS_BOUNDS:
        _check_class_bounds(labels, name)
    return labels


def _split_lines(content: bytes, name: str) -> list[str]:
    """Decode the content and split it at LF or CRLF; the last line may have no end."""
    if content.startswith(codecs.BOM_UTF8):
        raise UserError(
            f"{name}, line 1: expected the header {HEADER!r}, found a byte-order mark before it, "
            "which would become part of the first column's name; save as UTF-8 without it"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name}, line {line}: expected UTF-8 text, found the byte "
            f"0x{content[error.start]:02x}; save as a plain CSV"
        ) from error
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _parse_row(line: str, image_id: int, name: str) -> int:
    """Return the label of the row that must have this id."""
    where = f"{name}, line {image_id + 1}"
    cells = line.split(",")
    if line == "":
        raise UserError(f"{where}: expected ImageId {image_id}, found a blank line; remove it")
    if len(cells) != 2:
        raise UserError(
            f"{where}: expected the 2 columns {HEADER!r}, found {len(cells)} in {_shown(line)}; "
            "write only these, without an index"
        )
    if cells[0] != str(image_id):
        raise UserError(
            f"{where}: expected ImageId {image_id}, found {_shown(cells[0])}; number the rows "
            "1, 2, 3 ... in the order of test.csv, without gaps or repeats"
        )
    if cells[1] not in LABELS:
        raise UserError(
            f"{where}: expected a Label 0..9, found {_shown(cells[1])}; write an integer without "
            "spaces, quotes or decimals"
        )
    return LABELS[cells[1]]


def _check_row_count(found: int, expected: int | None, name: str) -> None:
    """Refuse a file with too few or too many rows."""
    if found == 0 or expected not in (None, found):
        wanted = "at least 1 row" if expected is None else f"{expected} rows"
        last_line = found + 1
        raise UserError(
            f"{name}, line {last_line}: expected {wanted} after the header, found {found} at the "
            "file's end; write one row for each row of test.csv"
        )


def _check_class_bounds(labels: np.ndarray, name: str) -> None:
    """Refuse labels in which a digit is far rarer or more frequent than among real digits."""
    for digit, count in enumerate(np.bincount(labels, minlength=10)):
        # In whole numbers, so that exactly 5 % and 20 % pass.
        if not MIN_CLASS_PERCENT * labels.size <= 100 * count <= MAX_CLASS_PERCENT * labels.size:
            raise UserError(
                f"{name}, lines 2 to {labels.size + 1}: expected each class in "
                f"{MIN_CLASS_PERCENT} to {MAX_CLASS_PERCENT} % of the rows, found class {digit} "
                f"in {count / labels.size:.2%} ({count} of {labels.size}); check the predictions"
            )


def _shown(text: str) -> str:
    """Quote at most 40 characters of a file's text for an error message."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
