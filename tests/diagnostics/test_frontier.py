import io
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

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
        frontier.loading.load(plan.config, (*frontier.FOLDS, *plan.overrides))
        for plan in frontier.POINTS
    ]
    assert {config.folds for config in configs} == {configs[0].folds}
    assert configs[0].folds.kind == "stratified"
    assert configs[0].folds.fits == 5
    assert len({plan.name for plan in frontier.POINTS}) == len(frontier.POINTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("frontier")


@pytest.fixture
def demo(monkeypatch, folder):
    monkeypatch.setenv("KAGGLE_DIGITS_DATA", "")
    monkeypatch.chdir(folder)


def measure(folder, plans=PLANS, budget=None, **options):
    output = io.StringIO()
    reporter = Reporter(Console(file=output, width=160), progress="none")
    found = frontier.run(
        FrontierOptions(None, folder / "out", plans=plans, **options),
        reporter,
        budget or TimeBudget(),
    )
    return found, output.getvalue()


def test_points_are_runs_that_are_not_repeated(demo, folder, monkeypatch):
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
        by_fold = [right[one.oof.fold == fold].mean() for fold in range(1, 6)]
        assert point.accuracy == pytest.approx(np.mean(by_fold))
        assert point.accuracy_std == pytest.approx(np.std(by_fold, ddof=1))
        assert (point.errors, point.rows) == ((~right).sum(), 1400)
        assert (point.complete, point.folds) == (True, 5)
        # 35 batches of 32 from four fifths of the rows.
        epochs = int(plan.overrides[-1][-1])
        assert point.image_passes == 5 * 35 * 32 * epochs
        # 3 x 3 windows of one channel, 4 maps of 14 x 14; pooled to 7 x 7, ten classes.
        forward = 2 * (14 * 14 * 9 * 4 + 7 * 7 * 4 * 10)
        if plan.system == KIT:
            assert point.training_flops == 3 * forward * point.image_passes
        assert 0 < point.seconds < math.inf
    assert "What every second buys" in text
    assert "99.7%" in text
    written = json.loads((folder / "out" / "frontier.json").read_text())
    assert [each["name"] for each in written["points"]] == ["short", "long", "other"]
    assert (folder / "out" / "frontier.png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / "out" / "caches").iterdir()) == []


def test_a_config_of_ones_own_is_one_more_point(demo, folder):
    config = frontier.loading.load("quick", (*TINY, "train.epochs=1", "folds.count=2"))
    found, _ = measure(folder, PLANS[:1], own=("mine", config))
    assert [(point.name, point.system) for point in found.points] == [
        ("mine", frontier.OWN),
        ("short", KIT),
    ]
    assert found.points[0].folds == 5


def test_a_point_of_other_settings_is_refused(demo, folder):
    changed = (Plan("short", KIT, "quick", (*TINY, "train.epochs=3")),)
    with pytest.raises(UserError, match=r"made with another train\.epochs: 1 there, 3 here"):
        measure(folder, changed)


@pytest.mark.parametrize("option", ["--out=somewhere", "--time-limit=5m"])
def test_options_of_the_frontier_alone_are_refused(option):
    code = "import sys; from kaggle_digits.cli import main; main()"
    command = [sys.executable, "-c", code, "bench", option]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    name = option.split("=")[0]
    assert done.stderr.endswith(f"{name}: belongs to --frontier; add that, or leave it out\n")
    assert done.stderr.count("\n") == 1
