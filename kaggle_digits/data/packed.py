"""Bytes of a file as they are unpacked: plain, gzip, or a member of a zip, within bounded memory.

`sources` says which file and which member; whatever is damaged, encrypted, oversized or leaves its
folder ends in one line.
"""

import gzip
import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from kaggle_digits.errors import UserError

UNPACKED_LIMIT = 2 * 1024**3  # bytes; the real train.csv has 77 MB
READ_SIZE = 1024**2  # bytes
DIRECTORY_LIMIT = 4 * 1024**2  # bytes; enough for some 50,000 members of a zip
SHOWN_CHARACTERS = 200  # of a member's path or of zipfile's words, in an error message


def read(path: Path, members: tuple[str, ...]) -> tuple[str, bytes | bytearray]:
    """Read and unpack a file into memory.

    Args:
        path: a plain file, one in gzip (`.gz`), or a zip (`.zip`).
        members: of a zip: the names of which the first that is there is read, in whatever folder.

    Returns:
        (the content's name for error messages, its bytes, at most 2 GiB).

    Raises:
        UserError: the file cannot be read, is damaged, encrypted, or too large; or a zip does not
            hold a member, or holds one whose path leaves the folder.
    """
    where = str(path)
    with opened(path) as file:
        if path.suffix == ".zip":
            return _read_zip(file, where, members)
        if path.suffix == ".gz":
            return where, _read_gzip(file, where)
        return where, _read_limited(file, where)


def holds(path: Path, members: tuple[str, ...]) -> bool:
    """Return whether a zip holds a member of one of these names, fit to be unpacked or not.

    Raises:
        UserError: it cannot be read or is damaged.
    """
    with opened(path) as file, _unzipped(file, str(path)) as archive:
        return any(_name(member) in members for member in archive.infolist())


def check_member(path: Path, members: tuple[str, ...]) -> None:
    """Refuse a zip that does not hold a member, see `read`."""
    with opened(path) as file, _unzipped(file, str(path)) as archive:
        _member(archive, str(path), members)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file whose content, unless it is a zip, is not over the limit.

    Raises:
        UserError: it is, or cannot be opened.
    """
    try:
        with path.open("rb") as file:
            # Hashing terabytes that `read` refuses anyway would take hours.
            if path.suffix != ".zip" and os.fstat(file.fileno()).st_size > UNPACKED_LIMIT:
                raise _too_large(str(path))
            yield file
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def _damage_reported(where: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    # Damaged bytes make zipfile, gzip and zlib raise almost anything: BadZipFile, zlib.error,
    # EOFError, struct.error, NotImplementedError, UnicodeDecodeError, OSError, and more by version.
    except Exception as error:
        reason = str(error)[:SHOWN_CHARACTERS] or type(error).__name__
        raise UserError(
            f"{where}: cannot be unpacked ({reason}); it is damaged or not what its name says; "
            "download it again"
        ) from error


class _ShortReads:
    """A file for `zipfile`, which else reads a directory of gigabytes in one go.

    It would make an object of half a kilobyte from every 46 bytes of it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:  # -1 is asked for at the file's end only
        if size > DIRECTORY_LIMIT:
            raise ValueError(f"its directory has {size} bytes, more than {DIRECTORY_LIMIT}")
        return self._file.read(size)


@contextmanager
def _unzipped(file: BinaryIO, where: str) -> Iterator[zipfile.ZipFile]:
    with _damage_reported(where), zipfile.ZipFile(_ShortReads(file)) as archive:
        yield archive


def _read_zip(file: BinaryIO, where: str, members: tuple[str, ...]) -> tuple[str, bytearray]:
    """Unpack a member of a zip; one that is packed itself is unpacked too, once."""
    with _unzipped(file, where) as archive:
        member = _member(archive, where, members)
        name, declared = _name(member), member.file_size
        inner = f"{where}:{name}"
        # Padding in a gzip file is skipped byte by byte: a small zip could hold hours of it.
        if name.endswith(".gz") and declared > 2 * file.seek(0, io.SEEK_END) + READ_SIZE:
            raise ValueError(f"{name} has {declared} bytes, more than a zip saves on such a file")
        member.file_size += 1  # zipfile stops there: one byte more shows that there are more
        with archive.open(member) as stream:
            content = _read_limited(stream, inner)
        if len(content) != declared:
            raise ValueError(f"{name} has more or less than the {declared} bytes it declares")
    if name.endswith(".gz"):
        return inner, _read_gzip(io.BytesIO(content), inner)
    if name.endswith(".zip"):
        # Only a plain file is taken from the inner zip: there are zips that hold themselves.
        plain = tuple(name for name in members if not name.endswith((".gz", ".zip")))
        return _read_zip(io.BytesIO(content), inner, plain)
    return inner, content


def _read_gzip(file: BinaryIO, where: str) -> bytearray:
    with _damage_reported(where), gzip.GzipFile(fileobj=file) as stream:
        return _read_limited(stream, where)


def _member(archive: zipfile.ZipFile, where: str, names: tuple[str, ...]) -> zipfile.ZipInfo:
    """Return the first member of these names, refusing what should not be unpacked."""
    for member in archive.infolist():
        name = PureWindowsPath(member.filename)  # knows / and \ and drive letters
        if name.anchor or ".." in name.parts:
            raise UserError(
                f"{where}: holds {member.filename[:SHOWN_CHARACTERS]!r}, a path that leaves the "
                "folder; download the competition's zip again"
            )
    for wanted in names:
        members = [
            member
            for member in archive.infolist()
            if _name(member) == wanted and not member.is_dir()
        ]
        if members:
            break
    else:
        raise UserError(
            f"{where}: expected a member {' or '.join(names)}, found none; download it again"
        )
    if len(members) > 1:
        raise UserError(f"{where}: expected one {wanted}, found {len(members)}; remove the others")
    [member] = members
    if member.flag_bits & 0x1:
        raise UserError(f"{where}: {wanted} is encrypted; unpack it with its password first")
    # Other methods cannot be unpacked piece by piece within a bounded memory.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(
            f"{where}: {wanted} is packed by method {member.compress_type}, expected 0 (stored) "
            "or 8 (deflate); pack it again"
        )
    if member.file_size > UNPACKED_LIMIT:
        raise _too_large(f"{where}:{wanted}")
    return member


def _name(member: zipfile.ZipInfo) -> str:
    return PureWindowsPath(member.filename).name  # some programs write \ between folders


def _read_limited(stream: BinaryIO, where: str) -> bytearray:
    content = bytearray()
    while piece := stream.read(READ_SIZE):
        content += piece
        if len(content) > UNPACKED_LIMIT:
            raise _too_large(where)
    return content


def _too_large(where: str) -> UserError:
    return UserError(
        f"{where}: has more than {UNPACKED_LIMIT} bytes unpacked, far more than the competition's "
        "files; download it again"
    )
