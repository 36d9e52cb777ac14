import numpy as np
import pytest
from folders import FIT_FILES, flip_last_byte, names

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import FORMAT, RunFolder


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


def test_fit_is_written_with_checksums_and_read_back(run):
    run.write_fit("cnn", 0, FIT_FILES, {"digest": "d"})
    folder = run.folder / "fits" / "cnn-fold1"
    assert names(run.fits) == [
        "cnn-fold1",
        "cnn-fold1/fit.json",
        "cnn-fold1/model.keras",
        "cnn-fold1/predictions.npz",
    ]
    facts = run.read_fit("cnn", 0)
    assert facts == {
        "format": FORMAT,
        "digest": "d",
        "checksums": {name: files.checksum(folder / name) for name in FIT_FILES},
    }
    assert run.read_fit_arrays("cnn", 0)["test"].tolist() == [0, 1, 2, 3]
    assert run.read_fit("cnn", 1) is None


@pytest.mark.parametrize("error", [RuntimeError("no net"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_fit_that_cannot_be_written(run, error):
    def fail(path):
        path.write_bytes(b"half")
        raise error

    with pytest.raises(type(error)):
        run.write_fit("cnn", 0, FIT_FILES | {"history.csv": fail}, {})
    assert names(run.fits) == []
    assert run.read_fit("cnn", 0) is None
    run.write_fit("cnn", 0, FIT_FILES, {})
    assert run.read_fit("cnn", 0) is not None


def test_a_fit_takes_the_place_of_remains_without_a_fit_json(run):
    folder = run.fit_folder("cnn", 0)
    folder.mkdir(parents=True)
    (folder / "model.keras").write_bytes(b"of a fit whose fit.json was deleted")
    run.write_fit("cnn", 0, FIT_FILES, {})
    assert (folder / "model.keras").read_bytes() == b"a net"
    assert run.read_fit_arrays("cnn", 0)["test"].tolist() == [0, 1, 2, 3]
    assert [path.name for path in run.fits.iterdir()] == ["cnn-fold1"]


@pytest.mark.parametrize("content", [b"", b'{"identity": {', b"\xff\xfe"])
def test_damaged_fit_json_is_reported(run, content):
    run.write_fit("cnn", 2, FIT_FILES, {})
    path = run.fit_folder("cnn", 2) / "fit.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        run.read_fit("cnn", 2)
    assert str(caught.value).startswith(f"{path}: it cannot be read")
    assert str(caught.value).endswith("repeat the command that made it")
    assert caught.value.path == path


def test_changed_fact_in_fit_json_is_reported(run):
    run.write_fit("cnn", 2, FIT_FILES, {"train_images": 1234})
    assert run.read_fit("cnn", 2)["train_images"] == 1234
    path = run.fit_folder("cnn", 2) / "fit.json"
    path.write_text(path.read_text().replace("1234", "1235"))
    with pytest.raises(files.DamagedError, match=r"fit\.json: its checksum differs"):
        run.read_fit("cnn", 2)


@pytest.mark.parametrize("name", list(FIT_FILES))
@pytest.mark.parametrize("damage", [flip_last_byte, lambda path: path.unlink()])
def test_damaged_file_of_a_fit_is_named(run, name, damage):
    run.write_fit("cnn", 0, FIT_FILES, {})
    path = run.fit_folder("cnn", 0) / name
    damage(path)
    with pytest.raises(UserError) as caught:
        run.read_fit_arrays("cnn", 0)
    reason = "its checksum in fit.json differs" if path.is_file() else "it is missing"
    assert str(caught.value) == f"{path}: {reason}; repeat the command that made it"


def test_state_of_an_unfinished_fit(run):
    assert run.read_state("cnn", 1) is None
    for value in (1.5, 2.5):
        run.write_state("cnn", 1, {"a": np.array([value])})
    assert run.read_state("cnn", 1)["a"].tolist() == [2.5]
    assert run.read_state("cnn", 0) is None
    path = run.fits / "cnn-fold2.state"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(files.DamagedError, match=r"cnn-fold2\.state: its checksum differs"):
        run.read_state("cnn", 1)
    run.remove_state("cnn", 1)
    run.remove_state("cnn", 1)
    assert run.read_state("cnn", 1) is None


def test_names_of_fits(run):
    assert run.fit_name("cnn_2", 9) == "cnn_2-fold10"
    assert run.parse_fit_name("cnn_2-fold10") == ("cnn_2", 9)
    for name in ("cnn", "cnn-fold", "cnn-fold0", "cnn-foldX", "cnn-fold1.state", "a/b-fold1", ""):
        assert run.parse_fit_name(name) is None
    for fit in (("cnn", 9), ("cnn", 1), ("big", 0)):
        run.write_fit(*fit, {}, {})
    run.write_state("cnn", 0, {})
    (run.fits / "notes").mkdir()
    (run.fits / "notes" / "fit.json").write_text("mine")
    assert run.finished_fits() == [("big", 0), ("cnn", 1), ("cnn", 9)]


def test_note_of_diverged_attempts(run):
    assert run.read_failures("cnn", 1) is None
    first, second = ({"attempt": number, "reason": "no\u00efse"} for number in (1, 2))
    run.write_failures("cnn", 1, [first])
    run.write_failures("cnn", 1, [first, second])
    assert run.read_failures("cnn", 1) == [first, second]
    assert run.read_failures("cnn", 0) is None
    assert names(run.fits) == ["cnn-fold2.failed.json"]
    assert run.finished_fits() == []
    flip_last_byte(run.fits / "cnn-fold2.failed.json")
    with pytest.raises(files.DamagedError, match=r"cnn-fold2\.failed.json: its checksum differs"):
        run.read_failures("cnn", 1)
