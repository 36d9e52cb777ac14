import hashlib
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from kaggle_digits.cli import app
from kaggle_digits.data import demo
from kaggle_digits.errors import UserError
from kaggle_digits.report import samples

DEMO = demo.csv_files()


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Run `kaggle-digits data` in an empty folder; return what it printed."""
    for name in ("KAGGLE_DIGITS_DATA", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_DIGITS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")

    def call(*words):
        done = CliRunner().invoke(app, ["data", *map(str, words)])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0
        assert done.stderr == ""
        return done.stdout

    return call


@pytest.fixture
def demo_folder(tmp_path):
    """Return a folder with the demo data's files."""
    folder = tmp_path / "files"
    folder.mkdir()
    for part, content in DEMO.items():
        (folder / f"{part}.csv").write_bytes(content)
    return folder


def test_without_a_command_it_helps(data):
    assert data() == data("--help")
    assert all(word in data() for word in ("fetch", "check", "describe"))


@pytest.mark.parametrize("command", ["check", "describe"])
def test_without_files_it_is_the_demo_data_as_in_a_run(data, command):
    shown = data(command)
    assert "reading demo data (scikit-learn load_digits)" in shown
    assert "DEMO DATA" in shown


@pytest.mark.parametrize("command", ["check", "describe"])
def test_files_are_found_where_run_finds_them(data, command, demo_folder, tmp_path):
    demo_folder.rename(tmp_path / "home" / "data")
    shown = data(command)
    assert shown.startswith("reading data\n")
    assert "1,400" in shown
    assert "NOT FOR UPLOAD" in shown


def test_given_files_are_checked(data, demo_folder):
    shown = data("check", demo_folder)
    assert f"Data in {demo_folder}\n" in shown
    assert "train.csv       1,400 rows, a label and 784 pixels each; not the competition's" in shown
    assert "no row of test.csv is also in train.csv" in shown


def test_a_bad_cell_is_refused(data, demo_folder):
    lines = DEMO["train"].split(b"\r\n")
    lines[16] = lines[16].replace(b",0,", b",0.5,", 1)
    (demo_folder / "train.csv").write_bytes(b"\r\n".join(lines))
    with pytest.raises(UserError, match=r'train.csv line 17, column pixel0: .* found "0.5"'):
        data("check", demo_folder)


def test_a_class_without_rows_is_refused(data, demo_folder):
    header, *rows = DEMO["train"].splitlines()
    sevens = [row for row in rows if row.startswith(b"7,")]
    others = [row for row in rows if not row.startswith(b"7,")]
    (demo_folder / "train.csv").write_bytes(b"\n".join([header, *others, sevens[0]]))
    with pytest.raises(UserError, match=r"at least 2 rows of each class, .* found 1 of class 7"):
        data("check", demo_folder)


def test_leaks_are_refused_as_in_a_run(data, demo_folder):
    (demo_folder / "test.csv").write_bytes(DEMO["train"])
    with pytest.raises(UserError, match=r"also in the training rows .*, found 1,400"):
        data("check", demo_folder)
    assert "1,400 of the 1,400 rows of test.csv also in" in data(
        "check", demo_folder, "--allow-leak"
    )
    assert "LEAK" in data("describe", demo_folder)


def test_an_argument_is_named_without_an_option(data):
    with pytest.raises(UserError) as refused:
        data("check", "absent")
    assert str(refused.value).startswith("absent: expected a folder or a zip")
    with pytest.raises(UserError, match="expected a path, found nothing"):
        data("check", "")


def test_json_is_all_that_is_printed(data, demo_folder):
    values = json.loads(data("describe", demo_folder, "--json"))
    assert values["source"] == str(demo_folder)
    assert values["train"]["rows"] == 1_400
    assert values["test"]["blake2b"] == hashlib.blake2b(DEMO["test"]).hexdigest()
    labels = [int(line[:1]) for line in DEMO["train"].splitlines()[1:]]
    assert values["train"]["class_counts"] == np.bincount(labels).tolist()
    assert (values["leaked_rows"], values["demo"]) == (0, False)


def test_picture_is_drawn_only_if_asked_for(data, tmp_path, monkeypatch):
    assert "kaggle-digits data describe --picture samples.png" in data("describe")
    assert list((tmp_path / "home").iterdir()) == []
    assert "new/samples.png: digits of each class" in data(
        "describe", "--picture", "new/samples.png"
    )
    picture = tmp_path / "home" / "new" / "samples.png"
    before = picture.read_bytes()
    assert before.startswith(b"\x89PNG")
    data("describe", "--picture", picture)  # once more
    assert picture.read_bytes() == before
    monkeypatch.setattr(samples, "SAMPLES", 3)
    with pytest.raises(UserError, match=r"--picture .*samples.png: this file is there already"):
        data("describe", "--picture", picture)
    assert picture.read_bytes() == before


def test_picture_has_a_picture_s_name(data, tmp_path):
    with pytest.raises(UserError, match=r"--picture notes.txt: expected a file that ends in .png"):
        data("describe", "--picture", "notes.txt")
    (tmp_path / "home" / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"folder.png: this file is there already"):
        data("describe", "--picture", "folder.png")
