"""Where the bytes of train and test come from: a folder, a zip, a Kaggle mount, the demo data.

The very first step of the flow: `find_source` picks the place, `fingerprint` names its content for
a cache, and `read` hands the unpacked bytes to `digits_csv`, which checks and parses them.
"""

import gzip
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from kaggle_digits.data import demo
from kaggle_digits.data.competition import SLUG
from kaggle_digits.errors import UserError

PARTS = ("train", "test")
ENDINGS = (".csv", ".csv.gz", ".csv.zip")  # in order of preference
COMPETITION_ZIP = f"{SLUG}.zip"
KAGGLE_ROOT = Path("/kaggle/input")  # where a Kaggle kernel mounts its inputs
UNPACKED_LIMIT = 2 * 1024**3  # bytes; the real train.csv has 77 MB
READ_SIZE = 1024**2  # bytes
DIRECTORY_LIMIT = 4 * 1024**2  # bytes; enough for some 50,000 members of a zip
SHOWN_CHARACTERS = 200  # of a member's path or of zipfile's words, in an error message


@dataclass(frozen=True)
class Source:
    """Where train and test come from.

    Attributes:
        description: for people: the path as given, or the demo data's name.
        demo: whether this is the embedded demo data, which is not for upload.
        train: the file that holds train.csv, possibly packed; None for the demo data.
        test: the file that holds test.csv, possibly packed (the same zip as `train`, or a file
            of its own); None for the demo data.
    """

    description: str
    demo: bool
    train: Path | None = None
    test: Path | None = None


def find_source(
    path: str | Path | None,
    *,
    setting: str = "--data",
    environ: Mapping[str, str] = os.environ,
    working_directory: Path | None = None,
    kaggle_root: Path = KAGGLE_ROOT,
) -> Source:
    """Find the competition's files, or fall back to the demo data.

    The order: `path`, `KAGGLE_DIGITS_DATA`, `data/`, the two folders where Kaggle mounts the
    competition, and, outside a Kaggle kernel, the demo data. Whatever else a kernel has mounted is
    taken only as `path`: a train.csv and a test.csv may be of any dataset, full MNIST for one.

    Args:
        path: a folder, or a zip as Kaggle ships it, or the demo data's name; None to search.
        setting: the option that gives `path`, for error messages; "" where it is an argument.
        environ: environment variables.
        working_directory: the folder that holds `data/`; None for the current one.
        kaggle_root: where a Kaggle kernel mounts its inputs.

    Returns:
        The first source found. The files themselves are not parsed yet.

    Raises:
        UserError: a given path does not exist or has no train or test; a searched folder holds
            only one of the two; or the competition is not mounted in a Kaggle kernel.
    """
    if path is not None:
        if is_demo(path):
            return Source(demo.NAME, demo=True)
        return _given(path, setting)
    if environ.get("KAGGLE_DIGITS_DATA"):
        return _given(environ["KAGGLE_DIGITS_DATA"], "KAGGLE_DIGITS_DATA")
    found = in_folder((working_directory or Path()) / "data") or mounted(kaggle_root)
    if found:
        return found
    if kaggle_root.exists() or "KAGGLE_KERNEL_RUN_TYPE" in environ:
        raise _not_mounted(kaggle_root)
    return Source(demo.NAME, demo=True)


def mounted(kaggle_root: Path = KAGGLE_ROOT) -> Source | None:
    """Return the competition's files as a Kaggle kernel has them, None where it has not."""
    return in_folder(kaggle_root / "competitions" / SLUG) or in_folder(kaggle_root / SLUG)


def find_test(path: str | Path) -> Source:
    """Find rows to predict, without any to learn from.

    Args:
        path: a CSV of any name, also gzipped; a folder or a zip with test.csv, as `find_source`
            takes it; or the demo data's name.

    Returns:
        A source of "test" alone. The file is not parsed yet.

    Raises:
        UserError: there is nothing of the kind at the path.
    """
    if is_demo(path):
        return Source(demo.NAME, demo=True)
    with _search_errors_reported(path):
        location = Path(path).expanduser()
        packed = location / COMPETITION_ZIP
        found = location if location.is_file() else part_file(location, "test")
        if found is None and not packed.is_file():
            raise UserError(
                f"{path}: expected a CSV with rows to predict, or a folder or a zip with test.csv, "
                "found none; correct the path"
            )
    return Source(str(path), demo=False, test=found or packed)


def is_demo(path: str | Path) -> bool:
    """Return whether a path is the name under which a run has noted the demo data."""
    return str(path) == demo.NAME


def fingerprint(source: Source, part: str) -> str:
    """Name the content of one file without unpacking it.

    Args:
        source: where the files come from.
        part: "train" or "test".

    Returns:
        Letters, digits and hyphens: the kind of file, and the BLAKE2b hex digest of the bytes as
        they are on disk. It also changes with `part`, since one zip may hold both.

    Raises:
        UserError: the file cannot be read, or is a plain or gzipped one over 2 GiB.
    """
    if source.demo:
        return f"{part}-demo-{hashlib.blake2b(demo.csv_files()[part]).hexdigest()}"
    path = _path(source, part)
    with _opened(path) as file:
        digest = hashlib.file_digest(file, hashlib.blake2b).hexdigest()
    return f"{part}-{path.suffix.lstrip('.')}-{digest}"


def read(source: Source, part: str) -> tuple[str, bytes | bytearray]:
    """Read and unpack one file into memory.

    Args:
        source: where the files come from.
        part: "train" or "test".

    Returns:
        (the file's name for error messages, its unpacked bytes, at most 2 GiB).

    Raises:
        UserError: the file cannot be read, is damaged, encrypted, or too large; or a zip does not
            hold it, or holds a member whose path leaves the folder.
    """
    if source.demo:
        return f"demo data:{part}.csv", demo.csv_files()[part]
    path = _path(source, part)
    where = str(path)
    with _opened(path) as file:
        if path.suffix == ".zip":
            return _read_zip(file, where, part, ENDINGS)
        if path.suffix == ".gz":
            return where, _read_gzip(file, where)
        return where, _read_limited(file, where)


def _given(path: str | Path, setting: str) -> Source:
    """Return the source at a path the user named; anything amiss there is an error."""
    expected = (
        f"{setting} {path}".lstrip() + ": expected a folder or a zip with train.csv and test.csv"
    )
    with _search_errors_reported(path):
        location = Path(path).expanduser()
        if location.is_file() and location.suffix == ".zip":
            return _in_zip(location, str(path))
        if not location.is_dir():
            found = "another kind of file" if location.is_file() else "no such folder"
            raise UserError(f"{expected}, found {found}; correct the path")
    source = in_folder(location, str(path))
    if source is None:
        raise UserError(f"{expected}, found neither; kaggle-digits data fetch downloads them")
    return source


def _not_mounted(kaggle_root: Path) -> UserError:
    folders = sorted({path.parent for path in kaggle_root.rglob("train.csv*")})
    others = (folder for folder in folders if all(part_file(folder, part) for part in PARTS))
    other = next(others, None)
    found = "neither" if other is None else "only another dataset's"
    choice = "--data" if other is None else f"--data {other} if that dataset is meant"
    return UserError(
        f"{kaggle_root}: expected the competition's train.csv and test.csv, found {found}; "
        f"add the competition digit-recognizer to the kernel's inputs, or give {choice}"
    )


def in_folder(folder: Path, description: str | None = None) -> Source | None:
    """Return the source in a folder, or None where it holds neither train nor test.

    Args:
        folder: is searched, but no folder in it.
        description: for people; None: its path.

    Raises:
        UserError: it holds only one of the two, or cannot be searched.
    """
    with _search_errors_reported(folder):
        train, test = (part_file(folder, part) for part in PARTS)
        if train and test:
            return Source(description or str(folder), demo=False, train=train, test=test)
        if train or test:
            missing = "test" if train else "train"
            raise UserError(
                f"{description or folder}: expected train and test, found no {missing}.csv, "
                f"{missing}.csv.gz or {missing}.csv.zip; kaggle-digits data fetch downloads it"
            )
        packed = folder / COMPETITION_ZIP
        return _in_zip(packed, str(packed)) if packed.is_file() else None


@contextmanager
def _search_errors_reported(where: str | Path) -> Iterator[None]:
    try:
        yield
    # No permission to look, a name too long, no such ~user, a NUL in the path.
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{where}: cannot be searched for train.csv and test.csv: {error}"
        ) from error


def part_file(folder: Path, part: str) -> Path | None:
    """Return the file in a folder that holds "train" or "test", packed or not; None: none does."""
    candidates = (folder / f"{part}{ending}" for ending in ENDINGS)
    return next((path for path in candidates if path.is_file()), None)


def _in_zip(path: Path, description: str) -> Source:
    with _opened(path) as file, _unzipped(file, str(path)) as archive:
        for part in PARTS:
            _member(archive, str(path), part, ENDINGS)
    return Source(description, demo=False, train=path, test=path)


def _path(source: Source, part: str) -> Path:
    return {"train": source.train, "test": source.test}[part]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
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


def _read_zip(
    file: BinaryIO, where: str, part: str, endings: tuple[str, ...]
) -> tuple[str, bytearray]:
    """Unpack `part` from a zip; a member that is packed itself is unpacked too, once."""
    with _unzipped(file, where) as archive:
        member = _member(archive, where, part, endings)
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
        # Only a plain CSV is taken from the inner zip: there are zips that hold themselves.
        return _read_zip(io.BytesIO(content), inner, part, (".csv",))
    return inner, content


def _read_gzip(file: BinaryIO, where: str) -> bytearray:
    with _damage_reported(where), gzip.GzipFile(fileobj=file) as stream:
        return _read_limited(stream, where)


def _member(
    archive: zipfile.ZipFile, where: str, part: str, endings: tuple[str, ...]
) -> zipfile.ZipInfo:
    """Return the one member that holds `part`, refusing what should not be unpacked."""
    for member in archive.infolist():
        name = PureWindowsPath(member.filename)  # knows / and \ and drive letters
        if name.anchor or ".." in name.parts:
            raise UserError(
                f"{where}: holds {member.filename[:SHOWN_CHARACTERS]!r}, a path that leaves the "
                "folder; download the competition's zip again"
            )
    for ending in endings:
        wanted = f"{part}{ending}"
        members = [
            member
            for member in archive.infolist()
            if _name(member) == wanted and not member.is_dir()
        ]
        if members:
            break
    else:
        names = " or ".join(f"{part}{ending}" for ending in endings)
        raise UserError(f"{where}: expected a member {names}, found none; download it again")
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
