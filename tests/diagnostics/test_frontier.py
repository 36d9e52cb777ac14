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
from kaggle_digits.report import frontier_tables
from kaggle_digits.results.frontier import Frontier, FrontierPoint
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


def point(name, system=KIT, **changes):
    values = {
        "name": name,
        "system": system,
        "config": "quick",
        "overrides": (),
        "complete": True,
        "folds": 5,
        "accuracy": 0.994,
        "accuracy_std": 0.0005,
        "errors": 252,
        "rows": 42_000,
        "seconds": 300.0,
        "image_passes": 1_176_000,
        "training_flops": 8.7e13,
    }
    return FrontierPoint(**values | changes)


@pytest.fixture
def measured():
    points = (
        point("short", accuracy=0.991, seconds=60.0, errors=378),
        point("middle", accuracy=0.9951, seconds=300.0),
        point("long", accuracy=0.9955, seconds=900.0),
        point("best", accuracy=0.9972, seconds=200.0, folds=2, complete=False),
        point("theirs", DEOTTE, accuracy=0.9952, seconds=1200.0),
    )
    return Frontier(points, {"processor": "toy"}, "nowhere", "2026-11-29")


def cells(table):
    return list(zip(*(column.cells for column in table.columns), strict=True))


def test_all_plans_hold_the_same_rows_out_and_have_names_of_their_own():
    configs = [
        frontier.loading.load(plan.config, (*frontier.FOLDS, *plan.overrides))
        for plan in frontier.POINTS
    ]
    assert {config.folds for config in configs} == {configs[0].folds}
    assert configs[0].folds.kind == "stratified"
    assert configs[0].folds.fits == 5
    assert len({plan.name for plan in frontier.POINTS}) == len(frontier.POINTS)


def test_the_cheapest_complete_point_that_reaches_a_level(measured):
    assert measured.cheapest(KIT, 0.990).name == "short"
    assert measured.cheapest(KIT, 0.995).name == "middle"
    assert measured.cheapest(KIT, 0.997) is None  # the one that does is not complete
    assert measured.cheapest(DEOTTE, 0.995).name == "theirs"
    assert measured.systems() == [KIT, DEOTTE]


def test_points_table(measured):
    rows = cells(frontier_tables.points_table(measured))
    assert [row[1] for row in rows] == ["short", "best", "middle", "long", "theirs"]
    assert rows[0] == (
        *(KIT, "short", "5", "0.99100 ± 0.00050", "378 of 42,000"),
        *("1 min 0 s", "1.18 million", "0.09"),
    )
    assert rows[1][2] == "2, unfinished"


def test_levels_table(measured):
    rows = cells(frontier_tables.levels_table(measured))
    assert [row[:3] for row in rows[4:8]] == [
        ("99.5%", KIT, "middle"),
        ("", DEOTTE, "theirs"),
        ("99.6%", KIT, "-"),
        ("", DEOTTE, "-"),
    ]
    assert rows[4][3:] == ("0.99510", "5 min 0 s", "1.18 million", "0.09")


def test_picture_is_a_png_and_the_same_again(measured):
    first = frontier_tables.frontier_picture(measured)
    assert first.startswith(b"\x89PNG")
    assert first == frontier_tables.frontier_picture(measured)


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
