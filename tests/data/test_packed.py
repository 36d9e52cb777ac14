"""What is unpacked, and what is refused: damaged, hostile and oversized files."""

import gzip
import io
import re
import struct
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packing import (
    CHECKSUM,
    CONTENT,
    DIRECTORY_OFFSET,
    FLAGS,
    UNCOMPRESSED_SIZE,
    assert_one_line_on,
    competition_zip,
    fill,
    find,
    patch_headers,
    peak_memory_of,
    with_directory_of,
    zipped,
)

from kaggle_digits.data import packed, sources
from kaggle_digits.errors import UserError


@pytest.fixture
def archive(tmp_path):
    """A function that writes a zip's bytes and reads train from it."""

    def write_and_read(content):
        path = tmp_path / "digit-recognizer.zip"
        path.write_bytes(content)
        return sources.read(find(path), "train")

    return write_and_read


LEAVING = [
    *("../train.csv", "a/../../b.csv", "a/..", "/etc/passwd", "/train.csv"),
    *("..\\b.csv", "a\\..\\..\\b.csv", "\\b.csv", "C:\\b.csv", "C:b.csv", "C:/train.csv"),
    *("//host/share/b.csv", "\\\\host\\share\\b.csv", "\\\\?\\C:\\b.csv"),
]


@pytest.mark.parametrize("name", LEAVING)
def test_zip_with_a_path_that_leaves_the_folder(archive, name):
    members = {"train.csv": b"1", "test.csv": b"1", name: b"1"}
    with pytest.raises(UserError, match=r"zip: holds .*, a path that leaves the folder"):
        archive(zipped(members))
    members = {"train.csv.zip": zipped({"train.csv": b"1", name: b"1"}), "test.csv": b"1"}
    with pytest.raises(
        UserError, match=r"train\.csv\.zip: holds .*, a path that leaves the folder"
    ):
        archive(zipped(members))


def test_long_path_in_a_zip_is_shown_by_its_beginning(archive):
    with pytest.raises(UserError, match="a path that leaves") as caught:
        archive(zipped({"train.csv": b"1", "test.csv": b"1", "../" + "x" * 60_000: b"1"}))
    assert len(str(caught.value)) < 1000


def test_zip_with_a_link(archive, tmp_path):
    (tmp_path / "secret.csv").write_bytes(b"what the link points to")
    link = zipfile.ZipInfo("train.csv")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr(link, str(tmp_path / "secret.csv"))
        target.writestr("test.csv", b"1")
    # Where it points to is all it holds: data's parser refuses that as it does any text.
    assert archive(buffer.getvalue())[1] == str(tmp_path / "secret.csv").encode()


# Encrypted; the same and strongly; strongly alone; patched data.
@pytest.mark.parametrize("flags", [1, 0x41, 0x40, 0x20])
def test_zip_that_is_encrypted(archive, flags):
    message = r"train\.csv is encrypted; unpack it" if flags & 1 else r"cannot be unpacked \("
    with pytest.raises(UserError, match=message):
        archive(patch_headers(competition_zip(), FLAGS, bytes([flags, 0])))
    inner = patch_headers(zipped({"train.csv": b"1"}), FLAGS, bytes([flags, 0]))
    with pytest.raises(UserError, match=rf"train\.csv\.zip: {message}"):
        archive(zipped({"train.csv.zip": inner, "test.csv": b"1"}))


@pytest.mark.parametrize(
    "whole",
    [
        b"before" * 99 + competition_zip(),
        competition_zip() + b"behind" * 99,
        competition_zip()[:-2] + b"\4\0note",
        with_directory_of(200_000),  # 4,000 further members
        zipped({f"digits\\{part}.csv": content for part, content in CONTENT.items()}),
        zipped({f"zahlen-ä/{part}.csv": content for part, content in CONTENT.items()}),
        zipped({f"{part}.csv": content for part, content in CONTENT.items()}, zipfile.ZIP_STORED),
    ],
    ids=["before", "behind", "comment", "many", "backslash", "umlaut", "stored"],
)
def test_unusual_but_sound_zip(archive, whole):
    assert archive(whole)[1] == CONTENT["train"]


def test_zip64(archive, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1)  # beyond it zipfile writes the long form
    whole = competition_zip()
    assert b"PK\x06\x06" in whole
    assert archive(whole)[1] == CONTENT["train"]
    sizes = struct.pack("<HHQ", 1, 24, len(CONTENT["train"]))  # in the directory alone
    assert whole.count(sizes) == 1
    with pytest.raises(UserError, match=r"train\.csv: has more than 2147483648 bytes unpacked"):
        archive(whole.replace(sizes, struct.pack("<HHQ", 1, 24, 2**40)))


def test_zip_whose_members_overlap(archive):
    with pytest.raises(UserError, match="cannot be unpacked"):
        archive(patch_headers(competition_zip(), DIRECTORY_OFFSET, bytes(4)))


@pytest.mark.parametrize("inside", [False, True])
def test_zip_with_an_endless_directory_is_refused_before_it_is_read(archive, inside):
    whole = with_directory_of(5 * 1024**2)
    if inside:
        whole = zipped({"train.csv.zip": whole, "test.csv": b"1"})
    peak, message = peak_memory_of(archive, whole)
    assert re.search(r"\(its directory has 52\d{5} bytes, more than 4194304\)", message)
    # The zip within is unpacked first, like any other content, and copied once.
    assert peak < (16 if inside else 1) * 1024**2


def test_gzip_within_a_zip_that_is_stuffed_with_padding(archive):
    # Sound after RFC 1952, but Python skips the padding byte by byte.
    stuffed = gzip.compress(CONTENT["train"]) + bytes(2 * 1024**2)
    with pytest.raises(UserError, match=r"train\.csv\.gz has \d+ bytes, more than a zip saves"):
        archive(zipped({"train.csv.gz": stuffed, "test.csv": b"1"}))
    assert (
        archive(zipped({"train.csv.gz": stuffed[: 2**19], "test.csv": b"1"}))[1]
        == (CONTENT["train"])
    )


def test_zip_with_two_members_of_one_name(archive):
    members = {"a/train.csv": b"1", "b/train.csv": b"2", "test.csv": b"3"}
    with pytest.raises(UserError, match=r"expected one train\.csv, found 2"):
        archive(zipped(members))


def test_zip_with_a_method_of_unbounded_memory(archive):
    with pytest.raises(UserError, match=r"train\.csv is packed by method 12, expected 0 .* or 8"):
        archive(zipped({"train.csv": b"1", "test.csv": b"1"}, zipfile.ZIP_BZIP2))


def test_zip_in_a_zip_is_unpacked_only_once(archive):
    innermost = zipped({"train.csv": CONTENT["train"]})
    middle = zipped({"train.csv.zip": innermost})
    with pytest.raises(UserError, match=r"train\.csv\.zip: expected a member train\.csv or "):
        archive(zipped({"train.csv.zip": middle, "test.csv": b"1"}))


@pytest.mark.parametrize("excess", [1, 1024**3])
def test_zip_member_declared_over_the_limit(archive, excess):
    declared = (2 * 1024**3 + excess).to_bytes(4, "little")
    message = r"train\.csv: has more than 2147483648 bytes unpacked"
    with pytest.raises(UserError, match=message):
        archive(patch_headers(competition_zip(), UNCOMPRESSED_SIZE, declared))
    inner = patch_headers(zipped({"train.csv": b"1"}), UNCOMPRESSED_SIZE, declared)
    with pytest.raises(UserError, match=rf"train\.csv\.zip:{message}"):
        archive(zipped({"train.csv.zip": inner, "test.csv": b"1"}))


# A checksum of what is declared, or of one byte more, would hide the rest from zipfile.
@pytest.mark.parametrize("checked", [10**7, 1000, 1001])
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_zip_member_larger_than_declared_is_not_read_whole(archive, method, checked):
    whole = zipped({"train.csv": bytes(10**7), "test.csv": b"1"}, method)
    whole = patch_headers(whole, UNCOMPRESSED_SIZE, struct.pack("<L", 1000))
    whole = patch_headers(whole, CHECKSUM, struct.pack("<L", zlib.crc32(bytes(checked))))
    peak, message = peak_memory_of(archive, whole)
    assert "cannot be unpacked" in message
    assert peak < 4 * 1024**2


def test_zip_member_smaller_than_declared(archive):
    whole = patch_headers(competition_zip(), UNCOMPRESSED_SIZE, struct.pack("<L", 10**6))
    with pytest.raises(UserError, match=r"train\.csv has more or less than the 1000000 bytes it"):
        archive(whole)


@pytest.mark.parametrize(
    ("ending", "member"),
    [(".csv.gz", gzip.compress(bytes(10**7))), (".csv.zip", zipped({"train.csv": bytes(10**7)}))],
)
def test_packed_member_over_the_limit_is_not_read_whole(archive, monkeypatch, ending, member):
    monkeypatch.setattr(packed, "READ_SIZE", 10**5)
    monkeypatch.setattr(packed, "UNPACKED_LIMIT", 10**6)
    peak, message = peak_memory_of(archive, zipped({f"train{ending}": member, "test.csv": b"1"}))
    assert re.search(rf"train\{ending}.*: has more than 1000000 bytes unpacked", message)
    assert peak < 3 * 10**6


@pytest.mark.parametrize("use", [sources.fingerprint, sources.read])
def test_file_over_the_limit_is_refused_unread(tmp_path, use):
    source = find(fill(tmp_path))
    with source.train.open("ab") as file:
        file.truncate(2 * 1024**3 + 1)  # takes no room on most disks
    peak, message = peak_memory_of(use, source, "train")
    source.train.unlink()
    assert f"{source.train}: has more than 2147483648 bytes" in message
    assert peak < 10**6


@pytest.mark.parametrize("ending", sources.ENDINGS)
def test_content_over_the_limit_is_not_read_whole(tmp_path, monkeypatch, ending):
    source = find(fill(tmp_path, ending))
    monkeypatch.setattr(packed, "READ_SIZE", 10)
    monkeypatch.setattr(packed, "UNPACKED_LIMIT", len(CONTENT["train"]))
    assert sources.read(source, "train")[1] == CONTENT["train"]
    monkeypatch.setattr(packed, "UNPACKED_LIMIT", len(CONTENT["train"]) - 1)
    with pytest.raises(UserError, match=f"has more than {len(CONTENT['train']) - 1} bytes"):
        sources.read(source, "train")
    read = io.BytesIO(CONTENT["train"])
    monkeypatch.setattr(packed, "UNPACKED_LIMIT", 25)
    with pytest.raises(UserError):
        packed._read_limited(read, "train.csv")
    assert read.tell() == 30  # the third piece is the first beyond the limit


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"label,pixel0\n", bytes(1000)])
def test_a_zip_that_is_none(archive, content):
    with pytest.raises(UserError, match=r"digit-recognizer\.zip: cannot be unpacked"):
        archive(content)


def test_damaged_zip(archive):
    whole = competition_zip()
    flipped = bytearray(whole)
    flipped[whole.find(b"train.csv") + len("train.csv") + 5] ^= 0xFF
    for damaged in (bytes(flipped), whole[:-30], whole[: len(whole) // 2]):
        with pytest.raises(UserError, match=r"cannot be unpacked .* download it again"):
            archive(damaged)


def test_damaged_gzip(tmp_path):
    source = find(fill(tmp_path, ".csv.gz"))
    whole = source.train.read_bytes()
    flipped = bytearray(whole)
    flipped[-6] ^= 1  # its checksum
    for damaged in (b"label\n", whole[:-9], bytes(flipped), whole + b"more"):
        source.train.write_bytes(damaged)
        with pytest.raises(UserError, match=r"train\.csv\.gz: cannot be unpacked"):
            sources.read(source, "train")


@pytest.mark.parametrize("ending", [".csv.gz", ".csv.zip"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_unpack_rightly_or_end_in_the_one_error(tmp_path_factory, ending, data):
    whole = {
        ".csv.gz": gzip.compress(CONTENT["train"]),
        ".csv.zip": zipped({"train.csv": CONTENT["train"]}),
    }[ending]
    changed = bytearray(whole)
    words = st.sampled_from([b"", b"\0", b"\xff" * 2, b"\xff" * 4, b"\xff\xff\xff\x7f", bytes(4)])
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(whole) - 1))
        word = data.draw(words | st.binary(min_size=1, max_size=1))
        changed[position : position + data.draw(st.sampled_from([0, len(word)]))] = word
    source = find(fill(tmp_path_factory.getbasetemp() / f"any{ending}", ending))
    # An empty gzip file is a valid one, of nothing.
    source.train.write_bytes(changed[: data.draw(st.integers(1, len(whole)))])
    try:
        content = sources.read(source, "train")[1]
    except UserError as error:
        assert_one_line_on(source.train, error)
        return
    assert content == CONTENT["train"]


WHOLE = competition_zip()


@settings(max_examples=300, deadline=None)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, 10**9),
            st.sampled_from([b"\0", b"\xff\xff", b"\xff" * 4, b"\xff\xff\xff\x7f", b"..", b"/"])
            | st.binary(min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_zip_is_found_and_read_rightly_or_ends_in_the_one_error(tmp_path_factory, edits):
    path = tmp_path_factory.getbasetemp() / "any.zip"
    changed = bytearray(WHOLE)
    for position, word in edits:
        position %= len(changed)
        changed[position : position + len(word)] = word
    path.write_bytes(changed)
    try:
        source = find(path)
        found = {part: sources.read(source, part)[1] for part in CONTENT}
    except UserError as error:
        assert_one_line_on(path, error)
        return
    assert found == CONTENT
