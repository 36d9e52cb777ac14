import dataclasses
import hashlib
import json

import numpy as np
import pytest
import yaml
from run_by_hand import CONFIG, IMAGES, LABELS, SPLIT, TEST_LABELS, Run, provenance, sure

from kaggle_digits.config.schema import Config
from kaggle_digits.errors import UserError
from kaggle_digits.results import record, run_metrics
from kaggle_digits.runs import summary
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder
from kaggle_digits.storage.submission_files import why_not_for_upload
from kaggle_digits.system import environment
from kaggle_digits.training.resume import FitStatus


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


def test_begin_says_whose_run_it_is(run):
    run.begin()
    assert Config.model_validate(yaml.safe_load(run.folder.config.read_text())) == CONFIG
    saved = run.folder.read_folds()
    assert saved["folds"].tolist() == [0, 1] * 10
    assert saved["seed"] == 11
    manifest = run.manifest()
    assert manifest["complete"] is False
    assert manifest["data"] == {"train.csv": "aa", "test.csv": "bb"}
    assert {fit["finished"] for fit in manifest["fits"].values()} == {False}
    assert not run.folder.submission.exists()


def test_figures_by_hand(run):
    # Member a takes row 0, a zero, for a five, but b is surer of the zero; both miss row 3.
    even, odd = (sure(LABELS[rows]) for rows in SPLIT)
    even[0] = sure([5], 0.55)[0]
    odd[1] = sure([8])[0]
    run.finish("a", 0, even)
    run.finish("a", 1, odd)
    run.finish("b", 0)
    run.finish("b", 1, odd)
    metrics = run.update()
    assert metrics == summary.read_metrics(run.folder)
    assert record.to_json(metrics, run_metrics.FORMAT) == json.loads(run.folder.metrics.read_text())
    assert (metrics.oof_errors, metrics.oof_rows) == (1, 20)
    assert metrics.oof_accuracy == pytest.approx(19 / 20)
    # Wilson: (p + z^2/40 -+ z sqrt(p(1-p)/20 + (z/40)^2)) / (1 + z^2/20), z = 1.96, p = 0.95.
    assert metrics.oof_interval == pytest.approx([0.76387, 0.99112], abs=1e-5)
    low, high = metrics.expected_leaderboard
    assert 0 <= low < 0.95 < high <= 1
    a, b = metrics.members["a"], metrics.members["b"]
    assert (a.errors, a.rows, b.errors, b.rows) == (2, 20, 1, 20)
    assert a.accuracy == pytest.approx(0.9)
    assert {name: (fit.errors, fit.rows) for name, fit in a.fits.items()} == {
        "fold1": (1, 10),
        "fold2": (1, 10),
    }
    assert b.fits["fold1"].accuracy == 1.0
    assert len(b.fits["fold1"].interval) == 2
    assert (metrics.complete, metrics.fits_finished, metrics.fits_planned) == (True, 4, 4)
    assert metrics.demo_data is False
    assert metrics.test_rows_also_in_train == 2
    assert metrics.test_rows == 5
    assert metrics.test is None


def test_predictions_by_hand(run):
    for member, fold in (("a", 1), ("b", 0), ("b", 1)):
        run.finish(member, fold)
    heldout = sure(LABELS[SPLIT[0]])
    heldout[0] = sure([5], 0.55)[0]
    run.finish("a", 0, heldout)
    run.update()
    saved = files.read_arrays(run.folder.predictions)
    assert {name: (array.shape, array.dtype.name) for name, array in saved.items()} == {
        "oof": ((20, 10), "float32"),
        "oof_count": ((20,), "int64"),
        "test": ((5, 10), "float32"),
        "labels": ((20,), "uint8"),
        "folds": ((20,), "int16"),
    }
    # Row 0: a gives 0.55 to the five and 0.05 to the others, b 0.91 to the zero and 0.01.
    expected = [0.48, *[0.03] * 4, 0.28, *[0.03] * 4]
    np.testing.assert_allclose(saved["oof"][0], expected, rtol=1e-6)
    np.testing.assert_allclose(saved["oof"][7], sure([7])[0], rtol=1e-6)
    np.testing.assert_allclose(saved["test"], sure(TEST_LABELS), rtol=1e-6)
    assert saved["oof_count"].tolist() == [2] * 20  # both members
    assert saved["labels"].tolist() == LABELS.tolist()
    assert saved["folds"].tolist() == [0, 1] * 10
    assert run.folder.submission.read_text() == "ImageId,Label\n1,3\n2,1\n3,4\n4,1\n5,5\n"


def test_from_the_first_fit_on_there_is_a_submission(run):
    run.begin()
    run.finish("a", 1)
    metrics = run.update()
    assert (metrics.complete, metrics.fits_finished, metrics.fits_planned) == (False, 1, 4)
    assert metrics.oof_rows == 10
    assert list(metrics.members) == ["a"]
    assert list(metrics.members["a"].fits) == ["fold2"]
    saved = files.read_arrays(run.folder.predictions)
    assert saved["oof_count"].tolist() == [0, 1] * 10
    assert np.isnan(saved["oof"][::2]).all()
    assert np.isfinite(saved["oof"][1::2]).all()
    assert run.folder.submission.read_text().splitlines()[1:] == ["1,3", "2,1", "3,4", "4,1", "5,5"]
    manifest = run.manifest()
    assert manifest["complete"] is False
    assert [name for name, fit in manifest["fits"].items() if fit["finished"]] == ["a-fold2"]


def test_method_of_the_ensemble(tmp_path):
    # Two nets lean to 2 by a hair, one is sure of 7: the mean says 7, the vote 2.
    hair = sure([2], 0.2)
    hair[0, 7] = 0.19
    labels = {}
    for method in ("arithmetic", "vote"):
        config = CONFIG.model_copy(
            update={
                "members": dict.fromkeys(("a", "b", "c"), CONFIG.members["a"]),
                "ensemble": CONFIG.ensemble.model_copy(update={"method": method}),
            }
        )
        run = Run(tmp_path / method, config)
        for member, one in (("a", hair), ("b", hair), ("c", sure([7]))):
            for fold in (0, 1):
                run.finish(member, fold, test=np.tile(one, (5, 1)))
        run.update()
        labels[method] = {
            line.split(",")[1] for line in run.folder.submission.read_text().splitlines()[1:]
        }
    assert labels == {"arithmetic": {"7"}, "vote": {"2"}}


def test_labelled_test_rows_are_scored(tmp_path):
    run = Run(tmp_path / "run", test_labels=np.uint8([3, 1, 4, 1, 9]), demo=True)
    run.finish_all()
    metrics = run.update()
    assert (metrics.test.errors, metrics.test.rows) == (1, 5)
    assert metrics.test.accuracy == pytest.approx(0.8)
    assert metrics.demo_data is True


def test_what_is_not_for_upload_is_noted_with_the_reason(tmp_path):
    run = Run(tmp_path / "run", not_for_upload="trained on MNIST")
    run.finish_all()
    assert run.update().not_for_upload == "trained on MNIST"
    assert files.read_json(run.folder.manifest)["not_for_upload"] == "trained on MNIST"
    assert why_not_for_upload(run.folder.submission) == "trained on MNIST"
    other = Run(tmp_path / "other")
    other.finish_all()
    assert other.update().not_for_upload is None
    assert why_not_for_upload(other.folder.submission) is None


def test_costs_are_summed_over_invocations(tmp_path):
    files.write_json(tmp_path / "run" / "metrics.json", {"peak_memory_bytes": 10**15})
    RunFolder(tmp_path / "run").write_seconds({"wall": 100.0, "saving": 7.0})
    run = Run(tmp_path / "run")
    run.finish("a", 0, seconds=2.0, images=300)
    run.finish("b", 1, seconds=3.0, images=500)
    for _ in range(2):  # within an invocation nothing counts twice
        metrics = run.update()
        assert metrics.wall_seconds == 150.0
        # This process's seconds are those of all tests before, too.
        assert 7 < metrics.saving_seconds <= 7 + files.io_seconds()
        assert metrics.saving_fraction == metrics.saving_seconds / 150
        assert metrics.peak_memory_bytes == 10**15
        assert metrics.images_per_second == 800 / 5


def test_costs_without_an_invocation_before(run):
    run.finish("a", 0)
    metrics = run.update()
    assert metrics.wall_seconds == 50.0
    assert 2**20 < metrics.peak_memory_bytes < 2**40


def test_manifest_has_a_hash_of_every_artefact(run):
    run.begin()
    run.finish_all()
    run.update()
    run.folder.log.write_text("grows on\n")
    manifest = run.manifest()
    expected = {
        path.relative_to(run.folder.folder).as_posix(): hashlib.blake2b(
            path.read_bytes(), digest_size=16
        ).hexdigest()
        for path in run.folder.folder.rglob("*")
        if path.is_file() and path.name not in ("manifest.json", "run.log", ".seconds")
    }
    assert manifest["artefacts"] == expected
    assert {"submission.csv", "metrics.json", "predictions.npz", "config.yaml"} < set(expected)
    assert "fits/b-fold2/fit.json" in expected


def test_manifest_names_data_seeds_and_machine(run):
    run.finish_all()
    run.update()
    manifest = run.manifest()
    assert manifest["complete"] is True
    assert manifest["data_source"] == "somewhere"
    assert (manifest["test_rows"], manifest["seed"]) == (5, 11)
    assert manifest["folds"] == files.digest(np.int16([0, 1] * 10))
    assert manifest["fits"]["b-fold2"] == {
        "identity": run.specs[3].digest,
        "seed": run.specs[3].seed_for("fit"),
        "finished": True,
        "skipped": None,
    }
    assert len({fit["seed"] for fit in manifest["fits"].values()}) == 4
    assert manifest["packages"]["numpy"] == np.__version__
    assert manifest["hardware"]["cores"] >= 1


def test_manifest_names_the_config_and_the_code(run, monkeypatch):
    run.plan = dataclasses.replace(run.plan, config_name="mine")
    for revision in ("0123abc", "4567def-dirty"):  # the last that worked on the run counts
        monkeypatch.setattr(environment, "git_revision", lambda revision=revision: revision)
        run.begin()
        assert run.folder.made_by() == ("mine", revision)


def test_rows_with_the_pixels_of_a_row_in_another_fold_are_counted(tmp_path):
    images = IMAGES.copy()
    images[[3, 8]] = images[2]  # fold 1 holds rows 2 and 8 out, fold 2 row 3
    images[[10, 12]] = images[14]  # all in one fold
    run = Run(tmp_path / "run", images=images)
    run.finish_all()
    assert run.update().duplicates_across_folds == 3


def test_callbacks_that_took_part_are_named(tmp_path):
    run = Run(tmp_path / "run", callbacks=("mine:Watch",))
    run.finish_all()
    assert run.update().callbacks == ("mine:Watch",)
    assert json.loads(run.folder.metrics.read_text())["callbacks"] == ["mine:Watch"]


def test_digest_of_a_config_is_that_of_what_its_results_depend_on():
    digest = summary.config_digest(CONFIG)
    for changes in (
        {"train": {"epochs": 10, "threads": 2}, "tuned": None},  # defaults that are written out
        {"train": {}},  # auto has the digest of the number that was the default before
        {"data": {"path": "elsewhere"}},
        {"callbacks": ("mine:Watch",)},
    ):
        changed = Config.model_validate(CONFIG.model_dump() | changes)
        assert summary.config_digest(changed) == digest
    for changes in ({"seed": 12}, {"ensemble": {"method": "vote"}}, {"tuned": provenance()}):
        changed = Config.model_validate(CONFIG.model_dump() | changes)
        assert summary.config_digest(changed) != digest


def test_new_setting_at_its_default_is_no_part_of_a_config_digest(become_later_version):
    later_config = become_later_version()
    later = later_config.model_validate(CONFIG.model_dump())
    assert (later.train.gradient_clip, later.views) == (0.0, 1)
    assert summary.config_digest(later) == summary.config_digest(CONFIG)
    for changes in ({"train": {"gradient_clip": 1.0}}, {"views": 2}):
        changed = later_config.model_validate(CONFIG.model_dump() | changes)
        assert summary.config_digest(changed) != summary.config_digest(CONFIG)


# Skipped fits, and attempts


def test_a_run_is_complete_without_a_skipped_fit(run):
    for member, fold in (("a", 0), ("a", 1), ("b", 0)):
        run.finish(member, fold)
    assert run.update().complete is False
    run.skip(run.specs[3], "loss is nan in epoch 1")
    metrics = run.update()
    assert (metrics.complete, metrics.provisional) == (True, False)
    assert (metrics.fits_finished, metrics.fits_planned) == (3, 4)
    assert metrics.skipped == {"b fold 2": "loss is nan in epoch 1"}
    assert (metrics.oof_rows, metrics.members["b"].rows) == (20, 10)
    assert files.read_arrays(run.folder.predictions)["oof_count"].tolist() == [2, 1] * 10
    manifest = run.manifest()
    assert manifest["complete"] is True
    skipped = {name: fit["skipped"] for name, fit in manifest["fits"].items()}
    others = dict.fromkeys(("a-fold1", "a-fold2", "b-fold1"))
    assert skipped == others | {"b-fold2": "loss is nan in epoch 1"}


def test_rows_that_only_a_diverged_fit_held_out_are_not_predicted(run):
    for member in ("a", "b"):
        run.finish(member, 1)
        run.skip(run.specs[0 if member == "a" else 2], "diverged")
    metrics = run.update()
    assert (metrics.complete, metrics.oof_rows) == (True, 10)
    saved = files.read_arrays(run.folder.predictions)
    assert saved["oof_count"].tolist() == [0, 2] * 10
    assert np.isnan(saved["oof"][::2]).all()


def test_all_fits_diverged(run):
    run.begin()
    for spec, reason in zip(run.specs, ("no use", "b", "c", "d"), strict=True):
        run.skip(spec, reason)
    message = r"run: all 4 fits diverged and were skipped \(the first: no use\); .* --restart"
    with pytest.raises(UserError, match=message):
        run.update()
    assert not run.folder.submission.exists()
    assert not run.folder.metrics.exists()


def test_another_attempt_takes_the_place_of_a_fit(run):
    again = run.specs[2].next_attempt()
    run.state = run.state.with_fit(FitStatus(again))
    run.begin()
    fits_of = run.manifest()["fits"]
    assert list(fits_of) == ["a-fold1", "a-fold2", "b-fold1", "b-fold2"]
    assert fits_of["b-fold1"]["identity"] == again.digest
    assert fits_of["b-fold1"]["seed"] == again.seed_for("fit")
    assert fits_of["b-fold2"]["identity"] == run.specs[3].digest


# Before the first fit is finished


def test_provisional_submission(run):
    run.begin()
    metrics = run.update_provisionally(run.specs[1], sure([2, 7, 1, 8, 2]), 1.5)
    assert metrics == summary.read_metrics(run.folder)
    assert record.to_json(metrics, run_metrics.FORMAT) == json.loads(run.folder.metrics.read_text())
    assert (metrics.provisional, metrics.provisional_fit) == (True, "a fold 2")
    assert (metrics.complete, metrics.fits_finished, metrics.fits_planned) == (False, 0, 4)
    # There is no out-of-fold figure, and nothing that is made of one.
    for figure in ("oof_accuracy", "oof_errors", "oof_rows", "oof_interval", "oof"):
        assert getattr(metrics, figure) is None
    assert (metrics.members, metrics.expected_leaderboard) == ({}, None)
    assert metrics.images_per_second is None
    assert metrics.wall_seconds == 50.0
    assert metrics.test is None
    assert run.folder.submission.read_text() == "ImageId,Label\n1,2\n2,7\n3,1\n4,8\n5,2\n"
    assert not run.folder.predictions.exists()
    manifest = run.manifest()
    assert manifest["complete"] is False
    assert {fit["finished"] for fit in manifest["fits"].values()} == {False}
    assert manifest["artefacts"]["submission.csv"] == files.checksum(run.folder.submission)
    # The first finished fit takes its place.
    run.finish("a", 0)
    metrics = run.update()
    assert (metrics.provisional, metrics.fits_finished) == (False, 1)
    assert (metrics.provisional_fit, metrics.provisional_identity) == (None, None)
    assert metrics.oof_rows == 10
    assert run.folder.submission.read_text().splitlines()[1:] == ["1,3", "2,1", "3,4", "4,1", "5,5"]


@pytest.fixture
def earlier(tmp_path):
    """A folder in which an earlier process has left a provisional submission."""
    run = Run(tmp_path / "run")
    run.begin()
    run.update_provisionally(run.specs[1], sure(TEST_LABELS), 1.5)
    return run.folder


def test_provisional_submission_of_an_earlier_process_is_kept(earlier):
    content, metrics = earlier.submission.read_bytes(), summary.read_metrics(earlier)
    assert (metrics.provisional_fit, metrics.provisional_epochs) == ("a fold 2", 1.5)
    assert Run(earlier.folder).earlier_provisional() == metrics
    assert earlier.submission.read_bytes() == content


@pytest.mark.parametrize("damaged", [False, True])
def test_provisional_submission_that_is_not_this_runs_is_deleted(earlier, damaged):
    if damaged:
        earlier.submission.write_bytes(earlier.submission.read_bytes().replace(b"5,5", b"5,6"))
    seed = CONFIG.seed + (0 if damaged else 1)
    run = Run(earlier.folder, CONFIG.model_copy(update={"seed": seed}))
    assert run.earlier_provisional() is None
    assert not earlier.submission.exists()
    assert not earlier.metrics.exists()


def test_submission_of_fits_that_are_damaged_now_stays_until_there_is_a_new_one(run):
    run.begin()
    run.finish("a", 0)
    run.update()
    content = run.folder.submission.read_bytes()
    assert Run(run.folder.folder).earlier_provisional() is None
    assert run.folder.submission.read_bytes() == content


def test_labelled_test_rows_score_a_provisional_submission_too(tmp_path):
    run = Run(tmp_path / "run", test_labels=np.uint8([2, 7, 1, 8, 9]))
    metrics = run.update_provisionally(run.specs[0], sure([2, 7, 1, 8, 2]), 1.5)
    assert (metrics.test.errors, metrics.test.rows) == (1, 5)


@pytest.fixture
def _class_bounds_apply(monkeypatch):
    """Have the check of class frequencies, for real submissions alone, refuse these small ones."""
    monkeypatch.setattr(summary.submission_csv, "MIN_ROWS_FOR_CLASS_BOUNDS", 5)


@pytest.mark.usefixtures("_class_bounds_apply")
def test_a_net_that_has_learnt_too_little_makes_no_submission(run):
    run.begin()
    with pytest.raises(UserError, match=r"submission\.csv.*each class in 5 to 20 %"):
        run.update_provisionally(run.specs[0], sure([3] * 5), 1.5)
    assert not run.folder.submission.exists()
    assert not run.folder.metrics.exists()


def test_a_few_weak_nets_leave_the_submission_as_it_was(run, monkeypatch):
    run.finish("a", 0)
    run.update()
    before = run.folder.submission.read_bytes()
    monkeypatch.setattr(summary.submission_csv, "MIN_ROWS_FOR_CLASS_BOUNDS", 5)
    for fold in (0, 1):
        run.finish("b", fold, test=np.uint8([0] * 5))
    assert run.update().fits_finished == 3
    assert run.folder.submission.read_bytes() == before
    # All of them together have to do better.
    run.finish("a", 1)
    with pytest.raises(UserError, match=r"submission\.csv.*each class in 5 to 20 %"):
        run.update()
    assert run.folder.submission.read_bytes() == before


def test_weak_nets_leave_no_submission_of_an_unfinished_fit(run, monkeypatch):
    run.begin()
    run.update_provisionally(run.specs[0], sure(TEST_LABELS), 1.5)
    monkeypatch.setattr(summary.submission_csv, "MIN_ROWS_FOR_CLASS_BOUNDS", 5)
    run.finish("a", 0, test=np.uint8([0] * 5))
    assert run.update().provisional is False
    assert not run.folder.submission.exists()


def test_other_data_may_have_any_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(summary.submission_csv, "MIN_ROWS_FOR_CLASS_BOUNDS", 5)
    run = Run(tmp_path / "run", not_for_upload="trained on MNIST")
    run.finish("a", 0, test=np.uint8([3] * 5))
    run.update()
    assert b"1,3" in run.folder.submission.read_bytes()


def test_damaged_fit_is_refused(run):
    run.finish_all()
    path = run.folder.fit_folder("b", 0) / "predictions.npz"
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"b-fold1.predictions\.npz: .*checksum"):
        run.update()


def test_unreadable_metrics_of_an_earlier_process_count_as_none(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text("{")
    run = Run(tmp_path / "run")
    run.finish("a", 0)
    assert run.update().wall_seconds == 50.0
