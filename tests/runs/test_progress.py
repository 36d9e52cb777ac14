import io
import math
from types import SimpleNamespace

import pytest
from rich.console import Console

from kaggle_digits.config.schema import Train
from kaggle_digits.results.run_metrics import RunMetrics
from kaggle_digits.runs.progress import RunProgress, fraction_done
from kaggle_digits.system.console import Reporter
from kaggle_digits.training.engine import FitProgress

SPEC = SimpleNamespace(name="cnn fold 2", settings=SimpleNamespace(train=SimpleNamespace(epochs=7)))
ENTRY = {"epoch": 3, "loss": 0.12346, "accuracy": 0.98765, "images_per_second": 1000.4}
METRICS = RunMetrics(
    complete=False, provisional=False, fits_finished=1, fits_planned=2, oof_accuracy=0.99
)


class Shown:
    """What `RunProgress` shows, with so many seconds to the time limit."""

    def __init__(self, limit=math.inf, done_before=0.0, received=None):
        self.bars, self.noted = [], 0
        self.console = Console(file=io.StringIO(), soft_wrap=True)
        self.progress = RunProgress(
            Reporter(self.console),
            lambda done, text: self.bars.append((done, text)),
            SimpleNamespace(seconds_left=lambda: limit, signals=SimpleNamespace(received=received)),
            SimpleNamespace(note=self.note),
            done_before,
        )

    def note(self):
        self.noted += 1

    def lines(self):
        return self.console.file.getvalue().splitlines()


def at(
    epochs_done=2.25,
    entry=None,
    fraction=0.5,
    images_per_second=1234.6,
    seconds_left=200.0,
    phase="training",
):
    return FitProgress(SPEC, epochs_done, entry, fraction, images_per_second, seconds_left, phase)


def test_bar_after_a_step():
    shown = Shown()
    shown.progress.progress(at())
    assert shown.bars == [(50.0, "3 min 20 s left, cnn fold 2, epoch 3/7, 1,235 images/s")]
    assert (shown.lines(), shown.noted) == ([], 0)


def test_bar_before_the_speed_is_known():
    shown = Shown(limit=90.0)
    shown.progress.progress(at(images_per_second=0.0, seconds_left=0.0))
    assert shown.bars == [(50.0, "cnn fold 2, epoch 3/7")]


def test_bar_has_the_out_of_fold_accuracy_of_the_finished_fits():
    shown = Shown()
    shown.progress.metrics = METRICS
    shown.progress.progress(at())
    [(_, text)] = shown.bars
    assert text.endswith("cnn fold 2, epoch 3/7, 0.99000 so far, 1,235 images/s")


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
    assert shown.bars[0][1] == f"{ending}, cnn fold 2, epoch 3/7, 1,235 images/s"


def test_line_of_an_epoch():
    shown = Shown()
    shown.progress.progress(at(3.0, ENTRY))
    assert shown.lines() == [
        "cnn fold 2, epoch 3/7: loss 0.1235, training accuracy 0.98765, 3 min 20 s left"
    ]
    assert len(shown.bars) == 1
    assert shown.noted == 1  # so that a kill takes little of the time noted


def test_line_of_an_epoch_that_looked_at_held_out_rows():
    shown = Shown()
    shown.progress.progress(at(3.0, ENTRY | {"val_loss": 0.05678, "val_accuracy": 0.98}))
    assert shown.lines() == [
        "cnn fold 2, epoch 3/7: loss 0.1235, training accuracy 0.98765, val_loss 0.0568, "
        "val_accuracy 0.98000, 3 min 20 s left"
    ]


@pytest.mark.parametrize("phase", ["compiling", "predicting"])
def test_bar_while_no_step_is_made(phase):
    shown = Shown()
    shown.progress.progress(at(0.0, phase=phase))
    assert shown.bars == [(50.0, f"3 min 20 s left, cnn fold 2: {phase}")]
    shown.progress.progress(at(0.0, images_per_second=0.0, phase=phase))
    assert shown.bars[1] == (50.0, f"cnn fold 2: {phase}")


def test_bar_after_a_signal_has_no_time_left():
    shown = Shown(limit=20.0, received=2)
    shown.progress.progress(at())
    assert shown.bars[0][1].startswith("stopping, cnn fold 2, epoch 3/7")


def test_bar_goes_on_where_an_earlier_invocation_ended():
    shown = Shown(done_before=0.6)
    shown.progress.progress(at(fraction=0.5))
    assert shown.bars[0][0] == pytest.approx(80.0)


def test_fraction_done():
    fits = [
        SimpleNamespace(
            name=name,
            heldout_rows=range(20),
            settings=SimpleNamespace(train=Train(epochs=epochs)),
        )
        for name, epochs in (("short", 1), ("long", 3), ("short too", 1))
    ]
    assert fraction_done(fits[1:2], fits, rows=100) == pytest.approx(2 / 5)
    assert fraction_done(fits, fits, rows=100) == 0.0


def test_few_lines_outside_a_terminal_however_many_epochs():
    shown = Shown()
    for step in range(1, 3001):
        shown.progress.progress(at(3.0, ENTRY, fraction=step / 3000))
    assert 90 <= len(shown.lines()) <= 101
    assert shown.noted == 3000


def test_lines_of_the_engine():
    shown = Shown()
    shown.progress.say("cnn fold 2 resumes after epoch 3")
    assert shown.lines() == ["cnn fold 2 resumes after epoch 3"]
