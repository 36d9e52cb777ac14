import io
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console

from kaggle_digits.config import loading
from kaggle_digits.diagnostics import frontier
from kaggle_digits.diagnostics.frontier import DEOTTE, KIT, FrontierOptions, Plan
from kaggle_digits.errors import UserError
from kaggle_digits.runs import pipeline
from kaggle_digits.runs.run import Run
from kaggle_digits.system.console import Reporter
from kaggle_digits.system.time_budget import TimeBudget

TINY = ("model.stages=[{width: 4, pool: first, stride: 2}]", "train.batch_size=32")
PLANS = (
    Plan("short", KIT, "quick", (*TINY, "train.epochs=1")),
    Plan("long", KIT, "quick", (*TINY, "train.epochs=2")),
    Plan("other", DEOTTE, "peers/five-fold-cnn", (*TINY, "model.dense=[]", "train.epochs=1")),
)


def test_all_plans_hold_the_same_rows_out_and_have_names_of_their_own():
    configs = [
        frontier.comparable(loading.load(plan.config, plan.overrides)) for plan in frontier.POINTS
    ]
    assert {(config.seed, config.folds) for config in configs} == {(2026, configs[0].folds)}
    assert configs[0].folds.kind == "stratified"
    assert configs[0].folds.fits == 5
    assert {config.train.threads for config in configs} == {"auto"}
    assert {config.train.precision for config in configs} == {"auto"}
    assert len({plan.name for plan in frontier.POINTS}) == len(frontier.POINTS)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The folder of a frontier on the demo data."""
    monkeypatch.setenv("KAGGLE_DIGITS_DATA", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(frontier.COMMON, "folds.count", 2)
    return tmp_path


def measure(folder, plans=PLANS, budget=None, **options):
    output = io.StringIO()
    reporter = Reporter(Console(file=output, width=160), progress="none")
    found = frontier.run(
        FrontierOptions(None, folder / "out", plans=plans, **options),
        reporter,
        budget or TimeBudget(),
    )
    return found, output.getvalue()


def test_points_are_runs_that_are_not_repeated(folder, monkeypatch, capsys):
    start = time.monotonic()
    trained = []
    run = pipeline.run

    def counted(options, *rest):
        trained.append(options.name)
        return run(options, *rest)

    monkeypatch.setattr(pipeline, "run", counted)
    measure(folder, PLANS[:1])
    found, text = measure(folder)
    assert trained == ["short", "long", "other"]

    for point, plan in zip(found.points, PLANS, strict=True):
        one = Run(folder / "out" / plan.name)
        right = one.oof.predicted == one.oof.label
        by_fold = [right[one.oof.fold == fold].mean() for fold in (1, 2)]
        assert point.accuracy == pytest.approx(np.mean(by_fold))
        assert point.accuracy_std == pytest.approx(np.std(by_fold, ddof=1))
        assert (point.errors, point.rows) == ((~right).sum(), 1400)
        assert (point.complete, point.folds) == (True, 2)
        # 21 batches of 32 from half of the rows.
        epochs = int(plan.overrides[-1][-1])
        assert point.image_passes == 2 * 21 * 32 * epochs
        # 3 x 3 windows of one channel, 4 maps of 14 x 14; pooled to 7 x 7, ten classes.
        forward = 2 * (14 * 14 * 9 * 4 + 7 * 7 * 4 * 10)
        if plan.system == KIT:
            assert point.training_flops == 3 * forward * point.image_passes
        assert point.seconds > 0
    # No point's time has that of another one in it.
    assert sum(point.seconds for point in found.points) < time.monotonic() - start
    assert "What every second buys" in text
    assert "99.7%" in text
    written = json.loads((folder / "out" / "frontier.json").read_text())
    assert [each["name"] for each in written["points"]] == ["short", "long", "other"]
    assert (folder / "out" / "frontier.png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / "out" / "caches").iterdir()) == []

    # A point of other settings is refused, and what there is is shown; the record stays.
    capsys.readouterr()
    changed = (*PLANS[:1], Plan("long", KIT, "quick", (*TINY, "train.epochs=3")))
    reporter = Reporter(Console(width=160), progress="none")
    options = FrontierOptions(None, folder / "out", plans=changed)
    with pytest.raises(UserError, match=r"made with another train\.epochs: 2 there, 3 here"):
        frontier.run(options, reporter, TimeBudget())
    assert "What every second buys" in capsys.readouterr().out
    kept = json.loads((folder / "out" / "frontier.json").read_text())
    assert kept == written
    # So are times of another processor.
    written["machine"]["processor"] = "abacus, 2 cores"
    (folder / "out" / "frontier.json").write_text(json.dumps(written))
    with pytest.raises(UserError, match=r"frontier\.json: measured on abacus, 2 cores, here it is"):
        measure(folder)


def test_a_config_of_ones_own_is_one_more_point(folder):
    settings = ("train.epochs=1", "folds.kind=holdout", "folds.holdout=0.2", "seed=7")
    config = loading.load(
        "quick",
        (
            *(*TINY, *settings, "train.threads=1"),
            *("members.a.train.precision=float32", "members.a.train.threads=1"),
        ),
    )
    found, _ = measure(folder, PLANS[:1], own=("short", config))
    assert [(point.name, point.system) for point in found.points] == [
        ("own-short", frontier.OWN),
        ("short", KIT),
    ]
    mine, theirs = (Run(folder / "out" / name) for name in ("own-short", "short"))
    assert mine.oof.fold.tolist() == theirs.oof.fold.tolist()
    assert mine.config.member("a").train.threads == theirs.config.train.threads
    assert mine.config.precisions["a"] == theirs.config.train.precision
    # It stays in the record, with the date of its measurement.
    record = folder / "out" / "frontier.json"
    record.write_text(record.read_text().replace(found.date, "2001-02-03"))
    again, text = measure(folder, PLANS[:1])
    assert [point.name for point in again.points] == ["own-short", "short"]
    assert again.date == "2001-02-03"
    assert "point 1" not in text


def test_a_point_that_looks_at_the_rows_held_out_is_refused(folder):
    config = loading.load("quick", (*TINY, "train.early_stopping.patience=2"))
    with pytest.raises(UserError, match=r"^mine: its training looks at the rows"):
        measure(folder, PLANS[:1], own=("mine", config))


def test_what_was_measured_on_other_data_stays_in_the_record(folder):
    measure(folder, PLANS[:1])
    record = folder / "out" / "frontier.json"
    before = record.read_bytes()
    manifest = folder / "out" / "short" / "manifest.json"
    values = json.loads(manifest.read_text())
    values["data"] = dict.fromkeys(values["data"], "0" * 32)
    manifest.write_text(json.dumps(values))
    found, _ = measure(folder, PLANS[:1], budget=TimeBudget(frontier.POINT_SECONDS - 1))
    assert found.points == ()
    assert record.read_bytes() == before


def test_no_point_is_begun_without_time(folder, monkeypatch):
    monkeypatch.setattr(pipeline, "run", lambda *_: pytest.fail("begun"))
    found, text = measure(folder, budget=TimeBudget(frontier.POINT_SECONDS - 1))
    assert (found.points, text) == ((), "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out=somewhere"], "--out: belongs to --frontier; add that, or leave it out"),
        (["--time-limit=5m"], "--time-limit: belongs to --frontier; add that, or leave it out"),
        (
            ["--frontier", "--config=peers/basic-cnn"],
            "--config peers/basic-cnn: with --frontier expected a config of your own, found a "
            "shipped one; copy it: kaggle-digits config copy peers/basic-cnn mine.yaml",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    code = "import sys; from kaggle_digits.cli import main; main()"
    command = [sys.executable, "-c", code, "bench", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"{message}\n")
    assert done.stderr.count("\n") == 1
