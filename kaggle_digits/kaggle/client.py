"""The official Kaggle client with plain errors, limits on waiting and nothing on the screen.

It is the only module that imports the package `kaggle`, which authenticates while it is imported,
writes its own lines and ends the process where it finds no credentials.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_digits.data.competition import PAGE, SLUG
from kaggle_digits.errors import UserError
from kaggle_digits.kaggle import retries
from kaggle_digits.kaggle.retries import NOT_IDEMPOTENT

if TYPE_CHECKING:
    import requests

TOKEN_PAGE = "https://www.kaggle.com/settings/api"
CREDENTIALS_ADVICE = (
    f"sign in to Kaggle, make a token on {TOKEN_PAGE} and put it into the environment variable "
    "KAGGLE_API_TOKEN or the file ~/.kaggle/access_token"
)
PAGE_SIZE = 100  # submissions of one answer
HALF_A_KEY = "Error: Missing "  # the beginning of the client's words
UPLOAD_FAILED = "Could not submit to competition"  # the client's answer then, as of a success
REASON_CHARACTERS = 300  # of Kaggle's words, in an error message
RULES_ADVICE = f"accept the competition's rules on {PAGE}/rules with this account"
CHECK_NAME = "check the name; what it names may be gone or private"


@dataclass(frozen=True)
class Submission:
    """What Kaggle knows of a submission.

    Attributes:
        reference: Kaggle's number of it.
        time: when it was made, with its time zone; None: not said.
        description: what was written with it.
        file_name: name of the file.
        status: pending, complete or error.
        public_score: 0..1; None: not scored.
        reason: why it was not scored; "": nothing was said.
    """

    reference: int
    time: datetime | None
    description: str
    file_name: str
    status: str
    public_score: float | None
    reason: str


@dataclass(frozen=True)
class Allowance:
    """How many submissions a team has made today (UTC), and how many more it may make.

    Attributes:
        used: made today.
        left: may still be made today.
    """

    used: int
    left: int


class NotFoundError(UserError):
    """Kaggle does not have what was asked for, or does not show it to this account."""


class PassingError(UserError):
    """Kaggle cannot be reached, asks for a pause, or has an error of its own: it may pass."""


class LostAnswerError(UserError):
    """A request may have been carried out or not: its answer did not arrive."""


class Client:
    """The official client, signed in.

    Every method raises UserError where Kaggle refuses, with Kaggle's reason, and where it cannot be
    reached.

    Args:
        api: a `KaggleApi` of the package `kaggle`, 2.0 to 2.2.
        version: of that package.
    """

    def __init__(self, api: Any, version: str) -> None:
        self.api, self.version = api, version

    @property
    def username(self) -> str:
        """The account's name, the first part of a kernel's id."""
        return self.api.get_config_value(self.api.CONFIG_NAME_USER) or ""

    def allowance(self) -> Allowance | None:
        """Ask for today's submissions; None where Kaggle or this client's version does not say."""
        if not hasattr(self.api, "competition_get_submission_limits"):  # before 2.2
            return None
        with self.asking("count today's submissions"):
            limits = self.api.competition_get_submission_limits(SLUG)
        if limits.num_total == limits.num_allowed_now == 0:
            return None  # an account without a team has no numbers yet
        return Allowance(used=limits.num_today, left=limits.num_allowed_now)

    def submissions(self) -> list[Submission]:
        """List the team's newest submissions, at most `PAGE_SIZE`, newest first."""
        with self.asking("list the submissions"):
            found = self.api.competition_submissions(SLUG, page_size=PAGE_SIZE)
            return [_submission(each) for each in found or []]

    def submit(self, file: Path, message: str, show_progress: bool = False) -> int:
        """Upload a file and have it scored.

        Args:
            file: the submission.
            message: its description.
            show_progress: draw the client's bar on standard output.

        Returns:
            Kaggle's reference of the submission.

        Raises:
            LostAnswerError: Kaggle may have taken it or not.
            UserError: Kaggle has not taken it.
        """
        with self.asking("submit", show_progress, once=True):
            answer = self.api.competition_submit(str(file), message, SLUG, quiet=not show_progress)
            if not answer.ref and answer.message != UPLOAD_FAILED:
                raise _lost("submit")
        if not answer.ref:
            raise UserError(
                f"{file.name}: the upload failed, Kaggle's storage did not take it; nothing was "
                "submitted; repeat the command"
            )
        return answer.ref

    def download(self, url: str, path: Path) -> None:
        """Save what one of Kaggle's links leads to.

        Args:
            url: the link; it is a credential.
            path: the file.

        Raises:
            UserError: it is not there or cannot be reached.
        """
        import requests

        with (
            self.asking(
                f"download {path.name}", if_forbidden="its link is old; repeat the command"
            ),
            requests.Session() as session,
        ):
            for scheme in retries.SCHEMES:
                session.mount(scheme, retries.patient_adapter(retries.ATTEMPTS))
            answer = session.get(url)
            answer.raise_for_status()
            path.write_bytes(answer.content)

    @contextmanager
    def asking(
        self,
        purpose: str,
        show_progress: bool = False,
        once: bool = False,
        if_forbidden: str = RULES_ADVICE,
    ) -> Iterator[None]:
        """Keep what the client writes off the screen, and put what it raises into words.

        Args:
            purpose: what is asked of Kaggle, after "to": "list the submissions".
            show_progress: let its bars through, to standard output.
            once: whether the block ends in a call that is not idempotent; then an answer that does
                not arrive says nothing of what was done.
            if_forbidden: what people do where the account may not do it.

        Raises:
            LostAnswerError: with `once`.
            UserError: see the class.
        """
        try:
            with _silence(show_progress), retries.limited_waiting():
                yield
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise self._explained(error, purpose, once, if_forbidden) from None

    def _explained(
        self, error: BaseException, purpose: str, once: bool, if_forbidden: str
    ) -> UserError:
        from requests import ConnectionError, HTTPError, RequestException, Timeout
        from requests.exceptions import ChunkedEncodingError

        hidden = error.__context__
        if isinstance(error, ValueError) and isinstance(hidden, HTTPError):
            # So the client reports a kernel that Kaggle refuses to show, with 403 an unknown one.
            if hidden.response.status_code == 403:
                return NotFoundError(f"Kaggle refuses to {purpose}: HTTP 403; {CHECK_NAME}")
            error = hidden
        if isinstance(error, HTTPError) and error.response is not None:
            return self._refused(error.response, purpose, if_forbidden)
        is_of_requests = isinstance(error, RequestException)
        # An answer may also break in its middle, where requests does not say which one it is.
        may_be_done = once and _call(getattr(error, "request", None)) in (
            *NOT_IDEMPOTENT.values(),
            "",
        )
        is_broken_answer = is_of_requests or isinstance(error, json.JSONDecodeError)
        if may_be_done and is_broken_answer and not _never_connected(error):
            return _lost(purpose)
        if isinstance(error, ConnectionError | Timeout | ChunkedEncodingError):
            return PassingError(
                f"Kaggle cannot be reached to {purpose} (no answer from "
                f"{_host(error.request)}); check the network and repeat the command"
            )
        if isinstance(error, OSError) and not is_of_requests:
            raise error  # a full disk, a folder that cannot be written to
        words = self._without_secrets(str(error)) or type(error).__name__
        return UserError(
            f"the Kaggle client {self.version} could not {purpose}: {_shortened(words)}; correct "
            "that, or update the client with pip install -U 'kaggle<2.3', and repeat the command"
        )

    def _refused(self, response: requests.Response, purpose: str, if_forbidden: str) -> UserError:
        status, reason = response.status_code, self._without_secrets(_reason(response))
        because, kind = f" ({reason})" if reason else "", UserError
        if status == 401:
            return UserError(
                f"Kaggle refuses the credentials{because}; the token may be wrong or expired; "
                f"{CREDENTIALS_ADVICE}"
            )
        if status >= 500 and _call(response.request) in NOT_IDEMPOTENT.values():
            return _lost(f"{purpose}, HTTP {status}{because}")
        if status >= 500:
            advice, kind = "the error is Kaggle's own; repeat the command later", PassingError
        elif status == 429:
            wait = response.headers.get("Retry-After", "")
            pause = f"after {wait} s" if wait.isdigit() else "in some minutes"
            advice, kind = f"it asks for a pause; repeat the command {pause}", PassingError
        elif status == 404:
            advice, kind = CHECK_NAME, NotFoundError
        elif status == 403:
            advice = if_forbidden
        else:
            advice = "correct that and repeat the command" if reason else "Kaggle gives no reason"
        return kind(f"Kaggle refuses to {purpose}: HTTP {status}{because}; {advice}")

    def _without_secrets(self, text: str) -> str:
        values = getattr(self.api, "config_values", {})
        secrets = {values.get(name) for name in ("key", "token")}
        secrets |= {os.environ.get(name) for name in ("KAGGLE_KEY", "KAGGLE_API_TOKEN")}
        for secret in filter(None, secrets):
            text = text.replace(secret, "***")
        return re.sub(r"https?://\S*[?&]\S*", "(link)", text)  # signed links are credentials too


def connect() -> Client:
    """Import the official client and sign in.

    Raises:
        UserError: it is not installed, has no credentials, or Kaggle refuses or cannot be reached.
    """
    try:
        import requests  # noqa: F401  (what the client needs, and `asking`)
    except ImportError as error:
        raise _not_installed(error) from None
    with Client(None, "").asking("sign in"):
        try:
            # Version 2.0 ends the process here already.
            from kaggle.api.kaggle_api_extended import KaggleApi

            api = retries.patient(KaggleApi)()
            api.authenticate()
        except ImportError as error:
            raise _not_installed(error) from None
        except (SystemExit, ValueError) as error:
            # Half a key: clients before 2.2 raise ValueError, later ones end the process.
            if isinstance(error, ValueError) and not str(error).startswith(HALF_A_KEY):
                raise
            raise _no_credentials() from None
    return Client(api, version("kaggle"))


def _not_installed(error: ImportError) -> UserError:
    return UserError(
        f"the Kaggle client is not installed ({error}); install it with "
        "pip install 'kaggle<2.3' six"
    )


def _lost(purpose: str) -> LostAnswerError:
    return LostAnswerError(
        f"no answer that could be read came from Kaggle when it was asked to {purpose}; whether it "
        "was done is not known yet; repeat the command, it looks first"
    )


def _no_credentials() -> UserError:
    from kagglesdk.kaggle_env import get_access_token_from_env

    _, source = get_access_token_from_env()
    if source is not None:
        place = {"access_token": "~/.kaggle/access_token"}.get(source, source)
        return UserError(
            f"Kaggle does not know the token in {place}; it may be wrong or expired: "
            f"{CREDENTIALS_ADVICE}"
        )
    pair = ("KAGGLE_USERNAME", "KAGGLE_KEY")
    given = [name for name in pair if os.environ.get(name)]
    found = "no credentials for Kaggle were found"
    if len(given) == 1:
        found = f"expected {' and '.join(pair)}, found only {given[0]}"
    elif (file := _key_file()).is_file():
        found = f"{file}: expected JSON with username and key, found something else"
    return UserError(f"{found}; {CREDENTIALS_ADVICE}")


def _key_file() -> Path:
    """Return where the client looks for a key of the older kind."""
    return Path(sys.modules["kaggle.api.kaggle_api_extended"].KaggleApi.config)


@contextmanager
def _silence(show_progress: bool) -> Iterator[None]:
    """Drop what the client writes; its bars may go to standard output."""
    dropped = io.StringIO()
    bars = sys.stdout if show_progress else dropped
    with redirect_stdout(dropped), redirect_stderr(bars):
        yield


def _submission(found: Any) -> Submission:
    time = found.date
    if time is not None and time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return Submission(
        reference=found.ref,
        time=time,
        description=" ".join(found.description.split()),
        file_name=found.file_name,
        status=found.status.name.lower(),
        public_score=float(found.public_score) if found.public_score else None,
        reason=_shortened(found.error_description),
    )


def _reason(response: requests.Response) -> str:
    """Return Kaggle's own words in an answer, "" where there are none for people."""
    try:
        answer = response.json()
    except ValueError:
        is_text = response.headers.get("Content-Type", "").startswith("text/plain")
        return _shortened(response.text) if is_text else ""
    words = answer.get("message") or answer.get("error") if isinstance(answer, dict) else ""
    return _shortened(str(words or ""))


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= REASON_CHARACTERS else f"{line[: REASON_CHARACTERS - 3]}..."


def _call(request: Any) -> str:
    return request.url.rpartition("/")[2] if request is not None else ""


def _host(request: Any) -> str:
    from urllib.parse import urlsplit

    return urlsplit(request.url).hostname if request is not None else "www.kaggle.com"


def _never_connected(error: Exception) -> bool:
    from requests import ConnectTimeout
    from urllib3.exceptions import NewConnectionError

    cause = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(error, ConnectTimeout) or isinstance(cause, NewConnectionError)
