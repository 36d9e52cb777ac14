"""Kill a real run with SIGKILL, repeat the command, and expect the bytes of an undisturbed run."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from kaggle_digits import disk, submission

SETTINGS = (
    "model.stages=[{width: 8, pool: first}, {width: 16, pool: last}]",
    "folds.count=2",
    "train.epochs=4",
    "augment.variants=3",
)
PATIENCE = 120.0  # seconds until a stage must have been reached


def command(folder):
    overrides = [word for setting in SETTINGS for word in ("--set", setting)]
    program = [sys.executable, "-m", "kaggle_digits", "run", *overrides]
    return [*program, "--out", str(folder / "run"), "--cache", str(folder / "cache")]


def run(folder, process_env):
    done = subprocess.run(
        command(folder), env=process_env, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def stop_when(reached, with_signal, folder, process_env):
    """Send a signal to the run and all its workers once a stage is reached.

    Returns:
        (exit status, what it wrote to standard error).
    """
    process = subprocess.Popen(
        command(folder),
        env=process_env,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert process.poll() is None, "the run ended before the stage was seen"
        assert time.monotonic() < deadline, "the stage was never reached"
        time.sleep(0.005)
    os.killpg(process.pid, with_signal)
    _, error = process.communicate(timeout=30)
    return process.returncode, error


def result(folder):
    arrays = disk.read_arrays(folder / "run" / "predictions.npz")
    return (folder / "run" / "submission.csv").read_bytes(), arrays


def test_killed_run_ends_with_the_same_bytes(tmp_path, process_env):
    folder = tmp_path / "run"
    stages = [
        lambda: any((tmp_path / "cache" / "bank").glob("*/variant-000.npy")),
        (folder / "fits" / "cnn-fold1.state").exists,
        (folder / "fits" / "cnn-fold1" / "fit.json").exists,
        (folder / "fits" / "cnn-fold2.state").exists,
    ]
    for reached in stages:
        assert stop_when(reached, signal.SIGKILL, tmp_path, process_env)[0] == -signal.SIGKILL
    first_model = folder / "fits" / "cnn-fold1" / "model.keras"
    trained_at = first_model.stat().st_mtime_ns
    output = run(tmp_path, process_env)
    # It did not merely start over.
    assert "reused: 1 of 2 fits, finished earlier" in output
    assert "cnn fold 2 goes on after epoch" in output
    assert "cnn fold 1, epoch" not in output
    assert first_model.stat().st_mtime_ns == trained_at
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    run(undisturbed, process_env)
    (submission, arrays), (expected_submission, expected_arrays) = map(
        result, (tmp_path, undisturbed)
    )
    assert submission == expected_submission
    for name, expected in expected_arrays.items():
        np.testing.assert_array_equal(arrays[name], expected, strict=True)
    assert not list(folder.glob("fits/*.state"))
    assert not list(folder.rglob(f"{disk.HALF}*"))


@pytest.mark.parametrize(
    ("with_signal", "status", "name"),
    [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "SIGINT")],
)
def test_signal_ends_a_run_in_one_line_and_leaves_the_submission(
    tmp_path, process_env, with_signal, status, name
):
    reached = (tmp_path / "run" / "fits" / "cnn-fold2.state").exists
    found, error = stop_when(reached, with_signal, tmp_path, process_env)
    assert found == status
    assert error.strip() == f"kaggle-digits: stopped by {name}; repeat the command to go on"
    # From the first finished fit on there is a submission.
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["complete"] is False
    assert len(submission.check_file(tmp_path / "run" / "submission.csv", 397)) == 397
