import io
from dataclasses import replace

import pytest
from rich.console import Console

from kaggle_digits.report.run_list_table import band, figure, in_short, notes, run_list_table
from kaggle_digits.results.comparison import RunEntry

RUN = RunEntry(
    name="quick-1",
    kind="run",
    config="quick",
    complete=True,
    fits=3,
    fits_planned=3,
    accuracy=0.9944,
    wrong=235,
    rows=42_000,
    low=0.99364,
    high=0.99507,
    expected_low=0.99376,
    expected_high=0.99653,
    kaggle=0.99521,
    image_passes=586_000,
    seconds=257.0,
    parameters=165_634,
    date="2026-11-21T10:20:30Z",
)
SEARCH = RunEntry("tune-1", "search", complete=True, fits=12, accuracy=0.99, optimistic=True)
DAMAGED = RunEntry("broken", "run", problem="metrics.json: damaged")


def shown(*entries, width=200):
    console = Console(file=io.StringIO(), width=width)
    console.print(run_list_table(entries))
    return console.file.getvalue()


def test_everything_where_there_is_room():
    head, _, line = shown(RUN).splitlines()[:3]
    for name in ("config", "expected", "image passes", "parameters", "Kaggle"):
        assert name in head
    for text in (
        *("quick-1", "3/3", "0.99440", "235", "0.99364-0.99507", "0.99376-0.99653", "0.99521"),
        *("586 k", "4 min 17 s", "166 k", "2026-11-21 10:20"),
    ):
        assert text in line


def test_what_nobody_has_gets_no_column():
    assert "Kaggle" not in shown(SEARCH)
    assert "Kaggle" in shown(SEARCH, RUN)


def test_narrow_terminal():
    lines = shown(RUN, SEARCH, DAMAGED, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert "0.99364-0.99507" in lines[2]
    assert "image passes" not in lines[0]


def test_searches_and_their_figures_are_marked():
    line = shown(SEARCH).splitlines()[2]
    assert "12 trials" in line
    assert line.rstrip().endswith("optimistic")
    assert notes(replace(SEARCH, complete=False)) == "optimistic, unfinished"


def test_problems_are_below():
    table, _, problems = shown(RUN, DAMAGED).partition("Problems")
    assert "problem" in table
    assert problems.split() == ["broken", "metrics.json:", "damaged"]
    assert "Problems" not in shown(RUN)


def test_runs_that_are_not_for_upload_are_marked():
    other = RunEntry("a", "run", accuracy=0.9, not_for_upload="trained on MNIST")
    assert notes(other) == "not for upload"
    assert "not for upload" in shown(other)
    # Of the demo data that is known.
    assert notes(replace(other, demo=True)) == "demo"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "-"),
        (0, "0"),
        (9_999, "9,999"),
        (10_752, "10.8 k"),
        (165_634, "166 k"),
        (999_499, "999 k"),
        (999_500, "1.0 M"),
        (25_000_000, "25.0 M"),
        (1_234_567_890, "1,235 M"),
    ],
)
def test_large_numbers(number, text):
    assert in_short(number) == text


def test_what_is_not_known_is_a_dash():
    assert (figure(None, ".5f"), band(None, 0.5), band(0.1, 0.25)) == ("-", "-", "0.10000-0.25000")


def test_work_in_progress():
    assert notes(RunEntry("a", "joined", complete=True, running=True)) == "joined, running"
