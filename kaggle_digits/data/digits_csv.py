"""CSV bytes to checked uint8 arrays: every byte is checked, then pandas reads the numbers.

Comes after `sources`, which finds the files and unpacks them; `digits` makes one data set of the
arrays of both files.
"""

import codecs
import csv
import io
import json
from dataclasses import dataclass

import numpy as np

from kaggle_digits.data.competition import PIXEL_COLUMNS
from kaggle_digits.errors import UserError

PARSER_VERSION = 1  # part of every cache key: raise it when the same bytes give other arrays
BLOCK_BYTES = 256 * 1024  # what is made of a block stays in the processor's cache
HEADER_BYTES = 64 * 1024  # the competition's header has 7.5 kB
SHOWN_BYTES = 40  # of a bad cell or header, in an error message


@dataclass(frozen=True)
class Layout:
    """What the columns of a file are called.

    Attributes:
        pixels: names of the 784 pixels, row by row.
        span: the same in words.
        labelled: the file to give where there are no labels.
    """

    pixels: tuple[str, ...]
    span: str
    labelled: str


KAGGLE = Layout(PIXEL_COLUMNS, "pixel0 to pixel783", "the competition's train.csv")
# As https://pjreddie.com/projects/mnist-in-csv and its copies have them: row x column, from 1.
MNIST = Layout(
    tuple(f"{row}x{column}" for row in range(1, 29) for column in range(1, 29)),
    "1x1 to 28x28",
    "mnist_train.csv",
)
_MNIST_PIXELS = frozenset(MNIST.pixels)

ONE_CELL_A_LINE = bytes.maketrans(b",", b"\n")
# What people hand over by mistake, by the first bytes.
NOT_CSV = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"<": "a web page",
}


def parse_csv(
    content: bytes | bytearray, where: str, *, label_required: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Parse a file of the competition or MNIST in CSV, refusing what is not exactly in its format.

    Args:
        content: the file's bytes: UTF-8 with or without a byte-order mark, lines ending in LF or
            CRLF, a header with the pixels of a layout and label in any order, quoted or not.
        where: the file's name, for error messages.
        label_required: whether the label column must be there.

    Returns:
        (images, labels): (n, 28, 28) uint8 of 0..255, and (n,) uint8 of 0..9 or None where the file
        has no label column.

    Raises:
        UserError: the first thing that is wrong, with its row (the header is line 1) and column.
    """
    names, start = _parse_header(content, where, label_required)
    if start >= len(content):
        raise UserError(f"{where}: expected rows after the header, found none; download it again")
    pixel_columns = [names.index(name) for name in _layout(names).pixels]
    label_column = names.index("label") if "label" in names else None
    images, labels = [], []
    line = 2
    while start < len(content):
        # Up to the last line end within the block; a last line may have none.
        end = content.rfind(b"\n", start, start + BLOCK_BYTES) + 1 or len(content)
        # A single line longer than a block is wrong, however long it is: no need to parse it.
        fits = end - start <= BLOCK_BYTES
        cells = _parse_cells(bytes(content[start:end]), len(names)) if fits else None
        if cells is None or (label_column is not None and cells[:, label_column].max() > 9):
            raise _first_bad_cell(content, start, line, names, where)
        images.append(np.take(cells, pixel_columns, axis=1))  # in C order, unlike cells[:, ...]
        if label_column is not None:
            labels.append(cells[:, label_column].copy())  # a view would keep all cells
        start = end
        line += len(cells)
    return (
        np.concatenate(images).reshape(-1, 28, 28),
        np.concatenate(labels) if labels else None,
    )


def has_mnist_layout(content: bytes | bytearray) -> bool:
    """Return whether the header of a file that `parse_csv` takes is that of MNIST in CSV."""
    names, _ = _parse_header(content, "", label_required=False)
    return _layout(names) is MNIST


def _layout(names: list[str]) -> Layout:
    """Return the layout that most of the names are of."""
    return MNIST if sum(name in _MNIST_PIXELS for name in names) > len(names) / 2 else KAGGLE


def _parse_header(
    content: bytes | bytearray, where: str, label_required: bool
) -> tuple[list[str], int]:
    """Return the column names, checked, and where the rows start."""
    start = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    if start == len(content):
        raise UserError(f"{where}: expected a CSV, found an empty file; download it again")
    for signature, kind in NOT_CSV.items():
        if content.startswith(signature, start):
            raise UserError(f"{where}: expected a CSV in UTF-8, found {kind}; download it again")
    end = content.find(b"\n", start, start + HEADER_BYTES)
    if end < 0 and len(content) - start > HEADER_BYTES:
        raise UserError(
            f"{where} line 1: expected a header of at most {HEADER_BYTES} bytes that ends in LF "
            f"or CRLF, found no line end; save it as a CSV"
        )
    end = end if end >= 0 else len(content)
    raw = bytes(content[start:end]).removesuffix(b"\r")
    try:
        text = raw.decode()
        if "\0" in text or "\r" in text:
            raise ValueError("holds NUL, or CR without LF")
        names = next(csv.reader([text], strict=True), [])
    except (ValueError, csv.Error) as error:
        raise UserError(
            f"{where} line 1: expected the header of a CSV in UTF-8, found {_shown(raw)} ({error});"
            " save it as a CSV in UTF-8"
        ) from error
    _check_names(names, where, label_required)
    return names, end + 1


def _check_names(names: list[str], where: str, label_required: bool) -> None:
    layout = _layout(names)
    columns = "label" if label_required else "optionally label"
    expected = f"{where} line 1: expected the columns {columns} and {layout.span}, each once"
    known = {"label", *layout.pixels}
    required = known if label_required else known - {"label"}
    unknown = [name for name in names if name not in known]
    if not names or unknown:
        found = f"unknown {_listed(unknown)}" if names else "an empty line"
        is_headless = bool(names) and all(name.isdecimal() for name in names)
        advice = "put a header above the numbers" if is_headless else "correct the header"
        raise UserError(f"{expected}; found {found}; {advice}")
    if len(set(names)) < len(names):
        doubled = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        raise UserError(f"{expected}; found {_listed(doubled)} more than once; correct the header")
    absent = required - set(names)
    if absent == {"label"}:
        raise UserError(
            f'{expected}; found no "label", {names[0]} is first: this looks like test.csv; give '
            f"{layout.labelled} under this name"
        )
    if absent:
        missing = [name for name in ("label", *layout.pixels) if name in absent]
        raise UserError(f"{expected}; found no {_listed(missing)}; download the file again")


def _parse_cells(block: bytes, columns: int) -> np.ndarray | None:
    """Check and parse whole lines of `columns` cells each.

    By itself pandas would take "3.0", "+5" and " 5", skip blank lines, and shift rows with a cell
    too many.

    Args:
        block: lines ending in LF or CRLF; the last one may have no line end.
        columns: cells that each line must have.

    Returns:
        (lines, columns) uint8, or None if any line or cell is not as it must be: one to three
        decimal digits, at most 255.
    """
    import pandas as pd

    text = block.replace(b"\r\n", b"\n").removesuffix(b"\n") + b"\n"
    separators = text.translate(None, b"0123456789")
    if separators != (b"," * (columns - 1) + b"\n") * (len(separators) // columns):
        return None
    digit = np.frombuffer(b"\n" + text, np.uint8) >= ord("0")
    empty = ~(digit[:-1] | digit[1:])
    longer_than_three = digit[:-3] & digit[1:-2] & digit[2:-1] & digit[3:]
    if empty.any() or longer_than_three.any():
        return None
    # A block of 785 columns takes pandas longer to set up than to parse, so it is given one column,
    # which its C engine reads faster than pyarrow does.
    column = io.BytesIO(text.translate(ONE_CELL_A_LINE))
    values = pd.read_csv(column, header=None, dtype=np.int16, engine="c").to_numpy()
    return values.astype(np.uint8).reshape(-1, columns) if values.max() <= 255 else None


def _first_bad_cell(
    content: bytes | bytearray, start: int, line: int, names: list[str], where: str
) -> UserError:
    """Say what is wrong with the first bad line at or after `start`, which is line `line`."""
    while start < len(content):
        newline = content.find(b"\n", start)
        ended = newline >= 0
        end = line_end = newline if ended else len(content)
        found = content.count(b",", start, end) + 1
        if not ended and (found < len(names) or content.endswith(b",")):
            return UserError(
                f"{where} line {line}: the last line ends within cell {found} of {len(names)}; "
                "the file looks truncated; download it again"
            )
        if ended and content.endswith(b"\r", start, end):
            end -= 1
        if found != len(names):
            count = "an empty line" if start == end else found
            return UserError(
                f"{where} line {line}: expected {len(names)} cells, found {count}; "
                "every row must be as long as the header"
            )
        for name in names:
            comma = content.find(b",", start, end)
            cell_end = comma if comma >= 0 else end
            # A cell may have gigabytes; its beginning shows that it is wrong.
            cell = bytes(content[start : min(cell_end, start + SHOWN_BYTES + 1)])
            highest = 9 if name == "label" else 255
            if not (cell.isdigit() and len(cell) <= 3 and int(cell) <= highest):
                return UserError(
                    f"{where} line {line}, column {name}: expected an integer from 0 to {highest}, "
                    f"found {_shown(cell)}; correct the cell (one to three decimal digits) or "
                    "download the file again"
                )
            start = cell_end + 1
        start = line_end + 1
        line += 1
    raise AssertionError(f"{where}: the fast check refused rows that the slow one accepts")


def _shown(found: bytes) -> str:
    """Quote bytes from a file for one line on a terminal, control characters escaped."""
    dots = "..." if len(found) > SHOWN_BYTES else ""
    return json.dumps(found[:SHOWN_BYTES].decode(errors="replace")) + dots


def _listed(names: list[str]) -> str:
    quoted = ", ".join(_shown(name.encode()) for name in names[:3])
    return quoted if len(names) <= 3 else f"{quoted} and {len(names) - 3} more"
