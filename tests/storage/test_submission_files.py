"""What a submission's place says of it."""

import hashlib

import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.storage.submission_files import (
    expected_rows,
    scores_at_kaggle,
    submission_file,
    why_not_for_upload,
)


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "quick-1")


def test_a_run_means_its_submission_and_a_file_means_itself(run):
    assert submission_file(run.submission) == run.submission  # whether or not it is there
    run.folder.mkdir()
    with pytest.raises(UserError, match=r"with a submission\.csv, found none"):
        submission_file(run.folder)
    run.submission.touch()
    assert submission_file(run.folder) == submission_file(run.submission) == run.submission


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ({}, None),
        ({"demo_data": False, "not_for_upload": None}, None),
        ({"demo_data": True}, "it is of DEMO DATA"),  # of an earlier version
        ({"demo_data": "yes"}, None),
        ({"demo_data": False, "not_for_upload": "trained on MNIST"}, "trained on MNIST"),
    ],
)
def test_why_a_submission_is_not_for_upload(run, manifest, reason):
    assert why_not_for_upload(run.submission) is None
    files.write_json(run.manifest, manifest)
    assert why_not_for_upload(run.submission) == reason


def test_scores_are_of_the_present_bytes(run):
    run.folder.mkdir()
    own = hashlib.sha256(b"now").hexdigest()
    run.write_submitted(
        [
            {"time": "2026-01-02", "sha256": own, "public_score": "0.7"},
            {"time": "2026-01-01", "sha256": own, "public_score": "0.5"},
            {"time": "2026-01-03", "sha256": own, "public_score": None},
            {"time": "2026-01-04", "sha256": "another", "public_score": "0.9"},
            {"time": "2026-01-05", "public_score": "0.1"},
        ]
    )
    assert scores_at_kaggle(run.submission) == ()  # there is none now
    run.submission.write_bytes(b"now")
    assert scores_at_kaggle(run.submission) == (0.5, 0.7)
    run.submission.write_bytes(b"later")
    assert scores_at_kaggle(run.submission) == ()


def test_expected_rows_of_a_submission_in_and_outside_a_run_folder(run):
    assert expected_rows(run.submission, default=28_000) == 28_000
    files.write_json(run.manifest, {"test_rows": 540})
    assert expected_rows(run.submission, default=28_000) == 540
    assert expected_rows(run.folder / "other.csv", default=28_000) == 540


@pytest.mark.parametrize("manifest", ["", "{", "[]", "{}", '{"test_rows": null}', '"text"'])
def test_expected_rows_beside_another_programs_manifest(run, manifest):
    run.folder.mkdir()
    run.manifest.write_text(manifest)
    assert expected_rows(run.submission, default=7) == 7
