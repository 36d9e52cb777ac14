import numpy as np
import pytest
from folders import FIT_FILES, flip_last_byte, names

from kaggle_digits.storage import files, run_copies
from kaggle_digits.storage.run_copies import holds_all_of
from kaggle_digits.storage.run_folder import FORMAT, RunFolder


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


def write_run(folder, fits=2):
    """Write a small run with finished fits and a state of the next one; return its folder."""
    run = RunFolder(folder)
    with run.locked():
        for fold in range(fits):
            run.write_fit("cnn", fold, FIT_FILES, {})
        run.write_state("cnn", fits, {"epoch": np.array(fits)})
        for path in (run.config, run.submission):
            path.write_bytes(b"content")
        files.write_json(run.manifest, run.stamp | {"artefacts": run.checksums()})
    return run


def test_a_copy_can_be_written_to_and_is_nobodys(run, tmp_path):
    run = write_run(run.folder)
    for path in (run.folder, *run.folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with RunFolder(tmp_path / "other").locked():
        pass
    copy = RunFolder(tmp_path / "new" / "copy")
    run_copies.copy_run(run, copy.folder)
    assert names(copy.folder) == [n for n in names(run.folder) if n not in (".lock", ".owner")]
    assert copy.checksums() == run.checksums()
    assert all(path.stat().st_mode & 0o200 for path in copy.folder.rglob("*"))
    assert names(tmp_path / "new") == ["copy", *(f"copy/{name}" for name in names(copy.folder))]


def test_what_no_run_has_made_is_copied_into_another_run(run, tmp_path):
    run = write_run(run.folder)
    run.submitted.write_bytes(b"new")
    (run.folder / "notes").mkdir()
    (run.folder / "notes" / "one.md").write_bytes(b"mine")
    (run.folder / "link").symlink_to("notes")
    other = write_run(tmp_path / "other", fits=1)
    for each in (run, other):  # reports and evaluations are of the nets in their folder
        record = each.folder / "evaluation-mnist" / "evaluation.json"
        files.write_json(record, {"format": 1, "out_of_fold": False, "run": each.folder.name})
        for path in (each.report, each.pictures / "learning_curves.png"):
            files.write_bytes(path, each.folder.name.encode())
    (run.folder / "evaluation-mnist").rename(run.folder / "evaluation-mine")
    other.submitted.write_bytes(b"old")
    other.submission.unlink()
    before = names(other.folder)
    run_copies.copy_others(run, other)
    assert names(other.folder) == sorted([*before, "notes", "notes/one.md", "link"])
    assert other.submitted.read_bytes() == b"new"
    assert other.report.read_bytes() == b"other"
    assert (other.folder / "link").is_symlink()


def test_runs_are_found_at_any_depth(tmp_path):
    for place in ("a/b/c/run", "d"):
        write_run(tmp_path / place)
    (tmp_path / "d" / ".kaggle-digits").unlink()  # the manifest says what the folder is
    (tmp_path / "other").mkdir()
    files.write_json(tmp_path / "other" / "manifest.json", {"kind": "parcel", "format": 1})
    newer = write_run(tmp_path / "newer")
    files.write_json(newer.folder / ".kaggle-digits", {"kind": "run", "format": FORMAT + 1})
    found = [each.folder for each in run_copies.find_runs(tmp_path)]
    assert found == [tmp_path / "a/b/c/run", tmp_path / "d"]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda run: None, []),
        (lambda run: run.remove_state("cnn", 2), []),
        (lambda run: run.submission.unlink(), ["submission.csv"]),
        (lambda run: run.remove_fit("cnn", 1), ["fits/cnn-fold2"]),
        (lambda run: flip_last_byte(run.model_path("cnn", 0)), ["fits/cnn-fold1"]),
        (lambda run: (run.fit_folder("cnn", 0) / "fit.json").unlink(), ["fits/cnn-fold1"]),
        (lambda run: run.manifest.write_text("{"), ["manifest.json"]),
    ],
)
def test_damaged_files_are_named(run, damage, expected):
    run = write_run(run.folder)
    damage(run)
    assert run_copies.damaged_files(run) == expected


def test_which_of_two_holds_all_of_the_other(tmp_path):
    early, late = write_run(tmp_path / "early", 1), write_run(tmp_path / "late", 2)
    assert holds_all_of(late, early)  # its unfinished fit is finished
    assert not holds_all_of(early, late)
    assert holds_all_of(late, late)
    assert holds_all_of(late, RunFolder(tmp_path / "empty"))
    other = write_run(tmp_path / "other", 1)
    other.write_fit("cnn", 0, FIT_FILES | {"history.csv": lambda path: path.write_text("x")}, {})
    assert not holds_all_of(late, other)
    flip_last_byte(other.fit_folder("cnn", 0) / "fit.json")
    assert holds_all_of(late, other)  # what is damaged is nothing
    late.write_state("cnn", 2, {"epoch": np.array(9)})
    assert not holds_all_of(write_run(tmp_path / "late-2", 2), late)


def test_fit_under_another_name(tmp_path):
    one, other = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "other")
    one.write_fit("cnn", 1, FIT_FILES, {"digest": "aa"})
    run_copies.copy_fit(one, ("cnn", 1), other, "one_cnn")
    assert other.finished_fits() == [("one_cnn", 1)]
    assert other.read_fit("one_cnn", 1) == one.read_fit("cnn", 1)
    assert other.read_fit_arrays("one_cnn", 1)["test"].tolist() == [0, 1, 2, 3]
