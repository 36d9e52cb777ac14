import csv
import gzip
import io
import re
import signal
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaggle_digits.data import digits_csv, sources
from kaggle_digits.data.digits import read_digits
from kaggle_digits.errors import UserError

PIXELS = [f"pixel{index}" for index in range(784)]
NAMES = ["label", *PIXELS]
EXPECTED = "expected the columns label and pixel0 to pixel783, each once"


@pytest.fixture(autouse=True)
def hangs_end():
    """Fail a test after a minute, and again after each, for hypothesis repeats what failed."""

    def stop(number, frame):
        pytest.fail("still at it after a minute")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 60, 60)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


def row(label, **pixels):
    """One row in the order of NAMES, all background but the pixels given."""
    return [label, *(pixels.get(name, 0) for name in PIXELS)]


def zip_of_train(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("train.csv", content)
    return buffer.getvalue()


def to_csv(rows, names=NAMES, end="\r\n"):
    return "".join(",".join(map(str, cells)) + end for cells in [names, *rows]).encode()


ROWS = [
    row(7, pixel0=1, pixel1=25, pixel2=255, pixel783=9),
    row(0),
    row(9, pixel0="00", pixel1="007", pixel29=100, pixel782=199, pixel783=254),
]
LABELS = [7, 0, 9]
IMAGES = np.zeros((3, 784), np.uint8)
IMAGES[0, [0, 1, 2, 783]] = [1, 25, 255, 9]
IMAGES[2, [0, 1, 29, 782, 783]] = [0, 7, 100, 199, 254]
GOOD = to_csv(ROWS)
UNLABELLED = to_csv([cells[1:] for cells in ROWS], PIXELS)


MNIST = [f"{y}x{x}" for y in range(1, 29) for x in range(1, 29)]
MNIST_NAMES = ["label", *MNIST]


def parse(content, label_required=True):
    return digits_csv.parse_csv(content, "train.csv", label_required=label_required)


def change(line, column, cell):
    """GOOD with one cell replaced; line 1 is the header."""
    rows = [list(cells) for cells in [NAMES, *ROWS]]
    rows[line - 1][NAMES.index(column)] = cell
    return to_csv(rows[1:], rows[0])


def fill(folder, train=GOOD, test=UNLABELLED):
    folder.mkdir(exist_ok=True)
    (folder / "train.csv").write_bytes(train)
    (folder / "test.csv").write_bytes(test)
    return sources.find_source(folder)


def assert_one_line_on(where, error):
    assert str(error).startswith((f"{where}: ", f"{where} line "))
    assert str(error).isprintable()
    assert len(str(error)) < len(str(where)) + 400


def assert_good(found):
    images, labels = found
    assert images.dtype == labels.dtype == np.uint8
    assert images.flags.c_contiguous
    np.testing.assert_array_equal(images, IMAGES.reshape(-1, 28, 28))
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.replace(b"\r\n", b"\n"),
        GOOD.replace(b"\r\n", b"\n", 2),
        GOOD[:-2],
        b"\xef\xbb\xbf" + GOOD,
        to_csv(ROWS, [f'"{name}"' for name in NAMES]),
        to_csv([cells[::-1] for cells in ROWS], NAMES[::-1]),
        to_csv([cells[5:] + cells[:5] for cells in ROWS], NAMES[5:] + NAMES[:5]),
        bytearray(GOOD),
    ],
    ids=["crlf", "lf", "mixed", "no-end", "bom", "quoted", "reversed", "rotated", "bytearray"],
)
def test_good_files(content):
    assert_good(parse(content))


def test_blocks_join_seamlessly(monkeypatch):
    # 3,141 bytes is the longest line there can be; rows of 1.6 kB fall into blocks every which way.
    monkeypatch.setattr(digits_csv, "BLOCK_BYTES", 3141)
    longest = [row(digit) for digit in range(10)] + [["009"] + ["255"] * 784]
    images, labels = parse(to_csv(longest + ROWS * 7))
    assert labels.tolist() == [*range(10), 9, *(LABELS * 7)]
    assert (images[10] == 255).all()
    np.testing.assert_array_equal(images[11:], np.tile(IMAGES, (7, 1)).reshape(-1, 28, 28))
    rows = [*longest, *ROWS * 7, row(0), row(0, pixel783=256)]
    with pytest.raises(UserError, match=r"line 35, column pixel783: .* found \"256\""):
        parse(to_csv(rows))


def test_label_is_optional_in_test_only():
    images, labels = parse(UNLABELLED, label_required=False)
    assert labels is None
    np.testing.assert_array_equal(images, IMAGES.reshape(-1, 28, 28))
    assert_good(parse(GOOD, label_required=False))
    with pytest.raises(UserError, match=re.escape(f'line 1: {EXPECTED}; found no "label"')):
        parse(UNLABELLED)
    with pytest.raises(UserError, match="the columns optionally label and pixel0"):
        parse(UNLABELLED.replace(b"pixel5,", b"pixel5x,", 1), label_required=False)


@pytest.mark.parametrize(
    "cell",
    [
        *("3.0", "+5", "-1", " 5", "5 ", "1e1", '"5"', "", "x", "256", "999", "0001"),
        *("0000000000000001", "NaN", "0x1", "1_0", "٣", "²", "5;6", "5:", "/5"),
        *("\0", "5\r", "\r", "\t", "\x1b[31m"),
    ],
)
@pytest.mark.parametrize("column", ["label", "pixel3", "pixel783"])
def test_anything_but_an_integer_in_a_cell(cell, column):
    shown = re.escape(digits_csv._shown(cell.encode()))
    highest = 9 if column == "label" else 255
    message = f"^train.csv line 3, column {column}: expected an integer from 0 to {highest}, found "
    with pytest.raises(UserError, match=message + shown):
        parse(change(3, column, cell))


def test_label_over_nine():
    with pytest.raises(UserError, match=r"line 2, column label: .* from 0 to 9, found \"10\""):
        parse(change(2, "label", 10))
    with pytest.raises(UserError, match=r"line 2, column label: .* from 0 to 9, found \"10\""):
        parse(change(2, "label", 10), label_required=False)


def test_the_first_bad_cell_is_named_by_its_own_column():
    content = to_csv(
        [cells[::-1] for cells in [*ROWS, row(1, pixel4="b", pixel9="a")]], NAMES[::-1]
    )
    with pytest.raises(UserError, match=r'line 5, column pixel9: .* found "a"'):
        parse(content)


def test_bytes_that_are_not_utf8_in_a_cell():
    with pytest.raises(UserError, match=r'line 2, column pixel1: .* found "\\ufffd"'):
        parse(GOOD.replace(b"7,1,25,", b"7,1,\xff,"))


def test_an_endless_cell_is_shown_by_its_beginning():
    with pytest.raises(UserError, match=rf'line 3, column pixel3: .* found "{"1" * 40}"\.\.\.;'):
        parse(change(3, "pixel3", "1" * 10**6))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (",".join(["0"] * 784), "784"),
        (",".join(["0"] * 786), "786"),
        (",".join(["0"] * 785) + ",", "786"),
        (",".join(["0"] * 1570), "1570"),
        ("", "an empty line"),
        (" ", "1"),
        ("0", "1"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ragged_rows(line, found, end):
    lines = GOOD.decode().replace("\r\n", end).split(end)
    for number in (2, 4, 5):  # first, between, last
        content = end.join([*lines[: number - 1], line, *lines[number - 1 :]]).encode()
        message = f"^train.csv line {number}: expected 785 cells, found {found};"
        with pytest.raises(UserError, match=message):
            parse(content)


def test_two_rows_whose_cells_only_add_up():
    short, long = ROWS[0][:-1], [*ROWS[1], 0]
    with pytest.raises(UserError, match="line 2: expected 785 cells, found 784"):
        parse(to_csv([short, long]))


@pytest.mark.parametrize("separator", [b".", b" ", b";", b"\n", b"\r"])
def test_another_byte_in_the_place_of_a_comma(separator):
    with pytest.raises(UserError, match="line 2: expected 785 cells, found"):
        parse(GOOD.replace(b"7,1,25,", b"7,1" + separator + b"25,"))


def test_truncated_anywhere_in_the_last_row():
    whole = GOOD[:-2]
    last_row = whole.rindex(b"\n") + 1
    for end in [*range(last_row + 1, len(whole) - 3, 13), len(whole) - 3]:
        with pytest.raises(UserError, match=r"line 4: the last line ends within cell .* truncated"):
            parse(whole[:end])
    # Without its last digits the last cell is still one: nobody can see that it is not whole.
    assert parse(whole[:-1])[0][2, 27, 27] == 25
    assert len(parse(whole[:last_row])[0]) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a CSV, found an empty file"),
        (b"\xef\xbb\xbf", "expected a CSV, found an empty file"),
        (to_csv([]), "expected rows after the header, found none"),
        (to_csv([])[:-2], "expected rows after the header, found none"),
        (b"\xef\xbb\xbf" + to_csv([]), "expected rows after the header, found none"),
        (to_csv([]) + b"\r\n", "line 2: expected 785 cells, found an empty line"),
        (b"\n" + GOOD, f"line 1: {EXPECTED}; found an empty line"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "line 1: expected the header of a CSV in UTF-8, found"),
        (b"PK\x03\x04" + bytes(99), "expected a CSV in UTF-8, found a zip archive"),
        (gzip.compress(GOOD), "expected a CSV in UTF-8, found a gzip file"),
        (b"<!DOCTYPE html>\n<html>", "expected a CSV in UTF-8, found a web page"),
        (GOOD.decode().encode("utf-16"), "expected a CSV in UTF-8, found UTF-16 text"),
        (GOOD.decode().encode("utf-16-le"), "line 1: expected the header of a CSV in UTF-8, found"),
        (GOOD.replace(b"label", b"l\xe4bel"), "line 1: expected the header of a CSV in UTF-8"),
        (
            GOOD.replace(b"label", b"label\0"),
            "line 1: expected the header .* NUL, or CR without LF",
        ),
        (GOOD.replace(b"\r\n", b"\r"), "line 1: expected the header .* NUL, or CR without LF"),
        (GOOD.replace(b"label", b'"label'), "line 1: expected the header of a CSV in UTF-8"),
        (GOOD.replace(b"label", b'"la"bel'), "line 1: expected the header of a CSV in UTF-8"),
        (b"0," * 40_000, "line 1: expected a header of at most 65536 bytes .* found no line end"),
        (bytes(70_000), "line 1: expected a header of at most 65536 bytes .* found no line end"),
        (bytes(1000), "line 1: expected the header of a CSV in UTF-8"),
    ],
)
def test_not_a_csv(content, message):
    with pytest.raises(UserError, match=f"^train.csv ?(line 1)?.*{message}"):
        parse(content)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["label", *PIXELS[:5], *PIXELS[6:]], 'found no "pixel5";'),
        (
            PIXELS,
            'found no "label", pixel0 is first: this looks like test.csv; give the competition',
        ),
        (["label"] * 2 + PIXELS, 'found "label" more than once;'),
        (NAMES[:700], 'found no "pixel699", "pixel700", "pixel701" and 82 more;'),
        (["label", "pixel1", *PIXELS[1:]], 'found "pixel1" more than once;'),
        ([*NAMES, "label"], 'found "label" more than once;'),
        ([*NAMES, "id"], 'found unknown "id";'),
        (["0"] * 785, 'found unknown "0", "0", "0" and 782 more; put a header above the numbers'),
        ([*NAMES, ""], 'found unknown "";'),
        (["Label", *PIXELS], 'found unknown "Label";'),
        (["label", " pixel0", *PIXELS[1:]], 'found unknown " pixel0";'),
        (["label", "pixel00", *PIXELS[1:]], 'found unknown "pixel00";'),
        (["label", *PIXELS[:500], *MNIST[:284]], 'found unknown "1x1", "1x2", "1x3" and 281 more;'),
        (row(5), 'found unknown "5", "0", "0" and 782 more;'),
        ([";".join(NAMES)], 'found unknown "label;pixel0;pixel1;pixel2;pixel3;pixel4"...;'),
    ],
)
def test_wrong_columns(names, message):
    with pytest.raises(UserError, match=re.escape(f"train.csv line 1: {EXPECTED}; {message}")):
        parse(to_csv([[0] * len(names)], names))


# MNIST in CSV


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_mnist_in_csv_is_read_like_any_other(end):
    content = to_csv(ROWS, MNIST_NAMES, end)
    assert_good(parse(content))
    assert digits_csv.has_mnist_layout(content)
    assert not digits_csv.has_mnist_layout(GOOD)
    backwards = to_csv([cells[::-1] for cells in ROWS], MNIST_NAMES[::-1])
    assert_good(parse(backwards))
    unlabelled = to_csv([cells[1:] for cells in ROWS], MNIST)
    assert parse(unlabelled, label_required=False)[1] is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (MNIST_NAMES[:-1], 'found no "28x28"; download'),
        ([*MNIST_NAMES, "29x1"], 'found unknown "29x1"; correct'),
        (["label", "1x2", *MNIST[1:]], 'found "1x2" more than once; correct'),
        (MNIST, 'found no "label", 1x1 is first: this looks like test.csv; give mnist_train.csv'),
    ],
)
def test_wrong_columns_of_mnist_in_csv(names, message):
    expected = "train.csv line 1: expected the columns label and 1x1 to 28x28, each once"
    with pytest.raises(UserError, match=re.escape(f"{expected}; {message}")):
        parse(to_csv([[0] * len(names)], names))


@pytest.mark.parametrize(
    ("place", "cell", "column", "highest"), [(30, 256, "2x2", 255), (0, 10, "label", 9)]
)
def test_a_bad_cell_of_mnist_in_csv_is_named_by_its_own_column(place, cell, column, highest):
    rows = [list(cells) for cells in ROWS]
    rows[1][place] = cell
    message = f'line 3, column {column}: expected an integer from 0 to {highest}, found "{cell}"'
    with pytest.raises(UserError, match=message):
        parse(to_csv(rows, MNIST_NAMES))


def slow_reference(content):
    """Parse by the words of the format, cell by cell; None for whatever does not follow them."""
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode()
        lines = text.split("\n")
        ended = [line.removesuffix("\r") for line in lines[:-1]]
        lines = ended + lines[-1:] if lines[-1] else ended
        names = next(csv.reader(lines[:1], strict=True))
    except (UnicodeDecodeError, StopIteration, csv.Error):
        return None
    if sorted(names) not in (sorted(NAMES), sorted(PIXELS)) or len(lines) < 2:
        return None
    labels, images = [], []
    for line in lines[1:]:
        cells = line.split(",")
        ok = len(cells) == len(names) and all(re.fullmatch("[0-9]{1,3}", cell) for cell in cells)
        values = dict(zip(names, map(int, cells), strict=True)) if ok else {}
        if not ok or values.get("label", 0) > 9 or max(values.values()) > 255:
            return None
        labels.append(values.get("label"))
        images.append([values[name] for name in PIXELS])
    return np.reshape(images, (-1, 28, 28)), labels if "label" in names else None


def arrays_or_none(where, read):
    """What a function reads, or None where it ends in one line that names the file."""
    try:
        return read()
    except UserError as error:
        assert_one_line_on(where, error)
        return None


def assert_same(found, expected):
    assert (found is None) == (expected is None)
    if expected is not None:
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@settings(max_examples=300, deadline=None)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, len(GOOD) - 1) | st.integers(len(GOOD) - 40, len(GOOD) - 1),
            st.integers(0, 3),
            st.sampled_from(
                [b"", b"0", b"9", b",", b"\n", b"\r", b"\r\n", b'"', b"25", b",0", b"\0"]
            )
            | st.binary(max_size=3),
        ),
        max_size=3,
    ),
    end=st.just(len(GOOD)) | st.integers(0, len(GOOD)),
)
def test_any_bytes_agree_with_a_slow_reader_or_end_in_the_one_error(edits, end):
    content = bytearray(GOOD)
    for start, removed, added in edits:
        content[start : start + removed] = added
    content = bytes(content[:end])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits_csv, "BLOCK_BYTES", 3141)
        found = arrays_or_none("train.csv", lambda: parse(content))
    assert_same(found, slow_reference(content))


NEXT = ["10", "256", "1:"]  # just beyond a label, a pixel, a digit
STRANGE = ["", " 1", "1.0", "-1", "+1", "0000", '"1"', "/1", "\n", "1\r", "\uff11"]
LONGER = ["1,1", "1" + ",1" * 784, "1" + ",1" * 785]


# Most of the files above are refused; a third of these are sound, the others have one flaw.
@settings(max_examples=200, deadline=None)
@given(
    labelled=st.booleans(),
    first=st.integers(0, 784),
    quoted=st.booleans(),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    ends=st.lists(st.sampled_from(["\n", "\r\n"]), min_size=2, max_size=4),
    last_end=st.booleans(),
    labels=st.lists(st.integers(0, 9), min_size=3, max_size=3),
    cells=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(1, 784),
            st.integers(0, 255).map(str) | st.integers(0, 99).map("{:03}".format),
        ),
        max_size=6,
    ),
    flaw=st.tuples(
        st.integers(0, 2),
        st.sampled_from([0, -1]) | st.integers(0, 784),
        st.just("9") | st.sampled_from(NEXT) | st.sampled_from(STRANGE) | st.sampled_from(LONGER),
    ),
    ending=st.sampled_from([".csv", ".csv.gz", ".csv.zip"]),
    block=st.sampled_from([3141, 5000, digits_csv.BLOCK_BYTES]),
)
def test_any_file_loads_as_a_slow_reader_says_or_ends_in_the_one_error(
    tmp_path_factory,
    labelled,
    first,
    quoted,
    mark,
    ends,
    last_end,
    labels,
    cells,
    flaw,
    ending,
    block,
):
    rows = [row(label) for label in labels[: len(ends) - 1]]
    for line, column, cell in [*cells, flaw]:
        rows[line % len(rows)][column] = cell
    header = [f'"{name}"' if quoted else name for name in NAMES]
    lines = [line if labelled else line[1:] for line in (header, *rows)]
    lines = [",".join(map(str, line[first:] + line[:first])) for line in lines]
    if not last_end:
        ends = [*ends[:-1], ""]
    content = mark + "".join(map(str.__add__, lines, ends)).encode()
    pack = {".csv": bytes, ".csv.gz": gzip.compress, ".csv.zip": zip_of_train}[ending]
    folder = tmp_path_factory.getbasetemp() / f"any{ending}"
    folder.mkdir(exist_ok=True)
    (folder / "test.csv").write_bytes(UNLABELLED)
    (folder / f"train{ending}").write_bytes(pack(content))
    source = sources.find_source(folder)
    expected = slow_reference(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits_csv, "BLOCK_BYTES", block)
        found = arrays_or_none("train.csv", lambda: parse(content, label_required=False))
        assert_same(found, expected)
        where = f"{source.train}:train.csv" if ending == ".csv.zip" else source.train
        digits = arrays_or_none(where, lambda: read_digits(source))
    loaded = digits and (digits.train_images, digits.train_labels)
    assert_same(loaded, expected if labelled else None)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=300))
def test_arbitrary_bytes_end_in_the_one_error(content):
    for start, where in [(b"", "train.csv"), (to_csv([]) + b"x", "train.csv line 2")]:
        with pytest.raises(UserError) as caught:
            parse(start + content)
        assert_one_line_on("train.csv", caught.value)
        assert str(caught.value).startswith(where)


def peak_memory_of_parse(content):
    tracemalloc.start()
    try:
        parse(content)
    except UserError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def test_memory_of_a_good_file():
    content = to_csv([row(3)] * 6000)
    assert peak_memory_of_parse(content) < 1.2 * len(content)


@pytest.mark.parametrize(
    "body",
    [b"0" * 10**7, b"0," * 784 + b"0" * 10**7, b"," * 10**7, b"\n" * 10**7, GOOD[-9:] * 10**6],
    ids=["one-cell", "long-cell", "commas", "line-ends", "short-rows"],
)
def test_memory_of_a_bad_file_is_that_of_a_block(body):
    assert peak_memory_of_parse(to_csv([]) + body) < 8 * 10**6
