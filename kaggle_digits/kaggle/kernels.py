"""Kernels on Kaggle: upload a built one and follow it; `kernel_output` brings home what it left."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaggle_digits.errors import UserError
from kaggle_digits.kaggle.client import Client, NotFoundError, PassingError
from kaggle_digits.kaggle.kernel_folder import METADATA, KernelFolder

NAME = re.compile(r"[\w-]+/[\w-]+")  # owner and name
UNDER_WAY = ("queued", "running", "new_script", "cancel_requested")
POLL_SECONDS = 10.0
GIVE_UP_MINUTES = 30  # a network may be away for a while in hours of following
OWN_KERNEL = "use the account that the kernel belongs to"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class KernelState:
    """How far a kernel's newest session is.

    Attributes:
        name: queued, running, complete, error, cancel_acknowledged, ...
        failure: Kaggle's reason, "" if there is none.
    """

    name: str
    failure: str

    @property
    def is_under_way(self) -> bool:
        """Whether it has not come to its end."""
        return self.name in UNDER_WAY

    @property
    def has_failed(self) -> bool:
        """Whether it ended without its result."""
        return not self.is_under_way and self.name != "complete"

    def __str__(self) -> str:
        words = self.name.replace("_", " ")
        return f"{words}: {_plain(self.failure)}" if self.failure else words


@dataclass(frozen=True)
class Pushed:
    """What Kaggle has taken.

    Attributes:
        kernel: its owner and name.
        version: counted from 1.
        url: its page.
    """

    kernel: str
    version: int
    url: str


def name_of(client: Client, kernel: str) -> str:
    """Return a kernel's owner and name, `owner/name`.

    Args:
        client: says whose kernel it is where only a name is known.
        kernel: the folder of a built one, a name, or both parts.

    Raises:
        UserError: it is nothing of these.
    """
    is_folder = Path(kernel).is_dir()
    name = str(KernelFolder(Path(kernel)).read_metadata()["id"]) if is_folder else kernel
    if "/" not in name:
        name = f"{client.username}/{name}"
    if not NAME.fullmatch(name):
        raise UserError(f"{kernel}: expected a kernel's folder or OWNER/NAME; give one of these")
    return name


def push(client: Client, folder: KernelFolder) -> Pushed:
    """Upload a kernel, which Kaggle then runs.

    Args:
        client: to ask with.
        folder: what `kernel_folder.build` made; people may have changed it.

    Raises:
        UserError: Kaggle refuses it, does not know one of its inputs, or still runs an earlier
            version of it.
    """
    metadata, kernel = folder.read_metadata(), name_of(client, str(folder.folder))
    code = folder.folder / str(metadata["code_file"])
    if not code.is_file():
        raise UserError(f"{code}: is missing; build the kernel again")
    if _is_under_way(client, kernel):
        raise UserError(
            f"{kernel}: an earlier version is still under way; follow it with kaggle-digits kernel "
            f"status {kernel} --wait, stop it on its page, or build this one with another --name"
        )
    with tempfile.TemporaryDirectory() as place:
        shutil.copyfile(code, Path(place, code.name))
        text = json.dumps(metadata | {"id": kernel, "code_file": code.name})
        Path(place, METADATA).write_text(text, encoding="utf-8")
        with client.asking("push the kernel", once=True, if_forbidden=OWN_KERNEL):
            answer = client.api.kernels_push(place, timeout=folder.session_seconds())
    if answer.error:
        raise UserError(f"Kaggle refuses the kernel {kernel}: {answer.error}")
    unknown = [
        *answer.invalidCompetitionSources,
        *answer.invalidKernelSources,
        *answer.invalidDatasetSources,
    ]
    if unknown:
        raise UserError(
            f"{kernel}: version {answer.versionNumber} begins without {', '.join(unknown)}, which "
            f"Kaggle does not find among its inputs; stop it on {answer.url}, correct the name, "
            "build and push again"
        )
    return Pushed(kernel, answer.versionNumber, answer.url)


def state(client: Client, kernel: str) -> KernelState:
    """Ask how far a kernel, `owner/name`, is."""
    with client.asking("say how far the kernel is"):
        answer = client.api.kernels_status(kernel)
    return KernelState(answer.status.name.lower(), answer.failure_message or "")


def follow(client: Client, kernel: str, say: Callable[[str], object]) -> KernelState:
    """Wait for a kernel's end, with its log as far as it can be read on the way.

    Args:
        client: to ask with.
        kernel: owner and name.
        say: is called with a line for each new state and each line of the log.

    Returns:
        The last state.

    Raises:
        UserError: Kaggle refuses to say it, or has not answered for `GIVE_UP_MINUTES`.
    """
    shown, seen = "", 0
    while True:
        now = _patient_state(client, kernel, say)
        if now.name != shown:
            say(f"{kernel}: {now}")
            shown = now.name
        # A stream that was silent for a minute breaks; each one begins with the first line.
        with suppress(UserError):
            for number, text in enumerate(_log_events(client, kernel)):
                if number >= seen:
                    seen = number + 1
                    for line in text.splitlines():
                        say(_plain(line))
        if not now.is_under_way:
            return now
        time.sleep(POLL_SECONDS)


def log_tail(client: Client, kernel: str, lines: int) -> list[str]:
    """Return the last lines of a kernel's log; none if it cannot be read."""
    text: list[str] = []
    with suppress(UserError):
        for event in _log_events(client, kernel):
            text += map(_plain, event.splitlines())
    return text[-lines:]


def _is_under_way(client: Client, kernel: str) -> bool:
    with suppress(NotFoundError):  # it is new
        return state(client, kernel).is_under_way
    return False


def _patient_state(client: Client, kernel: str, say: Callable[[str], object]) -> KernelState:
    """Ask how far a kernel is, again and again while what is in the way may pass."""
    give_up_at = None
    while True:
        try:
            return state(client, kernel)
        except PassingError:
            if give_up_at is None:
                give_up_at = time.monotonic() + GIVE_UP_MINUTES * 60
                say(f"{kernel}: Kaggle does not answer; asked again for {GIVE_UP_MINUTES} minutes")
            elif time.monotonic() > give_up_at:
                raise
        time.sleep(POLL_SECONDS)


def _log_events(client: Client, kernel: str) -> Iterator[str]:
    """Yield the log from its beginning, with clients of 2.2 while it is written."""
    if not hasattr(client.api, "kernels_logs_stream"):
        with client.asking("read the kernel's log"):
            log = client.api.kernels_logs(kernel)
        yield from map(_text_of, _parsed(log))
        return
    events = client.api.kernels_logs_stream(kernel)
    while True:
        with client.asking("read the kernel's log"):  # not for longer: it keeps all lines back
            event = next(events, None)
        if event is None:
            return
        yield _text_of(event)


def _parsed(log: str) -> list:
    """Return the events of a log, which is a JSON list as a rule, else lines."""
    try:
        events = json.loads(log)
    except ValueError:
        events = None
    return events if isinstance(events, list) else log.splitlines()


def _text_of(event: Any) -> str:
    return str(event.get("data") or "") if isinstance(event, dict) else str(event)


def _plain(text: str) -> str:
    return CONTROL.sub("", text)
