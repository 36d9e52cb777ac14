"""Reports of runs whose fits are written by hand; no net is trained."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from folders import flip_last_byte, names
from run_by_hand import CONFIG, LABELS, SPLIT, TEST_LABELS, Run, sure

from kaggle_digits.config.schema import Config
from kaggle_digits.data import keras_mnist
from kaggle_digits.errors import UserError
from kaggle_digits.report import run_page
from kaggle_digits.results import record
from kaggle_digits.results.run_report import NET_FORMAT, Layer, NetSummary
from kaggle_digits.runs import reporting, summary
from kaggle_digits.storage import files
from kaggle_digits.storage.cache import Cache
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.system import environment

# In another order than that of the alphabet.
MEMBERS = CONFIG.model_copy(update={"members": {name: CONFIG.members[name] for name in "ba"}})
NET = NetSummary((Layer("logits", "Dense", (10,), 7850),), 7850, 15_680)


def finish_all(run, net=NET):
    """Write all fits; the nets take row 4, a 4, for a 9."""
    for member in "ba":
        for fold, rows in enumerate(run.split):
            heldout = sure(np.where(rows == 4, 9, run.labels[rows]))
            run.finish(member, fold, heldout, net=net and record.to_json(net, NET_FORMAT))
    run.update()
    return run.folder


@pytest.fixture
def run(tmp_path):
    """A run in which nothing is finished yet."""
    run = Run(tmp_path / "run", MEMBERS)
    files.write_json(run.folder.folder / ".kaggle-digits", run.folder.stamp)
    run.begin()
    return run


@pytest.fixture
def data(run):
    return run.plan.digits


# What is read


def test_a_whole_run_is_read(run, data):
    report = reporting.read(finish_all(run), data)
    assert report.name == "run"
    assert report.metrics == summary.read_metrics(run.folder)
    # Members in the config's order.
    order = [("b", 0), ("b", 1), ("a", 0), ("a", 1)]
    assert [(fit.member, fit.fold) for fit in report.fits] == order
    assert [(fit.member, fit.fold) for fit in report.predictions] == order
    fit, predicted = report.fits[0], report.predictions[0]
    assert fit.history == {"epoch": (1, 2), "loss": (0.5, 0.25), "accuracy": (0.75, 0.875)}
    assert (fit.train_seconds, fit.predict_seconds, fit.train_images) == (2.0, 9.0, 300)
    assert fit.net == NET
    assert predicted.heldout_rows.tolist() == SPLIT[0].tolist()
    assert predicted.heldout[2].argmax() == 9
    assert (report.labels == LABELS).all()
    assert (report.folds == np.arange(20) % 2).all()
    assert report.submitted.tolist() == TEST_LABELS.tolist()
    assert report.train_images is data.train_images
    assert report.augmentation is None
    assert report.changes["members.b"] == ("{}", "")
    assert not any("threads" in key for key in report.changes)
    assert report.facts["seed"] == "11"
    assert report.facts["precision"] == "float32"
    assert report.facts["train.csv, BLAKE2b"] == "aa"
    assert "2 test rows also in train.csv" in report.facts["duplicates"]
    assert report.facts["versions"].startswith("python ")


@pytest.mark.parametrize(
    ("precisions", "text"),
    [
        ({"a": "bfloat16", "b": "bfloat16"}, "bfloat16"),
        ({"a": "bfloat16", "b": "float32"}, "a bfloat16, b float32"),
        (None, None),  # of an earlier version
    ],
)
def test_precision_is_a_fact(run, precisions, text):
    folder = finish_all(run)
    manifest = files.read_json(folder.manifest) | {"precision": precisions}
    files.write_json(folder.manifest, manifest)
    assert reporting.read(folder, None).facts.get("precision") == text


def test_a_fit_of_an_earlier_version_has_no_layers(run, data):
    assert reporting.read(finish_all(run, net=None), data).fits[0].net is None


def test_the_epoch_that_early_stopping_has_kept_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr("run_by_hand.HISTORY", "epoch,loss,val_loss\n1,0.5,0.3\n2,0.25,0.6\n")
    stopping = {"train": {"early_stopping": {"patience": 1}, "threads": 2}}
    config = Config(**CONFIG.model_dump() | stopping)
    run = Run(tmp_path / "run", config)
    run.begin()
    run.finish_all()
    run.update()
    report = reporting.read(run.folder, None)
    assert [fit.kept_epoch for fit in report.fits] == [1, 1, 1, 1]
    assert report.fits[0].kept("loss") == 0.5


def test_fits_of_a_member_that_is_no_more_do_not_count(run):
    finish_all(run)
    run.folder.write_fit("gone", 0, {}, {})
    assert len(reporting.read(run.folder, None).fits) == 4


def test_nothing_is_finished(run, tmp_path, data):
    with pytest.raises(UserError) as caught:
        reporting.read(run.folder, data)
    assert str(caught.value) == (
        f"{run.folder.folder}: no fit is finished yet; repeat the command that began it"
    )
    for place, found in ((tmp_path, "no config.yaml in it"), (tmp_path / "x", "no such folder")):
        with pytest.raises(UserError, match=f"expected the folder of a run, found {found}"):
            reporting.read(RunFolder(place), data)


def test_damaged_predictions_are_refused_in_one_line(run, data):
    flip_last_byte(finish_all(run).fit_folder("a", 0) / "predictions.npz")
    with pytest.raises(UserError, match=r"predictions\.npz: its checksum in fit\.json differs"):
        reporting.read(run.folder, data)


def test_other_files_that_are_damaged_or_missing_are_refused_in_one_line(run):
    folder = finish_all(run)
    history = folder.history_path("b", 0)
    whole = history.read_bytes()
    history.write_bytes(b'"')
    with pytest.raises(UserError, match=r"history\.csv: its checksum in fit\.json differs"):
        reporting.read(folder, None)
    history.write_bytes(whole)
    folder.predictions.write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r": predictions\.npz: missing, or of another moment"):
        reporting.read(folder, None)
    folder.predictions.unlink()
    with pytest.raises(UserError, match=r": predictions\.npz: missing, or of another moment"):
        reporting.read(folder, None)
    run.update()
    folder.folds.unlink()
    with pytest.raises(UserError, match=r"folds\.npz: it is missing"):
        reporting.read(folder, None)


def test_what_a_fit_does_not_have_is_refused_in_one_line(run):
    folder = finish_all(run)
    facts = folder.read_fit("a", 0)
    writers = {
        name: partial(Path.write_bytes, data=(folder.fit_folder("a", 0) / name).read_bytes())
        for name in ("predictions.npz", "history.csv")
    }
    own = {name: facts[name] for name in ("train_images", "seconds")}
    folder.write_fit("a", 0, writers, {"train_images": 300})
    with pytest.raises(UserError, match=r"fit\.json: something is missing in it \('seconds'\)"):
        reporting.read(folder, None)
    writers["predictions.npz"] = partial(files.write_arrays, arrays={"test": np.zeros((5, 10))})
    folder.write_fit("a", 0, writers, own)
    with pytest.raises(UserError, match=r"a-fold1: something is missing in it \('heldout"):
        reporting.read(folder, None)


def test_members_count_by_their_weights(tmp_path):
    weights = CONFIG.ensemble.model_copy(update={"weights": {"a": 3.0}})
    run = Run(tmp_path / "run", CONFIG.model_copy(update={"ensemble": weights}))
    files.write_json(run.folder.folder / ".kaggle-digits", run.folder.stamp)
    run.begin()
    report = reporting.read(finish_all(run), None)
    assert [(fit.member, fit.weight) for fit in report.predictions[::2]] == [("a", 3.0), ("b", 1.0)]


def test_a_joined_run_is_not_extended(run, monkeypatch):
    monkeypatch.setattr(environment, "has_command", lambda: True)
    finish_all(run)
    joined = {"method": "greedy", "sources": [{"name": "one"}, {"name": "two"}]}
    joined["not_taken_over"] = ["ensemble.weights of one"]
    files.write_json(run.folder.manifest, run.manifest() | {"joined": joined})
    own = hashlib.sha256(run.folder.submission.read_bytes()).hexdigest()
    run.folder.write_submitted([{"sha256": own, "public_score": "0.5"}])
    report = reporting.read(run.folder, None)
    assert "extend" not in report.next_step.value
    assert report.is_selected
    assert report.facts["joined from"] == "one, two; by greedy"
    assert report.facts["not taken over"] == "ensemble.weights of one"


def test_a_provisional_submission(run, data):
    run.update_provisionally(run.specs[0], sure(TEST_LABELS), 1.5)
    report = reporting.read(run.folder, data)
    assert (report.fits, report.predictions, len(report.test)) == ((), (), 0)
    assert (report.labels == LABELS).all()
    assert np.isnan(report.oof).all()
    assert report.next_step.value == "repeat the command that began it"
    reporting.write(run.folder, data)
    assert "PROVISIONAL" in run.folder.report.read_text()


def test_only_scores_of_this_submission_count(run):
    finish_all(run)
    own = hashlib.sha256(run.folder.submission.read_bytes()).hexdigest()
    rows = [(own, "0.5"), ("another", "0.6"), (own, ""), (own, None), (own, "0.7")]
    noted = [{"sha256": digest, "public_score": score} for digest, score in rows]
    run.folder.write_submitted(noted)
    assert reporting.read(run.folder, None).kaggle_scores == (0.5, 0.7)


@pytest.mark.parametrize(
    ("scores", "label"), [([], "check it"), (["0.5"], "more nets")], ids=["new", "scored"]
)
def test_next_step(run, monkeypatch, scores, label):
    monkeypatch.setattr(environment, "has_command", lambda: True)
    finish_all(run)
    own = hashlib.sha256(run.folder.submission.read_bytes()).hexdigest()
    run.folder.write_submitted([{"sha256": own, "public_score": score} for score in scores])
    step = reporting.read(run.folder, None).next_step
    assert (step.label, step.kind) == (label, "command")


def test_there_is_no_next_step_where_no_command_can_be_typed(run, monkeypatch):
    monkeypatch.setattr(environment, "has_command", lambda: False)
    assert reporting.read(finish_all(run), None).next_step is None


def test_rows_that_are_held_out_several_times_or_never(tmp_path):
    split = [np.arange(0, 12), np.arange(6, 18)]
    config = CONFIG.model_copy(
        update={"folds": CONFIG.folds.model_copy(update={"kind": "holdout", "holdout": 0.6})}
    )
    run = Run(tmp_path / "run", config, split=split)
    files.write_json(run.folder.folder / ".kaggle-digits", run.folder.stamp)
    run.begin()
    report = reporting.read(finish_all(run), None)
    assert report.folds is None
    assert [fit.heldout_rows.tolist() for fit in report.predictions] == 2 * [
        rows.tolist() for rows in split
    ]
    assert "18 of 20 rows covered" in run_page.page(report)


# The data


def test_data_of_the_run_is_found_again(tmp_path, run, monkeypatch, data):
    said = []
    cache = Cache(tmp_path / "cache")
    monkeypatch.setattr(reporting.digits, "read_digits", lambda source, cached: data)
    assert reporting.find_data(run.folder, None, cache, said.append) is None
    without = "the report shows no digits; --data gives the place of the data"
    assert said == [f"somewhere: not found; {without}"]
    place = tmp_path / "data"
    place.mkdir()
    for name in ("train.csv", "test.csv"):
        (place / name).touch()
    assert reporting.find_data(run.folder, place, cache, said.append) is data
    manifest = files.read_json(run.folder.manifest) | {"data_source": str(place)}
    files.write_json(run.folder.manifest, manifest)
    assert reporting.find_data(run.folder, None, cache, said.append) is data
    files.write_json(run.folder.manifest, manifest | {"data": {"train.csv": "other"}})
    assert reporting.find_data(run.folder, None, cache, said.append) is None
    assert said[1:] == [f"{place}: has changed since the run; {without}"]
    with pytest.raises(UserError, match=r"--data .*: expected the data of .*, found other data"):
        reporting.find_data(run.folder, place, cache, said.append)


def test_mnist_is_not_downloaded_for_a_report(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(keras_mnist, "find", lambda: pytest.fail("a download"))
    files.write_json(run.folder.manifest, run.manifest() | {"data_source": "mnist"})
    said = []
    cache = Cache(tmp_path / "cache")
    assert reporting.find_data(run.folder, None, cache, said.append) is None
    assert said[0].startswith("mnist: not found; the report shows no digits")


# What is written


def test_the_same_folder_gives_the_same_bytes_and_is_no_artefact(run, data):
    folder = finish_all(run)
    artefacts = folder.checksums()
    reporting.write(folder, data)
    made = {path: path.read_bytes() for path in (folder.report, *folder.pictures.iterdir())}
    assert names(folder.pictures) == [
        "confusion_matrix.png",
        "learning_curves.png",
        "misclassified.png",
    ]
    reporting.write(folder, data)
    assert {path: path.read_bytes() for path in made} == made
    assert folder.checksums() == artefacts
    assert folder.changed_artefacts() == []
    assert {folder.report, folder.pictures} <= set(folder.made_by_run())


def test_page_comes_last(run, monkeypatch, data):
    folder = finish_all(run)
    monkeypatch.setattr(run_page, "page", lambda report: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reporting.write(folder, data)
    assert not folder.report.exists()
