import io

from rich.console import Console

from kaggle_digits.report.blend_tables import blend_tables
from kaggle_digits.results.joined import BlendRecord, MemberWeight, MethodScore
from kaggle_digits.scoring.ensemble import Score


def score(name, errors, better=0, worse=0, p=1.0):
    interval = (0.99, 0.997)
    return MethodScore(name, Score(errors, 42_000, 1 - errors / 42_000, interval), better, worse, p)


RECORD = BlendRecord(
    method="vote",
    methods=(score("mean", 166), score("vote", 170, 3, 7, 0.34), score("greedy", 160, 9, 3, 0.146)),
    sources=(score("quick-1", 235, 12, 81, 1.2e-10),),
    weights=(
        MemberWeight("quick_1_cnn", "quick-1", 0.5, 0.25, 0.125, 0.5),
        MemberWeight("wide_cnn", "wide", 0.5),
    ),
)


def shown(width=80, record=RECORD):
    console = Console(file=io.StringIO(), width=width)
    console.print(blend_tables(record))
    return console.file.getvalue().splitlines()


def test_methods():
    lines = shown()
    assert max(map(len, lines)) <= 80
    assert "Out of fold, on 42,000 rows that all members predict" in lines
    (mean,) = (line for line in lines if line.startswith("mean"))
    assert mean.split() == ["mean", "166", "0.99605", "0.99000-0.99700"]
    (vote,) = (line for line in lines if line.startswith("vote"))
    assert vote.split()[0] == "vote*"  # it was chosen
    assert vote.split()[-5:] == ["3", "better,", "7", "worse", "0.34"]
    assert any(line.startswith("quick-1 alone") and "1.2e-10" in line for line in lines)


def test_weights():
    (known,) = (line.split() for line in shown() if line.startswith("quick_1_cnn"))
    assert known == ["quick_1_cnn", "quick-1", "0.500", "0.250", "0.125", "to", "0.500"]
    (unknown,) = (line.split() for line in shown() if line.startswith("wide_cnn"))
    assert unknown == ["wide_cnn", "wide", "0.500", "-", "-"]


def test_it_says_what_the_figures_are_worth():
    text = " ".join(" ".join(shown()).split())
    assert "from weights fitted without the fold that is scored" in text
    assert "the method that is best in this table is itself a little optimistic" in text
