"""How a file comes to be: whole or not at all, with a checksum to tell damage by.

Bytes, JSON and arrays in; where files lie is no business of this module.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from kaggle_digits.errors import UserError

Arrays = dict[str, np.ndarray]
CHECKSUM_BYTES = 16
# How half-written files and folders are called, followed by the writer's process id.
TEMP_PREFIX = ".kaggle-digits-half-"


_spent = 0.0
_counting = False


@contextmanager
def timed_io() -> Iterator[None]:
    """Count the time of a block, or of a function, as spent on saving, hashing and syncing.

    What a run's safety costs is told by every run itself. A block within a block counts once.
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
        content = content.cast("B") if content.nbytes else memoryview(b"")
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


@timed_io()
def digest_of_content(content: bytes) -> str:
    """Hash bytes as `checksum` hashes a file that has them as content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


class DamagedError(UserError):
    """A file is not as it was written.

    Where it can be made again that is done; else the message is for the user.

    Args:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}; repeat the command that made it")
        self.path, self.reason = path, reason


def move(source: Path, target: Path) -> None:
    """Give a file or folder its final name, and see to it that the name outlives a power cut."""
    source.replace(target)
    with suppress(OSError):  # Windows opens no folders, some file systems sync none
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file beside its place, then flush it and move it there.

    Args:
        path: where the file shall appear; its folder is made.

    Yields:
        The path to write to. If the block fails, nothing is left behind.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    # The ending stays last: Keras chooses a file's format by it.
    beside = path.with_name(f"{TEMP_PREFIX}{os.getpid()}-{path.name}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            move(beside, path)
    finally:
        with suppress(OSError):
            beside.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line what speaks against writing a file.

    Args:
        path: the file.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or path}: cannot be written ({error.strerror}); make space or choose "
            "another folder (--out, --cache), then repeat the command"
        ) from error


def read_json(path: Path) -> dict:
    """Read a JSON object that only informs; {} where there is none that can be read."""
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


def write_json(path: Path, values: Mapping) -> None:
    """Write a JSON file whole or not at all, for people to read."""
    write_bytes(path, (json.dumps(values, indent=2) + "\n").encode())


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
    sealed = path.read_bytes()
    content = sealed[:-CHECKSUM_BYTES]
    if bytes.fromhex(digest(content)) != sealed[-CHECKSUM_BYTES:]:
        raise DamagedError(path, "its checksum differs")
    return content
