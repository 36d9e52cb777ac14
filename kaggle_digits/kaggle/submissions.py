"""The upload and the wait for the score of `kaggle-digits submit`.

A row of the ledger is written before anything is uploaded. So a command that died between any two
calls leaves what the next one needs to find out, by Kaggle's list, what became of it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kaggle_digits.errors import UserError
from kaggle_digits.kaggle import ledger
from kaggle_digits.kaggle.client import Client, LostAnswerError, Submission, connect
from kaggle_digits.kaggle.gate import Candidate
from kaggle_digits.kaggle.ledger import Entry, Ledger
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system.console import Reporter, duration

MESSAGE_CHARACTERS = 400
# Seconds: Kaggle scores this competition in a few.
WAIT_SECONDS, FIRST_POLL, SLOWEST_POLL, POLL_GROWTH = 600.0, 2.0, 15.0, 1.3
# Seconds that an upload which was cut off is looked for: what Kaggle does not list after them has
# not arrived. Of one that began longer ago than any upload takes, with all its repetitions, the
# list is complete.
LISTING_SECONDS, LONGEST_UPLOAD = 30.0, 1800.0


@dataclass(frozen=True)
class SubmitOptions:
    """What `submit` is asked for.

    Attributes:
        message: what is written with the submission; None: the candidate's own message.
        again: upload what was uploaded and scored before.
        dry_run: do all but the upload.
        wait: wait for the score.
    """

    message: str | None = None
    again: bool = False
    dry_run: bool = False
    wait: bool = True


@dataclass(frozen=True)
class _Desk:
    """What the steps of a submission work with."""

    client: Client
    book: Ledger
    reporter: Reporter

    def refreshed(self) -> tuple[list[Entry], list[Submission]]:
        """Bring the ledger up to date with Kaggle's list; return both."""
        known, listed = self.book.read(), self.client.submissions()
        entries = ledger.reconciled(known, listed)
        if entries != known:
            self.write(entries)
        return entries, listed

    def write(self, entries: Sequence[Entry]) -> None:
        """Write the ledger, and what of it concerns a run into the run's folder."""
        self.book.write(entries)
        for folder in {Path(entry.file).parent for entry in entries if entry.reference}:
            try:
                _note_in_run(RunFolder(folder), entries)
            except (OSError, UserError) as error:
                self.reporter.say(f"WARNING: not noted in the run's folder: {error}")


def submit(
    candidate: Candidate, options: SubmitOptions, book: Ledger, reporter: Reporter
) -> Entry | None:
    """Upload a submission, note it in the ledger and in its run's folder, and wait for its score.

    Args:
        candidate: what has passed the gate.
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
    desk = _Desk(connect(), book, reporter)
    with book.locked(lambda: reporter.say("waiting for another submit to end ...")):
        known = book.read()
        entries, listed = _settled(desk, candidate)
        entry = _unfinished(candidate, known, entries)
        if entry is None:
            if not options.again:
                _refuse_second_upload(candidate, entries, listed)
            if candidate.warning:
                reporter.say(candidate.warning)
            _check_allowance(desk.client, reporter)
            new = _new_entry(candidate, message, entries, listed)
            entry = _upload(desk, candidate, entries, new, options.dry_run)
        else:
            reporter.say(
                f"{candidate.file} is submission {entry.reference} already, it is not uploaded "
                "again",
                important=True,
            )
    if options.dry_run:
        return None
    if options.wait and entry.status == ledger.PENDING:
        entry = _awaited(desk, entry)
    if entry.status == ledger.ERROR:
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
    desk = _Desk(connect(), book, reporter)
    with book.locked(lambda: reporter.say("waiting for a submit to end ...")):
        return desk.refreshed()


def _settled(desk: _Desk, candidate: Candidate) -> tuple[list[Entry], list[Submission]]:
    """Bring the ledger up to date; wait for what Kaggle may not list yet."""
    entries, listed = desk.refreshed()
    # The process that was cut off has ended, at the latest now.
    until = time.monotonic() + LISTING_SECONDS
    while _may_be_listed_yet(entries, candidate.sha256) and time.monotonic() < until:
        desk.reporter.say("looking for an upload that was cut off ...")
        time.sleep(FIRST_POLL)
        entries, listed = desk.refreshed()
    return entries, listed


def _unfinished(
    candidate: Candidate, known: Sequence[Entry], entries: Sequence[Entry]
) -> Entry | None:
    """Return the row of an upload of this content whose end no command has seen.

    Args:
        candidate: the submission.
        known: the ledger's rows before Kaggle was asked.
        entries: the same rows as Kaggle knows them now.

    Returns:
        The row with its reference; None: there is none.
    """
    for before, entry in zip(reversed(known), reversed(entries), strict=True):
        seen = before.status not in (ledger.UPLOADING, ledger.PENDING)
        if entry.sha256 == candidate.sha256 and entry.reference and not seen:
            return entry
    return None


def _refuse_second_upload(
    candidate: Candidate, entries: Sequence[Entry], listed: Sequence[Submission]
) -> None:
    """Refuse a content that was uploaded before, from here or elsewhere."""
    for entry in reversed(entries):
        if entry.sha256 == candidate.sha256 and entry.reference:
            end = entry.reason or entry.status
            end = f"public score {entry.public_score}" if entry.public_score else end
            raise UserError(
                f"{candidate.file}: uploaded before, at {entry.time} as submission "
                f"{entry.reference} ({end}); add --again to upload it once more"
            )
    for found in listed:
        if ledger.is_of_content(found.description, candidate.sha256):
            raise UserError(
                f"{candidate.file}: uploaded before, from another place, as submission "
                f"{found.reference}; add --again to upload it once more"
            )


def _may_be_listed_yet(entries: Sequence[Entry], sha256: str) -> bool:
    """Return whether an upload of a content was cut off so lately that Kaggle may list it soon."""
    return any(
        entry.sha256 == sha256
        and entry.status == ledger.UPLOADING
        and ledger.age_seconds(entry) < LONGEST_UPLOAD
        for entry in entries
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


def _upload(
    desk: _Desk, candidate: Candidate, entries: Sequence[Entry], entry: Entry, dry_run: bool
) -> Entry:
    """Write a new row, upload the content, and return the row with Kaggle's reference."""
    if dry_run:
        desk.reporter.say(f"message: {entry.message}")
        desk.reporter.say(f"dry run: {candidate.file} would be uploaded now", important=True)
        return entry
    entries = [
        replace(each, status=ledger.REFUSED, reason="Kaggle does not list it")
        if each.sha256 == entry.sha256 and each.status == ledger.UPLOADING
        else each
        for each in entries
    ]
    desk.write([*entries, entry])
    desk.reporter.say(f"uploading {candidate.file}: {entry.message}")
    try:
        # What was checked is uploaded, whatever has become of the file meanwhile.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, candidate.file.name)
            copy.write_bytes(candidate.content)
            reference = desk.client.submit(copy, entry.message, desk.reporter.is_live)
    except LostAnswerError:
        *_, entry = desk.refreshed()[0]
        if not entry.reference:
            raise
        return entry
    except UserError as refusal:
        desk.write([*entries, replace(entry, status=ledger.REFUSED, reason=refusal.problem)])
        raise
    entry = replace(entry, reference=str(reference), status=ledger.PENDING)
    desk.write([*entries, entry])
    desk.reporter.say(f"uploaded as submission {reference}")
    return entry


def _new_entry(
    candidate: Candidate, message: str, entries: Sequence[Entry], listed: Sequence[Submission]
) -> Entry:
    """Return the row of an upload that is to begin."""
    described = {entry.message for entry in entries} | {found.description for found in listed}
    earlier = sum(ledger.is_of_content(text, candidate.sha256) for text in described)
    oof = candidate.metrics and candidate.metrics.oof
    low, high = (candidate.metrics and candidate.metrics.expected_leaderboard) or (None, None)
    return Entry(
        time=ledger.utc_text(datetime.now(UTC)),
        file=str(candidate.file),
        sha256=candidate.sha256,
        message=ledger.description(message, candidate.sha256, earlier + 1),
        oof_accuracy=ledger.figure(oof and oof.accuracy),
        expected_low=ledger.figure(low),
        expected_high=ledger.figure(high),
    )


def _awaited(desk: _Desk, entry: Entry) -> Entry:
    """Ask until Kaggle has scored a submission or the time is up; return its row."""
    start, pause = time.monotonic(), FIRST_POLL
    label = f"submission {entry.reference}: waiting for the score"
    with desk.reporter.bar(WAIT_SECONDS, label) as show:
        while (waited := time.monotonic() - start) < WAIT_SECONDS:
            show(waited, label)
            with desk.book.locked(lambda: None):
                entries, _ = desk.refreshed()
            # Somebody may have moved the ledger away.
            own = (each for each in entries if each.reference == entry.reference)
            entry = next(own, entry)
            if entry.status != ledger.PENDING:
                return entry
            time.sleep(pause)
            pause = min(pause * POLL_GROWTH, SLOWEST_POLL)
    desk.reporter.say(
        f"submission {entry.reference} is not scored after {duration(WAIT_SECONDS)}; "
        "kaggle-digits submissions shows the score when there is one",
        important=True,
    )
    return entry


def _note_in_run(run: RunFolder, entries: Sequence[Entry]) -> None:
    """Write what became of a run's submissions into its folder, if it is one."""
    if not run.manifest.is_file():
        return
    own = [asdict(e) for e in entries if e.reference and Path(e.file) == run.submission]
    references = {each["reference"] for each in own}
    earlier = [each for each in run.read_submitted() if each.get("reference") not in references]
    if own:
        run.write_submitted([*earlier, *own])


def _checked_message(message: str) -> str:
    # Bytes of a command line that are no text become question marks.
    line = " ".join(message.encode("utf-8", "replace").decode().split())
    if not line or len(line) > MESSAGE_CHARACTERS:
        raise UserError(
            f"--message: expected 1 to {MESSAGE_CHARACTERS} characters, found {len(line)}; "
            "write another one"
        )
    return line
