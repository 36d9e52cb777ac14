"""`submissions/ledger.csv`: everything that was submitted to Kaggle, one row for each submission.

Rows are only ever added. A row is written before the upload begins; its reference, status and score
are filled in as Kaggle tells them, also by a later command where this one died on the way.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from kaggle_digits.errors import UserError
from kaggle_digits.kaggle.client import Submission
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import SUBMISSIONS

# A submission's status here, beside Kaggle's own pending, complete and error.
UPLOADING = "uploading"  # begun; whether Kaggle has it is not known
REFUSED = "refused"  # Kaggle has not taken it
PENDING, ERROR = "pending", "error"
TIME = "%Y-%m-%dT%H:%M:%SZ"
NUMBERS = ("public_score", "oof_accuracy", "expected_low", "expected_high")
MARK_DIGITS = 12  # of the file's hash, at the end of a description


@dataclass(frozen=True)
class Entry:
    """A row of the ledger; a value that is not known is "".

    Attributes:
        time: when the upload began, UTC, ISO 8601.
        file: what was uploaded, as it was given.
        sha256: of its content, in hex digits.
        message: its description at Kaggle; ends in a mark that names the content.
        reference: Kaggle's number of it.
        status: uploading, refused, pending, complete or error.
        public_score: Kaggle's score, 0..1.
        oof_accuracy: out-of-fold accuracy of the run, 0..1.
        expected_low: lower end of the expected leaderboard score.
        expected_high: its upper end.
        reason: why it was refused or could not be scored, in Kaggle's words.
    """

    time: str
    file: str
    sha256: str
    message: str
    reference: str = ""
    status: str = UPLOADING
    public_score: str = ""
    oof_accuracy: str = ""
    expected_low: str = ""
    expected_high: str = ""
    reason: str = ""

    @property
    def has_numbers(self) -> bool:
        """Whether its figures are numbers, as far as they are known."""
        try:
            [float(getattr(self, name)) for name in NUMBERS if getattr(self, name)]
        except ValueError:
            return False
        return True

    def updated(self, found: Submission) -> Entry:
        """Return the row with what Kaggle says of the submission now."""
        return replace(
            self,
            reference=str(found.reference),
            status=found.status,
            public_score=figure(found.public_score),
            reason=found.reason,
        )


COLUMNS = tuple(field.name for field in fields(Entry))


class Ledger:
    """The file, which one process at a time writes.

    Args:
        folder: the folder that it is in.
    """

    def __init__(self, folder: Path = SUBMISSIONS) -> None:
        self.path = folder / "ledger.csv"

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Keep other writers out; wait for one that is at work.

        Args:
            waiting: is called once if there is one.
        """
        from filelock import FileLock, Timeout

        with files.writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path.with_name(".ledger.lock"))
            try:
                lock.acquire(blocking=False)
            except Timeout:
                waiting()
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def read(self) -> list[Entry]:
        """Read all rows, oldest first.

        Raises:
            UserError: the file has other columns or cannot be read as CSV.
        """
        if not self.path.exists():
            return []
        # Not with pandas: a row with too many cells would be shifted, one with too few filled up.
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                header, *rows = csv.reader(file, strict=True)
        except (ValueError, csv.Error) as error:
            raise self._unreadable(f"something else ({error})") from None
        if tuple(header) != COLUMNS:
            raise self._unreadable(f"the columns {','.join(header)}")
        for number, row in enumerate(rows, 2):
            if len(row) != len(COLUMNS) or not Entry(*row).has_numbers:
                raise self._unreadable(f"in row {number} the cells {','.join(row)}")
        return [Entry(*row) for row in rows]

    def write(self, entries: Sequence[Entry]) -> None:
        """Write all rows, the whole file or nothing of it."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)  # ends lines as RFC 4180 says; others leave a bare \r unquoted
        writer.writerow(COLUMNS)
        writer.writerows(map(astuple, entries))
        # Names of files need not be text.
        files.write_bytes(self.path, text.getvalue().encode("utf-8", "backslashreplace"))

    def _unreadable(self, found: str) -> UserError:
        return UserError(
            f"{self.path}: expected the columns {','.join(COLUMNS)}, found {found[:200]}; bring "
            "the file back as it was, or rename it to begin another one"
        )


def reconciled(entries: Sequence[Entry], listed: Sequence[Submission]) -> list[Entry]:
    """Fill in what Kaggle knows.

    A row without a reference is that of an upload whose end nobody saw: the submission with its
    description, which no other row has, is the one that it stands for.

    Args:
        entries: the ledger's rows.
        listed: Kaggle's submissions.

    Returns:
        The same rows in the same order.
    """
    by_reference = {str(found.reference): found for found in listed}
    taken = {entry.reference for entry in entries}
    unclaimed = {
        found.description: found
        for reference, found in by_reference.items()
        if reference not in taken
    }
    result = []
    for entry in entries:
        found = by_reference.get(entry.reference)
        if not entry.reference:
            found = unclaimed.pop(entry.message, None)
        result.append(entry if found is None else entry.updated(found))
    return result


def description(message: str, sha256: str, number: int) -> str:
    """Return what a submission is called at Kaggle, unlike any other of the account.

    Args:
        message: for people.
        sha256: of the file.
        number: 1 for the first submission of this content, 2 for the second one, and so on.
    """
    again = f" #{number}" if number > 1 else ""
    return f"{message} {content_mark(sha256)[:-1]}{again}]"


def content_mark(sha256: str) -> str:
    """Return the mark by which a file is known again among Kaggle's descriptions."""
    return f"[{sha256[:MARK_DIGITS]}]"


def is_of_content(text: str, sha256: str) -> bool:
    """Return whether a description carries the mark of a file's content."""
    mark = content_mark(sha256)[:-1]
    return text.endswith(f"{mark}]") or f"{mark} #" in text


def figure(value: float | None) -> str:
    """Return an accuracy or a score, 0..1, as the ledger has it; "" where it is not known."""
    return "" if value is None else f"{value:.5f}"


def utc_text(time: datetime) -> str:
    """Return a time with a time zone as the ledger has it."""
    return time.strftime(TIME)


def age_seconds(entry: Entry) -> float:
    """Return how long ago an upload began; infinite where the ledger's time is not readable."""
    try:
        begun = datetime.strptime(entry.time, TIME).replace(tzinfo=UTC)
    except ValueError:
        return math.inf
    return (datetime.now(UTC) - begun).total_seconds()
