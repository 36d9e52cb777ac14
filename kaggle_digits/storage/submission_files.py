"""What is known of a submission file from the run folder that it is in, if it is in one."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder


def submission_file(target: Path) -> Path:
    """Return the submission that a path means: a file itself, or that of a run's folder.

    Raises:
        UserError: the folder has none.
    """
    file = RunFolder(target).submission if target.is_dir() else target
    if target.is_dir() and not file.is_file():
        raise UserError(
            f"{target}: expected the folder of a run with a {file.name}, found none; give the "
            "folder that kaggle-digits run names at its end, or continue that run"
        )
    return file


def expected_rows(submission: Path, default: int) -> int:
    """Return how many rows a submission must have: those of its run's test data, else `default`."""
    rows = files.read_json(RunFolder(submission.parent).manifest).get("test_rows")
    return rows if isinstance(rows, int) else default


def why_not_for_upload(submission: Path) -> str | None:
    """Return why the data of the run in a submission's folder makes none for upload; None: it may.

    Args:
        submission: a submission file, in the folder of a run or elsewhere.
    """
    manifest = files.read_json(RunFolder(submission.parent).manifest)
    # Earlier versions knew of the demo data only.
    of_demo = "it is of DEMO DATA" if manifest.get("demo_data") is True else None
    return manifest.get("not_for_upload") or of_demo


def scores_at_kaggle(submission: Path) -> tuple[float, ...]:
    """Return Kaggle's scores of a run's submission as it is now, the newest last.

    Uploads of other bytes do not count: a run that goes on makes another submission.

    Args:
        submission: in the folder of a run, which has noted the uploads.
    """
    if not submission.is_file():
        return ()
    own, scores = hashlib.sha256(submission.read_bytes()).hexdigest(), []
    noted = RunFolder(submission.parent).read_submitted()
    for upload in sorted(noted, key=lambda each: str(each.get("time", ""))):
        if upload.get("sha256") == own:
            with suppress(TypeError, ValueError):  # not scored yet
                scores.append(float(upload.get("public_score")))
    return tuple(scores)
