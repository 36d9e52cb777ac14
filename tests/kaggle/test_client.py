"""The real client against the stand-in: what it asks, and what people read when it fails."""

import sys
from datetime import UTC, datetime

import pytest
from stand_in import KEY, TOKEN, USERNAME, Plan

from kaggle_digits.errors import UserError
from kaggle_digits.kaggle.client import (
    Allowance,
    LostAnswerError,
    NotFoundError,
    PassingError,
    connect,
)

SUBMIT = ["StartSubmissionUpload", "PUT", "CreateSubmission"]


def problem_of(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    for secret in (TOKEN, KEY, "signature", "/upload/"):
        assert secret not in text
    return text


def test_a_submission_is_uploaded_and_scored(client, stand_in, file, capsys):
    stand_in.labels = [1, 2, 3]
    stand_in.calls.clear()
    reference = client.submit(file, "two of three")
    assert stand_in.calls == SUBMIT
    [pending] = client.submissions()
    [scored] = client.submissions()
    assert (pending.status, pending.public_score) == ("pending", None)
    assert (scored.status, scored.public_score) == ("complete", 0.66667)
    assert scored.reference == reference == 40_000_000
    assert (scored.description, scored.file_name) == ("two of three", "submission.csv")
    assert abs((datetime.now(UTC) - scored.time).total_seconds()) < 60
    assert client.username == USERNAME
    assert capsys.readouterr() == ("", "")  # the client's own lines are kept off the screen


def test_the_client_draws_its_bar_on_standard_output_only(client, file, capsys):
    client.submit(file, "", show_progress=True)
    output, error = capsys.readouterr()
    assert "100%" in output
    assert error == ""


def test_an_unscored_submission_has_kaggles_reason(client, stand_in, file):
    stand_in.labels = [1, 2]
    client.submit(file, "")
    client.submissions()
    [listed] = client.submissions()
    assert listed.status == "error"
    assert listed.public_score is None
    assert "must have 2 rows" in listed.reason


def test_allowance(client, stand_in, file):
    if not hasattr(client.api, "competition_get_submission_limits"):
        assert client.allowance() is None
        return
    client.submit(file, "")
    assert client.allowance() == Allowance(used=1, left=9)
    stand_in.daily_limit = 1
    assert client.allowance() == Allowance(used=1, left=0)
    stand_in.has_team = False
    assert client.allowance() is None  # all zeros, but nothing is used up


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (
            Plan(status=400, message="Team has used its daily Submission allowance"),
            "Kaggle refuses to submit: HTTP 400 (Team has used its daily Submission allowance); ",
        ),
        (
            Plan(status=401, message="Unauthenticated"),
            "Kaggle refuses the credentials (Unauthenticated); the token may be wrong or expired",
        ),
        (
            Plan(status=403, message="You must accept this competition's rules"),
            "(You must accept this competition's rules); accept the competition's rules on "
            "https://www.kaggle.com/competitions/digit-recognizer/rules",
        ),
        (Plan(status=404, message="Not found"), "HTTP 404 (Not found); check the name"),
        (
            Plan(status=429, message="Too many requests", headers={"Retry-After": "30"}),
            "HTTP 429 (Too many requests); it asks for a pause; repeat the command after 30 s",
        ),
    ],
)
def test_what_kaggle_refuses_is_said_in_its_own_words(client, stand_in, file, plan, expected):
    stand_in.plan("CreateSubmission", plan)
    stand_in.calls.clear()
    assert expected in problem_of(client.submit, file, "")
    assert stand_in.calls == SUBMIT  # and is not repeated


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("plan", [{"drop": True}, {"status": 500, "message": "Oops"}])
def test_a_lost_answer_is_not_taken_for_a_refusal(client, stand_in, file, plan, after):
    stand_in.plan("CreateSubmission", Plan(**plan, after=after))
    with pytest.raises(LostAnswerError, match="not known yet; repeat the command, it looks first"):
        client.submit(file, "")
    assert len(stand_in.submissions) == after


def test_an_answer_that_breaks_off_is_not_taken_for_a_refusal(client, stand_in, file):
    stand_in.plan("CreateSubmission", Plan(after=True, cut=5))
    with pytest.raises(LostAnswerError):
        client.submit(file, "")
    assert len(stand_in.submissions) == 1


def test_a_connection_that_breaks_before_the_submission_is_no_lost_answer(client, stand_in, file):
    stand_in.plan("StartSubmissionUpload", Plan(drop=True, times=9))
    text = problem_of(client.submit, file, "")
    assert "Kaggle cannot be reached to submit" in text


def test_a_failed_blob_upload_is_a_failure(client, stand_in, file):
    stand_in.plan("PUT", Plan(status=500))
    stand_in.calls.clear()
    assert "the upload failed" in problem_of(client.submit, file, "")
    assert stand_in.calls == SUBMIT[:2]


def test_no_network(client, stand_in, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert "Kaggle cannot be reached to list the submissions" in problem_of(client.submissions)
    assert "cannot be reached to sign in" in problem_of(connect)


def test_no_credentials(client, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    text = problem_of(connect)
    assert text.startswith("no credentials for Kaggle were found; sign in to Kaggle")
    assert "https://www.kaggle.com/settings/api" in text


@pytest.mark.parametrize(
    ("variables", "content", "found"),
    [
        (
            {"KAGGLE_USERNAME": "ada"},
            None,
            "expected KAGGLE_USERNAME and KAGGLE_KEY, found only",
        ),
        (
            {},
            '{"username": "ada", "key"',
            "kaggle.json: expected JSON with username and key",
        ),
        ({}, '{"username": "ada"}', "kaggle.json: expected JSON with username and key"),
    ],
)
def test_credentials_that_are_not_whole(client, tmp_path, monkeypatch, variables, content, found):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if content:
        (tmp_path / "home" / "kaggle" / "kaggle.json").write_text(content)
    text = problem_of(connect)
    assert found in text
    assert "https://www.kaggle.com/settings/api" in text


def test_an_unknown_token(client, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_unknown")
    text = problem_of(connect)
    assert text.startswith("Kaggle does not know the token in KAGGLE_API_TOKEN; it may be wrong")
    assert "KGAT_unknown" not in text


def test_a_key_of_the_older_kind(client, tmp_path, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", USERNAME)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    assert connect().submissions() == []
    monkeypatch.setenv("KAGGLE_KEY", "another")
    assert "refuses the credentials" in problem_of(connect().submissions)


def test_secrets_in_kaggles_words_are_hidden(client, stand_in):
    stand_in.plan("ListSubmissions", Plan(status=400, message=f"bad token {TOKEN}"))
    assert "(bad token ***)" in problem_of(client.submissions)


def test_what_the_client_itself_raises_is_one_line(client):
    def fail():
        with client.asking("push the kernel"):
            raise ValueError(f"Invalid folder\nat https://x.org/?sig=1 {TOKEN}")

    assert problem_of(fail).startswith(
        f"the Kaggle client {client.version} could not push the kernel: Invalid folder at (link) "
        "***; correct that, or update the client"
    )


def test_without_the_client(client, monkeypatch):
    for name in list(sys.modules):
        if name.startswith("kaggle."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kaggle", None)
    assert "pip install 'kaggle<2.3' six" in problem_of(connect)


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, UserError, "Kaggle refuses the credentials (no); the token may be wrong"),
        (403, NotFoundError, "Kaggle refuses to ask: HTTP 403; check the name"),
        (404, NotFoundError, "Kaggle refuses to ask: HTTP 404 (no); check the name"),
        (429, PassingError, "it asks for a pause"),
        (500, PassingError, "the error is Kaggle's own"),
    ],
)
def test_what_is_not_there_differs_from_what_may_pass(client, stand_in, status, kind, message):
    """Of a kernel's state the client itself hides what Kaggle answers with 401 and 403."""
    stand_in.plan("GetKernelSessionStatus", Plan(status=status, message="no", times=9))
    with pytest.raises(UserError) as caught, client.asking("ask"):
        client.api.kernels_status("ada/digits")
    assert type(caught.value) is kind
    assert message in str(caught.value)
