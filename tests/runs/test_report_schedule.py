"""Reports of runs that go on; no net is trained and nothing is drawn."""

from types import SimpleNamespace

import pytest
from run_by_hand import Run

from kaggle_digits.errors import UserError
from kaggle_digits.runs import costs, report_schedule, reporting
from kaggle_digits.runs.costs import Clock
from kaggle_digits.runs.report_schedule import Reports
from kaggle_digits.system.time_budget import REPORT_SECONDS, Signals, Stopped, TimeBudget


@pytest.fixture
def run(tmp_path):
    """A run in which nothing is finished yet."""
    return Run(tmp_path / "run")


class Making:
    """Reports that take a while by a clock of the test; nothing is drawn."""

    def __init__(self, run, monkeypatch, limit=None, wanted=True):
        self.now, self.takes, self.made, self.said, self.fails = 0.0, 2.0, [], [], None
        self.signals = Signals()
        time = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(report_schedule, "time", time)
        monkeypatch.setattr(costs, "time", time)
        monkeypatch.setattr("kaggle_digits.system.time_budget.time", time)
        monkeypatch.setattr(reporting, "write", self.write)
        budget = TimeBudget(limit, self.signals, start=0.0)
        self.clock = Clock(run.folder, budget)
        self.data = run.plan.digits
        self.reports = Reports(run.folder, self.data, budget, self.clock, self.said.append, wanted)

    def write(self, folder, data):
        assert data is self.data
        self.now += self.takes
        if self.fails:
            raise self.fails
        self.made.append(self.now)


@pytest.fixture
def making(run, monkeypatch):
    return lambda **options: Making(run, monkeypatch, **options)


def test_a_report_after_a_fit_takes_little_of_the_time(making):
    run = making()
    for now in (99.0, 100.0, 141.0, 142.0):
        run.now = now
        run.reports.after_fit()
    # At first 5 s are expected, a twentieth of 100 s; then the 2 s that it took.
    assert REPORT_SECONDS == 5.0
    assert run.made == [102.0, 144.0]
    assert run.clock.note()["reporting"] == 4.0


def test_at_the_end_it_is_made_once(making, run):
    ended = making()
    assert ended.reports.at_end() == run.folder.report
    assert ended.reports.at_end() == run.folder.report
    assert len(ended.made) == 1
    ended.reports.after_fit()  # too soon for another report, but there is something new
    ended.reports.at_end()
    assert len(ended.made) == 2


def test_a_report_leaves_the_end_of_a_time_limit_alone(making, run):
    short = making(limit=100.0)
    # 5.5 s are kept for the end, and twice 5 s for a report of which nothing is known.
    short.now = 84.4
    assert short.reports.at_end() == run.folder.report
    late = making(limit=100.0)
    late.now = 84.6
    assert late.reports.at_end() is None
    assert late.said == [
        f"no time for the report; kaggle-digits report {run.folder.folder} makes it"
    ]
    assert late.made == []


def test_no_report_is_made_while_a_run_stops(making):
    run = making()
    run.signals.received = 2
    run.now = 1000.0
    run.reports.after_fit()
    assert run.made == []


def test_nobody_wants_a_report(making):
    run = making(wanted=False)
    run.now = 1000.0
    run.reports.after_fit()
    assert run.reports.at_end() is None
    assert (run.made, run.said) == ([], [])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            UserError("report.html: cannot be written (No space left on device)"),
            "cannot be written",
        ),
        (ImportError("No module named matplotlib"), "No module named matplotlib"),
        (ValueError("Failed to find font"), "Failed to find font"),
        (MemoryError(), "MemoryError"),
        (KeyError("labels"), "KeyError: 'labels'"),
        (IndexError("out of\nbounds"), "IndexError: out of bounds"),
    ],
)
def test_a_report_that_fails_is_a_line_and_no_more(making, error, words):
    run = making()
    run.fails = error
    assert run.reports.at_end() is None
    (line,) = run.said
    assert line.startswith("WARNING: no report: ")
    assert words in line


def test_a_report_that_has_failed_is_tried_once_more_at_the_end(making):
    run = making()
    run.takes, run.fails = 0.0, ValueError("no font")
    for now in (200.0, 400.0, 600.0):
        run.now = now
        run.reports.after_fit()
    assert len(run.said) == 1
    run.fails = None
    assert run.reports.at_end() is not None
    assert len(run.made) == 1


@pytest.mark.parametrize("stop", [Stopped(2), KeyboardInterrupt(), SystemExit(2)])
def test_what_stops_a_run_is_no_failure_of_its_report(making, stop):
    run = making()
    run.fails = stop
    with pytest.raises(type(stop)):
        run.reports.at_end()
    assert run.said == []


@pytest.fixture
def old_report(run):
    """A report of the run that an earlier invocation has made."""
    run.folder.pictures.mkdir(parents=True)
    for path in (run.folder.report, run.folder.pictures / "learning_curves.png"):
        path.write_bytes(b"old")
    return run.folder.report


def test_after_the_last_fit_only_the_end_makes_a_report(making, run, old_report):
    ended = making()
    ended.now = 1000.0
    ended.reports.after_fit()
    assert len(ended.made) == 1
    ended.now = 2000.0
    ended.reports.after_fit(is_last=True)
    assert not old_report.exists()  # a kill now leaves none that is of fewer fits
    assert not run.folder.pictures.exists()
    assert ended.reports.at_end() == old_report
    assert len(ended.made) == 2


def test_a_report_that_cannot_be_deleted_ends_no_run(making, old_report):
    old_report.unlink()
    old_report.mkdir()
    making().reports.discard()


def test_no_report_of_earlier_figures_is_left(making, old_report):
    unwanted = making(wanted=False)
    assert unwanted.reports.at_end() is None
    assert old_report.exists()  # nothing was trained: it is right as it is
    unwanted.reports.after_fit()
    unwanted.reports.at_end()
    assert not old_report.exists()


def test_a_report_that_fails_leaves_none_of_earlier_figures(making, old_report):
    failing = making()
    failing.reports.after_fit()
    failing.fails = ValueError("no font")
    failing.reports.at_end()
    assert not old_report.exists()
