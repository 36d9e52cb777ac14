"""What is asked again, and how long an answer is waited for."""

import pytest
from stand_in import Plan

from kaggle_digits.errors import UserError
from kaggle_digits.kaggle import retries
from kaggle_digits.kaggle.retries import RETRY_STATUSES


@pytest.mark.parametrize("plan", [Plan(drop=True), *(Plan(status=s) for s in RETRY_STATUSES)])
def test_what_passes_is_asked_again(client, stand_in, file, plan):
    for call in ("ListSubmissions", "StartSubmissionUpload"):
        stand_in.plan(call, Plan(status=plan.status, drop=plan.drop, times=3))
    stand_in.calls.clear()
    assert client.submissions() == []
    assert stand_in.calls == ["ListSubmissions"] * 4
    client.submit(file, "")
    assert len(stand_in.submissions) == 1


def test_a_slow_answer_is_waited_for(client, stand_in):
    stand_in.plan("ListSubmissions", Plan(seconds=1.5))
    assert client.submissions() == []


def test_an_answer_that_never_comes_is_not_waited_for(client, stand_in, monkeypatch):
    monkeypatch.setattr(retries, "READ_TIMEOUT", 0.2)
    stand_in.plan("ListSubmissions", Plan(seconds=2, times=5))
    with pytest.raises(UserError) as caught:
        client.submissions()
    assert str(caught.value) == (
        "Kaggle cannot be reached to list the submissions (no answer from localhost); check the "
        "network and repeat the command"
    )


def test_an_upload_that_hangs_is_made_again(client, stand_in, file, monkeypatch):
    monkeypatch.setattr(retries, "READ_TIMEOUT", 0.3)
    stand_in.plan("PUT", Plan(seconds=1))
    stand_in.calls.clear()
    client.submit(file, "")
    assert stand_in.calls == ["StartSubmissionUpload", "PUT", "PUT", "CreateSubmission"]
    assert [each["content"] for each in stand_in.submissions] == [file.read_bytes()]


def test_the_limits_end_with_the_block(client):
    from requests.adapters import HTTPAdapter

    before = HTTPAdapter.send
    with retries.limited_waiting():
        assert HTTPAdapter.send is not before
    assert HTTPAdapter.send is before
