import gzip
import hashlib

import numpy as np
import pytest
from drawn import images, write
from packing import CONTENT, assert_holds_content, competition_zip, fill, find, zipped

from kaggle_digits.data import demo, sources
from kaggle_digits.errors import UserError


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


def test_rows_to_predict_may_be_those_of_a_zip_with_train_alone(tmp_path):
    path = tmp_path / "digits.zip"
    path.write_bytes(zipped({"train.csv": CONTENT["train"]}))
    assert sources.read(sources.find_test(path), "test") == (f"{path}:train.csv", CONTENT["train"])
    path.write_bytes(competition_zip())
    assert sources.read(sources.find_test(path), "test") == (f"{path}:test.csv", CONTENT["test"])


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
        ("no-train/test.csv", "test.csv: .* found one of the two; give their folder, .*no-train"),
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
    with pytest.raises(UserError, match=r"expected a CSV with rows to predict, .* found no"):
        sources.find_test(tmp_path / name)


def test_rows_of_which_nothing_is_asked(tmp_path):
    path = tmp_path / "labelled.csv"
    path.write_bytes(CONTENT["test"])
    source = sources.find_rows(path)
    assert (source.train, source.test, source.format) == (None, path, None)
    folder = fill(tmp_path / "half", parts=["train"])
    assert sources.find_rows(folder).path("train") == folder / "train.csv"
    assert sources.find_rows(folder).path("test") is None
    with pytest.raises(UserError, match="found no such file; correct the path"):
        sources.find_rows(tmp_path / "absent")


# Other data sets


@pytest.mark.parametrize("ending", sources.ENDINGS)
def test_mnist_in_csv_is_taken_where_it_is_named(tmp_path, ending):
    fill(tmp_path / "work" / "data", ending)
    for part in ("train", "test"):
        path = tmp_path / "work" / "data" / f"{part}{ending}"
        path.rename(path.with_name(f"mnist_{path.name}"))
    source = find(tmp_path / "work" / "data")
    assert source.train.name == f"mnist_train{ending}"
    assert source.name("train") == "train.csv"
    if ending != ".csv.zip":  # whose member is called train.csv still
        assert_holds_content(source)
    assert find(None, tmp_path).demo


def test_mnist_in_a_zip(tmp_path):
    path = tmp_path / "archive.zip"
    path.write_bytes(zipped({f"mnist_{part}.csv": CONTENT[part] for part in CONTENT}))
    assert_holds_content(find(path))
    path.write_bytes(zipped({"mnist_train.csv": b"1"}))
    with pytest.raises(UserError, match=r"expected a member test\.csv or .* or mnist_test\.csv"):
        find(path)


def test_kaggles_names_go_before_those_of_mnist(tmp_path):
    (tmp_path / "mnist_train.csv").write_bytes(b"not read")
    assert_holds_content(find(fill(tmp_path)))


def test_mnist_of_keras(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "datasets" / "mnist.npz"
    file.parent.mkdir()
    file.write_bytes(b"digits")
    for source in (find("mnist"), find(None, environ={"KAGGLE_DIGITS_DATA": "mnist"})):
        assert (source.description, source.train, source.test) == ("mnist", file, file)
        assert source.not_for_upload == "trained on MNIST, whose images are the competition's"
    assert sources.is_name("mnist")
    # A folder of that name is one.
    assert_holds_content(find(fill(tmp_path / "mnist").relative_to(tmp_path)))
    assert not sources.is_name("mnist")


def test_a_folder_of_images(tmp_path):
    for name in ("train/1", "test/1"):
        write(tmp_path / name / "a.png", images(1)[0])
    source = find(tmp_path)
    assert (source.train, source.test) == (tmp_path / "train", tmp_path / "test")
    assert (source.format, source.name("test"), source.demo) == ("images", "test", False)
    assert source.not_for_upload.startswith("trained on image files")
    assert find(fill(tmp_path)).format is None  # CSVs go first


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_source_with_one_part_says_what_to_add(tmp_path, missing):
    there = {"train": "test", "test": "train"}[missing]
    write(tmp_path / there / "1" / "a.png", images(1)[0])
    with pytest.raises(UserError) as caught:
        find(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: expected train and test, found no {missing} part; a folder of images needs "
        "train/0 to train/9, and test/0 to test/9 or test/*.png; kaggle-digits evaluate takes "
        "labelled rows alone"
    )
    assert sources.find_rows(tmp_path).path(there) == tmp_path / there
    assert sources.find_test(tmp_path).test == tmp_path / there


def test_a_numpy_file(tmp_path):
    path = tmp_path / "digits.npz"
    np.savez(path, x_train=images(1), y_train=[1], x_test=images(1, first=1))
    source = find(path)
    assert (source.format, source.train, source.test) == ("numpy", path, path)
    np.savez(path, images=images(1), labels=[1])
    with pytest.raises(UserError, match="found no test part; a NumPy file needs x_train, y_train"):
        find(path)
