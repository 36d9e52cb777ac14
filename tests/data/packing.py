"""What tests of packed files share: files and zips of train and test, and how they are found."""

import gzip
import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from kaggle_digits.data import sources
from kaggle_digits.errors import UserError

CONTENT = {"train": b"the bytes of train\r\n" * 9, "test": b"the bytes of test\n" * 9}
UNCOMPRESSED_SIZE = {b"PK\x03\x04": 22, b"PK\x01\x02": 24}  # its offset in either zip header
FLAGS = {b"PK\x03\x04": 6, b"PK\x01\x02": 8}
CHECKSUM = {b"PK\x03\x04": 14, b"PK\x01\x02": 16}
DIRECTORY_OFFSET = {b"PK\x01\x02": 42}  # where the member's local header lies


def zipped(members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def competition_zip(**changes):
    """The zip that Kaggle ships, with members replaced; None drops one."""
    members = {"sample_submission.csv": b"ImageId,Label\n"}
    members |= {f"{part}.csv": content for part, content in CONTENT.items()}
    members |= {f"{part}.csv": content for part, content in changes.items()}
    return zipped({name: content for name, content in members.items() if content is not None})


def patch_headers(archive, offsets, value):
    """Overwrite one field of every member's local and central header."""
    archive = bytearray(archive)
    for signature, offset in offsets.items():
        start = archive.find(signature)
        while start >= 0:
            archive[start + offset : start + offset + len(value)] = value
            start = archive.find(signature, start + 4)
    return bytes(archive)


def with_directory_of(size):
    """The competition's zip with empty entries, as small as can be, added to its directory."""
    whole = competition_zip()
    start, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    entry = b"PK\x01\x02" + bytes(24) + b"\1\0" + bytes(16) + b"x"
    directory = whole[start:end] + entry * ((size - (end - start)) // len(entry))
    record = whole[end : end + 12] + struct.pack("<LLH", len(directory), start, 0)
    return whole[:start] + directory + record


def peak_memory_of(refused, *arguments):
    """Traced bytes at the peak of a call that must end in the one error."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            refused(*arguments)
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


def fill(folder, ending=".csv", parts=("train", "test")):
    pack = {
        ".csv": lambda part: CONTENT[part],
        ".csv.gz": lambda part: gzip.compress(CONTENT[part]),
        ".csv.zip": lambda part: zipped({f"{part}.csv": CONTENT[part]}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        (folder / f"{part}{ending}").write_bytes(pack[ending](part))
    return folder


def find(path=None, tmp_path=Path("absent"), environ=None):
    """Search with nothing of this machine in reach."""
    return sources.find_source(
        path,
        environ=environ or {},
        working_directory=tmp_path / "work",
        kaggle_root=tmp_path / "input",
    )


def assert_one_line_on(path, error):
    assert str(error).startswith(f"{path}:")
    assert str(error).isprintable()
    assert len(str(error)) < len(str(path)) + 400


def assert_holds_content(source):
    assert not source.demo
    assert sources.read(source, "train")[1] == CONTENT["train"]
    assert sources.read(source, "test")[1] == CONTENT["test"]
