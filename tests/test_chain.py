"""All that one does with runs, one command after the other, each a process of its own."""

import json
import subprocess
import sys

import cv2
import lives
import numpy as np
import pytest

from kaggle_digits.data import demo
from kaggle_digits.data.digits import read_digits
from kaggle_digits.data.sources import find_source


@pytest.fixture
def kd(tmp_path, process_env):
    """Run a command in an empty folder and return its standard output; it must succeed."""

    def call(*words):
        done = subprocess.run(
            [sys.executable, "-m", "kaggle_digits", *map(str, words)],
            cwd=tmp_path,
            env=process_env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return done.stdout

    return call


def test_from_a_run_to_a_checked_ensemble(kd, tmp_path):
    settings = [word for setting in lives.SETTINGS for word in ("--set", setting)]
    for name, dropout in (("one", 0.0), ("two", 0.5)):
        changes = ("--set", f"model.dropout={dropout}")
        kd("run", *settings, *changes, "--cache", "cache", "--out", name, "--no-report")
    one, two = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")
    )

    kd("report", "one", "--cache", "cache")
    page = (tmp_path / "one" / "report.html").read_text(encoding="utf-8")
    assert f"{one['oof_accuracy']:.5f}" in page

    found = json.loads(kd("evaluate", "one", "--cache", "cache", "--json"))
    assert found["out_of_fold"]
    assert found["score"]["errors"] == one["oof_errors"]
    assert sum(map(sum, found["confusion"])) == one["oof_rows"]

    digits = read_digits(find_source(demo.NAME))
    enlarged = cv2.resize(255 - digits.test_images[0], (280, 280), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "digit.png"), enlarged)
    read = json.loads(kd("classify", "one", "digit.png", "--json"))
    [picture] = read["pictures"]
    assert len(picture["digits"]) == 1

    compared = json.loads(kd("compare", "one", "two", "--json"))
    [test] = compared["tests"]
    # Of the rows that the first gets wrong, some are only its own; likewise of the second.
    both = one["oof_errors"] - test["only_one_wrong"]
    assert both == two["oof_errors"] - test["only_other_wrong"] >= 0

    kd("ensemble", "one", "two", "--out", "both", "--cache", "cache")
    joined = json.loads((tmp_path / "both" / "metrics.json").read_text())
    page = (tmp_path / "both" / "report.html").read_text(encoding="utf-8")
    assert f"{joined['oof_accuracy']:.5f}" in page
    assert joined["fits_finished"] == one["fits_finished"] + two["fits_finished"]
    assert np.load(tmp_path / "both" / "predictions.npz")["oof_count"].min() == 2

    assert "a valid submission" in kd("check", "both")
    listed = json.loads(kd("runs", "--root", ".", "--json"))
    assert {"one", "two", "both"} <= {each["name"] for each in listed}
