import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kaggle_digits.data.submission_csv import check_bytes, check_file, to_csv
from kaggle_digits.errors import UserError


def balanced(rows):
    """Labels 0..9 in turn, so that every class makes up a tenth."""
    return np.arange(rows) % 10


def refusal(content, rows=None):
    with pytest.raises(UserError) as caught:
        check_bytes(content, rows=rows, name="mine.csv")
    message = str(caught.value)
    assert message.startswith("mine.csv, line")
    assert "\n" not in message
    return message


def test_to_csv_writes_ids_from_one_and_lf_line_ends():
    assert to_csv(np.array([2, 0, 9], np.uint8)) == b"ImageId,Label\n1,2\n2,0\n3,9\n"


@given(arrays(np.uint8, st.integers(1, 50), elements=st.integers(0, 9)))
def test_check_bytes_reads_back_what_to_csv_writes(labels):
    read = check_bytes(to_csv(labels), rows=labels.size, name="mine.csv")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, labels)


def test_a_whole_submission_is_accepted():
    labels = balanced(28_000)
    np.testing.assert_array_equal(check_bytes(to_csv(labels), rows=28_000, name="x"), labels)


@pytest.mark.parametrize(
    "content",
    [
        b"ImageId,Label\r\n1,7\r\n2,3\r\n",
        b"ImageId,Label\n1,7\r\n2,3\n",
        b"ImageId,Label\n1,7\n2,3",
    ],
    ids=["CRLF", "mixed line ends", "no last line end"],
)
def test_line_ends_that_are_accepted(content):
    assert check_bytes(content, rows=2, name="x").tolist() == [7, 3]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"", 1, "expected the header 'ImageId,Label', found ''"),
        (b"1,7\n2,3\n", 1, "expected the header 'ImageId,Label', found '1,7'"),
        (b"ImageId,label\n1,7\n", 1, "found 'ImageId,label'"),
        (b"Label,ImageId\n7,1\n", 1, "found 'Label,ImageId'"),
        (b",ImageId,Label\n0,1,7\n", 1, "found ',ImageId,Label'"),
        (b"ImageId, Label\n1,7\n", 1, "found 'ImageId, Label'"),
        (b'"ImageId","Label"\n1,7\n', 1, "expected the header"),
        (b"ImageId,Label\r1,7\r", 1, "found 'ImageId,Label\\r1,7'"),
        (b"\xef\xbb\xbfImageId,Label\n1,7\n", 1, "byte-order mark"),
        (b"PK\x03\x04\x14\xff", 1, "expected UTF-8 text, found the byte 0xff"),
        (b"ImageId,Label\n1,7\n2,\xe9\n", 3, "expected UTF-8 text, found the byte 0xe9"),
        (b"ImageId,Label\n1,7\n\n2,3\n", 3, "found a blank line"),
        (b"ImageId,Label\n1,7\n2,3\n\n", 4, "found a blank line"),
        (b"ImageId,Label\n1,7\n2,3,\n", 3, "found 3 in '2,3,'"),
        (b"ImageId,Label\n0,1,7\n1,2,3\n", 2, "found 3 in '0,1,7'"),
        (b"ImageId,Label\n1,7\n2\n", 3, "found 1 in '2'"),
        (b"ImageId,Label\n0,7\n1,3\n", 2, "expected ImageId 1, found '0'"),
        (b"ImageId,Label\n1,7\n3,3\n", 3, "expected ImageId 2, found '3'"),
        (b"ImageId,Label\n1,7\n1,3\n", 3, "expected ImageId 2, found '1'"),
        (b"ImageId,Label\n1,7\n3,3\n2,4\n", 3, "expected ImageId 2, found '3'"),
        (b"ImageId,Label\n1.0,7\n", 2, "expected ImageId 1, found '1.0'"),
        (b"ImageId,Label\n01,7\n", 2, "expected ImageId 1, found '01'"),
        (b"ImageId,Label\n1,3.0\n", 2, "expected a Label 0..9, found '3.0'"),
        (b"ImageId,Label\n1,\n", 2, "expected a Label 0..9, found ''"),
        (b"ImageId,Label\n1, 3\n", 2, "expected a Label 0..9, found ' 3'"),
        (b"ImageId,Label\n1,3 \n", 2, "expected a Label 0..9, found '3 '"),
        (b"ImageId,Label\n1,10\n", 2, "expected a Label 0..9, found '10'"),
        (b"ImageId,Label\n1,-1\n", 2, "expected a Label 0..9, found '-1'"),
        (b"ImageId,Label\n1,03\n", 2, "expected a Label 0..9, found '03'"),
        (b'ImageId,Label\n1,"3"\n', 2, "expected a Label 0..9, found '\"3\"'"),
        ("ImageId,Label\n1,٣\n".encode(), 2, "expected a Label 0..9, found '٣'"),
        (b"ImageId,Label\n1,nan\n", 2, "expected a Label 0..9, found 'nan'"),
        (b"ImageId,Label\n", 1, "expected at least 1 row after the header, found 0"),
    ],
)
def test_a_refusal_names_line_and_reason(content, line, reason):
    message = refusal(content)
    assert message.startswith(f"mine.csv, line {line}: ")
    assert reason in message


def test_float_labels_do_not_pass_the_gate():
    assert "found '3.0'" in refusal(to_csv(np.array([3.0])))


@pytest.mark.parametrize(("found", "line"), [(2, 3), (4, 5)])
def test_a_wrong_row_count_is_refused_at_the_last_line(found, line):
    message = refusal(to_csv(balanced(found)), rows=3)
    assert message.startswith(f"mine.csv, line {line}: expected 3 rows after the header")
    assert f"found {found} at" in message


def test_a_long_cell_is_shortened_in_the_message():
    message = refusal(b"ImageId,Label\n1," + b"7" * 1000)
    assert "'" + "7" * 37 + "...'" in message
    assert "7" * 38 not in message


def moved(rows, source, target, count):
    """Balanced labels, of which `count` of class `source` are called `target` instead."""
    labels = balanced(rows)
    labels[np.flatnonzero(labels == source)[:count]] = target
    return labels


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (moved(1000, 4, 7, 51), "found class 4 in 4.90% (49 of 1000)"),
        (
            np.concatenate([balanced(1000), np.full(126, 8)]),
            "found class 8 in 20.07% (226 of 1126)",
        ),
        (moved(1000, 9, 0, 100), "found class 9 in 0.00% (0 of 1000)"),
    ],
)
def test_an_implausible_class_share_is_refused_from_1000_rows_on(labels, reason):
    message = refusal(to_csv(labels))
    assert message.startswith(f"mine.csv, lines 2 to {labels.size + 1}: ")
    assert reason in message


def test_other_data_may_have_any_classes():
    labels = np.zeros(1000, np.uint8)
    np.testing.assert_array_equal(
        check_bytes(to_csv(labels), rows=1000, name="x", balanced=False), labels
    )


@pytest.mark.parametrize(
    "labels",
    [
        moved(1000, 4, 7, 50),
        np.concatenate([balanced(1000), np.full(125, 8)]),
        moved(990, 4, 7, 99),
        np.zeros(999, int),
    ],
    ids=["exactly 5 %", "exactly 20 %", "class missing in 990 rows", "one class in 999 rows"],
)
def test_class_shares_at_the_bounds_or_in_few_rows_are_accepted(labels):
    np.testing.assert_array_equal(check_bytes(to_csv(labels), rows=None, name="x"), labels)


def test_check_file_reads_a_file_and_names_it(tmp_path):
    path = tmp_path / "submission.csv"
    path.write_bytes(to_csv(balanced(5)))
    assert check_file(path, 5).tolist() == [0, 1, 2, 3, 4]
    path.write_bytes(b"ImageId,Label\n1,7\n2,x\n")
    with pytest.raises(UserError) as caught:
        check_file(path, 2)
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_check_file_refuses_what_it_cannot_read(tmp_path):
    (tmp_path / "file").touch()
    for path, found in (
        (tmp_path / "absent.csv", "no such file; check the path"),
        (tmp_path / "file" / "absent.csv", "no such file; check the path"),
        (tmp_path, "a folder; give the submission.csv in it"),
    ):
        with pytest.raises(UserError) as caught:
            check_file(path, None)
        assert str(caught.value) == f"{path}: expected a submission file, found {found}"
