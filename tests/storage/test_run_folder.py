import io
import json

import numpy as np
import pytest
from folders import FIT_FILES, flip_last_byte, names

from kaggle_digits.errors import UserError
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import FORMAT, RunFolder

NO_SECONDS = {"wall": 0.0, "saving": 0.0, "drawing": 0.0, "reporting": 0.0}


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"no archive",
        files.npz({"labels": np.arange(3)}),
        files.npz(dict.fromkeys(("labels", "oof", "test"), np.arange(3))),
    ],
    ids=["empty", "cut off", "something else", "without oof", "without a split"],
)
def test_damaged_predictions_are_refused_in_one_line(run, content):
    run.folder.mkdir()
    run.predictions.write_bytes(content)
    with pytest.raises(UserError) as caught:
        run.read_predictions()
    assert str(caught.value).startswith(f"{run.predictions}: it cannot be read (")
    assert str(caught.value).endswith("; repeat the command that made the run")


ARTEFACTS = {
    "fits/cnn-fold2/fit.json": (
        lambda run: run.write_fit("cnn", 1, FIT_FILES, {}),
        lambda run: run.read_fit("cnn", 1),
    ),
    "fits/cnn-fold2.state": (
        lambda run: run.write_state("cnn", 1, {"a": np.arange(3)}),
        lambda run: run.read_state("cnn", 1),
    ),
    "fits/cnn-fold2.failed.json": (
        lambda run: run.write_failures("cnn", 1, [{"attempt": 1}]),
        lambda run: run.read_failures("cnn", 1),
    ),
    "folds.npz": (
        lambda run: run.write_folds({"folds": np.arange(3)}),
        lambda run: run.read_folds(),
    ),
}


def without_format(path):
    """Rewrite an artefact as an earlier version wrote it."""
    if path.name == "fit.json":
        facts = files.read_json(path)
        facts = {key: facts[key] for key in facts if key not in ("format", "checksum")}
        files.write_json(path, facts | {"checksum": files.digest_json(facts)})
    elif path.name.endswith(".json"):
        files.write_checksummed(path, b'[{"attempt": 1}]')
    else:
        arrays = files.read_arrays(io.BytesIO(files.read_checksummed(path)))
        del arrays["format"]
        files.write_checksummed(path, files.npz(arrays))


@pytest.mark.parametrize("name", ARTEFACTS)
@pytest.mark.parametrize("version", ["newer", "earlier", "unnumbered"])
def test_artefact_of_another_version_is_refused_and_stays(run, monkeypatch, name, version):
    write, read = ARTEFACTS[name]
    with monkeypatch.context() as other_version:
        number = {"newer": FORMAT + 1, "earlier": FORMAT - 1}.get(version, FORMAT)
        other_version.setattr(RunFolder, "format", number)
        write(run)
        assert read(run) is not None
    path = run.folder / name
    if version == "unnumbered":
        without_format(path)
    before = path.read_bytes()
    with pytest.raises(UserError) as caught:
        read(run)
    assert not isinstance(caught.value, files.DamagedError)  # that would be made again
    reason = {
        "newer": f"a newer version of kaggle-digits (format {FORMAT + 1}, expected {FORMAT}); "
        "update kaggle-digits, or give another --out",
    }.get(
        version,
        "an earlier version of kaggle-digits; give another --out (its submission.csv and model "
        "files can still be used)",
    )
    assert str(caught.value) == f"{path}: made by {reason}"
    assert path.read_bytes() == before


def test_seconds_of_all_invocations(run):
    assert run.read_seconds() == NO_SECONDS
    run.write_seconds({"wall": 12.5, "saving": 0.25})
    assert run.read_seconds() == NO_SECONDS | {"wall": 12.5, "saving": 0.25}
    for content, expected in (('{"wall": 3}', 3.0), ("{", 0.0), ("[]", 0.0)):
        (run.folder / ".seconds").write_text(content)
        assert run.read_seconds() == NO_SECONDS | {"wall": expected}
    assert run.checksums() == {}  # it is no artefact


def test_clear_deletes_what_a_run_leaves_and_nothing_else(run):
    run.write_fit("cnn", 0, FIT_FILES, {})
    run.write_state("cnn", 1, {"a": np.arange(3)})
    run.write_failures("cnn", 1, [])
    run.write_folds({"folds": np.arange(3)})
    run.write_seconds({"wall": 1.0, "saving": 0.0})
    for path in (
        *(run.submission, run.metrics, run.config, run.manifest, run.predictions),
        *(run.augmentation, run.log, run.report, run.pictures / "curves.png"),
    ):
        files.write_bytes(path, b"of the run")
    for name in ("notes", "evaluation-mine", "evaluation-mnist", "evaluation-digits"):
        (run.folder / name).mkdir()
    for name in ("mnist", "digits"):
        record = run.folder / f"evaluation-{name}" / "evaluation.json"
        files.write_json(record, {"format": 1, "out_of_fold": False})
    (run.folder / "evaluation-mnist" / "evaluation.html").write_bytes(b"page")
    files.write_json(run.folder / ".kaggle-digits", run.stamp)
    own = {"notes/fits", "evaluation-mine/page.html", "evaluation-digits/my.txt"}
    own |= {"thesis.tex", "submission-old.csv", ".hidden"}
    for name in own:
        (run.folder / name).write_bytes(b"mine")
    with run.locked():
        run.clear()
        assert run.may_be_used()  # by the process that goes on in it
        with pytest.raises(UserError, match="is at work"), run.locked():
            pass
    left = set(names(run.folder)) - {".kaggle-digits", ".lock", ".owner"}
    assert left == own | {"notes", "evaluation-mine", "evaluation-digits"}
    assert run.finished_fits() == []
    run.clear()  # what is gone is no matter


def test_the_result_is_known_by_the_config_and_the_predictions(run):
    found = [run.digest_of_result()]
    for path, content in ((run.config, b"a"), (run.predictions, b"a"), (run.config, b"b")):
        files.write_bytes(path, content)
        found.append(run.digest_of_result())
    assert len(set(found)) == 4
    run.log.write_bytes(b"more")
    assert run.digest_of_result() == found[-1]


def test_a_folder_without_a_run_is_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, found in (
        ("empty", "no config.yaml in it"),
        ("absent", "no such folder"),
        ("file", "a file"),
    ):
        with pytest.raises(UserError, match=f"expected the folder of a run, found {found}"):
            RunFolder(tmp_path / name).check_begun()
    files.write_json(run.folder / ".kaggle-digits", run.stamp)
    run.config.write_text("seed: 1")
    run.check_begun()
    files.write_json(run.folder / ".kaggle-digits", run.stamp | {"kind": "search"})
    with pytest.raises(UserError, match="found that of a search"):
        run.check_begun()


def test_folds_are_kept_and_damage_is_reported(run):
    assert run.read_folds() is None
    run.write_folds({"folds": np.arange(3), "seed": np.int64(4)})
    assert run.read_folds()["folds"].tolist() == [0, 1, 2]
    assert np.load(run.folds)["seed"] == 4  # any reader of .npz can open it
    content = bytearray(run.folds.read_bytes())
    content[60] ^= 1
    run.folds.write_bytes(content)
    with pytest.raises(files.DamagedError, match=r"folds\.npz"):
        run.read_folds()


def test_lock_clears_away_half_written_fits_too(run):
    with run.locked():
        pass
    half = run.fits / f"{files.TEMP_PREFIX}77-cnn-fold1"
    half.mkdir(parents=True)
    (half / "model.keras").write_bytes(b"half")
    picture = run.pictures / f"{files.TEMP_PREFIX}77-curves.png"
    files.write_bytes(picture, b"half")
    run.submission.write_bytes(b"whole")
    with run.locked():
        assert names(run.fits) == names(run.pictures) == []
        assert run.submission.read_bytes() == b"whole"


def test_a_folder_in_which_no_run_has_begun_is_untouched(run):
    assert not run.is_new()
    with run.locked():
        pass  # a process that was killed early leaves just this
    assert run.is_new()
    assert not run.has_config()
    run.config.write_text("seed: 1")
    assert not run.is_new()
    assert run.has_config()


def test_manifest_without_artefacts_names_no_changed_ones(run):
    files.write_bytes(run.config, b"seed: 1")
    assert run.has_config()
    for content in ('{"artefacts": null}', "{}", "damaged"):
        run.manifest.write_text(content)
        assert run.changed_artefacts() == []


def test_result_that_was_shown_is_noted(run):
    assert not run.was_reported()
    run.note_reported(True)
    assert run.was_reported()
    for _ in range(2):
        run.note_reported(False)
    assert not run.was_reported()


@pytest.mark.parametrize("content", ['{"wall": null, "saving": "x"}', "3", "{"])
def test_damaged_seconds_count_as_none(run, content):
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / ".seconds").write_text(content)
    assert run.read_seconds() == NO_SECONDS


def test_changed_artefacts_are_named(run):
    run.folder.mkdir(parents=True, exist_ok=True)
    assert run.changed_artefacts() == []
    for path in (run.submission, run.config, run.metrics):
        path.write_bytes(b"content")
    files.write_json(run.manifest, {"artefacts": run.checksums()})
    assert run.changed_artefacts() == []
    flip_last_byte(run.submission)
    run.metrics.unlink()
    assert sorted(run.changed_artefacts()) == ["metrics.json", "submission.csv"]
    run.manifest.write_text("[]")
    assert run.changed_artefacts() == []


def test_checksums_name_every_artefact_but_manifest_log_and_report(run):
    run.write_fit("cnn", 0, FIT_FILES, {})
    for path in (
        run.submission,
        run.manifest,
        run.log,
        run.report,
        run.pictures / "curves.png",
        run.folder / f"{files.TEMP_PREFIX}77-metrics.json",
    ):
        files.write_bytes(path, path.name.encode())
    sums = run.checksums()
    assert list(sums) == [
        "fits/cnn-fold1/fit.json",
        "fits/cnn-fold1/model.keras",
        "fits/cnn-fold1/predictions.npz",
        "submission.csv",
    ]
    assert sums["submission.csv"] == files.checksum(run.submission)


def test_checksums_leave_out_what_a_killed_process_left(run):
    left = run.fits / f"{files.TEMP_PREFIX}77-cnn-fold1"
    left.mkdir(parents=True)
    (left / "model.keras").write_bytes(b"half")
    assert run.checksums() == {}


@pytest.fixture
def finished(run):
    """A finished run of one fit, with files in its folder that no run makes."""
    run.write_fit("cnn", 0, FIT_FILES, {})
    for path in (run.submission, run.metrics, run.config, run.predictions, run.folds):
        path.write_text(path.name)
    for path in (
        run.log,
        run.folder / "notes.txt",
        run.fits / "x",
        run.fits / "x.failed.json",
        run.fit_folder("cnn", 0) / "y",
    ):
        path.write_text("not for others")
    run.write_failures("cnn", 1, [])
    manifest = {"kind": "run", "data_source": "/home/me", "artefacts": run.checksums()}
    files.write_json(run.manifest, manifest)
    return run


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        ({"config_name": "quick", "git_revision": "0123abc"}, ("quick", "0123abc")),
        ({"config_name": "quick", "git_revision": ""}, ("quick", "")),
        ({}, ("", "")),  # as earlier versions wrote it
        ({"config_name": None, "git_revision": ["0123abc"]}, ("", "")),
    ],
)
def test_what_made_a_run_is_read_from_its_manifest(run, noted, expected):
    files.write_json(run.manifest, {"kind": "run"} | noted)
    assert run.made_by() == expected


def test_without_a_manifest_it_is_not_known_what_made_a_run(run):
    assert run.made_by() == ("", "")


def test_a_run_is_handed_over_without_what_is_not_its_own(finished):
    found = finished.handed_over()
    assert sorted(found) == [
        "config.yaml",
        "fits/cnn-fold1/fit.json",
        "fits/cnn-fold1/model.keras",
        "fits/cnn-fold1/predictions.npz",
        "fits/cnn-fold2.failed.json",
        "folds.npz",
        "manifest.json",
        "metrics.json",
        "predictions.npz",
        "submission.csv",
    ]
    manifest = files.read_json(finished.manifest)
    assert manifest.pop("data_source") == "/home/me"
    assert json.loads(found.pop("manifest.json")) == manifest
    for name, content in found.items():
        assert (finished.folder / name).read_bytes() == content


def test_damage_of_what_is_not_handed_over_does_not_count(finished):
    flip_last_byte(finished.folder / "notes.txt")
    (finished.fits / "x").unlink()
    assert "submission.csv" in finished.handed_over()


@pytest.mark.parametrize("name", ["submission.csv", "folds.npz", "fits/cnn-fold1/model.keras"])
@pytest.mark.parametrize("damage", [flip_last_byte, lambda path: path.unlink()])
def test_a_damaged_run_is_not_handed_over(finished, name, damage):
    damage(finished.folder / name)
    with pytest.raises(files.DamagedError) as refusal:
        finished.handed_over()
    assert refusal.value.path == finished.folder / name


def test_a_run_without_a_manifest_is_not_handed_over(finished):
    finished.manifest.write_text("")
    with pytest.raises(files.DamagedError, match=r"manifest\.json"):
        finished.handed_over()
