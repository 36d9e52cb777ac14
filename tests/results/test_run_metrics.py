import json
from dataclasses import dataclass, fields, replace

import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.results import record, run_metrics
from kaggle_digits.results.run_metrics import MemberScore, RunMetrics
from kaggle_digits.runs import summary
from kaggle_digits.scoring.ensemble import Score
from kaggle_digits.storage.run_folder import RunFolder

BEGUN = RunMetrics(complete=False, provisional=True, fits_finished=0, fits_planned=2)
SCORE = Score(errors=2, rows=40, accuracy=0.95, interval=(0.83, 0.99))
FINISHED = RunMetrics(
    complete=True,
    provisional=False,
    fits_finished=1,
    fits_planned=2,
    skipped={"cnn fold 2": "loss is nan in epoch 1"},
    oof_accuracy=0.95,
    oof_errors=2,
    oof_rows=40,
    oof_interval=(0.83, 0.99),
    expected_leaderboard=(0.8, 1.0),
    train_rows=40,
    members={"cnn": MemberScore(2, 40, 0.95, (0.83, 0.99), {"fold1": SCORE}, 0.95, 0.0)},
    test=SCORE,
    test_rows=28_000,
    callbacks=("mine:Watch",),
    images_per_second=123.5,
    wall_seconds=50.0,
    saving_seconds=2.0,
    peak_memory_bytes=2**30,
)


def written(path, values):
    """Write a metrics.json into a run folder."""
    folder = RunFolder(path)
    folder.metrics.write_text(json.dumps(values))
    return folder


ON_ALL_ROWS = replace(
    FINISHED,
    oof_accuracy=None,
    oof_errors=None,
    oof_rows=None,
    oof_interval=None,
    expected_leaderboard=None,
    holds_rows_out=False,
    members={"cnn": MemberScore(0, 0, None, None, {"fold1": None})},
)


@pytest.mark.parametrize("metrics", [BEGUN, FINISHED, ON_ALL_ROWS])
def test_metrics_survive_their_file(tmp_path, metrics):
    dumped = record.to_json(metrics, run_metrics.FORMAT)
    assert list(dumped) == ["format", *(field.name for field in fields(RunMetrics))]
    assert dumped["format"] == 1
    assert summary.read_metrics(written(tmp_path, dumped)) == metrics


def test_dump_by_hand():
    dumped = record.to_json(FINISHED, run_metrics.FORMAT)
    score = {"errors": 2, "rows": 40, "accuracy": 0.95, "interval": [0.83, 0.99]}
    of_folds = {
        "fits": {"fold1": score},
        "fold_mean": 0.95,
        "fold_std": 0.0,
        "precision": "float32",
    }
    assert dumped["members"] == {"cnn": score | of_folds}
    assert dumped["test"] == score
    assert dumped["skipped"] == {"cnn fold 2": "loss is nan in epoch 1"}
    assert (dumped["oof_interval"], dumped["holdout"]) == ([0.83, 0.99], None)
    assert "saving_share" not in dumped
    assert "saving_fraction" not in dumped


def test_oof_score():
    assert FINISHED.oof == SCORE
    assert BEGUN.oof is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"train_rows": 42_000, "oof_rows": 39_912}, "39,912 of 42,000 rows covered"),
        ({"train_rows": 0}, None),  # earlier versions did not note them
    ],
)
def test_rows_covered(changes, expected):
    assert replace(FINISHED, **changes).rows_covered == expected
    assert ON_ALL_ROWS.rows_covered is None


def test_saving_fraction():
    assert FINISHED.saving_fraction == 0.04
    assert BEGUN.saving_fraction == 0.0  # before any time was noted


def test_later_keys_are_ignored_and_missing_ones_have_their_defaults(tmp_path):
    dumped = record.to_json(FINISHED, run_metrics.FORMAT)
    del dumped["callbacks"], dumped["duplicates_across_folds"]
    found = summary.read_metrics(written(tmp_path, dumped | {"kappa": 0.9}))
    assert found == replace(FINISHED, callbacks=(), duplicates_across_folds=0)


def test_a_later_version_with_one_more_key_reads_the_file(tmp_path):
    @dataclass(frozen=True)
    class LaterMetrics(RunMetrics):
        kappa: float | None = None

    dumped = record.to_json(FINISHED, run_metrics.FORMAT)
    found = record.from_json(LaterMetrics, dumped, run_metrics.FORMAT, tmp_path)
    assert found == LaterMetrics(**vars(FINISHED))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, r"metrics\.json: made by a newer version .* \(format 2, expected 1\)"),
        ({"format": None}, r"metrics\.json: made by an earlier version"),
        ({"fits_finished": "one"}, r"metrics\.json: fits_finished: .*, found 'one'"),
        ({"test": {"errors": 2}}, r"metrics\.json: test\.rows: missing"),
    ],
)
def test_metrics_that_cannot_be_read_are_refused_in_one_line(tmp_path, change, message):
    dumped = record.to_json(FINISHED, run_metrics.FORMAT)
    folder = written(tmp_path, dumped | change)
    with pytest.raises(UserError, match=message) as refusal:
        summary.read_metrics(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file; repeat the command that makes it"),
        ("{", "expected a JSON object, found none; delete the file"),
        ("[]", "expected a JSON object, found none; delete the file"),
    ],
)
def test_missing_or_damaged_metrics_are_refused(tmp_path, content, message):
    folder = RunFolder(tmp_path)
    if content is not None:
        folder.metrics.write_text(content)
    with pytest.raises(UserError, match=rf"metrics\.json: {message}"):
        summary.read_metrics(folder)
