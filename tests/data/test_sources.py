import gzip
import hashlib
import io
import re
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaggle_digits.data import demo, sources
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


@pytest.fixture
def archive(tmp_path):
    """A function that writes a zip's bytes and reads train from it."""

    def write_and_read(content):
        path = tmp_path / "digit-recognizer.zip"
        path.write_bytes(content)
        return sources.read(find(path), "train")

    return write_and_read


@pytest.mark.parametrize("ending", sources.ENDINGS)
def test_folder_with_plain_or_packed_files(tmp_path, ending):
    source = find(fill(tmp_path / "given", ending))
    assert source.description == str(tmp_path / "given")
    assert_holds_content(source)


def test_folder_prefers_the_plain_file(tmp_path):
    fill(tmp_path)
    (tmp_path / "train.csv.zip").write_bytes(b"not read")
    assert_holds_content(find(tmp_path))


def test_zip_as_kaggle_ships_it(tmp_path):
    path = tmp_path / "other-name.zip"
    path.write_bytes(competition_zip())
    source = find(str(path))
    assert source.description == str(path)
    assert_holds_content(source)
    assert sources.read(source, "train")[0] == f"{path}:train.csv"


@pytest.mark.parametrize(
    "members",
    [
        {
            "train.csv.zip": zipped({"train.csv": CONTENT["train"]}),
            "test.csv.zip": zipped({"test.csv": CONTENT["test"]}),
        },
        {
            "train.csv.gz": gzip.compress(CONTENT["train"]),
            "test.csv.gz": gzip.compress(CONTENT["test"]),
        },
        {
            "digits/train.csv": CONTENT["train"],
            "digits/test.csv": CONTENT["test"],
            "__MACOSX/digits/._train.csv": b"",
        },
    ],
    ids=["zips", "gzips", "subfolder"],
)
def test_zip_with_packed_or_nested_members(tmp_path, members):
    path = tmp_path / "digits.zip"
    path.write_bytes(zipped(members))
    assert_holds_content(find(path))


def test_folder_that_holds_only_the_zip_counts_as_the_zip(tmp_path):
    (tmp_path / "digit-recognizer.zip").write_bytes(competition_zip())
    (tmp_path / "README.md").write_text("put the files here")
    assert_holds_content(find(tmp_path))


def test_order_of_the_search(tmp_path):
    places = [
        tmp_path / "given",
        tmp_path / "from-environment",
        tmp_path / "work" / "data",
        tmp_path / "input" / "competitions" / "digit-recognizer",
        tmp_path / "input" / "digit-recognizer",
    ]
    environ = {"KAGGLE_DIGITS_DATA": str(places[1])}
    for place in reversed(places):
        fill(place)
        source = find(
            str(place) if place == places[0] else None,
            tmp_path,
            environ if place in places[:2] else None,
        )
        assert source.train == place / "train.csv"
        assert source.description == str(place)


@pytest.mark.parametrize("ending", sources.ENDINGS)
def test_other_datasets_in_a_kaggle_kernel_are_named_but_not_taken(tmp_path, ending):
    root = tmp_path / "input"
    fill(root / "a-dataset", parts=["train"])
    fill(root / "c-dataset")
    full_mnist = fill(root / "b-dataset" / "full mnist", ending)
    with pytest.raises(UserError) as caught:
        find(None, tmp_path)
    assert str(caught.value) == (
        f"{root}: expected the competition's train.csv and test.csv, found only another dataset's; "
        "add the competition digit-recognizer to the kernel's inputs, or give --data "
        f"{full_mnist} if that dataset is meant"
    )
    assert_holds_content(find(full_mnist, tmp_path))
    fill(root / "digit-recognizer")
    assert find(None, tmp_path).train == root / "digit-recognizer" / "train.csv"


def test_nothing_found_is_the_demo_data(tmp_path):
    (tmp_path / "work" / "data").mkdir(parents=True)
    (tmp_path / "work" / "data" / "README.md").write_text("put the files here")
    source = find(None, tmp_path, {"KAGGLE_DIGITS_DATA": ""})
    assert source.demo
    assert source.description == "demo data (scikit-learn load_digits)"
    where, content = sources.read(source, "test")
    assert where == "demo data:test.csv"
    assert content == demo.csv_files()["test"]


def test_nothing_found_in_a_kaggle_kernel_is_an_error(tmp_path):
    message = "found neither; add the competition digit-recognizer .*, or give --data$"
    with pytest.raises(UserError, match=message):
        find(None, tmp_path, {"KAGGLE_KERNEL_RUN_TYPE": "Batch"})
    fill(tmp_path / "input" / "a-dataset", parts=["train"])
    with pytest.raises(UserError, match=message):
        find(None, tmp_path)


@pytest.mark.parametrize("setting", ["--data", "KAGGLE_DIGITS_DATA"])
def test_a_path_the_user_named_never_falls_back(tmp_path, setting):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no data")
    (tmp_path / "no-test.zip").write_bytes(competition_zip(test=None))
    fill(tmp_path / "no-train", parts=["test"])
    fill(tmp_path / "no-test", ".csv.gz", parts=["train"])
    for name, message in [
        ("absent", f"{setting} .*absent: expected a folder or a zip .* found no such folder"),
        ("absent.zip", "found no such folder"),
        ("empty", f"{setting} .*empty: expected a folder or a zip .* found neither"),
        ("notes.txt", "found another kind of file"),
        ("no-train", "no-train: expected train and test, found no train.csv, train.csv.gz or"),
        ("no-test", "no-test: expected train and test, found no test.csv"),
        ("no-test.zip", "no-test.zip: expected a member test.csv or test.csv.gz or .* found none"),
        ("x" * 5000, "expected a folder|cannot be searched"),
        ("x\0y", "expected a folder|cannot be searched"),
    ]:
        path = str(tmp_path / name)
        explicit, environ = (path, None) if setting == "--data" else (None, {setting: path})
        with pytest.raises(UserError, match=message):
            find(explicit, tmp_path, environ)


def test_half_a_data_folder_is_an_error(tmp_path):
    fill(tmp_path / "work" / "data", parts=["train"])
    with pytest.raises(UserError, match=r"data: expected train and test, found no test\.csv"):
        find(None, tmp_path)


def test_a_file_that_disappears_is_an_error(tmp_path):
    source = find(fill(tmp_path / "given"))
    source.train.unlink()
    for use in (sources.read, sources.fingerprint):
        with pytest.raises(UserError, match=r"train\.csv: cannot be read: No such file"):
            use(source, "train")


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
    with pytest.raises(UserError, match=r"train\.csv\.zip: expected a member train\.csv, found"):
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
    ("ending", "packed"),
    [(".csv.gz", gzip.compress(bytes(10**7))), (".csv.zip", zipped({"train.csv": bytes(10**7)}))],
)
def test_packed_member_over_the_limit_is_not_read_whole(archive, monkeypatch, ending, packed):
    monkeypatch.setattr(sources, "READ_SIZE", 10**5)
    monkeypatch.setattr(sources, "UNPACKED_LIMIT", 10**6)
    peak, message = peak_memory_of(archive, zipped({f"train{ending}": packed, "test.csv": b"1"}))
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
    monkeypatch.setattr(sources, "READ_SIZE", 10)
    monkeypatch.setattr(sources, "UNPACKED_LIMIT", len(CONTENT["train"]))
    assert sources.read(source, "train")[1] == CONTENT["train"]
    monkeypatch.setattr(sources, "UNPACKED_LIMIT", len(CONTENT["train"]) - 1)
    with pytest.raises(UserError, match=f"has more than {len(CONTENT['train']) - 1} bytes"):
        sources.read(source, "train")
    read = io.BytesIO(CONTENT["train"])
    monkeypatch.setattr(sources, "UNPACKED_LIMIT", 25)
    with pytest.raises(UserError):
        sources._read_limited(read, "train.csv")
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


def test_fingerprint_follows_content_part_and_kind(tmp_path):
    path = tmp_path / "digits.zip"
    path.write_bytes(competition_zip())
    packed = find(path)
    digest = hashlib.blake2b(path.read_bytes()).hexdigest()
    assert sources.fingerprint(packed, "train") == f"train-zip-{digest}"
    assert sources.fingerprint(packed, "test") == f"test-zip-{digest}"
    path.write_bytes(competition_zip(train=b"changed"))
    assert sources.fingerprint(packed, "train") != f"train-zip-{digest}"
    plain = find(fill(tmp_path))
    digest = hashlib.blake2b(CONTENT["train"]).hexdigest()
    assert sources.fingerprint(plain, "train") == f"train-csv-{digest}"
    source = sources.Source(demo.NAME, demo=True)
    digest = hashlib.blake2b(demo.csv_files()["train"]).hexdigest()
    assert sources.fingerprint(source, "train") == f"train-demo-{digest}"


# Test rows alone

TEST_ROWS = {
    "new.csv": CONTENT["test"],
    "new.csv.gz": gzip.compress(CONTENT["test"]),
    "here/test.csv": CONTENT["test"],
    "here/test.csv.gz": gzip.compress(CONTENT["test"]),
    "any.zip": zipped({"test.csv": CONTENT["test"]}),
    "here/digit-recognizer.zip": competition_zip(),
}


@pytest.mark.parametrize("name", TEST_ROWS)
def test_test_rows_alone(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(TEST_ROWS[name])
    given = path.parent if path.parent.name == "here" else path
    source = sources.find_test(given)
    assert (source.description, source.demo, source.train) == (str(given), False, None)
    assert sources.read(source, "test")[1] == CONTENT["test"]


def test_test_rows_of_the_demo_data():
    assert sources.find_test(demo.NAME).demo


@pytest.mark.parametrize("name", ["absent", "", "absent.csv"])
def test_no_test_rows_at_a_path(tmp_path, name):
    with pytest.raises(UserError, match=r"expected a CSV with rows to predict, .* found none"):
        sources.find_test(tmp_path / name)
