"""The gate of `kaggle-digits submit`: which file may be uploaded, as far as is known here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from kaggle_digits.data import leak_check, submission_csv
from kaggle_digits.data.competition import TEST_ROWS
from kaggle_digits.errors import UserError
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs import summary
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.storage.submission_files import submission_file, why_not_for_upload
from kaggle_digits.system.console import count_of


@dataclass(frozen=True)
class Candidate:
    """A submission that has passed the gate.

    Attributes:
        file: where it came from; it may change there meanwhile.
        content: its bytes as they were checked, which are the ones to upload.
        run: the folder of the run that made it; None: it stands alone.
        metrics: the run's figures.
    """

    file: Path
    content: bytes
    run: RunFolder | None = None
    metrics: RunMetrics | None = None

    @property
    def sha256(self) -> str:
        """The content's hash, in hex digits."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def message(self) -> str:
        """What is written with it where the user says nothing: the run, its score, the code."""
        if self.metrics is None:
            return self.file.name
        config, revision = self.run.made_by()
        found = [self.run.folder.resolve().name]
        if config:
            found.append(f"config {config}")
        if score := self.metrics.oof:
            seen = ", optimistic" if self.metrics.optimistic else ""
            wrong = f"{score.errors} of {score.rows} wrong{seen}"
            found.append(f"out-of-fold {score.accuracy:.5f} ({wrong})")
        elif not self.metrics.holds_rows_out:
            found.append("no rows held out")
        found.append(count_of(self.metrics.fits_finished, "fit"))
        if revision:
            found.append(f"git {revision}")
        return ", ".join(found)

    @property
    def warning(self) -> str:
        """What does not keep it from being uploaded but should be known, "" if nothing."""
        metrics = self.metrics
        if metrics is None or metrics.complete or metrics.provisional:
            return ""
        fits = count_of(metrics.fits_planned, "fit")
        return f"WARNING: the run is not complete: {metrics.fits_finished} of {fits}"


def checked(target: Path, provisional: bool = False) -> Candidate:
    """Check all that can be known of a submission here.

    Args:
        target: a run's folder or a submission file.
        provisional: take a submission of an unfinished fit too.

    Returns:
        The submission.

    Raises:
        UserError: it is not for upload; says why.
    """
    file = submission_file(target)
    if reason := why_not_for_upload(file):
        raise UserError(
            f"{file}: not for upload, {reason}; kaggle-digits data fetch brings the "
            "competition's files, kaggle-digits run then trains on them in a new folder"
        )
    content = submission_csv.read_file(file)
    submission_csv.check_bytes(content, rows=TEST_ROWS, name=str(file))
    run = RunFolder(file.parent)
    if file.name != run.submission.name or not run.manifest.is_file():
        return Candidate(file, content)
    run.check_usable()
    metrics = summary.read_metrics(run)
    _check_run(run, metrics, content, provisional)
    return Candidate(file, content, run, metrics)


def _check_run(run: RunFolder, metrics: RunMetrics, content: bytes, provisional: bool) -> None:
    file = run.submission
    if process := run.owner():
        raise UserError(
            f"{run.folder}: process {process} is at work in it; wait for it, or copy {file.name} "
            "out of the folder to submit it as it is"
        )
    if not run.wrote(file, content):
        raise UserError(
            f"{file}: expected the file that the run wrote, found it changed since; repeat "
            "kaggle-digits run, or copy the file out of the folder to submit it as it is"
        )
    leaked = metrics.test_rows_also_in_train
    if leaked > leak_check.MOST_LEAKED_ROWS:
        raise UserError(
            f"{file}: not for upload, {leaked:,} rows of test.csv were also in its training data; "
            "train on the competition's train.csv"
        )
    if metrics.provisional and not provisional:
        raise UserError(
            f"{file}: expected predictions of finished fits, found a PROVISIONAL submission of "
            f"{metrics.provisional_fit}, which is not finished; continue the run, or add "
            "--provisional to submit it all the same"
        )
