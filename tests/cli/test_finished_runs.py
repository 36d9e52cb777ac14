"""The commands for finished runs: runs, compare, ensemble."""

import io
import json
import shutil

import pandas as pd
import pytest
from finished_runs import write_data, write_run, wrong_at
from typer.testing import CliRunner

from kaggle_digits.cli import app
from kaggle_digits.errors import UserError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Three finished runs in a folder, the last of them over other folds; their data beside it."""
    home = tmp_path_factory.mktemp("finished")
    write_data(home / "files")
    for name, probabilities, settings in (
        ("quick-1", wrong_at(0, 1), []),
        ("wide", wrong_at(1, 2, 3), ["model.dropout=0.5"]),
        ("other", wrong_at(), ["seed=3"]),
    ):
        write_run(
            home / "submissions" / name, home / "files", {"cnn": probabilities}, settings=settings
        )
    return home


@pytest.fixture
def command(finished, tmp_path, monkeypatch):
    """Run a command beside a copy of the runs; return what it printed."""
    for name in ("KAGGLE_DIGITS_DATA", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_DIGITS_CACHE", str(tmp_path / "cache"))
    shutil.copytree(finished, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")

    def call(*words):
        done = CliRunner().invoke(app, [*map(str, words)])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert (done.exit_code, done.stderr) == (0, "")
        return done.stdout

    return call


def test_runs(command):
    lines = command("runs", "--sort", "wrong").splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["other", "quick-1", "wide"]
    assert "95 % interval" in lines[0]


def test_runs_for_other_programs(command):
    listed = json.loads(command("runs", "--sort", "name", "--json"))
    assert [run["name"] for run in listed] == ["other", "quick-1", "wide"]
    assert (listed[1]["accuracy"], listed[1]["wrong"], listed[1]["kaggle"]) == (0.95, 2, None)
    table = pd.read_csv(io.StringIO(command("runs", "--sort", "name", "--csv")))
    assert table["name"].tolist() == ["other", "quick-1", "wide"]
    assert table.columns.tolist() == list(listed[0])
    with pytest.raises(UserError, match=r"^runs: expected --json or --csv, found both"):
        command("runs", "--json", "--csv")


def test_no_runs_yet(command, tmp_path):
    (tmp_path / "empty").mkdir()
    text = command("runs", "--root", tmp_path / "empty")
    assert text.endswith("empty: no runs yet; kaggle-digits run makes one\n")
    assert json.loads(command("runs", "--root", tmp_path / "empty", "--json")) == []


def test_compare(command):
    text = command("compare", "submissions/quick-1", "submissions/wide")
    assert "no significant difference" in text
    assert "1 wrong only by quick-1, 2 only by wide" in text
    found = json.loads(command("compare", "submissions/quick-1", "submissions/wide", "--json"))
    assert found["tests"][0]["p_value"] == 1.0


def test_page_of_a_comparison(command, tmp_path):
    folders = "submissions/quick-1", "submissions/wide"
    text = command("compare", *folders, "--out", "page")
    assert text.splitlines()[-1] == "page/compare.html: the page of this comparison"
    page = (tmp_path / "home" / "page" / "compare.html").read_text()
    assert page.count("<img") == 3
    assert "labelled <b>2</b>" in page


def test_page_without_the_data(command, finished, tmp_path):
    folders = "submissions/quick-1", "submissions/wide"
    (finished / "files").rename(finished / "moved")
    try:
        text = command("compare", *folders, "--out", "page")
        assert "the page shows no images: submissions/quick-1: its data was" in " ".join(
            text.split()
        )
        assert "<img" not in (tmp_path / "home" / "page" / "compare.html").read_text()
        with pytest.raises(UserError, match="absent"):
            command("compare", *folders, "--out", "page", "--data", "absent")
        command("compare", *folders, "--out", "page", "--data", "files")
        assert "<img" in (tmp_path / "home" / "page" / "compare.html").read_text()
    finally:
        (finished / "moved").rename(finished / "files")


def test_joined_run_goes_through_all_commands(command, tmp_path):
    text = command("ensemble", "submissions/wide", "submissions/quick-1", "--method", "greedy")
    assert "greedy*" in text
    assert "Result of submissions/ensemble-1" in text
    assert "extend" not in text
    assert "a valid submission of 10 rows" in command(
        "check", "submissions/ensemble-1/submission.csv"
    )
    listed = json.loads(command("runs", "--sort", "name", "--json"))
    assert (listed[0]["name"], listed[0]["kind"]) == ("ensemble-1", "joined")
    assert "ensemble-1" in command("compare", "submissions/ensemble-1", "submissions/wide")
    command("ensemble", "submissions/wide", "submissions/quick-1")
    assert (tmp_path / "home" / "submissions" / "ensemble-2").is_dir()
    assert "joined from" in command("doctor", "submissions/ensemble-2")
