"""`kaggle-digits submit` and `submissions` as processes, with the real client and the stand-in."""

import csv
import json
import re
import signal
import threading
import time
from datetime import datetime, timedelta

import numpy as np
import pytest
from stand_in import KEY, TOKEN, USERNAME, Plan

from kaggle_digits.data import submission_csv
from kaggle_digits.data.competition import TEST_ROWS
from kaggle_digits.kaggle import ledger
from kaggle_digits.results import record, run_metrics
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder

LABELS = np.arange(TEST_ROWS, dtype=np.uint8) % 10
METRICS = RunMetrics(
    complete=True,
    provisional=False,
    fits_finished=3,
    fits_planned=3,
    oof_accuracy=0.995,
    oof_errors=210,
    oof_rows=42_000,
    oof_interval=(0.9943, 0.9956),
    expected_leaderboard=(0.99376, 0.99653),
    test_rows=TEST_ROWS,
)
CALLS = [
    "IntrospectToken",
    "ListSubmissions",
    "GetSubmissionLimits",
    "StartSubmissionUpload",
    "PUT",
    "CreateSubmission",
]


@pytest.fixture(autouse=True)
def labels(stand_in):
    """Have the stand-in know labels of which the file has all but 140 right: 0.99500."""
    right = LABELS.copy()
    right[:140] = (right[:140] + 1) % 10
    stand_in.labels = right.tolist()
    stand_in.lists_before_scored = 0


@pytest.fixture
def file(tmp_path):
    """Return a submission that stands alone."""
    path = tmp_path / "mine.csv"
    path.write_bytes(submission_csv.to_csv(LABELS))
    return path


@pytest.fixture
def make_run(tmp_path):
    """Write what a run leaves behind, as far as submitting looks at it."""

    def make_run(metrics=METRICS, **manifest):
        run = RunFolder(tmp_path / "submissions" / "quick-1")
        files.write_bytes(run.submission, submission_csv.to_csv(LABELS))
        files.write_json(run.metrics, record.to_json(metrics, run_metrics.FORMAT))
        artefacts = run.checksums()
        files.write_json(run.manifest, {**run.stamp, "artefacts": artefacts, **manifest})
        return run

    return make_run


@pytest.fixture
def an_hour_later(tmp_path):
    """Return a function that makes the ledger an hour older, so that nothing is waited for."""

    def an_hour_later():
        path = tmp_path / "submissions" / "ledger.csv"
        if path.exists():
            path.write_text(re.sub(r"^20..-", "2020-", path.read_text(), flags=re.MULTILINE))

    return an_hour_later


@pytest.fixture
def rows(tmp_path):
    """Return a function that reads the ledger."""

    def rows():
        path = tmp_path / "submissions" / "ledger.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    return rows


def assert_refused(result, text):
    status, _, error = result
    assert status == 2
    assert error.count("\n") == 1
    assert text in error


def fact(output, label):
    """Return the value beside a label of the result."""
    [line] = [line for line in output.splitlines() if line.startswith(f"  {label} ")]
    return line.removeprefix(f"  {label}").strip()


def assert_scored_once(stand_in, rows):
    [submission] = stand_in.submissions
    *failed, row = rows()
    assert {each["status"] for each in failed} <= {"refused"}
    assert row["reference"] == str(submission["ref"])
    assert (row["status"], row["public_score"]) == ("complete", "0.99500")
    assert row["message"] == submission["description"]
    return row


def test_a_file_is_submitted_and_scored(command, stand_in, file, rows):
    stand_in.lists_before_scored = 2
    status, output, error = command("submit", file, "-m", "by  hand")
    assert (status, error) == (0, "")
    assert f"submissions left today: {'Kaggle does not say' if _old() else 10}" in output
    assert fact(output, "public score") == "0.99500"
    row = assert_scored_once(stand_in, rows)
    assert row["file"] == str(file)
    assert row["message"] == f"by hand [{row['sha256'][:12]}]"
    assert stand_in.submissions[0]["content"] == file.read_bytes()
    assert stand_in.submissions[0]["fileName"] == "mine.csv"


def test_a_runs_score_stands_beside_its_forecast(command, stand_in, make_run, rows):
    run = make_run()
    status, output, _ = command("submit", run.folder)
    assert status == 0
    for words in ("0.99500", "0.99376 to 0.99653", "kaggle-digits submissions"):
        assert words in output
    assert "WARNING" not in output
    row = assert_scored_once(stand_in, rows)
    assert (row["oof_accuracy"], row["expected_low"]) == ("0.99500", "0.99376")
    assert row["message"].startswith("quick-1, out-of-fold 0.99500 (210 of 42000 wrong), 3 fits")
    [noted] = json.loads(run.submitted.read_text())["submissions"]
    assert noted == row
    assert run.changed_artefacts() == []


def test_a_score_outside_the_band_is_a_warning(command, stand_in, make_run):
    stand_in.labels = LABELS.tolist()
    _, output, _ = command("submit", make_run().folder)
    assert "WARNING" in output
    assert "the score lies above the expected 0.99376 to 0.99653" in output


def test_a_dry_run_uploads_nothing(command, stand_in, make_run, rows):
    status, output, _ = command("submit", make_run().folder, "--dry-run")
    assert status == 0
    assert "message: quick-1, out-of-fold" in output
    assert "would be uploaded now" in output
    assert stand_in.submissions == rows() == []


@pytest.mark.parametrize(
    ("metrics", "manifest", "text"),
    [
        ({}, {"demo_data": True}, "not for upload, it is of DEMO DATA"),
        ({}, {"not_for_upload": "trained on MNIST"}, "not for upload, trained on MNIST; kaggle-di"),
        (
            {"provisional": True, "provisional_fit": "cnn fold 1", "oof_accuracy": None},
            {},
            "found a PROVISIONAL submission of cnn fold 1, which is not finished",
        ),
        ({"test_rows_also_in_train": 28_000}, {}, "28,000 rows of test.csv were also in its"),
        ({}, {"artefacts": {"submission.csv": "0" * 32}}, "found it changed since"),
    ],
)
def test_what_is_not_for_upload_never_leaves(
    command, stand_in, make_run, rows, metrics, manifest, text
):
    values = vars(METRICS) | metrics
    run = make_run(RunMetrics(**values), **manifest)
    assert_refused(command("submit", run.folder), text)
    assert_refused(command("submit", run.submission), text)
    assert stand_in.calls == rows() == []


def test_a_provisional_submission_goes_if_it_is_asked_for(command, stand_in, make_run):
    values = vars(METRICS) | {"provisional": True, "provisional_fit": "cnn fold 1"}
    status, _, _ = command("submit", make_run(RunMetrics(**values)).folder, "--provisional")
    assert status == 0
    assert len(stand_in.submissions) == 1


def test_files_that_kaggle_would_refuse(command, stand_in, file, tmp_path):
    short = file.read_bytes().splitlines(keepends=True)[:-1]
    file.write_bytes(b"".join(short))
    assert_refused(command("submit", file), "expected 28000 rows after the header, found 27999")
    assert_refused(command("submit", tmp_path / "none.csv"), "found no such file")
    assert_refused(command("submit", tmp_path), "expected the folder of a run with a submission")
    assert stand_in.calls == []


def test_no_submissions_left_today(command, stand_in, file, rows):
    stand_in.daily_limit = 1
    assert command("submit", file)[0] == 0
    assert_refused(
        command("submit", file, "--again"), "has used all 1" if _old() else "no submissions left"
    )
    assert [row["status"] for row in rows()] == ["complete"] + ["refused"] * _old()


def _old():
    """Return whether this client is one that does not tell how many submissions are left."""
    from importlib.metadata import version

    return version("kaggle").startswith("2.0")


def test_a_new_account_has_no_numbers_yet(command, stand_in, file):
    stand_in.has_team = False
    status, output, _ = command("submit", file)
    assert status == 0
    assert "submissions left today: Kaggle does not say" in output


def test_a_file_is_uploaded_once(command, stand_in, file, rows, tmp_path):
    assert command("submit", file)[0] == 0
    renamed = file.rename(tmp_path / "renamed.csv")
    text = "uploaded before, at 20"
    assert_refused(command("submit", renamed), text)
    assert_refused(command("submit", renamed), "as submission 40000000 (public score 0.99500)")
    assert len(stand_in.submissions) == len(rows()) == 1
    assert command("submit", renamed, "--again")[0] == 0
    assert [row["reference"] for row in rows()] == ["40000000", "40000001"]
    assert rows()[1]["message"].endswith(" #2]")
    (tmp_path / "submissions" / "ledger.csv").unlink()
    assert_refused(command("submit", renamed), "uploaded before, from another place")


FAILURES = [
    ("StartSubmissionUpload", Plan(status=400, message="bad name"), "HTTP 400 (bad name)"),
    ("StartSubmissionUpload", Plan(status=403, message="accept the rules"), "/rules"),
    ("StartSubmissionUpload", Plan(status=404, message="gone"), "HTTP 404 (gone)"),
    ("PUT", Plan(status=500), "the upload failed"),
    ("CreateSubmission", Plan(status=400, message="wrong rows"), "HTTP 400 (wrong rows)"),
    ("CreateSubmission", Plan(status=401, message="who?"), "refuses the credentials (who?)"),
    ("CreateSubmission", Plan(status=429, message="slowly"), "it asks for a pause"),
    ("CreateSubmission", Plan(status=500, message="Oops"), "not known yet; repeat the command"),
    ("CreateSubmission", Plan(drop=True), "not known yet; repeat the command"),
]


@pytest.mark.parametrize(("call", "plan", "text"), FAILURES)
def test_after_each_failure_the_ledger_is_right(
    command, stand_in, file, rows, an_hour_later, call, plan, text
):
    # A plan counts down; the list of cases is shared.
    stand_in.plan(call, Plan(status=plan.status, message=plan.message, drop=plan.drop))
    assert_refused(command("submit", file), text)
    assert stand_in.submissions == []
    [row] = rows()
    assert row["reference"] == ""
    assert row["status"] == ("uploading" if "not known" in text else "refused")
    if plan.message and row["status"] == "refused":
        assert plan.message in row["reason"]
    an_hour_later()
    assert command("submit", file)[0] == 0
    assert_scored_once(stand_in, rows)
    failed, _ = rows()  # what Kaggle said of the first attempt stays
    assert failed["reason"] == (row["reason"] or "Kaggle does not list it")


@pytest.mark.parametrize("plan", [{"status": 500}, {"drop": True}, {"cut": 5}])
def test_a_submission_whose_answer_was_lost_is_found(command, stand_in, file, rows, plan):
    stand_in.plan("CreateSubmission", Plan(**plan, after=True))
    assert command("submit", file)[0] == 0
    assert_scored_once(stand_in, rows)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [*CALLS, "the last ListSubmissions"])
def test_killed_at_any_call_and_repeated(
    begin, command, stand_in, file, rows, an_hour_later, call, after
):
    if call == "GetSubmissionLimits" and _old():
        pytest.skip("this client does not ask for the limits")
    kill = Plan(drop=not after, after=after)
    if call == "the last ListSubmissions":
        stand_in.plan("ListSubmissions", Plan(), kill)
    else:
        stand_in.plan(call, kill)
    ready = threading.Event()
    kill.action = lambda: (ready.wait(), process.kill())
    process = begin("submit", file)
    ready.set()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert len(rows()) == (call in CALLS[3:] or call not in CALLS)
    an_hour_later()
    status, output, error = command("submit", file)
    assert (status, error) == (0, "")
    assert fact(output, "public score") == "0.99500"
    assert_scored_once(stand_in, rows)


@pytest.mark.parametrize("call", ["CreateSubmission", "the last ListSubmissions"])
def test_killed_while_a_file_is_uploaded_again(begin, command, stand_in, file, rows, call):
    assert command("submit", file)[0] == 0
    kill = Plan(after=True)
    if call == "CreateSubmission":
        stand_in.plan(call, kill)
    else:
        stand_in.plan("ListSubmissions", Plan(), kill)
    ready = threading.Event()
    kill.action = lambda: (ready.wait(), process.kill())
    process = begin("submit", file, "--again")
    ready.set()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert command("submit", file, "--again")[0] == 0
    assert [row["reference"] for row in rows()] == ["40000000", "40000001"]
    assert len(stand_in.submissions) == 2


@pytest.mark.parametrize("minutes", [0, -2, 2])
def test_a_submission_that_kaggle_lists_late_is_waited_for(
    command, stand_in, file, rows, tmp_path, minutes
):
    stand_in.plan("CreateSubmission", Plan(drop=True, after=True))
    stand_in.unlisted = 3
    assert_refused(command("submit", file), "not known yet; repeat the command, it looks first")
    # As where the answer was waited for in vain for minutes, or the clock was set back.
    path, [row] = tmp_path / "submissions" / "ledger.csv", rows()
    begun = datetime.strptime(row["time"], ledger.TIME) + timedelta(minutes=minutes)
    path.write_text(path.read_text().replace(row["time"], begun.strftime(ledger.TIME)))
    status, output, _ = command("submit", file)
    assert status == 0
    assert "looking for an upload that was cut off" in output
    assert_scored_once(stand_in, rows)


def test_what_was_checked_is_uploaded(command, stand_in, file, rows):
    checked = file.read_bytes()
    change = Plan(action=lambda: file.write_bytes(submission_csv.to_csv(np.roll(LABELS, 1))))
    stand_in.plan("StartSubmissionUpload", change)
    assert command("submit", file)[0] == 0
    assert stand_in.submissions[0]["content"] == checked
    assert_scored_once(stand_in, rows)


def test_a_run_that_is_being_worked_on_is_waited_for(command, stand_in, make_run):
    run = make_run()
    with run.locked():
        assert_refused(command("submit", run.folder), "is at work in it; wait for it")
    assert stand_in.calls == []


def test_the_runs_record_follows_the_ledger(command, stand_in, make_run, rows):
    run = make_run()
    assert command("submit", run.folder, "--no-wait")[0] == 0
    assert [each["status"] for each in run.read_submitted()] == ["pending"]
    assert command("submissions")[0] == 0
    assert run.read_submitted() == rows()
    assert [each["status"] for each in run.read_submitted()] == ["complete"]


def test_a_record_that_cannot_be_written_is_a_warning(command, stand_in, make_run):
    run = make_run()
    run.submitted.mkdir()
    status, output, _ = command("submit", run.folder)
    assert status == 0
    assert "WARNING: not noted in the run's folder" in output
    assert fact(output, "public score") == "0.99500"


@pytest.mark.parametrize("how", ["kaggle.json", "access_token", "key"])
def test_credentials_of_every_kind_work_and_are_stored_nowhere(
    command, stand_in, file, rows, tmp_path, how
):
    places = {
        "kaggle.json": tmp_path / "home" / "kaggle" / "kaggle.json",
        "access_token": tmp_path / "home" / ".kaggle" / "access_token",
    }
    key = json.dumps({"username": USERNAME, "key": KEY})
    if how in places:
        places[how].parent.mkdir()
        places[how].write_text(TOKEN if how == "access_token" else key)
    variables = {"KAGGLE_USERNAME": USERNAME, "KAGGLE_KEY": KEY} if how == "key" else {}
    secret = TOKEN if how == "access_token" else KEY
    stand_in.plan("CreateSubmission", Plan(status=400, message=f"not for {secret}"))
    result = command("submit", file, KAGGLE_API_TOKEN="", **variables)
    assert_refused(result, "HTTP 400 (not for ***)")
    assert [row["status"] for row in rows()] == ["refused"]


def test_stopped_while_it_waits_for_the_score(begin, command, stand_in, file, rows):
    stand_in.lists_before_scored = 10**6
    process = begin("submit", file)
    while stand_in.calls.count("ListSubmissions") < 2:
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert error.startswith("kaggle-digits: stopped by Ctrl-C; repeat the command")
    assert [row["status"] for row in rows()] == ["pending"]
    stand_in.lists_before_scored = 0
    status, output, _ = command("submit", file)
    assert status == 0
    assert "is submission 40000000 already, it is not uploaded again" in output
    assert_scored_once(stand_in, rows)


def test_without_waiting_the_score_comes_later(command, stand_in, file, rows):
    status, output, _ = command("submit", file, "--no-wait")
    assert status == 0
    assert fact(output, "public score") == "pending"
    assert [row["status"] for row in rows()] == ["pending"]
    status, output, _ = command("submissions")
    assert status == 0
    assert "40000000" in output
    assert "0.99500" in output
    assert_scored_once(stand_in, rows)


def test_two_at_once_lose_no_row(begin, stand_in, file, rows, tmp_path):
    other = tmp_path / "other.csv"
    other.write_bytes(submission_csv.to_csv(np.roll(LABELS, 1)))
    stand_in.plan("CreateSubmission", Plan(seconds=1))
    processes = [begin("submit", path) for path in (file, other)]
    for process in processes:
        _, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (0, "")
    assert sorted(row["file"] for row in rows()) == [str(file), str(other)]
    assert {row["status"] for row in rows()} == {"complete"}
    assert len({row["reference"] for row in rows()}) == len(stand_in.submissions) == 2


def test_what_kaggle_cannot_score_is_a_failure(command, stand_in, file, rows):
    stand_in.labels.append(0)
    assert_refused(command("submit", file), "ERROR: Evaluation Exception: Submission must have")
    assert [row["status"] for row in rows()] == ["error"]


def test_a_damaged_ledger_is_refused_before_anything_is_uploaded(command, stand_in, file, tmp_path):
    (tmp_path / "submissions").mkdir()
    (tmp_path / "submissions" / "ledger.csv").write_text("Ada's notes\n")
    assert_refused(command("submit", file), "expected the columns time,file,sha256")
    assert stand_in.calls == []


def test_the_list_without_kaggle(command, stand_in, file):
    status, output, _ = command("submissions")
    assert status == 0
    assert "nothing was submitted yet" in output
    assert command("submit", file)[0] == 0
    result = command("submissions", KAGGLE_API_TOKEN="")
    assert_refused(result, "no credentials for Kaggle were found")
    assert "0.99500" in result[1]  # what is known here is shown all the same


def test_a_message_that_says_nothing(command, stand_in, file):
    assert_refused(command("submit", file, "-m", " "), "--message: expected 1 to 400 characters")
    assert_refused(command("submit", file, "-m", "x" * 401), "found 401")
    assert stand_in.calls == []
