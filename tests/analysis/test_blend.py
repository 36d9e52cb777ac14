import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from finished_runs import (
    LABELS,
    ROWS,
    TEST_LABELS,
    sure,
    write_data,
    write_pair,
    write_run,
    wrong_at,
)
from folders import names

from kaggle_digits.analysis import blend
from kaggle_digits.analysis.blend import EnsembleOptions
from kaggle_digits.analysis.compare import compare
from kaggle_digits.config import loading
from kaggle_digits.data.submission_csv import check_file
from kaggle_digits.diagnostics import doctor
from kaggle_digits.errors import UserError
from kaggle_digits.runs.run import Run
from kaggle_digits.storage import files
from kaggle_digits.storage.run_folder import RunFolder

DROPOUT = ["model.dropout=0.5"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two runs on the same folds, with one and two members, and their data."""
    return write_pair(tmp_path_factory.mktemp("joined"))


@pytest.fixture
def join(home, tmp_path):
    """Join the two runs, or others; the function returns what came of it."""

    def join(*folders, out=None, say=lambda line: None, **options):
        given = EnsembleOptions(
            folders=tuple(folders) or (home / "quick-1", home / "pair"),
            method="mean",
            out=out or tmp_path / "joined",
            data=None,
            cache=tmp_path / "cache",
        )
        return blend.join(replace(given, **options), say)

    return join


def refusal(join, *folders, **options):
    with pytest.raises(UserError) as refused:
        join(*folders, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_joined_run_is_a_run_like_any_other(home, join):
    joined = join()
    run = Run(joined.folder.folder)
    assert list(run.config.members) == ["pair_big", "pair_cnn", "quick_1_cnn"]
    assert run.config.member("pair_cnn").model.dropout == 0.5
    assert run.config.member("quick_1_cnn").model.dropout == 0.3
    assert run.metrics == joined.metrics
    assert (run.metrics.complete, run.metrics.fits_finished) == (True, 6)
    assert list(run.members["member"].unique()) == list(run.config.members)
    assert run.submission["Label"].tolist() == TEST_LABELS.tolist()
    assert check_file(joined.folder.submission, 10).tolist() == TEST_LABELS.tolist()
    assert run.submission_bytes() == joined.folder.submission.read_bytes()
    assert joined.folder.changed_artefacts() == []
    assert joined.folder.was_reported()
    problems = [each for each in doctor.examine_run(joined.folder) if each.problem]
    assert problems == []


def test_a_joined_run_is_whole_without_its_report(home, join):
    said = []
    joined = join(say=said.append)  # the histories that a report shows are missing here
    assert joined.report is None
    assert said[-1].startswith("WARNING: no report: ")
    assert joined.folder.submission.is_file()


def test_figures_are_those_of_the_mean_of_all_members(join):
    joined = join()
    # Row 1 is wrong with all three; rows 0, 2, 3 with one of them, which the others outvote.
    expected = (wrong_at(0, 1) + wrong_at(1, 2, top=0.8) + wrong_at(1, 3, top=0.7)) / 3
    assert (joined.metrics.oof_errors, joined.metrics.oof_rows) == (1, ROWS)
    arrays = files.read_arrays(joined.folder.predictions)
    np.testing.assert_allclose(arrays["oof"], expected, rtol=1e-6)
    assert set(arrays["oof_count"]) == {3}
    assert arrays["labels"].tolist() == LABELS.tolist()
    low, high = joined.metrics.expected_leaderboard
    assert low < 39 / 40 < high


def test_costs_are_those_of_the_sources_together(join):
    metrics = join().metrics
    assert metrics.wall_seconds == 50.0
    assert metrics.images_per_second == 600 / 12


def test_fits_are_copied_as_they_are(home, join):
    joined = join()
    for source, member, new in (("quick-1", "cnn", "quick_1_cnn"), ("pair", "big", "pair_big")):
        for fold in (0, 1):
            there = RunFolder(home / source).fit_folder(member, fold)
            here = joined.folder.fit_folder(new, fold)
            assert names(there) == names(here)
            assert all((here / n).read_bytes() == (there / n).read_bytes() for n in names(there))


def test_manifest_names_the_sources(home, join):
    joined = join()
    manifest = json.loads(joined.folder.manifest.read_text())
    assert manifest["joined"] == {
        "method": "mean",
        "sources": [
            {
                "name": "quick-1",
                "predictions": files.checksum(home / "quick-1" / "predictions.npz"),
                "members": {"quick_1_cnn": "cnn"},
            },
            {
                "name": "pair",
                "predictions": files.checksum(home / "pair" / "predictions.npz"),
                "members": {"pair_big": "big", "pair_cnn": "cnn"},
            },
        ],
        "not_taken_over": [],
    }
    assert joined.folder.joined_from() == ["quick-1", "pair"]
    theirs = json.loads((home / "pair" / "manifest.json").read_text())
    for key in ("identity", "seed"):
        assert manifest["fits"]["pair_big-fold2"][key] == theirs["fits"]["big-fold2"][key]
    assert "joined" not in theirs
    assert str(home) not in json.dumps(manifest["joined"])


@pytest.mark.parametrize("method", ["mean", "geometric", "vote"])
def test_method_is_in_the_config(join, method):
    config = Run(join(method=method).folder.folder).config
    assert config.ensemble.method == {"mean": "arithmetic"}.get(method, method)
    assert config.ensemble.weights == {}


def test_the_order_of_the_runs_changes_no_prediction(home, join, tmp_path):
    one, other = (
        join(*folders, out=tmp_path / name, method="greedy").folder
        for name, folders in (
            ("one", (home / "quick-1", home / "pair")),
            ("other", (home / "pair", home / "quick-1")),
        )
    )
    for name in ("submission.csv", "predictions.npz"):
        assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()


# Greedy


@pytest.fixture
def specialists(tmp_path):
    """Two runs, each of which is wrong at four rows, and a useless one; folds are of two."""
    write_data(tmp_path / "data")
    useless = sure((LABELS + 3) % 10)
    for name, probabilities, dropout in (
        ("even", wrong_at(0, 1, 2, 3, top=0.6), 0.1),
        ("odd", wrong_at(4, 5, 6, 7, top=0.6), 0.2),
        ("useless", useless, 0.4),
    ):
        write_run(
            tmp_path / name,
            tmp_path / "data",
            {"cnn": probabilities},
            settings=[f"model.dropout={dropout}"],
        )
    return [tmp_path / name for name in ("even", "odd", "useless")]


def test_members_without_weight_are_left_out(join, specialists):
    joined = join(*specialists, method="greedy")
    run = Run(joined.folder.folder)
    assert "useless_cnn" not in run.config.members
    assert set(run.config.ensemble.weights) == set(run.config.members)
    weights = {each.member: each.greedy for each in joined.record.weights}
    assert weights["useless_cnn"] == 0
    assert sum(weights.values()) == pytest.approx(1)
    total = sum(run.config.ensemble.weights.values())
    for member, weight in run.config.ensemble.weights.items():
        assert weight / total == pytest.approx(weights[member])
    sources = {
        each["name"] for each in json.loads(joined.folder.manifest.read_text())["joined"]["sources"]
    }
    assert sources == {"even", "odd", "useless"}


def test_greedy_reports_what_nested_weights_predict(join, specialists):
    joined = join(*specialists, method="greedy")
    (greedy,) = (each for each in joined.record.methods if each.name == "greedy")
    assert joined.metrics.oof == greedy.score
    oof = Run(joined.folder.folder).oof
    assert (oof["predicted"] != oof["label"]).sum() == greedy.score.errors


def test_table_of_methods_does_not_depend_on_the_method_chosen(join, tmp_path):
    one = join(method="vote", out=tmp_path / "one").record
    other = join(method="greedy", out=tmp_path / "other").record
    assert one == replace(other, method="vote")
    assert [each.name for each in one.methods] == ["mean", "geometric", "vote", "greedy"]
    assert [each.name for each in one.sources] == ["pair", "quick-1"]
    # Of pair rows 1 and 2: in row 2 its surer member is the wrong one.
    assert [each.score.errors for each in one.sources] == [2, 2]


def test_a_source_alone_is_as_it_reports_itself(home, join, tmp_path):
    pair = {"cnn": wrong_at(1, 2, top=0.8), "big": wrong_at(1, 3, 4, top=0.7)}
    weights = "ensemble.weights={big: 3}"
    own = write_run(tmp_path / "own", home / "data", pair, settings=[*DROPOUT, weights])
    said = []
    record = join(home / "quick-1", own, say=said.append).record
    (alone,) = (each.score for each in record.sources if each.name == "own")
    # Its surer member is right at rows 3 and 4, but the other one counts three times.
    assert alone == Run(own).metrics.oof
    assert alone.errors == 3
    warning = "WARNING: not taken over: ensemble.weights of own; all members are joined by mean"
    assert warning in said


def test_methods_that_are_not_taken_over_are_said(home, join, tmp_path):
    vote = ["ensemble.method=vote", "model.dropout=0.1"]
    other = write_run(tmp_path / "other", home / "data", {"cnn": wrong_at(5)}, settings=vote)
    for method, expected in (
        ("mean", ["ensemble.method vote of other"]),
        ("vote", ["ensemble.method arithmetic of quick-1"]),
    ):
        said = []
        join(home / "quick-1", other, out=tmp_path / method, method=method, say=said.append)
        end = f"all members are joined by {method}"
        lines = [f"WARNING: not taken over: {each}; {end}" for each in expected]
        noted = files.read_json(tmp_path / method / "manifest.json")["joined"]["not_taken_over"]
        assert noted == expected
        assert [line for line in said if "taken over" in line] == lines
    said = []
    join(out=tmp_path / "usual", say=said.append)
    assert not any("taken over" in line for line in said)


# Runs that are not whole


def test_rows_that_not_all_members_cover_are_not_compared(home, join, tmp_path):
    write_run(tmp_path / "half", home / "data", {"cnn": wrong_at(5)}, skipped=[("cnn", 1)])
    write_run(tmp_path / "whole", home / "data", {"cnn": wrong_at(6)}, settings=DROPOUT)
    joined = join(tmp_path / "half", tmp_path / "whole")
    assert joined.metrics.skipped == {"half_cnn fold 2": "loss is nan"}
    assert (joined.metrics.fits_finished, joined.metrics.fits_planned) == (3, 4)
    assert {each.score.rows for each in joined.record.methods} == {ROWS // 2}
    assert joined.metrics.oof_rows == ROWS
    # One fold is left: there is no other one to fit weights on.
    assert [each.name for each in joined.record.methods] == ["mean", "geometric", "vote"]
    line = refusal(
        join, tmp_path / "half", tmp_path / "whole", method="greedy", out=tmp_path / "greedy"
    )
    assert line.startswith("--method greedy: expected rows of at least two folds, found one")
    assert not (tmp_path / "greedy").exists()


def test_searched_settings_stay_optimistic(home, join, tmp_path):
    tuned = "tuned=[{train_data: aa, seed: 1, folds: 2, holdout_folds: 1, trials: 3}]"
    write_run(tmp_path / "tuned", home / "data", {"cnn": wrong_at(5)}, settings=[tuned, *DROPOUT])
    joined = join(home / "quick-1", tmp_path / "tuned")
    assert joined.metrics.optimistic
    assert len(Run(joined.folder.folder).config.tuned) == 1


# Names


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["quick-1 cnn", "wide cnn"], ["quick_1_cnn", "wide_cnn"]),
        (["a-b cnn", "a_b cnn", "a.b cnn"], ["a_b_cnn", "a_b_cnn_2", "a_b_cnn_3"]),
        (["Mein Lauf! cnn"], ["mein_lauf_cnn"]),
        (["x" * 50 + " a", "x" * 50 + " b"], ["x" * 40, "x" * 38 + "_2"]),
    ],
)
def test_names_of_members_are_names(texts, expected):
    found = blend._unique_names(texts)
    assert found == expected
    for name in found:
        loading.load("quick", [f"members.{name}={{}}"])


def test_runs_of_one_name_are_called_by_their_paths(home, join, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place, settings in (("a", []), ("b", DROPOUT)):
        write_run(tmp_path / place / "run", home / "data", {"cnn": wrong_at()}, settings=settings)
    joined = join(tmp_path / "a" / "run", tmp_path / "b" / "run")
    assert len({each.source for each in joined.record.weights}) == 2
    assert len(Run(joined.folder.folder).config.members) == 2


# Refusals


def test_unknown_method(join):
    assert refusal(join, method="best").startswith(
        "--method best: expected one of mean, geometric, vote, greedy"
    )


def test_joined_runs_can_be_joined_unless_labels_have_selected_their_members(home, join, tmp_path):
    other = write_run(
        tmp_path / "third", home / "data", {"cnn": wrong_at(9)}, settings=["model.dropout=0.1"]
    )
    join(out=tmp_path / "plain")
    joined = join(tmp_path / "plain", other, out=tmp_path / "more")
    members = ["plain_pair_big", "plain_pair_cnn", "plain_quick_1_cnn", "third_cnn"]
    assert list(Run(joined.folder.folder).config.members) == members
    join(out=tmp_path / "selected", method="greedy")
    line = refusal(join, tmp_path / "selected", other, out=tmp_path / "most")
    assert "joined by greedy; join its sources (quick-1, pair) instead" in line


def test_other_data_is_given(home, join, tmp_path):
    line = refusal(join, data=write_data(tmp_path / "other", ink=254))
    assert f"expected the data that {home / 'quick-1'} was trained on, found other files" in line


def test_out_must_be_free(home, join, tmp_path):
    (tmp_path / "joined").mkdir()
    join()  # empty: it is taken
    before = (tmp_path / "joined").stat().st_mtime_ns
    assert "expected a new or empty folder, found files in it" in refusal(join)
    assert (tmp_path / "joined").stat().st_mtime_ns == before
    assert "expected a folder, found a file" in refusal(join, out=home / "data" / "train.csv")


def test_out_inside_a_source(home, join):
    line = refusal(join, out=home / "pair" / "joined")
    assert f"is inside {home / 'pair'}, one of the runs" in line


def test_nothing_can_be_trained_in_it(home, join, process_env, tmp_path):
    join()
    for words in (
        ["extend", "joined", "--seeds", "2"],
        ["export", "joined"],
        ["run", "--out", "joined", "--data", str(home / "data"), "--cache", "cache"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "kaggle_digits", *words],
            cwd=tmp_path, env=process_env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        expected = "joined: expected a run that trains its own nets, found one that was joined from"
        assert done.stderr.startswith(f"kaggle-digits: {expected} quick-1, pair")
        assert done.stderr.count("\n") == 1


# Killed

# Ends like a power cut before the file or folder of a number gets its name.
KILLED = """
import os, signal, sys
from pathlib import Path
from kaggle_digits.analysis import blend
from kaggle_digits.storage import files

one, other, out, cache = map(Path, sys.argv[1:5])
moment, moves, move = int(sys.argv[5]), [], files.move

def counted(source, target):
    if len(moves) == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    moves.append(target)
    move(source, target)

files.move = counted
blend.join(blend.EnsembleOptions((one, other), "mean", out, None, cache), print)
"""


def test_killed_anywhere_and_repeated_it_has_the_same_bytes(home, join, process_env, tmp_path):
    undisturbed = join(out=tmp_path / "undisturbed").folder.folder
    out = tmp_path / "out" / "joined"
    words = home / "quick-1", home / "pair", out, tmp_path / "cache"
    for moment in (4, 8):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, *map(str, words), str(moment)],
            env=process_env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not out.exists()
    join(out=out)
    assert names(out.parent) == ["joined", *(f"joined/{name}" for name in names(undisturbed))]
    for name in names(undisturbed):
        if (undisturbed / name).is_file():
            assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_joined_run_compares_with_a_source(home, join):
    (test,) = compare([join().folder.folder, home / "pair"]).tests
    assert test.rows == ROWS
    assert test.same_folds
