"""Where train and test come from: a folder, a zip, a Kaggle mount, the demo data, other data sets.

The very first step of the flow: `find_source` picks the place, `fingerprint` names the content of a
CSV for a cache, and `read` hands its unpacked bytes to `digits_csv`, which checks and parses them.
What is no CSV is read by `other_formats`.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kaggle_digits.data import demo, keras_mnist, other_formats, packed
from kaggle_digits.data.competition import SLUG
from kaggle_digits.errors import UserError

PARTS = ("train", "test")
ENDINGS = (".csv", ".csv.gz", ".csv.zip")  # in order of preference
# What the files of MNIST in CSV are called; they are taken only from a path that people name.
MNIST_PREFIX = "mnist_"
COMPETITION_ZIP = f"{SLUG}.zip"
KAGGLE_ROOT = Path("/kaggle/input")  # where a Kaggle kernel mounts its inputs


@dataclass(frozen=True)
class Source:
    """Where train and test come from.

    Attributes:
        description: for people: the path as given, or the name of the demo data or of MNIST.
        demo: whether this is the embedded demo data, which is not for upload.
        train: the file that holds train.csv, possibly packed, or a file or folder of another
            format; None for the demo data and where there are no rows to learn from.
        test: the same of test.csv (the same zip as `train`, or a file of its own).
        format: of `other_formats`; None: CSV.
    """

    description: str
    demo: bool
    train: Path | None = None
    test: Path | None = None
    format: other_formats.Format | None = None

    def path(self, part: str) -> Path | None:
        """Return the file or folder that holds "train" or "test"."""
        return {"train": self.train, "test": self.test}[part]

    def name(self, part: str) -> str:
        """Return what people call "train" or "test": train.csv of a CSV, whatever its file is."""
        return f"{part}.csv" if self.format is None else part

    @property
    def labels_place(self) -> str:
        """Where the labels of "train" are, for error messages."""
        if self.format is not None:
            return f"{self.description}: labels of train"
        is_csv = self.train is not None and ".csv" in self.train.name  # not a zip that has one
        return f"{self.description}: {self.train.name if is_csv else 'train.csv'}, column label"

    @property
    def not_for_upload(self) -> str | None:
        """Why a submission of it must not be uploaded, as far as that is known unread."""
        if self.demo:
            return demo.NOT_FOR_UPLOAD
        return self.format and other_formats.NOT_FOR_UPLOAD[self.format]


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
        path: a folder, or a zip as Kaggle ships it, or another data set, or the name of MNIST or
            of the demo data; None to search.
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
        path: a CSV of any name, also gzipped; or what `find_source` takes, which may hold only one
            set of rows.

    Returns:
        A source of "test" alone. The file is not parsed yet.

    Raises:
        UserError: there is nothing of the kind at the path.
    """
    source = find_rows(path)
    if source.demo:
        return source
    test = source.test or source.train
    return replace(source, description=str(path), train=None, test=test)


def find_rows(path: str | Path) -> Source:
    """Find rows of which nothing is asked: to learn from, to predict, or both.

    Args:
        path: see `find_test`.

    Returns:
        A source with at least one of "train" and "test"; a CSV of any name is "test".

    Raises:
        UserError: there is nothing of the kind at the path.
    """
    with _search_errors_reported(path):
        location = Path(path).expanduser()
        source = _at(location, str(path))
        if source is None and location.is_file():
            source = Source(str(path), demo=False, test=location)
    if source is None:
        found = "nothing of the kind in it" if location.is_dir() else "no such file"
        raise UserError(
            f"{path}: expected a CSV with rows to predict, or a folder, a zip or a NumPy file with "
            f"some, found {found}; correct the path"
        )
    return source


def is_demo(path: str | Path) -> bool:
    """Return whether a path is the name under which a run has noted the demo data."""
    return str(path) == demo.NAME


def is_name(path: str | Path) -> bool:
    """Return whether a path is no place but the name of the demo data or of MNIST."""
    return is_demo(path) or (str(path) == keras_mnist.NAME and not Path(path).exists())


def is_here(path: str | Path) -> bool:
    """Return whether there is something at a place, or by a name, without any download."""
    if is_name(path):
        return is_demo(path) or keras_mnist.cached_file().is_file()
    return Path(path).exists()


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
    path = source.path(part)
    with packed.opened(path) as file:
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
    members = _member_names(part)
    if part == "test" and source.train is None:  # the rows to learn from may be all there is
        members += _member_names("train")
    return packed.read(source.path(part), members)


def _given(path: str | Path, setting: str) -> Source:
    """Return the source at a path the user named; anything amiss there is an error."""
    with _search_errors_reported(path):
        location = Path(path).expanduser()
        source = _at(location, str(path))
    if source is not None:
        return _complete(source)
    found, advice = "no such folder", "correct the path"
    if location.is_dir():
        found, advice = "neither", "kaggle-digits data fetch downloads them"
    elif any(part_file(location.parent, part) == location for part in PARTS):
        found, advice = "one of the two", f"give their folder, {location.parent}"
    elif location.is_file():
        found = "another kind of file"
    raise UserError(
        f"{setting} {path}".lstrip() + ": expected a folder or a zip with train.csv and test.csv, "
        f"found {found}; {advice} (what else is taken: data/README.md)"
    )


def _at(location: Path, description: str) -> Source | None:
    """Return the source at a place, which may hold only one part; None: it is none."""
    if is_demo(description):
        return Source(demo.NAME, demo=True)
    if is_name(description):
        file = keras_mnist.find()
        return Source(keras_mnist.NAME, demo=False, train=file, test=file, format="mnist")
    if location.is_file() and location.suffix == ".zip":
        return _in_zip(location, description)
    if found := _in_folder(location, description, ("", MNIST_PREFIX)):
        return found
    if other := other_formats.find(location):
        format, train, test = other
        return Source(description, demo=False, train=train, test=test, format=format)
    return None


def _complete(source: Source) -> Source:
    """Return a source that has both parts; anything else is an error."""
    missing = [part for part in PARTS if source.path(part) is None]
    if source.demo or not missing:
        return source
    [name] = missing
    expected, there = f"{source.description}: expected train and test", source.train or source.test
    if there.suffix == ".zip":
        packed.check_member(there, _member_names(name))
    if source.format is None:
        raise UserError(
            f"{expected}, found no {name}.csv, {name}.csv.gz or {name}.csv.zip; kaggle-digits data "
            "fetch downloads it"
        )
    layout = other_formats.LAYOUTS[source.format]
    raise UserError(
        f"{expected}, found no {name} part; {layout}; kaggle-digits evaluate takes labelled rows "
        "alone"
    )


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
        found = _in_folder(folder, description or str(folder), ("",))
    return found and _complete(found)


def _in_folder(folder: Path, description: str, prefixes: tuple[str, ...]) -> Source | None:
    """Return the CSVs in a folder, of which one may be missing; None: both are."""
    train, test = (part_file(folder, part, prefixes) for part in PARTS)
    if train or test:
        return Source(description, demo=False, train=train, test=test)
    whole = folder / COMPETITION_ZIP
    return _in_zip(whole, str(whole)) if whole.is_file() else None


@contextmanager
def _search_errors_reported(where: str | Path) -> Iterator[None]:
    try:
        yield
    # No permission to look, a name too long, no such ~user, a NUL in the path.
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{where}: cannot be searched for train.csv and test.csv: {error}"
        ) from error


def part_file(folder: Path, part: str, prefixes: tuple[str, ...] = ("",)) -> Path | None:
    """Return the file in a folder that holds "train" or "test", packed or not; None: none does.

    Args:
        folder: is searched, but no folder in it.
        part: "train" or "test".
        prefixes: of the file's name, in order of preference.
    """
    candidates = (folder / name for name in _file_names(part, prefixes))
    return next((path for path in candidates if path.is_file()), None)


def _file_names(part: str, prefixes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{prefix}{part}{ending}" for prefix in prefixes for ending in ENDINGS)


def _member_names(part: str) -> tuple[str, ...]:
    return _file_names(part, ("", MNIST_PREFIX))


def _in_zip(path: Path, description: str) -> Source:
    """Return what a zip holds, which may be only one part."""
    parts = [part for part in PARTS if packed.holds(path, _member_names(part))]
    for part in parts or PARTS:  # refuses what cannot be unpacked, or says what is missing
        packed.check_member(path, _member_names(part))
    train, test = (path if part in parts else None for part in PARTS)
    return Source(description, demo=False, train=train, test=test)
