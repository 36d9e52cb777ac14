"""The ledger: what a row becomes, and what is never lost."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_digits.errors import UserError
from kaggle_digits.kaggle import ledger
from kaggle_digits.kaggle.client import Submission
from kaggle_digits.kaggle.ledger import Entry, Ledger

SHA = "0123456789abcdef" * 4
BEGUN = Entry("2026-11-21T10:00:00Z", "run/submission.csv", SHA, "hello [0123456789ab]")
LISTED = Submission(
    reference=7,
    time=datetime(2026, 11, 21, 10, 0, 5, tzinfo=UTC),
    description="hello [0123456789ab]",
    file_name="submission.csv",
    status="complete",
    public_score=0.9875,
    reason="",
)
COMPLETE = replace(BEGUN, reference="7", status="complete", public_score="0.98750")


def test_what_is_written_is_read(tmp_path):
    book = Ledger(tmp_path / "submissions")
    odd = replace(BEGUN, message='with "quotes", commas\u2026 and NA', file="NA", reason="1e5")
    with book.locked(lambda: None):
        book.write([COMPLETE, odd])
    assert book.read() == [COMPLETE, odd]
    assert book.path.read_text().splitlines()[:2] == [
        "time,file,sha256,message,reference,status,public_score,oof_accuracy,expected_low,"
        "expected_high,reason",
        f"2026-11-21T10:00:00Z,run/submission.csv,{SHA},hello [0123456789ab],7,complete,0.98750"
        ",,,,",
    ]


def test_there_is_no_ledger_yet(tmp_path):
    assert Ledger(tmp_path).read() == []


HEADER = ",".join(ledger.COLUMNS)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("t,f,s,m,7,complete,0.5,,,,,my note", "in row 3 the cells t,f,s,m,7,complete,0.5,,,,,my"),
        ("t,f,s,m,7,complete,0.5,,,", "in row 3 the cells t,f,s,m,7,complete,0.5"),
        ("t,f,s,m,7,complete,good,,,,", "in row 3 the cells t,f,s,m,7,complete,good"),
        ("t,f,s,m,7,complete,0.5,,,,,my,note", "in row 3 the cells t,f,s,m"),
    ],
)
def test_a_row_that_was_changed_is_named(tmp_path, row, found):
    (tmp_path / "ledger.csv").write_text(f"{HEADER}\nt,f,s,m,,refused,,,,,\n{row}\n")
    with pytest.raises(UserError) as caught:
        Ledger(tmp_path).read()
    assert found in str(caught.value)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_whatever_kaggle_says_is_read_again(tmp_path_factory, texts):
    book = Ledger(tmp_path_factory.mktemp("ledger"))
    entries = [replace(COMPLETE, message=text, reason=text) for text in texts]
    book.write(entries)
    assert book.read() == entries


def test_names_that_are_no_text(tmp_path):
    book = Ledger(tmp_path)
    book.write([replace(BEGUN, file="x\udce9.csv")])
    assert book.read()[0].file == "x\\udce9.csv"


def test_age():
    now = ledger.utc_text(datetime.now(UTC))
    assert 0 <= ledger.age_seconds(replace(BEGUN, time=now)) < 60
    assert ledger.age_seconds(BEGUN) > 3600
    assert ledger.age_seconds(replace(BEGUN, time="21.11.2026")) == float("inf")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"time,file\n\xff\xff,2\n", b'"'])
def test_another_file_is_not_overwritten(tmp_path, content):
    (tmp_path / "ledger.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"ledger\.csv: expected the columns time,file,sha256"):
        Ledger(tmp_path).read()


def test_an_upload_whose_end_nobody_saw_is_found_by_its_description():
    other = replace(LISTED, reference=8, description="another")
    assert ledger.reconciled([BEGUN], [other, LISTED]) == [COMPLETE]


def test_what_kaggle_does_not_list_stays():
    elsewhere = replace(COMPLETE, reference="6")
    assert ledger.reconciled([elsewhere, BEGUN], []) == [elsewhere, BEGUN]


def test_a_submission_is_claimed_once():
    assert ledger.reconciled([COMPLETE, BEGUN], [LISTED]) == [COMPLETE, BEGUN]
    assert ledger.reconciled([BEGUN, BEGUN], [LISTED]) == [COMPLETE, BEGUN]


def test_a_score_that_has_come_is_filled_in():
    pending = replace(COMPLETE, status="pending", public_score="")
    assert ledger.reconciled([pending], [LISTED]) == [COMPLETE]
    failed = replace(LISTED, status="error", public_score=None, reason="wrong rows")
    expected = replace(pending, status="error", reason="wrong rows")
    assert ledger.reconciled([pending], [failed]) == [expected]


def test_descriptions_name_the_content_and_are_all_different():
    first, second = (ledger.description("hello", SHA, number) for number in (1, 2))
    assert (first, second) == ("hello [0123456789ab]", "hello [0123456789ab #2]")
    assert ledger.is_of_content(first, SHA)
    assert ledger.is_of_content(second, SHA)
    assert not ledger.is_of_content("hello [0123456789ac]", SHA)
    assert not ledger.is_of_content("hello", SHA)
