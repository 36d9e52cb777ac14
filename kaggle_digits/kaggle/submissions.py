"""The gate, the upload and the wait for the score of `kaggle-digits submit`.

A row of the ledger is written before anything is uploaded. So a command that died between any two
calls leaves what the next one needs to find out, by Kaggle's list, what became of it.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kaggle_digits.data import leak_check, submission_csv
from kaggle_digits.data.competition import TEST_ROWS
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle import ledger
from kaggle_digits.kaggle.client import Client, LostAnswerError, Submission, connect
from kaggle_digits.kaggle.ledger import Entry, Ledger
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs import summary
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder, is_demo
from kaggle_digits.system.console import Reporter, count_of, duration

MESSAGE_CHARACTERS = 400
# Seconds: Kaggle scores this competition in a few.
WAIT_SECONDS, FIRST_POLL, SLOWEST_POLL, POLL_GROWTH = 600.0, 2.0, 15.0, 1.3


@dataclass(frozen=True)
class Candidate:
    """A submission file that may be uploaded.

    Attributes:
        file: the file.
        sha256: of its content, in hex digits.
        run: the folder of the run that made it; None: it stands alone.
        metrics: the run's figures.
    """

    file: Path
    sha256: str
    run: RunFolder | None = None
    metrics: RunMetrics | None = None

    @property
    def message(self) -> str:
        """What is written with it where the user says nothing: the run, its score, the code."""
        if self.metrics is None:
            return self.file.name
        found = [self.run.folder.resolve().name]
        if score := self.metrics.oof:
            found.append(f"out-of-fold {score.accuracy:.5f} ({score.errors} of {score.rows} wrong)")
        found.append(f"{count_of(self.metrics.fits_finished, 'fit')}")
        if revision := _git_revision(self.run.folder):
            found.append(f"git {revision}")
        return ", ".join(found)

    @property
    def row(self) -> dict[str, str]:
        """Its columns of the ledger."""
        columns = {"file": str(self.file), "sha256": self.sha256}
        if self.metrics and self.metrics.oof:
            columns["oof_accuracy"] = f"{self.metrics.oof.accuracy:.5f}"
        if self.metrics and self.metrics.expected_leaderboard:
            low, high = self.metrics.expected_leaderboard
            columns |= {"expected_low": f"{low:.5f}", "expected_high": f"{high:.5f}"}
        return columns


def checked(target: Path, provisional: bool = False) -> Candidate:
    """Check all that can be known of a submission before it is uploaded.

    Args:
        target: a run's folder or a submission file.
        provisional: take a submission of an unfinished fit too.

    Returns:
        The file.

    Raises:
        UserError: it is not for upload; says why.
    """
    file = RunFolder(target).submission if target.is_dir() else target
    if target.is_dir() and not file.is_file():
        raise UserError(
            f"{target}: expected the folder of a run with a submission.csv, found none; give "
            "another folder, or continue the run"
        )
    if is_demo(file):
        raise UserError(
            f"{file}: not for upload, it is of DEMO DATA; kaggle-digits data fetch brings the "
            "competition's files"
        )
    submission_csv.check_file(file, TEST_ROWS)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    run = RunFolder(file.parent)
    if file.name != run.submission.name or not run.manifest.is_file():
        return Candidate(file, sha256)
    run.check_usable()
    _check_run(run, provisional)
    return Candidate(file, sha256, run, summary.read_metrics(run))


def _check_run(run: RunFolder, provisional: bool) -> None:
    file = run.submission
    if file.name in run.changed_artefacts():
        raise UserError(
            f"{file}: expected the file that the run wrote, found it changed since; repeat "
            "kaggle-digits run, or copy the file out of the folder to submit it as it is"
        )
    metrics = summary.read_metrics(run)
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


@dataclass(frozen=True)
class SubmitOptions:
    """What `submit` is asked for.

    Attributes:
        message: what is written with the submission; None: the candidate's own message.
        again: upload a file that was uploaded before.
        dry_run: do all but the upload.
        wait: wait for the score.
    """

    message: str | None = None
    again: bool = False
    dry_run: bool = False
    wait: bool = True


def submit(
    candidate: Candidate, options: SubmitOptions, book: Ledger, reporter: Reporter
) -> Entry | None:
    """Upload a file, note it in the ledger and in its run's folder, and wait for its score.

    Args:
        candidate: the file.
        options: what is asked for.
        book: the ledger.
        reporter: says what happens.

    Returns:
        The ledger's row of the submission; None after a dry run.

    Raises:
        UserError: it was uploaded before, there are no submissions left today, Kaggle refuses or
            cannot be reached. The ledger says what became of it.
    """
    message = _checked_message(options.message or candidate.message)
    book.read()  # a damaged one is refused before anything is asked of Kaggle
    client = connect()
    with book.locked(lambda: reporter.say("waiting for another submit to end ...")):
        known = book.read()
        entries, listed = _refreshed(client, book)
        entry = None
        if not options.again:
            entry = _uploaded_before(candidate, known, entries, listed)
        if entry is None:
            _warn(candidate, reporter)
            _check_allowance(client, reporter)
            entries, entry = _with_new_row(entries, candidate, message, listed)
            if options.dry_run:
                reporter.say(f"message: {entry.message}")
                reporter.say(f"dry run: {candidate.file} would be uploaded now", important=True)
                return None
            entry = _upload(client, candidate, entries, entry, book, reporter)
        else:
            reporter.say(
                f"{candidate.file} is submission {entry.reference} already, it is not uploaded "
                "again",
                important=True,
            )
    if options.wait and entry.status == ledger.PENDING:
        entry = _awaited(client, entry, book, reporter)
    _note_in_run(candidate, book.read())
    if entry.status not in (ledger.PENDING, "complete"):
        raise UserError(
            f"{candidate.file}: Kaggle could not score submission {entry.reference}"
            f" ({entry.reason or 'no reason given'}); correct the file and submit it again"
        )
    return entry


def refreshed(book: Ledger, reporter: Reporter) -> tuple[list[Entry], list[Submission]]:
    """Bring the ledger up to date with Kaggle's list.

    Args:
        book: the ledger.
        reporter: says when another process has it.

    Returns:
        (its rows, Kaggle's submissions, newest first).

    Raises:
        UserError: Kaggle cannot be asked.
    """
    client = connect()
    with book.locked(lambda: reporter.say("waiting for a submit to end ...")):
        return _refreshed(client, book)


def _refreshed(client: Client, book: Ledger) -> tuple[list[Entry], list[Submission]]:
    known, listed = book.read(), client.submissions()
    entries = ledger.reconciled(known, listed)
    if entries != known:
        book.write(entries)
    return entries, listed


def _uploaded_before(
    candidate: Candidate,
    known: Sequence[Entry],
    entries: Sequence[Entry],
    listed: Sequence[Submission],
) -> Entry | None:
    """Return the row of an earlier upload whose end nobody has seen, None if there was no upload.

    Args:
        candidate: the file.
        known: the ledger's rows before Kaggle was asked.
        entries: the same rows as Kaggle knows them now.
        listed: Kaggle's submissions.

    Raises:
        UserError: the content was uploaded and its score seen, or it was uploaded elsewhere.
    """
    for before, entry in zip(reversed(known), reversed(entries), strict=True):
        if entry.sha256 == candidate.sha256 and entry.reference:
            if before.status in (ledger.UPLOADING, ledger.PENDING):
                return entry  # an earlier command has died, or was not to wait
            score = f"public score {entry.public_score}" if entry.public_score else entry.status
            raise UserError(
                f"{candidate.file}: uploaded before, at {entry.time} as submission "
                f"{entry.reference} ({score}); add --again to upload it once more"
            )
    for found in listed:
        if ledger.is_of_content(found.description, candidate.sha256):
            raise UserError(
                f"{candidate.file}: uploaded before, from another place, as submission "
                f"{found.reference}; add --again to upload it once more"
            )
    return None


def _warn(candidate: Candidate, reporter: Reporter) -> None:
    """Say what does not keep a file from being uploaded, but should be known."""
    metrics = candidate.metrics
    if metrics and not metrics.complete and not metrics.provisional:
        reporter.say(
            f"WARNING: the run is not complete: {metrics.fits_finished} of "
            f"{count_of(metrics.fits_planned, 'fit')}"
        )


def _check_allowance(client: Client, reporter: Reporter) -> None:
    """Refuse where no submissions are left today; else say how many."""
    allowance = client.allowance()
    if allowance is None:
        reporter.say("submissions left today: Kaggle does not say")
        return
    if allowance.left == 0:
        now = datetime.now(UTC)
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        raise UserError(
            f"no submissions left today: {allowance.used} used; Kaggle's next day begins at "
            f"00:00 UTC, in {duration((midnight - now).total_seconds())}; repeat the command then"
        )
    reporter.say(f"submissions left today: {allowance.left}")


def _with_new_row(
    entries: Sequence[Entry], candidate: Candidate, message: str, listed: Sequence[Submission]
) -> tuple[list[Entry], Entry]:
    """Return the rows with one for this upload, at the end, and that row."""
    # A row of the same content that never became a submission makes room for this attempt.
    kept = [e for e in entries if e.reference or e.sha256 != candidate.sha256]
    described = {entry.message for entry in kept} | {found.description for found in listed}
    earlier = sum(ledger.is_of_content(text, candidate.sha256) for text in described)
    entry = Entry(
        time=ledger.utc_text(datetime.now(UTC)),
        message=ledger.description(message, candidate.sha256, earlier + 1),
        **candidate.row,
    )
    return [*kept, entry], entry


def _upload(
    client: Client,
    candidate: Candidate,
    entries: Sequence[Entry],
    entry: Entry,
    book: Ledger,
    reporter: Reporter,
) -> Entry:
    """Upload the file of the last row; return that row with Kaggle's reference."""
    *earlier, _ = entries
    book.write(entries)
    reporter.say(f"uploading {candidate.file}: {entry.message}")
    try:
        reference = client.submit(candidate.file, entry.message, reporter.is_live)
    except LostAnswerError:
        *_, entry = _refreshed(client, book)[0]
        if not entry.reference:
            raise
        return entry
    except UserError as refusal:
        book.write([*earlier, replace(entry, status=ledger.REFUSED, reason=refusal.problem)])
        raise
    entry = replace(entry, reference=str(reference), status=ledger.PENDING)
    book.write([*earlier, entry])
    reporter.say(f"uploaded as submission {reference}")
    return entry


def _awaited(client: Client, entry: Entry, book: Ledger, reporter: Reporter) -> Entry:
    """Ask until Kaggle has scored a submission or the time is up; return its row."""
    start, pause = time.monotonic(), FIRST_POLL
    label = f"submission {entry.reference}: waiting for the score"
    with reporter.bar(WAIT_SECONDS, label) as show:
        while (waited := time.monotonic() - start) < WAIT_SECONDS:
            show(waited, label)
            with book.locked(lambda: None):
                entries, _ = _refreshed(client, book)
            [entry] = [each for each in entries if each.reference == entry.reference]
            if entry.status != ledger.PENDING:
                return entry
            time.sleep(pause)
            pause = min(pause * POLL_GROWTH, SLOWEST_POLL)
    reporter.say(
        f"submission {entry.reference} is not scored after {duration(WAIT_SECONDS)}; "
        "kaggle-digits submissions shows the score when there is one",
        important=True,
    )
    return entry


def _note_in_run(candidate: Candidate, entries: Sequence[Entry]) -> None:
    """Write what became of a run's submissions into its folder."""
    if candidate.run is None:
        return
    noted = files.read_json(candidate.run.submitted).get("submissions", [])
    own = [asdict(e) for e in entries if e.sha256 == candidate.sha256 and e.reference]
    references = {each["reference"] for each in own}
    earlier = [each for each in noted if each.get("reference") not in references]
    files.write_json(candidate.run.submitted, {"format": 1, "submissions": [*earlier, *own]})


def _checked_message(message: str) -> str:
    line = " ".join(message.split())
    if not line or len(line) > MESSAGE_CHARACTERS:
        raise UserError(
            f"--message: expected 1 to {MESSAGE_CHARACTERS} characters, found {len(line)}; "
            "write another one"
        )
    return line


def _git_revision(folder: Path) -> str:
    """Return the revision of the repository that a folder is in, "" where there is none."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
