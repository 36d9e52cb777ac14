"""What a submission's place says of it."""

import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.storage.submission_files import expected_rows, is_demo, submission_file


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


def test_demo_data(run):
    assert not is_demo(run.submission)
    files.write_json(run.manifest, {"demo_data": True})
    assert is_demo(run.submission)
    files.write_json(run.manifest, {"demo_data": "yes"})
    assert not is_demo(run.submission)


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
