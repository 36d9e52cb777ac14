"""Writes files atomically, with checksums that reveal damage, and reads them back.

Takes bytes, JSON and arrays; which files there are is the business of the folder classes.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np

from kaggle_digits.errors import ADVICE, READ_ONLY, UserError

Arrays = dict[str, np.ndarray]
CHECKSUM_BYTES = 16
# Temporary files and folders: this prefix, the writer's machine and process id, the final name.
TEMP_PREFIX = ".kaggle-digits-half-"
# A temporary file of another machine counts as abandoned when it has not changed for this long.
ABANDONED_SECONDS = 24 * 3600.0
NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
ELSEWHERE = "give a folder that can be written (--out, --cache)"

_spent = 0.0
_counting = False


@contextmanager
def timed_io() -> Iterator[None]:
    """Count the time of a block, or of a function, as spent on saving, hashing and syncing.

    Every run reports what its safety costs. A block within a block counts once.
    """
    global _spent, _counting
    if _counting:
        yield
        return
    _counting, start = True, time.monotonic()
    try:
        yield
    finally:
        _counting = False
        _spent += time.monotonic() - start


def io_seconds() -> float:
    """Return the seconds that this process has spent on saving, hashing and syncing."""
    return _spent


@timed_io()
def digest(*parts: bytes | np.ndarray | str) -> str:
    """Hash parts in order with BLAKE2b to 32 hex digits; each part's length counts too."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = memoryview(part.encode() if isinstance(part, str) else part)
        flat = content.nbytes and content.c_contiguous
        content = content.cast("B") if flat else content.tobytes()
        hasher.update(len(content).to_bytes(8, "little"))
        hasher.update(content)
    return hasher.hexdigest()


def digest_json(values: object) -> str:
    """Hash a JSON-ready value; the order of keys does not count."""
    return digest(json.dumps(values, sort_keys=True, separators=(",", ":")))


@timed_io()
def checksum(path: Path) -> str:
    """Hash a file's content with BLAKE2b to 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def checksum_of(content: bytes) -> str:
    """Return the `checksum` of a file with this content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


class DamagedError(UserError):
    """A file is not as it was written.

    Callers that can make it again catch this and do so; otherwise the message is for the user.

    Args:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}; repeat the command that made it")
        self.path, self.reason = path, reason


def check_format(path: Path | str, found: object, current: int) -> None:
    """Refuse what another version of this program made.

    Args:
        path: the file or folder, for the error message.
        found: the format number that it carries; None: it has none, as in the first versions.
        current: the only format number that is read.

    Raises:
        UserError: they differ; says which of the two is newer.
    """
    if found == current:
        return
    if isinstance(found, int) and found > current:
        raise UserError(
            f"{path}: made by a newer version of kaggle-digits (format {found}, expected "
            f"{current}); update kaggle-digits, or give another --out"
        )
    raise UserError(
        f"{path}: made by an earlier version of kaggle-digits; give another --out (its "
        "submission.csv and model files can still be used)"
    )


@cache
def _machine() -> str:
    """Return 8 hex digits that only processes share whose process ids are from one table.

    A host's name is not enough: two hosts may have the same one, and every container counts its
    processes from 1.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):  # Linux only, as containers are
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return digest(*parts)[:8]


def temporary_path(path: Path, process: int | None = None) -> Path:
    """Return where a process writes a file or folder before it gets its name.

    Args:
        path: the final place. Its ending stays last, because Keras chooses a file's format by it.
        process: id of a process of this machine; None: this one's.
    """
    writer = os.getpid() if process is None else process
    return path.with_name(f"{TEMP_PREFIX}{_machine()}.{writer}-{path.name}")


def is_abandoned(path: Path) -> bool:
    """Return whether the writer of a temporary file has ended, as far as can be known here.

    Only the process ids of this very machine (or container) say who is alive. A file of any other,
    in a folder that several share, counts as abandoned after `ABANDONED_SECONDS` without a change.

    Raises:
        OSError: the file is gone or cannot be looked at.
    """
    own = re.fullmatch(rf"{re.escape(TEMP_PREFIX)}{_machine()}\.(\d{{1,9}})-.*", path.name)
    if own is None:
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    try:
        os.kill(int(own[1]), 0)  # sends nothing, but asks whether the process is there
    except ProcessLookupError:
        return True
    except PermissionError:  # it is another user's
        return False
    return False


def abandoned(path: Path) -> list[Path]:
    """List what killed processes have left of a file or folder that they were writing."""
    pattern = f"{TEMP_PREFIX}*[0-9]-{glob.escape(path.name)}"
    return [each for each in path.parent.glob(pattern) if is_abandoned(each)]


def move(source: Path, target: Path) -> None:
    """Give a file or folder its final name, and make sure that the name survives a power cut."""
    source.replace(target)
    with suppress(OSError):  # some file systems sync no folders
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file beside its final place, then flush it and move it there.

    Args:
        path: where the file is to appear; its folder is made.

    Yields:
        The path to write to. If the block fails, nothing is left behind.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    beside = temporary_path(path)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            with beside.open("r+b") as file:
                os.fsync(file.fileno())
            move(beside, path)
    finally:
        with suppress(OSError):
            beside.unlink()


@contextmanager
def writing(path: Path, if_read_only: str = ELSEWHERE) -> Iterator[None]:
    """Turn an error of the operating system into one line that says why writing failed.

    Args:
        path: the file.
        if_read_only: what to do where nothing may be written.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        advice = "choose another folder (--out, --cache), then repeat the command"
        if error.errno in NO_SPACE:
            advice = f"make space or {advice}"
        elif error.errno in READ_ONLY:
            advice = if_read_only
        elif isinstance(error, NotADirectoryError | FileExistsError):
            advice = ADVICE[errno.ENOTDIR]
        raise UserError(
            f"{error.filename or path}: cannot be written ({error.strerror or error}); {advice}"
        ) from error


def read_json(path: Path) -> dict:
    """Read a JSON object; {} where there is none or it cannot be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


@timed_io()
def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with atomic_write(path) as beside:
        beside.write_bytes(content)


def json_bytes(values: Mapping) -> bytes:
    """Return the content of a JSON file for people to read."""
    return (json.dumps(values, indent=2) + "\n").encode()


def write_json(path: Path, values: Mapping) -> None:
    """Write a JSON file whole or not at all, for people to read."""
    write_bytes(path, json_bytes(values))


@timed_io()
def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write an uncompressed `.npz` whole or not at all; equal arrays give equal bytes."""
    write_bytes(path, npz(arrays))


def npz(arrays: Arrays) -> bytes:
    """Return the content of an uncompressed `.npz`; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def read_arrays(source: Path | io.BytesIO) -> Arrays:
    """Read all arrays of an `.npz`."""
    with np.load(source, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@timed_io()
def write_checksummed(path: Path, content: bytes) -> None:
    """Write content and its checksum as one file, whole or not at all.

    A checksum in a file of its own could belong to another version after a kill between the two.
    """
    write_bytes(path, content + bytes.fromhex(digest(content)))


@timed_io()
def read_checksummed(path: Path) -> bytes:
    """Read content that `write_checksummed` wrote.

    Raises:
        DamagedError: content and checksum differ.
        FileNotFoundError: there is no such file.
    """
    stored = path.read_bytes()
    content = stored[:-CHECKSUM_BYTES]
    if bytes.fromhex(digest(content)) != stored[-CHECKSUM_BYTES:]:
        raise DamagedError(path, "its checksum differs")
    return content


def write_versioned_arrays(path: Path, arrays: Arrays, format: int) -> None:
    """Write arrays with their format number and a checksum, whole or not at all."""
    write_checksummed(path, npz(arrays | {"format": np.array(format)}))


def read_versioned_arrays(path: Path, format: int) -> Arrays | None:
    """Read arrays that `write_versioned_arrays` wrote, None where there are none.

    Raises:
        DamagedError: content and checksum differ.
        UserError: another version of this program wrote them.
    """
    try:
        arrays = read_arrays(io.BytesIO(read_checksummed(path)))
    except FileNotFoundError:
        return None
    found = arrays.pop("format", None)
    check_format(path, None if found is None else int(found), format)
    return arrays
