import io
import math
from types import SimpleNamespace

import pytest
from rich.console import Console

from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs.progress import RunProgress
from kaggle_digits.system.console import Reporter
from kaggle_digits.training.engine import FitProgress

SPEC = SimpleNamespace(name="cnn fold 2", settings=SimpleNamespace(train=SimpleNamespace(epochs=7)))
ENTRY = {"epoch": 3, "loss": 0.12346, "accuracy": 0.98765, "images_per_second": 1000.4}
METRICS = RunMetrics(
    complete=False, provisional=False, fits_finished=1, fits_planned=2, oof_accuracy=0.99
)


class Shown:
    """What `RunProgress` shows, with so many seconds to the time limit."""

    def __init__(self, limit=math.inf):
        self.bars, self.noted = [], 0
        self.console = Console(file=io.StringIO(), soft_wrap=True)
        self.progress = RunProgress(
            Reporter(self.console),
            lambda done, text: self.bars.append((done, text)),
            SimpleNamespace(seconds_left=lambda: limit),
            SimpleNamespace(note=self.note),
        )

    def note(self):
        self.noted += 1

    def lines(self):
        return self.console.file.getvalue().splitlines()


def at(epochs_done=2.25, entry=None, fraction=0.5, images_per_second=1234.6, seconds_left=200.0):
    return FitProgress(SPEC, epochs_done, entry, fraction, images_per_second, seconds_left)


def test_bar_after_a_step():
    shown = Shown()
    shown.progress.progress(at())
    assert shown.bars == [(50.0, "cnn fold 2, epoch 3/7, 1,235 images/s, 3 min 20 s left")]
    assert (shown.lines(), shown.noted) == ([], 0)


def test_bar_before_the_speed_is_known():
    shown = Shown(limit=90.0)
    shown.progress.progress(at(images_per_second=0.0, seconds_left=0.0))
    assert shown.bars == [(50.0, "cnn fold 2, epoch 3/7, 0 images/s, time left not known yet")]


def test_bar_has_the_out_of_fold_accuracy_of_the_finished_fits():
    shown = Shown()
    shown.progress.metrics = METRICS
    shown.progress.progress(at())
    [(_, text)] = shown.bars
    assert text.startswith("cnn fold 2, epoch 3/7, out-of-fold accuracy so far 0.99000, 1,235 im")


@pytest.mark.parametrize(
    ("limit", "ending"),
    [
        (90.0, "3 min 20 s left, 1 min 30 s to the time limit"),
        (-1.0, "3 min 20 s left, 0 s to the time limit"),
        (201.0, "3 min 20 s left"),  # it will not be reached
    ],
)
def test_bar_says_how_near_the_time_limit_is(limit, ending):
    shown = Shown(limit)
    shown.progress.progress(at())
    assert shown.bars[0][1] == f"cnn fold 2, epoch 3/7, 1,235 images/s, {ending}"


def test_line_of_an_epoch():
    shown = Shown()
    shown.progress.progress(at(3.0, ENTRY))
    assert shown.lines() == [
        "cnn fold 2, epoch 3/7: loss 0.1235, training accuracy 0.9877, 1,000 images/s, 3 min 20 s "
        "left"
    ]
    assert len(shown.bars) == 1
    assert shown.noted == 1  # so that a kill takes little of the time noted


def test_lines_of_the_engine():
    shown = Shown()
    shown.progress.say("cnn fold 2 resumes after epoch 3")
    assert shown.lines() == ["cnn fold 2 resumes after epoch 3"]
